"""Which file is edited: the crop's own, a copy where that cannot be written, a region of a slide that is too large."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_monusac.app import place as app_place
from napari_monusac.app.place import how_it_opened, open_session, place_of
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.commands import Delete
from napari_monusac.io.annotations.files import read_annotation, write_annotation

SQUARE = Nucleus(np.array([(4.0, 4.0), (4.0, 11.0), (11.0, 11.0), (11.0, 4.0)]), "Epithelial", 0, integral=True)


@pytest.fixture
def about(tmp_path):
    """What the layers of a crop know of it."""
    write_annotation(Annotation((SQUARE,)), tmp_path / "crop.xml")
    (tmp_path / "crop.svs").write_bytes(b"a slide")
    return {"image": str(tmp_path / "crop.svs"), "crop": "crop", "annotation": str(tmp_path / "crop.xml")}


def test_without_a_file_there_is_nothing_to_edit():
    assert place_of({}, (40, 60), 0.25) is None


def test_the_annotation_is_edited_where_it_lies(about, tmp_path):
    place = place_of(about, (40, 60), 0.25, boundary_width=5)
    assert place.path == tmp_path / "crop.xml"
    assert (place.shape, place.whole, place.part) == ((40, 60), (40, 60), (0, 0, 40, 60))
    assert (place.um_per_px, place.boundary_width, place.copied, place.large) == (0.25, 5, False, False)


def test_a_crop_without_labels_gets_a_file_beside_the_image(about, tmp_path):
    assert place_of({**about, "annotation": None}, (40, 60), None).path == tmp_path / "crop.xml"


def test_of_a_huge_slide_a_region_is_chosen_first(about):
    place = place_of({**about, "offset_px": (100, 200)}, (40, 60), 0.25)
    assert place.whole == (140, 260)
    assert place.large
    region = replace(place, offset_px=(110, 220), shape=(20, 30))
    assert not region.large
    assert region.part == (110, 220, 20, 30)


def test_where_the_folder_cannot_be_written_a_copy_is_edited_and_it_says_so(about, tmp_path, monkeypatch):
    monkeypatch.setattr(app_place, "writable", lambda _: False)
    monkeypatch.setenv("MONUSAC_WORK", str(tmp_path / "work"))
    place = place_of(about, (40, 60), 0.25)
    assert place.copied
    assert tmp_path / "work" in place.path.parents
    before = (tmp_path / "crop.xml").read_bytes()
    session = open_session(place, "anna", "auto")
    session.do(Delete([1]))
    session.save()
    session.close()
    assert (tmp_path / "crop.xml").read_bytes() == before
    assert not read_annotation(place.path).regions
    assert str(place.path.parent) in how_it_opened(place, session)[0]


def test_edits_that_come_back_are_told(about):
    place = place_of(about, (40, 60), 0.25)
    session = open_session(place, "anna", "auto")
    assert how_it_opened(place, session) == ("", "hint")
    session.do(Delete([1]))
    session.close()
    again = open_session(place, "anna", "auto")
    words, kind = how_it_opened(place, again)
    assert words.startswith("One edit that was not saved came back, the last by anna")
    assert kind == "good"
    again.close(discard=True)
