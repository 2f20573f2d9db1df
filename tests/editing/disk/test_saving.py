"""Saving, provenance, conflicts, history, and the corrected collection."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from napari_monusac.core.errors import AnnotationError, CollectionError, SessionError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.commands import Delete, DrawBrush, Reshape, SetClass, SetNote
from napari_monusac.editing.corrected import corrected_collection, corrected_path, corrected_sources
from napari_monusac.editing.disk.file import SaveConflict
from napari_monusac.editing.disk.provenance import sidecar_of
from napari_monusac.editing.progress import CropMarks
from napari_monusac.editing.session import EditingSession
from napari_monusac.io.annotations.files import read_annotation, write_annotation
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.collection.corrected_list import corrected_crops
from napari_monusac.io.splits import make_split
from napari_monusac.masks.rasterize import label_maps

SHAPE = (96, 64)


def partition(instances):
    """The map with its numbers in order of appearance."""
    _, first, inverse = np.unique(instances, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first[1:])) + 1
    return np.concatenate([[0], rank])[inverse].reshape(instances.shape)


def assert_saved(session, path):
    """The file, read again, gives the session's maps."""
    maps = label_maps(read_annotation(path), session.shape)
    assert np.array_equal(maps.instances > 0, session.maps.instances > 0)
    assert np.array_equal(partition(maps.instances), partition(session.maps.instances))
    assert np.array_equal(maps.semantic, session.maps.semantic)
    assert np.array_equal(maps.ignore, session.maps.ambiguous > 0)


def region_lines(path):
    """Regions of an XML as text, without the blanks between elements."""
    text = re.sub(r">\s+<", "><", path.read_text())
    return [part.split("</Region>")[0] for part in text.split("<Region ")[1:]]


def test_untouched_nuclei_keep_to_the_letter(crop):
    before = region_lines(crop)
    with EditingSession.open(crop, SHAPE, author="anna") as session:
        session.do(DrawBrush([(85, 10), (85, 30)], 7, class_="Neutrophil"))
        session.do(Reshape("shrink", [3]))
        report = session.save()
        assert (report.regions, report.untouched, report.redrawn) == (6, 4, 2)
        assert_saved(session, crop)
        assert not session.unsaved
    after = region_lines(crop)
    assert len(set(before) & set(after)) == 4
    assert crop.read_text().count("<Region ") == 6


def test_a_saving_without_edits_and_after_undoing_all_gives_the_bytes_back(crop, stress):
    original = crop.read_bytes()
    with EditingSession.open(crop, SHAPE) as session:
        session.save()
        assert crop.read_bytes() == original
        rng = np.random.default_rng(1)
        made = 0
        while made < 60:
            made += bool(stress.random_edit(session, rng))
        session.save()
        assert crop.read_bytes() != original
        assert_saved(session, crop)
        while session.history.can_undo:
            session.undo()
        assert session.unsaved, "the file now holds the edits"
        session.save()
        assert crop.read_bytes() == original
        write_annotation(session.annotation(), crop.with_name("again.xml"))
    assert crop.with_name("again.xml").read_bytes() == original


@pytest.mark.parametrize("seed", range(4))
def test_whatever_was_edited_the_file_draws_the_sessions_maps(tmp_path, stress, seed):
    path, shape = tmp_path / "crop.xml", (160, 160)
    write_annotation(stress.make_annotation(shape, 30, seed), path)
    with EditingSession.open(path, shape) as session:
        rng = np.random.default_rng(seed)
        for _ in range(60):
            stress.random_edit(session, rng)
        report = session.save()
        assert report.hidden == len(session.rows) - len(read_annotation(path).regions)
        assert_saved(session, path)


def test_an_upper_layer_is_trimmed_where_it_would_cover_a_drawn_nucleus(crop):
    """4 is a lymphocyte, of a later layer; an epithelial nucleus drawn over it must win in the file as well."""
    with EditingSession.open(crop, SHAPE) as session:
        session.do(SetClass("Macrophage", [1]))
        report = session.save()
        assert report.trimmed == 1, "1 lay below 2, its new layer lies above"
        assert session.rows[1].intact
        assert_saved(session, crop)
        session.undo()
        assert session.save().trimmed == 0


def test_monuseg_nuclei_get_a_layer_with_their_class(tmp_path):
    path = tmp_path / "seg.xml"
    regions = tuple(
        Nucleus(np.array([(t, t), (t, t + 9.5), (t + 9.5, t + 9.5)]), "", 0) for t in (2.0, 20.0, 40.0)
    )  # fmt: skip
    write_annotation(Annotation(regions), path)
    with EditingSession.open(path, (64, 64)) as session:
        assert session.nuclei.counts() == {255: 3}
        session.do(SetClass(3, [2]))
        session.save()
        assert_saved(session, path)
    assert read_annotation(path).counts() == {255: 2, 3: 1}


