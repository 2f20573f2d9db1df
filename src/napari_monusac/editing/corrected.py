"""The loop closes: corrected crops as a folder to train on, in the layout of MoNuSAC."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_monusac.core.errors import SessionError
from napari_monusac.core.files import atomic_write, folder_key
from napari_monusac.editing.disk.kept import folder_in
from napari_monusac.editing.disk.provenance import sidecar_of
from napari_monusac.editing.progress import CropMarks
from napari_monusac.io.annotations.files import read_annotation, write_annotation
from napari_monusac.io.collection.collection import Collection, Crop, open_collection
from napari_monusac.io.collection.corrected_list import write_corrected_list
from napari_monusac.io.collection.patient_list import FILE_NAME, Listed, read_list, write_list
from napari_monusac.io.outputs import refuse_inside

Which = Literal["corrected", "done", "labelled"]


@dataclass(frozen=True, slots=True)
class CorrectedCollection:
    """A folder to train on.

    Attributes
    ----------
    folder : Path
        What `open_collection` and ``train --data`` take.
    crops : tuple of str
        Names of the crops in it.
    left_out : tuple of (str, str)
        Crops that were left out, each with the reason.
    copied : int
        Number of images that had to be copied, where the disk knows no links.
    others : tuple of str
        Those of `crops` that nobody has corrected: they are there to be trained on as well.
    """

    folder: Path
    crops: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    copied: int = 0
    others: tuple[str, ...] = ()


def corrected_path(crop: Crop, work: Path | None = None, root: Path | None = None) -> Path:
    """Return where a crop's corrected annotation lies: beside its image, or in a work folder, in the same layout.

    `root` is the collection's folder; without it the work folder has one level, that of the crop's own folder.
    """
    if work is None:
        return crop.annotation or crop.image.with_suffix(".xml")
    folder = Path(crop.image.resolve().parent.name) if root is None else folder_in(crop.image, root)
    return work / folder / f"{crop.image.stem}.xml"


def corrected_collection(
    folder: str | Path,
    out: str | Path,
    *,
    which: Which = "corrected",
    others: bool = False,
    work: str | Path | None = None,
    progress: CropMarks | None = None,
) -> CorrectedCollection:
    """Gather corrected crops in a folder of MoNuSAC layout: ``out/<folder>/<crop>.xml`` and a link to the image.

    ``patients.csv`` in it keeps whose crop is whose, ``corrected.txt`` which crops were corrected: training shows those
    more often, and validates with patients of the others (`napari_monusac.io.splits.make_split`).

    Parameters
    ----------
    folder : str or Path
        The collection that was corrected.
    out : str or Path
        The folder to make. It may exist: crops in it are brought up to date.
    which : {"corrected", "done", "labelled"}
        Crops that a session saved (they have a provenance sidecar, or lie in `work`), crops marked reviewed or done, or
        all with an annotation.
    others : bool
        Add the other labelled crops of the collection: one corrected crop is no training set.
    work : str or Path, optional
        Where corrected annotations were saved when the collection cannot be written (see `corrected_path`).
    progress : CropMarks, optional
        Marks; by default those beside the collection.

    Raises
    ------
    CollectionError
        The folder holds no crop, or `out` lies in it.
    AnnotationError
        An annotation is damaged.
    SessionError
        No crop qualifies, or the folder cannot be written.
    """
    refuse_inside(out, folder, "corrected crops")
    collection, target = open_collection(folder), Path(out)
    marks = progress or CropMarks(collection.root)
    place = None if work is None else Path(work)
    chosen, left_out = [], []
    for crop in collection.crops:
        source, reason = _source(crop, which, place, marks, collection.root)
        asked = source is not None
        if not asked and others:
            source, reason = _source(crop, "labelled", place, marks, collection.root)
        if source is None:
            left_out.append((crop.name, reason))
        else:
            chosen.append(_Chosen(crop, source, asked))
    if not any(one.asked for one in chosen):
        raise SessionError(f"{folder}: no crop is {which}", "correct and save one first")
    return CorrectedCollection(
        target,
        tuple(one.crop.name for one in chosen),
        tuple(left_out),
        _gather(chosen, collection, target),
        tuple(one.crop.name for one in chosen if not one.asked),
    )


def corrected_sources(collection: Collection, work: Path | None = None) -> dict[str, Path]:
    """Find the crops that somebody has corrected and saved, each with its corrected annotation.

    `work`: where those of a collection lie that cannot be written.
    """
    found = {}
    for crop in collection.crops:
        source = _annotation_of(crop, work, Path(collection.root))
        if source is not None and sidecar_of(source).exists():
            found[crop.name] = source
    return found


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A crop that goes into the folder, its annotation, and whether it is there for what was asked, not as one of the others."""

    crop: Crop
    source: Path
    asked: bool


