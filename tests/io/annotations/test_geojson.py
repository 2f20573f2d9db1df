"""QuPath's GeoJSON, in and out."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import draw

from napari_monusac.core.errors import AnnotationError, HostileFileError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.files import Bounds, read_annotation, write_annotation
from napari_monusac.io.annotations.geojson import read_geojson, write_geojson

TRIANGLE = np.array([[1, 2], [3.5, 4], [5, 9]])


def drawn(outline, shape=(40, 40)):
    mask = np.zeros(shape, bool)
    mask[draw.polygon(outline[:, 0], outline[:, 1], shape)] = True
    return mask


def read(tmp_path, content, **options):
    path = tmp_path / "a.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_geojson(path, **options)


def feature(coordinates, kind="Polygon", **properties):
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": properties,
    }


def test_the_form_that_qupath_documents(tmp_path):
    nuclei = (
        Nucleus(TRIANGLE, "Macrophage", confidence=0.75),
        Nucleus(TRIANGLE, ""),
        Nucleus(TRIANGLE, "Ambiguous"),
        Nucleus(TRIANGLE[:2], "Epithelial"),
    )
    left_out = write_geojson(Annotation(nuclei, um_per_px=0.25), tmp_path / "o.geojson", object_type="detection")
    assert left_out == nuclei[3:]
    content = json.loads((tmp_path / "o.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    first, second, third = content["features"]
    assert first["type"] == "Feature"
    assert first["geometry"] == {"type": "Polygon", "coordinates": [[[2.5, 1.5], [4.5, 4], [9.5, 5.5], [2.5, 1.5]]]}
    assert first["properties"] == {
        "objectType": "detection",
        "classification": {"name": "Macrophage", "color": [0, 255, 0]},
        "measurements": {"confidence": 0.75},
    }
    assert second["properties"] == {"objectType": "detection"}
    assert third["properties"]["classification"]["name"] == "Ambiguous"
    ids = [uuid.UUID(f["id"]) for f in content["features"]]
    assert len(set(ids)) == 3


def test_shifted_to_the_parent_slide_and_back(tmp_path):
    found = Annotation((Nucleus(TRIANGLE, "Epithelial"),))
    write_geojson(found, tmp_path / "o.geojson", origin_px=(47413, 73856))
    content = json.loads((tmp_path / "o.geojson").read_text())
    assert content["features"][0]["geometry"]["coordinates"][0][0] == [73858.5, 47414.5]
    back = read_geojson(tmp_path / "o.geojson", origin_px=(47413, 73856))
    np.testing.assert_array_equal(back.regions[0].vertices[:3], TRIANGLE)


outlines = st.lists(st.tuples(*[st.floats(-1e6, 1e6, allow_nan=False)] * 2), min_size=3, max_size=8)


@given(st.lists(st.tuples(outlines, st.text(max_size=8), st.none() | st.floats(0, 1)), max_size=5))
@settings(max_examples=150, deadline=None)
def test_any_values_come_back_closed(tmp_path_factory, regions):
    path = tmp_path_factory.mktemp("any") / "o.geojson"
    nuclei = [Nucleus(np.array(v), label, confidence=c) for v, label, c in regions]
    write_annotation(Annotation(tuple(nuclei), um_per_px=0.25), path)
    back = read_annotation(path)
    assert back.um_per_px == 0.25
    assert [(n.label, n.confidence) for n in back] == [(n.label, n.confidence) for n in nuclei]
    for one, other in zip(back, nuclei, strict=True):
        if (other.vertices == np.rint(other.vertices)).all():
            continue  # its pixels are meant: see below
        np.testing.assert_allclose(one.vertices[: len(other.vertices)], other.vertices, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(one.vertices[0], one.vertices[-1])


def covered(*rings, shape=(40, 40)):
    """Pixels whose centre lies in an odd number of rings (x, y) of pixel corners: shapely's word, not ours."""
    import shapely

    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return np.logical_xor.reduce([shapely.contains_xy(shapely.Polygon(r), xx + 0.5, yy + 0.5) for r in rings])


