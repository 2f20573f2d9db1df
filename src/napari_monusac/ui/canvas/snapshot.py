"""What the canvas shows, taken as a picture with scale bar and legend: PNG or SVG."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QBuffer, QByteArray, QIODevice
from qtpy.QtGui import QImage, QPainter
from qtpy.QtSvg import QSvgRenderer

from napari_monusac.app.snapshot import CanvasPicture, LegendLine, svg_of
from napari_monusac.core.errors import MonusacError
from napari_monusac.core.files import atomic_write_bytes
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.legend import shown_legend

#: Endings that a picture can have.
ENDINGS = (".png", ".svg")


def take(viewer: Any, title: str = "") -> CanvasPicture:
    """Take what the canvas shows now: image, nuclei and marks as they are drawn; scale and legend are read off."""
    legend = tuple(LegendLine(text, rgb) for text, rgb in shown_legend(viewer))
    with _without_overlays(viewer):
        pixels = np.asarray(viewer.screenshot(canvas_only=True, flash=False))[..., :3]
    known = canvas.magnification(viewer) is not None
    across = float(viewer.canvas.size[1]) / float(viewer.scene.camera.zoom)
    return CanvasPicture(pixels, across / pixels.shape[1] if known else None, legend, title)


@contextmanager
def _without_overlays(viewer: Any) -> Iterator[None]:
    """Hide what is drawn anew, in letters and lines that stay sharp."""
    overlays = viewer.canvas.overlays
    shown = [overlay for overlay in overlays.values() if overlay.visible]
    for overlay in shown:
        overlay.visible = False
    try:
        yield
    finally:
        for overlay in shown:
            overlay.visible = True


def write(snapshot: CanvasPicture, path: Path) -> None:
    """Write a picture, whole or not at all.

    Raises
    ------
    MonusacError
        It is neither a .png nor an .svg.
    OSError
        The disk refuses.
    """
    text = svg_of(snapshot)
    if path.suffix.lower() == ".svg":
        atomic_write_bytes(path, text.encode("utf-8"))
    elif path.suffix.lower() == ".png":
        atomic_write_bytes(path, _png(text, snapshot))
    else:
        raise MonusacError(f"{path}: a picture is a .png or an .svg", "choose one of these endings")


def _png(text: str, snapshot: CanvasPicture) -> bytes:
    height, width = snapshot.pixels.shape[:2]
    image = QImage(width, height, QImage.Format.Format_RGB888)
    painter = QPainter(image)
    QSvgRenderer(QByteArray(text.encode("utf-8"))).render(painter)
    painter.end()
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    return bytes(buffer.data())
