from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_monusac.core.errors import CollectionError, SlideError
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.collection.folders import is_collection
from napari_monusac.io.collection.organs import organ_of, patient_barcode

TRAIN, TEST = "MoNuSAC_images_and_annotations", "MoNuSAC Testing Data and Annotations"
XML = (
    '<Annotations MicronsPerPixel="0.25"><Annotation Id="1" Name="" LineColor="255"><Attributes>'
    '<Attribute Name="Epithelial" Id="0" Value=""/></Attributes><Regions><Region Id="1"><Vertices>'
    '<Vertex X="2" Y="2" Z="0"/><Vertex X="9" Y="2" Z="0"/><Vertex X="9" Y="12" Z="0"/></Vertices></Region></Regions>'
    "</Annotation></Annotations>"
)


def crop(folder: Path, name: str, *suffixes: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in suffixes:
        path = folder / f"{name}{suffix}"
        if suffix.lower() == ".xml":
            path.write_text(XML)
        else:
            tifffile.imwrite(path, np.full((20, 30, 3), 200, np.uint8), photometric="rgb")


@pytest.fixture
def both(tmp_path: Path) -> Path:
    root = tmp_path / "Daten für Übung"
    crop(root / TRAIN / "TCGA-5P-A9K0-01Z-00-DX1", "TCGA-5P-A9K0-01Z-00-DX1_1", ".svs", ".tif", ".xml")
    crop(root / TRAIN / "TCGA-5P-A9K0-01Z-00-DX1", "TCGA-5P-A9K0-01Z-00-DX1_10", ".svs", ".xml")
    crop(root / TRAIN / "TCGA-5P-A9K0-01Z-00-DX1", "TCGA-5P-A9K0-01Z-00-DX1_2", ".svs", ".xml")
    crop(root / TRAIN / "TCGA-MP-A4T7-01Z-00-DX1", "TCGA-MP-A4T7-01Z-00-DX1_1", ".tif", ".xml")
    crop(root / TEST / "TCGA-MP-A4T7-01Z-00-DX1", "TCGA-MP-A4T7-01Z-00-DX1_1", ".tif", ".xml")
    crop(root / TEST / "TCGA-EJ-5495-01Z-00-DX1", "TCGA-EJ-5495-01Z-00-DX1-1", ".tif", ".xml")
    crop(root / TEST / "TCGA-EJ-5495-01Z-00-DX1", "TCGA-EJ-5495-01Z-00-DX1-2", ".tif")
    crop(root / TEST / "TCGA-EJ-5495-01Z-00-DX1", "TCGA-EJ-5495-01Z-00-DX1-3", ".xml")
    return root


def test_both_roots(both: Path) -> None:
    collection = open_collection(both)
    assert len(collection) == 7
    assert collection.patients == ("TCGA-5P-A9K0", "TCGA-MP-A4T7", "TCGA-EJ-5495")
    assert [c.part for c in collection] == ["train"] * 4 + ["test"] * 3
    names = [c.name for c in collection.of_patient("TCGA-5P-A9K0")]
    assert names == [f"TCGA-5P-A9K0-01Z-00-DX1_{k}" for k in (1, 2, 10)]
    first = collection.crops[0]
    assert first.image.suffix == ".svs"
    assert [p.suffix for p in first.others] == [".tif"]
    assert first.organ == "kidney"
    without = collection.crop("TCGA-EJ-5495-01Z-00-DX1-2")
    assert without.annotation is None
    assert without not in collection.labelled
    assert [p.name for p in collection.unpaired] == ["TCGA-EJ-5495-01Z-00-DX1-3.xml"]
    assert [p.code for p in collection.problems] == ["missing-image"]
    assert "-3.xml" in str(collection.problems[0])


def test_names_are_unique_where_a_crop_stands_in_both_roots(both: Path) -> None:
    collection = open_collection(both)
    names = [c.name for c in collection]
    assert len(set(names)) == len(names)
    assert f"{TEST}/TCGA-MP-A4T7-01Z-00-DX1/TCGA-MP-A4T7-01Z-00-DX1_1" in names
    assert collection.crop(names[3]).name == names[3]
    with pytest.raises(CollectionError, match="no crop 'nope'"):
        collection.crop("nope")


@pytest.mark.parametrize(("folder", "number", "part"), [
    (TRAIN, 4, "train"), (TEST, 3, "test"), (f"{TRAIN}/TCGA-5P-A9K0-01Z-00-DX1", 3, "train"),
    (f"{TEST}/TCGA-MP-A4T7-01Z-00-DX1", 1, "test"),
])  # fmt: skip
def test_one_root_or_one_patient(both: Path, folder: str, number: int, part: str) -> None:
    collection = open_collection(both / folder)
    assert len(collection) == number
    assert {c.part for c in collection} == {part}


def test_a_flat_folder_with_names_of_ones_own(tmp_path: Path) -> None:
    for name in ("Müller_1", "Müller_2", "case 7-001", "TCGA-G9-6356-01Z-00-DX1_001"):
        crop(tmp_path, name, ".png" if False else ".tif", ".XML")
    crop(tmp_path, "Müller_1_instances", ".tif")
    collection = open_collection(str(tmp_path))
    assert sorted(collection.patients) == ["Müller", "TCGA-G9-6356", "case 7"]
    assert len(collection) == 4  # the mask is no crop
    assert all(c.annotation is not None for c in collection)
    assert {c.part for c in collection} == {None}


def test_one_folder_a_patient_without_barcodes(tmp_path: Path) -> None:
    crop(tmp_path / "anna", "anna_1", ".tif", ".xml")
    crop(tmp_path / "anna", "anna_2", ".tif", ".xml")
    crop(tmp_path / "berta", "1", ".tif", ".xml")
    crop(tmp_path / "berta", "2", ".tif", ".xml")
    assert open_collection(tmp_path).patients == ("anna", "berta")


def test_find_open_annotation_and_counts(both: Path) -> None:
    collection = open_collection(both)
    wanted = collection.crops[3]
    assert collection.find(str(wanted.annotation)) == wanted
    assert collection.find(both / "nothing.svs") is None
    assert collection.find(collection.crops[0].others[0]) == collection.crops[0]
    with collection.open(wanted) as slide:
        assert slide.shape == (20, 30)
        assert slide.um_per_px == 0.25
    assert len(collection.annotation(wanted)) == 1
    assert sum(collection.counts(wanted).values()) == 1
    assert collection.counts(collection.crop("TCGA-EJ-5495-01Z-00-DX1-2")) == {}


def test_the_user_overrules_the_channel_order(both: Path) -> None:
    wanted = open_collection(both).crops[3]
    with open_collection(both, channel_order="bgr").open(wanted) as slide:
        assert slide.channels_swapped
        assert any("put right" in n for n in slide.notes)


def test_the_user_overrules_one_patient_and_gives_a_scale(both: Path) -> None:
    collection = open_collection(both, um_per_px=0.5)
    first = collection.of_patient("TCGA-MP-A4T7")[0]
    collection.overrule_channels("TCGA-MP-A4T7", "bgr")
    assert collection.channels_swapped(first)
    assert not collection.channels_swapped(collection.crop("TCGA-EJ-5495-01Z-00-DX1-1"))
    collection.overrule_channels("TCGA-MP-A4T7", "auto")
    assert not collection.channels_swapped(first)
    with pytest.raises(CollectionError, match="one of its patients"):
        collection.overrule_channels("nobody", "bgr")
    with collection.open(collection.crop("TCGA-EJ-5495-01Z-00-DX1-2")) as slide:
        assert (slide.um_per_px, slide.um_per_px_source) == (0.5, "given")
    with collection.open(first) as slide:
        assert slide.um_per_px == 0.25  # the XML says so
    with pytest.raises(CollectionError, match="um_per_px 300"):
        open_collection(both, um_per_px=300)


def test_a_damaged_sibling_has_no_vote_but_a_damaged_crop_is_an_error(tmp_path: Path) -> None:
    for k in (1, 2):
        crop(tmp_path, f"a_{k}", ".tif")
    (tmp_path / "a_2.tif").write_bytes(b"II*\0 broken")
    collection = open_collection(tmp_path)
    assert not collection.channels_swapped(collection.crop("a_1"))
    with pytest.raises(SlideError, match=r"a_2\.tif"):
        collection.open(collection.crop("a_2"))


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match="holds no image"):
        open_collection(tmp_path)
    with pytest.raises(CollectionError, match="does not exist"):
        open_collection(tmp_path / "no")
    file = tmp_path / "file.txt"
    file.touch()
    with pytest.raises(CollectionError, match="is a file"):
        open_collection(file)