def test_an_unlabelled_crop_gets_its_first_file(tmp_path):
    path = tmp_path / "new.xml"
    with EditingSession.open(path, SHAPE, um_per_px=0.25, author="anna") as session:
        assert not session.unsaved
        session.do(DrawBrush([(20, 20)], 9, class_=2))
        session.do(DrawBrush([(50, 20)], 9, class_=0))
        session.do(DrawBrush([(80, 20)], 9, class_=5))
        assert session.nuclei.facts(1).area_um2 == pytest.approx(session.nuclei.facts(1).area_px / 16)
        session.save()
        assert_saved(session, path)
    again = read_annotation(path)
    assert again.um_per_px == 0.25
    assert again.counts() == {2: 1, 255: 1}
    assert len(again.ambiguous) == 1


@pytest.mark.parametrize("name", ["crop.geojson", "crop.geojson.gz"])
def test_geojson_is_edited_like_xml(tmp_path, overlapping, name):
    path = tmp_path / name
    write_annotation(overlapping, path)
    with EditingSession.open(path, SHAPE) as session:
        session.do(Delete([3]))
        session.do(DrawBrush([(85, 10), (85, 30)], 7, class_="Neutrophil"))
        session.save()
        assert_saved(session, path)
        session.save(tmp_path / "layers.xml")
        assert_saved(session, tmp_path / "layers.xml")


@pytest.mark.parametrize("seed", range(3))
def test_geojson_in_mixed_order_becomes_layers(tmp_path, stress, seed):
    """In an Aperio file the later layer lies on top: what lay on top before must be spared."""
    path, shape = tmp_path / "crop.geojson", (160, 160)
    made = stress.make_annotation(shape, 30, seed)
    rng = np.random.default_rng(seed)
    mixed = tuple(made.regions[i] for i in rng.permutation(len(made.regions)))
    write_annotation(Annotation(mixed), path)
    with EditingSession.open(path, shape) as session:
        for _ in range(10):
            stress.random_edit(session, rng)
        session.save()
        assert_saved(session, path)
        report = session.save(tmp_path / "layers.xml")
        assert report.trimmed
        assert_saved(session, tmp_path / "layers.xml")


def test_who_drew_what_comes_back(crop):
    with EditingSession.open(crop, SHAPE, author="anna") as session:
        new = session.do(DrawBrush([(85, 10), (85, 30)], 7, class_=3)).created[0]
        session.do(SetNote("look again", [3]))
        session.save()
        row = session.rows[new]
    with EditingSession.open(crop, SHAPE, author="bert") as session:
        (again,) = [r for r in session.rows.values() if r.provenance == "human"]
        assert (again.author, again.time, again.class_id) == ("anna", row.time, 3)
        assert session.rows[3].note == "look again"
        assert session.rows[3].provenance == "file"
        assert not session.unsaved
        session.do(SetClass(1, [again.id]))
        session.save()
    content = json.loads(sidecar_of(crop).read_text())
    assert [s["author"] for s in content["savings"]] == ["anna", "bert"]
    assert len(content["nuclei"]) == 2
    sidecar_of(crop).write_text("{")
    with pytest.raises(SessionError, match="who drew what cannot be read"):
        EditingSession.open(crop, SHAPE)


def test_two_people_save_the_same_crop(crop):
    anna = EditingSession.open(crop, SHAPE, author="anna")
    bert = EditingSession.open(crop, SHAPE, author="bert")
    anna.do(Delete([1]))
    bert.do(Delete([2]))
    assert len(list((crop.parent / ".monusac").glob("*.journal"))) == 2
    bert.save()
    theirs = crop.read_bytes()
    with pytest.raises(SaveConflict, match=r"changed by bert at .* nothing is overwritten") as caught:
        anna.save()
    assert crop.read_bytes() == theirs
    assert caught.value.suggested.name == "TCGA-AA-0001_1.anna.xml"
    assert anna.unsaved
    anna.save(caught.value.suggested)
    assert anna.unsaved, "a copy is no saving of this file"
    assert_saved(anna, caught.value.suggested)
    report = anna.save(on_conflict="overwrite")
    assert not anna.unsaved
    assert report.backup.read_bytes() == theirs
    anna.close()
    bert.close()
    assert not list((crop.parent / ".monusac").glob("*.journal"))


