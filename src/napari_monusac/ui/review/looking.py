"""Ways of looking at truth and prediction: outlines, difference, swipe, side by side, uncertainty; blink while B is held.

The layers *nuclei* and *predicted nuclei* are only hidden meanwhile, and so is what a way of looking has drawn while
another one is chosen: each click would cost half a second else. What the user deletes stays deleted until a way of
looking is chosen again. While another panel is in front, nothing of Review is on the canvas, and nothing hidden by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QButtonGroup, QComboBox, QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.review import ReviewModel
from napari_monusac.app.work import Report
from napari_monusac.core.classes import Rgb
from napari_monusac.ui.canvas import canvas, comparing
from napari_monusac.ui.canvas.colors import FILLABLE, ClassColormap, Look
from napari_monusac.ui.canvas.legend import show_legend
from napari_monusac.ui.canvas.outlines import clip_outlines
from napari_monusac.ui.canvas.styles import PREDICTION, TRUTH
from napari_monusac.ui.canvas.view import PanelView
from napari_monusac.ui.editing.controller import controller_of
from napari_monusac.ui.model import hear, studio_model
from napari_monusac.ui.review.beside import SecondView
from napari_monusac.ui.review.going import FRAMES_ROLE
from napari_monusac.ui.review.legends import MAPS, WAYS, blink_legend, legend_of
from napari_monusac.ui.widgets.basic import calm
from napari_monusac.ui.widgets.tables import narrow

if TYPE_CHECKING:
    from napari_monusac.review.comparison import Comparison, Maps


class WaysView(QWidget):
    """Chooses how truth and prediction are shown.

    Parameters
    ----------
    model : ReviewModel
        Has the way, and the maps that are compared.
    """

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        group = QButtonGroup(self)
        grid = QGridLayout()
        grid.setSpacing(3)
        for at, (name, words, tip) in enumerate(WAYS):
            button = calm(QPushButton(words))
            button.setCheckable(True)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, n=name: model.look(n))
            group.addButton(button)
            self.buttons[name] = button
            grid.addWidget(button, at // 4, at % 4)
            grid.setColumnStretch(at % 4, 1)
        self.map = calm(QComboBox())
        narrow(self.map)
        for name, words, tip in MAPS:
            self.map.addItem(words, name)
            self.map.setItemData(self.map.count() - 1, tip, 3)  # Qt.ToolTipRole
        self.map.setToolTip("What Outlines, Swipe, Side by side and the blinking compare")
        self.map.currentIndexChanged.connect(lambda _: setattr(model, "map", self.map.currentData()))
        hear(self, model.way_changed, lambda way: self.buttons[way].setChecked(True))
        hear(self, model.map_changed, lambda name: self.map.setCurrentIndex(self.map.findData(name)))
        self.buttons[model.way].setChecked(True)
        self.map.setCurrentIndex(self.map.findData(model.map))
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
    at : callable
        Told of the column of the edge.
    """

    def __init__(self, viewer: Any, put: Callable[[Any], None], at: Callable[[int], None]) -> None:
        self.viewer, self._put, self._at = viewer, put, at
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
        self._at(self.column)
        self.follow()

    def follow(self) -> None:
        """Let the swipe follow the mouse."""
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
        self._at(column)

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
#: What each way shows of Review's layers.
_LAYERS = {"outlines": (comparing.TRUTH, comparing.PREDICTED), "difference": (comparing.DIFFERENCE,),
           "swipe": (comparing.TRUTH, comparing.PREDICTED, comparing.SWIPE), "beside": (comparing.TRUTH,), "uncertainty": (comparing.UNCERTAINTY,)}  # fmt: skip
#: Layers that would lie under those, or over them.
_COVERED = ("nuclei", "predicted nuclei", "predicted semantic", "predicted ternary", "semantic", "ternary")