def test_holes_parts_cells_and_child_objects(tmp_path):
    outer = [[2, 2], [30, 2], [30, 30], [2, 30], [2, 2]]
    hole = [[10, 10], [20, 10], [20, 20], [10, 20], [10, 10]]
    apart = [[33, 33], [38, 33], [38, 38], [33, 33]]
    cell = feature([outer], objectType="cell") | {"nucleusGeometry": {"type": "Polygon", "coordinates": [hole]}}
    parent = feature([apart], childObjects=[cell, feature([hole])])
    found = read(tmp_path, [feature([outer, hole]), feature([[outer, hole], [apart]], "MultiPolygon"), parent])
    assert len(found) == 6
    ring, first, second, _, nucleus, _ = (drawn(n.vertices) for n in found)
    np.testing.assert_array_equal(ring, covered(outer, hole))
    np.testing.assert_array_equal(first, ring)
    np.testing.assert_array_equal(second, drawn(np.array(apart)[:, ::-1] - 0.5))
    np.testing.assert_array_equal(nucleus, covered(hole))
    assert found.notes == ("1 objects of several outlines are read as 2 nuclei",)
    write_annotation(found, tmp_path / "b.geojson")
    again = json.loads((tmp_path / "b.geojson").read_text())
    assert again == json.loads((tmp_path / "a.geojson").read_text())  # a list, with the child objects where they were


def disc():
    yy, xx = np.mgrid[:60, :60]
    return (yy - 30) ** 2 + (xx - 30) ** 2 <= 81


def test_a_disc_of_253_px_has_an_area_of_253_px(tmp_path):
    import shapely

    from napari_monusac.masks.polygons import polygons_from_instances

    outline = polygons_from_instances(disc().astype(np.int32)).polygons[1]
    write_annotation(Annotation((Nucleus(outline, "Lymphocyte"),)), tmp_path / "o.geojson")
    geometry = json.loads((tmp_path / "o.geojson").read_text())["features"][0]["geometry"]
    polygon = shapely.geometry.shape(geometry)
    assert polygon.is_valid
    assert polygon.area == disc().sum() == 253
    (back,) = read_annotation(tmp_path / "o.geojson").nuclei
    np.testing.assert_array_equal(drawn(back.vertices, (60, 60)), disc())
    np.testing.assert_array_equal(back.vertices, outline)


masks = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(lambda m: m.any())


@given(masks, st.sampled_from([".geojson", ".json"]))
@settings(max_examples=200, deadline=None)
def test_any_mask_comes_back_and_has_its_area(tmp_path_factory, mask, suffix):
    """Holes, pieces, single pixels, pixels that share a corner: one nucleus, the same pixels, a valid geometry."""
    import shapely

    from napari_monusac.masks.polygons import polygons_from_instances

    outline = polygons_from_instances(mask.astype(np.int32), fragments=True).polygons[1]
    path = tmp_path_factory.mktemp("mask") / f"o{suffix}"
    write_annotation(Annotation((Nucleus(outline + np.array([5, 7])),)), path)
    shape = shapely.geometry.shape(json.loads(path.read_text())["features"][0]["geometry"])
    assert shape.is_valid
    assert shape.area == mask.sum()
    yy, xx = np.mgrid[: mask.shape[0], : mask.shape[1]]
    np.testing.assert_array_equal(shapely.contains_xy(shape, xx + 7.5, yy + 5.5), mask)
    (back,) = read_annotation(path).nuclei
    np.testing.assert_array_equal(drawn(back.vertices - [5, 7], mask.shape), mask)


def test_files_of_before_keep_their_pixels(tmp_path):
    """Version 0.1 put pixel centres into the file; its ids tell."""
    square = np.array([[2, 3], [2, 9], [8, 9], [8, 3], [2, 3]], float)
    digested = b"0:Lymphocyte:" + square.tobytes()
    old = feature([square[:, ::-1].tolist()], objectType="annotation", classification={"name": "Lymphocyte"})
    old["id"] = str(uuid.uuid5(uuid.UUID("6e1ac3c4-6f0e-4c5b-9a39-5d0f4b6f6d75"), digested.hex()))
    found = read(tmp_path, {"type": "FeatureCollection", "features": [old, feature(old["geometry"]["coordinates"])]})
    assert drawn(found.regions[0].vertices).sum() == 49
    assert drawn(found.regions[1].vertices).sum() == 36  # another program's: pixel corners
    write_annotation(found, tmp_path / "b.geojson")
    back = read_annotation(tmp_path / "b.geojson")
    assert [drawn(n.vertices).sum() for n in back] == [49, 36]
    assert json.loads((tmp_path / "b.geojson").read_text())["features"][0]["id"] == old["id"]


