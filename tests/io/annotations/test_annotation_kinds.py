"""JSON of other programs is called by its name, with the way out."""

from __future__ import annotations

import json

import pytest

from napari_monusac.core.errors import AnnotationError
from napari_monusac.io.annotations.files import read_annotation, what_is_left_out, write_annotation

NUCLEUS = {"bbox": [[1, 1], [9, 9]], "centroid": [5, 5], "contour": [[1, 1], [9, 1], [9, 9]], "type": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"mag": 40, "nuc": {"1": NUCLEUS}}, r"HoVer-Net.*a prediction.*GeoJSON"),
        ({"mag": None, "nuc": {}}, r"HoVer-Net.*no nucleus"),
        ({"1": NUCLEUS, "2": NUCLEUS}, r"HoVer-Net.*a prediction.*GeoJSON"),
        ({"version": "5.0", "shapes": [], "imagePath": "a.png"}, r"labelme.*COCO"),
        ({"hello": {}}, "QuPath"),
        ([], None),
    ],
)
def test_other_programs_are_named(tmp_path, content, said):
    path = tmp_path / "crop_1.json"
    path.write_text(json.dumps(content))
    if said is None:
        assert read_annotation(path).regions == ()
        return
    with pytest.raises(AnnotationError, match=said) as caught:
        read_annotation(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


RING = [[5, 5], [25, 5], [25, 25], [5, 25], [5, 5]]


def objects_of_qupath(*more):
    """A nucleus, and what is none: a Point, a line, an object without a geometry."""
    geometries = [
        {"type": "Polygon", "coordinates": [RING]}, {"type": "Point", "coordinates": [3, 4]},
        {"type": "LineString", "coordinates": [[0, 0], [9, 9]]}, None, *more,
    ]  # fmt: skip
    features = [
        {"type": "Feature", "id": str(k), "geometry": g, "properties": {"name": f"object {k}"}}
        for k, g in enumerate(geometries)
    ]
    return {"type": "FeatureCollection", "features": features}


def test_marks_stay_in_their_own_format_and_are_told_in_another(tmp_path):
    (tmp_path / "a.geojson").write_text(json.dumps(objects_of_qupath()))
    found = read_annotation(tmp_path / "a.geojson")
    assert [r.role for r in found.regions] == ["nucleus", "mark", "mark", "mark"]
    assert write_annotation(found, tmp_path / "a.geojson") == ()
    assert json.loads((tmp_path / "a.geojson").read_text()) == objects_of_qupath()
    assert write_annotation(found, tmp_path / "a.xml") == found.marks
    assert what_is_left_out(found.marks) == "3 shapes without an area (ruler, arrow, point, box alone)"
    back = read_annotation(tmp_path / "a.xml")
    assert (len(back.regions), len(back.nuclei)) == (1, 1)


def test_marks_of_imagescope_are_told_when_written_as_json(tmp_path):
    ring = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in RING)
    line = '<Vertex X="1" Y="1"/><Vertex X="9" Y="9"/>'
    regions = (("0", ring), ("4", line), ("3", line), ("0", '<Vertex X="1" Y="1"/>'))
    text = "".join(f'<Region Id="{k}" Type="{t}"><Vertices>{v}</Vertices></Region>' for k, (t, v) in enumerate(regions))
    (tmp_path / "a.xml").write_text(
        f'<Annotations><Annotation Id="1"><Regions>{text}</Regions></Annotation></Annotations>'
    )
    found = read_annotation(tmp_path / "a.xml")
    for suffix in (".geojson", ".json"):
        left_out = write_annotation(found, tmp_path / f"b{suffix}")
        assert [r.region_id for r in left_out] == ["1", "2", "3"]
        assert what_is_left_out(left_out) == (
            "2 shapes without an area (ruler, arrow, point, box alone), 1 outline of fewer than three vertices"
        )
    assert write_annotation(found, tmp_path / "b.xml") == ()
    assert len(read_annotation(tmp_path / "b.xml").regions) == 4
