"""Opening crops in the viewer: read in the background, shown in one go, in the layers of the former crop."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_monusac.app.reading import CropReader
from napari_monusac.app.work import Report, Task
from napari_monusac.core.classes import NucleusClass
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.colors import ClassColormap, classes_in
from napari_monusac.ui.canvas.outlines import outline
from napari_monusac.ui.model import StudioModel, studio_model

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Crop


#: The neighbours of a crop are read this long after it was opened.
_REST_MS = 400


class CropOpener(QObject):
    """Opens the crops that are asked for in one viewer; what is under way is given up. Neighbours are read ahead.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are shown.
    model : StudioModel
        Asks for them.

    Signals
    -------
    began(Task, str) : a crop is about to be read, in words. Who shows how far it is may start the task.
    """

    began = Signal(object, str)

    def __init__(self, viewer: Any, model: StudioModel) -> None:
        super().__init__()
        self.viewer, self.model = viewer, model
        self._opening: Task | None = None
        self._ahead: Task | None = None
        self._reader = CropReader()
        # the open crop comes first, then its neighbours
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._read_ahead)

    def open(self, crop: Crop) -> Task | None:
        """Read a crop in the background and show it; None where no folder is open."""
        collection = self.model.collection
        if collection is None:
            return None
        for earlier in (self._opening, self._ahead):
            if earlier is not None:
                earlier.stop()
        self._rest.stop()

        def read(report: Report) -> list[Any]:
            report(None, f"Opening {crop.name}")
            return self._reader.read(collection, crop)

        self._opening = task = self.model.work.task(read, self)

        def show(layer_data: list[Any]) -> None:
            if self._opening is task:
                self._opening = None
                replace_crop(self.viewer, self.model, crop, layer_data)
                self._rest.start()

        task.done.connect(show)
        self.began.emit(task, f"Opening {crop.name}…")
        return task if task.running else task.start()

    def _read_ahead(self) -> None:
        """Read the next crop and the one before in the background: they are there when they are asked for."""
        collection, neighbours = self.model.collection, (self.model.neighbour(1), self.model.neighbour(-1))
        if collection is None or self._opening is not None or self._ahead is not None:
            return
        crops, reader = [c for c in neighbours if c is not None], self._reader
        task = self.model.work.task(lambda report: reader.read_ahead(collection, crops, lambda: report.stopping), self)
        task.finished.connect(self._read_anew)
        self._ahead = task.start()

    def _read_anew(self) -> None:
        ended, self._ahead = self._ahead, None
        if ended is not None and ended.stopping and self._opening is None:
            self._rest.start()  # another crop was opened meanwhile: it has other neighbours


def crop_opener(viewer: Any) -> CropOpener:
    """Return what opens crops in a viewer, made on first use: every panel that asks for crops sees that it is there."""
    model = studio_model(viewer)
    found = getattr(model.opens_crops, "__self__", None)
    if not isinstance(found, CropOpener):
        found = CropOpener(viewer, model)
        model.opens_crops = found.open
    return found


def replace_crop(viewer: Any, model: StudioModel, crop: Crop, layer_data: list[Any]) -> None:
    """Show a crop in the layers of the former one; what that one had besides is put away, layers of other plugins stay.

    A layer that is removed and made anew costs napari half a second, one that gets other data some milliseconds.
    """
    model.tell_leaving()
    wanted = {attributes["metadata"]["monusac"]["role"]: (data, attributes) for data, attributes, _ in layer_data}
    kept: dict[str, Layer] = {}
    for layer in reversed(canvas.our_layers(viewer)):  # the topmost of a role is the one in use
        name = canvas.role(layer)
        if name in wanted and name not in kept and not canvas.is_copy(layer) and _can_show(layer, *wanted[name]):
            kept[name] = layer
        else:
            viewer.layers.remove(layer)
    for data, attributes, kind in layer_data:
        name = attributes["metadata"]["monusac"]["role"]
        if name in kept:
            _show_in(viewer, kept[name], data, attributes)
        else:
            show_outlines(viewer, viewer.add_layer(Layer.create(data, attributes, kind)))
    if 0 < len(kept) < len(wanted):
        _put_in_order(viewer, list(wanted))
    viewer.reset_view()
    nuclei = canvas.find_layer(viewer, "nuclei")
    if nuclei is not None:
        viewer.layers.selection.active = nuclei
    model.show_crop(crop)


def _can_show(layer: Layer, data: Any, attributes: dict[str, Any]) -> bool:
    """Whether a layer of the former crop can take this one's data: both are one array, and of the same kind."""
    if not isinstance(data, np.ndarray) or layer.multiscale or not isinstance(layer.data, np.ndarray):
        return False
    if isinstance(layer, Image):
        return bool(attributes.get("rgb")) and layer.rgb and layer.data.dtype == data.dtype
    return isinstance(layer, Labels) and layer.ndim == data.ndim == 2