def test_what_is_no_area_is_kept_and_counted(tmp_path):
    content = {
        "type": "FeatureCollection",
        "name": "of another program",
        "features": [
            feature([3, 4], "Point", name="a point"),
            feature([RING], measurements={"Area": float("nan"), "Detection probability": 0.75}),
            feature([], "Polygon"),
            {"type": "Feature", "geometry": None, "properties": {}},
            feature([[[1, 1], [2, "x"], [3, 3]]]),
        ],
    }
    found = read(tmp_path, json.dumps(content))
    assert len(found.nuclei) == 1
    assert found.nuclei[0].confidence == 0.75
    assert found.notes == (
        "4 of 5 objects are kept but are no nuclei: 1 Point, 1 without coordinates, 1 without a geometry, "
        "1 with a damaged outline",
    )
    assert write_annotation(found, tmp_path / "b.geojson") == ()
    back = json.loads((tmp_path / "b.geojson").read_text())
    assert json.dumps(back, sort_keys=True) == json.dumps(content, sort_keys=True)  # NaN is no equal of itself


def test_a_class_that_is_no_name_costs_no_nucleus(tmp_path):
    odd = [feature([RING], classification=c) for c in (5, {"name": 5}, {"name": "Lymphocyte"})]
    found = read(tmp_path, odd)
    assert [n.nucleus_class.label for n in found.nuclei] == ["Unclassified", "Unclassified", "Lymphocyte"]
    assert found.notes == ("2 objects have a class that is no name: they are read without a class",)
    assert write_annotation(found, tmp_path / "b.geojson") == ()
    assert json.loads((tmp_path / "b.geojson").read_text()) == odd


def test_packed_files_are_read_within_bounds(tmp_path):
    import gzip

    packed = gzip.compress(json.dumps([feature([RING])]).encode())
    for name in ("a.geojson.gz", "a.json.gz", "a.geojson"):
        (tmp_path / name).write_bytes(packed)
        assert len(read_annotation(tmp_path / name).nuclei) == 1
    bomb = gzip.compress(b"[" + b" " * 10_000_000)
    for content, said in ((packed[:-9], "gzip"), (b"PK\x03\x04", "zip archive"), (bomb, "more than 1000000 bytes")):
        (tmp_path / "b.geojson").write_bytes(content)
        with pytest.raises(AnnotationError, match=said):
            read_annotation(tmp_path / "b.geojson", Bounds(max_bytes=1_000_000))
    (tmp_path / "a.xml.gz").write_bytes(packed)
    with pytest.raises(AnnotationError, match="no annotation format"):
        read_annotation(tmp_path / "a.xml.gz")


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_an_empty_file_is_called_so(tmp_path, content):
    (tmp_path / "a.geojson").write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"a\.geojson: is empty \({len(content)} bytes\)"):
        read_annotation(tmp_path / "a.geojson")


def test_packed_files_stay_packed(tmp_path):
    """Written as they are read, with the scale that opening a slide looks for; the plain file goes first in a folder."""
    import gzip

    from napari_monusac.io.slides.annotation_scale import annotation_um_per_px, scale_beside

    members = {"type": "FeatureCollection", "features": [feature([RING], measurements={"x": 1})]}
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(json.dumps(members).encode()))
    found = read_annotation(tmp_path / "a.geojson.gz")
    assert annotation_um_per_px(tmp_path / "a.geojson.gz") is None
    write_annotation(replace(found, um_per_px=0.5), tmp_path / "b.geojson.gz")
    content = json.loads(gzip.decompress((tmp_path / "b.geojson.gz").read_bytes()))
    assert content["umPerPx"] == 0.5
    assert scale_beside(tmp_path / "b.tif") == (0.5, "geojson")
    again = read_annotation(tmp_path / "b.geojson.gz")
    assert again.um_per_px == 0.5
    np.testing.assert_array_equal(again.nuclei[0].vertices, found.nuclei[0].vertices)
    before = (tmp_path / "b.geojson.gz").read_bytes()
    write_annotation(again, tmp_path / "b.geojson.gz")
    assert (tmp_path / "b.geojson.gz").read_bytes() == before, "no time of writing in it"
    (tmp_path / "c.geojson.gz").write_bytes(before[:-9])
    assert annotation_um_per_px(tmp_path / "c.geojson.gz") is None


