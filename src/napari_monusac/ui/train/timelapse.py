"""The learning time-lapse on the canvas: the pinned crops after each epoch, scrubbed with napari's slider."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.layers import Labels, Layer
from qtpy.QtCore import QObject, Signal

from napari_monusac.core.classes import TERNARY_COLORS, TernaryClass
from napari_monusac.ui.canvas.legend import show_legend

if TYPE_CHECKING:
    from napari_monusac.plugin.timelapse import TimelapseScene

_LEGEND = "monusac_lapse_"
#: Room between the open crop and the time-lapse, as a share of its width; room around it, as a share of the window.
_GAP, _MARGIN = 0.1, 0.05
_WHITE = (255, 255, 255)


class TimelapseView(QObject):
    """Shows one time-lapse at a time, beside whatever is open, and takes it away again.

    Signals
    -------
    closed : its layers are gone, by `close` or because the user deleted them.
    """

    closed = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.scene: TimelapseScene | None = None
        self._layers: list[Layer] = []
        self._camera: tuple[Any, float] | None = None
        self._active: Layer | None = None

    @property
    def shown(self) -> bool:
        """Whether a time-lapse is on the canvas."""
        return bool(self._layers)

    def show(self, scene: TimelapseScene) -> str:
        """Add the layers beside what is open and look at them, the last epoch first.

        Returns
        -------
        str
            What to tell the user.
        """
        self.close()
        camera = self.viewer.scene.camera
        self._camera = (tuple(camera.center), float(camera.zoom))
        self._active = self.viewer.layers.selection.active
        self.scene = scene
        at = self._free_place(scene)
        unit = self._unit(scene)
        for data, attributes, kind in scene.layers:
            layer = Layer.create(data, _moved(attributes, at, unit), kind)
            self.viewer.add_layer(layer)
            self._layers.append(layer)
            if isinstance(layer, Labels):
                layer.editable = False
                if layer.name.endswith("truth"):
                    layer.contour = 1
        self.viewer.dims.set_current_step(0, len(scene.epochs) - 1)
        self.viewer.fit_to_view(layers=self._layers, margin=_MARGIN)
        self.viewer.dims.events.current_step.connect(self._say_epoch)
        self.viewer.layers.events.removed.connect(self._removed)
        self._say_epoch()
        number = "one epoch" if len(scene.epochs) == 1 else f"{len(scene.epochs)} epochs"
        crops = "one crop" if len(scene.crops) == 1 else f"{len(scene.crops)} crops"
        return f"{number} of {crops}: move the slider under the picture, or press play. {scene.note}".strip()

    def close(self) -> None:
        """Take the time-lapse away and look again at what was looked at before."""
        if not self._layers:
            return
        layers, self._layers = self._layers, []
        for layer in layers:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        if self._camera is not None:
            self.viewer.scene.camera.center, self.viewer.scene.camera.zoom = self._camera
        if self._active in self.viewer.layers:
            self.viewer.layers.selection.active = self._active
        self._end()

    def _free_place(self, scene: TimelapseScene) -> tuple[float, float]:
        """World (y, x) right of everything that is open."""
        if not len(self.viewer.layers):
            return 0.0, 0.0
        extent = self.viewer.layers.extent.world
        data, attributes, _ = scene.layers[-1]
        return float(extent[0][-2]), float(extent[1][-1] + _GAP * data.shape[-1] * attributes["scale"][-1])

    def _unit(self, scene: TimelapseScene) -> str:
        """The unit of what is open: napari draws no scale bar over a mixture."""
        own = scene.layers[-1][1]["units"][-1]
        return str(self.viewer.layers[0].units[-1]) if len(self.viewer.layers) else str(own)

    def _say_epoch(self, _: object = None) -> None:
        """Write on the canvas which epoch is shown and how good it was."""
        if self.scene is None or not self._layers:
            return
        epochs = self.scene.epochs
        epoch = epochs[min(max(self.viewer.dims.current_step[0], 0), len(epochs) - 1)]
        scores = self.scene.scores.get(epoch)
        # short lines: the class legend stands in the other corner of a canvas that may be narrow
        told = [("epoch", f"Epoch {epoch} of {epochs[-1]}", _WHITE)]
        if scores is not None:
            told.append(("combo", f"combo {scores.combo:.2f}", _WHITE))
        if scores is not None and scores.dice_boundary is not None:
            told.append(("dice", f"Dice boundary {scores.dice_boundary:.2f}", _WHITE))
        show_legend(
            self.viewer,
            [
                *told,
                ("inside", "inside", TERNARY_COLORS[TernaryClass.INSIDE]),
                ("boundary", "boundary", TERNARY_COLORS[TernaryClass.BOUNDARY]),
                ("truth", "\u25cb truth", _WHITE),
            ],
            legend=_LEGEND,
            position="top_right",
        )

    def _removed(self, _: object = None) -> None:
        """The user deleted layers, or opened another crop."""
        if not self._layers:
            return
        self._layers = [layer for layer in self._layers if layer in self.viewer.layers]
        if not any(isinstance(layer, Labels) and layer.ndim == 3 for layer in self._layers):
            rest, self._layers = self._layers, []
            for layer in rest:
                self.viewer.layers.remove(layer)
            self._end()

    def _end(self) -> None:
        self.scene = self._camera = self._active = None
        for event, slot in (
            (self.viewer.dims.events.current_step, self._say_epoch),
            (self.viewer.layers.events.removed, self._removed),
        ):
            with suppress(ValueError):
                event.disconnect(slot)
        show_legend(self.viewer, [], legend=_LEGEND)
        self.closed.emit()


def _moved(attributes: dict[str, Any], at: tuple[float, float], unit: str) -> dict[str, Any]:
    leading = (0.0,) * (len(attributes["scale"]) - 2)
    units = (*attributes["units"][:-2], unit, unit)
    return {**attributes, "translate": (*leading, *at), "units": units}