def test_every_version_is_kept(crop):
    versions = [crop.read_bytes()]
    with EditingSession.open(crop, SHAPE) as session:
        for k in (1, 2, 3):
            session.do(Delete([k]))
            session.save()
            versions.append(crop.read_bytes())
        session.save()
        kept = session.file.earlier_versions()
    assert [p.name for p in kept] == [f"{crop.name}.~{k}~" for k in (1, 2, 3)]
    assert [p.read_bytes() for p in kept] == versions[:-1]


def test_a_disk_that_refuses_loses_nothing(crop, monkeypatch):
    original = crop.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with EditingSession.open(crop, SHAPE) as session:
        session.do(Delete([1]))
        with monkeypatch.context() as patched:
            patched.setattr("napari_monusac.editing.disk.file.atomic_write_bytes", full)
            with pytest.raises(AnnotationError, match="No space left"):
                session.save()
        assert crop.read_bytes() == original
        assert session.unsaved
        session.save()
        assert not session.unsaved


def test_in_memory_there_is_nothing_to_save_to(overlapping, tmp_path):
    session = EditingSession(overlapping, SHAPE)
    session.do(Delete([1]))
    assert session.unsaved
    with pytest.raises(SessionError, match="has no file"):
        session.save()
    session.save(tmp_path / "copy.xml")
    assert_saved(session, tmp_path / "copy.xml")


# -- training on what was corrected ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, overlapping):
    """Three crops of two patients with images."""
    import tifffile

    root = tmp_path / "MoNuSAC_images_and_annotations"
    for patient, number in [("TCGA-AA-0001", 1), ("TCGA-AA-0001", 2), ("TCGA-BB-0002", 1)]:
        place = root / patient
        place.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(number)
        tifffile.imwrite(place / f"{patient}_{number}.tif", rng.integers(0, 255, (*SHAPE, 3), np.uint8))
        write_annotation(overlapping, place / f"{patient}_{number}.xml")
    return root


def test_corrected_crops_become_a_folder_to_train_on(folder, tmp_path):
    crops = open_collection(folder).crops
    with pytest.raises(SessionError, match="no crop is corrected"):
        corrected_collection(folder, tmp_path / "out")
    with EditingSession.open(crops[0].annotation, SHAPE, author="anna") as session:
        session.do(Delete([1]))
        session.save()
    made = corrected_collection(folder, tmp_path / "out")
    assert made.crops == (crops[0].name,)
    assert dict(made.left_out)[crops[1].name] == "nobody has corrected it"
    again = open_collection(made.folder)
    assert [c.name for c in again.crops] == [crops[0].name]
    assert len(again.annotation(again.crops[0]).nuclei) == 3
    assert again.open(again.crops[0]).shape == SHAPE
    everything = corrected_collection(folder, tmp_path / "out", which="labelled")
    assert len(everything.crops) == 3
    assert len(open_collection(tmp_path / "out").patients) == 2


def test_corrected_crops_come_with_the_other_labelled_ones_and_are_marked(folder, tmp_path):
    """One corrected crop is no training set: with the others of its folder there is a patient left to validate."""
    crops = open_collection(folder).crops
    with pytest.raises(SessionError, match="no crop is corrected"):
        corrected_collection(folder, tmp_path / "out", others=True)
    assert not (tmp_path / "out").exists(), "nothing is gathered for nothing"
    with EditingSession.open(crops[0].annotation, SHAPE, author="anna") as session:
        session.do(Delete([1]))
        session.save()
    assert corrected_sources(open_collection(folder)) == {crops[0].name: crops[0].annotation}
    made = corrected_collection(folder, tmp_path / "out", others=True)
    assert made.crops == tuple(c.name for c in crops)
    assert made.others == tuple(c.name for c in crops[1:])
    again = open_collection(made.folder)
    assert corrected_crops(again) == (crops[0].name,)
    split = make_split(again)
    assert split.validation_patients == ("TCGA-BB-0002",), "not the patient who was corrected"
    assert split.training == tuple(c.name for c in crops[:2])
    assert len(again.annotation(again.crop(crops[0].name)).nuclei) == 3


def test_done_crops_and_a_work_folder(folder, tmp_path):
    collection = open_collection(folder)
    crop = collection.crops[2]
    work = tmp_path / "work"
    target = corrected_path(crop, work)
    target.parent.mkdir(parents=True)
    target.write_bytes(crop.annotation.read_bytes())
    with EditingSession.open(target, SHAPE, author="anna") as session:
        session.do(Delete([1, 2]))
        session.save()
    progress = CropMarks(work, work=True)
    progress.set_mark(crop.name, "done", author="anna")
    made = corrected_collection(folder, tmp_path / "out", which="done", work=work, progress=progress)
    assert made.crops == (crop.name,)
    again = open_collection(made.folder)
    assert len(again.annotation(again.crops[0]).nuclei) == 2
    assert len(collection.annotation(crop).nuclei) == 4, "the collection itself is untouched"


