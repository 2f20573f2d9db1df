"""Ways of looking at truth and prediction: outlines, difference, swipe, side by side, doubt, and blink while B is held.

The layers *nuclei* and *predicted nuclei* are only hidden meanwhile. What the user deletes stays deleted until another
way of looking is chosen.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer
from qtpy.QtCore import QObject, QTimer, Signal

from napari_monusac.core.classes import DIFFERENCE_COLORS, Rgb
from napari_monusac.ui import canvas, comparing
from napari_monusac.ui.looking_beside import SecondView
from napari_monusac.ui.work import Report, Task

if TYPE_CHECKING:
    from napari_monusac.ui.review_data import CropReview

#: The ways: name, word on the button, what it shows.
WAYS: tuple[tuple[str, str, str], ...] = (
    ("layers", "Layers", "The layers as they are; hold B to blink truth and prediction in turn"),
    ("outlines", "Outlines", "Both on the tissue: truth with solid lines, prediction with dashed ones"),
    ("difference", "Difference", "Pixels by what became of their nucleus: right, missed, spurious, wrong class, edge"),
    ("swipe", "Swipe (W)", "A curtain that follows the mouse: truth left of it, prediction right of it"),
    ("beside", "Side by side", "Truth in this view, prediction in a second one; both move together"),
    ("doubt", "Doubt", "Where the model is in doubt: its two heads contradict each other, or the class wavers"),
)  # fmt: skip
_LEGEND = "monusac_looking_"
_BLINK_MS = 400
_LINE: Rgb = (235, 235, 235)


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
    """

    way_changed = Signal(str)

    def __init__(self, viewer: Any, model: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self.viewer, self.model = viewer, model
        self.way = "layers"
        self.review: CropReview | None = None
        self.blinking = False
        self._before_swipe = self._before_blink = "outlines"
        self._shows_truth = False
        self._hidden: list[Layer] = []
        self._column = -1
        self._swiped: Any = None
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

    def toggle_swipe(self) -> None:
        """Draw the curtain, or put it away."""
        if self.way == "swipe":
            self.set_way(self._before_swipe)
        else:
            self._before_swipe = self.way
            self.set_way("swipe")

    def set_review(self, review: CropReview | None) -> None:
        """Take another comparison; layers that are shown follow."""
        self.review = review
        if review is None:
            self._stop_blinking()
            self._leave("layers")
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
        fresh = {comparing.TRUTH: review.solid, comparing.PREDICTED: review.dashed,
                 comparing.DIFFERENCE: review.difference}  # fmt: skip
        for role, data in fresh.items():
            if canvas.find_layer(self.viewer, role) is not None:
                self._put(role, data)
        if self.way == "swipe" and canvas.find_layer(self.viewer, comparing.SWIPE) is not None:
            self._show_swipe()
        if self.way == "beside":
            self._second.update(review.dashed)
        if self.way == "doubt" and canvas.find_layer(self.viewer, comparing.DOUBT) is not None:
            self._show_doubt()

    def _leave(self, way: str) -> None:
        """Take away what the next way does not need."""
        keep = {"outlines": (comparing.TRUTH, comparing.PREDICTED), "difference": (comparing.DIFFERENCE,),
                "swipe": (comparing.SWIPE,), "beside": (comparing.TRUTH,), "doubt": (comparing.DOUBT,)}  # fmt: skip
        comparing.hide(self.viewer, *(r for r in comparing.ROLES if r not in keep.get(way, ())))
        if self._swipe_moved in self.viewer.mouse_move_callbacks:
            self.viewer.mouse_move_callbacks.remove(self._swipe_moved)
        if way != "beside":
            self._second.close()

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

    def _put(self, role: str, data: Any, opacity: float = 1.0) -> None:
        image = canvas.image_layer(self.viewer)
        if image is None or self.review is None:
            return
        colors = (
            comparing.difference_colormap()
            if role == comparing.DIFFERENCE
            else comparing.outline_colormap(self.model.palette)
        )
        comparing.put_labels(self.viewer, role, data, image, self.review.offset_px, colors, opacity)

    # -- each way

    def _show_outlines(self) -> None:
        if self.review is not None:
            self._put(comparing.TRUTH, self.review.solid)
            self._put(comparing.PREDICTED, self.review.dashed)

    def _show_difference(self) -> None:
        if self.review is not None:
            self._put(comparing.DIFFERENCE, self.review.difference, 0.7)

    def _show_beside(self) -> None:
        image = canvas.image_layer(self.viewer)
        if self.review is not None and image is not None:
            self._put(comparing.TRUTH, self.review.solid)
            colors = comparing.outline_colormap(self.model.palette)
            self._second.open(image, self.review.dashed, colors, self.review.offset_px)

    def _show_doubt(self) -> None:
        review, latest = self.review, self.model.last_prediction
        if review is None:
            return
        y, x = review.offset_px

        def work(_: Report) -> Any:
            return doubt_of(review, latest)[: review.pair.truth.shape[0], : review.pair.truth.shape[1]]

        def show(data: Any) -> None:
            image = canvas.image_layer(self.viewer)
            if self.way == "doubt" and self.review is review and image is not None:
                comparing.put_doubt(self.viewer, data, image, (y, x))

        task = Task(work)
        task.done.connect(show)
        task.start()

    # -- the curtain

    def _show_swipe(self) -> None:
        if self.review is None:
            return
        solid = self.review.solid
        self._swiped = np.empty_like(solid)
        column = self._column if 0 <= self._column < solid.shape[1] else solid.shape[1] // 2
        self._column = -1
        self._fill_to(column, 0, solid.shape[1])
        self._put(comparing.SWIPE, self._swiped)
        if self._swipe_moved not in self.viewer.mouse_move_callbacks:
            self.viewer.mouse_move_callbacks.append(self._swipe_moved)

    def _swipe_moved(self, _: Any, event: Any) -> None:
        layer = canvas.find_layer(self.viewer, comparing.SWIPE)
        if layer is not None and self.review is not None:
            self.swipe_to(round(float(layer.world_to_data(event.position)[-1])))

    def swipe_to(self, column: int) -> None:
        """Put the curtain's edge on a column of the map."""
        layer = canvas.find_layer(self.viewer, comparing.SWIPE)
        if layer is None or self._swiped is None or layer.data is not self._swiped:
            return
        width = self._swiped.shape[1]
        column = min(max(0, column), width - 1)
        if column == self._column:
            return
        edge = self._edge_px()
        self._fill_to(column, min(column, self._column) - edge, max(column, self._column) + edge + 1)
        layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _fill_to(self, column: int, start: int, stop: int) -> None:
        """Draw the columns from `start` to `stop` anew: truth, the edge, prediction."""
        if self.review is None:
            return
        start, stop = max(0, start), min(stop, self._swiped.shape[1])
        self._swiped[:, start:column] = self.review.solid[:, start:column]
        self._swiped[:, column:stop] = self.review.dashed[:, column:stop]
        edge = self._edge_px()
        self._swiped[:, max(0, column - edge // 2) : column + edge - edge // 2] = comparing.CURTAIN
        self._column = column

    def _edge_px(self) -> int:
        """Width of the curtain's edge in px of the map: two on the screen."""
        image = canvas.image_layer(self.viewer)
        scale = 1.0 if image is None else float(image.scale[-1])
        return int(np.clip(round(2 / max(1e-6, float(self.viewer.scene.camera.zoom) * scale)), 1, 40))

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
        canvas.show_legend(self.viewer, self.legend_entries(), legend=_LEGEND, position="top_right")

    def legend_entries(self) -> list[tuple[str, str, Rgb]]:
        """Lines of the legend of this way of looking."""
        if self.blinking:
            return [("now", "truth" if self._shows_truth else "prediction", _LINE)]
        if self.review is None:
            return []
        if self.way == "difference":
            counts = difference_counts(self.review)
            return [(name, f"{name}  {counts[name]}", rgb) for name, rgb in DIFFERENCE_COLORS.items()]
        if self.way == "doubt":
            return [
                (word, word, (int(c[0] * 255), int(c[1] * 255), int(c[2] * 255)))
                for word, c in zip(("some doubt", "great doubt"), comparing.DOUBT_COLORS[2:], strict=True)
            ]
        lines = {
            "outlines": ("truth: solid line", "prediction: dashed line"),
            "swipe": ("left of the curtain: truth", "right of it: prediction"),
            "beside": ("truth",),
        }.get(self.way, ())
        return [(f"{k}", line, _LINE) for k, line in enumerate(lines)]

    def close(self) -> None:
        """Let go of the viewer (the Studio closes)."""
        self._stop_blinking()
        self._second.close()


def difference_counts(review: CropReview) -> Counter[str]:
    """Nuclei by what became of them, in the words of the difference map."""
    counts: Counter[str] = Counter({"right": len(review.findings.right)})
    for f in review.findings:
        kind = f.type.value
        if kind in ("split", "merged"):
            counts["spurious" if kind == "split" else "missed"] += max(len(f.prediction_ids), len(f.truth_ids)) - 1
            counts["loose edge"] += 1
        else:
            counts[kind] += 1
    return counts


def doubt_of(review: CropReview, latest: Any) -> Any:
    """Doubt of each pixel, float32 (y, x), 0 to 1: of the two heads where their probabilities are at hand, else of each
    predicted nucleus as a whole (1 - confidence)."""  # fmt: skip
    from napari_monusac.masks.doubt import disagreement_map, entropy_map
    from napari_monusac.scoring.lookup import paint

    pair = review.pair
    if latest is not None and tuple(latest[0].offset_px) == pair.offset_px and latest[0].shape == pair.truth.shape:
        p = latest[0]
        return np.maximum(disagreement_map(p.semantic, p.ternary, p.boundary_width), entropy_map(p.semantic))
    ids = np.array(sorted(pair.confidence), np.int64)
    doubts = np.array([1 - pair.confidence[int(k)] for k in ids], np.float32)
    return paint(pair.prediction, ids, doubts)
