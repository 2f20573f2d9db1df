"""Ways of looking at truth and prediction: outlines, difference, swipe, side by side, uncertainty, and blink while B is held.

The layers *nuclei* and *predicted nuclei* are only hidden meanwhile, and so is what a way of looking has drawn while
another one is chosen: each click would cost half a second else. What the user deletes stays deleted until another way of
looking is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QButtonGroup, QComboBox, QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.work import Report
from napari_monusac.core.classes import Rgb
from napari_monusac.ui.canvas import canvas, comparing
from napari_monusac.ui.canvas.colors import FILLABLE
from napari_monusac.ui.editing.controller import controller_of
from napari_monusac.ui.review.beside import SecondView
from napari_monusac.ui.review.maps import MAPS, WAYS, Maps, blink_legend, legend_of, maps_of, uncertainty_of
from napari_monusac.ui.widgets.basic import calm
from napari_monusac.ui.widgets.tables import narrow

if TYPE_CHECKING:
    from napari_monusac.ui.review.data import CropReview


class WaysView(QWidget):
    """Chooses how truth and prediction are shown.

    Parameters
    ----------
    looking : Looking
        What is steered.
    """

    def __init__(self, looking: Looking) -> None:
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        group = QButtonGroup(self)
        grid = QGridLayout()
        grid.setSpacing(3)
        for at, (name, words, tip) in enumerate(WAYS):
            button = calm(QPushButton(words))
            button.setCheckable(True)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, n=name: looking.set_way(n))
            group.addButton(button)
            self.buttons[name] = button
            grid.addWidget(button, at // 4, at % 4)
            grid.setColumnStretch(at % 4, 1)
        self.buttons["layers"].setChecked(True)
        self.map = calm(QComboBox())
        narrow(self.map)
        for name, words, tip in MAPS:
            self.map.addItem(words, name)
            self.map.setItemData(self.map.count() - 1, tip, 3)  # Qt.ToolTipRole
        self.map.setToolTip("What Outlines, Swipe, Side by side and the blinking compare")
        self.map.currentIndexChanged.connect(lambda _: looking.set_map(self.map.currentData()))
        looking.way_changed.connect(lambda way: self.buttons[way].setChecked(True))
        looking.map_changed.connect(lambda name: self.map.setCurrentIndex(self.map.findData(name)))
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.map, len(WAYS) // 4, len(WAYS) % 4, 1, 4 - len(WAYS) % 4)
        box.addLayout(grid)

    def enable(self, on: bool) -> None:
        """Without a comparison there are only the layers."""
        for name, button in self.buttons.items():
            button.setEnabled(on or name == "layers")
        self.map.setEnabled(on)


class SwipeEdge:
    """A swipe between two maps.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose mouse it follows.
    put : callable
        Shows a map as the layer *swipe*.
    """

    def __init__(self, viewer: Any, put: Callable[[Any], None]) -> None:
        self.viewer, self._put = viewer, put
        self.column = -1
        self._maps: Maps | None = None
        self._swiped: Any = None

    def show(self, maps: Maps) -> None:
        """Draw the swipe over two maps, at the column where it was last."""
        self._maps = maps
        width = maps[0].shape[1]
        self._swiped = np.empty_like(maps[0])
        column = self.column if 0 <= self.column < width else width // 2
        self._fill_to(column, 0, width)
        self._put(self._swiped)
        if self._moved not in self.viewer.mouse_move_callbacks:
            self.viewer.mouse_move_callbacks.append(self._moved)

    def leave(self) -> None:
        """Follow the mouse no more."""
        if self._moved in self.viewer.mouse_move_callbacks:
            self.viewer.mouse_move_callbacks.remove(self._moved)

    def _moved(self, _: Any, event: Any) -> None:
        layer = canvas.find_layer(self.viewer, comparing.SWIPE)
        if layer is not None:
            self.to(round(float(layer.world_to_data(event.position)[-1])))

    def to(self, column: int) -> None:
        """Put the swipe's edge on a column of the map."""
        layer = canvas.find_layer(self.viewer, comparing.SWIPE)
        if layer is None or self._swiped is None or layer.data is not self._swiped:
            return
        column = min(max(0, column), self._swiped.shape[1] - 1)
        if column == self.column:
            return
        edge = self.edge_px()
        self._fill_to(column, min(column, self.column) - edge, max(column, self.column) + edge + 1)
        layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _fill_to(self, column: int, start: int, stop: int) -> None:
        """Draw the columns from `start` to `stop` anew: truth, the edge, prediction."""
        if self._maps is None:
            return
        truth, prediction = self._maps
        start, stop = max(0, start), min(stop, self._swiped.shape[1])
        self._swiped[:, start:column] = truth[:, start:column]
        self._swiped[:, column:stop] = prediction[:, column:stop]
        edge = self.edge_px()
        self._swiped[:, max(0, column - edge // 2) : column + edge - edge // 2] = comparing.SWIPE_EDGE
        self.column = column

    def edge_px(self) -> int:
        """Width of the swipe's edge in px of the map: two on the screen."""
        image = canvas.image_layer(self.viewer)
        scale = 1.0 if image is None else float(image.scale[-1])
        return int(np.clip(round(2 / max(1e-6, float(self.viewer.scene.camera.zoom) * scale)), 1, 40))


_LEGEND = "monusac_looking_"
_BLINK_MS = 400
#: Ways that show the maps that are chosen.
_OF_MAPS = ("outlines", "swipe", "beside")


class Looking(QObject):
    """The way in which one viewer shows truth and prediction.

    Parameters
    ----------
    viewer : napari.Viewer
        Where.
    model : StudioModel
        For the palette and the last prediction's probabilities.

    Signals
    -------
    way_changed(str) : another way of looking.
    map_changed(str) : other maps are compared.
    """

    way_changed = Signal(str)
    map_changed = Signal(str)

    def __init__(self, viewer: Any, model: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self.viewer, self.model = viewer, model
        self.way = "layers"
        self.review: CropReview | None = None
        self.blinking = False
        self._before_swipe = self._before_blink = "outlines"
        self._shows_truth = False
        self._hidden: list[Layer] = []
        self.map = "outlines"
        self._maps: Maps | None = None  # of `map`, where that is not the outlines
        self._uncertainty: tuple[Any, Any, Any] | None = (
            None  # the comparison and prediction that the uncertainty map is of; the map
        )
        self.swipe = SwipeEdge(viewer, lambda data: self._put(comparing.SWIPE, data))
        self._second = SecondView(viewer, self)
        self._second.closed.connect(lambda: self.set_way("layers") if self.way == "beside" else None)
        self._blink = QTimer(self)
        self._blink.setInterval(_BLINK_MS)
        self._blink.timeout.connect(self._blink_on)

    # -- the way

    def set_way(self, way: str) -> None:
        """Look another way; "layers" takes everything away again."""
        if self.review is None and way != "layers":
            return
        self._stop_blinking()
        self._leave(way)
        self.way = way
        if way == "layers":
            self._show_hidden()
        else:
            self._hide_layers()
            getattr(self, f"_show_{way}")()
        self._legend()
        self.way_changed.emit(way)

    def set_map(self, kind: str) -> None:
        """Compare other maps by blinking, swiping and side by side: a name of `looking_maps.MAPS`."""
        if kind == self.map:
            return
        self.map, self._maps = kind, None
        self.map_changed.emit(kind)
        if self.review is not None and kind != "outlines":
            self._make_maps(self.review)
        elif self.way in _OF_MAPS:
            self.set_way(self.way)

    def _make_maps(self, review: CropReview) -> None:
        kind, width = self.map, self._boundary_width()

        def show(maps: Any) -> None:
            if self.review is review and self.map == kind:
                self._maps = maps
                if self.way in _OF_MAPS:
                    self.set_way(self.way)

        task = self.model.work.task(lambda _: maps_of(review, kind, width), self)
        task.done.connect(show)
        task.start()

    def _boundary_width(self) -> int:
        layer = canvas.find_layer(self.viewer, "predicted nuclei")
        return int(layer.metadata["monusac"].get("boundary_width", 3)) if layer is not None else 3

    def _pair(self, review: CropReview) -> Maps:
        """The two maps that are compared; outlines until others are made."""
        return self._maps if self._maps is not None else (review.solid, review.dashed)

    def toggle_swipe(self) -> None:
        """Draw the swipe, or put it away."""
        if self.way == "swipe":
            self.set_way(self._before_swipe)
        else:
            self._before_swipe = self.way
            self.set_way("swipe")

    def set_review(self, review: CropReview | None) -> None:
        """Take another comparison; layers that are shown follow."""
        self.review, self._maps = review, None
        if review is not None and self.map != "outlines":
            self._make_maps(review)
        if review is None:
            self._stop_blinking()
            self._leave("layers")
            comparing.remove(self.viewer, *comparing.COMPARED_ROLES)
            self._second.close()
            self._uncertainty = None
            self._hidden = []
            if self.way != "layers":
                self.way = "layers"
                self.way_changed.emit("layers")
        else:
            self._follow(review)
        self._legend()

    def _follow(self, review: CropReview) -> None:
        """Show the new maps on the layers that are still there."""
        if self.way != "layers":
            self._hide_layers()
        fresh = {comparing.DIFFERENCE: review.difference}
        if self.map == "outlines":  # other maps are made first
            fresh |= {comparing.TRUTH: review.solid, comparing.PREDICTED: review.dashed}
        for role, data in fresh.items():
            if canvas.find_layer(self.viewer, role) is not None:
                self._put(role, data, show=False)
        if self.way == "swipe" and canvas.find_layer(self.viewer, comparing.SWIPE) is not None:
            self._show_swipe()
        if self.way == "beside":
            self._second.update(review.dashed)
        if self.way == "uncertainty" and canvas.find_layer(self.viewer, comparing.UNCERTAINTY) is not None:
            self._show_uncertainty()

    def _leave(self, way: str) -> None:
        """Hide what the next way does not need."""
        keep = {"outlines": (comparing.TRUTH, comparing.PREDICTED), "difference": (comparing.DIFFERENCE,),
                "swipe": (comparing.SWIPE,), "beside": (comparing.TRUTH,), "uncertainty": (comparing.UNCERTAINTY,)}  # fmt: skip
        comparing.hide(self.viewer, *(r for r in comparing.COMPARED_ROLES if r not in keep.get(way, ())))
        self.swipe.leave()
        if way != "beside":
            self._second.hide()

    def _hide_layers(self) -> None:
        for role in ("nuclei", "predicted nuclei", "predicted semantic", "predicted ternary", "semantic", "ternary"):
            layer = canvas.find_layer(self.viewer, role)
            if layer is not None and layer.visible:
                layer.visible = False
                self._hidden.append(layer)

    def _show_hidden(self) -> None:
        for layer in self._hidden:
            layer.visible = True
        if self._hidden and (layer := canvas.find_layer(self.viewer, "predicted nuclei")) is not None:
            layer.visible = True  # predicted again meanwhile: another layer stands for the hidden one
        self._hidden = []

    def _put(self, role: str, data: Any, *, lines: bool = False, show: bool = True) -> None:
        """Show a map: the difference, outlines, or (unless `lines`) the maps that are compared."""
        image, review = canvas.image_layer(self.viewer), self.review
        if image is None or review is None:
            return
        kind = "outlines" if lines or self._maps is None else self.map
        if role == comparing.DIFFERENCE:
            kind = "difference"
        look = comparing.look_of(kind, self.model.palette)
        comparing.put_labels(self.viewer, role, data, image, review.offset_px, look, show=show)

    # -- each way

    def _show_outlines(self) -> None:
        """Both on the tissue: dashes over the solid lines, so that these are seen between them; a filled map below."""
        review = self.review
        if review is None:
            return
        if self._maps is None:
            self._put(comparing.TRUTH, review.solid)
            self._put(comparing.PREDICTED, review.dashed)
            comparing.put_above(self.viewer, comparing.PREDICTED, comparing.TRUTH)
        else:
            self._put(comparing.PREDICTED, self._maps[1])
            self._put(comparing.TRUTH, review.solid, lines=True)
            comparing.put_above(self.viewer, comparing.TRUTH, comparing.PREDICTED)

    def _show_difference(self) -> None:
        if self.review is not None:
            self._put(comparing.DIFFERENCE, self.review.difference)

    def _show_swipe(self) -> None:
        if self.review is not None:
            self.swipe.show(self._pair(self.review))

    def _show_beside(self) -> None:
        image, review = canvas.image_layer(self.viewer), self.review
        if review is not None and image is not None:
            truth, prediction = self._pair(review)
            self._put(comparing.TRUTH, truth)
            look = comparing.look_of("outlines" if self._maps is None else self.map, self.model.palette)
            self._second.open(image, prediction, look, review.offset_px)

    def _show_uncertainty(self) -> None:
        review, latest = self.review, self.model.last_prediction
        if review is None:
            return
        known = self._uncertainty
        if known is not None and known[0] is review and known[1] is latest:
            self._put_uncertainty(review, known[2])
            return

        def work(_: Report) -> Any:
            return uncertainty_of(review, latest)[: review.pair.truth.shape[0], : review.pair.truth.shape[1]]

        def show(data: Any) -> None:
            if self.way == "uncertainty" and self.review is review:
                self._uncertainty = (review, latest, data)
                self._put_uncertainty(review, data)

        task = self.model.work.task(work, self)
        task.done.connect(show)
        task.start()

    def _put_uncertainty(self, review: CropReview, data: Any) -> None:
        image = canvas.image_layer(self.viewer)
        if image is not None:
            comparing.put_uncertainty(self.viewer, data, image, review.offset_px)

    # -- blink

    def blink(self, *, on: bool) -> None:
        """Show truth and prediction in turn while the key is held."""
        if self.review is None or on == self.blinking:
            return
        if not on:
            self.set_way(self._before_blink)
            return
        self._before_blink = self.way
        if self.way != "outlines":
            self.set_way("outlines")
        if self._maps is not None:
            self._put(comparing.TRUTH, self._maps[0])
        self.blinking = True
        self._shows_truth = False
        self._blink_on()
        self._blink.start()

    def _blink_on(self) -> None:
        self._shows_truth = not self._shows_truth
        for role, visible in ((comparing.TRUTH, self._shows_truth), (comparing.PREDICTED, not self._shows_truth)):
            layer = canvas.find_layer(self.viewer, role)
            if layer is not None:
                layer.visible = visible
        self._legend()

    def _stop_blinking(self) -> None:
        self._blink.stop()
        self.blinking = False

    # -- the legend

    def _legend(self) -> None:
        canvas.show_legend(self.viewer, self.legend_entries(), legend=_LEGEND, position="top_right", keep=True)

    def legend_entries(self) -> list[tuple[str, str, Rgb]]:
        """Lines of the legend of this way of looking."""
        if self.blinking:
            return blink_legend(self._shows_truth)
        if self.review is None:
            return []
        return legend_of(self.review, self.way, "outlines" if self._maps is None else self.map)

    def close(self) -> None:
        """Let go of the viewer (the Studio closes)."""
        self._stop_blinking()
        self._second.close()


def toggle_fill(viewer: Any) -> None:
    """The layers of nuclei as outlines, or filled: the truth's as Annotate does it, the prediction's with it."""
    controller = controller_of(viewer)
    controller.fill(FILLABLE)
    predicted = canvas.find_layer(viewer, "predicted nuclei")
    if isinstance(predicted, Labels):
        filled = controller.look.filled >= set(FILLABLE)
        predicted.contour, predicted.opacity = (0, 0.5) if filled else (2, 0.9)
