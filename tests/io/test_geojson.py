"""QuPath's GeoJSON, in and out."""

from __future__ import annotations

import json
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import draw

from napari_monusac.core.errors import AnnotationError, HostileFileError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations import Bounds, read_annotation, write_annotation
from napari_monusac.io.geojson import read_geojson, write_geojson

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
    assert first["geometry"] == {"type": "Polygon", "coordinates": [[[2, 1], [4, 3.5], [9, 5], [2, 1]]]}
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
    assert content["features"][0]["geometry"]["coordinates"][0][0] == [73858, 47414]
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
        np.testing.assert_array_equal(one.vertices[: len(other.vertices)], other.vertices)
        np.testing.assert_array_equal(one.vertices[0], one.vertices[-1])


def test_holes_parts_cells_and_child_objects(tmp_path):
    outer = [[2, 2], [30, 2], [30, 30], [2, 30], [2, 2]]
    hole = [[10, 10], [20, 10], [20, 20], [10, 20], [10, 10]]
    apart = [[33, 33], [38, 33], [38, 38], [33, 33]]
    cell = feature([outer], objectType="cell") | {"nucleusGeometry": {"type": "Polygon", "coordinates": [hole]}}
    parent = feature([apart], childObjects=[cell, feature([hole])])
    found = read(tmp_path, [feature([outer, hole]), feature([[outer, hole], [apart]], "MultiPolygon"), parent])
    assert len(found) == 5
    ring, several, _, nucleus, _ = (drawn(n.vertices) for n in found)
    square = drawn(np.array(outer)[:, ::-1])
    # the rim of the hole belongs to the nucleus, as every rim does in skimage
    inside = np.zeros((40, 40), bool)
    inside[11:20, 11:20] = True
    np.testing.assert_array_equal(ring, square & ~inside)
    np.testing.assert_array_equal(several, ring | drawn(np.array(apart)[:, ::-1]))
    np.testing.assert_array_equal(nucleus, drawn(np.array(hole)[:, ::-1]))


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
    assert found.regions[0].vertices.tolist() == [[1, 1], [1, 5], [5, 5], [1, 1]]


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
