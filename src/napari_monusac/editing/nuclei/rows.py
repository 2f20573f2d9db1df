"""One row a nucleus: what is known about it besides its pixels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from napari_monusac.core.classes import AMBIGUOUS, CLASSES, NucleusClass, meaning_of
from napari_monusac.core.errors import SessionError

#: Who drew an outline, or chose a class: the annotation file as it was opened, a person, or a network.
#: Journals and sidecars of before say "man" for a person.
Provenance = Annotated[Literal["file", "human", "model"], BeforeValidator(lambda who: "human" if who == "man" else who)]
#: Nuclei and Ambiguous regions lie on planes of their own: nuclei under a region stay.
Plane = Literal["nuclei", "ambiguous"]
#: The key of each class: 1 to 4, 0 = unclassified, 5 = Ambiguous region.
CLASS_WORDS: dict[int, str] = {
    0: NucleusClass.UNCLASSIFIED.label,
    **{int(c): c.label for c in CLASSES},
    5: AMBIGUOUS,
}
#: Value of `NucleusRow.class_id` that stands for an Ambiguous region.
AMBIGUOUS_ID = 5


class NucleusRow(BaseModel):
    """What is known about one nucleus (or Ambiguous region).

    Attributes
    ----------
    id : int
        Its label in the instance map; never used twice in a session.
    class_id : int
        1 to 4, 255 = unclassified, 5 = an Ambiguous region (which is no nucleus).
    provenance, class_provenance : {"file", "human", "model"}
        Who drew the outline, and who chose the class.
    confidence : float or None
        0 to 1, for nuclei that a network found.
    note : str
        Free text of the reader.
    author, time : str
        Who changed it last, and when (ISO 8601, UTC); empty for what came with the file.
    source : int or None
        Its place among the regions of the annotation that was opened.
    intact : bool
        Whether the outline is still the file's own: it is then saved with its very vertices, and its hidden pixels
        come back when the nucleus above it goes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int = Field(ge=1)
    class_id: int = int(NucleusClass.UNCLASSIFIED)
    provenance: Provenance = "human"
    class_provenance: Provenance = "human"
    confidence: float | None = None
    note: str = ""
    author: str = ""
    time: str = ""
    source: int | None = None
    intact: bool = False

    @property
    def plane(self) -> Plane:
        """Where its pixels lie."""
        return "ambiguous" if self.class_id == AMBIGUOUS_ID else "nuclei"

    @property
    def class_name(self) -> str:
        """The class as files and tables spell it."""
        return class_name(self.class_id)


def class_name(class_id: int) -> str:
    """Return the name of a class number of a row (1 to 4, 255, 5 = Ambiguous)."""
    return AMBIGUOUS if class_id == AMBIGUOUS_ID else NucleusClass(class_id).label


def class_id_of(value: int | str | NucleusClass) -> int:
    """Return the class number of a row for a key (0 to 5), a class or a name.

    Raises
    ------
    SessionError
        It is none of these.
    """
    if isinstance(value, str):
        if meaning_of(value) == AMBIGUOUS:
            return AMBIGUOUS_ID
        known = NucleusClass.from_label(value)
        if known is not None:
            return int(known)
    elif value in (0, int(NucleusClass.UNCLASSIFIED)):
        return int(NucleusClass.UNCLASSIFIED)
    elif value in (*map(int, CLASSES), AMBIGUOUS_ID):
        return int(value)
    raise SessionError(f"{value!r} is no class", f"use {', '.join(f'{k} = {v}' for k, v in CLASS_WORDS.items())}")
