"""The user's own list of patients: a table (crop, patient), beside the crops or kept for a folder that is read-only."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_monusac.core.errors import CollectionError
from napari_monusac.core.files import atomic_write_text, folder_key
from napari_monusac.core.settings import user_folder
from napari_monusac.io.collection.crop import PatientSource
from napari_monusac.io.collection.patients import SOURCES

if TYPE_CHECKING:
    from napari_monusac.io.collection.crop import Crop

#: Name of the list that is heeded when it lies in the folder.
FILE_NAME = "patients.csv"
_SOURCE_COLUMN = "taken from"
_HEADER = ("crop", "patient", _SOURCE_COLUMN)
_CROP_COLUMNS = ("crop", "image", "file", "filename", "file name", "name", "slide")
_PATIENT_COLUMNS = ("patient", "patient_id", "patient id", "patientid", "case", "case_id", "case id", "subject")
_SEPARATOR = re.compile(r'"?sep=."?', re.IGNORECASE)
_MEND = "give a table with the columns crop and patient, a row a crop"
#: What tables have where nothing stands: such crops are not all of one patient.
_NOBODY = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "none", "null", "-", "--", "?", "unknown"))
_LARGEST = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Listed:
    """The patient of a crop as a list has it, and what told it: a person's word, unless the list says else."""

    patient: str
    source: PatientSource = "given"


def kept_list(root: str | Path) -> Path:
    """Return where the list of a folder that cannot be written to is kept: in ``MONUSAC_WORK``, else the user's data."""
    return user_folder("work") / "patients" / f"{folder_key(root)}.csv"


def find_list(root: Path) -> Path | None:
    """Return the list that holds for a folder: the one kept for it, else `FILE_NAME` in it; None where there is none."""
    return next((p for p in (kept_list(root), root / FILE_NAME) if p.is_file()), None)


def read_list(path: str | Path) -> dict[str, Listed]:
    """Read a list of patients.

    Parameters
    ----------
    path : str or Path
        CSV with the columns *crop* and *patient*, separated by comma, semicolon or tab; UTF-8 or UTF-16. A crop is named
        as in its collection, by its file's name, or by its path in the folder. A column *taken from* may say that a
        patient was told by a barcode, folder or name: then it is no more than that.

    Returns
    -------
    dict of str to Listed
        By crop, as written.

    Raises
    ------
    CollectionError
        The file cannot be read, lacks a column, leaves a patient empty, or gives a crop to two patients.
    """
    path = Path(path)
    text, before = _below_blank_lines(_text(path))
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=_delimiter(text)))
    except csv.Error as error:
        raise CollectionError(path, f"is no table ({error})", _MEND) from error
    header = [h.strip().casefold() for h in rows[0]] if rows else []
    at_crop, at_patient = (
        next((header.index(n) for n in names if n in header), None) for names in (_CROP_COLUMNS, _PATIENT_COLUMNS)
    )
    if at_crop is None or at_patient is None:
        raise CollectionError(path, f"has the columns {', '.join(header) or 'none'}", _MEND)
    at_source = header.index(_SOURCE_COLUMN) if _SOURCE_COLUMN in header else len(header)
    found: dict[str, Listed] = {}
    for number, row in enumerate(rows[1:], start=before + 2):
        if any(cell.strip() for cell in row):
            crop, patient, source = (_plain(row[k]) if k < len(row) else "" for k in (at_crop, at_patient, at_source))
            _take(found, crop, Listed(patient, next((s for s in SOURCES if s == source), "given")), path, number)
    if not found:
        raise CollectionError(path, "names no crop", _MEND)
    return found


def _take(found: dict[str, Listed], crop: str, listed: Listed, path: Path, number: int) -> None:
    """Add a row."""
    if not crop or listed.patient.casefold() in _NOBODY:
        raise CollectionError(path, f"line {number} lacks its {'patient' if crop else 'crop'}", _MEND)
    earlier = found.setdefault(crop, listed).patient
    if earlier != listed.patient:
        problem = f"line {number} gives {crop} to {listed.patient}, an earlier one to {earlier}"
        raise CollectionError(path, problem, "leave one of them")