def _show_in(viewer: Any, layer: Layer, data: NDArray[Any], attributes: dict[str, Any]) -> None:
    """Give a layer that is there the data, place, colours and table of another crop; it is drawn once."""
    with canvas.undrawn(layer):
        if isinstance(layer, Labels):
            layer.features = attributes.get("features")
            if canvas.role(layer) == "nuclei":
                _color_by_class(viewer, layer)
            elif "colormap" in attributes:
                _recolour(layer, attributes["colormap"])
            layer.show_selected_label = False
        if attributes.get("visible", True) and not layer.visible:
            layer.visible = True  # what was hidden for a look at the former crop comes back: edits are seen by it
        layer.name = attributes["name"]  # a name of the user's was for the former crop
        layer.data = data
        canvas.lay(layer, _upright(attributes))
        layer.units = attributes["units"]
        layer.metadata = attributes["metadata"]
    layer.refresh()
    show_outlines(viewer, layer)


def _recolour(layer: Labels, colors: dict[int | None, Any]) -> None:
    """Give a layer its colours by label; napari builds its shaders anew for others, not for the same."""
    new = DirectLabelColormap(color_dict=colors)
    old = layer.colormap
    same = isinstance(old, DirectLabelColormap) and old.color_dict.keys() == new.color_dict.keys()
    if not (same and all(np.array_equal(old.color_dict[k], v) for k, v in new.color_dict.items())):
        layer.colormap = new


def _upright(attributes: dict[str, Any]) -> dict[str, Any]:
    """The whole of how a layer lies: a file says scale and place, what somebody turned by hand was another crop."""
    return {
        "scale": attributes["scale"],
        "rotate": np.eye(2),
        "shear": np.zeros(1),
        "translate": attributes["translate"],
        "affine": np.eye(3),
    }


def _put_in_order(viewer: Any, names: list[str]) -> None:
    """See that the layers of a crop lie on each other as always, where some were there and some are new."""
    for lower, upper in pairwise(names):
        below, above = canvas.find_layer(viewer, lower), canvas.find_layer(viewer, upper)
        if below is not None and above is not None and viewer.layers.index(above) < viewer.layers.index(below):
            viewer.layers.move(viewer.layers.index(above), viewer.layers.index(below) + 1)


def show_outlines(viewer: Any, layer: Layer) -> None:
    """Draw the layer *nuclei* as outlines, in the colours of the classes; others are left alone.

    A reader cannot: LayerData has no outlines.
    """
    layer = canvas.plain(layer)
    if isinstance(layer, Labels) and canvas.role(layer) == "nuclei":
        if not isinstance(layer.colormap, ClassColormap):
            _color_by_class(viewer, layer)
            layer.opacity = 0.9
        outline(viewer, layer, studio_model(viewer).work)


def _color_by_class(viewer: Any, layer: Labels) -> None:
    """Give a layer of nuclei the colours of their classes, none of them filled."""
    colormap = ClassColormap.of(dict(classes_in(layer.features)), studio_model(viewer).palette)
    if not colormap.shows_the_same_as(layer.colormap):
        layer.colormap = colormap


def class_counts(viewer: Any) -> dict[int, int]:
    """Nuclei by class number, from the table of the layer *nuclei*; ambiguous regions as -1."""
    layer = canvas.find_layer(viewer, "nuclei")
    if not isinstance(layer, Labels) or "class" not in layer.features:
        return {}
    counts: dict[int, int] = {}
    for name, number in layer.features["class"].value_counts().items():
        member = NucleusClass.from_label(str(name))
        if member is not None and member is not NucleusClass.BACKGROUND and number:
            counts[int(member)] = counts.get(int(member), 0) + int(number)
    background = int((layer.features["index"] == 0).sum()) if "index" in layer.features else 0
    unclassified = int(NucleusClass.UNCLASSIFIED)
    if background and counts.get(unclassified):
        # the table's row for label 0 has no class
        blank = layer.features.loc[layer.features["index"] == 0, "class"].astype(str)
        counts[unclassified] -= int(sum(NucleusClass.from_label(b) is NucleusClass.UNCLASSIFIED for b in blank))
    ambiguous = canvas.find_layer(viewer, "ambiguous")
    regions = (
        0 if ambiguous is None else int(ambiguous.metadata["monusac"].get("regions", bool(np.any(ambiguous.data))))
    )
    return counts | ({-1: regions} if regions else {})
