"""Images in OME-Zarr (0.1 to 0.5): red, green and blue, or grey, as a pyramid; looked at before zarr opens them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import SlideError
from napari_monusac.io.scale import Scale, scale_of_sides, unit_um
from napari_monusac.io.slides.content import SlideContent
from napari_monusac.io.slides.depth import on_glass, to_8_bits, white_note, white_of
from napari_monusac.io.slides.segments import budget_bytes
from napari_monusac.io.slides.tags import SlideTags
from napari_monusac.io.slides.tiff_pages import names_dyes
from napari_monusac.io.slides.tiles import TILES, TileGrid, new_owner
from napari_monusac.io.zarr_arrays import check_array, check_old_array, read_metadata

#: Codecs that pack and unpack bytes; none of them runs code, as pickle does.
_CODECS = frozenset(("bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed"))
_OLD_CODECS = frozenset(("blosc", "zlib", "gzip", "zstd", "lz4"))
_OUR_KEY = "napari-monusac"
_MEND = "export it anew as OME-Zarr with red, green and blue of 8 bits"
_COPY_AGAIN = "the store is damaged: copy it again"
_MOST_LEVELS = 32
_TILE_PX = 512
#: Axes of versions that name none.
_OLD_AXES = ("t", "c", "z", "y", "x")


@dataclass(frozen=True, slots=True)
class _Image:
    """The group of an image: its attributes, and those of OME within."""

    folder: Path
    version: int
    ome: Mapping[str, Any]


def is_image_store(path: Path) -> bool:
    """Whether a folder is an OME-Zarr image, and no prediction of ours; only its attributes are read."""
    try:
        return _image(path) is not None
    except SlideError:
        return False


def open_ome_zarr(path: Path) -> SlideContent:
    """Open an OME-Zarr image: the folder, or (of bioformats2raw) the folder around it.

    Raises
    ------
    SlideError
        It is a prediction or a plate, holds no red, green and blue, is damaged, or is packed with a codec that is not
        known to be safe.
    """

    def refuse(problem: str) -> SlideError:
        return SlideError(path, problem, _MEND)

    image = _image(path)
    if image is None:
        raise SlideError(path, "is no OME-Zarr image (a prediction, a plate or labels)", "open the image itself")
    multiscale = _first(image.ome.get("multiscales"))
    axes = _axes(multiscale)
    datasets = multiscale.get("datasets")
    if not isinstance(datasets, list) or not datasets or (axes[-2:] != ("y", "x") and set("yx") - set(axes)):
        raise refuse("lists no levels of an image")
    arrays = [_array(path, image, dataset, len(axes)) for dataset in datasets[:_MOST_LEVELS]]
    names = _channel_names(image.ome)
    notes = _check_axes(arrays[0].shape, axes, names, refuse)
    owner = new_owner()
    levels: list[ZarrLevel] = []
    for k, array in enumerate(arrays):
        made = ZarrLevel(path, array, axes, (owner, k))
        if not levels or (made.shape[0] < levels[-1].shape[0] and made.shape[1] < levels[-1].shape[1]):
            levels.append(made)
    notes += _settle_white(levels)
    return SlideContent(
        "ome-zarr", tuple(levels), SlideTags(), _scale(multiscale, axes, datasets[0]), notes=notes,
        close=lambda: TILES.forget(owner),
    )  # fmt: skip


def _image(path: Path) -> _Image | None:
    """The group of the image in a store; None where there is none.

    Raises
    ------
    SlideError
        Its metadata are damaged.
    """

    def refuse(problem: str) -> SlideError:
        return SlideError(path, problem, _COPY_AGAIN)

    for folder in (path, path / "0"):
        for version, name in ((3, "zarr.json"), (2, ".zattrs")):
            if not (folder / name).is_file():
                continue
            node = read_metadata(folder / name, name, refuse)
            found = node if version == 2 else node.get("attributes")
            attributes: Mapping[str, Any] = found if isinstance(found, dict) else {}
            own = attributes.get("ome")
            ome: Mapping[str, Any] = own if isinstance(own, dict) else attributes
            if {_OUR_KEY, "image-label", "plate"} & {*attributes, *ome}:
                return None
            if isinstance(ome.get("multiscales"), list):
                return _Image(folder, version, ome)
    return None


def _first(values: Any) -> Mapping[str, Any]:
    found = values[0] if isinstance(values, list) and values else {}
    return found if isinstance(found, dict) else {}


def _axes(multiscale: Mapping[str, Any]) -> tuple[str, ...]:
    axes = multiscale.get("axes")
    if not isinstance(axes, list):
        return _OLD_AXES
    return tuple(str(a.get("name") if isinstance(a, dict) else a).casefold() for a in axes)


def _array(path: Path, image: _Image, dataset: Any, axes: int) -> Any:
    """Open the array of a level, once its metadata were looked at."""
    import zarr

    def refuse(problem: str) -> SlideError:
        return SlideError(path, problem, _MEND)

    name = dataset.get("path") if isinstance(dataset, dict) else None
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    if not parts or ".." in parts or PurePosixPath(str(name)).is_absolute() or "\\" in str(name) or ":" in str(name):
        raise refuse(f"a level has the path {str(name)[:40]!r}")
    folder = image.folder.joinpath(*parts)
    file = folder / ("zarr.json" if image.version == 3 else ".zarray")
    node = read_metadata(file, f"{name}/{file.name}", lambda problem: SlideError(path, problem, _COPY_AGAIN))
    if image.version == 3:
        check_array(node, str(name), _CODECS, refuse)
        if node.get("data_type") not in ("uint8", "uint16"):
            raise refuse(f"{name}: pixels of the type {str(node.get('data_type'))[:20]}")
    else:
        check_old_array(node, str(name), _OLD_CODECS, refuse)
    if len(node["shape"]) != axes or min(node["shape"], default=0) < 1:
        raise refuse(f"{name}: an image of {node['shape']} for {axes} axes")
    try:
        return zarr.open_array(folder, mode="r", zarr_format=3 if image.version == 3 else 2)
    except Exception as error:
        raise SlideError(path, f"{name}: cannot be opened ({_reason(error)})", _COPY_AGAIN) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _channel_names(ome: Mapping[str, Any]) -> list[str]:
    omero = ome.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    return [str(c.get("label", "")) for c in channels if isinstance(c, dict)] if isinstance(channels, list) else []


def _check_axes(shape: Sequence[int], axes: tuple[str, ...], names: list[str], refuse: Any) -> tuple[str, ...]:
    """What to say of an image's axes; those that are no red, green and blue of one plane are refused or said."""
    sizes = dict(zip(axes, shape, strict=True))
    channels = sizes.get("c", 1)
    if channels not in (1, 3, 4) or (channels > 1 and names_dyes(names)):
        called = f" ({', '.join(n for n in names if n)[:80]})" if any(names) else ""
        raise refuse(f"holds {channels} channels{called}: no red, green and blue of a stained slide")
    notes = []
    if channels == 1:
        notes.append("the image is grey: nuclei are told apart without the colours of the stain")
    planes = int(np.prod([n for a, n in sizes.items() if a not in "cyx"], dtype=np.int64))
    if planes > 1:
        notes.append(f"the file is a stack of {planes} images: only the first is read")
    return tuple(notes)