def write_list(root: str | Path, patients: Mapping[str, Listed]) -> Path:
    """Keep a list of patients for a folder: in it, or among the user's own files.

    The latter where the folder cannot be written to, and where a table of another hand has the name already: that one
    stays as it is.

    Parameters
    ----------
    root : str or Path
        The folder of the collection.
    patients : mapping of str to Listed
        By the crop's name.

    Returns
    -------
    Path
        The file: ``patients.csv`` in `root`, else `kept_list`.

    Raises
    ------
    CollectionError
        Neither place can be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_HEADER, *((c, p.patient, p.source) for c, p in patients.items())])
    own, kept = Path(root) / FILE_NAME, kept_list(root)
    try:
        if own.exists() and not is_ours(own):
            raise FileExistsError(17, "is a table of another hand", str(own))
        atomic_write_text(own, text.getvalue())
    except OSError:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(kept, text.getvalue())
        except OSError as error:
            raise CollectionError(
                kept, f"cannot be written ({error.strerror})", "set MONUSAC_WORK to a folder that you may write"
            ) from error
        return kept
    forget_list(kept)
    return own


def is_ours(path: Path) -> bool:
    """Tell whether a list was written by `write_list`."""
    try:
        with path.open("rb") as file:
            return file.readline().strip() == ",".join(_HEADER).encode("ascii")
    except OSError:
        return False


def forget_list(path: Path) -> None:
    """Remove a list that `write_list` wrote; one that is not there is no fault.

    Raises
    ------
    CollectionError
        It is a table of another hand, or cannot be removed.
    """
    if path.exists() and not is_ours(path):
        raise CollectionError(path, "was not written by this program", "remove it by hand")
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise CollectionError(path, f"cannot be removed ({error.strerror})", "remove it by hand") from error


def with_given(
    crops: Sequence[Crop], given: Mapping[str, Listed], path: Path, root: Path
) -> tuple[list[Crop], list[str]]:
    """Give crops the patients of a list; crops that are not in it keep theirs.

    Patients that differ by case or blanks alone are one.

    Parameters
    ----------
    crops : sequence of Crop
    given : mapping of str to Listed
        By crop; see `read_list`.
    path : Path
        The list, for messages.
    root : Path
        The folder of the collection.

    Returns
    -------
    list of Crop, list of str
        The crops, and what the user should know: rows without a crop, crops without a row, patients in two spellings.

    Raises
    ------
    CollectionError
        A row may mean several crops, or no row means any.
    """
    names: dict[str, set[int]] = defaultdict(set)
    for k, crop in enumerate(crops):
        for name in _names_of(crop, root):
            names[name].add(k)
    patients: dict[int, Listed] = {}
    unknown = []
    for row, patient in given.items():
        name = _plain(row.replace("\\", "/")).removeprefix("./")
        found = names.get(name) or names.get(name.casefold()) or _ends_with_path(name, crops, root)
        exact = {k for k in found if crops[k].name == name}
        found = exact or found
        if len(found) > 1:
            several = ", ".join(crops[k].name for k in sorted(found)[:3])
            raise CollectionError(
                path, f"{row} may mean {len(found)} crops ({several})", "name them with their folders"
            )
        if not found:
            unknown.append(row)
        for k in found:
            if patients.setdefault(k, patient).patient != patient.patient:
                raise CollectionError(
                    path,
                    f"gives {crops[k].name} to {patients[k].patient} and to {patient.patient}",
                    "leave one of the rows",
                )
    if not patients:
        raise CollectionError(
            path, f"names none of the {len(crops)} crops of {root} (its first is {unknown[0]})",
            f"name crops as here: {crops[0].name if crops else 'there is none'}",
        )  # fmt: skip
    notes = _notes(path, unknown, [c.name for k, c in enumerate(crops) if k not in patients])
    spelled: dict[str, str] = {}
    for listed in patients.values():
        first = spelled.setdefault(_spelling(listed.patient), listed.patient)
        if first != listed.patient and (note := f"{path.name}: {listed.patient} is taken as {first}") not in notes:
            notes.append(note)
    told = [
        replace(c, patient=spelled[_spelling(patients[k].patient)], patient_source=patients[k].source) if k in patients
        else replace(c, patient=spelled.get(_spelling(c.patient), c.patient))
        for k, c in enumerate(crops)
    ]  # fmt: skip
    return told, notes


def _names_of(crop: Crop, root: Path) -> set[str]:
    """All that a row may call a crop: its name, its files' names and paths, with and without suffix."""
    found = {crop.name}
    for image in (crop.image, *crop.others):
        found |= {image.name, image.stem, image.name.split(".")[0]}
        if image.is_relative_to(root):
            path = image.relative_to(root)
            found |= {path.as_posix(), path.with_suffix("").as_posix()}
    plain = {_plain(name) for name in found}
    return plain | {name.casefold() for name in plain}


def _ends_with_path(row: str, crops: Sequence[Crop], root: Path) -> set[int]:
    """Crops whose whole path below `root` a longer path (of another machine, say) ends with."""
    if "/" not in row:
        return set()
    row = row.casefold()
    found = set()
    for k, crop in enumerate(crops):
        images = (i.relative_to(root) for i in (crop.image, *crop.others) if i.is_relative_to(root))
        ends = {_plain(f"/{p.as_posix()}").casefold() for image in images for p in (image, image.with_suffix(""))}
        if row.endswith(tuple(ends)):
            found.add(k)
    return found


def _notes(path: Path, unknown: Sequence[str], unlisted: Sequence[str]) -> list[str]:
    found = []
    for names, one, many in (
        (unknown, "row names no crop of this folder", "rows name no crop of this folder"),
        (unlisted, "crop is not in it, its patient is found as without a list",
         "crops are not in it, their patients are found as without a list"),
    ):  # fmt: skip
        if names:
            shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
            found.append(f"{path.name}: {len(names)} {one if len(names) == 1 else many} ({shown})")
    return found


def _spelling(patient: str) -> str:
    return " ".join(patient.split()).casefold()


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise CollectionError(path, f"is larger than {_LARGEST >> 20} MiB: no list of patients", _MEND)
        content = path.read_bytes()
    except OSError as error:
        raise CollectionError(path, f"cannot be read ({error.strerror})", "check the path") from error
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        try:
            return content.decode("cp1252")  # what Excel saves as "CSV" in Europe
        except UnicodeDecodeError as error:
            raise CollectionError(path, "is no text", _MEND) from error


def _below_blank_lines(text: str) -> tuple[str, int]:
    """The text from its header on, and the lines before it: blank ones, and Excel's ``sep=;``."""
    lines = text.splitlines(keepends=True)
    before = 0
    while before < len(lines) and (not lines[before].strip(" ,;\t\r\n") or _SEPARATOR.fullmatch(lines[before].strip())):
        before += 1
    return "".join(lines[before:]), before


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0]
    return max((",", ";", "\t"), key=first.count)
