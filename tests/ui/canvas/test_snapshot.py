"""The picture of the canvas in a real window: as it is seen, with the scale and the legend read off."""

from __future__ import annotations

import re

import cv2
import numpy as np

from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.snapshot import take


def test_a_picture_is_what_is_seen_and_nothing_stays_hidden(opened, viewer, tmp_path):
    canvas.set_magnification(viewer, 20)
    seen = {name: overlay.visible for name, overlay in viewer.canvas.overlays.items()}
    taken = take(viewer, "crop")
    assert {name: overlay.visible for name, overlay in viewer.canvas.overlays.items()} == seen
    height, width = taken.pixels.shape[:2]
    # 20x: a screen pixel shows half a micrometre, whatever the resolution of the picture
    assert np.isclose(taken.um_per_px, 0.5 * viewer.canvas.size[1] / width)
    assert taken.legend[0].text == "labels"
    assert any(line.text.startswith("Epithelial") and line.rgb == (255, 0, 0) for line in taken.legend)
    png, svg = tmp_path / "a view", tmp_path / "view.svg"
    opened.write_snapshot(taken, png)
    opened.write_snapshot(taken, svg)
    read = cv2.imread(str(png.with_suffix(".png")))[..., ::-1]
    assert read.shape == taken.pixels.shape
    middle = np.s_[height // 3 : height // 2, width // 3 : 2 * width // 3]
    assert np.abs(read[middle].astype(int) - taken.pixels[middle]).max() <= 2
    assert (read != taken.pixels).any(), "legend and scale bar are drawn over it"
    assert re.search(r">\d+ µm<", svg.read_text(encoding="utf-8"))
    opened.write_snapshot(taken, tmp_path / "view.gif")
    assert "cannot be written" in opened.notice.text()
    assert not (tmp_path / "view.gif").exists()
