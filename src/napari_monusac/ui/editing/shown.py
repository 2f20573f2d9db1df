"""The layers that an open crop needs: what the reader does to them is noticed, said, and put right by one click."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, QTimer

from napari_monusac.app.editing import AstrayLayer, LayerFault
from napari_monusac.app.place import Place, place_of
from napari_monusac.app.studio import StudioModel
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.editing.ready import PAINTED

#: Layers without which a crop cannot be edited, bottom first.
NEEDED = ("image", *PAINTED)
_PLACING = ("scale", "translate", "rotate", "shear", "affine")


@dataclass(slots=True)
class _Kept:
    """A layer of the crop, and where it lay in the list when it was last there."""

    layer: Layer
    index: int


class CropLayers(QObject):
    """Follows the layers of the open crop, and tells the model which of them do not show it.

    Parameters
    ----------
    viewer : napari.Viewer
    model : StudioModel
    parent : QObject
        Whose end is the end of it.
    """

    def __init__(self, viewer: Any, model: StudioModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._model, self._editing = viewer, model, model.editing
        self._kept: dict[str, _Kept] = {}
        self._looking = QTimer(self)
        self._looking.setSingleShot(True)
        self._looking.setInterval(0)
        self._looking.timeout.connect(self._look)
        viewer.layers.events.removed.connect(self._removed)
        viewer.layers.events.inserted.connect(self._soon)
        model.hidden_changed.connect(self._soon)

    def follow(self) -> None:
        """Follow the layers of the crop that is open now."""
        for name in NEEDED:
            layer, kept = canvas.find_layer(self._viewer, name), self._kept.get(name)
            if layer is not None and (kept is None or kept.layer is not canvas.plain(layer)):
                self._let_go(name)
                self._kept[name] = _Kept(canvas.plain(layer), self._viewer.layers.index(layer))
                for event in self._events(layer):
                    event.connect(self._soon)
        self._soon()

    def forget(self) -> None:
        """Another crop is open, or none."""
        for name in tuple(self._kept):
            self._let_go(name)
        self._looking.stop()
        self._editing.astray = ()

    def close(self) -> None:
        """Nobody looks any more."""
        self.forget()
        self._viewer.layers.events.removed.disconnect(self._removed)
        self._viewer.layers.events.inserted.disconnect(self._soon)
        self._model.hidden_changed.disconnect(self._soon)

    def bring_back(self) -> None:
        """Put right what the model needs: deleted layers come back as they were, hidden ones are seen, moved ones lie right."""
        self._model.hidden = False
        for name in NEEDED:
            kept = self._kept.get(name)
            if kept is not None and kept.layer not in self._viewer.layers:
                self._viewer.layers.insert(min(kept.index, len(self._viewer.layers)), kept.layer)
                kept.layer.refresh()
        for astray in self._astray():
            layer = self._kept[astray.role].layer
            if astray.fault is LayerFault.HIDDEN:
                layer.visible = True
            elif astray.fault is LayerFault.MOVED:
                canvas.lay(layer, self._wanted())
        self._look()

    # -- looking

    def _events(self, layer: Layer) -> tuple[Any, ...]:
        return (layer.events.visible, layer.events.name, *(getattr(layer.events, name) for name in _PLACING))

    def _let_go(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            for event in self._events(kept.layer):
                event.disconnect(self._soon)

    def _removed(self, event: Any) -> None:
        for kept in self._kept.values():
            if kept.layer is canvas.plain(event.value):
                kept.index = event.index
        self._soon()

    def _soon(self, _: object = None) -> None:
        self._looking.start()  # once all that belongs together is done

    def _look(self) -> None:
        self._looking.stop()
        self._editing.astray = self._astray()

    def _astray(self) -> tuple[AstrayLayer, ...]:
        found = ((name, kept.layer, self._fault(name, kept.layer)) for name, kept in self._kept.items())
        return tuple(AstrayLayer(name, layer.name, fault) for name, layer, fault in found if fault is not None)

    def _fault(self, name: str, layer: Layer) -> LayerFault | None:
        if layer not in self._viewer.layers:
            return LayerFault.GONE if canvas.find_layer(self._viewer, name) is None else None
        if name != "nuclei" or self._editing.session is None:
            return None  # the tissue may be hidden to look at the rest, and regions that nobody draws
        if not layer.visible and not self._model.hidden:
            return LayerFault.HIDDEN
        return None if canvas.lies(layer, self._wanted()) else LayerFault.MOVED

    def _wanted(self) -> dict[str, Any]:
        """Where the nuclei lie: on the tissue, or where they are if there is none."""
        image, nuclei, session = self._kept.get("image"), self._kept["nuclei"].layer, self._editing.session
        if image is None or session is None or not isinstance(image.layer, Image):
            return canvas.placing(nuclei)
        first = image.layer.metadata.get("monusac", {}).get("offset_px", (0, 0))
        return canvas.placing(image.layer, np.subtract(session.nuclei.frame.offset_px, first).tolist())


def place_shown(viewer: Any) -> Place | None:
    """Return what would be edited of the layers that are in a viewer; None where there is no image file, or the image is
    gone and only a part of it is labelled.
    """
    image, nuclei, ternary = (canvas.find_layer(viewer, name) for name in ("image", "nuclei", "ternary"))
    image = image if isinstance(image, Image) else None
    base: Any = nuclei if isinstance(nuclei, Labels) else image
    if base is None:
        return None
    about = (image if image is not None else base).metadata.get("monusac", {})
    if image is None and any(about.get("offset_px", (0, 0))):
        return None
    pixels = base.data if image is None else image.data[0] if image.multiscale else image.data
    shape = int(pixels.shape[0]), int(pixels.shape[1])
    width = ternary.metadata.get("monusac", {}).get("boundary_width", 3) if isinstance(ternary, Labels) else 3
    return place_of(about, shape, canvas.um_per_px(base), boundary_width=int(width))
