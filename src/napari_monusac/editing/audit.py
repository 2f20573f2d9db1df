"""Ternary audit: what is wrong with the shapes of nuclei and with their boundary, each with a mend ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_monusac.core.boxes import Box, grown, window
from napari_monusac.core.classes import TernaryClass
from napari_monusac.core.errors import ShapeError
from napari_monusac.editing.commands import Command, Delete, Merge, RebuildBoundary, Reshape, Separate, SplitAsSuggested
from napari_monusac.editing.nuclei.crop import Snapshot
from napari_monusac.masks import edits
from napari_monusac.masks.ternary import update_ternary

FindingKind = Literal["broken boundary", "clump", "sliver", "hole", "fragments"]
MendAction = Literal["rebuild boundary", "split", "delete", "merge", "fill holes", "separate"]

#: A nucleus that fills less of its convex hull, or is so many times larger than the median of its class, may be two.
CLUMP_SOLIDITY = 0.93
CLUMP_TIMES = 2.0
#: A nucleus smaller than this share of the median of its class is a sliver, and so is one nowhere wider than this.
SLIVER_SHARE = 0.1
SLIVER_WIDTH_PX = 3.0
#: Pixels of a broken boundary that lie this close together are one finding.
_NEAR_PX = 6
_SQUARE = ndimage.generate_binary_structure(2, 2)
_ORDER: tuple[FindingKind, ...] = ("broken boundary", "fragments", "hole", "clump", "sliver")


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """Something to look at.

    Attributes
    ----------
    kind : str
        ``"broken boundary"``, ``"clump"``, ``"sliver"``, ``"hole"`` or ``"fragments"``.
    ids : tuple of int
        The nuclei in question.
    box : tuple of int
        (top, left, bottom, right) in px.
    explanation : str
        One sentence for the reader.
    action : str
        The suggested mend; `mend` runs it.
    weight : float
        How bad it is, for sorting within a kind; larger is worse.
    """

    kind: FindingKind
    ids: tuple[int, ...]
    box: Box
    explanation: str
    action: MendAction
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class _Shape:
    label: int
    box: Box
    area: int
    solidity: float
    width: float
    pieces: int
    holes: int


def audit(
    nuclei: Snapshot, ternary: NDArray[np.uint8] | None = None, *, within: Box | None = None
) -> list[AuditFinding]:
    """List broken boundaries, clumps, slivers, holes and fragments.

    Parameters
    ----------
    nuclei : Snapshot
        What is looked at; nothing is changed.
    ternary : uint8 (y, x), optional
        A ternary map to hold against the nuclei (read from a file, painted on, or predicted); by default the session's.
    within : tuple of int, optional
        Only nuclei whose box meets this one (top, left, bottom, right; px).

    Returns
    -------
    list of AuditFinding
        By kind, the worst first.

    Raises
    ------
    ShapeError
        `ternary` has another shape.

    Notes
    -----
    A boundary is broken where a pixel that should be boundary is none, or where a boundary pixel should be inside.
    A clump has a solidity below 0.93, or more than twice the median area of its class, and a shape that a watershed
    would split. A sliver has less than a tenth of that median, or is nowhere wider than 3 px. A class of fewer than
    five nuclei takes the median of all.
    """
    boxes = nuclei.boxes
    labels = [k for k, row in nuclei.rows.items() if row.plane == "nuclei" and k in boxes]
    medians = _medians(nuclei, labels)
    if within is not None:
        labels = [k for k in labels if _meet(boxes[k], within)]
    findings = _broken(nuclei, nuclei.ternary if ternary is None else ternary, within)
    for k in labels:
        findings += _judged(nuclei, _measured(nuclei, k), medians)
    return sorted(findings, key=lambda f: (_ORDER.index(f.kind), -f.weight, f.ids))


def mend_of(finding: AuditFinding) -> Command:
    """Return the suggested mend of a finding. `EditingSession.do` refuses it where the nucleus has gone or changed."""
    label = finding.ids[0] if finding.ids else 0
    match finding.action:
        case "rebuild boundary":
            return RebuildBoundary(finding.box, frozenset(finding.ids))
        case "split":
            return SplitAsSuggested(label)
        case "delete":
            return Delete([label])
        case "merge":
            return Merge(ids=[finding.ids[1], label])
        case "fill holes":
            return Reshape("fill holes", [label])
        case "separate":
            return Separate(label)


def _meet(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _medians(nuclei: Snapshot, labels: list[int]) -> Mapping[int, float]:
    """Median area of each class, px; that of all nuclei where a class has fewer than five. Key 0 = all."""
    counts = np.bincount(nuclei.instances.ravel(), minlength=max(labels, default=0) + 1)
    classes = np.array([nuclei.rows[k].class_id for k in labels], int)
    areas = counts[labels] if labels else np.zeros(0)
    every = float(np.median(areas)) if len(areas) else 0.0
    medians = {0: every}
    for class_id in np.unique(classes).tolist():
        own = areas[classes == class_id]
        medians[class_id] = float(np.median(own)) if len(own) >= 5 else every
    return medians


def _measured(nuclei: Snapshot, label: int) -> _Shape:
    box = nuclei.boxes[label]
    mask = np.pad(nuclei.instances[window(box)] == label, 1).view(np.uint8)
    area = int(np.count_nonzero(mask))
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(np.concatenate(contours))
    filled = np.zeros_like(mask)
    cv2.fillConvexPoly(filled, hull, 1)
    width = 2 * float(cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())
    pieces = int(cv2.connectedComponents(mask, connectivity=8)[0]) - 1
    background = np.pad(nuclei.instances[window(box)] == 0, 1, constant_values=True)
    holes = int(np.count_nonzero(ndimage.binary_fill_holes(mask) & background))
    return _Shape(label, box, area, area / max(1, int(np.count_nonzero(filled))), width - 1, pieces, holes)


def _judged(nuclei: Snapshot, shape: _Shape, medians: Mapping[int, float]) -> list[AuditFinding]:
    found: list[AuditFinding] = []
    label, box, area = shape.label, shape.box, shape.area
    median = medians[nuclei.rows[label].class_id] or float(area)
    if area < SLIVER_SHARE * median or shape.width <= SLIVER_WIDTH_PX:
        return [_sliver(nuclei, shape, median)]
    if shape.pieces > 1:
        cut = " (a nucleus that lies over it cuts it)" if nuclei.rows[label].intact else ""
        words = f"Nucleus {label} lies in {shape.pieces} pieces{cut}."
        found.append(AuditFinding("fragments", (label,), box, words, "separate", shape.pieces))
    if shape.holes:
        words = f"Nucleus {label} has {shape.holes} px of background inside."
        found.append(AuditFinding("hole", (label,), box, words, "fill holes", shape.holes))
    times = area / median
    if shape.pieces == 1 and not shape.holes and (shape.solidity < CLUMP_SOLIDITY or times > CLUMP_TIMES):
        change = edits.suggest_split(nuclei.instances, label, nuclei.next_id, box=box)
        if change is not None:
            parts = len(change.parents) + 1
            words = (
                f"Nucleus {label} may be {parts}: {times:.1f} times the usual size, it fills "
                f"{100 * shape.solidity:.0f} % of its convex hull."
            )
            found.append(AuditFinding("clump", (label,), box, words, "split", times * (2 - shape.solidity)))
    return found


def _sliver(nuclei: Snapshot, shape: _Shape, median: float) -> AuditFinding:
    """A sliver goes to the neighbour that it shares most of its edge with, or away."""
    label, box = shape.label, shape.box
    around = grown(box, 1, nuclei.shape)
    view = nuclei.instances[window(around)]
    rim = ndimage.binary_dilation(view == label, _SQUARE) & (view > 0) & (view != label)
    neighbours, contacts = np.unique(view[rim], return_counts=True)
    words = (
        f"Nucleus {label} is a sliver: {shape.area} px, {max(shape.width, 1):.0f} px wide; usual are {median:.0f} px."
    )
    edge = int(np.count_nonzero(ndimage.binary_dilation(view == label, _SQUARE) & (view != label)))
    if neighbours.size and contacts.max() >= 0.3 * max(1, edge):
        other = int(neighbours[contacts.argmax()])
        return AuditFinding("sliver", (label, other), box, words, "merge", median / shape.area)
    return AuditFinding("sliver", (label,), box, words, "delete", median / shape.area)


def _broken(nuclei: Snapshot, ternary: NDArray[np.uint8], within: Box | None) -> list[AuditFinding]:
    """Places where a ternary map is not the one that the nuclei give."""
    if ternary.shape != nuclei.shape:
        raise ShapeError(f"ternary {ternary.shape} and nuclei {nuclei.shape} do not fit", "choose that of this crop")
    due = np.zeros(nuclei.shape, np.uint8)
    update_ternary(due, nuclei.instances, (0, 0, *nuclei.shape), nuclei.boundary_width)
    wrong = (due == TernaryClass.BOUNDARY) != (ternary == TernaryClass.BOUNDARY)
    wrong |= (due == TernaryClass.INSIDE) != (ternary == TernaryClass.INSIDE)
    if not wrong.any():
        return []
    near, _ = ndimage.label(cv2.dilate(wrong.view(np.uint8), np.ones((_NEAR_PX, _NEAR_PX), np.uint8)), _SQUARE)
    findings = []
    for k, found in enumerate(ndimage.find_objects(np.where(wrong, near, 0)), start=1):
        if found is None:
            continue
        box = found[0].start, found[1].start, found[0].stop, found[1].stop
        if within is not None and not _meet(box, within):
            continue
        own = (near[found] == k) & wrong[found]
        missing = int(np.count_nonzero(own & (due[found] == TernaryClass.BOUNDARY)))
        reach = grown(box, 2, nuclei.shape)
        ids = tuple(int(i) for i in np.unique(nuclei.instances[window(reach)]) if i)
        extra = int(np.count_nonzero(own)) - missing
        words = f"The boundary is broken: {missing} px are missing, {extra} px are wrong."
        findings.append(AuditFinding("broken boundary", ids, box, words, "rebuild boundary", missing + extra))
    return findings
