"""What the data doctor says: findings, each with what it does to training and how to mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_monusac.core.files import whole_stem

if TYPE_CHECKING:
    from napari_monusac.io.collection.crop import Crop

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Kind:
    """Severity, effect and mend of all findings of one code.

    Attributes
    ----------
    severity : {"error", "warning", "info"}
        Error: training or scores come out wrong, or the file cannot be used. Warning: a person should look. Info: known
        and taken care of, or harmless.
    effect : str
        What it does to training and scores.
    mend : str
        What to do about it.
    fixable : bool
        Whether `fix` mends it in a copy.
    """

    severity: Severity
    effect: str
    mend: str
    fixable: bool = False


_FIX = "doctor --fix --out DIR writes a mended copy"
#: Every code that the doctor knows.
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "unreadable-image": Kind(
            "error", "The crop is lost to training and prediction.", "Copy or download the file again."
        ),
        "unreadable-annotation": Kind(
            "error", "The crop cannot train or be scored.", "Copy the file again, or save it again from ImageScope."
        ),
        "size-mismatch": Kind(
            "error",
            "Masks lie in the wrong place: the network learns noise.",
            "Put the annotation beside the image that it was drawn on, at the same magnification.",
        ),
        "identical-images": Kind(
            "error",
            "The same pixels in training and validation make the scores too good; within one part they count double.",
            "Take one of them out of the folder.",
        ),
        "patient-in-both-lists": Kind(
            "warning",
            "With the official split this patient trains and validates: scores are too good.",
            "Split by patient, or leave the patient out of one list.",
        ),
        "patient-list": Kind(
            "warning",
            "The list of patients does not fit the folder: some patients are found as without it.",
            "Complete the list: a row a crop.",
        ),
        "left-out": Kind(
            "warning",
            "Crops in this folder are not found: they neither train nor are scored.",
            "Open that folder itself, or move it up.",
        ),
        "own-output": Kind(
            "info",
            "None: masks, runs and reviews of this program are no crops.",
            "Nothing to do; better keep them outside of the data.",
        ),
        "swapped-channels": Kind(
            "warning",
            "Read as it stands, red cells look blue and nuclei brown; mixed with right images it confuses the network. "
            "This program puts it right when it reads the file.",
            f"Nothing to do here; for other programs {_FIX}.",
            fixable=True,
        ),
        "swapped-sibling": Kind(
            "info",
            "None here: the .svs of the same name is used.",
            "Use the .svs in other programs too.",
        ),
        "unsure-channels": Kind(
            "warning",
            "If red and blue are taken the wrong way round, the stain looks like no other crop's.",
            "Look at the crop: are red blood cells red? If not, choose the channel order by hand.",
        ),
        "missing-image": Kind(
            "warning", "The annotation cannot be used.", "Put the image of the same name beside it."
        ),
        "missing-annotation": Kind(
            "info", "The crop does not train; it can be predicted.", "Annotate it, or leave it for prediction."
        ),
        "missing-um-per-px": Kind(
            "warning",
            "Sizes in um are unknown, and the crop cannot be brought to the scale of the others.",
            "Give um_per_px when you open it, or write MicronsPerPixel into the XML.",
        ),
        "guessed-um-per-px": Kind(
            "warning",
            "The scale is about right: objectives of one magnification differ by a tenth or two.",
            "Give um_per_px when you open it, or write MicronsPerPixel into the XML.",
        ),
        "unequal-um-per-px": Kind(
            "warning",
            "Areas are right, but nuclei are stretched: the network has not seen such shapes.",
            "Find out whether the file is right; if so, save the image with square pixels.",
        ),
        "contradicting-um-per-px": Kind(
            "warning",
            "Sizes in um are wrong in one of two readings; this program takes the image's.",
            "Find out which is right and correct the other.",
        ),
        "missing-scale-in-xml": Kind(
            "info", "None here: the image says it.", f"{_FIX} with the image's scale in it.", fixable=True
        ),
        "annotation-note": Kind(
            "info",
            "Something in the file is no nucleus, or was read by a hint: the message says what.",
            "Look whether it was meant so.",
        ),
        "unknown-class": Kind(
            "error",
            "These nuclei have no class: they count as nuclei, not for any class.",
            "Say what the name means: Names of classes in Slides, or --classes FILE.",
        ),
        "unclassified-nuclei": Kind(
            "info",
            "They train the ternary head, and are left out of the semantic loss and of mIoU.",
            "Nothing to do, or give them a class.",
        ),
        "no-nuclei": Kind("warning", "The crop trains as background only.", "Check that the annotation was saved."),
        "degenerate-region": Kind(
            "warning", "A region of fewer than three vertices draws nothing.", f"{_FIX} without it.", fixable=True
        ),
        "zero-area": Kind("warning", "An outline without area draws nothing.", f"{_FIX} without it.", fixable=True),
        "tiny-nucleus": Kind(
            "warning",
            "A slip of the pen trains as a nucleus, and counts as much as any in PQ.",
            "Look at it, and delete it if it is none.",
        ),
        "huge-nucleus": Kind(
            "warning",
            "An outline around a whole region trains as one nucleus and hides those in it.",
            "Look at it: take the class from an outline that is a region of interest, or delete it.",
        ),
        "self-crossing": Kind(
            "warning",
            "Where an outline crosses itself, loops become holes or fall off the nucleus.",
            f"{_FIX} that keeps the largest part.",
            fixable=True,
        ),
        "self-touching": Kind(
            "info", "None: an outline may touch itself.", "Nothing to do."
        ),
        "out-of-bounds": Kind(
            "info", "What lies outside of the image is cut off.", f"{_FIX}, cut at the edge.", fixable=True
        ),
        "outside-the-image": Kind(
            "warning", "The nucleus lies outside of the image: it is lost.", f"{_FIX} without it.", fixable=True
        ),
        "duplicate-nucleus": Kind(
            "warning",
            "The same nucleus twice: the later one hides the earlier, which counts as missed.",
            f"{_FIX} without the later one where both have the same class; else decide which is right.",
            fixable=True,
        ),
        "heavy-overlap": Kind(
            "warning",
            "The later nucleus covers much of the earlier one, whose mask becomes a crescent.",
            "Look at both: one nucleus, or two that touch?",
        ),
        "negative-region": Kind(
            "info", "Regions marked NegativeROA are read as nuclei, not as holes (as in MoNuSeg).", "Nothing to do."
        ),
        "region-of-interest": Kind(
            "info",
            "It is kept and shown, and is in no mask; with within_regions the border of what was annotated.",
            "Nothing to do; if it is a nucleus, give it one of the four classes.",
        ),
        "not-an-area": Kind("info", "They are kept in the file and are in no mask.", "Nothing to do."),
        "boxed-shape": Kind(
            "info",
            "None here: they are read as they look. Many programs read two vertices as nothing.",
            f"Nothing to do here; for other programs {_FIX} with plain outlines.",
            fixable=True,
        ),
        "class-imbalance": Kind(
            "warning",
            "A rare class is learned late or not at all, and its score rests on few nuclei.",
            "Use a recipe that looks for rare classes, and the stratified split.",
        ),
        "class-missing": Kind(
            "warning", "The class cannot be learned or scored.", "Add crops that have it, or ignore its scores."
        ),
        "class-in-one-patient": Kind(
            "warning",
            "A split by patient has the class on one side only: no score, or no training for it.",
            "Add a patient who has it.",
        ),
        "stain-outlier": Kind(
            "warning",
            "Stain far from the rest of the set: predictions on it are less certain.",
            "Look at the crop; train with colour jitter (run-7 to run-9).",
        ),
        "little-tissue": Kind("info", "The crop is almost all glass.", "Leave it out, or keep it as background."),
    }
)  # fmt: skip


class DoctorFinding(BaseModel):
    """One finding: a thing in the folder that is not as it should be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    severity: Severity
    image: str | None = Field(None, description="Name of the crop")
    patient: str | None = None
    message: str
    mend: str = ""
    effect: str = ""
    at: tuple[float, float] | None = Field(None, description="(y, x) in level-0 px")
    nuclei: tuple[int, ...] = Field((), description="Positions in the annotation's regions, from 0")
    path: str | None = Field(None, description="The file in question")


