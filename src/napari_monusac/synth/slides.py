"""Image files as MoNuSAC has them: Aperio JPEG 2000 .svs, and the .tif with red and blue swapped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_monusac.core.files import atomic_write

_TILE = 240
_PARENT = (60000, 80000)
_LIBRARY = "Aperio Image Library v12.4.0 \r\n"


def write_svs(
    image: NDArray[np.uint8], path: str | Path, *, um_per_px: float = 0.25, origin_px: tuple[int, int] = (0, 0)
) -> None:
    """Write a single-level Aperio .svs: JPEG 2000 tiles of 240 px, then thumbnail, label and macro pages.

    Parameters
    ----------
    image : uint8 (y, x, 3)
        RGB.
    path : str or Path
        Where to; replaced when it is there.
    um_per_px : float
        Micrometres per pixel, into ``MPP``; ``AppMag`` follows (10 / um).
    origin_px : tuple of int
        (y, x) of the crop in its parent slide, level-0 px.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    height, width = image.shape[:2]
    magnification = round(10 / um_per_px)
    tail = f"|AppMag = {magnification}|MPP = {um_per_px:g}|OriginalWidth = {_PARENT[1]}|OriginalHeight = {_PARENT[0]}"
    where = f"[{origin_px[1]},{origin_px[0]} {width}x{height}]"
    first = f"{_LIBRARY}{_PARENT[1]}x{_PARENT[0]} {where} ({_TILE}x{_TILE}) J2K/KDU Q=70;Synthetic tissue{tail}"
    small = np.asarray(cv2.resize(image, _fit(width, height, 768), interpolation=cv2.INTER_AREA), np.uint8)
    size = f"{width}x{height} -> {small.shape[1]}x{small.shape[0]}"
    with atomic_write(path) as temporary, tifffile.TiffWriter(temporary) as tif:
        tif.write(
            _tiles(image),
            shape=image.shape,
            dtype=np.uint8,
            tile=(_TILE, _TILE),
            compression=tifffile.COMPRESSION.APERIO_JP2000_RGB,
            photometric="rgb",
            description=first,
            metadata=None,
            software=False,
        )
        _plain_page(tif, small, f"{_LIBRARY}{size} - ;Synthetic tissue{tail}", 0)
        _plain_page(tif, _card("LABEL", (120, 160)), f"{_LIBRARY}label 160x120", 1)
        _plain_page(tif, _card("MACRO", (160, 340)), f"{_LIBRARY}macro 340x160", 9)


def write_swapped_tif(image: NDArray[np.uint8], path: str | Path) -> None:
    """Write an RGBA .tif, LZW, with red and blue swapped, as the official test images are.

    Parameters
    ----------
    image : uint8 (y, x, 3)
        RGB.
    path : str or Path
        Where to; replaced when it is there.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
    swapped = np.concatenate([image[..., ::-1], opaque], axis=2)
    with atomic_write(path) as temporary:
        tifffile.imwrite(
            temporary, swapped, photometric="rgb", extrasamples=["unassalpha"], compression="lzw", metadata=None
        )


def _fit(width: int, height: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _tiles(image: NDArray[np.uint8]) -> Iterator[bytes]:
    """JPEG 2000 code streams in row order; what sticks out of the image is white."""
    height, width = image.shape[:2]
    for y in range(0, height, _TILE):
        for x in range(0, width, _TILE):
            tile = np.full((_TILE, _TILE, 3), 255, np.uint8)
            part = image[y : y + _TILE, x : x + _TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            yield bytes(imagecodecs.jpeg2k_encode(tile, level=45, codecformat="j2k", reversible=False))


def _plain_page(tif: tifffile.TiffWriter, image: NDArray[np.uint8], description: str, kind: int) -> None:
    tif.write(
        image,
        compression="lzw" if kind else "jpeg",
        photometric="rgb",
        description=description,
        metadata=None,
        subfiletype=kind,
        software=False,
    )


def _card(text: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A stand-in for the slide's label and macro photographs, which no reader may show."""
    card = np.full((*shape, 3), (40, 200, 40), np.uint8)
    cv2.putText(card, text, (8, shape[0] // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2)
    return card