def _scale(multiscale: Mapping[str, Any], axes: tuple[str, ...], dataset: Mapping[str, Any]) -> Scale:
    """Micrometres per px of level 0, by the scales of the level and of the pyramid."""
    factors = np.ones(len(axes))
    for holder in (dataset, multiscale):
        transforms = holder.get("coordinateTransformations")
        for one in transforms if isinstance(transforms, list) else ():
            values = one.get("scale") if isinstance(one, dict) and one.get("type") == "scale" else None
            if isinstance(values, list) and len(values) == len(axes):
                factors = factors * [float(v) if isinstance(v, int | float) else np.nan for v in values]
    stated = multiscale.get("axes")
    sides: dict[str, float | None] = {"y": None, "x": None}
    for axis, factor in zip(stated if isinstance(stated, list) else (), factors, strict=False):
        name = str(axis.get("name", "")).casefold() if isinstance(axis, dict) else ""
        length = unit_um(str(axis.get("unit", ""))) if name in sides else None
        if length is not None and np.isfinite(factor) and factor > 0:
            sides[name] = float(factor) * length
    return scale_of_sides(sides["y"], sides["x"], "OME-Zarr")


def _settle_white(levels: Sequence[ZarrLevel]) -> tuple[str, ...]:
    """Settle how bright white is in 16 bits, from the smallest level."""
    last = levels[-1]
    if last.dtype == np.uint8:
        return ()
    rows, columns = (min(n, 2048) for n in last.shape)
    brightest = int(last.stored(0, 0, rows, columns)[..., :3].max(initial=0))
    white = white_of(brightest)
    for level in levels:
        level.white = white
    return white_note(brightest, white)


