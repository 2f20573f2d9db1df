"""The layers of a prediction: *predicted semantic*, *ternary* and *nuclei*. They lie exactly on the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from superqt.utils import qthrottled

from napari_monusac.core.classes import class_colors
from napari_monusac.ui import canvas
from napari_monusac.ui.masks_panel import ternary_colormap

if TYPE_CHECKING:
    from napari_monusac.core.prediction import Prediction
    from napari_monusac.masks.instances import Nuclei

ROLES = ("predicted semantic", "predicted ternary", "predicted nuclei")


def _placing(image: Image, offset_px: tuple[int, int]) -> dict[str, Any]:
    """Scale, place and units such that pixel (0, 0) of a map lies on the image's pixel `offset_px`."""
    corner = np.asarray(image.data_to_world(offset_px))[-2:]
    return {"scale": image.scale[-2:], "translate": corner, "units": image.units[-2:]}


def _metadata(image: Image, role: str, **more: Any) -> dict[str, Any]:
    return {"monusac": {**image.metadata.get("monusac", {}), "role": role, **more}}


def semantic_colormap() -> DirectLabelColormap:
    """Colours of a semantic map."""
    colors: dict[int | None, Any] = dict(class_colors().items())
    return DirectLabelColormap(color_dict=colors | {0: "transparent", None: "transparent"})


def nuclei_colormap(classes: dict[int, int]) -> DirectLabelColormap:
    """Colour each nucleus by its class.

    Parameters
    ----------
    classes : dict of int to int
        Class number by label.
    """
    colors = class_colors()
    table: dict[int | None, Any] = {label: colors[number] for label, number in classes.items()}
    return DirectLabelColormap(color_dict={**table, 0: "transparent", None: "transparent"})


def nuclei_features(nuclei: Nuclei) -> Any:
    """The nuclei's table as napari features: its column `label` becomes napari's `index`."""
    return nuclei.table.rename(columns={"label": "index"})


def add_prediction_layers(viewer: Any, image: Image, prediction: Prediction, nuclei: Nuclei) -> None:
    """Show a prediction over its image; layers of an earlier one are replaced. The active layer stays active."""
    active = viewer.layers.selection.active
    placing = _placing(image, prediction.offset_px)
    about = {
        "checkpoint": prediction.checkpoint,
        "fingerprint": prediction.fingerprint,
        "offset_px": prediction.offset_px,
        "boundary_width": prediction.boundary_width,
    }
    classes = dict(zip(nuclei.table["label"].tolist(), nuclei.table["class_id"].tolist(), strict=True))
    wanted = {
        "predicted semantic": (prediction.semantic_map, semantic_colormap(), {"opacity": 0.5, "visible": False}),
        "predicted ternary": (prediction.ternary_map, ternary_colormap(), {"opacity": 0.6, "visible": False}),
        "predicted nuclei": (nuclei.instances, nuclei_colormap(classes), {"opacity": 0.9, "visible": True}),
    }
    for role, (data, colormap, look) in wanted.items():
        old = canvas.find_layer(viewer, role)
        if old is not None:
            look = {"opacity": old.opacity, "visible": old.visible}
            viewer.layers.remove(old)
        layer = viewer.add_labels(
            data, name=role, colormap=colormap, metadata=_metadata(image, role, **about), **placing, **look
        )
        if role == "predicted nuclei":
            layer.contour = 2
            layer.features = nuclei_features(nuclei)
    if active in viewer.layers:
        viewer.layers.selection.active = active


def update_nuclei_layer(viewer: Any, nuclei: Nuclei) -> None:
    """Show other nuclei of the same prediction (a threshold moved), unless the user deleted the layer."""
    layer = canvas.find_layer(viewer, "predicted nuclei")
    if not isinstance(layer, Labels):
        return
    classes = dict(zip(nuclei.table["label"].tolist(), nuclei.table["class_id"].tolist(), strict=True))
    with layer.events.blocker_all():
        layer.features = nuclei_features(nuclei)
    layer.colormap = nuclei_colormap(classes)
    layer.data = nuclei.instances


class LivePrediction:
    """Two layers that fill while tiles finish."""

    def __init__(self, viewer: Any, image: Image, shape: tuple[int, int], offset_px: tuple[int, int]) -> None:
        self._viewer = viewer
        active = viewer.layers.selection.active
        placing = _placing(image, offset_px)
        self._ternary = np.zeros(shape, np.uint8)
        self.layer: Labels = viewer.add_labels(
            self._ternary,
            name="predicting…",
            colormap=ternary_colormap(),
            opacity=0.6,
            metadata=_metadata(image, "predicting"),
            **placing,
        )
        if active in viewer.layers:
            viewer.layers.selection.active = active

    def show(self, box: tuple[int, int, int, int], semantic: Any, ternary: Any) -> None:  # noqa: ARG002 - one form for both maps
        """Put a finished tile on the canvas: box is (y, x, height, width) within the region."""
        y, x, height, width = box
        self._ternary[y : y + height, x : x + width] = ternary.argmax(0)
        self._refresh()

    @qthrottled(timeout=200)
    def _refresh(self) -> None:
        if self.layer in self._viewer.layers:
            self.layer.refresh()

    def remove(self) -> None:
        """Take the layer away (the real ones take its place, or the user has cancelled)."""
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)
