"""Masks: the boundary-mask widget. Background, inside and boundary of the nuclei, widened from 1 to 3 px, live."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from magicgui.widgets import CheckBox, Container, PushButton, RadioButtons, create_widget
from napari.layers import Labels
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QRadioButton, QVBoxLayout, QWidget
from superqt.utils import qthrottled

from napari_monusac.app.actions import WRITE_TERNARY
from napari_monusac.app.work import Task
from napari_monusac.core.classes import TERNARY_COLORS, TERNARY_NAMES, TernaryClass
from napari_monusac.core.recipe import BOUNDARY_WIDTHS
from napari_monusac.ui.canvas import canvas, comparing
from napari_monusac.ui.canvas.colormaps import ternary_colormap
from napari_monusac.ui.masks.folder import MaskFolder
from napari_monusac.ui.model import Placed, hear, studio_model
from napari_monusac.ui.widgets.basic import ClassSwatch, Heading, row
from napari_monusac.ui.widgets.note import Note


def amounts_of(ternary: Any) -> dict[TernaryClass, int]:
    """Count the pixels of each class of a ternary map (uint8, (y, x))."""
    return {member: int(np.count_nonzero(ternary == int(member))) for member in TernaryClass}


class MaskAmounts(QWidget):
    """A line a class: colour, name, pixels and their share."""

    def __init__(self) -> None:
        super().__init__()
        self.labels = {c: QLabel("–") for c in TernaryClass}
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(2)
        for c in TernaryClass:
            swatch = ClassSwatch(TERNARY_COLORS.get(c, (60, 60, 60)))
            box.addWidget(row(swatch, QLabel(TERNARY_NAMES[c]), self.labels[c]))

    def show_amounts(self, amounts: dict[TernaryClass, int] | None) -> None:
        """Show counts, or dashes where there are none."""
        total = max(1, sum(amounts.values())) if amounts else 1
        for member, label in self.labels.items():
            number = amounts[member] if amounts else 0
            words = f"{number:,} px   {100 * number / total:.1f} %".replace(",", "\u202f")
            label.setText(words if amounts else "–")


__all__ = ["MasksPanel"]

#: Above this many pixels a full preview is computed in the background, so that the window stays alive.
_DIRECT_PX = 2_000_000
_EMPTY = "Open a crop with labels (Slides), or any labels layer with one number a nucleus."
_WHAT = (
    "Masks are what a network learns from: background, the inside of every nucleus, and a boundary that keeps "
    "neighbours apart."
)


class MasksPanel(QWidget):
    """Choose nuclei and a width, watch the ternary map follow every edit, write it.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers are masked.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.model = studio_model(napari_viewer)
        Placed(self, self.model)
        self._watched: Labels | None = None
        self._preview: Labels | None = None
        #: whether the preview was taken off the canvas because the user works in another panel
        self._put_away = False
        #: whether the preview was lost a moment ago, with the layers of a crop or by the user's hand
        self._lost = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._forget_loss)
        self._task: Task | None = None
        self._counting: Task | None = None
        self._build()
        hear(self, self.model.crop_changed, self._crop_changed)
        self.viewer.layers.events.inserted.connect(self._layers_changed)
        self.viewer.layers.events.removed.connect(self._layers_changed)
        self._layers_changed()

    def _build(self) -> None:
        self.nuclei: Any = create_widget(annotation=Labels, label="Nuclei", options={"choices": self._nuclei_layers})
        self.nuclei.tooltip = "A labels layer with one number a nucleus"
        self.width: Any = RadioButtons(
            choices=[(f"{w} px", w) for w in BOUNDARY_WIDTHS], value=3, orientation="horizontal", label="Boundary",
            tooltip="1 px is the nucleus' own rim; 3 px is that, dilated once by OpenCV's 3 x 3 ellipse; 5 px twice",
        )  # fmt: skip
        self.live: Any = CheckBox(
            value=False, text="Live preview", tooltip="Show the ternary map and let it follow every edit of the nuclei"
        )
        self.write: Any = PushButton(
            text=WRITE_TERNARY.text,
            tooltip=WRITE_TERNARY.tooltip,
        )
        self.form = Container(widgets=[self.nuclei, self.width, self.live, self.write], labels=True)
        self.form.margins = (0, 0, 0, 0)
        self.hint = Note(_EMPTY)
        self.amounts = MaskAmounts()
        self.whole = MaskFolder(self.model, self)
        self.folder, self.write_folder, self.progress = self.whole.folder, self.whole.button, self.whole.progress
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        box.addWidget(self.hint)
        box.addWidget(self.form.native)
        box.addWidget(Heading("Pixels"))
        box.addWidget(self.amounts)
        box.addWidget(Heading("Whole folder"))
        box.addWidget(self.whole)
        box.addStretch(1)
        stops = [self.nuclei.native, *self.width.native.findChildren(QRadioButton), self.live.native, self.write.native]
        for before, after in pairwise(stops):
            QWidget.setTabOrder(before, after)
        self.width.changed.connect(lambda _: self.refresh())
        self.nuclei.changed.connect(lambda _: self._watch())
        self.live.changed.connect(self._live_changed)
        self.write.changed.connect(lambda _: WRITE_TERNARY.run(self))

    # -- layers

    def _nuclei_layers(self, _: object = None) -> list[Labels]:
        """Labels layers that can hold nuclei: not our class maps, not the preview; the crop's own nuclei first."""
        maps = (
            "semantic", "ternary", "ambiguous", "ternary preview", "predicted semantic", "predicted ternary",
            *comparing.COMPARED_ROLES,
        )  # fmt: skip
        layers = [la for la in self.viewer.layers if isinstance(la, Labels) and canvas.role(la) not in maps]
        return sorted(layers, key=lambda la: canvas.role(la) != "nuclei")

    def _layers_changed(self, _: object = None) -> None:
        if self._preview is not None and self._preview not in self.viewer.layers:
            # the user deleted the preview: stays deleted
            self._preview = None
            self._lost = bool(self.live.value)
            self.live.value = False
            self._soon.start()
        self.nuclei.reset_choices()
        self._watch()

    def _forget_loss(self) -> None:
        self._lost = False

    def _crop_changed(self, _: object) -> None:
        self.nuclei.reset_choices()
        own = canvas.find_layer(self.viewer, "nuclei")
        if own is not None:
            self.nuclei.value = own
        self._watch()
        if self._lost and own is not None:
            # the preview went with the layers of the former crop: nobody has switched it off
            self._lost = False
            self.live.value = True

    def _watch(self) -> None:
        layer = self.nuclei.value
        for widget in (self.write, self.live, self.width):
            widget.enabled = layer is not None
        self.hint.say(_EMPTY if layer is None else _WHAT)
        if layer is self._watched:
            return
        if self._watched is not None:
            self._watched.events.labels_update.disconnect(self._edited)
            self._watched.events.set_data.disconnect(self._edited_whole)
        self._watched = layer
        if layer is not None:
            layer.events.labels_update.connect(self._edited)
            # undo, redo and new data come without a box
            layer.events.set_data.connect(self._edited_whole)
        self.refresh()

    def _edited(self, event: Any) -> None:
        """Follow a stroke: only the changed box is computed again."""
        if self._preview is None or self._watched is None:
            self._count_soon()
            return
        from napari_monusac.masks.ternary import update_ternary

        (y, x), (height, width) = event.offset[-2:], event.data.shape[-2:]
        update_ternary(self._preview.data, self._watched.data, (y, x, y + height, x + width), int(self.width.value))
        self._preview.refresh()
        self._count_soon()

    def _edited_whole(self, _: object) -> None:
        (self._count_soon if self._preview is None else self.refresh)()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Bring the preview back; count pixels once they are looked at."""
        super().showEvent(event)
        back, self._put_away = self._put_away, False
        if back and self._preview is not None:
            self._preview.visible = True
        if not self.live.value:
            self.refresh()

    def hideEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Take the preview off the canvas while another panel is worked in (a window that is minimised keeps it)."""
        super().hideEvent(event)
        if not event.spontaneous() and self._preview is not None and self._preview.visible:
            self._put_away, self._preview.visible = True, False

    # -- the map

    def refresh(self) -> None:
        """Compute the map of the chosen nuclei and width again, and show it if the preview is on."""
        layer, width = self._watched, int(self.width.value or 3)
        self.write.text = f"Write ternary layer ({width} px)"
        if layer is None or not self.live.value:
            self._count_in_background()
            return
        if layer.data.size <= _DIRECT_PX:
            self._show(_ternary(layer.data, width))
            return
        if self._task is not None:
            self._task.stop()
        task = self.model.work.task(lambda _: _ternary(layer.data, width), self)
        self._task = task
        task.done.connect(lambda result: self._show(result) if self._task is task else None)
        self.progress.follow(task, "Computing the boundaries…")

    def _show(self, ternary: Any) -> None:
        layer = self._watched
        if layer is None or not self.live.value:
            return
        if self._preview is None or self._preview.data.shape != ternary.shape:
            if self._preview is not None:
                self._remove_preview()
                self.live.value = True
            self._preview = self._add("ternary preview", ternary, layer, opacity=0.55)
            self._preview.visible = not self._put_away
        else:
            self._preview.data = ternary
        self._show_amounts(ternary)

    def _add(self, name: str, data: Any, like: Labels, opacity: float) -> Labels:
        active = self.viewer.layers.selection.active
        about = {**like.metadata.get("monusac", {}), "role": name, "boundary_width": int(self.width.value)}
        layer = self.viewer.add_labels(
            data, name=name, opacity=opacity, colormap=ternary_colormap(), metadata={"monusac": about},
            **canvas.placing(like),
        )  # fmt: skip
        # the brush stays on the nuclei
        self.viewer.layers.selection.active = active
        return layer

    def _live_changed(self, on: bool) -> None:
        if not on:
            self._remove_preview()
        self.refresh()

    def _remove_preview(self) -> None:
        preview, self._preview = self._preview, None
        if preview is not None and preview in self.viewer.layers:
            self.viewer.layers.remove(preview)

    @qthrottled(timeout=150)
    def _count_soon(self) -> None:
        if self._preview is not None:
            self._show_amounts(self._preview.data)
        else:
            self._count_in_background()

    def _count_in_background(self) -> None:
        """Count the pixels that a map of this width would have, while the panel is looked at."""
        layer, width = self._watched, int(self.width.value or 3)
        if layer is None or not self.isVisible():
            self._show_amounts(None)
            return
        data = layer.data
        task = self.model.work.task(lambda _: amounts_of(_ternary(data, width)), self)
        self._counting = task
        task.done.connect(lambda found: self.amounts.show_amounts(found) if self._counting is task else None)
        task.start()

    def _show_amounts(self, ternary: Any) -> None:
        self._counting = None
        self.amounts.show_amounts(None if ternary is None else amounts_of(ternary))

    # -- writing

    def write_layer(self) -> Labels | None:
        """Write the map into the layer *ternary* (made if it is not there)."""
        source, width = self._watched, int(self.width.value)
        if source is None:
            return None
        ternary = _ternary(source.data, width)
        layer = canvas.find_layer(self.viewer, "ternary")
        if isinstance(layer, Labels) and layer.data.shape == ternary.shape:
            layer.data = ternary
            layer.metadata["monusac"]["boundary_width"] = width
        else:
            layer = self._add("ternary", ternary, source, opacity=0.6)
        layer.visible = True
        if self.live.value:
            self.live.value = False
        self._show_amounts(ternary)
        self.model.tell(f"Layer 'ternary' now has a {width} px boundary.", "good")
        return layer

    def write_all(self) -> Task | None:
        """Write the masks of every labelled crop of the open folder, at the chosen width."""
        return self.whole.write(int(self.width.value))


def _ternary(instances: Any, width: int) -> Any:
    from napari_monusac.masks.ternary import ternary_map

    return ternary_map(np.asarray(instances), boundary_width=width)
