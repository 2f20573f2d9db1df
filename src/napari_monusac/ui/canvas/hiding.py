"""All but the tissue is hidden by one key, and comes back as it was by the same key, by an edit, or with the next crop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Layer
from qtpy.QtCore import QObject

from napari_monusac.app.actions import HIDE
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.model import hear

if TYPE_CHECKING:
    from napari_monusac.app.studio import StudioModel


class Hiding(QObject):
    """Lets a viewer's layers follow `StudioModel.hidden`.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    model : StudioModel
        Says whether all but the tissue is hidden.
    parent : QObject
        Whose end is the end of it.
    """

    def __init__(self, viewer: Any, model: StudioModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._model = viewer, model
        self._were_shown: list[Layer] = []
        hear(self, model.hidden_changed, self._follow)
        hear(self, model.crop_leaving, self._show)

    def _show(self) -> None:
        self._model.hidden = False

    def _follow(self, hidden: bool) -> None:
        if hidden:
            self._were_shown = [layer for layer in self._viewer.layers if layer.visible and not _is_tissue(layer)]
            self._model.tell(f"All but the tissue is hidden: {HIDE.key} shows it again, and so does an edit.", "hint")
        else:
            self._model.tell("", "hint")
        shown, self._were_shown = self._were_shown, self._were_shown if hidden else []
        for layer in shown:
            if layer in self._viewer.layers:
                layer.visible = not hidden


def _is_tissue(layer: Layer) -> bool:
    """Whether a layer is the slide, a view of its stains, or an image of the user's own."""
    return isinstance(layer, Image) and canvas.role(layer) in ("image", "view", "")
