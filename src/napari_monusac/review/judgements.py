"""Who is right, truth or model: judgements of a reader, in an append-only log that survives everything.

Each reader has a log of their own, ``judgements-<reader>.jsonl`` in the review folder, so a second reader who opens
theirs never sees the first one's answers. A line is a record; undo appends one that withdraws, nothing is rewritten.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.core.files import replace_file
from napari_monusac.core.jsonl import AppendLog, DamagedLine, read_records
from napari_monusac.editing.disk.workplace import content_of, sha256
from napari_monusac.io.outputs import REVIEW_FOLDER
from napari_monusac.scoring.errors.finding import Finding

__all__ = [
    "REVIEW_FOLDER",
    "Judgement",
    "JudgementLog",
    "Verdict",
    "Withdrawn",
    "latest",
    "log_path",
    "read_log",
    "readers_of",
    "standing",
    "take_over",
    "words_on",
]

_PREFIX, _SUFFIX = "judgements-", ".jsonl"


class Verdict(StrEnum):
    """A reader's answer to a disagreement."""

    TRUTH_RIGHT = "truth right"
    MODEL_RIGHT = "model right"
    BOTH_WRONG = "both wrong"
    AMBIGUOUS = "ambiguous"
    SKIP = "skip"


class Judgement(BaseModel):
    """A judgement: one reader's answer to one finding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["judged"] = "judged"
    id: str
    finding: Finding
    verdict: Verdict
    chosen_class: NucleusClass | None = Field(None, description="The class that the reader gave the nucleus, if any")
    note: str = ""
    reader: str
    time: str = Field(description="ISO 8601, UTC")
    truth_sha256: str = Field("", description="Of the annotation file that the finding's truth ids count in")
    fingerprint: str = Field("", description="Of the recipe of the prediction")

    @property
    def key(self) -> str:
        """The finding that it answers."""
        return self.finding.key


class Withdrawn(BaseModel):
    """A judgement was undone, or put back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["withdrawn", "restored"]
    id: str
    time: str


LogRecord = Annotated[Judgement | Withdrawn, Field(discriminator="kind")]
_RECORD: TypeAdapter[LogRecord] = TypeAdapter(LogRecord)


def log_path(folder: str | Path, reader: str) -> Path:
    """Where a reader's log lies; the reader's name is part of the file name."""
    return Path(folder) / f"{_PREFIX}{quote(reader, safe=' ')}{_SUFFIX}"


def readers_of(folder: str | Path) -> tuple[str, ...]:
    """Names of the readers who have a log in a review folder, sorted."""
    names = (p.name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for p in Path(folder).glob(f"{_PREFIX}*{_SUFFIX}"))
    return tuple(sorted(unquote(n) for n in names))


def read_log(path: str | Path) -> tuple[list[Judgement | Withdrawn], int]:
    """Read a log.

    Parameters
    ----------
    path : str or Path
        The ``.jsonl`` file.

    Returns
    -------
    records, size
        Every whole record, and the bytes that they take: a last line that a crash tore lies behind.

    Raises
    ------
    SessionError
        The file cannot be read, or a line before the last is damaged.
    """
    try:
        return read_records(path, lambda _, line: _RECORD.validate_json(line))
    except OSError as error:
        raise SessionError(f"{path}: the judgements cannot be read ({error.strerror})", "check the folder") from error
    except DamagedLine as error:
        raise SessionError(
            f"{path}: line {error.number} of {error.count} is no judgement ({error})",
            "mend this line, or move the file away",
        ) from error


def take_over(old: Path, new: Path, truths: Mapping[str, Path]) -> str:
    """Move a review folder that was named after its collection alone to its place; return a word on it.

    It is moved once, and only if one of its judgements was made on an annotation of this collection.

    Parameters
    ----------
    old, new : Path
        The two folders.
    truths : mapping of str to Path
        Annotation of each crop of the collection.

    Raises
    ------
    SessionError
        A log is damaged, or the folder cannot be moved.
    """
    if new.exists() or not old.is_dir():
        return ""
    judged = [r for p in old.glob(f"{_PREFIX}*{_SUFFIX}") for r in read_log(p)[0] if isinstance(r, Judgement)]
    made_on = {(j.finding.crop, j.truth_sha256) for j in judged if j.truth_sha256 and j.finding.crop in truths}
    if not any(sha256(content_of(truths[crop])) == digest for crop, digest in made_on):
        return f"{old} holds a review of a folder of this name: nothing shows that it is of this one, it stays there."
    try:
        replace_file(old, new)
    except OSError as error:
        raise SessionError(f"{old}: cannot be moved to {new} ({error.strerror})", "check its rights") from error
    return f"The review of an earlier version was moved here from {old}."


def standing(records: Iterable[Judgement | Withdrawn]) -> list[Judgement]:
    """The judgements that were not withdrawn, oldest first."""
    judged: dict[str, Judgement] = {}
    gone: set[str] = set()
    for record in records:
        if isinstance(record, Judgement):
            judged[record.id] = record
        elif record.kind == "withdrawn":
            gone.add(record.id)
        else:
            gone.discard(record.id)
    return [j for i, j in judged.items() if i not in gone]


