"""JSON of other programs is called by its name, with the way out."""

from __future__ import annotations

import json

import pytest

from napari_monusac import read_annotation
from napari_monusac.core.errors import AnnotationError

NUCLEUS = {"bbox": [[1, 1], [9, 9]], "centroid": [5, 5], "contour": [[1, 1], [9, 1], [9, 9]], "type": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"mag": 40, "nuc": {"1": NUCLEUS}}, r"HoVer-Net.*GeoJSON"),
        ({"mag": None, "nuc": {}}, r"HoVer-Net.*no nucleus"),
        ({"1": NUCLEUS, "2": NUCLEUS}, r"HoVer-Net.*GeoJSON"),
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
