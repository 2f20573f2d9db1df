"""Which annotation belongs to which image: by name, as people and programs name the two.

``a.svs`` + ``a.xml``; ``a.ome.tif`` + ``a.geojson``; ``a.tif`` + ``a.tif.geojson``; ``Crop1.tif`` + ``crop1.xml``; names
whose umlauts are written in two ways (NFC, NFD); and annotations in a folder of their own (MoNuSeg's ``Tissue Images/`` +
``Annotations/``). A name that is equal to the letter goes before one that is equal but for case.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_monusac.core.files import whole_stem, whole_suffix
from napari_monusac.io.slides.annotation_scale import is_shelf
from napari_monusac.io.slides.formats import IMAGE_SUFFIXES, is_image_name

#: Suffixes of annotations, the preferred one first.
ANNOTATION_SUFFIXES = (".xml", ".geojson", ".geojson.gz", ".annotations")


@dataclass(slots=True)
class Pair:
    """The images of one name in one folder, and what annotates them.

    Attributes
    ----------
    folder : Path
        Where the images lie.
    images, annotations : list of Path
        The preferred one first.
    """

    folder: Path
    images: list[Path]
    annotations: list[Path] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unpaired:
    """An annotation without an image; `candidates` are images that it may mean, where it may mean several."""

    path: Path
    candidates: tuple[Path, ...] = ()


def image_key(path: Path) -> str:
    """The name of an image as it is compared: without suffix and ``.ome``, umlauts in one way (NFC)."""
    return _without_ome(unicodedata.normalize("NFC", path.stem))


def is_annotation_name(path: Path) -> bool:
    """Whether a file is an annotation by its suffix."""
    return whole_suffix(path).lower() in ANNOTATION_SUFFIXES


def pair_files(root: Path, folders: Iterable[tuple[Path, Sequence[Path]]]) -> tuple[list[Pair], list[Unpaired]]:
    """Pair the images and annotations of some folders.

    Parameters
    ----------
    root : Path
        The folder that holds them all.
    folders : iterable of (Path, sequence of Path)
        Each folder with its files.

    Returns
    -------
    list of Pair, list of Unpaired
        One `Pair` for each image (images of one name are one), and the annotations that belong to none.
    """
    pairs: list[Pair] = []
    alone: list[Unpaired] = []
    for folder, files in folders:
        here = _of_one_name(folder, [f for f in files if is_image_name(f)])
        names = _Names.of(here)
        for file in files:
            if is_annotation_name(file):
                _give(file, names.meant_by(file), alone)
        pairs += here
    alone = _from_other_shelves(root, pairs, alone)
    for pair in pairs:
        pair.annotations.sort(key=lambda p: (ANNOTATION_SUFFIXES.index(whole_suffix(p).lower()), len(p.name), p.name))
    return pairs, alone


def _without_ome(stem: str) -> str:
    return stem[:-4] if stem.lower().endswith(".ome") and len(stem) > 4 else stem


def _annotation_keys(path: Path) -> list[str]:
    """Names of the image that an annotation may mean, the most exact first."""
    stem = unicodedata.normalize("NFC", whole_stem(path))
    found = [stem]
    inner = Path(stem)
    if is_image_name(inner):
        found.append(inner.stem)
    found += [_without_ome(key) for key in found]
    return list(dict.fromkeys(found))


def _of_one_name(folder: Path, images: Sequence[Path]) -> list[Pair]:
    """Put images of one name together; names that differ by case alone are one, unless they are of one format."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        by_name[image_key(image).casefold()].append(image)
    groups: list[list[Path]] = []
    for found in by_name.values():
        formats = [_format(p) for p in found]
        if len(set(formats)) == len(formats):
            groups.append(found)
            continue
        exact: dict[str, list[Path]] = defaultdict(list)
        for image in found:
            exact[image.stem].append(image)
        groups += exact.values()
    return [Pair(folder, sorted(g, key=_rank)) for g in groups]


def _format(image: Path) -> str:
    return f"{'.ome' if image.stem.lower().endswith('.ome') else ''}{image.suffix.lower()}"


def _rank(image: Path) -> tuple[int, bool, str]:
    return IMAGE_SUFFIXES.index(image.suffix.lower()), image.stem.lower().endswith(".ome"), image.name


@dataclass(frozen=True, slots=True)
class _Names:
    """Images by their name to the letter, by the name that is compared, and without regard to case."""

    tables: tuple[dict[str, list[Pair]], dict[str, list[Pair]], dict[str, list[Pair]]]

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> _Names:
        tables: tuple[dict[str, list[Pair]], ...] = ({}, {}, {})
        for pair in pairs:
            keys = {image_key(p) for p in pair.images}
            for table, names in zip(
                tables, ({p.stem for p in pair.images}, keys, {k.casefold() for k in keys}), strict=True
            ):
                for name in names:
                    table.setdefault(name, []).append(pair)
        return cls((tables[0], tables[1], tables[2]))

    def meant_by(self, annotation: Path) -> Sequence[Pair]:
        """The images that an annotation may mean: several where its name does not decide between them."""
        exact, same, folded = self.tables
        for key in _annotation_keys(annotation):
            for table, name in ((exact, whole_stem(annotation)), (same, key), (folded, key.casefold())):
                if found := table.get(name):
                    return found
        return ()


def _give(annotation: Path, meant: Sequence[Pair], alone: list[Unpaired]) -> None:
    if len(meant) == 1:
        meant[0].annotations.append(annotation)
    else:
        alone.append(Unpaired(annotation, tuple(p.images[0] for p in meant)))


def _from_other_shelves(root: Path, pairs: Sequence[Pair], alone: Sequence[Unpaired]) -> list[Unpaired]:
    """Pair what lies in folders that differ by their shelves alone: ``train/images/a.png``, ``train/labels/a.xml``."""
    waiting: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
    for pair in pairs:
        if not pair.annotations:
            waiting[_place(root, pair.folder)].append(pair)
    left: list[Unpaired] = []
    names = {place: _Names.of(pairs) for place, pairs in waiting.items()}
    for one in alone:
        known = names.get(_place(root, one.path.parent))
        meant = () if one.candidates or known is None else known.meant_by(one.path)
        if meant:
            _give(one.path, meant, left)
        else:
            left.append(one)
    return left


def _place(root: Path, folder: Path) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", p) for p in folder.relative_to(root).parts if not is_shelf(p))
