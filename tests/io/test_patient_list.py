"""The user's list of patients: read in many forms, matched to crops, kept also for folders that are read-only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from napari_monusac.core.errors import CollectionError
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.collection.patient_list import Listed, find_list, forget_list, kept_list, read_list, write_list
from napari_monusac.io.splits import make_split


@pytest.fixture(autouse=True)
def own_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONUSAC_WORK", str(tmp_path / "work"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "Daten"
    for name in ("one/a", "one/b", "two/a", "two/c"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.png").write_bytes(b"")
    return root


@pytest.mark.parametrize("content", [
    b"crop,patient\nx,P1\ny,P2\n", b"\xef\xbb\xbfCrop;Patient\r\nx;P1\r\ny;P2\r\n", b"patient\tfile\nP1\tx\nP2\ty\n\n",
    "image,Patient_ID,note\nx, P1 ,ä\ny,P2,\n".encode("utf-16"), b'"crop","patient"\n"x","P1"\n"y","P2"\n',
    b"sep=;\r\ncrop;patient\r\nx;P1\r\ny;P2\r\n", b"\n,\ncrop,patient\n\nx,P1\ny,P2\n",
])  # fmt: skip
def test_tables_as_programs_write_them(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.csv").write_bytes(content)
    assert read_list(tmp_path / "p.csv") == {"x": Listed("P1"), "y": Listed("P2")}


@pytest.mark.parametrize(("content", "said"), [
    (b"", "columns none"), (b"crop,who\nx,P1\n", "columns crop, who"), (b"crop,patient\nx,\n", "line 2 lacks its patient"),
    (b"crop,patient\nx,P1\ny,NaN\n", "line 3 lacks its patient"), (b"\nsep=,\ncrop,patient\nx,#N/A\n", "line 4 lacks"),
    (b"crop,patient\n,P1\n", "line 2 lacks its crop"), (b"crop,patient\n", "names no crop"),
    (b"crop,patient\nx,P1\nx,P2\n", "line 3 gives x to P2, an earlier one to P1"),
])  # fmt: skip
def test_a_wrong_table_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(CollectionError, match=said) as caught:
        read_list(tmp_path / "p.csv")
    assert "\n" not in str(caught.value)
    with pytest.raises(CollectionError, match="cannot be read"):
        read_list(tmp_path / "none.csv")


def test_the_list_in_the_folder_is_found_and_a_given_one_goes_before_it(folder: Path, tmp_path: Path) -> None:
    assert [c.patient for c in open_collection(folder)] == ["one", "one", "two", "two"]
    (folder / "patients.csv").write_text("crop,patient\none/a,Meier\none\\b.png,Meier\ntwo/a.png,MEIER\nC,Huber\n")
    collection = open_collection(folder)
    assert {c.name: (c.patient, c.patient_source) for c in collection} == {
        "one/a": ("Meier", "given"), "b": ("Meier", "given"), "two/a": ("Meier", "given"), "c": ("Huber", "given"),
    }  # fmt: skip
    assert str(collection.grouping) == "4 crops of 2 patients, taken from patients.csv"
    assert collection.grouping.notes == ("patients.csv: MEIER is taken as Meier",)
    (tmp_path / "other.csv").write_text("crop,patient\nb,X\nzz,Y\n")
    other = open_collection(folder, patients=tmp_path / "other.csv")
    assert other.crop("b").patient == "X"
    assert other.crop("c").patient_source == "folder"
    assert other.grouping.notes == (
        "other.csv: 1 row names no crop of this folder (zz)",
        "other.csv: 3 crops are not in it, their patients are found as without a list (one/a, two/a, c)",
    )


def test_paths_of_another_machine_are_known_by_their_end(folder: Path, tmp_path: Path) -> None:
    rows = (f"{folder}/one/a.png", "C:\\Users\\me\\Daten\\one\\b.tif", "D:\\Daten\\TWO\\a.png", "/elsewhere/c.png")
    (tmp_path / "p.csv").write_text("crop,patient\n" + "".join(f"{r},p{k}\n" for k, r in enumerate(rows)))
    collection = open_collection(folder, patients=tmp_path / "p.csv")
    assert {c.name: c.patient for c in collection} == {"one/a": "p0", "b": "one", "two/a": "p2", "c": "two"}
    assert "2 rows name no crop of this folder (C:" in collection.grouping.notes[0]


def test_what_a_list_may_not_say(folder: Path, tmp_path: Path) -> None:
    for content, said in (("a,P", "a may mean 2 crops"), ("zz,P", "names none of the 4 crops"),
                          ("b,P\none/b,Q", "gives b to P and to Q")):  # fmt: skip
        (tmp_path / "p.csv").write_text(f"crop,patient\n{content}\n")
        with pytest.raises(CollectionError, match=said):
            open_collection(folder, patients=tmp_path / "p.csv")


def test_a_wrong_list_in_the_folder_hinders_no_look_but_the_split(folder: Path) -> None:
    (folder / "patients.csv").write_text("patient,age\nMeier,50\n")
    collection = open_collection(folder)
    assert [c.patient for c in collection] == ["one", "one", "two", "two"]
    (note,) = collection.grouping.notes
    assert note.startswith("patients.csv is not heeded: ")
    assert "columns patient, age" in note
    with pytest.raises(CollectionError, match="columns patient, age"):
        make_split(collection)


def test_a_list_is_kept_in_the_folder_and_says_what_told_the_rest(folder: Path) -> None:
    listed = {c.name: Listed("Meier" if c.name == "b" else c.patient, "given" if c.name == "b" else c.patient_source)
              for c in open_collection(folder)}  # fmt: skip
    assert write_list(folder, listed) == folder / "patients.csv"
    collection = open_collection(folder)
    assert collection.crop("b").patient == "Meier"
    assert dict(collection.grouping.sources) == {"given": 1, "folder": 3}, "a guess that is kept stays a guess"


def test_a_table_of_another_hand_is_neither_replaced_nor_removed(folder: Path) -> None:
    table = folder / "patients.csv"
    for content in ("patient,age\nMeier,50\n", "crop,patient,age\nb,Meier,50\n"):
        table.write_text(content)
        kept = write_list(folder, {"b": Listed("Huber")})
        assert kept == kept_list(folder)
        assert open_collection(folder).crop("b").patient == "Huber"
        with pytest.raises(CollectionError, match="by hand"):
            forget_list(table)
        forget_list(kept)
        assert table.read_text() == content
    assert open_collection(folder).crop("b").patient == "Meier"


def test_a_folder_that_cannot_be_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import napari_monusac.io.collection.patient_list as module

    write = module.atomic_write_text

    def refuses(path: Path, text: str) -> None:
        if Path(path).parent == folder:
            raise PermissionError(13, "Permission denied", str(path))
        write(path, text)

    monkeypatch.setattr(module, "atomic_write_text", refuses)
    kept = write_list(folder, {"b": Listed("Meier")})
    assert kept == kept_list(folder)
    assert not (folder / "patients.csv").exists()
    assert open_collection(folder).crop("b").patient == "Meier"
    (folder.parent / "elsewhere").mkdir()
    twin = folder.parent / "elsewhere" / folder.name
    assert kept_list(twin) != kept, "another folder of the same name has a list of its own"
    monkeypatch.undo()
    os.environ["MONUSAC_WORK"] = str(kept.parents[1])
    assert write_list(folder, {"b": Listed("Huber")}) == folder / "patients.csv"
    assert find_list(folder) == folder / "patients.csv", "the older list is gone"
