"""The record of an edit: a box, what was in it, and what comes there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.boxes import Box, tight_box, union
from napari_monusac.core.boxes import window as _cut
from napari_monusac.core.errors import SessionError, ShapeError


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What an edit does to an instance map.

    Attributes
    ----------
    box : tuple of int
        (top, left, bottom, right) in px, half-open: no pixel outside it changes.
    before, after : int32 (bottom - top, right - left)
        The labels in the box.
    parents : tuple of (new label, label that it came from)
        For labels that an edit makes out of another one.
    """

    box: Box
    before: NDArray[np.int32]
    after: NDArray[np.int32]
    parents: tuple[tuple[int, int], ...] = ()

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Which pixels of the box change."""
        return np.asarray(self.before != self.after)

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not self.changed.any()

    @property
    def labels(self) -> frozenset[int]:
        """Labels that lose or gain pixels."""
        m = self.changed
        return frozenset(np.unique(np.concatenate([self.before[m], self.after[m]])).tolist()) - {0}

    def apply(self, instances: NDArray[np.integer], *, undo: bool = False) -> None:
        """Write the change (or, with `undo`, take it back) into `instances`, in place.

        Raises
        ------
        SessionError
            The pixels are not those that the change was made for.
        """
        region = instances[_cut(self.box)]
        old, new = (self.after, self.before) if undo else (self.before, self.after)
        m = self.changed
        if region.shape != old.shape or not np.array_equal(region[m], old[m]):
            raise SessionError(
                f"the pixels in {self.box} have changed since this edit was made", "undo later edits first"
            )
        region[m] = new[m]


def changed(
    instances: NDArray[np.integer],
    box: Box,
    after: NDArray[np.integer],
    parents: tuple[tuple[int, int], ...] = (),
    *,
    before: NDArray[np.integer] | None = None,
) -> Change:
    """Make a `Change` out of what `box` should hold, shrunk to the pixels that differ.

    `before` says what was there where `instances` does not (it was painted on).
    """
    was = instances[_cut(box)] if before is None else before
    inner = tight_box(was != after)
    if inner is None:
        empty = np.zeros((0, 0), np.int32)
        return Change((box[0], box[1], box[0], box[1]), empty, empty.copy())
    tight = inner[0] + box[0], inner[1] + box[1], inner[2] + box[0], inner[3] + box[1]
    return Change(tight, np.array(was[_cut(inner)], np.int32), np.array(after[_cut(inner)], np.int32), parents)


def box_of(instances: NDArray[np.integer], labels: Iterable[int], window: Box | None = None) -> Box:
    """Return the box of `labels`, looked for in `window` (the whole frame by default).

    Raises
    ------
    SessionError
        None of the labels is there.
    """
    box = window or (0, 0, *instances.shape)
    wanted = list(labels)
    view = instances[_cut(box)]
    mask = view == wanted[0] if len(wanted) == 1 else np.isin(view, wanted)
    tight = tight_box(mask, (box[0], box[1]))
    if tight is None:
        raise SessionError(
            f"no nucleus {', '.join(map(str, wanted)) or '(none chosen)'} here", "choose one on the canvas"
        )
    return tight


def patch(instances: NDArray[np.integer], box: Box, before: NDArray[np.integer], after: NDArray[np.integer]) -> Change:
    """Make a `Change` out of a painted patch (`after`) and what was there (`before`).

    Raises
    ------
    ShapeError
        The patch does not fit the box, or the box the frame.
    SessionError
        A label is negative.
    """
    shape = box[2] - box[0], box[3] - box[1]
    if (
        np.shape(before) != shape
        or np.shape(after) != shape
        or union(box, (0, 0, *instances.shape)) != (0, 0, *instances.shape)
    ):
        raise ShapeError(
            f"patches {np.shape(before)} and {np.shape(after)} do not fit box {box} of a frame {instances.shape}",
            "pass both patches in the size of the box",
        )
    if shape[0] and shape[1] and int(np.min(after)) < 0:
        raise SessionError(f"label {int(np.min(after))} is negative", "nuclei are numbered from 1")
    return changed(instances, box, np.asarray(after), before=np.asarray(before))
