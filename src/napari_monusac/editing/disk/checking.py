"""What a journal's edit may hold: looked at before it is carried out, so that a wrong one is never applied in part."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import window
from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.editing.nuclei.crop import CropNuclei
from napari_monusac.editing.nuclei.edit import Edit, Patch, tally
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID, NucleusRow, Plane

_CLASS_IDS = frozenset({*map(int, CLASSES), int(NucleusClass.UNCLASSIFIED), AMBIGUOUS_ID})
#: A reader may choose the number of a new nucleus (napari's brush); one so far beyond the others is nobody's choice.
_FURTHEST = 1 << 24
#: What the file alone says about a nucleus: an earlier version's journal does not say which sidecar it began with.
_OF_THE_FILE = {"id", "class_id", "source", "intact"}

_Tally = dict[int, int]


class EditCheck:
    """Checks the edits of a journal one after the other, against nuclei that have carried out those before.

    Parameters
    ----------
    nuclei : CropNuclei
        As it was opened.
    whole_rows : bool
        Whether rows must be known to the letter; else as far as the annotation file tells them.
    """

    def __init__(self, nuclei: CropNuclei, *, whole_rows: bool = True) -> None:
        self.nuclei, self.whole_rows = nuclei, whole_rows
        self._pixels: dict[Plane, Counter[int]] = {p: Counter(tally(nuclei.maps.plane(p))) for p in get_args(Plane)}

    def check(self, edit: Edit) -> None:
        """Look at an edit that was never carried out.

        Raises
        ------
        SessionError
            It does not fit: nothing was changed.
        """
        try:
            rows = self._rows_after(edit)
            moves = [(patch.plane, *self._tallies(patch, rows)) for patch in edit.patches]
            if len({plane for plane, _, _ in moves}) < len(moves):
                raise _wrong("it changes one map twice")
            for move in moves:
                self._move(*move)
            self._check_pixels(edit, rows)
        except SessionError as error:
            raise SessionError(f"record {edit.n} ({edit.name}): {error.problem}", error.mend) from error

    def step(self, edit: Edit, *, undo: bool) -> None:
        """Count the pixels of an edit that is undone or redone."""
        for patch in edit.patches:
            _, before, after = patch.unpack()
            losses, gains = tally(before), tally(after)
            self._move(patch.plane, *((gains, losses) if undo else (losses, gains)))

    def _move(self, plane: Plane, losses: _Tally, gains: _Tally) -> None:
        self._pixels[plane].subtract(losses)
        self._pixels[plane].update(gains)

    def _rows_after(self, edit: Edit) -> Mapping[int, NucleusRow]:
        known, furthest = self.nuclei.rows, self.nuclei.next_id + _FURTHEST
        if edit.before.keys() != edit.after.keys():
            raise _wrong("its rows before and after are of different nuclei")
        for k, row in edit.after.items():
            if not 1 <= k < furthest:
                raise _wrong(f"there is no nucleus {k}")
            if not self._same(edit.before[k], known.get(k)):
                raise _wrong(f"nucleus {k} is not as this edit found it")
            if row is not None:
                _check_row(k, row, known.get(k))
        changed = {k: row for k, row in edit.after.items() if row is not None}
        return {**{k: row for k, row in known.items() if k not in edit.after}, **changed}

    def _same(self, said: NucleusRow | None, known: NucleusRow | None) -> bool:
        if said is None or known is None or self.whole_rows:
            return said == known
        return said.model_dump(include=_OF_THE_FILE) == known.model_dump(include=_OF_THE_FILE)

    def _tallies(self, patch: Patch, rows: Mapping[int, NucleusRow]) -> tuple[_Tally, _Tally]:
        """Count which nuclei lose and gain pixels by a patch that fits."""
        top, left, bottom, right = patch.box
        height, width = self.nuclei.shape
        if not (0 <= top <= bottom <= height and 0 <= left <= right <= width):
            raise _wrong(f"the box {patch.box} does not lie in an image of {height} x {width} px")
        mask, before, after = patch.unpack()
        if not np.array_equal(self.nuclei.maps.plane(patch.plane)[window(patch.box)][mask], before):
            raise _wrong(f"the pixels in {patch.box} are not those that this edit was made for")
        losses, gains = tally(before), tally(after)
        for k in gains.keys() - {0}:
            if k not in rows or rows[k].plane != patch.plane:
                raise _wrong(f"pixels go to nucleus {k}, of which nothing is known")
        for k in (losses.keys() | gains.keys()) - {0}:
            if k in rows and rows[k].intact and (k in losses or not self._within_outline(k, patch, mask, after)):
                raise _wrong(f"nucleus {k} changes and is said to be as the file has it")
        return losses, gains

    def _within_outline(self, k: int, patch: Patch, mask: NDArray[np.bool_], after: NDArray[np.int32]) -> bool:
        """Whether the pixels that an untouched nucleus gains are those of its outline in the file."""
        y, x = np.nonzero(mask)
        own = after == k
        return self.nuclei.outlines.covers(k, y[own] + patch.box[0], x[own] + patch.box[1])

    def _check_pixels(self, edit: Edit, rows: Mapping[int, NucleusRow]) -> None:
        for k in edit.after:
            for plane, pixels in self._pixels.items():
                if pixels[k] and (k not in rows or rows[k].plane != plane):
                    raise _wrong(f"nucleus {k} is gone, and {pixels[k]} of its pixels stay")


def _check_row(k: int, row: NucleusRow, known: NucleusRow | None) -> None:
    if row.id != k:
        raise _wrong(f"the row of nucleus {k} is that of nucleus {row.id}")
    if row.class_id not in _CLASS_IDS:
        raise _wrong(f"nucleus {k} has the class {row.class_id}")
    if row.confidence is not None and not math.isfinite(row.confidence):
        raise _wrong(f"nucleus {k} has the confidence {row.confidence}")
    if row.source != (None if known is None else known.source):
        raise _wrong(f"nucleus {k} is said to be region {row.source} of the file")
    if row.intact and (known is None or not known.intact or known.plane != row.plane):
        raise _wrong(f"nucleus {k} is said to be as the file has it")


def _wrong(problem: str) -> SessionError:
    return SessionError(problem, "the journal is damaged: put it aside, or bring back a copy of it")
