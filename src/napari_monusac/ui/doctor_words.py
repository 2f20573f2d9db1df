"""What the data doctor finds, in plain words and in few letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from napari_monusac.ui.short_text import in_micrometres

if TYPE_CHECKING:
    from napari_monusac.io.collection import Crop
    from napari_monusac.io.doctor import Finding

#: A code of the doctor in words that need no explanation. Codes that are not here are said as they are.
_PLAIN = {
    "unreadable-image": "images that cannot be read",
    "unreadable-annotation": "annotations that cannot be read",
    "size-mismatch": "annotations that do not fit their image",
    "identical-images": "the same image twice",
    "patient-in-both-lists": "patients in training and testing",
    "patient-list": "gaps in the list of patients",
    "left-out": "folders that were not looked into",
    "own-output": "masks and runs of this program",
    "swapped-channels": "red and blue swapped (put right here)",
    "swapped-sibling": "a second image with red and blue swapped",
    "unsure-channels": "red and blue may be swapped",
    "missing-image": "annotations without an image",
    "missing-annotation": "images without an annotation",
    "missing-um-per-px": "scale (µm a pixel) unknown",
    "contradicting-um-per-px": "two scales that contradict each other",
    "guessed-um-per-px": "a scale guessed from the magnification",
    "unequal-um-per-px": "pixels that are not square",
    "missing-scale-in-xml": "scale missing in the annotation",
    "unknown-class": "unknown names of classes",
    "unclassified-nuclei": "nuclei without a class",
    "no-nuclei": "annotations without a nucleus",
    "degenerate-region": "outlines of fewer than three points",
    "zero-area": "outlines without an area",
    "tiny-nucleus": "nuclei too small to be one",
    "huge-nucleus": "nuclei too large to be one",
    "self-crossing": "outlines that cross themselves",
    "self-touching": "outlines that touch themselves",
    "out-of-bounds": "outlines that reach over the edge of the image",
    "outside-the-image": "nuclei outside of the image",
    "duplicate-nucleus": "the same nucleus outlined twice",
    "heavy-overlap": "nuclei that overlap much",
    "negative-region": "regions marked as negative",
    "region-of-interest": "regions of interest around nuclei",
    "not-an-area": "arrows, rulers and other shapes without an area",
    "boxed-shape": "ellipses and rectangles (read as drawn)",
    "class-imbalance": "a class with few nuclei",
    "class-missing": "a class without nuclei",
    "class-in-one-patient": "a class that one patient alone has",
    "stain-outlier": "a stain unlike the others",
    "little-tissue": "almost no tissue",
}
_MOST_KINDS = 4


def plain(code: str) -> str:
    """A kind of finding in plain words."""
    return _PLAIN.get(code, code.replace("-", " "))


def verdict_words(findings: Iterable[Finding]) -> tuple[str, str]:
    """Say what was found in a few lines, the worst first, and the kind of the note."""
    found = list(findings)
    if not found:
        return "Nothing wrong was found in this folder.", "good"
    grave = [f for f in found if f.severity in ("error", "warning")]
    harmless = len(found) - len(grave)
    said = []
    if grave:
        said.append(f"{len(grave)} to look at: {_kinds(grave)}.")
    if harmless:
        what = f"{harmless} that cost{'s' if harmless == 1 else ''} nothing"
        said.append(f"{what[0].upper()}{what[1:]}: {_kinds([f for f in found if f not in grave])}.")
    return " ".join([*said, "Click a row to see it."]), "warning" if grave else "hint"


def _kinds(findings: list[Finding]) -> str:
    kinds = Counter(f.code for f in findings).most_common()
    words = [f"{plain(code)} ({number})" for code, number in kinds[:_MOST_KINDS]]
    return ", ".join(words) + (" and others" if len(kinds) > _MOST_KINDS else "")


def explanation(finding: Finding) -> str:
    """What a finding means for training, and what to do about it in this window."""
    mend = finding.mend.replace("doctor --fix --out DIR writes", "the button Write mended copies makes")
    lines = (
        finding.message,
        f"What it does: {finding.effect}" if finding.effect else "",
        f"To do: {mend}" if mend else "",
    )
    return "\n".join(in_micrometres(line[:1].upper() + line[1:]) for line in lines if line)


def brief_names(crops: Iterable[Crop], longest: int = 16) -> dict[str, str]:
    """Names that fit into a narrow column and differ where the crops do: patient and number of a TCGA name, or the end."""
    short = {}
    for crop in crops:
        name, patient = str(crop.name), str(crop.patient)
        rest = name.removeprefix(patient).lstrip("-_")
        tcga = name.startswith(f"{patient}-") and patient.count("-") >= 2
        words = f"{patient.rpartition('-')[2]} {rest.rpartition('-')[2]}" if tcga else name
        short[name] = words if len(words) <= longest else f"…{words[-longest + 1 :]}"
    often = Counter(short.values())
    return {name: words if often[words] == 1 else f"…{name[-longest + 1 :]}" for name, words in short.items()}
