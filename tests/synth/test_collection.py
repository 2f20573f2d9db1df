"""A synthetic MoNuSAC folder is named, laid out and encoded like the real one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_monusac.core.errors import CollectionError
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.slides.slide import open_slide
from napari_monusac.synth import synthesize, write_collection
from napari_monusac.synth.collection import TESTING_ROOT, TRAINING_ROOT, write_crop
from napari_monusac.synth.slides import write_svs, write_swapped_tif


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("Präparate mit Leerzeichen")
    return write_collection(root, 2, 2, seed=7, shape=(200, 260), test_patients=1)


def test_names_and_layout(folder: Path) -> None:
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert len(files) == 12
    assert f"{TRAINING_ROOT}/TCGA-SY-0001-01Z-00-DX1/TCGA-SY-0001-01Z-00-DX1_1.svs" in files
    assert f"{TESTING_ROOT}/TCGA-SY-0003-01Z-00-DX1/TCGA-SY-0003-01Z-00-DX1_2.tif" in files


def test_collection_is_understood(folder: Path) -> None:
    collection = open_collection(folder)
    assert len(collection.crops) == 6
    assert len(collection.patients) == 3
    assert sorted({str(c.part) for c in collection.crops}) == ["test", "train"]
    assert not collection.problems


def test_svs_is_a_single_level_aperio_file(folder: Path) -> None:
    path = next(folder.rglob("*0001*_1.svs"))
    with tifffile.TiffFile(path) as tif:
        assert tif.is_svs
        page = tif.pages[0]
        assert (page.compression, page.photometric, page.tilewidth, page.tilelength) == (33005, 2, 240, 240)
        assert page.description.startswith("Aperio Image Library")
        assert re.search(r"\[\d+,\d+ 260x200\]", page.description)
        assert "MPP = 0.25" in page.description
        assert "AppMag = 40" in page.description
        assert [p.subfiletype for p in tif.pages] == [0, 0, 1, 9]


def test_pixels_survive_the_compression(tmp_path: Path) -> None:
    tissue = synthesize((250, 300), 2)
    write_svs(tissue.image, tmp_path / "a.svs", origin_px=(11, 22))
    with open_slide(tmp_path / "a.svs") as slide:
        pixels = slide.read(0, 0, 250, 300)
        assert slide.origin_px == (11, 22)
        assert slide.um_per_px == pytest.approx(0.25)
        assert slide.magnification == pytest.approx(40)
        assert not slide.channels_swapped
    assert np.abs(pixels.astype(int) - tissue.image).mean() < 3


def test_swapped_tif_is_swapped_and_put_right(tmp_path: Path) -> None:
    image = synthesize((200, 200), 3).image
    write_swapped_tif(image, tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages[0].compression == 5
    raw = tifffile.imread(tmp_path / "a.tif")
    assert np.array_equal(raw[..., :3], image[..., ::-1])
    assert (raw[..., 3] == 255).all()
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.channels_swapped
        assert np.array_equal(slide.read(0, 0, 200, 200), image)


def test_annotation_comes_back(tmp_path: Path) -> None:
    tissue = synthesize((200, 200), 4, ambiguous=1)
    write_crop(tissue, tmp_path / "crop_1")
    back = read_annotation(tmp_path / "crop_1.xml")
    assert back.um_per_px == pytest.approx(0.25)
    assert [layer.label for layer in back.layers] == [layer.label for layer in tissue.annotation.layers]
    assert len(back.regions) == len(tissue.annotation.regions)
    for read, made in zip(back.regions, tissue.annotation.regions, strict=True):
        assert (read.label, read.layer, read.region_id) == (made.label, made.layer, made.region_id)
        assert np.array_equal(read.vertices, made.vertices)
    assert b'Z="0"' in (tmp_path / "crop_1.xml").read_bytes()


def test_same_seed_same_files(tmp_path: Path) -> None:
    a = write_collection(tmp_path / "a", 1, 1, 5, shape=(64, 64))
    b = write_collection(tmp_path / "b", 1, 1, 5, shape=(64, 64))
    name = "TCGA-SY-0001-01Z-00-DX1/TCGA-SY-0001-01Z-00-DX1_1"
    for suffix in (".svs", ".xml"):
        assert (a / f"{name}{suffix}").read_bytes() == (b / f"{name}{suffix}").read_bytes()


def test_nothing_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="at least one"):
        write_collection(tmp_path, 0, 1)


def test_another_collection_can_have_other_patients(tmp_path):
    write_collection(tmp_path / "one", 2, 1, shape=(64, 64))
    write_collection(tmp_path / "two", 2, 1, shape=(64, 64), first_patient=3)
    one, two = (set(open_collection(tmp_path / n).patients) for n in ("one", "two"))
    assert len(one) == len(two) == 2
    assert not one & two
