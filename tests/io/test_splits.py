from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import CollectionError
from napari_monusac.io.collection.collection import Collection, Crop, open_collection
from napari_monusac.io.collection.corrected_list import write_corrected_list
from napari_monusac.io.splits import Split, make_split


class Counted(Collection):
    """Crops with known class counts, and no files."""

    def __init__(self, crops: list[Crop], counts: dict[str, dict[NucleusClass, int]]) -> None:
        super().__init__(Path("/data"), tuple(crops))
        self.known = counts

    def counts(self, crop: Crop) -> dict[NucleusClass, int]:
        return self.known[crop.name]


def collection(patients: int = 12, parts: bool = False) -> Counted:
    crops, counts = [], {}
    for p in range(patients):
        for k in (1, 2):
            part = ("train" if p % 2 else "test") if parts else None
            crops.append(Crop(f"p{p}_{k}", f"p{p}", Path(f"/p{p}_{k}.tif"), Path(f"/p{p}_{k}.xml"), part))
            counts[crops[-1].name] = {NucleusClass.EPITHELIAL: 50 + p, NucleusClass.LYMPHOCYTE: 30}
    counts["p3_1"][NucleusClass.NEUTROPHIL] = 4  # two patients only
    counts["p8_2"][NucleusClass.NEUTROPHIL] = 3
    counts["p5_1"][NucleusClass.MACROPHAGE] = 2  # one patient only: cannot stand on both sides
    return Counted(crops, counts)


def test_patients_are_never_torn_apart_and_every_crop_has_a_side() -> None:
    for seed in range(10):
        split = make_split(collection(), seed=seed)
        assert not set(split.training_patients) & set(split.validation_patients)
        assert len(split.validation_patients) == 3
        assert len(split.training) + len(split.validation) == 24
        assert split.leaked_patients == ()


def test_rare_classes_stand_on_both_sides() -> None:
    for seed in range(20):
        split = make_split(collection(), seed=seed)
        assert split.training_nuclei["Neutrophil"]
        assert split.validation_nuclei["Neutrophil"]
        assert any("macrophage" in note for note in split.notes)


def test_the_seed_decides() -> None:
    assert make_split(collection(), seed=3) == make_split(collection(), seed=3)
    assert len({make_split(collection(), seed=s).validation for s in range(8)}) > 2


def test_a_split_is_saved_and_read_again() -> None:
    split = make_split(collection(), seed=1)
    assert Split.model_validate_json(split.model_dump_json()) == split
    with pytest.raises(ValueError):
        Split.model_validate({**split.model_dump(), "colour": 1})


def test_the_official_lists_and_their_leak() -> None:
    crops = [
        Crop("a_1", "TCGA-A2-A0ES", Path("a.tif"), Path("a.xml"), "train"),
        Crop("b_1", "TCGA-A2-A0ES", Path("b.tif"), Path("b.xml"), "test"),
        Crop("c_1", "TCGA-MP-A4T7", Path("c.tif"), Path("c.xml"), "test"),
        Crop("d_1", "TCGA-MP-A4T7", Path("d.tif"), None, "test"),
    ]
    counted = Counted(crops, {c.name: dict.fromkeys(CLASSES, 5) for c in crops})
    split = make_split(counted, "official")
    assert split.training == ("a_1",)
    assert split.validation == ("b_1", "c_1")  # d has no annotation
    assert split.leaked_patients == ("TCGA-A2-A0ES",)
    assert "TCGA-A2-A0ES" in split.notes[0]


def test_test_patients_do_not_slip_into_training_unsaid() -> None:
    split = make_split(collection(parts=True), "patient")
    assert any("official test list" in note for note in split.notes)


def test_what_cannot_be_split() -> None:
    with pytest.raises(CollectionError, match=r"one patient only .* a patient that the model never saw"):
        make_split(collection(1) if False else Counted([Crop("a_1", "a", Path("a.tif"), Path("a.xml"))], {"a_1": {}}))
    with pytest.raises(CollectionError, match="no annotated crop"):
        make_split(Counted([Crop("a_1", "a", Path("a.tif"))], {}))
    with pytest.raises(CollectionError, match="both official roots"):
        make_split(collection(), "official")
    with pytest.raises(CollectionError, match="validation fraction"):
        make_split(collection(), validation_fraction=1.5)
    with pytest.raises(CollectionError, match="unknown split"):
        make_split(collection(), "crop")  # type: ignore[arg-type]


