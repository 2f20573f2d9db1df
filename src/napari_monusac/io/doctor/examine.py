"""The data doctor: what is wrong with a folder before it costs a night of training, and the mend."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import AnnotationError
from napari_monusac.core.files import whole_stem
from napari_monusac.io.collection.collection import Collection, open_collection
from napari_monusac.io.collection.crop import Crop
from napari_monusac.io.collection.organs import patient_barcode
from napari_monusac.io.doctor.images import ImageFacts, examine_image
from napari_monusac.io.doctor.nuclei import examine_nuclei
from napari_monusac.io.doctor.report import KINDS, SEVERITIES, DoctorFinding, DoctorReport, finding
from napari_monusac.io.doctor.sets import leaks, patient_list_gaps, rare_classes, stain_outliers, twins

TellShare = Callable[[float, str], object]


@dataclass(frozen=True, slots=True)
class _Examined:
    crop: Crop
    findings: list[DoctorFinding]
    facts: ImageFacts | None = None
    counts: dict[NucleusClass, int] = field(default_factory=dict)


def examine(folder: str | Path | Collection, progress: TellShare | None = None) -> DoctorReport:
    """Examine a folder of crops: every image and every nucleus.

    Parameters
    ----------
    folder : str, Path or Collection
        A MoNuSAC root, the folder that holds both, one patient, or a flat folder.
    progress : callable, optional
        Called with a fraction (0 to 1) and a line of text, in the calling thread. An error that it raises ends all.

    Returns
    -------
    DoctorReport
        Findings sorted by severity, then by kind and crop. No file is changed.

    Raises
    ------
    CollectionError
        The folder does not exist or holds no image.
    """
    collection = folder if isinstance(folder, Collection) else open_collection(folder)
    done = _examine_all(collection, progress)
    facts = {e.crop.name: e.facts for e in done if e.facts is not None}
    counts = {e.crop.name: e.counts for e in done if e.counts}
    found = [f for e in done for f in e.findings]
    found += _left_out(collection) + _unpaired(collection) + patient_list_gaps(collection)
    found += leaks(collection) + twins(collection.crops, facts) + stain_outliers(collection.crops, facts)
    found += rare_classes(collection, counts)
    return DoctorReport(
        folder=str(collection.root),
        crops=len(collection),
        patients=len(collection.patients),
        grouping=str(collection.grouping),
        guess=collection.grouping.warning,
        nuclei={k.label: sum(c.get(k, 0) for c in counts.values()) for k in (*CLASSES, NucleusClass.UNCLASSIFIED)},
        findings=tuple(sorted(found, key=_order)),
    )


def _order(f: DoctorFinding) -> tuple[int, int, str, tuple[int, ...]]:
    return SEVERITIES.index(f.severity), list(KINDS).index(f.code), f.image or f.patient or "", f.nuclei


def _examine_all(collection: Collection, progress: TellShare | None) -> list[_Examined]:
    total = len(collection)
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="monusac-doctor") as pool:
        waiting = {pool.submit(_examine_one, collection, crop): k for k, crop in enumerate(collection.crops)}
        results: dict[int, _Examined] = {}
        try:
            for number, future in enumerate(as_completed(waiting), start=1):
                result = results[waiting[future]] = future.result()
                if progress is not None:
                    progress(number / total, f"{number} of {total}: {result.crop.name}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[k] for k in sorted(results)]


def _examine_one(collection: Collection, crop: Crop) -> _Examined:
    findings, facts = examine_image(collection, crop)
    if crop.annotation is None:
        return _Examined(crop, [*findings, finding("missing-annotation", "has no annotation beside it", crop)], facts)
    try:
        annotation = collection.annotation(crop)
    except AnnotationError as error:
        return _Examined(crop, [*findings, _unreadable(error, crop.annotation, crop)], facts)
    shape = facts.shape if facts is not None else None
    scale = (facts.um_per_px if facts is not None else None) or annotation.um_per_px
    findings += [finding("annotation-note", note, crop, path=crop.annotation) for note in annotation.notes]
    findings += examine_nuclei(crop, annotation, shape, scale)
    return _Examined(crop, findings, facts, annotation.counts())


def _unreadable(error: AnnotationError, path: Path, crop: Crop | None = None) -> DoctorFinding:
    message = str(error).removeprefix(f"{path}: ")
    return finding("unreadable-annotation", message, crop, path=path)


def _left_out(collection: Collection) -> list[DoctorFinding]:
    """What the folder holds that is no crop, and what was not looked into."""
    return [finding(p.code, p.message, path=p.path) for p in collection.problems if p.code != "missing-image"]


def _unpaired(collection: Collection) -> list[DoctorFinding]:
    """Annotations without an image are read all the same: their outlines can be odd, too."""
    from napari_monusac.io.annotations.files import read_annotation

    found = []
    reasons = {p.path: p.message for p in collection.problems}
    for path in collection.unpaired:
        patient = patient_barcode(path.stem)
        reason = reasons.get(path, "has no image beside it")
        found.append(finding("missing-image", f"{path.name} {reason}", path=path, patient=patient))
        try:
            annotation = read_annotation(path)
        except AnnotationError as error:
            found.append(_unreadable(error, path))
            continue
        alone = Crop(whole_stem(path), patient or whole_stem(path), path, path)
        found += examine_nuclei(alone, annotation, None, annotation.um_per_px)
    return found
