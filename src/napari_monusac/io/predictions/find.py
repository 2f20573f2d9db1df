"""Where the prediction of a crop lies: by one table of names and forms, in a folder or near a crop."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from napari_monusac.core.class_mapping import BY_NAME, ClassMapping
from napari_monusac.core.errors import FileProblem, MonusacError
from napari_monusac.io.outputs import REVIEW_FOLDER
from napari_monusac.io.predictions.class_mapping import mapping_beside
from napari_monusac.io.predictions.identity import Pixels, match_image
from napari_monusac.io.predictions.maskfiles import LABEL_SUFFIXES, is_label_map
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store_info import model_name

#: Endings of a prediction's name, the first that is there is taken; "/" is a folder of n-ary masks. Cellpose writes
#: _cp_masks and _seg.npy, CellViT cells.json into a folder that bears the slide's name.
FORMS = (
    ".zarr", "_instances.tif", "_instances.tiff", "_instances.png", "_instances.npy", "_cp_masks.tif", "_cp_masks.png",
    "_seg.npy", *LABEL_SUFFIXES, ".xml", ".geojson", ".geojson.gz", ".json", ".json.gz", "_cells.json", "/cells.json",
    "/cells.geojson", ".mat", "/",
)  # fmt: skip
#: For a person whose predictions are not found.
FORMS_IN_WORDS = (
    "NAME.zarr, NAME_instances.tif or NAME.tif, .png, .npy (label map; classes in NAME.csv with label and class, or in "
    "NAME_semantic.tif), NAME_cp_masks.tif or NAME_seg.npy (Cellpose), NAME.xml, NAME.geojson (or .geojson.gz), NAME.json "
    "(HoVer-Net, CellViT, HistomicsUI, COCO), NAME.mat (HoVer-Net), NAME/cells.json (CellViT), or NAME/<class>/*.mat, NAME "
    "being that of the crop"
)
#: Folders in a folder of predictions that are looked into near a crop, at most: it may be somebody's home.
_MOST_FOLDERS = 200


class CropFiles(Protocol):
    """What has a prediction: a crop of a collection."""

    @property
    def name(self) -> str:
        """Its name, with folders before it where another has it too."""
        ...

    @property
    def image(self) -> Path:
        """Its image."""
        ...

    @property
    def annotation(self) -> Path | None:
        """Its annotation, if there is one."""
        ...


def names_of(name: str, image: Path) -> tuple[str, ...]:
    """Return what the prediction of a crop may be called, without ending.

    A name with folders in it (crops of the same name) is never looked for by its last part: another has it too.
    """
    return tuple(dict.fromkeys((name, name.replace("/", "_"), f"{image.parent.name}__{image.name}")))


class PredictionFolder:
    """Finds the predictions of a folder, and of the folders in it.

    Parameters
    ----------
    root : str or Path
        The folder.
    mapping : ClassMapping, optional
        What the classes of other programs mean; by default what ``class_mapping.csv`` in the folder says, for each
        prediction that which lies beside it.

    Raises
    ------
    FileProblem
        There is no such folder.
    """

    def __init__(self, root: str | Path, mapping: ClassMapping | None = None) -> None:
        self.root, self._mapping = Path(root), mapping
        if not self.root.is_dir():
            raise FileProblem(self.root, "is no folder", "give the folder that holds the predictions")
        self._paths: dict[str, Path] = {}
        for folder, names, files in os.walk(self.root):
            here = Path(folder)
            for name in [*names, *files]:
                path = here / name
                end = "/" if name in names and not name.endswith(".zarr") else ""
                self._paths.setdefault(name + end, path)
                self._paths.setdefault(path.relative_to(self.root).as_posix() + end, path)
            names[:] = sorted(n for n in names if not n.startswith(".") and not n.endswith((".zarr", REVIEW_FOLDER)))

    def mapping(self, path: Path) -> ClassMapping:
        """What the classes of a prediction of this folder mean.

        Raises
        ------
        FileProblem
            ``class_mapping.csv`` is damaged.
        """
        if self._mapping is not None:
            return self._mapping
        beside = mapping_beside(path)
        return beside if beside is not BY_NAME else mapping_beside(self.root / path.name)

    def find(self, crop: CropFiles) -> Path | None:
        """The prediction of a crop; never its truth or image, where both folders are one. None where there is none."""
        path = self._find(names_of(crop.name, crop.image))
        own = {p.resolve() for p in (crop.image, crop.annotation) if p is not None}
        return None if path is not None and path.resolve() in own else path

    def _find(self, names: tuple[str, ...]) -> Path | None:
        for name in names:
            for form in FORMS:
                path = self._paths.get(name + form)
                if path is not None and self._is_prediction(name, form, path):
                    return path
        for name in names:
            for suffix in LABEL_SUFFIXES:  # last: it may be an image all the same
                path = self._paths.get(name + suffix)
                if path is not None and is_label_map(path):
                    return path
        return None

    def _is_prediction(self, name: str, form: str, path: Path) -> bool:
        if form == "/":
            return any(path.glob("*/*.mat"))
        if form in LABEL_SUFFIXES:  # an image of that name is no prediction, unless its classes lie beside it
            return any(name + beside in self._paths for beside in (".csv", *(f"_semantic{s}" for s in LABEL_SUFFIXES)))
        return True


@dataclass(frozen=True, slots=True)
class FoundStore:
    """A store that bears the name of a crop.

    Attributes
    ----------
    path : Path
        The ``.zarr`` folder.
    model : str
        The checkpoint's name, for people; empty where the store does not say.
    modified : float
        When it was written, seconds since 1970.
    same_image : bool or None
        Whether it is of the crop's image, by its pixels; None where the store does not say of which it is, or nobody
        asked.
    """

    path: Path
    model: str
    modified: float
    same_image: bool | None = None


def stores_near(folders: Iterable[Path], names: Iterable[str], images: Sequence[Pixels] = ()) -> tuple[FoundStore, ...]:
    """Find the stores of a crop in folders where they may lie, newest first.

    Parameters
    ----------
    folders : iterable of Path
        Where to look: in each of them, and in the folders that lie in it.
    names : iterable of str
        What the crop's store may be called (`names_of`).
    images : sequence of Pixels
        The crop's image, to tell predictions of another image of this name.
    """
    wanted, found = list(dict.fromkeys(names)), {}
    for folder in dict.fromkeys(Path(f) for f in folders):
        for place in _and_inside(folder):
            for name in wanted:
                path = place / f"{name}.zarr"
                if path.is_dir() and path.resolve() not in found:
                    one = _store(path, images)
                    if one is not None:
                        found[path.resolve()] = one
    return tuple(sorted(found.values(), key=lambda one: -one.modified))


def _and_inside(folder: Path) -> Iterator[Path]:
    yield folder
    try:
        inside = [p for p in folder.iterdir() if p.suffix != ".zarr" and not p.name.startswith(".") and p.is_dir()]
    except OSError:  # no such folder, or not ours to look into
        return
    yield from sorted(inside)[:_MOST_FOLDERS]


def _store(path: Path, images: Sequence[Pixels]) -> FoundStore | None:
    try:
        info = PredictionStore.open(path).info
    except MonusacError:  # a .zarr folder of somebody else
        return None
    same = match_image(info, *images).same if images else None
    return FoundStore(path, model_name(info.checkpoint), path.stat().st_mtime, same)
