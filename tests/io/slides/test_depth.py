from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.io.slides.depth import on_glass, to_8_bits, white_note, white_of


@pytest.mark.parametrize(
    ("brightest", "white"),
    [(0, 255), (255, 255), (256, 1023), (1023, 1023), (3977, 4095), (4096, 16383), (16384, 65535), (65535, 65535)],
)
def test_white_is_the_next_depth_of_a_camera(brightest: int, white: int) -> None:
    assert white_of(brightest) == white
    assert bool(white_note(brightest, white)) == (white < 65535)


@pytest.mark.parametrize("white", [255, 1023, 4095, 65535])
def test_scaled_values_are_rounded_and_clipped(white: int) -> None:
    values = np.linspace(0, 65535, 4001).astype(np.uint16)
    want = np.clip(np.floor(values / white * 255 + 0.5), 0, 255)
    assert np.abs(to_8_bits(values, white).astype(int) - want).max() == 0


def test_clear_pixels_are_white_and_half_clear_ones_between() -> None:
    colour = np.array([[[0, 100, 200]] * 3], np.uint8)
    alpha = np.array([[0, 255, 128]], np.uint8)
    got = on_glass(colour, alpha)[0]
    assert got[0].tolist() == [255, 255, 255]
    assert got[1].tolist() == [0, 100, 200]
    assert got[2].tolist() == [round(c * 128 / 255 + 127) for c in (0, 100, 200)]
    multiplied = (colour.astype(int) * alpha[..., None] / 255).round().astype(np.uint8)
    assert np.abs(on_glass(multiplied, alpha, multiplied=True)[0].astype(int) - got).max() <= 1