def test_counts_follow_a_file_that_is_saved_anew(both: Path) -> None:
    collection = open_collection(both)
    one = collection.crop("TCGA-5P-A9K0-01Z-00-DX1_1")
    assert sum(collection.counts(one).values()) == 1
    assert one.annotation is not None
    region = XML[XML.index("<Region ") : XML.index("</Regions>")]
    one.annotation.write_text(XML.replace(region, region + region.replace('Id="1"', 'Id="2"')))
    assert sum(collection.counts(one).values()) == 2


def test_what_counts_as_a_collection(tmp_path: Path, both: Path) -> None:
    assert is_collection(both)
    stack = tmp_path / "stack"
    crop(stack, "z0", ".tif")
    crop(stack, "z1", ".tif")
    assert not is_collection(stack)
    shutil.copy(stack / "z0.tif", stack / "x.svs")
    assert is_collection(stack)


def test_barcodes_and_organs() -> None:
    assert patient_barcode("TCGA-5P-A9K0-01Z-00-DX1_1") == "TCGA-5P-A9K0"
    assert patient_barcode("xTCGA-5P-A9K0") is None
    assert patient_barcode("TCGA-5P-A9K") is None
    assert [organ_of(f"TCGA-{s}-0000-01Z") for s in ("A2", "2Z", "55", "G9", "QQ")] == [
        "breast", "kidney", "lung", "prostate", None,
    ]  # fmt: skip


