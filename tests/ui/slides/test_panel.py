from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit

from napari_monusac.core.classes import CLASSES
from napari_monusac.editing.commands import Delete
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.slides.crop_list import COUNTS_ROLE
from napari_monusac.ui.slides.panel import crop_status


def test_the_first_crop_opens_with_all_its_layers(opened, viewer):
    names = [layer.name for layer in viewer.layers]
    assert names[0] == "image"
    assert {"nuclei", "semantic", "ternary", "ambiguous"} <= set(names)
    assert opened.model.position() == (1, len(opened.model.collection.crops))
    assert opened.where.text() == opened.model.crop.name
    assert viewer.layers.selection.active.name == "nuclei"


def test_counts_and_thumbnails_arrive_for_every_crop(opened):
    panel = opened.panels["Slides"]
    for name, item in panel.crops.items.items():
        crop = opened.model.collection.crop(name)
        truth = {int(k): v for k, v in opened.model.collection.annotation(crop).counts().items()}
        assert {int(k): v for k, v in item.data(1, COUNTS_ROLE).items()} == truth
        assert not item.icon(0).isNull()


def test_a_click_opens_another_crop_and_the_keys_walk(opened, viewer, qtbot, settle):
    panel = opened.panels["Slides"]
    before = np.array(viewer.layers["image"].data)
    second = opened.model.neighbour(1)
    item = panel.crops.items[second.name]
    rect = panel.crops.tree.visualItemRect(item)
    qtbot.mouseClick(panel.crops.tree.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    qtbot.waitUntil(lambda: opened.model.crop.name == second.name, timeout=30_000)
    assert not np.array_equal(before, viewer.layers["image"].data)
    assert len([la for la in viewer.layers if la.name == "image"]) == 1
    opened.next.click()
    qtbot.waitUntil(lambda: opened.model.position()[0] == 3, timeout=30_000)
    opened.previous.click()
    qtbot.waitUntil(lambda: opened.model.position()[0] == 2, timeout=30_000)
    settle()


def test_layers_of_others_stay_when_the_crop_changes(opened, viewer, qtbot):
    mine = viewer.add_points(np.array([[3.0, 4.0]]), name="my points")
    opened.go(1)
    qtbot.waitUntil(lambda: opened.model.position()[0] == 2, timeout=30_000)
    assert mine in viewer.layers


def test_search_and_filter(opened, qtbot):
    panel = opened.panels["Slides"]
    some = next(iter(panel.crops.items))
    panel.crops.search.setText(some)
    assert [n for n, i in panel.crops.items.items() if not i.isHidden()] == [some]
    panel.crops.search.clear()
    panel.crops.filter.setCurrentText(f"With {CLASSES[1].label.lower()}s")
    shown = {n for n, i in panel.crops.items.items() if not i.isHidden()}
    wanted = {
        c.name
        for c in opened.model.collection.crops
        if opened.model.collection.annotation(c).counts().get(CLASSES[1], 0)
    }
    assert shown == wanted


def test_a_folder_that_holds_nothing_says_so(studio, qtbot, tmp_path):
    panel = studio.panels["Slides"]
    task = panel.open_folder(tmp_path)
    qtbot.waitUntil(lambda: not task.running, timeout=20_000)
    assert str(tmp_path) in panel.opening.label.text()
    assert studio.model.crop is None


def test_opening_a_file_with_the_viewer_lists_its_folder(studio, viewer, qtbot, tissue_folder, settle):
    image = sorted(tissue_folder.rglob("*.svs"))[2]
    viewer.open(str(image.parent), plugin="napari-monusac")
    qtbot.waitUntil(lambda: studio.model.crop is not None, timeout=30_000)
    assert studio.model.crop.image == canvas_image(viewer)
    settle()


def canvas_image(viewer):
    from pathlib import Path

    return Path(canvas.find_layer(viewer, "image").metadata["monusac"]["image"])


def test_the_doctor_speaks_and_leads_to_the_spot(opened, viewer, qtbot, settle):
    doctor = opened.panels["Slides"].doctor
    doctor.examine()
    settle()
    assert doctor.verdict.text()
    rows = [doctor.findings.item(i, 0) for i in range(doctor.findings.rowCount())]
    assert all(doctor.findings.item(i, 2).text() for i in range(len(rows)))
    somewhere = [r for r in rows if r.data(256).at is not None and r.data(256).image]
    if somewhere:
        finding = somewhere[0].data(256)
        doctor._go_to_finding(somewhere[0])
        settle()
        assert opened.model.crop.name == finding.image
        scale = canvas.find_layer(viewer, "image").scale[0]
        assert viewer.scene.camera.center[-2:] == pytest.approx([v * scale for v in finding.at], abs=1)


@pytest.fixture
def swapped_folder(tmp_path):
    """One patient with two crops as .tif whose red and blue are swapped, as the official ones are; no scale in them."""
    from napari_monusac.io.annotations.files import write_annotation
    from napari_monusac.synth import synthesize
    from napari_monusac.synth.slides import write_swapped_tif

    folder = tmp_path / "TCGA-SY-0009-01Z-00-DX1"
    folder.mkdir()
    for k in (1, 2):
        tissue = synthesize((256, 256), seed=k, patient_seed=4)
        write_swapped_tif(tissue.image, folder / f"{folder.name}_{k}.tif")
        annotation = dataclasses.replace(tissue.annotation, um_per_px=None, attributes=())
        write_annotation(annotation, folder / f"{folder.name}_{k}.xml")
    return folder


def test_swapped_channels_are_put_right_said_and_can_be_overruled(studio, viewer, swapped_folder, settle):
    studio.panels["Slides"].open_folder(swapped_folder)
    settle()
    image = canvas.find_layer(viewer, "image")
    assert image.metadata["monusac"]["channels_swapped"]
    assert "put right" in studio.notice.text()
    right = np.array(image.data)
    facts = studio.panels["Slides"].facts
    assert facts.channels.isVisibleTo(facts)
    facts.orders.setCurrentText("right as stored")
    facts.orders.activated.emit(facts.orders.currentIndex())
    settle()
    assert (canvas.find_layer(viewer, "image").data == right[..., ::-1]).all()


def test_an_unknown_scale_is_asked_for(studio, viewer, swapped_folder, settle):
    studio.panels["Slides"].open_folder(swapped_folder)
    settle()
    facts = studio.panels["Slides"].facts
    assert facts.scale.isVisibleTo(facts)
    assert not studio.presets[40].isEnabled()
    facts.um.setValue(0.5)
    facts.apply.click()
    for role in ("image", "nuclei", "ternary"):
        assert tuple(canvas.find_layer(viewer, role).scale) == (0.5, 0.5)
    assert studio.presets[40].isEnabled()
    assert not facts.scale.isVisibleTo(facts)


def test_a_guessed_scale_is_said_and_asked_for(studio, viewer, settle, tmp_path):
    pixels = np.full((64, 64, 3), 200, np.uint8)
    text = "Aperio Image Library v10\n64x64 (64x64)|AppMag = 20"
    tifffile.imwrite(tmp_path / "a.svs", pixels, photometric="rgb", description=text, metadata=None, tile=(64, 64))
    studio.panels["Slides"].open_folder(tmp_path)
    settle()
    facts = studio.panels["Slides"].facts
    assert "about 0.5" in facts.text.text()
    assert facts.scale.isVisibleTo(facts)
    assert facts.unknown.text() == "Scale guessed"
    facts.um.setValue(0.46)
    facts.apply.click()
    assert tuple(canvas.find_layer(viewer, "image").scale) == (0.46, 0.46)
    assert not facts.scale.isVisibleTo(facts)


def test_status_is_shown_and_filtered(opened, settle, tmp_path):
    from napari_monusac.editing.progress import CropMarks

    panel, crop = opened.panels["Slides"], opened.model.crop
    assert panel.crops.items[crop.name].toolTip(2) == "labelled"
    marks = CropMarks(opened.model.collection.root)
    marks.set_mark(crop.name, "reviewed", author="test")
    try:
        panel.show_status()
        settle()
        assert panel.crops.items[crop.name].toolTip(2) == "reviewed"
        panel.crops.filter.setCurrentText("Not reviewed yet")
        assert panel.crops.items[crop.name].isHidden()
        # a crop without labels that has a stored prediction
        bare = dataclasses.replace(crop, annotation=None, name="bare")
        (tmp_path / f"{crop.image.stem}.zarr").mkdir()
        marks.set_mark(crop.name, None)
        assert crop_status(SimpleNamespace(root=tmp_path, crops=[bare]), tmp_path) == {"bare": "predicted"}
        assert crop_status(SimpleNamespace(root=tmp_path, crops=[bare])) == {"bare": "unlabelled"}
    finally:
        marks.set_mark(crop.name, None)


def test_a_row_counts_anew_when_its_crop_is_saved(studio, qtbot, settle, tissue_folder, tmp_path):
    from napari_monusac.synth import write_collection

    write_collection(tmp_path / "Kopie", 2, 1, seed=5, shape=(160, 192))
    studio.panels["Slides"].open_folder(tmp_path / "Kopie")
    qtbot.waitUntil(lambda: studio.model.crop is not None, timeout=60_000)
    settle()
    crop, collection = studio.model.crop, studio.model.collection
    item = studio.panels["Slides"].crops.items[crop.name]
    controller = studio.panels["Annotate"].controller
    qtbot.waitUntil(lambda: controller.session is not None and not controller.busy, timeout=30_000)
    before = dict(item.data(1, COUNTS_ROLE))
    known = collection.counts(crop)
    label = next(iter(controller.session.rows))
    controller.session.do(Delete([label]))
    assert studio.model.editing.unsaved
    assert dict(item.data(1, COUNTS_ROLE)) == before, "not before it is saved"
    studio.panels["Annotate"].saving.save()
    qtbot.waitUntil(lambda: sum(item.data(1, COUNTS_ROLE).values()) == sum(before.values()) - 1, timeout=30_000)
    assert sum(collection.counts(crop).values()) == sum(known.values()) - 1
    settle()


def test_a_damaged_file_costs_its_own_row_only(studio, settle, tmp_path):
    from napari_monusac.synth import write_collection

    write_collection(tmp_path / "a", 2, 1, seed=5, shape=(160, 192))
    broken = sorted((tmp_path / "a").rglob("*.xml"))[-1]
    broken.write_text("<Annotations>")
    panel = studio.panels["Slides"]
    panel.open_folder(tmp_path / "a")
    settle()
    panel._count()
    settle()
    assert "1 crop has a file that cannot be read" in panel.progress.label.text()
    assert [n for n, i in panel.crops.items.items() if not i.data(1, COUNTS_ROLE)] == [broken.stem]


def test_a_long_path_takes_few_lines_and_is_whole_on_hover(studio, settle, tmp_path):
    panel = studio.panels["Slides"]
    path = "/nowhere/" + "sehr_langer_ordnername_" * 4 + "/" + "noch_länger_äöü ß_" * 6
    panel.folder.box.setEditText(path)
    panel.folder._edited()
    settle()
    assert "…" in panel.opening.label.text()
    assert len(panel.opening.label.text()) < 220
    assert path in panel.opening.label.toolTip()
    assert path in panel.folder.box.toolTip()
    panel.folder.box.setEditText(str(tmp_path))
    panel.folder._edited()
    settle()
    assert "…" not in panel.opening.label.text()
    assert panel.opening.label.toolTip() == ""


def test_the_doctor_can_be_read_and_marks_what_it_means(opened, viewer, qtbot, settle, monkeypatch):
    from qtpy.QtWidgets import QScrollArea

    from napari_monusac.io.doctor.report import DoctorReport, finding

    collection = opened.model.collection
    crop = collection.crops[1]
    regions = collection.annotation(crop).regions
    at = tuple(regions[2].vertices.mean(0).tolist())
    long = "5 outlines touch themselves, each by less than 5 px², and this line goes on to tell more than fits on one"
    some = [finding("self-touching", long, crop, at=at, nuclei=(2, 3))]
    some += [finding("missing-um-per-px", "neither says how many um a pixel has", c) for c in collection.crops]
    report = DoctorReport(folder=str(collection.root), findings=tuple(some * 4))
    monkeypatch.setattr("napari_monusac.io.doctor.examine.examine", lambda *_a, **_k: report)
    viewer.window.resize(1280, 800)
    doctor = opened.panels["Slides"].doctor
    doctor.examine()
    settle()
    qtbot.wait(50)
    area = next(a for a in opened.findChildren(QScrollArea) if a.isAncestorOf(doctor.findings) and a.widget())
    seen = area.viewport().rect()
    for widget in (doctor.verdict, doctor.findings):
        top = widget.mapTo(area.viewport(), widget.rect().topLeft())
        assert seen.contains(top)
        assert seen.contains(widget.mapTo(area.viewport(), widget.rect().bottomLeft()))
    assert "outlines that touch themselves (4)" in doctor.verdict.text()
    assert "scale (µm a pixel) unknown" in doctor.verdict.text()
    assert doctor.findings.item(1, 2).text() == "neither says how many µm a pixel has"
    needed = doctor.findings.fontMetrics().boundingRect(
        0, 0, doctor.findings.columnWidth(2) - 8, 1000, int(Qt.TextFlag.TextWordWrap), long
    )
    assert doctor.findings.rowHeight(0) >= needed.height()
    names = [doctor.findings.item(i, 1).text() for i in range(1, len(collection.crops) + 1)]
    assert len(set(names)) == len(names)
    item = doctor.findings.item(0, 2)
    doctor.findings.selectRow(0)
    doctor._go_to_finding(item)
    qtbot.waitUntil(lambda: canvas.find_layer(viewer, "finding") is not None, timeout=30_000)
    settle()
    assert opened.model.crop.name == crop.name
    assert "an outline may touch itself" in doctor.explained.text()
    marks = canvas.find_layer(viewer, "finding")
    points = np.concatenate([regions[k].vertices for k in (2, 3)])
    drawn = marks.data[:, 0]
    assert np.abs(drawn.min(0) - points.min(0)).max() < 4
    assert np.abs(drawn.max(0) - points.max(0)).max() < 4
    assert viewer.layers.selection.active is not marks
    doctor.findings.selectRow(1)
    assert canvas.find_layer(viewer, "finding") is None


def test_names_in_a_narrow_column_tell_crops_apart():
    from napari_monusac.io.doctor.report import KINDS
    from napari_monusac.ui.slides.doctor import _PLAIN, brief_names

    def crop(patient, name):
        return SimpleNamespace(patient=patient, name=name)

    crops = [crop("TCGA-5P-A9K0", f"TCGA-5P-A9K0-01Z-00-DX1_{k}") for k in (1, 12)]
    crops.append(crop("TCGA-EJ-5495", "TCGA-EJ-5495-01Z-00-DX1_1"))
    crops.append(crop("slides", "a very long name of a crop 7"))
    assert list(brief_names(crops).values()) == ["A9K0 DX1_1", "A9K0 DX1_12", "5495 DX1_1", "…ame of a crop 7"]
    assert set(_PLAIN) == set(KINDS), "every kind has plain words"


@pytest.fixture
def cases(tmp_path):
    """Three synthetic crops whose folders and names are no barcodes: CaseA twice, CaseB once."""
    from napari_monusac.synth import write_collection

    root = tmp_path / "Fälle"
    made = write_collection(tmp_path / "made", 3, 1, seed=5, shape=(96, 96))
    for image, place in zip(sorted(made.rglob("*.svs")), ("CaseA/roi1", "CaseA/roi2", "CaseB/roi1"), strict=True):
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        for path in (image, image.with_suffix(".xml")):
            path.rename(target.with_suffix(path.suffix))
    return root


def test_patients_are_said_and_set_in_the_list(studio, qtbot, settle, cases):
    panel = studio.panels["Slides"]
    panel.open_folder(cases)
    qtbot.waitUntil(lambda: studio.model.crop is not None, timeout=30_000)
    settle()
    said = panel.patients.said.text()
    assert said.startswith("3 crops of 2 patients, taken from the folders.")
    assert "guess" not in said
    assert "3 crops of 2 patients, taken from the folders. Look" in studio.panels["Train"].form.patients.text()
    image = studio.model.crop.image
    panel.patients.set.click()
    assert not panel.crops.tree.isColumnHidden(3)
    assert panel.crops.tree.isColumnHidden(1)
    rows = [panel.crops.items[n] for n in ("CaseA/roi1", "CaseB/roi1")]
    assert [r.text(3) for r in rows] == ["CaseA", "CaseB"]
    for r in rows:
        r.setSelected(True)
    panel.crops.tree.itemDoubleClicked.emit(rows[0], 0)
    editor = panel.crops.tree.viewport().findChild(QLineEdit)
    assert editor is not None, "the cell can be typed into"
    editor.setText("Meier")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    wanted = {"CaseA/roi1": "Meier", "roi2": "CaseA", "CaseB/roi1": "Meier"}
    qtbot.waitUntil(lambda: panel.crops.patients() == wanted, timeout=5000)
    panel.patients.save.click()
    qtbot.waitUntil(lambda: studio.model.collection.grouping.file is not None, timeout=30_000)
    settle()
    assert (cases / "patients.csv").is_file()
    assert {c.name: c.patient for c in studio.model.collection} == {
        "roi2": "CaseA", "CaseA/roi1": "Meier", "CaseB/roi1": "Meier",
    }  # fmt: skip
    assert panel.patients.said.text().startswith("3 crops of 2 patients, taken from patients.csv (")
    assert "Look" not in panel.patients.said.text()
    assert studio.model.crop.image == image, "the open crop stays"
    assert studio.model.crop.patient == "Meier"
    assert "taken from patients.csv" in studio.panels["Train"].form.patients.text()
    panel.patients.set.click()
    panel.patients.found.click()
    qtbot.waitUntil(lambda: studio.model.collection.grouping.file is None, timeout=30_000)
    settle()
    assert not (cases / "patients.csv").exists()
    assert studio.model.collection.patients == ("CaseA", "CaseB")


def test_patients_of_a_table_and_a_wrong_table(studio, qtbot, settle, cases, tmp_path):
    panel = studio.panels["Slides"]
    panel.open_folder(cases)
    qtbot.waitUntil(lambda: studio.model.crop is not None, timeout=30_000)
    settle()
    (tmp_path / "wrong.csv").write_text("crop,who\nroi2,Meier\n")
    panel.patients.set.click()
    panel.patients.take_table(tmp_path / "wrong.csv")
    settle()
    assert "columns crop, who" in panel.patients.progress.label.text()
    assert not (cases / "patients.csv").exists()
    (tmp_path / "right.csv").write_text("crop,patient\nroi2,Meier\n")
    panel.patients.take_table(tmp_path / "right.csv")
    qtbot.waitUntil(lambda: studio.model.collection.grouping.file is not None, timeout=30_000)
    settle()
    assert studio.model.collection.crop("roi2").patient == "Meier"
    assert dict(studio.model.collection.grouping.sources) == {"given": 1, "folder": 2}


def test_a_folder_that_is_chosen_for_training_says_its_patients(studio, qtbot, settle, cases, tmp_path):
    form = studio.panels["Train"].form
    form.data.box.setEditText(str(cases))
    form.data._edited()
    settle()
    assert form.patients.text().startswith("3 crops of 2 patients, taken from the folders.")
    assert form.patients.text().endswith("Set them in Slides.")
    form.data.box.setEditText(str(tmp_path / "nowhere"))
    form.data._edited()
    settle()
    assert "does not exist" in form.patients.text()


def test_while_patients_are_set_no_name_of_a_crop_is_cut_off(opened, qtbot, settle):
    """The column of patients is as wide as its longest name, the rest is for the crops."""
    opened.show_panel("Slides")
    crops, patients = opened.panels["Slides"].crops, opened.panels["Slides"].patients
    patients.set.click()
    settle()
    header, metrics = crops.tree.header(), crops.tree.fontMetrics()
    longest = max(metrics.horizontalAdvance(name) for name in crops.patients().values())
    assert longest < header.sectionSize(3) <= max(90, longest + 16)
