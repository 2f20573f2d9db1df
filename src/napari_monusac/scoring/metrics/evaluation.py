"""The result of an evaluation, as values that go to JSON and back. What is undefined is None, never 0 and never 1."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_monusac.core.errors import FileProblem
from napari_monusac.core.events import Scores
from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.fitted import ReliabilityBin
from napari_monusac.core.training_crops import SeenAs
from napari_monusac.scoring.metrics.panoptic import PanopticQuality


def defined(value: float) -> float | None:
    """The value, or None where it is nan."""
    return None if math.isnan(value) else float(value)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(_Model):
    """A 95 % interval over patients; see `napari_monusac.scoring.metrics.intervals`."""

    low: float
    high: float
    n: int | None = Field(None, description="Patients behind it; None in files of before")


def interval_words(interval: Interval | None, patients: int | None = None, form: str = ".2f") -> str:
    """An interval with its number of patients, or why there is none; empty where none was asked for.

    Parameters
    ----------
    interval : Interval or None
        The interval.
    patients : int, optional
        Patients behind the score, where there is no interval.
    form : str
        Format of both ends.
    """
    if interval is None:
        return f"n = {patients}, too few" if patients else ""
    n = "" if interval.n is None else f" (n = {interval.n})"
    return f"{interval.low:{form}} to {interval.high:{form}}{n}"


class Quality(_Model):
    """Counts of matches at IoU > 0.5 and what follows from them."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou_sum: float = 0.0
    pq: float | None = None
    sq: float | None = None
    dq: float | None = Field(None, description="Detection quality: F1 of the matches")

    @classmethod
    def of(cls, quality: PanopticQuality) -> Self:
        """Make a quality of a `PanopticQuality`; nan becomes None."""
        return cls(
            tp=quality.tp,
            fp=quality.fp,
            fn=quality.fn,
            iou_sum=quality.iou_sum,
            pq=defined(quality.pq),
            sq=defined(quality.sq),
            dq=defined(quality.dq),
        )

    @classmethod
    def of_counts(cls, counts: NDArray[np.float64]) -> Self:
        """Make a quality of TP, FP, FN and the sum of IoU (4,)."""
        tp, fp, fn, iou_sum = counts.tolist()
        return cls.of(PanopticQuality(int(tp), int(fp), int(fn), iou_sum))


class Detection(_Model):
    """Nuclei found, by their centres, classes left aside."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    interval: Interval | None = None
    patients: int = Field(0, description="Patients behind the interval; 0 where none was asked for")

    @classmethod
    def of(cls, tp: int, fp: int, fn: int, interval: Interval | None = None, patients: int = 0) -> Self:
        """Make a detection score of counts."""
        return cls(
            tp=tp,
            fp=fp,
            fn=fn,
            precision=tp / (tp + fp) if tp + fp else None,
            recall=tp / (tp + fn) if tp + fn else None,
            f1=2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
            interval=interval,
            patients=patients,
        )


class Scoring(_Model):
    """One of the four scorings, at one tolerance."""

    key: str
    label: str
    reason: str = Field(description="One sentence: why its number differs from the others")
    pq: float | None = None
    sq: float | None = None
    dq: float | None = None
    interval: Interval | None = Field(None, description="Of pq")
    patients: int = Field(0, description="Patients behind the interval; 0 where none was asked for")
    by_class: dict[str, float | None] = Field(default_factory=dict, description="PQ by class name")


class ToleranceScore(_Model):
    """All scorings with edges forgiven by some px."""

    tolerance_px: int
    scorings: tuple[Scoring, ...]
    instances: Quality = Field(description="Classes left aside, all crops pooled")
    by_class: dict[str, Quality] = Field(default_factory=dict, description="All crops pooled")


class GroupScore(_Model):
    """Scores of a crop, of a patient or of an organ."""

    kind: Literal["crop", "patient", "organ"]
    name: str
    patient: str = ""
    organ: str = ""
    crops: int = 1
    pq: float | None = Field(None, description="Mean over classes of the pooled PQ; organs: mean over their patients")
    instances: Quality = Field(description="Classes left aside")
    by_class: dict[str, Quality] = Field(default_factory=dict)
    detection: Detection = Field(default_factory=Detection)
    combo: float | None = None
    seen_as: SeenAs = Field(SeenAs.NOT_ASKED, description="Crops: what they are to the model")


class Confusion(_Model):
    """Nuclei by true and predicted class; the last row is spurious, the last column missed."""

    rows: tuple[str, ...] = Field(description="True classes, then Spurious")
    columns: tuple[str, ...] = Field(description="Predicted classes, then Missed")
    counts: tuple[tuple[int, ...], ...]


class PrecisionRecall(_Model):
    """Precision and recall as the confidence that a nucleus needs rises."""

    name: str = Field(description="Class name, or All")
    confidence: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    average_precision: float | None = None


class TrainingUse(_Model):
    """What the scored crops are to the model that predicted them. Names of crops, each side as it was decided."""

    left_out: tuple[str, ...] = Field((), description="Training crops that are not scored")
    included: tuple[str, ...] = Field((), description="Training crops that are scored because that was asked for")
    validation: tuple[str, ...] = Field((), description="Scored crops that chose the checkpoint")
    same_patient: tuple[str, ...] = Field((), description="Scored crops of patients that the model was trained on")
    unknown: tuple[str, ...] = Field((), description="Scored crops whose model does not say what it was trained on")


def created_now() -> str:
    """Return the present as ISO text, UTC; what ``SOURCE_DATE_EPOCH`` says where it is set, for reports of equal bytes."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(given), UTC) if given.isdecimal() else datetime.now(UTC)
    return moment.isoformat(timespec="seconds")


