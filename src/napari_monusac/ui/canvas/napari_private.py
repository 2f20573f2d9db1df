"""All that we use of napari's private parts, each with its reason. Nothing else in this package touches one.

`HOOKS` names them. A test holds them against the napari that is installed, and names what is gone; without it we fall back
on something that is right but slower, or less, as each says.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from pydantic import PrivateAttr

if TYPE_CHECKING:
    from napari_monusac.core.boxes import Box


@dataclass(frozen=True, slots=True)
class Hook:
    """One private part of napari.

    Attributes
    ----------
    owner : str
        Class or module that has it.
    names : tuple of str
        Its private names.
    use : str
        What we need it for.
    missing : str
        The public way that napari does not offer.
    without : str
        What happens where it is gone.
    example : callable
        Makes one of its owner, to look for the names on.
    since : str
        The napari in which the public way was looked for, and found missing.
    """

    owner: str
    example: Callable[[], object]
    names: tuple[str, ...]
    use: str
    missing: str
    without: str
    since: str = "0.9.2"

    def gone(self) -> list[str]:
        """Return the names that the napari which is installed does not have, with their owner."""
        try:
            found = self.example()
        except ImportError:
            return [self.owner]
        return [f"{self.owner}.{name}" for name in self.names if not hasattr(found, name)]


def _labels() -> Labels:
    return Labels(np.zeros((2, 2), np.uint8))


_WINDOW = "napari._qt.qt_main_window"
_MOUSE = "napari.components._viewer_mouse_bindings"

HOOKS = (
    Hook(
        _WINDOW, lambda: import_module(_WINDOW).Window, ("_qt_viewer",),
        use="outlines hang below the picture of a labels layer (`canvas.outlines`)",
        missing="a way to draw more of a layer than napari does",
        without="napari's own outlines, pixels wide; nuclei cannot be filled by class",
    ),
    Hook(
        "Labels", _labels, ("_accumulate_updated_slice", "_partial_labels_refresh", "_slice"),
        use="an edit redraws its box and no more",
        missing="`layer.refresh(box)`",
        without="all of the layer is redrawn after each edit",
    ),
    Hook(
        "Layer", _labels, ("_block_refresh",),
        use="several things of a layer change, and it is drawn once",
        missing="a context that holds drawing back",
        without="a layer is drawn after each change",
    ),
    Hook(
        "DirectLabelColormap", lambda: DirectLabelColormap,
        ("_data_to_texture", "_selection_as_minimum_dtype", "_values_mapping_to_minimum_values_set"),
        use="colours of thousands of nuclei through a table that is changed in place",
        missing="a colormap of labels that is a table",
        without="nuclei have napari's colours, not those of their classes",
    ),
    Hook(
        _MOUSE, lambda: import_module(_MOUSE), ("double_click_to_zoom",),
        use="two quick clicks are two clicks, while Annotate is shown",
        missing="a setting for what a double click does",
        without="a double click zooms in",
    ),
    Hook(
        "action_manager", lambda: action_manager, ("_actions",),
        use="the key map tells which of napari's keys ours cover, in napari's words",
        missing="the words of an action, and of what kind of layer it is",
        without="the key map does not tell them",
    ),
)  # fmt: skip


# -- drawing a labels layer


def _pictures(viewer: Any) -> Any:
    """What napari draws for each layer of a viewer, or of a `QtViewer`; None without a window."""
    view = getattr(getattr(viewer, "window", None), "_qt_viewer", viewer)
    return getattr(getattr(view, "canvas", None), "layer_to_visual", None)


def has_pictures(viewer: Any) -> bool:
    """Whether what is drawn for the layers of a viewer can be had."""
    return _pictures(viewer) is not None


def picture_of(viewer: Any, layer: Layer) -> Any:
    """Return what draws a layer (a node of vispy's), None where there is nothing, or not yet."""
    return getattr((_pictures(viewer) or {}).get(layer), "node", None)


def refresh_box(layer: Labels, box: Box) -> None:
    """Redraw a box (top, left, bottom, right in px) of a labels layer whose array was changed in place."""
    accumulate = getattr(layer, "_accumulate_updated_slice", None)
    redraw = getattr(layer, "_partial_labels_refresh", None)
    shown = getattr(getattr(layer, "_slice", None), "image", None)
    if accumulate is None or redraw is None or shown is None or shown.raw.shape != layer.data.shape:
        layer.refresh()
        return
    cut = (slice(box[0], box[2]), slice(box[1], box[3]))
    if layer.contour == 0 and not np.shares_memory(shown.view, shown.raw):
        shown.view[cut] = layer.colormap._data_to_texture(shown.raw[cut])
    accumulate(cut)
    redraw()


def held_back(layer: Layer) -> AbstractContextManager[Any]:
    """Return a context in which a layer is not drawn, however much of it changes."""
    block: Any = getattr(layer, "_block_refresh", nullcontext)
    made: AbstractContextManager[Any] = block()
    return made


class TableColormap(DirectLabelColormap):
    """A colormap that looks labels up in a table of small numbers, and those in a table of colours."""

    _table: NDArray[np.uint8] = PrivateAttr(default_factory=lambda: np.zeros(256, np.uint8))
    _shades: NDArray[np.float32] = PrivateAttr(default_factory=lambda: np.zeros((256, 4), np.float32))

    def places(self, labels: Any) -> Any:
        """Return the place of each label in the table of colours; the last place of the table stands for larger labels."""
        return np.take(self._table, labels, mode="clip")

    @property
    def shades(self) -> NDArray[np.float32]:
        """The table of colours, RGBA 0 to 1, one row a place."""
        return self._shades

    def map(self, values: Any) -> Any:
        """Return the RGBA colours (0 to 1) of labels, an array of one more axis of 4."""
        colors: NDArray[np.float32] = self._shades[self.places(values)]
        if self.use_selection:
            colors = np.where(np.asarray(values == self.selection)[..., None], colors, 0)
        return colors

    def _data_to_texture(self, values: Any) -> Any:
        if self.use_selection:
            return np.asarray(values == self.selection).astype(np.uint8)[()]
        return self.places(values)

    def _selection_as_minimum_dtype(self, dtype: Any) -> int:
        return int(self._data_to_texture(dtype.type(self.selection)))

    def _values_mapping_to_minimum_values_set(
        self, apply_selection: bool = True
    ) -> tuple[dict[int | None, int], dict[int, Any]]:
        if self.use_selection and apply_selection:
            return {self.selection: 1, None: 0}, {
                0: np.zeros(4),
                1: np.array(self._shades[self.places(self.selection)]),
            }
        return {}, dict(enumerate(self._shades))


# -- tools of napari's


def keys_of_napari() -> dict[str, str]:
    """Return what napari's own keys do on labels, images and the viewer, as the user has set them: {key: words}."""
    found = {str(key): str(function.__doc__).partition(".")[0] for key, function in Labels.class_keymap.items()}
    known = getattr(action_manager, "_actions", {})
    for holder in (ViewerModel, Image, Labels):  # keys of a layer come before those of the viewer
        for name, keys in get_settings().shortcuts.shortcuts.items():
            if name in known and known[name].keymapprovider is holder:
                found |= {str(key): str(known[name].description).partition("\n")[0] for key in keys}
    return found


def zooming_clicks(viewer: Any) -> list[Callable[..., Any]]:
    """Return what zooms at a double click, of a viewer's callbacks."""
    return [f for f in viewer.mouse_double_click_callbacks if getattr(f, "__name__", "") == "double_click_to_zoom"]
