"""How far a collection is: a status a crop, in one small JSON file that several readers may share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_monusac.core.errors import SessionError
from napari_monusac.core.files import atomic_write_text, replace_file
from napari_monusac.editing.disk.workplace import FOLDER_NAME, work_folder, writable
from napari_monusac.editing.nuclei.edit import now
from napari_monusac.io.locks import exclusive

#: ``unlabelled``, ``labelled`` and ``predicted`` follow from the files; ``reviewed`` and ``done`` are a person's word.
CropStatus = Literal["unlabelled", "predicted", "labelled", "reviewed", "done"]
Mark = Literal["reviewed", "done"]
STATUSES: tuple[CropStatus, ...] = ("unlabelled", "predicted", "labelled", "reviewed", "done")


class CropMark(BaseModel):
    """A person's word on one crop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mark: Mark
    author: str = ""
    time: str = ""
    note: str = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int = 1
    crops: dict[str, CropMark] = Field(default_factory=dict)


def marks_of(root: Path, crops: Iterable[str]) -> CropMarks:
    """Return the marks of a collection: beside it, or in its work folder where it cannot be written.

    Marks that an earlier version kept by the collection's name are taken over once, where they are of these crops.
    """
    if writable(root):
        return CropMarks(root)
    marks = CropMarks(work_folder(root), work=True)
    old = work_folder() / root.name / "progress.json"
    if not marks.path.exists() and old.exists():
        known = CropMarks(old.parent, work=True)
        if known._file.crops.keys() <= set(crops):
            try:
                marks.path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(old, marks.path)
            except OSError as error:
                raise SessionError(f"{old}: cannot be moved ({error.strerror})", "check its rights") from error
            marks.reload()
    return marks


class CropMarks:
    """Marks of the crops of a collection. Read anew before each answer that matters, written whole or not at all.

    Parameters
    ----------
    folder : str or Path
        The collection's folder (then the file lies in its hidden ``.monusac``), or a work folder of the user's choice.
    work : bool
        Whether `folder` is a work folder.

    Raises
    ------
    SessionError
        The file is damaged.
    """

    def __init__(self, folder: str | Path, *, work: bool = False) -> None:
        self.path = Path(folder) / ("progress.json" if work else f"{FOLDER_NAME}/progress.json")
        self._file = self._read()

    def reload(self) -> None:
        """Take over what other readers have marked.

        Raises
        ------
        SessionError
            The file is damaged.
        """
        self._file = self._read()

    def status(self, crop: str, *, annotated: bool = False, predicted: bool = False) -> CropStatus:
        """Return the status of a crop: a person's mark, else what its files say.

        Parameters
        ----------
        crop : str
            The crop's name in its collection.
        annotated : bool
            Whether it has nuclei outlined.
        predicted : bool
            Whether it has a prediction.
        """
        mark = self._file.crops.get(crop)
        if mark is not None:
            return mark.mark
        return "labelled" if annotated else "predicted" if predicted else "unlabelled"

    def mark_of(self, crop: str) -> CropMark | None:
        """Return who marked a crop, and when; None where nobody did."""
        return self._file.crops.get(crop)

    def set_mark(self, crop: str, mark: Mark | None, *, author: str = "", note: str = "") -> None:
        """Mark a crop, or take the mark away (None). Marks that others made in between stay.

        Raises
        ------
        SessionError
            The file is damaged or cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(self.path.with_suffix(".lock")):
                self._file = self._read()
                if mark is None:
                    self._file.crops.pop(crop, None)
                else:
                    self._file.crops[crop] = CropMark(mark=mark, author=author, time=now(), note=note)
                atomic_write_text(self.path, self._file.model_dump_json(indent=1) + "\n")
        except OSError as error:
            raise SessionError(
                f"{self.path}: the mark of {crop} cannot be kept ({error.strerror})", "choose a work folder"
            ) from error

    def next_open(self, crops: Sequence[str], after: str | None = None, *, backwards: bool = False) -> str | None:
        """Return the next crop in order, going round, that is neither reviewed nor done; None when all are.

        Parameters
        ----------
        crops : sequence of str
            All crops, in the order in which they are shown.
        after : str, optional
            Where to begin: the crop that is open.
        backwards : bool
            Look for the one before instead.
        """
        order = list(reversed(crops)) if backwards else list(crops)
        start = order.index(after) + 1 if after in order else 0
        return next((c for c in order[start:] + order[:start] if c not in self._file.crops and c != after), None)

    def counts(self, crops: Iterable[tuple[str, bool, bool]]) -> dict[CropStatus, int]:
        """Count the statuses of (crop, annotated, predicted)."""
        found = Counter(self.status(name, annotated=a, predicted=p) for name, a, p in crops)
        return {status: found[status] for status in STATUSES}

    def _read(self) -> _File:
        try:
            return _File.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return _File()
        except (OSError, ValidationError) as error:
            raise SessionError(
                f"{self.path}: the progress cannot be read ({str(error).splitlines()[0]})",
                "mend or move this file away",
            ) from error
