"""The corrected truth as an annotation: a new file beside the original, with who changed what, when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_monusac.core.classes import AMBIGUOUS, NucleusClass
from napari_monusac.core.errors import SessionError, ShapeError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.disk.provenance import SavingNote, write_provenance
from napari_monusac.editing.disk.workplace import content_of, sha256
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID, NucleusRow
from napari_monusac.io.annotations.files import write_annotation
from napari_monusac.masks.polygons import polygons_from_instances
from napari_monusac.review.judgements import now
from napari_monusac.review.truth import CorrectedTruth


def _fields(annotation: Annotation) -> dict[str, Any]:
    return {name: getattr(annotation, name) for name in ("layers", "um_per_px", "attributes", "markup", "source")}


def _regions(annotation: Annotation, truth: CorrectedTruth) -> list[tuple[Nucleus, NucleusRow | None]]:
    """Every region of the corrected annotation, with a row for those that a judgement made or changed."""
    drawn = [*truth.redrawn, *truth.added]
    outlines = polygons_from_instances(truth.instances, labels=sorted(drawn)).polygons if drawn else {}
    offset = np.array(truth.offset_px, np.float64)
    number = {id(n): k for k, n in enumerate(annotation.nuclei, 1)}
    beyond = max((*truth.removed, *truth.redrawn, *truth.reclassed), default=0)
    if beyond > len(number) and beyond not in truth.added:
        raise ShapeError(
            f"nucleus {beyond} was judged, the annotation has {len(number)}", "judge this crop again: its file changed"
        )
    outlines = {k: outline + offset for k, outline in outlines.items()}
    found: list[tuple[Nucleus, NucleusRow | None]] = []
    for region in annotation.regions:
        k = number.get(id(region), 0)
        if k in truth.removed:
            continue
        found.append((_changed(region, k, truth, outlines), _row(k, truth, region.confidence)))
    for k, judgement in truth.added.items():
        if k in outlines:
            label = NucleusClass(truth.classes[k]).label
            region = Nucleus(outlines[k], label, layer=-1, confidence=judgement.finding.confidence)
            found.append((region, _row(k, truth, judgement.finding.confidence)))
    for k, (where, mask) in truth.ambiguous_masks.items():
        if k < 0 and mask.any():
            outline = polygons_from_instances(mask.astype(np.int32)).polygons[1]
            corner = np.array([where[0].start, where[1].start], np.float64) + offset
            found.append((Nucleus(outline + corner, AMBIGUOUS, layer=-1), _row(k, truth, None)))
    return found


def _changed(region: Nucleus, k: int, truth: CorrectedTruth, outlines: Any) -> Nucleus:
    if k in truth.made_ambiguous:
        return replace(region, label=AMBIGUOUS)
    if k in truth.redrawn and k in outlines:
        region = replace(region, vertices=outlines[k], z=None, integral=True, source=None)
    if k in truth.reclassed:
        region = replace(region, label=NucleusClass(truth.classes[k]).label)
    return region


def _row(k: int, truth: CorrectedTruth, confidence: float | None) -> NucleusRow | None:
    """Who changed a nucleus, for the sidecar; None for those that nobody judged."""
    changes = (truth.added, truth.made_ambiguous, truth.redrawn, truth.reclassed)
    judgement = next((c[k] for c in changes if k in c), None)
    if judgement is None:
        return None
    drawn_by_model = k in truth.added or k in truth.redrawn or k < 0
    ambiguous = k in truth.made_ambiguous
    chosen = ambiguous or judgement.chosen_class is not None
    from_model = k in truth.added or k in truth.reclassed
    return NucleusRow(
        id=abs(k),
        class_id=AMBIGUOUS_ID if ambiguous else truth.classes[k],
        provenance="model" if drawn_by_model else "file",
        class_provenance="human" if chosen else "model" if from_model else "file",
        confidence=confidence,
        note="; ".join(filter(None, (judgement.verdict.value, judgement.note))),
        author=judgement.reader,
        time=judgement.time,
    )


def write_corrected(annotation: Annotation, truth: CorrectedTruth, path: str | Path, reader: str) -> Annotation:
    """Write the corrected truth as a new XML, with its sidecar of who changed what, when.

    Parameters
    ----------
    annotation : Annotation
        The original, with `source`.
    truth : CorrectedTruth
        Made from its maps.
    path : str or Path
        A new file; writing over the original is refused.
    reader : str
        Who made it.

    Returns
    -------
    Annotation
        What was written.

    Raises
    ------
    SessionError
        `path` is the original.
    AnnotationError
        It cannot be written.
    ShapeError
        The truth has nuclei that the annotation does not have.
    """
    path = Path(path)
    if annotation.source is not None and path.resolve() == annotation.source.resolve():
        raise SessionError(f"{path}: is the original", "give the corrected truth a file of its own")
    pairs = _regions(annotation, truth)
    corrected = Annotation(**_fields(annotation), regions=tuple(region for region, _ in pairs))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_annotation(corrected, path)
    saving = SavingNote(author=reader, time=now(), sha256=sha256(content_of(path)))
    write_provenance(path, [saving], [(region, row) for region, row in pairs if row is not None])
    return corrected
