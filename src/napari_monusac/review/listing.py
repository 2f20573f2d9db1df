"""Which errors of a crop are listed, and in which order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from napari_monusac.review.queue import QueueFilter
from napari_monusac.scoring.errors.finding import Finding

#: Columns that errors can be sorted by; they come by type, the largest first.
SortColumn = Literal["type", "class", "size", "iou", "confidence"]


@dataclass(frozen=True, slots=True)
class Listing:
    """Which errors of the open crop are listed (all, without a filter), and the column that they are sorted by."""

    filter: QueueFilter | None = None
    column: SortColumn | None = None
    backwards: bool = False

    def of(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Take the findings that are listed, in their order."""
        kept = [f for f in findings if self.filter is None or self.filter.keeps_finding(f)]
        if self.column is not None:
            kept.sort(key=partial(_sort_key, self.column), reverse=self.backwards)
        return tuple(kept)


def _sort_key(column: SortColumn, f: Finding) -> Any:
    if column == "type":
        return f.type.value
    if column == "class":
        return tuple(c.label for c in (f.truth_class, f.predicted_class) if c is not None)
    value = {"size": f.size_px, "iou": f.iou, "confidence": f.confidence}[column]
    return -1.0 if value is None else value