@pytest.mark.shared
def test_the_real_folder(shared_data: Path) -> None:
    collection = open_collection(shared_data / "monusac")
    assert len(collection) == 45
    assert len(collection.patients) == 13
    assert {c.organ for c in collection} == {"breast", "kidney", "lung", "prostate"}
    assert len(collection.labelled) == 45
    assert open_collection(shared_data).unpaired[0].name == "TCGA-XS-A8TJ-01Z-00-DX1.xml"


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    crop(tmp_path / "elsewhere" / "deep", "x_1", ".tif", ".xml")
    root = tmp_path / "root"
    crop(root / "zoe", "z_1", ".tif", ".xml")
    (root / "anna").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "again").symlink_to(root / "zoe", target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "zoe" / "up").symlink_to(tmp_path, target_is_directory=True)
    collection = open_collection(root)
    assert [(c.name, c.patient) for c in collection] == [("x_1", "anna"), ("z_1", "zoe")]
    assert [(p.code, p.path.name) for p in collection.problems] == [("left-out", "up")]
    assert is_collection(root)


def test_deep_folders_are_looked_into_and_deeper_ones_are_said(tmp_path: Path) -> None:
    seven = tmp_path / "a" / "b" / "c" / "d" / "e" / "f" / "g"
    crop(seven, "x", ".tif", ".xml")
    assert len(open_collection(tmp_path).labelled) == 1
    crop(tmp_path, "top", ".tif")
    shallow = open_collection(tmp_path, deepest=3)
    assert [c.name for c in shallow] == ["top"]
    assert [str(p) for p in shallow.problems] == ["c: 1 folder below it is more than 3 folders deep: not looked into"]
    with pytest.raises(CollectionError, match="more than 2 folders deep"):
        open_collection(tmp_path / "a", deepest=2)
    assert open_collection(seven.parent / "g", deepest=0).problems == ()


def test_the_users_scale_goes_before_a_guess_but_not_before_the_file(tmp_path: Path) -> None:
    for name, text in (("a_1", "AppMag = 20"), ("b_1", "AppMag = 20|MPP = 0.4")):
        description = f"Aperio Image Library v10\n32x32 (32x32)|{text}"
        pixels = np.full((32, 32, 3), 200, np.uint8)
        tifffile.imwrite(tmp_path / f"{name}.svs", pixels, photometric="rgb", description=description, metadata=None)
    collection = open_collection(tmp_path, um_per_px=0.46)
    with collection.open(collection.crop("a_1")) as a, collection.open(collection.crop("b_1")) as b:
        assert (a.um_per_px, a.um_per_px_source, a.notes) == (0.46, "given", ())
        assert (b.um_per_px, b.um_per_px_source) == (0.4, "tiff")