def latest(judgements: Iterable[Judgement]) -> list[Judgement]:
    """The last word on each finding; the same numbers in another prediction are another finding (`Finding.same_as`)."""
    words: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        said = words.setdefault(judgement.key, [])
        said[:] = [*(j for j in said if not j.finding.same_as(judgement.finding)), judgement]
    return [j for said in words.values() for j in said]


def words_on(judgements: Iterable[Judgement], crop: str, counted_in: str = "") -> list[Judgement]:
    """The last words on the findings of a crop: of each those said in one prediction, else those said in another.

    Parameters
    ----------
    judgements : iterable of Judgement
        See `latest`.
    crop : str
        Its name.
    counted_in : str
        Hash of the prediction's instance map (`nuclei_digest`); all words, where it is empty.
    """
    said = [j for j in judgements if j.finding.crop == crop]
    here = {j.key for j in said if j.finding.counts_in(counted_in)}
    return [j for j in said if j.finding.counts_in(counted_in) or j.key not in here]


class JudgementLog:
    """The judgements of one reader, with undo and redo without limit. Use `open`.

    Attributes
    ----------
    path : Path
        The ``.jsonl`` file.
    reader : str
        Whose it is.
    notes : tuple of str
        What was found when it was opened, for the user.
    """

    def __init__(self, path: Path, reader: str) -> None:
        self.path, self.reader = path, reader
        self.notes: tuple[str, ...] = ()
        self._records: list[Judgement | Withdrawn] = []
        self._undone: list[str] = []

    @classmethod
    def open(cls, folder: str | Path, reader: str) -> JudgementLog:
        """Open a reader's log in a review folder; both are made when they are missing.

        Raises
        ------
        SessionError
            The reader has no name, the folder cannot be written, or the log is damaged.
        """
        if not reader.strip():
            raise SessionError(
                "the reader has no name", "enter your name in the settings: it stands on every judgement"
            )
        log = cls(log_path(folder, reader.strip()), reader.strip())
        try:
            log.path.parent.mkdir(parents=True, exist_ok=True)
            if log.path.exists():
                log._records, size = read_log(log.path)
                if size < log.path.stat().st_size:
                    with closing(AppendLog.open(log.path)) as file:
                        file.cut(size)
                    log.notes = ("the last judgement was cut off by a crash: judge it again",)
        except OSError as error:
            raise SessionError(f"{log.path}: cannot be used ({error.strerror})", "choose another folder") from error
        return log

    @property
    def judgements(self) -> list[Judgement]:
        """The last word on each finding (`latest`)."""
        return latest(standing(self._records))

    @property
    def records(self) -> tuple[Judgement | Withdrawn, ...]:
        """Everything that was ever written, oldest first: the review log of a report."""
        return tuple(self._records)

    def of_crop(self, crop: str, counted_in: str = "") -> list[Judgement]:
        """The last words on the findings of one crop (`words_on`)."""
        return words_on(self.judgements, crop, counted_in)

    def judge(
        self,
        finding: Finding,
        verdict: Verdict | str,
        *,
        chosen_class: NucleusClass | int | None = None,
        note: str = "",
        truth_sha256: str = "",
        fingerprint: str = "",
    ) -> Judgement:
        """Write a judgement down; it is on disk when this returns.

        `chosen_class` is the class that the reader gives the nucleus (keys 1 to 4), `truth_sha256` that of the
        annotation file, `fingerprint` that of the prediction's recipe.

        Raises
        ------
        SessionError
            The disk refuses.
        """
        judgement = Judgement(
            id=uuid.uuid4().hex,
            finding=finding,
            verdict=Verdict(verdict),
            chosen_class=None if chosen_class is None else NucleusClass(chosen_class),
            note=note,
            reader=self.reader,
            time=now(),
            truth_sha256=truth_sha256,
            fingerprint=fingerprint,
        )
        self._append(judgement)
        self._undone.clear()
        return judgement

    def undo(self) -> Judgement | None:
        """Withdraw the last judgement that stands; None where there is none."""
        stands = standing(self._records)
        if not stands:
            return None
        self._append(Withdrawn(kind="withdrawn", id=stands[-1].id, time=now()))
        self._undone.append(stands[-1].id)
        return stands[-1]

    def redo(self) -> Judgement | None:
        """Put the judgement back that was withdrawn last; None where there is none."""
        if not self._undone:
            return None
        name = self._undone.pop()
        self._append(Withdrawn(kind="restored", id=name, time=now()))
        judgement = next(r for r in self._records if isinstance(r, Judgement) and r.id == name)
        return judgement

    def _append(self, record: Judgement | Withdrawn) -> None:
        try:
            with closing(AppendLog.open(self.path)) as file:
                file.append(record.model_dump_json().encode() + b"\n")
        except OSError as error:
            raise SessionError(
                f"{self.path}: the judgement cannot be written ({error.strerror})", "make room or check the folder"
            ) from error
        self._records.append(record)


def now() -> str:
    """The time as ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
