"""A lasso is exact at any speed: every move of the pointer belongs to it. With real X events, from another process."""

from __future__ import annotations

import ctypes.util
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QCoreApplication, QPoint, Qt
from qtpy.QtWidgets import QApplication

from napari_monusac.editing.commands import Undo

POINTER = Path(__file__).parents[1] / "x_pointer.py"
TOGETHER = Qt.ApplicationAttribute.AA_CompressHighFrequencyEvents


def has_xtest():
    """Whether this is an X screen on which events can be made."""
    return QApplication.platformName() == "xcb" and ctypes.util.find_library("Xtst") is not None


def draw(hand, middle, radius_px, seconds, moves, until):
    """Let the pointer draw a circle around a point (y, x) of the nuclei; radius in px of the screen."""
    if not has_xtest():
        pytest.skip("no X screen with the XTEST extension")
    at = hand.canvas.mapToGlobal(hand.at(middle) + QPoint(0, 0))
    ratio = hand.canvas.devicePixelRatioF()
    args = [str(v) for v in (at.x() * ratio, at.y() * ratio, radius_px * ratio, seconds, moves)]
    pointer = subprocess.Popen([sys.executable, str(POINTER), *args])
    until(lambda: pointer.poll() is not None, seconds=60)
    assert pointer.returncode == 0
    until(lambda: not hand.panel.toolbox._stroking, seconds=60)
    hand.qtbot.wait(50)


@pytest.mark.parametrize("seconds", [0.15, 0.6])
def test_a_circle_keeps_its_area_at_any_speed(hand, viewer, until, seconds, monkeypatch):
    strokes = []
    stroked = hand.panel.toolbox.strokes.stroked
    monkeypatch.setattr(
        hand.panel.toolbox.strokes,
        "stroked",
        lambda tool, path, *a, **k: (strokes.append(path), stroked(tool, path, *a, **k)),
    )
    hand.tool("lasso")
    hand.panel.toolbox.set_over(True)
    middle, moves, radius = (80.0, 90.0), 90, 120
    draw(hand, middle, radius, seconds, moves, until)
    (path,) = strokes
    assert len({(round(y, 2), round(x, 2)) for y, x in path}) >= moves - 2, "moves are missing"
    y, x = np.asarray(path).T
    area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    layer = hand.controller.layers.get("nuclei")
    pixels = radius / (float(viewer.scene.camera.zoom) * float(layer.scale[-1]))
    assert area == pytest.approx(math.pi * pixels**2, rel=0.04)
    assert abs((y.min() + y.max()) / 2 - middle[0]) < 1
    assert abs((x.min() + x.max()) / 2 - middle[1]) < 1
    hand.panel.toolbox.set_over(False)
    hand.controller.do(Undo())


def test_moves_are_napari_s_again_in_another_panel(hand):
    assert not QCoreApplication.testAttribute(TOGETHER)
    hand.studio.show_panel("Masks")
    assert QCoreApplication.testAttribute(TOGETHER)
    hand.studio.show_panel("Annotate")
    assert not QCoreApplication.testAttribute(TOGETHER)
