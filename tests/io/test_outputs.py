"""What this program writes is never a crop, and is not written into the data."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_monusac.core.errors import CollectionError
from napari_monusac.io import outputs
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.outputs import MARK, marked_png, refuse_inside
from napari_monusac.io.predictions.maskfiles import write_labels, write_masks

RGB = np.full((20, 30, 3), 200, np.uint8)
LABELS = np.arange(600, dtype=np.uint16).reshape(20, 30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("P1/a", "P2/b"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(root / f"{name}.tif", RGB, photometric="rgb")
        (root / f"{name}.xml").write_text("<Annotations/>")
    return root


def crops(root: Path) -> list[str]:
    return [c.name for c in open_collection(root)]


def test_masks_in_the_data_are_no_crops_wherever_they_lie(folder: Path) -> None:
    write_masks(folder / "P1", "a", {"instances": LABELS, "semantic": LABELS})
    write_masks(folder / "masks" / "P1", "a", {"ternary": LABELS})
    write_masks(folder / "masks" / "x", "P1_a", {"instances": LABELS})
    write_labels(LABELS, folder / "P2" / "my nuclei.tif", 0.25)
    # as earlier versions wrote them: without our mark, named by a crop of a name with its folder
    tifffile.imwrite(folder / "masks" / "P9_c_instances.tif", LABELS, photometric="minisblack", metadata={"axes": "YX"})
    assert crops(folder) == ["a", "b"]
    left = [p for p in open_collection(folder).problems if p.code == "own-output"]
    assert {p.path.relative_to(folder).as_posix() for p in left} == {"P1", "P2", "masks", "masks/P1", "masks/x"}
    assert any(p.message == "2 images in it are masks or pictures made from crops, and no crop" for p in left)


def test_crops_with_such_names_stay_crops(folder: Path) -> None:
    tifffile.imwrite(folder / "P1" / "c_labels.tif", RGB, photometric="rgb")
    tifffile.imwrite(folder / "P1" / "a_mask.tif", RGB, photometric="rgb")
    (folder / "P1" / "a_mask.xml").write_text("<Annotations/>")
    tifffile.imwrite(folder / "P1" / "grey.tif", LABELS)
    assert crops(folder) == ["a", "a_mask", "c_labels", "grey", "b"]


def test_runs_and_reviews_are_not_looked_into_and_said(folder: Path) -> None:
    for place, files in (("runs/one", ("run.json", "split.json")), ("predictions/monusac-review/corrected", ())):
        (folder / place).mkdir(parents=True)
        for file in files:
            (folder / place / file).write_text("{}")
        tifffile.imwrite(folder / place / "picture.tif", RGB, photometric="rgb")
        (folder / place / "picture.xml").write_text("<Annotations/>")
    assert crops(folder) == ["a", "b"]
    said = [p.message for p in open_collection(folder).problems]
    assert said == [
        "holds a review of this program: no crops are looked for in it",
        "holds a training run of this program: no crops are looked for in it",
    ]
    assert crops(folder / "runs" / "one") == ["picture"], "who opens it itself means it"


def test_a_marked_picture_opens_as_before_and_is_no_crop(folder: Path) -> None:
    plain = io.BytesIO()
    Image.fromarray(RGB).save(plain, "png")
    content = marked_png(plain.getvalue())
    (folder / "P1" / "overlay of all.png").write_bytes(content)
    picture = Image.open(io.BytesIO(content))
    picture.verify()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), RGB)
    assert picture.info["Software"] == MARK
    assert crops(folder) == ["a", "b"]


def test_nothing_is_written_into_the_data(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    for out in (folder, folder / "masks", tmp_path / "link" / "masks", folder / "P1" / ".." / "new"):
        with pytest.raises(CollectionError, match="choose a folder outside of it"):
            refuse_inside(out, folder, "masks")
    for out in (tmp_path / "masks", tmp_path / "data masks", tmp_path):
        refuse_inside(out, folder, "masks")


def test_a_disk_is_asked_whether_it_knows_case(tmp_path, monkeypatch):
    assert outputs.knows_case(tmp_path) == (not (tmp_path.with_name(tmp_path.name.upper())).exists())
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(outputs.Path, "exists", lambda _: True)
    assert not outputs.knows_case(tmp_path)


def test_names_that_differ_in_case_alone_are_apart_where_the_disk_knows(tmp_path, monkeypatch):
    for knows in (True, False):
        monkeypatch.setattr(outputs, "knows_case", lambda _, knows=knows: knows)
        names = outputs.NamesApart(tmp_path)
        for name in ("Case", "other", "Case"):
            names.take(name)
        if knows:
            names.take("case")
        else:
            with pytest.raises(CollectionError, match="case would overwrite Case"):
                names.take("case")
