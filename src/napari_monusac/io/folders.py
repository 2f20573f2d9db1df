"""What lies in a folder of crops: pairs of image and annotation, by name."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from napari_monusac.io.organs import organ_of, patient_barcode
from napari_monusac.io.slides import IMAGE_SUFFIXES

Part = Literal["train", "test"]
#: Suffixes of annotations, the preferred one first.
ANNOTATION_SUFFIXES = (".xml", ".geojson", ".annotations")
#: Folders below this depth are not looked into; no MoNuSAC layout goes deeper.
DEEPEST = 5
_PART_ORDER: dict[Part | None, int] = {"train": 0, "test": 1, None: 2}
_DERIVED = re.compile(r"_(instances|semantic|ternary|ambiguous|labels)$", re.IGNORECASE)
_TEST = re.compile(r"monusac.*test|^test(ing)?$", re.IGNORECASE)
_TRAIN = re.compile(r"monusac.images.and.annotations|monusac.*train|^train(ing)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Crop:
    """One image and what belongs to it.

    Attributes
    ----------
    name : str
        Unique in its collection: the file's name without suffix, with folders before it where that alone is not unique.
    patient : str
        ``TCGA-XX-XXXX``, or the folder's or file's name where there is no barcode. The unit of splitting.
    image : Path
        The image; .svs is preferred to .tif, .tif to .png and .jpg.
    annotation : Path or None
        The .xml (or .geojson) beside it.
    part : {"train", "test"} or None
        Which of the two official roots it comes from.
    others : tuple of Path
        Images of the same name that were not chosen.
    """

    name: str
    patient: str
    image: Path
    annotation: Path | None = None
    part: Part | None = None
    others: tuple[Path, ...] = ()

    @property
    def organ(self) -> str | None:
        """The organ: breast, kidney, lung or prostate, where the TCGA barcode tells it."""
        return organ_of(self.name) or organ_of(self.patient)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the folder that is not as it should be.

    Attributes
    ----------
    code : str
        ``missing-image``.
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


def scan(root: Path, deepest: int = DEEPEST) -> tuple[list[Crop], list[Path], list[Problem]]:
    """Find images and annotations under a folder and pair them.

    Parameters
    ----------
    root : Path
        The folder.
    deepest : int
        How many folders deep to look; 0 looks at the folder itself only.

    Returns
    -------
    crops, unpaired, problems
        Crops in order (train, test; patient; number), annotations without an image, and what is not as it should be.
    """
    crops: list[Crop] = []
    unpaired: list[Path] = []
    problems: list[Problem] = []
    for folder, files in _folders(root, deepest):
        images: dict[str, list[Path]] = defaultdict(list)
        annotations: dict[str, list[Path]] = defaultdict(list)
        for file in files:
            suffix = file.suffix.lower()
            if suffix in IMAGE_SUFFIXES:
                images[file.stem].append(file)
            elif suffix in ANNOTATION_SUFFIXES:
                annotations[file.stem].append(file)
        for stem in sorted(images):
            if _DERIVED.search(stem) and _DERIVED.sub("", stem) in images:
                continue  # a mask that was written beside its image
            ranked = sorted(images[stem], key=lambda p: IMAGE_SUFFIXES.index(p.suffix.lower()))
            notes = sorted(annotations.get(stem, []), key=lambda p: ANNOTATION_SUFFIXES.index(p.suffix.lower()))
            patient = _patient_of(root, folder, stem)
            part = _part_of(root, folder)
            crops.append(Crop(stem, patient, ranked[0], notes[0] if notes else None, part, tuple(ranked[1:])))
        for stem in sorted(set(annotations) - set(images)):
            unpaired.extend(annotations[stem])
            for path in annotations[stem]:
                problems.append(Problem("missing-image", path, "has no image beside it"))
    crops.sort(key=lambda c: (_PART_ORDER[c.part], c.patient, _natural(c.name), str(c.image)))
    return crops, unpaired, problems


def _folders(root: Path, deepest: int) -> Iterator[tuple[Path, list[Path]]]:
    """Walk folders; hidden ones and links to elsewhere are left out."""
    for folder, names, files in os.walk(root):
        here = Path(folder)
        depth = len(here.relative_to(root).parts)
        names[:] = sorted(n for n in names if not n.startswith(".") and not n.endswith(".zarr") and depth < deepest)
        yield here, [here / f for f in sorted(files) if not f.startswith(".")]


def is_collection(root: Path, most_files: int = 5000) -> bool:
    """Tell quickly whether a folder holds an .svs, or an image with an .xml of its name, in its first `most_files`."""
    seen = 0
    for _, files in _folders(root, DEEPEST):
        notes = {f.stem for f in files if f.suffix.lower() == ".xml"}
        for file in files:
            suffix = file.suffix.lower()
            if suffix == ".svs" or (suffix in IMAGE_SUFFIXES and file.stem in notes):
                return True
        seen += len(files)
        if seen > most_files:
            return False
    return False


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts _2 before _10, and counts _001 as 1."""
    return tuple((0, int(t)) if t.isdigit() else (1, t.casefold()) for t in re.split(r"(\d+)", name) if t)


def _patient_of(root: Path, folder: Path, stem: str) -> str:
    barcode = patient_barcode(stem) or patient_barcode(folder.name)
    if barcode:
        return barcode
    own = re.sub(r"[_-]\d+$", "", stem)
    # in a folder per patient the folder's name is the patient; in a flat one the crop's own name is
    return folder.name if folder != root and (own == folder.name or _names_match(folder.name, stem)) else own


def _names_match(folder: str, stem: str) -> bool:
    return stem.casefold().startswith(folder.casefold()) or not re.search(r"[A-Za-z]", stem)


def _part_of(root: Path, folder: Path) -> Part | None:
    """Official root by name: the nearest folder up to the opened one, or its parent where one patient was opened."""
    inside = [root.resolve() / p for p in folder.relative_to(root).parts]
    names = [*(p.name for p in reversed(inside)), root.resolve().name, root.resolve().parent.name]
    for name in names:
        if _TEST.search(name):
            return "test"
        if _TRAIN.search(name):
            return "train"
    return None


def uniquely_named(root: Path, crops: list[Crop]) -> tuple[Crop, ...]:
    """Put folders before the names that occur twice."""
    seen = Counter(c.name for c in crops)
    return tuple(
        replace(c, name=c.image.relative_to(root).with_suffix("").as_posix()) if seen[c.name] > 1 else c for c in crops
    )