def test_a_split_of_guessed_patients_says_so() -> None:
    split = make_split(collection())
    assert split.grouping == "24 crops of 12 patients, taken from the names"
    assert split.patient_sources == {"name": 24}
    assert set(split.guessed_patients) == {f"p{k}" for k in range(12)}
    assert split.notes[-1].startswith("patients taken from the names are guesses")
    crops = [Crop(f"c{k}", f"TCGA-A2-000{k}", Path("a.tif"), Path("a.xml"), patient_source="barcode") for k in range(3)]
    sure = make_split(Counted(crops, {c.name: {} for c in crops}))
    assert sure.grouping == "3 crops of 3 patients, taken from the TCGA barcodes"
    assert not sure.guessed_patients
    assert not sure.notes


def test_a_split_of_before_is_read() -> None:
    old = {"kind": "patient", "seed": 3, "validation_fraction": 0.25, "training": ["a"], "validation": ["b"],
           "training_patients": ["a"], "validation_patients": ["b"]}  # fmt: skip
    assert Split.model_validate(old).grouping == ""


def test_the_refusal_says_how_the_one_patient_was_found_and_how_to_set_it() -> None:
    crops = [Crop(f"Meier_{k}", "Meier", Path("a.tif"), Path("a.xml"), patient_source="name") for k in range(5)]
    with pytest.raises(CollectionError) as caught:
        make_split(Counted(crops, {c.name: {} for c in crops}))
    said = str(caught.value)
    assert "Meier, taken from the names: Meier_0, Meier_1, Meier_2 ..." in said
    assert all(way in said for way in ("patients.csv", "--patients FILE", "Set patients in Slides"))


# -- corrected crops


def corrected_folder(root: Path, patients: int, corrected: tuple[str, ...]) -> Any:
    """Crops of some patients, two each, empty files: a split looks at nothing but names and counts."""
    for k in range(patients):
        for n in (1, 2):
            (root / f"p{k}").mkdir(parents=True, exist_ok=True)
            (root / f"p{k}" / f"p{k}_{n}.tif").write_bytes(b"")
            (root / f"p{k}" / f"p{k}_{n}.xml").write_text("<Annotations/>")
    write_corrected_list(root, corrected)
    return open_collection(root)


def test_patients_that_nobody_has_corrected_validate_and_corrected_crops_are_seen_more_often(tmp_path: Path) -> None:
    for seed in range(5):
        folder = corrected_folder(tmp_path / str(seed), 8, ("p2/p2_1.tif", "p5/p5_2.tif"))
        split = make_split(folder, seed=seed)
        assert not {"p2", "p5"} & set(split.validation_patients)
        assert {"p2", "p5"} <= set(split.training_patients)
        assert len(split.validation_patients) == 2, "a quarter of eight"
        # 2 corrected and 10 others train: 2 x k of 2 x k + 10 is about a third where k is 2 or 3
        assert split.seen_more_often in ({"p2_1": 2, "p5_2": 2}, {"p2_1": 3, "p5_2": 3})
        assert "2 corrected crops train, seen" in " ".join(split.notes)


def test_one_corrected_crop_of_many_is_not_repeated_for_ever(tmp_path: Path) -> None:
    split = make_split(corrected_folder(tmp_path, 60, ("p7/p7_1.tif",)))
    assert split.seen_more_often == {"p7_1": 20}


def test_the_patients_of_the_former_validation_validate_again(tmp_path: Path) -> None:
    folder = corrected_folder(tmp_path, 8, ("p1/p1_1.tif",))
    split = make_split(folder, former_validation=("p0", "p1", "p6", "elsewhere"))
    assert set(split.validation_patients) == {"p0", "p6"}, "of those that nobody has corrected"
    write_corrected_list(tmp_path, ())
    assert make_split(folder, former_validation=("p0", "p6")) == make_split(folder), "no correction, no rule"


def test_where_every_patient_has_corrections_some_validate_and_it_is_said(tmp_path: Path) -> None:
    folder = corrected_folder(tmp_path, 3, ("p0/p0_1.tif", "p1/p1_1.tif", "p2/p2_2.tif"))
    split = make_split(folder)
    assert len(split.validation_patients) == 1
    assert set(split.seen_more_often) <= set(split.training)
    assert any("1 corrected crops validate" in note for note in split.notes)


def test_a_list_of_corrected_crops_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    folder = corrected_folder(tmp_path, 3, ())
    (tmp_path / "corrected.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(CollectionError, match=r"corrected.txt.*delete it"):
        make_split(folder)


@pytest.mark.shared
def test_the_real_folder(shared_data: Path) -> None:
    split = make_split(open_collection(shared_data / "monusac"))
    assert all(split.training_nuclei.values())
    assert all(split.validation_nuclei.values())
    assert not split.leaked_patients