class ZarrLevel:
    """A level as an array-like of uint8 (y, x, 3).

    Parameters
    ----------
    path : Path
        The store, for messages.
    array : zarr.Array
        The level.
    axes : tuple of str
        Names of its axes.
    key : tuple of int
        Under which decoded tiles are kept: the file and the level.
    """

    def __init__(self, path: Path, array: Any, axes: tuple[str, ...], key: tuple[int, int]) -> None:
        self._path, self._array, self._axes = path, array, axes
        sizes = dict(zip(axes, array.shape, strict=True))
        chunks = dict(zip(axes, array.chunks, strict=True))
        self.shape: tuple[int, int] = (int(sizes["y"]), int(sizes["x"]))
        self.dtype = np.dtype(array.dtype.newbyteorder("="))
        self.white = 255 if self.dtype == np.uint8 else 65535
        self._channels = int(sizes.get("c", 1))
        # small chunks are decoded several at once
        tile = [
            min(n, int(chunks[a]) * max(1, _TILE_PX // int(chunks[a]))) for a, n in zip("yx", self.shape, strict=True)
        ]
        need = (
            tile[0] * tile[1] * self.dtype.itemsize * int(np.prod([int(c) for a, c in chunks.items() if a not in "yx"]))
        )
        if need > budget_bytes():
            problem = f"one chunk holds {tile[1]} x {tile[0]} px, more than fits into memory"
            raise SlideError(path, problem, "write it with smaller chunks")
        self.segment_shape: tuple[int, int] = (tile[0], tile[1])
        self.tiles = TileGrid(self.shape, self.segment_shape, self._tile, *key)

    def stored(self, y: int, x: int, height: int, width: int) -> NDArray[Any]:
        """Read a region as it is stored: (height, width, channels).

        Raises
        ------
        SlideError
            A chunk is damaged.
        """
        where = {"y": slice(y, y + height), "x": slice(x, x + width), "c": slice(None)}
        kept = [a for a in self._axes if a in where]
        try:
            values = np.asarray(self._array[tuple(where.get(a, 0) for a in self._axes)])
        except Exception as error:
            problem = f"cannot be read at ({x}, {y}) px ({_reason(error)})"
            raise SlideError(self._path, problem, _COPY_AGAIN) from error
        values = values if "c" in kept else values[..., None]
        order = [*kept, *(() if "c" in kept else ("c",))]
        return np.ascontiguousarray(values.transpose([order.index(a) for a in "yxc"]), self.dtype)

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read a region that lies inside: uint8 (height, width, 3).

        Raises
        ------
        SlideError
            A chunk is damaged.
        """
        return self.tiles.read(y, x, height, width)

    def _tile(self, index: int) -> NDArray[np.uint8]:
        values = to_8_bits(self.stored(*self.tiles.place(index)), self.white)
        if self._channels == 1:
            return np.repeat(values, 3, axis=-1)
        return np.ascontiguousarray(on_glass(values[..., :3], values[..., 3]) if self._channels == 4 else values)