def test_where_the_disk_knows_no_links_images_are_copied(folder, tmp_path, monkeypatch):
    def no(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("napari_monusac.editing.corrected.os.symlink", no)
    monkeypatch.setattr("napari_monusac.editing.corrected.os.link", no)
    made = corrected_collection(folder, tmp_path / "out", which="labelled")
    assert made.copied == 3
    copy = tmp_path / "out" / "TCGA-BB-0002" / "TCGA-BB-0002_1.tif"
    assert not copy.is_symlink()
    assert copy.read_bytes() == (folder / "TCGA-BB-0002" / "TCGA-BB-0002_1.tif").read_bytes()


# -- real files --------------------------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize(
    "pattern", ["*images*/*/TCGA-5P-A9K0*_2.xml", "*Testing*/*/TCGA-IZ-A6M9*_1.xml", "../monuseg/TCGA-21-5784*.xml"]
)
def test_real_files_keep_their_bytes_and_draw_what_was_edited(shared_data, tmp_path, stress, pattern):
    source = next(iter(sorted((shared_data / "monusac").glob(pattern))))
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    annotation = read_annotation(path)
    corner = np.concatenate([r.vertices for r in annotation.regions if len(r.vertices)]).max(0)
    shape = (int(corner[0]) - 3, int(corner[1]) - 3)  # some vertices lie outside
    with EditingSession.open(path, shape, author="anna") as session:
        session.save()
        assert path.read_bytes() == source.read_bytes()
        rng = np.random.default_rng(2)
        made = 0
        while made < 25:
            made += bool(stress.random_edit(session, rng))
        report = session.save()
        assert report.untouched > 0.5 * report.regions
        assert_saved(session, path)
        kept = set(region_lines(source)) & set(region_lines(path))
        assert len(kept) >= report.untouched - sum(r.class_provenance == "human" for r in session.rows.values())
        while session.history.can_undo:
            session.undo()
        session.save()
    assert path.read_bytes() == source.read_bytes()


def test_corrected_crops_keep_their_patients(folder, tmp_path):
    """Folders of the new layout are those of the images: a list says whose crop is whose, and how that is known."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for k, path in enumerate(sorted(folder.rglob("*.tif"))):
        name = ("Meier_1", "Meier_2", "Huber_1")[k]
        path.rename(flat / f"{name}.tif")
        path.with_suffix(".xml").rename(flat / f"{name}.xml")
    (flat / "patients.csv").write_text("crop,patient\nMeier_2,Schmid\n")
    made = corrected_collection(flat, tmp_path / "out", which="labelled")
    told = {c.name: (c.patient, c.patient_source) for c in open_collection(made.folder)}
    expected = {"Meier_1": ("Meier", "name"), "Meier_2": ("Schmid", "given"), "Huber_1": ("Huber", "name")}
    assert told == expected
    again = corrected_collection(flat, tmp_path / "out", which="labelled")
    assert {c.name: (c.patient, c.patient_source) for c in open_collection(again.folder)} == expected
    with pytest.raises(CollectionError, match="choose a folder outside of it"):
        corrected_collection(flat, flat / "to-train", which="labelled")


def test_a_region_of_interest_and_marks_outlive_an_edit_to_the_letter(tmp_path):
    path = tmp_path / "a_1.xml"

    def square(top, left, bottom, right, label="Epithelial"):
        return Nucleus(np.array([(top, left), (top, right), (bottom, right), (bottom, left)], float), label, layer=-1)

    border = square(2, 2, 90, 60, "Annotated area")
    write_annotation(Annotation((square(10, 10, 20, 20), square(40, 10, 50, 20), border)), path)
    arrow = (
        '<Region Id="9" Type="3"><Attributes/><Vertices><Vertex X="1" Y="1"/><Vertex X="9" Y="9"/></Vertices></Region>'
    )
    text = path.read_text()
    path.write_text(text.replace("</Region>", f"</Region>{arrow}", 1))
    before = region_lines(path)
    with EditingSession.open(path, SHAPE) as session:
        assert session.nuclei.counts() == {1: 2}
        assert session.maps.instances.max() == 2
        session.do(DrawBrush([(70, 30), (70, 40)], 5, class_="Neutrophil"))
        session.do(Delete([1]))
        session.save()
        assert_saved(session, path)
    after = region_lines(path)
    assert len(after) == 4
    assert set(after) & set(before) == {before[1], before[2], before[3]}
    saved = read_annotation(path)
    assert [len(saved.regions_of_interest), len(saved.marks), len(saved.nuclei)] == [1, 1, 2]
