"""Which image it is, told by its pixels: a few parts are read and hashed, so that a slide costs no more than a crop."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Side of the parts of an image that are compared, px, and where they lie in it.
_PART_PX = 64
_PLACES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
#: Images of up to this many pixels are hashed whole.
_WHOLE_PX = 512 * 512

#: ``read(y, x, height, width)`` gives uint8 (height, width, 3).
Read = Callable[[int, int, int, int], NDArray[np.uint8]]


def _parts(shape: tuple[int, int], read: Read) -> Iterator[NDArray[np.uint8]]:
    height, width = (min(_PART_PX, n) for n in shape)
    for where in _PLACES:
        y, x = (max(0, min(int(n * w) - _PART_PX // 2, n - _PART_PX)) for n, w in zip(shape, where, strict=True))
        yield np.ascontiguousarray(read(y, x, height, width))


def image_identity(shape: tuple[int, int], read: Read, path: Path | None = None) -> str:
    """Size and hash of an image's pixels at five places, with the size of its file.

    Parameters
    ----------
    shape : (height, width)
        Of the image, px.
    read : callable
        ``read(y, x, height, width)`` gives RGB, uint8 (height, width, 3).
    path : Path, optional
        Its file.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in _parts(shape, read):
        digest.update(part.data)
    if path is not None and path.is_file():
        digest.update(str(path.stat().st_size).encode())
    return f"{shape[0]}x{shape[1]}-{digest.hexdigest()}"


def pixel_fingerprint(shape: tuple[int, int], read: Read) -> str:
    """Size and hash of an image's pixels alone: a copy has the same under any name and in any lossless format.

    Red and blue may be exchanged: whether they are is decided by patient, and a copy may lie with another one. An image
    of one colour has no fingerprint (an empty string), because all such images are alike.

    Parameters
    ----------
    shape, read
        See `image_identity`. Up to 512 x 512 px the whole image is hashed, else its five places.
    """
    digest, flat = hashlib.blake2b(digest_size=8), True
    parts = [np.ascontiguousarray(read(0, 0, *shape))] if shape[0] * shape[1] <= _WHOLE_PX else _parts(shape, read)
    first: Any = None
    for part in parts:
        first = part.flat[:3] if first is None else first
        flat = flat and bool((part == first).all())
        for plane in (part[..., 1], part[..., ::2].min(-1), part[..., ::2].max(-1)):
            digest.update(np.ascontiguousarray(plane).data)
    return "" if flat else f"{shape[0]}x{shape[1]}-{digest.hexdigest()}"