class Looking(QObject):
    """Shows truth and prediction in the way that the model says, while Review is in front.

    Parameters
    ----------
    viewer : napari.Viewer
        Where.
    model : ReviewModel
        Way, maps, comparison.
    """

    def __init__(self, viewer: Any, model: ReviewModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer, self.model = viewer, model
        self.blinking = False
        self._before_blink = "outlines"
        self._shows_truth = False
        self._maps: Maps | None = None  # of the model's map, where that is not the outlines
        #: the comparison and prediction that an uncertainty map is of, and the map
        self._uncertainty: tuple[Any, Any, Any] | None = None
        self.view = PanelView(viewer, (*comparing.COMPARED_ROLES, FRAMES_ROLE))
        self.swipe = SwipeEdge(viewer, lambda data: self._put(comparing.SWIPE, data), self._clip)
        self._second = SecondView(viewer, self)
        self._second.closed.connect(lambda: model.look("layers") if model.way == "beside" else None)
        self._blink = QTimer(self)
        self._blink.setInterval(_BLINK_MS)
        self._blink.timeout.connect(self._blink_on)
        hear(self, model.way_changed, self._way_changed)
        hear(self, model.map_changed, self._map_changed)
        hear(self, model.compared, self._compared)
        hear(self, model.shown_changed, self._shown_changed)
        hear(self, model.studio.palette_changed, lambda _: self._compared(model.comparison))

    def _shown_changed(self, shown: bool) -> None:
        """Put the view away while another panel is in front; coming back, it is as it was."""
        if not shown:
            if self.blinking:
                self.blink(on=False)
            self.swipe.leave()
            self._second.hide()
            self.view.put_away()
        else:
            self.view.bring_back()
            if self.model.way == "swipe":
                self.swipe.follow()
            elif self.model.way == "beside":
                self._show_beside()
        self._legend()

    # -- the way

    def _way_changed(self, way: str) -> None:
        self._stop_blinking()
        comparing.hide(self.viewer, *(r for r in comparing.COMPARED_ROLES if r not in _LAYERS.get(way, ())))
        self.swipe.leave()
        if way != "beside":
            self._second.hide()
        self.view.cover(_COVERED if way != "layers" else ())
        if way != "layers" and self.model.shown:
            getattr(self, f"_show_{way}")()
        self._legend()

    def _map_changed(self, kind: str) -> None:
        self._maps = None
        if self.model.comparison is not None and kind != "outlines":
            self._make_maps(self.model.comparison)
        elif self.model.way in _OF_MAPS:
            self._way_changed(self.model.way)

    def _make_maps(self, comparison: Comparison) -> None:
        kind = self.model.map

        def show(maps: Maps) -> None:
            if self.model.comparison is comparison and self.model.map == kind:
                self._maps = maps
                if self.model.way in _OF_MAPS:
                    self._way_changed(self.model.way)

        def work(_: Report) -> Maps:
            from napari_monusac.review.comparison import maps_of

            return maps_of(comparison, kind)

        task = self.model.studio.work.task(work, self)
        task.done.connect(show)
        task.start()

    def _compared(self, comparison: Comparison | None) -> None:
        """Take another comparison; layers that are shown follow."""
        self._maps = None
        if comparison is not None and self.model.map != "outlines":
            self._make_maps(comparison)
        if comparison is None:
            self._stop_blinking()
            self.swipe.leave()
            comparing.remove(self.viewer, *comparing.COMPARED_ROLES)
            self._second.close()
            self._uncertainty = None
            self.view.forget()
        else:
            self._follow(comparison)
        self._legend()

    def _follow(self, comparison: Comparison) -> None:
        """Show the new maps on the layers that are still there."""
        way = self.model.way
        if way != "layers":
            self.view.cover(_COVERED)
        if canvas.find_layer(self.viewer, comparing.DIFFERENCE) is not None:
            self._put(comparing.DIFFERENCE, comparison.difference, show=False)
        for role in (comparing.TRUTH, comparing.PREDICTED) if self.model.map == "outlines" else ():
            if canvas.find_layer(self.viewer, role) is not None:
                self._put_outlines(role, show=False)  # other maps are made first
        if way == "swipe" and canvas.find_layer(self.viewer, comparing.SWIPE) is not None:
            self._show_swipe()
        if way == "beside" and self.model.map == "outlines":
            self._show_beside()
        if way == "uncertainty" and canvas.find_layer(self.viewer, comparing.UNCERTAINTY) is not None:
            self._show_uncertainty()

    def _put(self, role: str, data: Any, *, show: bool = True) -> None:
        """Show a map: the difference, or those that are compared."""
        kind = "difference" if role == comparing.DIFFERENCE else "swipe" if self._maps is None else self.model.map
        self._put_as(role, data, comparing.look_of(kind, self.model.studio.palette), show=show)

    def _put_outlines(self, role: str, *, show: bool = True) -> None:
        if self.model.comparison is not None:
            data, look = self._outlined(self.model.comparison, role)
            self._put_as(role, data, look, show=show)
            clip_outlines(self.viewer, canvas.find_layer(self.viewer, role), -np.inf, np.inf)

    def _outlined(self, comparison: Comparison, role: str) -> tuple[Any, comparing.LookOf]:
        """The nuclei of truth or prediction, and how they are drawn."""
        pair, palette = comparison.pair, self.model.studio.palette
        if role == comparing.TRUTH:
            return pair.truth.astype(np.int32, copy=False), comparing.outlined(pair.truth_classes, palette, TRUTH)
        found = comparing.outlined(pair.prediction_classes, palette, PREDICTION)
        return pair.prediction.astype(np.int32, copy=False), found

    def _put_as(self, role: str, data: Any, look: comparing.LookOf, *, show: bool) -> None:
        image, comparison, studio = canvas.image_layer(self.viewer), self.model.comparison, self.model.studio
        if image is not None and comparison is not None:
            comparing.put_labels(
                self.viewer, role, data, image, comparison.offset_px, look, studio.work, show=show and self.model.shown
            )

    # -- each way

    def _show_outlines(self) -> None:
        """Both on the tissue: dashes over the solid lines, so that these are seen between them; a filled map below."""
        comparison = self.model.comparison
        if comparison is None:
            return
        if self._maps is None:
            self._put_outlines(comparing.TRUTH)
            self._put_outlines(comparing.PREDICTED)
            comparing.put_above(self.viewer, comparing.PREDICTED, comparing.TRUTH)
        else:
            self._put(comparing.PREDICTED, self._maps[1])
            self._put_outlines(comparing.TRUTH)
            comparing.put_above(self.viewer, comparing.TRUTH, comparing.PREDICTED)

    def _show_difference(self) -> None:
        if self.model.comparison is not None:
            self._put(comparing.DIFFERENCE, self.model.comparison.difference)

    def _show_swipe(self) -> None:
        comparison, maps = self.model.comparison, self._maps
        if comparison is None:
            return
        if maps is None:
            self._put_outlines(comparing.TRUTH)
            self._put_outlines(comparing.PREDICTED)
            maps = (np.zeros(comparison.difference.shape, np.uint8),) * 2  # the edge alone
        else:
            comparing.hide(self.viewer, comparing.TRUTH, comparing.PREDICTED)
        self.swipe.show(maps)
        comparing.put_above(self.viewer, comparing.SWIPE, comparing.TRUTH)
        comparing.put_above(self.viewer, comparing.SWIPE, comparing.PREDICTED)

    def _clip(self, column: int) -> None:
        """Outlines of the truth are drawn left of the swipe, those of the prediction right of it."""
        clip_outlines(self.viewer, canvas.find_layer(self.viewer, comparing.TRUTH), -np.inf, column)
        clip_outlines(self.viewer, canvas.find_layer(self.viewer, comparing.PREDICTED), column, np.inf)

    def _show_beside(self) -> None:
        image, comparison = canvas.image_layer(self.viewer), self.model.comparison
        if comparison is not None and image is not None:
            if self._maps is None:
                self._put_outlines(comparing.TRUTH)
                prediction, look = self._outlined(comparison, comparing.PREDICTED)
            else:
                self._put(comparing.TRUTH, self._maps[0])
                prediction = self._maps[1]
                look = comparing.look_of(self.model.map, self.model.studio.palette)
            self._second.open(image, prediction, look, comparison.offset_px)

    def _show_uncertainty(self) -> None:
        comparison, latest = self.model.comparison, self.model.studio.last_prediction
        if comparison is None:
            return
        known = self._uncertainty
        if known is not None and known[0] is comparison and known[1] is latest:
            self._put_uncertainty(comparison, known[2])
            return

        def show(data: Any) -> None:
            if self.model.way == "uncertainty" and self.model.comparison is comparison:
                self._uncertainty = (comparison, latest, data)
                self._put_uncertainty(comparison, data)

        def work(_: Report) -> Any:
            from napari_monusac.review.comparison import uncertainty_of

            return uncertainty_of(comparison, latest[0] if latest is not None else None)

        task = self.model.studio.work.task(work, self)
        task.done.connect(show)
        task.start()

    def _put_uncertainty(self, comparison: Comparison, data: Any) -> None:
        image = canvas.image_layer(self.viewer)
        if image is not None and self.model.shown:
            comparing.put_uncertainty(self.viewer, data, image, comparison.offset_px)

    # -- blink

    def blink(self, *, on: bool) -> None:
        """Show truth and prediction in turn while the key is held."""
        if self.model.comparison is None or on == self.blinking:
            return
        if not on:
            self.model.look(self._before_blink)
            return
        self._before_blink = self.model.way
        if self.model.way != "outlines":
            self.model.look("outlines")
        if self._maps is not None:
            self._put(comparing.TRUTH, self._maps[0])
        self.blinking = True
        self._shows_truth = False
        self._blink_on()
        self._blink.start()

    def _blink_on(self) -> None:
        self._shows_truth = not self._shows_truth
        canvas.set_visible(self.viewer, comparing.TRUTH, self._shows_truth)
        canvas.set_visible(self.viewer, comparing.PREDICTED, not self._shows_truth)
        self._legend()

    def _stop_blinking(self) -> None:
        self._blink.stop()
        self.blinking = False

    # -- the legend

    def _legend(self) -> None:
        entries = self.legend_entries() if self.model.shown else []
        show_legend(self.viewer, entries, legend=_LEGEND, position="top_right", keep=True)

    def legend_entries(self) -> list[tuple[str, str, Rgb]]:
        """Lines of the legend of this way of looking."""
        if self.blinking:
            return blink_legend(self._shows_truth)
        if self.model.comparison is None:
            return []
        return legend_of(self.model.comparison, self.model.way, "outlines" if self._maps is None else self.model.map)


def toggle_fill(viewer: Any) -> None:
    """The layers of nuclei as outlines, or filled: the truth's as Annotate does it, the prediction's with it."""
    controller = controller_of(viewer)
    controller.fill(FILLABLE)
    predicted = canvas.find_layer(viewer, "predicted nuclei")
    if isinstance(predicted, Labels) and isinstance(predicted.colormap, ClassColormap):
        filled, palette = controller.look.filled >= set(FILLABLE), studio_model(viewer).palette
        predicted.colormap.set_look(Look(palette, filled=frozenset(FILLABLE if filled else ())))
        predicted.events.colormap()
