"""What is wrong with one nucleus, as a value, and lists of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from napari_monusac.core.classes import NucleusClass

if TYPE_CHECKING:
    import pandas as pd


class FindingType(StrEnum):
    """What can be wrong with a nucleus."""

    MISSED = "missed"
    SPURIOUS = "spurious"
    SPLIT = "split"
    MERGED = "merged"
    WRONG_CLASS = "wrong class"
    LOOSE_EDGE = "loose edge"


class Finding(BaseModel):
    """One error, with the nuclei that it is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: FindingType
    truth_id: int | None = Field(None, description="The true nucleus (of several, the one that fits best)")
    prediction_id: int | None = Field(None, description="The predicted nucleus (of several, the one that fits best)")
    truth_ids: tuple[int, ...] = ()
    prediction_ids: tuple[int, ...] = ()
    truth_class: NucleusClass | None = None
    predicted_class: NucleusClass | None = None
    confidence: float | None = Field(None, description="Of the prediction, 0 to 1")
    iou: float | None = Field(None, description="Of the pair truth_id, prediction_id")
    size_px: float = Field(description="Area at fault, px: see find_errors")
    size_um2: float | None = None
    edge_px: float | None = Field(None, description="Mean distance between the edges of the pair, px")
    edge_um: float | None = None
    centre: tuple[float, float] = Field(description="(y, x) px, the middle of the bounding box")
    box: tuple[int, int, int, int] = Field(description="(y0, x0, y1, x1) px, far edges exclusive")
    crop: str = ""
    patient: str = ""
    counted_in: str = Field("", description="Hash of the instance map that prediction_ids count in: see nuclei_digest")
    fingerprint: str = Field("", description="Of the recipe of that prediction")

    @property
    def key(self) -> str:
        """A name for this finding that stays the same when the errors are searched again."""
        truth, prediction = "+".join(map(str, self.truth_ids)), "+".join(map(str, self.prediction_ids))
        return f"{self.crop}|t{truth}|p{prediction}"

    def counts_in(self, nuclei: str) -> bool:
        """Whether it was found in a prediction, so that its ids are those of it.

        Parameters
        ----------
        nuclei : str
            Hash of the prediction's instance map (`nuclei_digest`). True too where one of the two does not say in which
            prediction it counts: findings of earlier versions.
        """
        return not nuclei or self.counted_in in ("", nuclei)

    def same_as(self, other: Finding) -> bool:
        """Whether another finding is about the same nuclei: the same ids, of the same prediction, in the same place.

        The ids of a nucleus that was missed count in the truth alone, whatever the prediction.
        """
        (top, left, bottom, right), (y0, x0, y1, x1) = self.box, other.box
        meet = top < y1 and y0 < bottom and left < x1 and x0 < right
        return self.key == other.key and meet and (not self.prediction_ids or self.counts_in(other.counted_in))


@dataclass(frozen=True, slots=True, eq=False)
class Findings(Sequence[Finding]):
    """The errors of one comparison, a sequence of `Finding`.

    Attributes
    ----------
    items : tuple of Finding
        Largest fault first within each type, types in the order of `FindingType`.
    right : tuple of (truth id, prediction id)
        The pairs with nothing wrong.
    discounted : tuple of int
        Predictions in Ambiguous regions that are not counted (`ambiguous="discount"`).
    """

    items: tuple[Finding, ...]
    right: tuple[tuple[int, int], ...] = ()
    discounted: tuple[int, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, index: int | slice) -> Finding | tuple[Finding, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.items)

    def counts(self) -> dict[FindingType, int]:
        """Number of findings of each type, zeros included."""
        numbers = dict.fromkeys(FindingType, 0)
        for finding in self.items:
            numbers[finding.type] += 1
        return numbers

    def table(self) -> pd.DataFrame:
        """The findings as a table, one row each; see `findings_table`."""
        return findings_table(self.items)


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Findings as a pandas table: one row each, class names spelled out, nothing where a value does not exist.

    Returns
    -------
    pandas.DataFrame
        Columns type, truth_id, prediction_id (nullable Int64), class, predicted_class, confidence, iou, size_px,
        size_um2, edge_px, edge_um, y, x, y0, x0, y1, x1, truth_ids, prediction_ids, crop, patient.
    """
    import pandas as pd

    def joined(ids: tuple[int, ...]) -> str:
        return " ".join(map(str, ids))

    columns: dict[str, Any] = {
        "type": [f.type.value for f in findings],
        "truth_id": pd.array([f.truth_id for f in findings], dtype="Int64"),
        "prediction_id": pd.array([f.prediction_id for f in findings], dtype="Int64"),
        "class": [f.truth_class.label if f.truth_class is not None else "" for f in findings],
        "predicted_class": [f.predicted_class.label if f.predicted_class is not None else "" for f in findings],
    }
    for name in ("confidence", "iou", "size_px", "size_um2", "edge_px", "edge_um"):
        columns[name] = np.array([getattr(f, name) for f in findings], np.float64)
    for column, name in enumerate(("y", "x")):
        columns[name] = np.array([f.centre[column] for f in findings], np.float64)
    for column, name in enumerate(("y0", "x0", "y1", "x1")):
        columns[name] = np.array([f.box[column] for f in findings], np.int64)
    columns["truth_ids"] = [joined(f.truth_ids) for f in findings]
    columns["prediction_ids"] = [joined(f.prediction_ids) for f in findings]
    columns["crop"] = [f.crop for f in findings]
    columns["patient"] = [f.patient for f in findings]
    return pd.DataFrame(columns)
