"""What a model is told by its validation crops: the thresholds that give the best nuclei, and how far it may be believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

#: A neck between two nuclei that shape and *inside* together put below this share of the lesser one parts them.
PART_THRESHOLD = 0.6


class ReliabilityBin(BaseModel):
    """Nuclei whose class has about this probability.

    Attributes
    ----------
    said : float
        Mean probability of the class that was given.
    right : float
        Share of them that truly have it.
    nuclei : int
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    said: float = Field(ge=0, le=1)
    right: float = Field(ge=0, le=1)
    nuclei: int = Field(ge=1)


class FittedThresholds(BaseModel):
    """Thresholds that were fitted on the validation crops at the end of training; a checkpoint holds them.

    Attributes
    ----------
    inside, nucleus, peak, part, agreement : float
        See `napari_monusac.masks.instances.instances_from_maps`.
    temperature : float
        Of the class probabilities of a nucleus; above 1 they are taken to be surer than they should be.
    crops, nuclei : int
        What it was fitted on.
    pq_before, pq : float
        Panoptic quality of all nuclei of these crops, with the thresholds that nobody fitted and with these. The second
        is too good for other crops: it was sought.
    error_before, error : float or None
        Expected calibration error of the class probabilities, before and after the temperature; None where no nucleus
        of known class was found.
    reliability : tuple of ReliabilityBin
        After the temperature.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    inside: float = Field(0.5, ge=0, le=1)
    nucleus: float = Field(0.5, ge=0, le=1)
    peak: float = Field(0.7, ge=0, le=1)
    part: float = Field(PART_THRESHOLD, ge=0, le=1)
    agreement: float = Field(0.0, ge=0, le=1)
    temperature: float = Field(1.0, gt=0, le=100)
    crops: int = 0
    nuclei: int = 0
    pq_before: float = 0.0
    pq: float = 0.0
    error_before: float | None = None
    error: float | None = None
    reliability: tuple[ReliabilityBin, ...] = ()

    def settings(self) -> dict[str, float]:
        """The same by the names that `instances_from_maps` has for them."""
        return {
            "inside_threshold": self.inside,
            "nucleus_threshold": self.nucleus,
            "peak_threshold": self.peak,
            "part_threshold": self.part,
            "agreement_threshold": self.agreement,
            "class_temperature": self.temperature,
        }

    def sentence(self) -> str:
        """What was fitted, on what, for people."""
        values = f"inside {self.inside:.2f}, nucleus {self.nucleus:.2f}, peak {self.peak:.2f}, part {self.part:.2f}"
        return (
            f"thresholds fitted on {self.nuclei} nuclei of {self.crops} validation crops: {values}, "
            f"agreement {self.agreement:.2f} (PQ there {self.pq_before:.3f} before, {self.pq:.3f} after)"
        )


def with_fitted(fitted: FittedThresholds | None, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """What `instances_from_maps` is to be told: the fitted thresholds, and over them what somebody asks for."""
    return {**(fitted.settings() if fitted else {}), **(settings or {})}
