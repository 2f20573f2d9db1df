"""What lies in a folder of crops: folders walked, images paired with annotations, outputs left out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from napari_monusac.io.collection.crop import Crop, OfficialPart, Problem
from napari_monusac.io.collection.pairing import Pair, image_key, pair_files
from napari_monusac.io.collection.patients import find_patients
from napari_monusac.io.outputs import is_output_folder, is_output_image
from napari_monusac.io.slides.annotation_scale import is_shelf
from napari_monusac.io.slides.formats import is_slide_name
from napari_monusac.io.slides.ome_zarr import is_image_store
from napari_monusac.io.slides.parts import without_parts

#: Folders below this depth are not looked into, and said to be left out.
DEEPEST = 10
_PART_ORDER: dict[OfficialPart | None, int] = {"train": 0, "test": 1, None: 2}
_TEST = re.compile(r"monusac.*test|^test(ing)?$", re.IGNORECASE)
_TRAIN = re.compile(r"monusac.images.and.annotations|monusac.*train|^train(ing)?$", re.IGNORECASE)


def scan(root: Path, deepest: int = DEEPEST) -> tuple[list[Crop], list[Path], list[Problem]]:
    """Find images and annotations under a folder, pair them, and find each crop's patient.

    Parameters
    ----------
    root : Path
        The folder.
    deepest : int
        How many folders deep to look; 0 looks at the folder itself only.

    Returns
    -------
    crops, unpaired, problems
        Crops in order (train, test; patient; number), annotations without an image, and what is not as it should be or
        was left out.
    """
    problems: list[Problem] = []
    pairs, alone = pair_files(root, walk(root, deepest, problems))
    pairs = _without_outputs(pairs, problems)
    places = [(pair.folder.relative_to(root).parts, image_key(pair.images[0])) for pair in pairs]
    crops = []
    for pair, (patient, source) in zip(pairs, find_patients(root, places), strict=True):
        first, *others = pair.images
        annotation = pair.annotations[0] if pair.annotations else None
        part = _part_of(root, pair.folder)
        crops.append(Crop(first.stem, patient, first, annotation, part, tuple(others), source))
    for one in alone:
        several = ", ".join(p.name for p in one.candidates[:3])
        message = f"may belong to {several}: which?" if several else "has no image beside it"
        problems.append(Problem("missing-image", one.path, message))
    crops.sort(key=in_order)
    return crops, [one.path for one in alone], problems


def walk(root: Path, deepest: int, problems: list[Problem]) -> Iterator[tuple[Path, list[Path]]]:
    """Walk folders and folders that are linked, each once; what is ours or cannot be looked into goes to `problems`.

    Hidden folders and stores (``.zarr``) are left out. Linked folders come last, so that what lies in the folder itself
    keeps its own name.
    """
    top = Path(os.path.realpath(root))
    seen: set[Path] = set()
    waiting, linked = [(root, 0)], list[tuple[Path, int]]()
    while waiting or linked:
        here, depth = (waiting or linked).pop()
        real = Path(os.path.realpath(here))
        if real in seen:
            continue  # a link to what has been listed already
        seen.add(real)
        if depth and top.is_relative_to(real):
            problems.append(Problem("left-out", here, "links to a folder around this one: not looked into"))
            continue
        try:
            folders, links, files = _entries(here)
        except OSError as error:
            problems.append(Problem("left-out", here, f"cannot be looked into ({error.strerror})"))
            continue
        what = is_output_folder(here, {f.name for f in files}) if depth else ""
        if what:
            problems.append(Problem("own-output", here, f"holds {what} of this program: no crops are looked for in it"))
            continue
        yield here, files
        if depth < deepest:
            waiting += [(f, depth + 1) for f in reversed(folders)]
            linked += [(f, depth + 1) for f in reversed(links)]
        elif deepest and (folders or links):
            number = len(folders) + len(links)
            what = "1 folder below it is" if number == 1 else f"{number} folders below it are"
            problems.append(Problem("left-out", here, f"{what} more than {deepest} folders deep: not looked into"))


def _entries(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Folders, linked folders and files of a folder, in order of name; hidden ones and stores are left out.

    An OME-Zarr image counts as a file; of DICOM one file stands for its series; what belongs to another slide is none.
    """
    folders, links, files = list[Path](), list[Path](), list[Path]()
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if not entry.is_dir():
                files.append(path)
            elif entry.name.endswith(".zarr"):
                files += [path] if is_image_store(path) else []
            else:
                (links if entry.is_symlink() else folders).append(path)
    return folders, links, without_parts(files)


def _without_outputs(pairs: list[Pair], problems: list[Problem]) -> list[Pair]:
    """Leave out masks and pictures that were written from crops; an image with an annotation of its own is a crop."""
    stems = {image_key(p).casefold() for pair in pairs for p in pair.images}
    kept, left = [], Counter[Path]()
    for pair in pairs:
        first = pair.images[0]
        if not pair.annotations and is_output_image(first, image_key(first).casefold(), stems):
            left[pair.folder] += 1
        else:
            kept.append(pair)
    for folder, number in left.items():
        what = "1 image in it is a mask or picture" if number == 1 else f"{number} images in it are masks or pictures"
        problems.append(Problem("own-output", folder, f"{what} made from crops, and no crop"))
    return kept


def is_collection(root: Path, most_files: int = 5000) -> bool:
    """Tell quickly whether a folder holds a slide, or an image with its annotation, in its first `most_files`."""
    seen: list[tuple[Path, list[Path]]] = []
    number = 0
    for folder, files in walk(root, DEEPEST, []):
        if any(is_slide_name(f) for f in files):
            return True
        pairs, _ = pair_files(folder, [(folder, files)])
        if any(p.annotations for p in pairs):
            return True
        seen.append((folder, files))
        number += len(files) + 1
        if number > most_files:
            break
    return any(p.annotations for p in pair_files(root, seen)[0])


def partners(path: Path) -> Pair | None:
    """Find the images and annotations that belong to a file: beside it, or in the folders beside its own.

    Parameters
    ----------
    path : Path
        An image or an annotation.

    Returns
    -------
    Pair or None
        None where the file is an annotation without an image.
    """
    folder = path.parent
    found = _holding(path, pair_files(folder, walk(folder, 0, []))[0])
    if (found is not None and found.annotations) or not is_shelf(folder.name):
        return found
    return _holding(path, pair_files(folder.parent, walk(folder.parent, 1, []))[0]) or found


def _holding(path: Path, pairs: list[Pair]) -> Pair | None:
    return next((p for p in pairs if path in p.images or path in p.annotations), None)


def in_order(crop: Crop) -> tuple[int, str, tuple[tuple[int, int | str], ...], str]:
    """Sort key of crops: train, test; patient; number."""
    return _PART_ORDER[crop.part], crop.patient, _natural(crop.name), str(crop.image)


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts _2 before _10, and counts _001 as 1."""
    return tuple((0, int(t)) if t.isdigit() else (1, t.casefold()) for t in re.split(r"(\d+)", name) if t)


def _part_of(root: Path, folder: Path) -> OfficialPart | None:
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