def _gather(chosen: list[_Chosen], collection: Collection, target: Path) -> int:
    """Put crops and the lists of their patients and corrections into a folder; return how many images were copied."""
    copied, corrected = 0, set()
    patients, folders = _patients_of(target), _folders_of(collection)
    for one in chosen:
        crop, place_in = one.crop, f"{folders[one.crop.name]}/{one.crop.image.name}"
        try:
            copied += _put(crop, one.source, target / folders[crop.name])
        except OSError as error:
            raise SessionError(f"{target}: cannot be written ({error.strerror})", "choose another folder") from error
        patients[place_in] = Listed(crop.patient, crop.patient_source)
        if sidecar_of(one.source).exists():
            corrected.add(place_in)
    write_list(target, patients)
    write_corrected_list(target, corrected)
    return copied


def _patients_of(target: Path) -> dict[str, Listed]:
    """The patients of crops that an earlier gathering has put there."""
    known = target / FILE_NAME
    return read_list(known) if known.is_file() else {}


def _folders_of(collection: Collection) -> dict[str, str]:
    """Name a folder for each crop: that of its image, with those above it where two images would meet in it.

    Names that differ in case alone meet on some disks.
    """
    names = {c.name: c.image.resolve().parent.name for c in collection.crops}
    met = Counter(f"{names[c.name]}/{c.image.stem}".casefold() for c in collection.crops)
    for crop in collection.crops:
        if met[f"{names[crop.name]}/{crop.image.stem}".casefold()] > 1:
            place = folder_in(crop.image, collection.root)
            names[crop.name] = folder_key(crop.image.parent) if place == Path() else "__".join(place.parts)
    again = Counter(f"{names[c.name]}/{c.image.stem}".casefold() for c in collection.crops)
    return {
        c.name: names[c.name]
        if again[f"{names[c.name]}/{c.image.stem}".casefold()] == 1
        else f"{names[c.name]}-{hashlib.sha256(c.name.encode()).hexdigest()[:6]}"
        for c in collection.crops
    }


def _source(crop: Crop, which: Which, work: Path | None, marks: CropMarks, root: Path) -> tuple[Path | None, str]:
    """Return the annotation to take, or the reason to leave the crop out."""
    source = _annotation_of(crop, work, root)
    if source is None:
        return None, "it has no annotation"
    if which == "corrected" and not sidecar_of(source).exists():
        return None, "nobody has corrected it"
    if which == "done" and marks.mark_of(crop.name) is None:
        return None, "it is not marked reviewed or done"
    return source, ""


def _annotation_of(crop: Crop, work: Path | None, root: Path) -> Path | None:
    """A crop's corrected annotation, else its own; None where there is neither."""
    own = corrected_path(crop, work, root)
    source = own if own.exists() else crop.annotation
    return source if source is not None and source.exists() else None


def _put(crop: Crop, source: Path, folder: Path) -> bool:
    """Put a crop into the folder; return whether the image had to be copied."""
    folder.mkdir(parents=True, exist_ok=True)
    xml = folder / f"{crop.image.stem}.xml"
    if source.suffix.lower() == ".xml":
        with atomic_write(xml) as temporary:
            shutil.copyfile(source, temporary)
    else:
        write_annotation(read_annotation(source), xml)
    sidecar = sidecar_of(source)
    if sidecar.exists():
        with atomic_write(sidecar_of(xml)) as temporary:
            shutil.copyfile(sidecar, temporary)
    return _linked(crop.image.resolve(), folder / crop.image.name)


def _linked(image: Path, target: Path) -> bool:
    """Make `target` the image: a symbolic link, else a hard link, else a copy (then True)."""
    if target.exists() and target.samefile(image):
        return False
    target.unlink(missing_ok=True)
    ways: Iterable[Callable[[Path, Path], object]] = (os.symlink, os.link)
    for way in ways:
        try:
            way(image, target)
        except OSError:
            continue  # no right to (Windows), or another disk: the next way
        return False
    with atomic_write(target) as temporary:
        shutil.copyfile(image, temporary)
    return True
