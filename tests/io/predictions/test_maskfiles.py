"""Label maps as .tif, read back by tifffile and by us."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_monusac.core.errors import AnnotationError, HostileFileError, ShapeError
from napari_monusac.io.predictions import maskfiles
from napari_monusac.io.predictions.maskfiles import is_label_map, read_labels, write_labels, write_masks


@given(
    hnp.arrays(
        st.sampled_from([np.int32, np.uint8, np.int64, bool]),
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements={"min_value": 0},
    ),
    st.none() | st.floats(0.05, 10),
)
@settings(max_examples=100, deadline=None)
def test_any_map_comes_back(tmp_path_factory, labels, um_per_px):
    path = tmp_path_factory.mktemp("any") / "new" / "o.tif"
    if labels.max(initial=0) > 2**32 - 1:
        with pytest.raises(ShapeError, match="number them"):
            write_labels(labels, path)
        return
    write_labels(labels, path, um_per_px)
    np.testing.assert_array_equal(tifffile.imread(path), labels)
    back, size = read_labels(path)
    np.testing.assert_array_equal(back, labels)
    assert size == (None if um_per_px is None else pytest.approx(um_per_px, rel=1e-6))


@pytest.mark.parametrize(
    ("top", "dtype"), [(255, np.uint16), (65535, np.uint16), (65536, np.uint32), (2**32 - 1, np.uint32)]
)
def test_smallest_type_that_holds_the_labels(tmp_path, top, dtype):
    write_labels(np.array([[0, top]], np.int64), tmp_path / "o.tif")
    assert read_labels(tmp_path / "o.tif")[0].dtype == dtype


def test_resolution_is_stated_in_px_per_cm(tmp_path):
    write_labels(np.ones((4, 5), np.uint8), tmp_path / "o.tif", 0.25)
    with tifffile.TiffFile(tmp_path / "o.tif") as file:
        tags = file.pages.first.tags
        above, below = tags["XResolution"].value
        assert above / below == 40_000
        assert tags["ResolutionUnit"].value == 3


def test_the_maps_of_a_crop(tmp_path):
    maps = {
        "instances": np.ones((4, 5), np.int32),
        "semantic": np.ones((4, 5), np.uint8),
        "ignore": np.ones((4, 5), bool),
    }
    files = write_masks(tmp_path / "patient", "crop_1", maps, 0.25)
    assert [files[k].name for k in maps] == ["crop_1_instances.tif", "crop_1_semantic.tif", "crop_1_ignore.tif"]
    assert [read_labels(files[k])[0].dtype for k in maps] == [np.uint16, np.uint8, np.uint8]
    assert sorted(p.name for p in (tmp_path / "patient").iterdir()) == sorted(p.name for p in files.values())


@pytest.mark.parametrize("name", ["../evil", "a/b", r"a\b", "", "..", "a\0b", "C:evil", "a" * 300, "x\ny"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(AnnotationError, match="file name"):
        write_masks(tmp_path / "out", name, {"m": np.ones((2, 2), np.uint8)})
    assert not (tmp_path / "out").exists()


def test_wrong_maps_are_refused(tmp_path):
    with pytest.raises(ShapeError, match="differ in shape"):
        write_masks(tmp_path, "a", {"x": np.ones((2, 2), np.uint8), "y": np.ones((2, 3), np.uint8)})
    for wrong in (np.ones((2, 2)), np.ones((2, 2, 2), np.uint8), np.full((2, 2), -1), np.ones((0, 2), np.uint8)):
        with pytest.raises(ShapeError):
            write_labels(wrong, tmp_path / "o.tif")
    assert not list(tmp_path.iterdir())


def test_signed_maps_are_taken_and_impossible_labels_refused(tmp_path):
    """StarDist and Cellpose write int32; -3 and 7e10 are no numbers of nuclei."""
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    tifffile.imwrite(tmp_path / "i.tif", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "i.tif")[0], labels)
    for wrong, dtype in ((-3, np.int32), (70_000_000_000, np.int64), (2**32, np.uint64)):
        tifffile.imwrite(tmp_path / "w.tif", np.full((3, 4), wrong, dtype))
        with pytest.raises(AnnotationError, match=rf"holds the label {wrong} .*from 1 to"):
            read_labels(tmp_path / "w.tif")


def test_labels_as_floats_are_taken_where_they_are_whole(tmp_path):
    """Fiji (MorphoLibJ) writes label images of 32 bits; a map of probabilities is none, and is named with its value."""
    labels = np.arange(12, dtype=np.float32).reshape(3, 4)
    tifffile.imwrite(tmp_path / "f.tif", labels)
    assert is_label_map(tmp_path / "f.tif")
    found, _ = read_labels(tmp_path / "f.tif")
    assert found.dtype.kind == "i"
    np.testing.assert_array_equal(found, labels)
    for wrong, said in (
        (2.5, "value 2.5"),
        (np.nan, "value nan"),
        (np.inf, "value inf"),
        (-3, "label -3"),
        (7e10, "label 7"),
    ):
        labels[1, 1] = wrong
        tifffile.imwrite(tmp_path / "w.tif", labels)
        with pytest.raises(AnnotationError, match=rf"w\.tif: holds the {said}"):
            read_labels(tmp_path / "w.tif")


def test_stacks_are_no_label_maps_and_sizes_are_bounded(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "s.tif", np.ones((3, 40, 50), np.uint8), photometric="minisblack")
    assert not is_label_map(tmp_path / "s.tif")
    with pytest.raises(AnnotationError, match=r"\(3, 40, 50\)"):
        read_labels(tmp_path / "s.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((1 << 11, 1 << 11), np.uint8), compression="zlib")
    assert is_label_map(tmp_path / "b.tif")
    monkeypatch.setattr(maskfiles, "MAX_LABELS_PX", 1 << 20)
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", None)  # nothing is unpacked
    with pytest.raises(HostileFileError, match="px"):
        read_labels(tmp_path / "b.tif")


def test_unreadable_files(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\x00garbage")
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((4, 4, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((4, 4), np.complex64))
    write_labels(np.ones((50, 50), np.uint8), tmp_path / "cut.tif")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:200])
    for name in ("a.tif", "rgb.tif", "float.tif", "cut.tif", "none.tif"):
        with pytest.raises(AnnotationError) as caught:
            read_labels(tmp_path / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(AnnotationError, match="cannot be written"):
        write_labels(np.ones((2, 2), np.uint8), tmp_path / "file" / "o.tif")
