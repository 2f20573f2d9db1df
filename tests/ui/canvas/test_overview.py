"""The overview of a large slide: what its frame says is what the window shows; a click goes there."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QPoint, Qt

from napari_monusac.app.work import Work
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.overview import Overview, small_picture


def test_a_small_picture_keeps_shape_and_colour():
    level = np.zeros((900, 2100, 3), np.uint8)
    level[:, 1050:] = (200, 100, 50)
    small = small_picture(level, 210)
    assert small.shape == (90, 210, 3)
    assert (small[:, :100] == 0).all()
    assert (small[:, 110:] == (200, 100, 50)).all()
    assert small_picture(np.full((40, 30), 7, np.uint8)).shape == (40, 30, 3)


def test_the_frame_is_what_the_window_shows_and_a_click_goes_there(viewer, qtbot):
    large = np.full((3000, 2000, 3), 220, np.uint8)
    work = Work()
    overview = Overview(viewer, work)
    qtbot.addWidget(overview)
    overview.refresh()
    assert overview.isHidden(), "nothing is open"
    viewer.add_image(
        [large, large[::4, ::4]], rgb=True, multiscale=True, scale=(0.5, 0.5), metadata={"monusac": {"role": "image"}}
    )
    overview.refresh()
    work.wait()
    assert not overview.isHidden()
    overview.resize(300, 130)
    where = overview.place()
    assert abs(where.width() / where.height() - 2 / 3) < 1e-6
    assert where.height() == 130
    image = canvas.find_layer(viewer, "image")
    canvas.center_on(viewer, image, 1500, 1000)
    middle = overview.frame().boundingRect().center()
    assert abs(middle.x() - 150) < 0.5
    assert abs(middle.y() - 65) < 0.5
    viewer.scene.camera.zoom = 4.0
    frame = overview.frame().boundingRect()
    height, width = viewer.canvas.size
    assert np.isclose(frame.width(), width / 4 / 0.5 / 2000 * where.width(), rtol=1e-3)
    assert np.isclose(frame.height(), height / 4 / 0.5 / 3000 * where.height(), rtol=1e-3)
    at = QPoint(round(where.left() + 0.25 * where.width()), round(where.top() + 0.75 * where.height()))
    qtbot.mouseClick(overview, Qt.MouseButton.LeftButton, pos=at)
    y, x = image.world_to_data(viewer.scene.camera.center[-2:])
    assert abs(y - 0.75 * 3000) < 20
    assert abs(x - 0.25 * 2000) < 20
    assert not overview.grab().toImage().isNull()
    viewer.layers.clear()
    overview.refresh()
    assert overview.isHidden()
