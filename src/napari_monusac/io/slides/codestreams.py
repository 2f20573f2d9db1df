"""What JPEG and JPEG 2000 streams say about their size, before they are decoded; Aperio's YCbCr."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ycbcr_to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """ITU-R BT.601, full range: Aperio's 33003 keeps YCbCr inside the JPEG 2000 stream and no decoder undoes it."""
    y, cb, cr = (pixels[..., k].astype(np.float32) for k in range(3))
    cb, cr = cb - 128, cr - 128
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return np.asarray(np.clip(np.rint(rgb), 0, 255), np.uint8)


def jpeg2000_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in the SIZ marker (ISO 15444-1 A.5.1), or None."""
    at = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at < 0 or len(data) < at + 40:
        return None
    x1, y1, x0, y0 = (int.from_bytes(data[at + k : at + k + 4], "big") for k in (8, 12, 16, 20))
    components = int.from_bytes(data[at + 40 : at + 42], "big")
    return (y1 - y0, x1 - x0) if 1 <= components <= 4 and y1 > y0 and x1 > x0 else None


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in the frame header (ITU-T T.81 B.2.2), or None."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        elif marker in (0xD9, 0xDA):
            return None
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