class ComparedWith(_Model):
    """What was compared with what, for the report and for repeating it."""

    truth: str = ""
    prediction: str = ""
    truth_sha256: str = ""
    prediction_sha256: str = ""
    recipe: str = Field("", description="Fingerprint of the recipe")
    checkpoint: str = ""
    checkpoint_sha256: str = ""
    command: str = ""
    version: str = ""
    created: str = Field("", description="ISO time, UTC")


class Evaluation(_Model):
    """Everything that one comparison of predictions with truth says."""

    ambiguous: Literal["mask", "discount"] = "mask"
    within_regions: bool = Field(False, description="Outside the regions of interest nothing was scored")
    boundary_width: int = Field(3, description="px; the most frequent one where predictions differ")
    boundary_widths: tuple[int, ...] = Field((), description="All of them, px, ascending")
    bootstrap: int = 0
    seed: int = 0
    scorings: tuple[Scoring, ...] = ()
    headline: str = Field("per-patient", description="Key of the scoring to quote")
    instances: Quality = Field(default_factory=Quality, description="Classes left aside, all crops pooled")
    by_class: dict[str, Quality] = Field(default_factory=dict, description="All crops pooled")
    intervals: dict[str, Interval | None] = Field(
        default_factory=dict, description="Of pooled values: combo, dice_inside, dice_boundary, sq, dq, pq/<class> ..."
    )
    interval_patients: dict[str, int] = Field(default_factory=dict, description="Patients behind each of `intervals`")
    detection: Detection = Field(default_factory=Detection)
    pixels: Scores = Field(default_factory=Scores)
    tolerance: tuple[ToleranceScore, ...] = ()
    confusion: Confusion | None = None
    precision_recall: tuple[PrecisionRecall, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = Field((), description="By confidence: the share that is right")
    crops: tuple[GroupScore, ...] = ()
    patients: tuple[GroupScore, ...] = ()
    organs: tuple[GroupScore, ...] = ()
    training: TrainingUse = Field(default_factory=TrainingUse)
    notes: tuple[str, ...] = Field((), description="What was left out, and why")
    provenance: ComparedWith = Field(default_factory=ComparedWith)

    def scoring(self, key: str | None = None, tolerance_px: int = 0) -> Scoring:
        """One scoring; the headline by default.

        Raises
        ------
        KeyError
            There is none of that key or tolerance.
        """
        scorings = self.scorings
        if tolerance_px:
            scorings = next((t.scorings for t in self.tolerance if t.tolerance_px == tolerance_px), ())
        wanted = key or self.headline
        for scoring in scorings:
            if scoring.key == wanted:
                return scoring
        raise KeyError(f"no scoring {wanted!r} at {tolerance_px} px")

    def span(self, key: str) -> str:
        """The interval of a pooled value in words, with its number of patients."""
        return interval_words(self.intervals.get(key), self.interval_patients.get(key))

    @property
    def boundary_words(self) -> str:
        """Width of the boundary for people: "3 px", or "1 and 3 px"."""
        return f"{' and '.join(map(str, self.boundary_widths or (self.boundary_width,)))} px"

    @property
    def title(self) -> str:
        """How many crops of how many patients, and how many of them trained the model."""
        trained = len(self.training.included)
        crops, patients = len(self.crops), len(self.patients)
        words = f"{crops} crop{'s' * (crops != 1)} of {patients} patient{'s' * (patients != 1)}"
        return words + (f", {trained} of them used to train the model" if trained else "")

    @property
    def pq(self) -> float | None:
        """The headline PQ."""
        return self.scoring().pq if self.scorings else None

    def to_json(self, indent: int | None = 1) -> str:
        """Return the evaluation as JSON text."""
        return self.model_dump_json(indent=indent)

    def save(self, path: str | Path) -> None:
        """Write the evaluation as JSON, whole or not at all."""
        atomic_write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        FileProblem
            The file cannot be read or is no evaluation.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise FileProblem(path, f"cannot be read ({error.strerror})", "check the path") from error
        except ValidationError as error:
            raise FileProblem(path, f"is no evaluation ({error.errors()[0]['msg']})", "evaluate again") from error
