"""The challenge's .mat layout: read by SciPy as the organisers' scorer does, and by us."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import AnnotationError, HostileFileError, ShapeError
from napari_monusac.io.predictions import nary
from napari_monusac.io.predictions.nary import nary_maps, read_nary, write_nary


@given(hnp.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 6)), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_crop_comes_back(tmp_path_factory, instances, ambiguous):
    root = tmp_path_factory.mktemp("nary")
    classes = {1: 1, 2: 4, 3: 2, 4: 3, 5: 4, 6: 255}
    ignore = (np.indices(instances.shape).sum(0) % 2).astype(bool) & ambiguous
    maps, left_out = nary_maps(instances, classes, ignore)
    assert left_out == ((6,) if (instances == 6).any() else ())
    files = write_nary(root, "TCGA-A", "TCGA-A_1", maps)
    for path in files:
        # as PQ_metric.ipynb reads: any file of the class folder, this key
        mask = scipy.io.loadmat(path)["n_ary_mask"]
        name = path.parent.name
        assert path.relative_to(root).parts[:2] == ("TCGA-A", "TCGA-A_1")
        if name == "Ambiguous":
            np.testing.assert_array_equal(mask > 0, ignore)
            continue
        own = [k for k, c in classes.items() if c == NucleusClass.from_label(name)]
        np.testing.assert_array_equal(mask, np.where(np.isin(instances, own), instances, 0))
    (root / "TCGA-A" / "TCGA-A_1").mkdir(parents=True, exist_ok=True)
    back = read_nary(root / "TCGA-A" / "TCGA-A_1", instances.shape)
    np.testing.assert_array_equal(back.ignore, ignore)
    wanted = np.where(instances == 6, 0, instances)
    np.testing.assert_array_equal(back.instances > 0, wanted > 0)
    pairs = set(zip(wanted[wanted > 0].tolist(), back.instances[wanted > 0].tolist(), strict=True))
    assert len({a for a, _ in pairs}) == len(pairs) == len({b for _, b in pairs}) == len(back.classes)
    assert all(back.classes[b] == classes[a] for a, b in pairs)


def test_the_organisers_layout_with_overlaps_floats_and_binary_masks(tmp_path):
    for name, mask in {
        "Epithelial": np.pad(np.full((4, 4), 12.0), 1),
        "Macrophage": np.pad(np.full((3, 3), 900, np.uint16), ((0, 3), (0, 3))),
        "Ambiguous": np.eye(6, dtype=np.uint8) * 255,
    }.items():
        (tmp_path / name).mkdir()
        scipy.io.savemat(tmp_path / name / "17_mask.mat", {"n_ary_mask": mask, "other": 1})
    found = read_nary(tmp_path)
    assert found.classes == {1: NucleusClass.EPITHELIAL, 2: NucleusClass.MACROPHAGE}
    assert found.instances[1, 1] == 2
    assert found.instances[4, 4] == 1
    np.testing.assert_array_equal(found.ignore, np.eye(6, dtype=bool))


def test_names_classes_and_shapes_that_do_not_fit(tmp_path):
    mask = np.ones((3, 3), np.int32)
    for patient, crop in [("../x", "a"), ("a", "b/c"), ("a", "..")]:
        with pytest.raises(AnnotationError, match="file name"):
            write_nary(tmp_path / "out", patient, crop, {"Epithelial": mask})
    with pytest.raises(AnnotationError, match="no class"):
        write_nary(tmp_path / "out", "a", "b", {"../Epithelial": mask})
    with pytest.raises(ShapeError, match="differ"):
        write_nary(tmp_path / "out", "a", "b", {"Epithelial": mask, "Macrophage": mask[:2]})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"MATLAB 5.0" + b"\0" * 200,
        {"n_ary_mask": np.ones((2, 2, 2))},
        {"n_ary_mask": np.full((3, 3), 0.5)},
        {"n_ary_mask": np.full((3, 3), np.nan)},
        {"n_ary_mask": -np.ones((3, 3))},
        {"n_ary_mask": "text"},
        {"other": 1},
        {"n_ary_mask": np.full((3, 3), 1e300)},
        {"n_ary_mask": np.ones((4, 4))},
    ],
)
def test_damaged_masks_are_refused_with_one_line(tmp_path, content):
    (tmp_path / "Epithelial").mkdir()
    path = tmp_path / "Epithelial" / "1_mask.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        scipy.io.savemat(path, content)
    with pytest.raises(AnnotationError) as caught:
        read_nary(tmp_path, (3, 3))
    assert "\n" not in str(caught.value)


def test_cut_off_and_flipped_files_give_our_error(tmp_path):
    path = write_nary(tmp_path, "p", "c", {"Epithelial": np.arange(400, dtype=np.int32).reshape(20, 20)})[0]
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole[: rng.integers(0, len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.integers(1, 4)):
            if damaged:
                damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(damaged)
        with suppress(AnnotationError):
            assert read_nary(tmp_path / "p" / "c").instances.ndim == 2


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(nary, "MAX_MASK_PX", 1 << 20)
    (tmp_path / "Epithelial").mkdir()
    zeros = np.zeros((1 << 11, 1 << 10), np.uint8)
    scipy.io.savemat(tmp_path / "Epithelial" / "a.mat", {"n_ary_mask": zeros}, do_compression=True)
    assert (tmp_path / "Epithelial" / "a.mat").stat().st_size < 1 << 13
    with pytest.raises(HostileFileError, match="px"):
        read_nary(tmp_path)


def test_empty_folders_and_two_masks(tmp_path):
    with pytest.raises(AnnotationError, match="no mask"):
        read_nary(tmp_path)
    assert not read_nary(tmp_path, (3, 4)).instances.any()
    (tmp_path / "Epithelial").mkdir()
    for name in "ab":
        scipy.io.savemat(tmp_path / "Epithelial" / f"{name}.mat", {"n_ary_mask": np.ones((3, 3))})
    with pytest.raises(AnnotationError, match="2 masks"):
        read_nary(tmp_path)


def test_the_same_masks_are_the_same_bytes(tmp_path, monkeypatch):
    mask = np.arange(12, dtype=np.int32).reshape(3, 4)
    first = write_nary(tmp_path / "a", "p", "c", {"Epithelial": mask})[0].read_bytes()
    monkeypatch.setattr("scipy.io.matlab._mio5.time.asctime", lambda: "another day")
    second = write_nary(tmp_path / "b", "p", "c", {"Epithelial": mask})[0]
    assert second.read_bytes() == first
    assert np.array_equal(scipy.io.loadmat(second)["n_ary_mask"], mask)