def test_saving_over_a_qupath_file_keeps_what_it_holds(tmp_path):
    cell = feature(
        [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]],
        objectType="cell",
        name="c1",
        isLocked=True,
        classification={"name": "Lymphocyte", "color": [1, 2, 3]},
        measurements={"Nucleus: Area": 12.5},
    )
    cell |= {"id": "one", "nucleusGeometry": {"type": "Polygon", "coordinates": [RING], "plane": {"z": 2}}}
    several = feature([[RING], [[[20, 20], [25.5, 20], [25, 25], [20, 20]]]], "MultiPolygon", objectType="annotation")
    found = read(tmp_path, [cell, several | {"id": "two"}])
    write_annotation(found, tmp_path / "b.geojson")
    assert json.loads((tmp_path / "b.geojson").read_text()) == [cell, several | {"id": "two"}]

    square = np.array([[3, 3], [3, 5], [5, 5], [5, 3], [3, 3]], float)
    edited = replace(found.regions[0], vertices=square, label="Macrophage", confidence=0.5)
    write_annotation(replace(found, regions=(edited, found.regions[2])), tmp_path / "b.geojson")
    first, second = json.loads((tmp_path / "b.geojson").read_text())
    assert first["geometry"] == cell["geometry"]
    assert first["nucleusGeometry"]["plane"] == {"z": 2}
    assert sorted(first["nucleusGeometry"]["coordinates"][0][:4]) == [[3, 3], [3, 6], [6, 3], [6, 6]]
    properties = first["properties"]
    assert (first["id"], properties["name"], properties["objectType"]) == ("one", "c1", "cell")
    assert properties["isLocked"] is True
    assert properties["classification"]["name"] == "Macrophage"
    assert properties["measurements"] == {"Nucleus: Area": 12.5, "confidence": 0.5}
    assert second["id"] != "two"  # the second nucleus of that object
    assert second["properties"]["objectType"] == "annotation"


@pytest.mark.parametrize(
    ("properties", "label", "confidence"),
    [
        ({"type": "Lymphocyte", "prob": 0.5}, "Lymphocyte", 0.5),
        ({"type": 2, "type_prob": 0.25}, "2", 0.25),
        ({"name": "Macrophages"}, "Macrophages", None),
        ({"name": "cell 12"}, "", None),
        ({"classification": None, "class": "Neutrophil"}, "Neutrophil", None),
    ],
)
def test_class_and_probability_of_other_programs(tmp_path, properties, label, confidence):
    (nucleus,) = read(tmp_path, feature([RING], **properties)).regions
    assert (nucleus.label, nucleus.confidence) == (label, confidence)


