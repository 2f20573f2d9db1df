"""The mend: copies of what the doctor found, put right. No original is ever written to."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely
from pydantic import BaseModel, ConfigDict

from napari_monusac.core.errors import CollectionError, SlideError
from napari_monusac.core.files import atomic_write, atomic_write_text
from napari_monusac.core.jsonl import AppendLog, DamagedLine, read_records
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.core.text import cell, visible
from napari_monusac.io.collection.collection import Collection, Crop, open_collection
from napari_monusac.io.doctor.nuclei import polygons_of
from napari_monusac.io.doctor.report import KINDS, DoctorReport
from napari_monusac.io.locks import ProcessLock
from napari_monusac.io.outputs import MENDING
from napari_monusac.io.slides.slide import Slide
from napari_monusac.io.slides.slide_copy import copy_without_label, may_name_people, write_plain_tif

_DROPPED = {"degenerate-region", "zero-area", "outside-the-image"}
_CUT = {"self-crossing", "out-of-bounds"}
_REDRAWN = _CUT | {"boxed-shape"}


@dataclass(frozen=True, slots=True)
class Mended:
    """One mended file that was written.

    Attributes
    ----------
    source, target : Path
        The original, and the copy.
    changes : tuple of str
        What was put right; empty for a plain copy that completes a pair.
    """

    source: Path
    target: Path
    changes: tuple[str, ...] = ()


def fix(
    report: DoctorReport,
    out: str | Path,
    *,
    everything: bool = False,
    progress: Callable[[float, str], object] | None = None,
) -> tuple[Mended, ...]:
    """Write mended copies of the crops that a report found fault with.

    Red and blue are put right (a plain RGB .tif with its scale); outlines that cross themselves keep their largest
    part; outlines over the edge are cut; regions that draw nothing, lie outside or repeat a nucleus of the same class
    are left out; ellipses and rectangles that are two corners become outlines; a
    scale that only the image knows is written into the XML. Image and annotation are always written as a pair; an .svs,
    and any TIFF with a label, a macro image or Aperio's description, is copied without them.

    What is stopped or killed on the way is not lost and does not look whole: until the last crop is written the folder
    holds ``mending.jsonl``, no crops are looked for in it, and the same call goes on where it was.

    Parameters
    ----------
    report : DoctorReport
        What `examine` found.
    out : str or Path
        An empty or new folder (or one that such a call left unfinished), outside of the examined one. The layout of
        folders is kept.
    everything : bool
        Copy the crops without a fault too, so that `out` is a whole collection.
    progress : callable, optional
        Called with a fraction (0 to 1) and a line of text.

    Returns
    -------
    tuple of Mended
        The files written; ``mended.tsv`` in `out` lists them.

    Raises
    ------
    CollectionError
        `out` holds files, or lies inside of the examined folder.
    SlideError, AnnotationError
        A file changed since it was examined and cannot be read any more, or the disk is full.
    """
    root, out = Path(report.folder), Path(out)
    _refuse_target(root, out)
    collection = open_collection(root)
    by_crop = _fixable(report)
    unreadable = {f.image for f in report.findings if f.code.startswith("unreadable") and f.severity == "error"}
    crops = [c for c in collection if (everything or c.name in by_crop) and c.name not in unreadable]
    written: list[Mended] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ProcessLock(out / ".mending.lock", out, error=CollectionError), _Unfinished(out, root) as unfinished:
            for number, crop in enumerate(crops, start=1):
                faults = by_crop.get(crop.name, {})
                done = unfinished.done(crop, faults)
                written += done or unfinished.note(crop, faults, _mend_crop(collection, crop, faults, out))
                if progress is not None:
                    progress(number / len(crops), f"{number} of {len(crops)}: {crop.name}")
            lines = (map(visible, (str(m.source), str(m.target), "; ".join(m.changes) or "copied")) for m in written)
            rows = ("\t".join(str(cell(text)) for text in line) for line in lines)
            atomic_write_text(out / "mended.tsv", "\n".join(["source\tcopy\tchanges", *rows, ""]))
            unfinished.finish()
    except OSError as error:
        raise CollectionError(
            out, f"cannot be written ({error.strerror})", "make space; the same command goes on"
        ) from error
    return tuple(written)


def _fixable(report: DoctorReport) -> dict[str, dict[str, set[int]]]:
    """Positions of regions by crop and code, of what can be put right."""
    by_crop: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for f in report.findings:
        if f.image is not None and KINDS[f.code].fixable:
            by_crop[f.image][f.code].update(f.nuclei[-1:] if f.code == "duplicate-nucleus" else f.nuclei)
    return by_crop


def _refuse_target(root: Path, out: Path) -> None:
    if out.resolve() == root.resolve() or root.resolve() in out.resolve().parents:
        raise CollectionError(out, f"lies inside of {root}", "choose a folder beside it: originals are never touched")
    if not out.exists() or (out.is_dir() and (out / MENDING).is_file()):
        return
    if not out.is_dir() or any(p.name != ".mending.lock" for p in out.iterdir()):
        raise CollectionError(out, "is not empty", "choose a new folder")


class _Note(BaseModel):
    """A line of the log: a crop that is written, as it was when it was."""

    model_config = ConfigDict(frozen=True)

    root: str
    crop: str
    of: str = ""
    files: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


class _Unfinished:
    """The log of a folder that is being written: which crops are whole.

    Raises
    ------
    CollectionError
        The folder is the unfinished copy of another one, or its log is damaged.
    """

    def __init__(self, out: Path, root: Path) -> None:
        self._path, self._root = out / MENDING, str(root.resolve())
        notes, size = self._read()
        self._notes = {n.crop: n for n in notes}
        self._log = AppendLog.open(self._path)
        self._log.cut(size)
        if not notes:
            self._append(_Note(root=self._root, crop=""))

    def __enter__(self) -> _Unfinished:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def _read(self) -> tuple[list[_Note], int]:
        if not self._path.exists():
            return [], 0
        try:
            notes, size = read_records(self._path, lambda _, line: _Note.model_validate_json(line))
        except DamagedLine as error:
            raise CollectionError(
                self._path, f"is damaged ({error})", "delete that folder, or choose another"
            ) from error
        if any(n.root != self._root for n in notes):
            raise CollectionError(
                self._path.parent, f"is the unfinished copy of {notes[0].root}", "choose another folder"
            )
        return notes, size

    def _append(self, note: _Note) -> None:
        self._log.append(note.model_dump_json().encode() + b"\n")

    def done(self, crop: Crop, faults: dict[str, set[int]]) -> list[Mended]:
        """Return the files of a crop that is whole and has not changed since; empty where it is to be written."""
        note = self._notes.get(crop.name)
        if note is None or note.of != _state(crop, faults):
            return []
        files = [Mended(Path(source), Path(target), changes) for source, target, changes in note.files]
        return files if all(m.target.is_file() for m in files) else []

    def note(self, crop: Crop, faults: dict[str, set[int]], files: list[Mended]) -> list[Mended]:
        """Note that a crop is whole."""
        rows = tuple((str(m.source), str(m.target), m.changes) for m in files)
        self._append(_Note(root=self._root, crop=crop.name, of=_state(crop, faults), files=rows))
        return files

    def finish(self) -> None:
        """Take the log away: the folder is whole."""
        self._log.close()
        self._path.unlink()


def _state(crop: Crop, faults: dict[str, set[int]]) -> str:
    """What a crop is written from: the files as they are, and what is to be put right."""
    stats = [p.stat() for p in (crop.image, crop.annotation) if p is not None]
    return json.dumps([[[s.st_size, s.st_mtime_ns] for s in stats], {k: sorted(v) for k, v in sorted(faults.items())}])


def _mend_crop(collection: Collection, crop: Crop, faults: dict[str, set[int]], out: Path) -> list[Mended]:
    image = out / crop.image.relative_to(collection.root)
    image.parent.mkdir(parents=True, exist_ok=True)
    with collection.open(crop) as slide:
        shape, scale = slide.shape, slide.um_per_px
        if "swapped-channels" in faults:
            image = image.with_suffix(".tif")
            write_plain_tif(slide, image, f"napari-monusac: red and blue of {crop.image.name} put right")
            written = [Mended(crop.image, image, ("red and blue put right",))]
        else:
            written = [_copy_image(slide, crop.image, image)]
    if crop.annotation is not None:
        annotation = out / crop.annotation.relative_to(collection.root)
        changes = _mend_annotation(collection, crop, annotation, faults, shape, scale)
        written.append(Mended(crop.annotation, annotation, changes))
    return written


def _copy_image(slide: Slide, source: Path, target: Path) -> Mended:
    suffix = source.suffix.lower()
    ours = slide.reader in ("tiff", "whole image")
    if ours and suffix != ".svs" and not may_name_people(source):
        _copy(source, target)
        return Mended(source, target)
    if ours and suffix in {".svs", ".tif", ".tiff"}:
        copy_without_label(source, target)
    else:  # other makers' files are more than their tags, and DICOM names its patient
        target = target.with_suffix(".tif")
        write_plain_tif(slide, target)
    return Mended(source, target, ("label and macro pages left out",))


def _copy(source: Path, target: Path) -> None:
    try:
        with atomic_write(target) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise SlideError(target, f"cannot be written ({error.strerror})", "check space and rights") from error


def _mend_annotation(
    collection: Collection,
    crop: Crop,
    target: Path,
    faults: dict[str, set[int]],
    shape: tuple[int, int],
    scale: float | None,
) -> tuple[str, ...]:
    from napari_monusac.io.annotations.files import write_annotation

    original = collection.annotation(crop)
    mended, changes = mend_regions(original, faults, shape)
    if "missing-scale-in-xml" in faults and scale is not None:
        root = tuple((k, v) for k, v in mended.attributes if k != "MicronsPerPixel")
        mended = replace(mended, um_per_px=scale, attributes=(("MicronsPerPixel", f"{scale:g}"), *root))
        changes = (*changes, f"MicronsPerPixel {scale:g} written")
    if changes:
        write_annotation(mended, target)
    elif crop.annotation is not None:
        _copy(crop.annotation, target)
    return changes


def mend_regions(
    annotation: Annotation, faults: dict[str, set[int]], shape: tuple[int, int]
) -> tuple[Annotation, tuple[str, ...]]:
    """Mend single regions; all others stay as they are, to the letter.

    Parameters
    ----------
    annotation : Annotation
        The original.
    faults : dict of str to set of int
        Positions of regions by code of the finding.
    shape : tuple of int
        Height and width of the image in px.
    """
    regions, changes = [], []
    for k, region in enumerate(annotation.regions):
        codes = {code for code, numbers in faults.items() if k in numbers}
        name = f"{region.label or 'unclassified'} {region.region_id or k + 1}"
        if codes & _DROPPED or ("duplicate-nucleus" in codes and _repeats_same_class(annotation, k)):
            changes.append(f"{name} left out ({', '.join(sorted(codes))})")
            continue
        mended = _mended_region(region, codes, shape)
        if mended is not region:
            changes.append(f"{name} mended ({', '.join(sorted(codes & _REDRAWN))})")
        regions.append(mended)
    return (replace(annotation, regions=tuple(regions)), tuple(changes)) if changes else (annotation, ())


def _repeats_same_class(annotation: Annotation, k: int) -> bool:
    """Whether an earlier nucleus of the same class lies on the same spot."""
    later = annotation.regions[k]
    shape = shapely.make_valid(polygons_of([later])[0])
    for region in annotation.regions[:k]:
        if region.label == later.label and region.is_drawn:
            low, high = region.vertices.min(0), region.vertices.max(0)
            if (low > later.vertices.max(0)).any() or (high < later.vertices.min(0)).any():
                continue
            other = shapely.make_valid(polygons_of([region])[0])
            shared = shape.intersection(other).area
            if shared > 0.5 * shape.union(other).area:
                return True
    return False


def _mended_region(region: Nucleus, codes: set[str], shape: tuple[int, int]) -> Nucleus:
    if not codes & _CUT:
        # without the file's own spelling the outline is written
        return replace(region, source=None) if "boxed-shape" in codes else region
    mended = shapely.make_valid(polygons_of([region])[0])
    if "out-of-bounds" in codes:
        mended = mended.intersection(shapely.box(0, 0, shape[1] - 1, shape[0] - 1))
    parts = [p for p in shapely.get_parts(mended) if p.geom_type == "Polygon"]
    if not parts:
        return region
    outline = np.asarray(max(parts, key=lambda p: p.area).exterior.coords, np.float64)[:, ::-1]
    whole = bool((outline == np.rint(outline)).all())
    return replace(region, vertices=np.ascontiguousarray(outline), source=None, z=None, integral=whole)
