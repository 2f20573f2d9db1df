"""Corrections of read-only data: kept by what a collection is, not by what it is called; found again when it moves."""

from __future__ import annotations

import shutil
from contextlib import suppress

import pytest

from napari_monusac.editing import progress
from napari_monusac.editing.commands import Delete, SetNote
from napari_monusac.editing.disk.kept import bring_here, kept_path
from napari_monusac.editing.disk.provenance import sidecar_of
from napari_monusac.editing.disk.workplace import work_folder
from napari_monusac.editing.progress import CropMarks, marks_of
from napari_monusac.editing.session import EditingSession
from napari_monusac.io.annotations.files import write_annotation

SHAPE = (96, 64)


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("MONUSAC_WORK", str(tmp_path / "work"))
    return tmp_path / "work"


@pytest.fixture
def sites(tmp_path, overlapping):
    """Two sites whose folders bear the same names."""
    found = []
    for k, site in enumerate(("siteA", "siteB")):
        image = tmp_path / site / "slides" / "case1" / "1.tif"
        image.parent.mkdir(parents=True)
        image.write_bytes(bytes([k]) * 5000)
        regions = overlapping.regions[k:]
        write_annotation(type(overlapping)(regions, um_per_px=0.25), image.with_suffix(".xml"))
        found.append(image)
    return found


def opened(image, collection, annotation="beside"):
    """Open as the window does a crop whose folder cannot be written."""
    annotation = image.with_suffix(".xml") if annotation == "beside" else annotation
    place = kept_path(image, collection)
    word = bring_here(place, image, annotation, collection)
    if annotation is not None and not place.exists():
        shutil.copyfile(annotation, place)
    return EditingSession.open(place, SHAPE, author="anna"), word


@pytest.mark.parametrize("level", [1, 2, 3, None])
def test_two_collections_of_one_name_do_not_meet(sites, level):
    """Opened as the crop's own folder, as "slides", as the site, and without any collection."""
    a, b = sites
    roots = [None if level is None else image.parents[level - 1] for image in sites]
    with opened(a, roots[0])[0] as session:
        session.do(SetNote("of site A", [1]))
        session.do(Delete([2]))
        session.save()
    with opened(b, roots[1])[0] as session:
        assert len(session.rows) == 4
        assert not any(r.note for r in session.rows.values())
        session.do(Delete([3]))
    assert len(list(work_folder().rglob("1.xml"))) == 2
    with opened(a, roots[0])[0] as session:
        assert session.rows[1].note == "of site A"
        assert session.restored is None


def test_two_folders_of_one_name_in_one_collection(sites, tmp_path):
    places = {kept_path(image, tmp_path) for image in sites}
    assert len(places) == 2
    assert all(p.is_relative_to(work_folder(tmp_path)) for p in places)


def keep_as_before(image, root):
    """What earlier versions left: a place by the names of collection and folder."""
    old = work_folder() / root.name / image.parent.name / "1.xml"
    old.parent.mkdir(parents=True)
    shutil.copyfile(image.with_suffix(".xml"), old)
    with EditingSession.open(old, SHAPE, author="anna") as session:
        session.do(SetNote("of long ago", [1]))
        session.do(Delete([2]))
        session.save()
        session.do(Delete([3]))
    return old


def test_an_old_place_is_found_by_what_it_began_with_and_moved_once(sites):
    a, b = sites
    old = keep_as_before(a, a.parents[1])
    session, word = opened(b, b.parents[1])
    assert "began with another annotation: not used" in word
    assert len(session.rows) == 4
    session.close()
    session, word = opened(a, a.parents[1])
    assert "moved here" in word
    assert session.restored.edits == 3, "two were saved, and one waited in the journal"
    assert session.rows[1].note == "of long ago"
    assert len(session.file.earlier_versions()) == 1
    session.save()
    session.close()
    assert not old.exists()
    assert not sidecar_of(old).exists()
    session, word = opened(a, a.parents[1])
    assert word == ""
    session.close()


@pytest.mark.parametrize("moment", range(1, 8))
def test_a_move_that_was_killed_goes_on(sites, monkeypatch, moment):
    from napari_monusac.editing.disk import kept

    a, _ = sites
    old = keep_as_before(a, a.parents[1])
    real, calls = kept.replace_file, []

    def killed(source, target):
        calls.append(source)
        if len(calls) == moment:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(kept, "replace_file", killed)
        with suppress(KeyboardInterrupt):
            opened(a, a.parents[1])[0].close()
    assert old.exists() == (len(calls) == moment)
    session, _ = opened(a, a.parents[1])
    assert session.rows[1].note == "of long ago"
    assert session.restored.edits == 3
    session.close()


def test_a_collection_that_moves_keeps_its_corrections_and_a_copy_does_not_take_them(sites, tmp_path):
    a, _ = sites
    with opened(a, a.parents[1])[0] as session:
        session.do(Delete([1]))
        session.save()
    shutil.copytree(tmp_path / "siteA", tmp_path / "copy")
    session, word = opened(tmp_path / "copy" / "slides" / "case1" / "1.tif", tmp_path / "copy" / "slides")
    assert (len(session.rows), word) == (5, "")
    session.close()
    (tmp_path / "siteA").rename(tmp_path / "elsewhere")
    session, word = opened(tmp_path / "elsewhere" / "slides" / "case1" / "1.tif", tmp_path / "elsewhere")
    assert "came along" in word
    assert len(session.rows) == 4
    session.close()


def test_marks_of_two_collections_of_one_name(sites, monkeypatch):
    monkeypatch.setattr(progress, "writable", lambda _: False)
    a, b = (image.parents[1] for image in sites)
    old = CropMarks(work_folder() / "slides", work=True)
    old.set_mark("case1/1", "done", author="anna")
    assert marks_of(b, ["case2/7"]).mark_of("case1/1") is None, "not of these crops"
    assert marks_of(a, ["case1/1"]).mark_of("case1/1").author == "anna"
    assert marks_of(b, ["case1/1"]).mark_of("case1/1") is None, "moved once"
    marks_of(b, ["case1/1"]).set_mark("case1/1", "reviewed")
    assert marks_of(a, ["case1/1"]).mark_of("case1/1").mark == "done"


def test_crops_of_one_name_do_not_meet_in_the_folder_to_train_on(tmp_path, overlapping):
    import numpy as np
    import tifffile

    from napari_monusac.editing.corrected import corrected_collection
    from napari_monusac.io.collection.collection import open_collection

    rng = np.random.default_rng(0)
    for site in ("siteA", "siteB"):
        folder = tmp_path / "data" / site / "case1"
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / "1.tif", rng.integers(0, 255, (*SHAPE, 3), np.uint8))
        write_annotation(overlapping, folder / "1.xml")
    made = corrected_collection(tmp_path / "data", tmp_path / "out", which="labelled")
    again = open_collection(made.folder)
    assert len(again.crops) == 2
    assert len({c.image.resolve() for c in again.crops}) == 2
