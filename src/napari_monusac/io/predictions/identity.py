"""Which image this is, by its pixels: a prediction that is stored is only ever used on the image it was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import StoreError
from napari_monusac.core.prediction import WHOLE_PX
from napari_monusac.io.predictions.store_info import PredictionIdentity, StoreInfo

#: Side of the parts of a large image that are compared, px, and where they lie in it.
_PART_PX = 64
_PLACES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
_BLOCK_ROWS = 1024
#: Images of up to this many pixels are hashed whole for a fingerprint.
_FINGERPRINT_PX = 512 * 512

#: ``read(y, x, height, width)`` gives RGB, uint8 (height, width, 3).
Read = Callable[[int, int, int, int], NDArray[np.uint8]]

UNKNOWN_IMAGE = "does not say of which image it is"
_MEND = "predict this image again, or choose the prediction that was made of it"


class Pixels(Protocol):
    """What has pixels: a slide, a source of the network, or `ArrayPixels`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        ...

    @property
    def path(self) -> Path | None:
        """The file, where there is one."""
        ...

    @property
    def read(self) -> Read:
        """``read(y, x, height, width)`` gives uint8 (height, width, 3), RGB."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPixels:
    """The pixels of an array that was read from a file.

    Attributes
    ----------
    array : uint8 (y, x, 3 or 4)
        RGB; dask will do.
    path : Path or None
        The file.
    """

    array: Any
    path: Path | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return int(self.array.shape[0]), int(self.array.shape[1])

    def read(self, y: int, x: int, height: int, width: int) -> NDArray[np.uint8]:
        """Read a region, uint8 (height, width, 3)."""
        return np.asarray(self.array[y : y + height, x : x + width, :3], np.uint8)


@dataclass(frozen=True, slots=True)
class ImageIdentity:
    """An image by its pixels.

    Attributes
    ----------
    sample : str
        Size, and a hash of five small places with the size of the file.
    whole : str
        Hash of all pixels; empty of images above 4096 x 4096 px, which are too slow to be read for it.
    """

    sample: str
    whole: str = ""

    @classmethod
    def of(cls, image: Pixels) -> ImageIdentity:
        """Read what identifies an image.

        Raises
        ------
        SlideError
            Its pixels cannot be read.
        """
        return cls(_sample(image, _file_size(image)), _whole(image))


@dataclass(frozen=True, slots=True)
class ImageMatch:
    """Whether a stored prediction is of an image.

    Attributes
    ----------
    same : bool or None
        None: the store was written without saying of which image it is.
    words : str
        What differs, or what is not known; empty where all is well.
    """

    same: bool | None
    words: str = ""


def match_image(info: StoreInfo, *images: Pixels) -> ImageMatch:
    """Compare the image that a prediction was made of with an image that it is to be used on.

    Red and blue may stand the other way round: which way is right is decided by patient, and may have been overruled.

    Parameters
    ----------
    info : StoreInfo
        What the store says of itself.
    *images : Pixels
        The image; several where it can be had in several ways (what a window shows of it, its file).

    Raises
    ------
    SlideError
        Its pixels cannot be read.
    """
    found = info.identity
    if found is None or not found.image:
        return ImageMatch(None, UNKNOWN_IMAGE)
    if any(_same(found, image) for image in images):
        return ImageMatch(True)
    made_of = info.image or "an image that came from no file"
    size = found.image.rpartition("-")[0].replace("x", " x ")
    ours = " x ".join(map(str, images[0].shape)) if images else ""
    if images and size and size != ours:
        return ImageMatch(
            False, f"was made of {made_of} when that had {size} px (height x width), this image has {ours}"
        )
    return ImageMatch(False, f"was made of other pixels than those of this image (of {made_of}, as it was then)")


def check_image(path: str | Path, info: StoreInfo, *images: Pixels, unknown: bool = True) -> ImageMatch:
    """Refuse a stored prediction of another image.

    Parameters
    ----------
    path : str or Path
        The store, for the message.
    info, images
        See `match_image`.
    unknown : bool
        Whether a store that does not say of which image it is may be used.

    Raises
    ------
    StoreError
        It is of another image, or, without `unknown`, does not say of which.
    """
    match = match_image(info, *images)
    if match.same is False or (match.same is None and not unknown):
        raise StoreError(path, match.words, _MEND)
    return match


def _same(found: PredictionIdentity, image: Pixels) -> bool:
    if found.pixels:
        if not found.image.startswith(f"{image.shape[0]}x{image.shape[1]}-"):
            return False
        return found.pixels in (_whole(image), _whole(image, turned=True))
    # the file may be gone from what is shown now, or have been unknown then
    sizes = dict.fromkeys((_file_size(image), None))
    return any(found.image == _sample(image, size, turned=turned) for size in sizes for turned in (False, True))


def _file_size(image: Pixels) -> int | None:
    return image.path.stat().st_size if image.path is not None and image.path.is_file() else None


def _parts(shape: tuple[int, int], read: Read) -> Iterator[NDArray[np.uint8]]:
    """Five small places of an image, so that a slide costs no more than a crop."""
    height, width = (min(_PART_PX, n) for n in shape)
    for where in _PLACES:
        y, x = (max(0, min(int(n * w) - _PART_PX // 2, n - _PART_PX)) for n, w in zip(shape, where, strict=True))
        yield read(y, x, height, width)


def _sample(image: Pixels, file_size: int | None, *, turned: bool = False) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in _parts(image.shape, image.read):
        digest.update(_bytes(part, turned=turned))
    if file_size is not None:
        digest.update(str(file_size).encode())
    return f"{image.shape[0]}x{image.shape[1]}-{digest.hexdigest()}"


def _whole(image: Pixels, *, turned: bool = False) -> str:
    height, width = image.shape
    if height * width > WHOLE_PX:
        return ""
    digest = hashlib.blake2b(f"{height}x{width}".encode(), digest_size=16)
    for y, rows in _bands(height):
        digest.update(_bytes(image.read(y, 0, rows, width), turned=turned))
    return digest.hexdigest()


def _bands(height: int) -> Iterator[tuple[int, int]]:
    for y in range(0, height, _BLOCK_ROWS):
        yield y, min(_BLOCK_ROWS, height - y)


def _bytes(pixels: NDArray[np.uint8], *, turned: bool) -> memoryview:
    return np.ascontiguousarray(pixels[..., ::-1] if turned else pixels).data


def pixel_fingerprint(shape: tuple[int, int], read: Read) -> str:
    """Return size and hash of an image's pixels alone: a copy has the same under any name and in any lossless format.

    Red and blue may be exchanged: whether they are is decided by patient, and a copy may lie with another one. An image
    of one colour has no fingerprint (an empty string), because all such images are alike.

    Parameters
    ----------
    shape : (height, width)
        Of the image, px. Up to 512 x 512 px all of it is hashed, else five small places.
    read : callable
        ``read(y, x, height, width)`` gives RGB, uint8 (height, width, 3).
    """
    digest, flat = hashlib.blake2b(digest_size=8), True
    whole = shape[0] * shape[1] <= _FINGERPRINT_PX
    first: Any = None
    for part in (np.ascontiguousarray(p) for p in ([read(0, 0, *shape)] if whole else _parts(shape, read))):
        first = part.flat[:3] if first is None else first
        flat = flat and bool((part == first).all())
        for plane in (part[..., 1], part[..., ::2].min(-1), part[..., ::2].max(-1)):
            digest.update(np.ascontiguousarray(plane).data)
    return "" if flat else f"{shape[0]}x{shape[1]}-{digest.hexdigest()}"


def nuclei_digest(instances: Any) -> str:
    """Return a short hash of an instance map: numbers of nuclei count in this map, and in no other.

    Parameters
    ----------
    instances : integers (y, x)
        The whole map of a prediction, 0 is background.
    """
    values = np.asarray(instances)
    digest = hashlib.blake2b("x".join(map(str, values.shape)).encode(), digest_size=16)
    for y in range(0, len(values), _BLOCK_ROWS):
        digest.update(np.ascontiguousarray(values[y : y + _BLOCK_ROWS], np.int64).data)
    return digest.hexdigest()
