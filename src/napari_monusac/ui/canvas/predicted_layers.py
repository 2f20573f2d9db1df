"""The layers of a prediction: *predicted semantic*, *ternary* and *nuclei*. They lie exactly on the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from superqt.utils import qthrottled

from napari_monusac.app.prediction_jobs import live_step
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.colormaps import ternary_colormap
from napari_monusac.ui.canvas.colors import semantic_colormap
from napari_monusac.ui.canvas.predicted import dress_predicted
from napari_monusac.ui.model import studio_model

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Nuclei, Prediction
    from napari_monusac.io.predictions.lazy import PredictedSlide


#: napari's table of a layer is slow beyond this; the classes are a layer of their own.
_MOST_ROWS = 20_000


def _metadata(image: Image, role: str, **more: Any) -> dict[str, Any]:
    return {"monusac": {**image.metadata.get("monusac", {}), "role": role, **more}}


def nuclei_features(nuclei: Nuclei) -> Any:
    """The nuclei's table as napari features: its column `label` becomes napari's `index`."""
    return nuclei.table.rename(columns={"label": "index"})


def add_prediction_layers(viewer: Any, image: Image, prediction: Prediction, nuclei: Nuclei) -> None:
    """Show a prediction over its image, in the layers of an earlier one. The active layer stays active."""
    active = viewer.layers.selection.active
    placed = canvas.placing(image, prediction.offset_px)
    about = {
        "checkpoint": prediction.checkpoint,
        "fingerprint": prediction.fingerprint,
        "offset_px": prediction.offset_px,
        "boundary_width": prediction.boundary_width,
        "engine": prediction.engine,
        "trained_on": prediction.trained_on,
    }
    palette = studio_model(viewer).palette
    wanted: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "predicted semantic": (
            prediction.semantic_map.copy(),
            semantic_colormap(palette),
            {"opacity": 0.5, "visible": False},
        ),
        "predicted ternary": (prediction.ternary_map.copy(), ternary_colormap(), {"opacity": 0.6, "visible": False}),
        "predicted nuclei": (nuclei.instances, None, {"opacity": 0.9, "visible": True}),
    }
    for role, (data, colormap, look) in wanted.items():
        placed["metadata"] = _metadata(image, role, **about)
        layer = canvas.find_layer(viewer, role)
        visible = look.pop("visible") if layer is None else layer.visible
        if not isinstance(layer, Labels):
            layer = Labels(np.zeros((1, 1), data.dtype), name=role, visible=False, **look)
        with canvas.undrawn(layer):
            for name, value in placed.items():
                setattr(layer, name, value)
            if colormap is not None:
                layer.colormap = colormap
            layer.data = data
            if role == "predicted nuclei":
                layer.features = nuclei_features(nuclei)
        if layer in viewer.layers:
            layer.refresh()
        else:
            viewer.add_layer(layer)
            layer.visible = visible
        dress_predicted(viewer, layer, palette)
    if active in viewer.layers:
        viewer.layers.selection.active = active


def update_nuclei_layer(viewer: Any, nuclei: Nuclei) -> None:
    """Show other nuclei of the same prediction (a threshold moved), unless the user deleted the layer."""
    layer = canvas.find_layer(viewer, "predicted nuclei")
    if not isinstance(layer, Labels):
        return
    with canvas.undrawn(layer):
        layer.features = nuclei_features(nuclei)
        layer.data = nuclei.instances
        dress_predicted(viewer, layer, studio_model(viewer).palette)
    layer.refresh()


def stored_placing(image: Image, stored: PredictedSlide) -> dict[str, Any]:
    """How the maps of a stored prediction, which may be coarser or finer than the image, lie on it."""
    return canvas.placing(image, stored.first_px, stored.step)


def add_stored_layers(viewer: Any, image: Image, stored: PredictedSlide) -> None:
    """Show a stored prediction of any size over its image, as pyramids that are read as they are looked at.

    The layers are *stored classes* (the class of the nucleus under each pixel), *stored nuclei*, *stored ternary* and
    *stored uncertainty*.
    """
    from napari_monusac.ui.canvas.comparing import uncertainty_colormap

    info, table = stored.info, stored.nuclei
    active = viewer.layers.selection.active
    about = {
        "store": str(stored.path),
        "checkpoint": info.checkpoint,
        "fingerprint": info.fingerprint,
        "engine": info.engine,
    }
    features = {"features": table.rename(columns={"label": "index"})} if len(table) <= _MOST_ROWS else {}
    looks: dict[str, dict[str, Any]] = {
        "uncertainty": {
            "colormap": uncertainty_colormap(),
            "contrast_limits": (0, 1),
            "opacity": 0.9,
            "visible": False,
        },
        "ternary": {"colormap": ternary_colormap(), "opacity": 0.6, "visible": False},
        "nuclei": {"opacity": 0.6, "visible": False, **features},
        "classes": {"colormap": semantic_colormap(studio_model(viewer).palette), "opacity": 0.6, "visible": True},
    }
    for name, look in looks.items():
        role, levels = f"stored {name}", stored.levels[name]
        old = canvas.find_layer(viewer, role)
        if old is not None:
            viewer.layers.remove(old)
        several = len(levels) > 1
        add = viewer.add_image if name == "uncertainty" else viewer.add_labels
        add(
            levels if several else levels[0], multiscale=several, name=role,
            metadata=_metadata(image, role, **about), **stored_placing(image, stored), **look,
        )  # fmt: skip
    if active in viewer.layers:
        viewer.layers.selection.active = active


class LivePrediction:
    """A layer that fills while tiles finish; coarser than the image where that is large.

    Parameters
    ----------
    viewer : napari.Viewer
    image : Image
        What is predicted.
    shape : (height, width)
        Of the region, px of the image.
    offset_px : (y, x)
        Its first pixel.
    """

    def __init__(self, viewer: Any, image: Image, shape: tuple[int, int], offset_px: tuple[int, int]) -> None:
        self._viewer = viewer
        active = viewer.layers.selection.active
        step = live_step(shape)
        placed = canvas.placing(image, [first + (step - 1) / 2 for first in offset_px], step)
        self._ternary = np.zeros([-(-n // step) for n in shape], np.uint8)
        self.layer: Labels = viewer.add_labels(
            self._ternary,
            name="predicting…",
            colormap=ternary_colormap(),
            opacity=0.6,
            metadata=_metadata(image, "predicting"),
            **placed,
        )
        if active in viewer.layers:
            viewer.layers.selection.active = active

    def show(self, y: int, x: int, values: Any) -> None:
        """Put what `small_tile` gave on the canvas."""
        self._ternary[y : y + values.shape[0], x : x + values.shape[1]] = values
        self._refresh()

    @qthrottled(timeout=200)
    def _refresh(self) -> None:
        if self.layer in self._viewer.layers:
            self.layer.refresh()

    def remove(self) -> None:
        """Take the layer away, unless it was handed over (the real ones take its place, or the user has cancelled)."""
        if self.layer in self._viewer.layers and canvas.role(self.layer) == "predicting":
            self._viewer.layers.remove(self.layer)

    def hand_over(self) -> None:
        """Become the layer *predicted ternary* that is about to be shown; there is one already: go."""
        if self.layer not in self._viewer.layers or canvas.find_layer(self._viewer, "predicted ternary") is not None:
            self.remove()
            return
        self.layer.visible = False
        self.layer.name = "predicted ternary"
        self.layer.metadata["monusac"]["role"] = "predicted ternary"