class DoctorReport(BaseModel):
    """All findings of a folder, the worst first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    crops: int = 0
    patients: int = 0
    grouping: str = Field("", description="How many crops of how many patients, and what told the patients")
    guess: str = Field("", description="What it may cost that patients were guessed, and the mend")
    nuclei: dict[str, int] = Field(default_factory=dict, description="Number of nuclei by class")
    findings: tuple[DoctorFinding, ...] = ()

    @property
    def verdict(self) -> str:
        """One line: how many problems, and what was put right."""
        errors, warnings = (sum(f.severity == s for f in self.findings) for s in ("error", "warning"))
        swapped = sum(f.code == "swapped-channels" for f in self.findings)
        counted = [(errors, "problem"), (warnings - swapped, "warning")]
        parts = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in counted if n]
        if swapped:
            parts.append(f"{swapped} crop{'s' if swapped > 1 else ''}: red and blue swapped, put right")
        return ", ".join(parts) or "nothing wrong"

    def counts_by_code(self) -> dict[str, int]:
        """Number of findings of each code, in the order of the table."""
        return dict(Counter(f.code for f in self.findings))

    def of(self, code: str) -> tuple[DoctorFinding, ...]:
        """Findings of one code."""
        return tuple(f for f in self.findings if f.code == code)


def finding(
    code: str,
    message: str,
    crop: Crop | None = None,
    *,
    patient: str | None = None,
    at: tuple[float, float] | None = None,
    nuclei: tuple[int, ...] = (),
    path: Path | None = None,
    severity: Severity | None = None,
) -> DoctorFinding:
    """Make a finding; severity, effect and mend come from `KINDS`."""
    kind = KINDS[code]
    return DoctorFinding(
        code=code,
        severity=severity or kind.severity,
        image=crop.name if crop is not None else (whole_stem(path) if path is not None else None),
        patient=crop.patient if crop is not None else patient,
        message=message,
        mend=kind.mend,
        effect=kind.effect,
        at=at,
        nuclei=nuclei,
        path=str(path or (crop.image if crop is not None else "")) or None,
    )
