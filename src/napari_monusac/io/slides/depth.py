"""Pixels of more or fewer than 8 bits, and transparent ones, as 8 bits on white glass; what to say of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bits that cameras have; fewer are not told apart from a dark image of the next.
_BITS = (8, 10, 12, 14, 16)


def white_of(brightest: int) -> int:
    """The value that stands for white, from the brightest pixel of an image: 255, 1023, 4095, 16383 or 65535.

    A slide has glass, which is nearly white; so 4095 is 12 bits and not a very dark image of 16.
    """
    return next((2**bits - 1 for bits in _BITS if brightest < 2**bits), 65535)


def white_note(brightest: int, white: int) -> tuple[str, ...]:
    """What to tell the user where the white was taken from the pixels."""
    bits = white.bit_length()
    if bits == 16:
        return ()
    return (f"16-bit pixels reach {brightest} only, and the file does not say why: read as {bits} bits",)


def turned_note(orientation: int | None) -> tuple[str, ...]:
    """What to tell the user of an image that asks to be turned or mirrored when it is shown (TIFF's and EXIF's tag).

    It is read as it is stored: slide viewers heed no such tag, and annotations count stored rows and columns.
    """
    if orientation not in range(2, 9):
        return ()
    how = "mirrored" if orientation in (2, 4, 5, 7) else "turned"
    return (
        f"the file asks to be shown {how} (orientation {orientation}): its pixels are taken as they are stored; where the "
        "annotation then lies wrong, save the image anew without that tag",
    )


def to_8_bits(pixels: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """Scale pixels so that `white` becomes 255; what is above it is white too.

    Parameters
    ----------
    pixels : uint8 or uint16
        Any shape.
    white : int
        Largest value, 1 or more.
    """
    if pixels.dtype == np.uint8 and white == 255:
        return np.asarray(pixels, np.uint8)
    values = np.arange(1 << (8 * pixels.dtype.itemsize), dtype=np.int64)
    table = np.minimum((values * 255 + white // 2) // white, 255).astype(np.uint8)
    return np.asarray(table[pixels], np.uint8)


def on_glass(colour: NDArray[np.uint8], alpha: NDArray[np.uint8], *, multiplied: bool = False) -> NDArray[np.uint8]:
    """Lay partly transparent pixels on white.

    Parameters
    ----------
    colour : uint8 (y, x, channels)
        Colours.
    alpha : uint8 (y, x)
        0 is clear, 255 opaque.
    multiplied : bool
        Whether the colours were multiplied by alpha already (TIFF's associated alpha).
    """
    if alpha.size == 0 or alpha.min() == 255:
        return colour
    cover = alpha[..., None].astype(np.uint32)
    tinted = colour.astype(np.uint32) * (255 if multiplied else cover)
    return np.asarray(np.minimum((tinted + (255 - cover) * 255 + 127) // 255, 255), np.uint8)
