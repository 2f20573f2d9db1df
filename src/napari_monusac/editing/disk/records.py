"""What a journal holds: edits as values, one record a line, each with its number and checksum."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from napari_monusac.core.boxes import Box
from napari_monusac.core.errors import SessionError
from napari_monusac.core.jsonl import TornLine
from napari_monusac.editing.nuclei.rows import NucleusRow, Plane
from napari_monusac.masks.change import Change

FORMAT = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Patch(_Record):
    """The pixels that an edit changes on one plane, packed.

    `data` is zlib of: one bit a pixel of the box (changed or not, padded to bytes), then the labels before, then those
    after, int32 little-endian, of the changed pixels in reading order.
    """

    plane: Plane
    box: Box
    data: str = Field(description="zlib, base64")

    @classmethod
    def pack(cls, change: Change, plane: Plane) -> Patch:
        """Pack a change."""
        mask = change.changed
        raw = b"".join(
            (
                np.packbits(mask).tobytes(),
                change.before[mask].astype("<i4").tobytes(),
                change.after[mask].astype("<i4").tobytes(),
            )
        )
        return cls(plane=plane, box=change.box, data=base64.b64encode(zlib.compress(raw, 1)).decode("ascii"))

    def unpack(self) -> tuple[NDArray[np.bool_], NDArray[np.int32], NDArray[np.int32]]:
        """Return the mask of changed pixels in the box, their labels before and their labels after.

        Raises
        ------
        SessionError
            The data is not what `pack` makes.
        """
        height, width = self.box[2] - self.box[0], self.box[3] - self.box[1]
        if min(*self.box, height, width) < 0:
            raise SessionError(f"an edit has the box {self.box}", "the journal is damaged")
        head = -(-height * width // 8)
        try:
            inflater = zlib.decompressobj()
            # no more than such a box can hold: some bytes may unpack to gigabytes
            raw = inflater.decompress(base64.b64decode(self.data, validate=True), head + 8 * height * width + 1)
        except (ValueError, zlib.error, OverflowError) as error:
            raise SessionError(f"an edit's pixels cannot be unpacked ({error})", "the journal is damaged") from error
        if len(raw) < head:
            raise SessionError(f"an edit of {height} x {width} px holds {len(raw)} bytes", "the journal is damaged")
        bits = np.unpackbits(np.frombuffer(raw[:head], np.uint8), count=height * width)
        mask = bits.astype(bool).reshape(height, width)
        count = int(np.count_nonzero(mask))
        if len(raw) - head != 8 * count or not inflater.eof:
            raise SessionError(f"an edit of {count} px holds {len(raw) - head} bytes", "the journal is damaged")
        labels = np.frombuffer(raw[head:], "<i4")
        return mask, labels[:count].astype(np.int32), labels[count:].astype(np.int32)


class Header(_Record):
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


class Edit(_Record):
    """One command: patches and rows, before and after."""

    kind: Literal["edit"] = "edit"
    n: int
    name: str = Field(description="What the user did: draw, split, class ...")
    patches: tuple[Patch, ...] = ()
    before: dict[int, NucleusRow | None] = Field(default_factory=dict, description="Rows by id; None = there was none")
    after: dict[int, NucleusRow | None] = Field(default_factory=dict, description="Rows by id; None = it is gone")
    author: str = ""
    time: str = ""

    @property
    def ids(self) -> frozenset[int]:
        """Nuclei whose rows change."""
        return frozenset(self.before) | frozenset(self.after)


class Step(_Record):
    """Undo or redo of one edit."""

    kind: Literal["undo", "redo"]
    n: int
    time: str = ""


class Saved(_Record):
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


def changed_rows(
    before: Mapping[int, NucleusRow | None], after: Mapping[int, NucleusRow | None]
) -> tuple[dict[int, NucleusRow | None], dict[int, NucleusRow | None]]:
    """Drop the rows that are equal before and after."""
    ids = [k for k in {**before, **after} if before.get(k) != after.get(k)]
    return {k: before.get(k) for k in ids}, {k: after.get(k) for k in ids}
