"""The picture with scale bar and legend, read back as XML."""

from __future__ import annotations

import base64
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest

from napari_monusac.app.snapshot import CanvasPicture, LegendLine, bar_length_um, length_text, svg_of

SVG = "{http://www.w3.org/2000/svg}"


def picture(height=300, width=400):
    y, x = np.mgrid[:height, :width]
    return np.stack([y % 256, x % 256, (y + x) % 256], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("most", "um", "text"),
    [(99.9, 50, "50 µm"), (100, 100, "100 µm"), (49, 20, "20 µm"), (1.99, 1, "1 µm"), (0.5, 0.5, "500 nm"),
     (2300, 2000, "2 mm"), (7, 5, "5 µm"), (1e-2, 1e-2, "10 nm")],
)  # fmt: skip
def test_a_bar_is_the_longest_round_length(most, um, text):
    assert bar_length_um(most) == pytest.approx(um)
    assert length_text(bar_length_um(most)) == text


@pytest.mark.parametrize("um_per_px", [0.05, 0.25, 0.5, 1.3, 7.77])
def test_the_bar_is_as_long_as_it_says(um_per_px):
    root = ET.fromstring(svg_of(CanvasPicture(picture(), um_per_px)))
    (bar,) = (r for r in root.iter(f"{SVG}rect") if r.get("class") == "scale")
    (words,) = (t.text for t in root.iter(f"{SVG}text"))
    number, unit = words.split()
    um = float(number) * {"nm": 1e-3, "µm": 1, "mm": 1e3}[unit]
    assert float(bar.get("width")) * um_per_px == pytest.approx(um, rel=1e-3)
    assert 400 / 5 / 2.5 - 1 <= float(bar.get("width")) <= 400 / 5 + 1
    left, right = float(bar.get("x")), float(bar.get("x")) + float(bar.get("width"))
    assert left > 200
    assert right < 400, "within the picture"


def test_the_pixels_are_those_of_the_window_and_nothing_is_said_without_a_scale():
    root = ET.fromstring(svg_of(CanvasPicture(picture(), None, title="A & B <1>")))
    assert root.findtext(f"{SVG}title") == "A & B <1>"
    (image,) = root.iter(f"{SVG}image")
    content = base64.b64decode(image.get("{http://www.w3.org/1999/xlink}href").partition(",")[2])
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(decoded, picture())
    assert not list(root.iter(f"{SVG}text"))


def test_the_legend_has_each_line_in_its_colour():
    lines = (LegendLine("labels"), LegendLine("Epithelial  12", (255, 0, 0)), LegendLine("T & B", (1, 2, 3)))
    root = ET.fromstring(svg_of(CanvasPicture(picture(), None, lines)))
    assert [t.text for t in root.iter(f"{SVG}text")] == ["labels", "Epithelial  12", "T & B"]
    colors = [r.get("fill") for r in root.iter(f"{SVG}rect")]
    assert colors[1:] == ["#ff0000", "#010203"]
