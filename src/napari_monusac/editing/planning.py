"""From a command to an edit: what it would change, and what follows from that for the rows of nuclei."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from napari_monusac.editing.nuclei.crop import CropNuclei
from napari_monusac.editing.nuclei.edit import Edit, Patch, Signature, changed_rows, tally
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID, NucleusRow, Plane
from napari_monusac.editing.predicted import FoundNuclei
from napari_monusac.editing.selection import Selection
from napari_monusac.masks.change import Change

#: What happens to pixels that a nucleus gives up: what lies hidden below comes back, or they are background.
Freed = Literal["reveal", "clear"]


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command looks at: the parts of a session, and who gives it. It changes none of them."""

    nuclei: CropNuclei
    selection: Selection
    predicted: FoundNuclei
    by: Signature


@dataclass(frozen=True, slots=True)
class EditPlan:
    """What a command would change.

    Attributes
    ----------
    name : str
        The command, for undo, journal and listeners.
    changes : sequence of (plane, Change)
        Pixels.
    rows : mapping
        Rows by id (None: it goes); these win over what follows from the pixels.
    freed : {"reveal", "clear"}
        What comes to pixels that a nucleus gives up.
    """

    name: str
    changes: Sequence[tuple[Plane, Change]] = ()
    rows: Mapping[int, NucleusRow | None] = field(default_factory=dict)
    freed: Freed = "reveal"


def edit_of(plan: EditPlan, desk: Desk, number: int) -> Edit | None:
    """Make the edit of a plan; None where nothing would change.

    Nuclei whose pixels change are the reader's from then on; those left without one go.
    """
    nuclei = desk.nuclei
    after: dict[int, NucleusRow | None] = {}
    settled = []
    for plane, change in plan.changes:
        if change.is_empty:
            continue
        final, lost = _settled(nuclei, plane, change, plan.freed)
        settled.append((plane, final))
        after |= _touched(desk, plane, change, lost)
    after |= plan.rows
    before, after = changed_rows({k: nuclei.rows.get(k) for k in after}, after)
    patches = tuple(Patch.pack(change, plane) for plane, change in settled if not change.is_empty)
    if not patches and not before:
        return None
    return Edit(
        n=number, name=plan.name, patches=patches, before=before, after=after, author=desk.by.author, time=desk.by.time
    )


def _settled(nuclei: CropNuclei, plane: Plane, change: Change, freed: Freed) -> tuple[Change, set[int]]:
    """Decide about the pixels that are given up: what lies below comes back, or loses them as well."""
    given_up = change.changed & (change.after == 0)
    if not given_up.any():
        return change, set()
    if freed == "clear":
        return change, nuclei.outlines.covering(change.box, given_up, plane, nuclei.rows)
    below = nuclei.outlines.below(change.box, plane, nuclei.rows, without=change.labels)
    return replace(change, after=np.where(given_up, below, change.after).astype(np.int32)), set()


def _touched(desk: Desk, plane: Plane, change: Change, lost: set[int]) -> dict[int, NucleusRow | None]:
    """Rows of the nuclei whose outline an edit changes (a hidden pixel that comes back changes none)."""
    nuclei, by, mask = desk.nuclei, desk.by, change.changed
    losses, gains = tally(change.before[mask]), tally(change.after[mask])
    parents = dict(change.parents)
    rows: dict[int, NucleusRow | None] = {}
    for label in sorted((change.labels | lost) - {0}):
        row = nuclei.rows.get(label)
        if row is None:
            rows[label] = _new_row(desk, label, plane, parents.get(label))
        elif label not in nuclei.beyond and (
            nuclei.maps.stamp(plane, label).area_px - losses.get(label, 0) + gains.get(label, 0) <= 0
        ):
            rows[label] = None  # one that goes on outside the frame still has its pixels there
        else:
            rows[label] = row.model_copy(
                update={"intact": False, "provenance": "human", "author": by.author, "time": by.time}
            )
    return rows


def _new_row(desk: Desk, label: int, plane: Plane, parent: int | None) -> NucleusRow:
    rows, by = desk.nuclei.rows, desk.by
    if parent is not None and parent in rows:
        like = {"id": label, "source": None, "intact": False, "confidence": None, "note": ""}
        return rows[parent].model_copy(
            update=like | {"provenance": "human", "author": by.author, "time": by.time}
        )  # fmt: skip
    class_id = AMBIGUOUS_ID if plane == "ambiguous" else desk.selection.current_class
    return NucleusRow(id=label, class_id=class_id, author=by.author, time=by.time)
