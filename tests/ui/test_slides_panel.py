from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_monusac.core.classes import CLASSES
from napari_monusac.ui import canvas
from napari_monusac.ui.chips import COUNTS_ROLE
from napari_monusac.ui.slides_panel import crop_status


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
    with qtbot.waitSignal(task.finished, timeout=20_000):
        pass
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
    from napari_monusac.io.annotations import write_annotation
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


def test_status_is_shown_and_filtered(opened, settle, tmp_path):
    from napari_monusac.session.progress import Progress

    panel, crop = opened.panels["Slides"], opened.model.crop
    assert panel.crops.items[crop.name].toolTip(2) == "labelled"
    marks = Progress(opened.model.collection.root)
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
