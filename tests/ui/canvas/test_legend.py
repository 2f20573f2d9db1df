"""The legend on the canvas: it can be read on its colours, says whose counts it has, and is small where room is short."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel

from napari_monusac.core.classes import PALETTES
from napari_monusac.ui.canvas import canvas


def contrast(one, other):
    """WCAG's contrast ratio of two RGBA colours, 0 to 1."""

    def light(color):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in color[:3]]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", list(PALETTES))
def test_the_legend_can_be_read_and_says_that_it_counts_labels(palette):
    viewer = ViewerModel()
    canvas.show_legend(viewer, canvas.legend_entries({1: 3, -1: 2, 255: 1}, palette))
    overlays = {n: o for n, o in viewer.canvas.overlays.items() if n.startswith("monusac_legend_")}
    assert next(iter(overlays.values())).text.strip() == "labels"
    for overlay in overlays.values():
        assert contrast(overlay.color, overlay.box_color) > 4.5, overlay.text


def test_letters_are_smaller_on_a_narrow_canvas():
    viewer = ViewerModel()
    viewer.canvas.size = (800, 900)
    canvas.show_legend(viewer, canvas.legend_entries({}, "imagescope"))
    size = {o.font_size for n, o in viewer.canvas.overlays.items() if n.startswith("monusac_")}
    assert size == {11}
    viewer.canvas.size = (800, 420)
    size = {o.font_size for n, o in viewer.canvas.overlays.items() if n.startswith("monusac_")}
    assert size == {8}
