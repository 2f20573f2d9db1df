"""What a journal holds: one record a line, each with its number and checksum."""

from __future__ import annotations

import zlib
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from napari_monusac.core.jsonl import TornLine
from napari_monusac.editing.nuclei.edit import Edit, JournalValue

FORMAT = 1


class Header(JournalValue):
    """The first record: what the journal belongs to."""

    kind: Literal["journal"] = "journal"
    n: int = 0
    format: int = FORMAT
    annotation: str = Field(description="Name of the annotation file")
    sha256: str = Field(description="Of the annotation file as it was opened; of nothing where there was none")
    sidecar: str | None = Field(
        default=None, description="The same of its sidecar; None: an earlier version wrote this"
    )
    shape: tuple[int, int] = Field(description="Height and width of the image or the edited part of it, px")
    offset_px: tuple[int, int] | None = Field(default=None, description="(y, x) of a part's first pixel in the image")
    host: str = ""
    author: str = ""
    time: str = ""


class Step(JournalValue):
    """Undo or redo of one edit."""

    kind: Literal["undo", "redo"]
    n: int
    time: str = ""


class Saved(JournalValue):
    """The state at this point was written to the annotation file and its sidecar (or was about to be)."""

    kind: Literal["saved"] = "saved"
    n: int
    sha256: str
    sidecar: str | None = Field(default=None, description="SHA-256 of the sidecar; None: an earlier version wrote this")
    author: str = ""
    time: str = ""


Record = Annotated[Header | Edit | Step | Saved, Field(discriminator="kind")]
_RECORD: TypeAdapter[Record] = TypeAdapter(Record)


def encode(record: Record) -> bytes:
    """Return a record as one line: CRC-32 of the JSON in eight hex digits, a blank, the JSON."""
    body = record.model_dump_json(exclude_defaults=False).encode("utf-8")
    return b"%08x %b\n" % (zlib.crc32(body), body)


def decode(line: bytes) -> Record:
    """Read one line (with its line end).

    Raises
    ------
    TornLine
        The line is cut off, or its checksum is wrong.
    ValueError
        It is as it was written, and no record.
    """
    if len(line) < 11 or not line.endswith(b"\n") or line[8:9] != b" ":
        raise TornLine("the line is torn")
    body = line[9:-1]
    if line[:8] != b"%08x" % zlib.crc32(body):
        raise TornLine("the checksum is wrong")
    return _RECORD.validate_json(body)
