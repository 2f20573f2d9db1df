"""label_maps against skimage.draw.polygon, region by region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import draw

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import HostileFileError, ShapeError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.masks import scanline
from napari_monusac.masks.rasterize import Overlap, label_maps

SHAPE = (23, 31)
whole = st.integers(-8, 40).map(float)
halves = st.integers(-16, 80).map(lambda v: v / 2)
thirds = st.integers(-24, 120).map(lambda v: v / 3)
floats = st.floats(-10, 45, allow_nan=False, width=64)
# right beside whole numbers: where skimage's tolerance and its rounding decide
near = st.builds(
    lambda v, e: v + e, st.integers(0, 30).map(float), st.sampled_from([1e-13, -1e-13, 1e-12, 1e-11, -1e-9])
)
polygons = st.one_of(
    [st.lists(st.tuples(c, c), min_size=3, max_size=12) for c in (whole, halves, thirds, floats, near, whole | near)]
).map(lambda points: np.array(points, float))


def reference(annotation, shape):
    """Straight from the definition: one region after the other, and who overwrote whom."""
    instances, semantic, ignore = np.zeros(shape, int), np.zeros(shape, int), np.zeros(shape, bool)
    lost = {}
    k = 0
    for region in annotation.regions:
        if len(region.vertices) < 3:
            continue
        rows, columns = draw.polygon(region.vertices[:, 0], region.vertices[:, 1], shape)
        if region.label == "Ambiguous":
            ignore[rows, columns] = True
            continue
        k += 1
        for earlier in instances[rows, columns]:
            if earlier:
                lost[earlier, k] = lost.get((earlier, k), 0) + 1
        instances[rows, columns] = k
        semantic[rows, columns] = region.nucleus_class
    return instances, semantic, ignore, tuple(Overlap(int(a), b, n) for (a, b), n in sorted(lost.items()))


def check(annotation, shape):
    instances, semantic, ignore, overlaps = reference(annotation, shape)
    maps = label_maps(annotation, shape)
    np.testing.assert_array_equal(maps.instances, instances)
    np.testing.assert_array_equal(maps.semantic, semantic)
    np.testing.assert_array_equal(maps.ignore, ignore)
    assert maps.overlaps == overlaps
    assert maps.overlap_px == sum(o.pixels for o in overlaps)


@given(polygons)
@settings(max_examples=600, deadline=None)
def test_one_polygon_equals_skimage(vertices):
    check(Annotation((Nucleus(vertices, "Epithelial"),)), SHAPE)


@given(
    st.lists(
        st.tuples(polygons, st.sampled_from(["Epithelial", "Macrophage", "", "Mast cell", "Ambiguous"])), max_size=8
    )
)
@settings(max_examples=200, deadline=None)
def test_many_polygons_lie_over_each_other_in_file_order(regions):
    check(Annotation(tuple(Nucleus(v, label) for v, label in regions)), SHAPE)


@given(st.lists(polygons, min_size=1, max_size=6), st.integers(1, 400))
@settings(max_examples=150, deadline=None)
def test_working_in_chunks_and_strips_changes_nothing(outlines, chunk):
    before = scanline.CHUNK_PX
    scanline.CHUNK_PX = chunk
    try:
        check(Annotation(tuple(Nucleus(v, "Lymphocyte") for v in outlines)), SHAPE)
    finally:
        scanline.CHUNK_PX = before


def test_real_crops_equal_skimage(shared_data):
    from napari_monusac.io.annotations.aperio import read_aperio

    files = sorted(shared_data.rglob("*.xml"))
    for path in files[::6]:
        check(read_aperio(path), (700, 900))


def test_dtypes_and_hidden_nuclei():
    square = np.array([[2, 2], [2, 8], [8, 8], [8, 2]], float)
    maps = label_maps(Annotation((Nucleus(square, "Epithelial"), Nucleus(square, "Macrophage"))), (10, 10))
    assert (maps.instances.dtype, maps.semantic.dtype, maps.ignore.dtype) == (np.int32, np.uint8, np.bool_)
    assert set(np.unique(maps.instances)) == {0, 2}
    assert maps.overlaps == (Overlap(1, 2, 49),)


def test_ambiguous_regions_leave_the_nuclei_under_them():
    square = np.array([[2, 2], [2, 8], [8, 8], [8, 2]], float)
    maps = label_maps(Annotation((Nucleus(square, "Neutrophil"), Nucleus(square, "Ambiguous"))), (10, 10))
    assert maps.ignore.sum() == 49
    assert (maps.semantic == NucleusClass.NEUTROPHIL).sum() == 49


def test_unknown_classes_are_255_and_degenerate_regions_are_not_numbered():
    square = np.array([[2, 2], [2, 8], [8, 8], [8, 2]], float)
    regions = (Nucleus(square[:2], "Epithelial"), Nucleus(square, "Mast cell"))
    maps = label_maps(Annotation(regions), (10, 10))
    assert set(np.unique(maps.instances)) == {0, 1}
    assert set(np.unique(maps.semantic)) == {0, 255}


def test_empty_annotation():
    maps = label_maps(Annotation(), (4, 5))
    assert not maps.instances.any()
    assert maps.overlaps == ()


@pytest.mark.parametrize("shape", [(0, 5), (5,), (5, 5, 3), (-1, 5), (2.5, 5), (1 << 20, 1 << 20)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match=r"shape|GiB"):
        label_maps(Annotation(), shape)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e8])
def test_wrong_coordinates_are_refused(value):
    with pytest.raises(ShapeError, match="coordinate"):
        label_maps(Annotation((Nucleus(np.array([[0, 0], [1, value], [2, 2]])),)), (9, 9))


def test_endless_overlaps_are_refused():
    frame = Nucleus(np.array([[0, 0], [0, 5000], [5000, 5000], [5000, 0]], float))
    with pytest.raises(HostileFileError, match="cover"):
        label_maps(Annotation((frame,) * 400), (5000, 5000))
