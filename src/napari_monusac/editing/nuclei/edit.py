"""An edit as a value: the pixels and rows that it changes, before and after; and what is told of it."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_monusac.core.boxes import Box
from napari_monusac.core.errors import SessionError
from napari_monusac.editing.nuclei.rows import NucleusRow, Plane
from napari_monusac.masks.change import Change


def now() -> str:
    """Return the time as ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Signature:
    """Who makes an edit, and when."""

    author: str
    time: str

    @classmethod
    def of(cls, author: str) -> Signature:
        """Sign in a reader's name, now."""
        return cls(author, now())


@dataclass(frozen=True, slots=True)
class SessionChange:
    """What listeners are told.

    Attributes
    ----------
    kind : str
        ``"edit"``, ``"undo"``, ``"redo"``, ``"saved"``, ``"selection"`` or ``"boundary"`` (it was drawn anew).
    name : str
        The command: ``"draw"``, ``"split"``, ``"class"`` ...
    box : tuple of int or None
        (top, left, bottom, right) in px: all that any of the four maps may have changed. None where no pixel did.
    ids : frozenset of int
        Nuclei that changed, came or went.
    created : tuple of int
        Those that came.
    """

    kind: Literal["edit", "undo", "redo", "saved", "selection", "boundary"]
    name: str = ""
    box: Box | None = None
    ids: frozenset[int] = frozenset()
    created: tuple[int, ...] = ()


def tally(labels: NDArray[np.int32]) -> dict[int, int]:
    """Return how many pixels each label has."""
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


class JournalValue(BaseModel):
    """What a journal holds: frozen, and nothing that is not named."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Patch(JournalValue):
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


class Edit(JournalValue):
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


def changed_rows(
    before: Mapping[int, NucleusRow | None], after: Mapping[int, NucleusRow | None]
) -> tuple[dict[int, NucleusRow | None], dict[int, NucleusRow | None]]:
    """Drop the rows that are equal before and after."""
    ids = [k for k in {**before, **after} if before.get(k) != after.get(k)]
    return {k: before.get(k) for k in ids}, {k: after.get(k) for k in ids}
