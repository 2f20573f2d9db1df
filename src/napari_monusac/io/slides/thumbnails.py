"""Small pictures of slides for the browser, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.files import atomic_write_bytes
from napari_monusac.core.settings import user_folder
from napari_monusac.io.slides.slide import Slide

_VERSION = 1
#: At most this many pixels are read for a thumbnail.
_MOST_READ_PX = 16 * 10**6


def thumbnails_folder() -> Path:
    """Folder of the thumbnails, in the cache folder."""
    return user_folder("cache") / "thumbnails"


def thumbnail(slide: Slide, size_px: int = 96) -> NDArray[np.uint8]:
    """Make a small picture of a slide, or fetch it from the cache.

    It is made from the slide's own pixels (the smallest level that is large enough), never from its thumbnail, label or
    macro page. Of a large image without smaller levels it shows the middle, until these were made.

    Parameters
    ----------
    slide : Slide
        The open slide.
    size_px : int
        Length of the longer side.

    Returns
    -------
    uint8 (y, x, 3)
        RGB.

    Raises
    ------
    SlideError
        The image is damaged.
    """
    cached = thumbnails_folder() / f"{_key(slide, size_px)}.png"
    known = _from_cache(cached)
    if known is not None:
        return known
    half = slide.growing is not None and not slide.growing.done
    made = _made(slide, slide.level_shapes[:1] if half else slide.level_shapes, size_px)
    if not half:
        _to_cache(cached, made)
    return made


def _key(slide: Slide, size_px: int) -> str:
    stat = slide.path.stat()
    parts = (_VERSION, slide.path.resolve(), stat.st_mtime_ns, stat.st_size, slide.channel_order, size_px)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _made(slide: Slide, shapes: Sequence[tuple[int, int]], size_px: int) -> NDArray[np.uint8]:
    import cv2

    level = max((k for k, shape in enumerate(shapes) if max(shape) >= size_px), default=0)
    height, width = shapes[level]
    y = x = 0
    if height * width > _MOST_READ_PX:
        side = int(_MOST_READ_PX**0.5)
        y, x = max(0, (height - side) // 2), max(0, (width - side) // 2)
        height, width = min(height, side), min(width, side)
    pixels = slide.read(y, x, height, width, level)
    scale = size_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(
        cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8
    )


def _from_cache(path: Path) -> NDArray[np.uint8] | None:
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    return None if picture is None else np.ascontiguousarray(picture[..., ::-1]).astype(np.uint8, copy=False)


def _to_cache(path: Path, picture: NDArray[np.uint8]) -> None:
    """Keep a thumbnail; a disk that is full or read-only only costs time the next time."""
    import cv2

    done, data = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(path, data.tobytes())
    except OSError:
        return
