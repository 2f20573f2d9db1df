"""Which crops a model has seen while it was trained, and what a crop that is to be scored is to it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict


class SeenCrop(NamedTuple):
    """One crop that a model has seen: its name, its patient, a fingerprint of its pixels (empty where unknown)."""

    name: str
    patient: str = ""
    pixels: str = ""

    def is_crop(self, name: str, pixels: str, patient: str = "") -> bool:
        """Whether this is that crop: by its pixels where both are known, else by its name.

        Where the pixels differ, the name decides all the same if it names the patient (``TCGA-5P-A9K0-01Z-00-DX1_1``,
        ``S23-1000_tile2``): it is the crop, written anew as JPEG, or with red and blue exchanged. ``roi1`` is not.
        """
        if self.pixels and pixels:
            whose = self.patient.casefold()
            named = whose != "" and whose == patient.casefold() and whose in self.name.rpartition("/")[2].casefold()
            return self.pixels == pixels or (named and self._is_named(name))
        return self._is_named(name)

    def _is_named(self, name: str) -> bool:
        return self.name == name or self.name.endswith(f"/{name}") or name.endswith(f"/{self.name}")


class SeenAs(StrEnum):
    """What a crop is to the model that predicted it."""

    NOT_ASKED = ""
    UNKNOWN = "unknown"
    UNSEEN = "unseen"
    SAME_PATIENT = "same patient"
    VALIDATION = "validation"
    TRAINING = "training"


class TrainingCrops(BaseModel):
    """The crops that a model was trained on, and those that chose its checkpoint.

    Attributes
    ----------
    training, validation : tuple of SeenCrop
    patients : tuple of str
        Patients of training crops, where the crops themselves do not say.
    complete : bool
        False where the model went on from another one that does not say what it was trained on.
    class_names : tuple of (name, meaning)
        The user's own names of classes in the annotations, and what they were taken for.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    training: tuple[SeenCrop, ...] = ()
    validation: tuple[SeenCrop, ...] = ()
    patients: tuple[str, ...] = ()
    complete: bool = True
    class_names: tuple[tuple[str, str], ...] = ()

    def seen_as(self, name: str, patient: str, pixels: str = "") -> SeenAs:
        """Say what a crop is to the model: the first of training, validation, same patient, unseen that holds.

        Parameters
        ----------
        name, patient : str
            Of the crop.
        pixels : str
            Its `napari_monusac.io.predictions.identity.pixel_fingerprint`; empty: names decide.
        """
        if self.training_crop(name, pixels, patient) is not None:
            return SeenAs.TRAINING
        if any(c.is_crop(name, pixels, patient) for c in self.validation):
            return SeenAs.VALIDATION
        if patient and patient in {*self.patients, *(c.patient for c in self.training)}:
            return SeenAs.SAME_PATIENT
        return SeenAs.UNSEEN if self.complete else SeenAs.UNKNOWN

    def training_crop(self, name: str, pixels: str = "", patient: str = "") -> SeenCrop | None:
        """Return the training crop that this crop is, under whatever name; None where it is none."""
        return next((c for c in self.training if c.is_crop(name, pixels, patient)), None)

    def going_on_from(self, earlier: TrainingCrops | None) -> Self:
        """Return these crops with those of the model whose weights the training began with (None: not known)."""
        if earlier is None:
            return self.model_copy(update={"complete": False})
        return self.model_copy(
            update={
                "training": tuple(dict.fromkeys((*self.training, *earlier.training))),
                "patients": tuple(dict.fromkeys((*self.patients, *earlier.patients))),
                "complete": self.complete and earlier.complete,
            }
        )
