"""A large flat image in the viewer: drawn again while its smaller levels are made, until it is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QObject

from napari_monusac import open_slide
from napari_monusac.io.slides import growing
from napari_monusac.io.slides.growing import shrunken
from napari_monusac.plugin.layers import crop_layers
from napari_monusac.ui.canvas.growing import GrowingImages


def test_the_image_is_drawn_again_until_it_is_whole(qtbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_monusac.io.slides.slide.LARGE_PX", 10_000)
    monkeypatch.setattr("napari_monusac.plugin.layers.EDITABLE_PX", 10_000)
    monkeypatch.setattr(growing, "_SMALLEST_PX", 100)
    monkeypatch.setattr(growing.GrowingPyramid, "start", _begin_white)
    monkeypatch.setenv("MONUSAC_CACHE", str(tmp_path / "cache"))
    image = np.random.default_rng(0).integers(0, 200, (160, 320, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", rowsperstrip=16)
    viewer, parent = ViewerModel(), QObject()
    watching = GrowingImages(viewer, parent)
    slide = open_slide(tmp_path / "a.tif")
    layer = viewer.add_layer(Layer.create(*crop_layers(slide)[0]))
    assert layer.multiscale
    layer.data_level = 1
    layer.refresh()
    assert (_drawn(layer) == 255).all()
    watching.look()
    monkeypatch.undo()
    monkeypatch.setenv("MONUSAC_CACHE", str(tmp_path / "cache"))
    told = []
    layer.events.data.connect(lambda _: told.append(1))
    slide.growing._arrays = None
    assert slide.growing.wait(60)
    qtbot.waitUntil(lambda: "whole" in viewer.status, timeout=20_000)
    np.testing.assert_array_equal(_drawn(layer), shrunken(image))
    assert not told  # it is the same image: no panel opens it anew
    qtbot.waitUntil(lambda: not watching._timer.isActive(), timeout=20_000)
    slide.close()


def _begin_white(pyramid: growing.GrowingPyramid) -> None:
    """Nothing is made yet: the levels are white."""
    pyramid._arrays = [np.full((*s, 3), 255, np.uint8) for s in pyramid._shapes[1:]]


def _drawn(layer: Layer) -> np.ndarray:
    return np.asarray(layer._slicing_state._slice.image.view if hasattr(layer, "_slicing_state") else layer._data_view)
