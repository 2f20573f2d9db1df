"""Files that belong to a slide are no crops: other levels, label and macro pictures."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from napari_monusac import open_collection
from napari_monusac.io.slides.parts import without_parts


def test_the_jpegs_of_a_vms_are_no_crops_and_another_jpeg_is(
    made: ModuleType, image: np.ndarray, tmp_path: Path
) -> None:
    vms = made.vms(tmp_path, image)
    Image.fromarray(image).save(tmp_path / "other.jpg")
    assert without_parts(sorted(tmp_path.iterdir())) == [vms, tmp_path / "other.jpg"]
    assert [c.image.name for c in open_collection(tmp_path).crops] == ["a.vms", "other.jpg"]


def test_of_dicom_the_largest_level_stands_for_its_series(made: ModuleType, image: np.ndarray, tmp_path: Path) -> None:
    paths = made.dicom(tmp_path, image)
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"nothing")
    assert without_parts([broken, *paths]) == [paths[0]]