def test_overlapping_parts_are_nuclei_and_pixels_at_a_corner_are_one(tmp_path):
    square = [[2.5, 2], [9, 2], [9, 9], [2, 9], [2.5, 2]]
    over = [[5, 5.5], [15, 5], [15, 15], [5, 15], [5, 5.5]]
    assert len(read(tmp_path, feature([[square], [over]], "MultiPolygon"))) == 2
    pixels = [[[[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]], [[[4, 4], [6, 4], [6, 6], [4, 6], [4, 4]]]]
    (one,) = read(tmp_path, feature(pixels, "MultiPolygon")).regions
    assert drawn(one.vertices).sum() == 8


@pytest.mark.parametrize(
    ("classification", "label"),
    [
        ("Epithelial", "Epithelial"),
        ({"name": "Lymphocyte", "colorRGB": -256}, "Lymphocyte"),
        (None, ""),
        ({"names": ["Tumor", "Positive"]}, "Tumor: Positive"),
        ({}, ""),
    ],
)
def test_classifications_as_text_object_and_names(tmp_path, classification, label):
    ring = [[1, 1], [5, 1], [5, 5], [1, 1]]
    assert read(tmp_path, feature([ring], classification=classification)).regions[0].label == label


def test_measurements_of_both_forms_and_third_coordinates(tmp_path):
    ring = [[1, 1, 0], [5, 1, 0], [5, 5, 0], [1, 1, 0]]
    old = feature([ring], measurements=[{"name": "confidence", "value": 0.5}])
    found = read(tmp_path, {"type": "FeatureCollection", "features": [old, feature([ring], measurements={})]})
    assert [n.confidence for n in found] == [0.5, None]
    assert found.regions[0].vertices.tolist() == [[0.5, 0.5], [0.5, 4.5], [4.5, 4.5], [0.5, 0.5]]


RING = [[1, 1], [5, 1], [5, 5], [1, 1]]
GARBAGE = [
    "",
    "{",
    "[1, 2]",
    "null",
    "3",
    '"text"',
    "{}",
    '{"features": 5}',
    '{"features": [null]}',
    '{"features": [{"properties": 3}]}',
    '{"type": "Feature"}',
    json.dumps(feature([1, 2], "Point")),
    json.dumps(feature(RING, "LineString")),
    json.dumps(feature(RING)),
    json.dumps(feature([])),
    json.dumps(feature([[]])),
    json.dumps(feature([[[1, 1], [5]]])),
    json.dumps(feature([[["1", "1"], ["2", "3"]]])),
    json.dumps(feature([[[True, False], [False, True]]])),
    json.dumps(feature([[[1, 1, 1, 1]]])),
    json.dumps(feature([[[1, None]]])),
    json.dumps(feature([RING], classification=5)),
    json.dumps(feature([RING], classification={"name": 5})),
    json.dumps(feature(None)),
    json.dumps(feature([[[1, 1e8], [1, 1], [2, 2]]])),
    json.dumps(feature([RING])).replace("5", "NaN"),
    json.dumps(feature([RING])).replace("5", "1e999"),
    json.dumps(feature([RING])).replace("5", "9" * 400),
    json.dumps(feature({"a": 1})),
    json.dumps(feature("abc")),
    "\x00\x01",
]


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_garbage_is_refused_with_one_line(tmp_path, number):
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path, GARBAGE[number])
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hostile_files_are_refused(tmp_path):
    with pytest.raises(HostileFileError):
        read(tmp_path, "[" * 200_000)
    deep = feature([RING])
    for _ in range(80):
        deep = feature([RING], childObjects=[deep])
    with pytest.raises(HostileFileError, match="child objects"):
        read(tmp_path, deep)
    with pytest.raises(HostileFileError, match="vertices"):
        read(tmp_path, [feature([RING])] * 3, bounds=Bounds(max_vertices=10))
    with pytest.raises(HostileFileError, match="regions"):
        read(tmp_path, [feature([RING])] * 3, bounds=Bounds(max_regions=2))
    with pytest.raises(HostileFileError, match="bytes"):
        read(tmp_path, [feature([RING])] * 3, bounds=Bounds(max_bytes=20))


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "o.geojson"
    path.write_text("old")
    for vertices, label in [(TRIANGLE * np.nan, "Epithelial"), (TRIANGLE, "\ud800")]:
        with pytest.raises(AnnotationError, match="not written"):
            write_geojson(Annotation((Nucleus(vertices, label),)), path)
    assert path.read_text() == "old"
    with pytest.raises(AnnotationError, match="cannot be written"):
        write_geojson(Annotation(), tmp_path / "none" / "o.geojson")


def test_real_files_draw_the_same_through_geojson(shared_data, tmp_path):
    from napari_monusac.masks.rasterize import label_maps

    for path in sorted(shared_data.rglob("*.xml"))[::8]:
        found = read_annotation(path)
        write_annotation(found, tmp_path / "o.geojson")
        back = read_annotation(tmp_path / "o.geojson")
        one, other = label_maps(found, (800, 1000)), label_maps(back, (800, 1000))
        np.testing.assert_array_equal(one.instances, other.instances)
        np.testing.assert_array_equal(one.semantic, other.semantic)
        np.testing.assert_array_equal(one.ignore, other.ignore)
