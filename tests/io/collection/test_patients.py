"""Whose crop is this: barcodes, folders, names as people and programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_monusac.io.collection.crop import Crop
from napari_monusac.io.collection.patients import Grouping, find_patients, folder_says_nothing, grouping_of

ROOT = Path("/somewhere/Kohorte 7")


def patients(*paths: str, root: Path = ROOT) -> list[str]:
    return [name for name, _ in found(*paths, root=root)]


def found(*paths: str, root: Path = ROOT) -> list[tuple[str, str]]:
    split = [p.split("/") for p in paths]
    return list(find_patients(root, [(tuple(parts[:-1]), parts[-1]) for parts in split]))


@pytest.mark.parametrize(("name", "patient"), [
    ("slide1 [x=100,y=200,w=64,h=64]", "slide1"), ("slide1 [d=2,x=1,y=2,w=5,h=5]", "slide1"),
    ("my slide [x=1,y=2,w=3,h=4]", "my slide"), ("slideA_x100_y200", "slideA"), ("Meier_x=3_y=4", "Meier"),
    ("Meier_tile1", "Meier"), ("Meier_tile_12", "Meier"), ("Meier-ROI-2", "Meier"), ("Meier_crop_3", "Meier"),
    ("Meier-1", "Meier"), ("Meier_001", "Meier"), ("Meier (2)", "Meier"), ("Meier - Copy", "Meier"),
    ("Meier_40x", "Meier"), ("Meier_512x512", "Meier"), ("Meier_r3_c4", "Meier"), ("Meier_1024_2048", "Meier"),
    ("Meier-1024-2048", "Meier"), ("Meier_HE_tile2", "Meier"), ("Meier_tumour", "Meier"), ("Müller_1", "Müller"),
    ("Mu\u0308ller_1", "Müller"), ("S23-1000", "S23-1000"), ("S23-1000_2", "S23-1000"), ("S23-1000-A1_HE", "S23-1000"),
    ("H22-7_tile1", "H22-7"), ("20-12345", "20-12345"), ("20-12345_1", "20-12345"), ("SP-22-123456 A2", "SP-22-123456"),
    ("S23_1000_1", "S23_1000"), ("P22-1000", "P22-1000"), ("P001-1", "P001"), ("P001_edge", "P001"), ("case 7-001", "case 7"),
    ("patient_001_node_2", "patient_001"), ("case_1_2", "case_1"), ("MSK_012_3", "MSK_012"), ("1_2", "1"),
    ("2023:H1234-A", "2023:H1234"), ("2023-S-01234-A1", "2023-S-01234"), ("23-H-1234 B1", "23-H-1234"),
    ("19S-004512_2", "19S-004512"), ("S2023.1234.B", "S2023.1234"), ("B2023.12345_2", "B2023.12345"),
    ("H23.1234.2", "H23.1234"), ("2021_1234_B", "2021_1234"), ("Slide_2_Patient_3", "Patient_3"),
    ("ROI_2_P001", "P001"), ("tile_0_1_P001", "P001"), ("HE_Meier_2", "Meier"), ("2_Meier", "Meier"),
    ("2023-11-02 Meier 2", "Meier"), ("Meier 2", "Meier"), ("Meier_A1", "Meier"), ("Meier_b", "Meier"),
    ("Meier_N0", "Meier"), ("Smith_John_LN2", "Smith_John"), ("UKB12345_b", "UKB12345"), ("sub-01_sample-B_1", "sub-01"),
    ("Meier_r_3_c_4", "Meier"), ("患者一_2", "患者一"), ("tile_3_患者一", "患者一"),
    ("550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"), ("2020_HE", "2020"),
    ("case-01b", "case-01"), ("pt1b_2", "pt1"), ("CaseID 17 ROI 4", "CaseID 17"), ("Fall 3 Bild 2", "Fall 3"),
    ("患者1_2", "患者1"), ("症例3-2", "症例3"), ("Patientin_3_1", "Patientin_3"),
    ("GTEX-1117F-0126_2", "GTEX-1117F"), ("20231207", "20231207"), ("case0", "case0"), ("C0", "C0"), ("a", "a"),
])  # fmt: skip
def test_a_name_without_what_numbers_or_places_crops(name: str, patient: str) -> None:
    assert found(name) == [(patient, "name")]


@pytest.mark.parametrize(
    "name", ["roi1", "tile_1", "Crop1", "HE", "image 3", "12", "1024_2048", "train_1", "tumour", "Snap-123", "Bild 3"]
)
def test_a_name_that_tells_no_patient_leaves_it_to_the_folder(name: str) -> None:
    assert found(name) == [("Kohorte 7", "folder")]
    assert found(f"P001/{name}") == [("P001", "folder")]
    assert found(f"images/{name}", root=ROOT / "P001" / "images") == [("P001", "folder")]


@pytest.mark.parametrize(("paths", "expected"), [
    (["P001/tumour", "P001/edge", "P002/tumour"], ["P001", "P001", "P002"]),
    (["CaseA/roi1", "CaseA/roi2", "CaseB/roi1"], ["CaseA", "CaseA", "CaseB"]),
    (["P001/HE", "P002/HE"], ["P001", "P002"]),
    (["images/Meier_1", "images/Huber_1"], ["Meier", "Huber"]),
    (["train/P1/slide1/a", "train/P1/slide2/b", "test/P2/slide1/a"], ["P1", "P1", "P2"]),
    (["Meier/slide1/roi1", "Meier/slide2/roi1"], ["Meier", "Meier"]),
    (["Meier/slide1/roi1", "Meier/slide2/roi1", "Huber/slide1/roi1"], ["Meier", "Meier", "Huber"]),
    (["export/Meier/a", "export/Meier/b", "export/Huber/a"], ["Meier", "Meier", "Huber"]),
    (["Site A/P001/x", "Site B/P002/x"], ["P001", "P002"]),
    (["benign/Meier_1", "malignant/Meier_2", "Lung/Huber_1"], ["Meier", "Meier", "Huber"]),
    (["P001_slide1/r", "P001_slide2/r", "S23-1000_A1/x"], ["P001", "P001", "S23-1000"]),
    (["Study_1/r", "Study_2/r"], ["Study_1", "Study_2"]),
    (["2023 export/P001_1", "2023 export/P002_1"], ["P001", "P002"]),
    (["Meier/P1", "Meier/P2", "Huber/P1", "Huber/P2"], ["Meier", "Meier", "Huber", "Huber"]),
    (["A01-1", "A01-2", "B02-1", "B02-2"], ["A01", "A01", "B02", "B02"]),
    (["H22-7", "H22-12", "H22-13"], ["H22-7", "H22-12", "H22-13"]),
    (["S23-1000", "S23-1001", "S23-1002", "S23-1003"], ["S23-1000", "S23-1001", "S23-1002", "S23-1003"]),
    (["Meier/A/1", "Meier/B/1"], ["Meier", "Meier"]),
    (["roi1/HE", "roi2/HE"], ["Kohorte 7", "Kohorte 7"]), (["P001/roi1/a", "P002/roi1/a"], ["P001", "P002"]),
    (["S23-1000A_1", "S23-1000B2_1", "S23-1001_1"], ["S23-1000", "S23-1000", "S23-1001"]),
    (["Meier_1", "meier_2", "MEIER/x"], ["Meier", "Meier", "Meier"]),
    (["Meier_biopsy_1", "Meier_2", "Meierhofer_1"], ["Meier", "Meier", "Meierhofer"]),
    (["BC_001_T_1", "BC_001_N_1", "BC_002_T_1"], ["BC", "BC", "BC"]),
    (["BRACS_17_DCIS_1", "BRACS_17_N_2"], ["BRACS", "BRACS"]),
    (["2000-512", "2048-512", "2000-1024"], ["Kohorte 7"] * 3), (["20-12345", "21-00017"], ["20-12345", "21-00017"]),
])  # fmt: skip
def test_layouts_of_folders(paths: list[str], expected: list[str]) -> None:
    assert patients(*paths) == expected


def test_a_barcode_goes_before_folder_and_name() -> None:
    told = found("TCGA-EJ-5495-01Z-00-DX1-1", "x/tcga-ej-5495-01Z/y", "P001/TCGA-A2-A0ES-01Z_1")
    assert told == [("TCGA-EJ-5495", "barcode")] * 2 + [("TCGA-A2-A0ES", "barcode")]
    for name in ("TCGA_A2_A0ES_01Z_00_DX2_1", "tcga.a2.a0es.1", "TCGA A2 A0ES (1)"):
        assert found(name) == [("TCGA-A2-A0ES", "barcode")]
    assert found("Meier_1", root=Path("/data/TCGA_v2_data")) == [("Meier", "name")]
    assert found("Meier_1", root=Path("/data/TCGA_HE_2020")) == [("Meier", "name")]
    assert found("1", root=Path("/data/TCGA-5P-A9K0-01Z-00-DX1")) == [("TCGA-5P-A9K0", "barcode")]


def test_one_patient_that_is_opened_alone_is_one_patient() -> None:
    assert patients("tumour", "edge", "x", root=Path("/data/P001")) == ["P001"] * 3
    assert patients("P002_1", root=Path("/data/P001")) == ["P002"]


def test_shelves_are_no_patients() -> None:
    assert all(
        folder_says_nothing(n) for n in ("Images", "tissue images", "Annotations", "tiles", "TRAIN", "fold 1", "png")
    )
    assert not any(folder_says_nothing(n) for n in ("P001", "Meier", "CaseA", "S23-1000", "images of Meier"))


def test_the_grouping_is_said_in_one_line() -> None:
    def crop(k: int, patient: str, source: str) -> Crop:
        return Crop(f"c{k}", patient, Path(f"c{k}.tif"), patient_source=source)  # type: ignore[arg-type]

    folders = grouping_of([crop(k, f"p{k % 4}", "folder") for k in range(12)])
    assert str(folders) == "12 crops of 4 patients, taken from the folders"
    assert folders.guessed == ("folder",)
    assert "--patients FILE" in folders.warning
    barcodes = grouping_of([crop(0, "TCGA-A2-A0ES", "barcode")])
    assert str(barcodes) == "1 crop of 1 patient, taken from the TCGA barcodes"
    assert barcodes.warning == ""
    mixed = grouping_of([crop(0, "a", "given"), crop(1, "b", "name"), crop(2, "b", "name")], Path("/x/patients.csv"))
    assert str(mixed) == "3 crops of 2 patients, taken from patients.csv (1 crop) and the names (2 crops)"
    assert str(Grouping(0, 0)) == "no crop"
