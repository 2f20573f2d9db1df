"""One image of a folder and what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_monusac.io.collection.organs import organ_of

OfficialPart = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Crop:
    """One image and what belongs to it.

    Attributes
    ----------
    name : str
        Unique in its collection: the file's name without suffix, with folders before it where that alone is not unique.
    patient : str
        Whose crop it is: what the user says, ``TCGA-XX-XXXX``, or what folder or name tell. The unit of splitting.
    image : Path
        The image; .svs is preferred to .tif, .tif to .png and .jpg.
    annotation : Path or None
        The .xml (or .geojson) beside it.
    part : {"train", "test"} or None
        Which of the two official roots it comes from.
    others : tuple of Path
        Images of the same name that were not chosen.
    patient_source : {"given", "barcode", "folder", "name"}
        What told the patient; the last two are guesses.
    """

    name: str
    patient: str
    image: Path
    annotation: Path | None = None
    part: OfficialPart | None = None
    others: tuple[Path, ...] = ()
    patient_source: PatientSource = "name"

    @property
    def organ(self) -> str | None:
        """The organ: breast, kidney, lung or prostate, where the TCGA barcode tells it."""
        return organ_of(self.name) or organ_of(self.patient)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the folder that is not as it should be, or that was left out.

    Attributes
    ----------
    code : str
        ``missing-image``, ``own-output`` or ``left-out``.
    path : Path
        The file in question.
    message : str
        One line for the user.
    """

    code: str
    path: Path
    message: str

    def __str__(self) -> str:
        return f"{self.path.name}: {self.message}"


PatientSource = Literal["given", "barcode", "folder", "name"]
