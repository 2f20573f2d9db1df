"""The layers of an editing session: views on its arrays, refreshed where an edit was and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_monusac.core.classes import AMBIGUOUS_COLOR, PaletteName, class_colors
from napari_monusac.ui import canvas
from napari_monusac.ui.editing_colors import ClassColormap
from napari_monusac.ui.masks_panel import ternary_colormap

if TYPE_CHECKING:
    from napari_monusac.masks.strokes import Box
    from napari_monusac.session.session import EditingSession

#: Layers that show a session, bottom first, and the array of the session's maps that each shows.
VIEWS: Mapping[str, str] = {
    "semantic": "semantic",
    "ternary": "ternary",
    "ambiguous": "ambiguous",
    "nuclei": "instances",
}
#: Those that the user may paint on.
PAINTED = ("nuclei", "ambiguous")


class SessionLayers:
    """The four layers of a session. Any of them may be missing: the user may have deleted it.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are.
    session : EditingSession
        What they show.
    palette : {"imagescope", "colour-blind"}
        Class colours.
    """

    def __init__(self, viewer: Any, session: EditingSession, palette: PaletteName) -> None:
        self.viewer, self.session, self.palette = viewer, session, palette
        self.only: frozenset[int] | None = None
        self.colormap = ClassColormap.of(self._classes(), palette)
        self._layers: dict[str, Labels] = {}
        for name in VIEWS:
            found = canvas.find_layer(viewer, name)
            if isinstance(found, Labels) and tuple(found.data.shape) == session.shape:
                self._layers[name] = found
                self._attach(name, found)
        if palette != "imagescope":
            self.set_look(palette, None)
        # what the painted maps held when the session last knew: a stroke of napari's own tools is the difference
        self._known = {name: self._array(name).copy() for name in PAINTED}

    def _classes(self) -> dict[int, int | None]:
        return {k: row.class_id for k, row in self.session.rows.items() if row.plane == "nuclei"}

    def _array(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = getattr(self.session.maps, VIEWS[name])
        return array

    def get(self, name: str) -> Labels | None:
        """Return a layer, or None where the user has deleted it."""
        layer = self._layers.get(name)
        return layer if layer is not None and layer in self.viewer.layers else None

    # -- taking layers over

    def _attach(self, name: str, layer: Labels) -> None:
        """Make a layer a view on its map. A layer that shows the same already lends its array: nothing is redrawn."""
        array = self._array(name)
        own = layer.data
        fits = isinstance(own, np.ndarray) and own.dtype == array.dtype and own.flags.writeable and own.base is None
        if fits and np.array_equal(own, array):
            setattr(self.session.maps, VIEWS[name], own)
        else:
            layer.data = array
        if name == "nuclei":
            layer.colormap = self.colormap
        layer.editable = name in PAINTED

    def restore_array(self, name: str) -> None:
        """Give a layer its map back after somebody put another array in; what that one held can be had from it before.

        The layer then shows the map again.
        """
        layer = self.get(name)
        if layer is not None and layer.data is not self._array(name):
            layer.data = self._array(name)

    def show_missing(self, image: Image | None) -> None:
        """Add the layers that are not there (a crop that nobody has labelled, or the user deleted them)."""
        active = self.viewer.layers.selection.active
        for name in VIEWS:
            if self.get(name) is None:
                self._layers[name] = plain(self._add(name, image))
        top = self.get("nuclei")
        if active is None or canvas.role(active) in ("image", ""):
            self.viewer.layers.selection.active = top
        else:
            self.viewer.layers.selection.active = active

    def _add(self, name: str, image: Image | None) -> Labels:
        about = dict(image.metadata.get("monusac", {})) if image is not None else {}
        about |= {"role": name, "annotation": str(self.session.path) if self.session.path else None}
        placing = (
            {"scale": image.scale[-2:], "translate": image.translate[-2:], "units": image.units[-2:]}
            if image is not None
            else {}
        )
        grey = (*(v / 255 for v in AMBIGUOUS_COLOR), 1.0)
        colormap = {
            "nuclei": self.colormap,
            "semantic": semantic_colormap(self.palette),
            "ternary": ternary_colormap(),
            "ambiguous": DirectLabelColormap(color_dict={0: "transparent", None: grey}),
        }[name]
        layer: Labels = self.viewer.add_labels(
            self._array(name),
            name=name,
            colormap=colormap,
            opacity=0.7 if name == "nuclei" else 0.5,
            visible=name in PAINTED,
            metadata={"monusac": about},
            **placing,
        )
        if name == "nuclei":
            layer.contour = 2
        layer.editable = name in PAINTED
        return layer

    # -- following the session

    def follow(self, box: Box | None, ids: frozenset[int] = frozenset()) -> None:
        """Show what changed: colours of `ids`, pixels of `box` (top, left, bottom, right in px)."""
        rows = self.session.rows
        if ids:
            self.colormap.set_classes(
                {k: rows[k].class_id if k in rows and rows[k].plane == "nuclei" else None for k in ids}
            )
        if box is None or box[0] >= box[2] or box[1] >= box[3]:
            return
        cut = np.s_[box[0] : box[2], box[1] : box[3]]
        for name in PAINTED:
            self._known[name][cut] = self._array(name)[cut]
        for name in VIEWS:
            layer = self.get(name)
            # an invisible layer is read anew when it is shown; the preview of Masks follows the nuclei in any case
            if layer is not None and (layer.visible or name == "nuclei"):
                refresh_box(layer, box)

    def painted(self, name: str) -> tuple[Box, NDArray[Any], NDArray[Any]] | None:
        """Return what napari's own tools have painted since the session last knew: (box, before, after), or None."""
        layer = self.get(name)
        if layer is None:
            return None
        known, now = self._known[name], np.asarray(layer.data)
        if now.shape != known.shape:
            return None
        differs = now != known
        rows = np.flatnonzero(differs.any(axis=1))
        if not rows.size:
            return None
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(differs[top:bottom].any(axis=0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        cut = np.s_[top:bottom, left:right]
        return (top, left, bottom, right), known[cut].copy(), np.array(now[cut])

    def take_back(self, name: str, box: Box) -> None:
        """Show what the session knows in a box (paint that it could not take over)."""
        cut = np.s_[box[0] : box[2], box[1] : box[3]]
        self._array(name)[cut] = self._known[name][cut]
        layer = self.get(name)
        if layer is not None:
            refresh_box(layer, box)

    def set_new_class(self, number: int) -> None:
        """Show labels that the brush is drawing in the colour of this class."""
        self.colormap.set_new_class(number, self.session.rows)
        layer = self.get("nuclei")
        if layer is not None:
            layer.events.selected_label()  # the little square in napari's controls

    def set_look(self, palette: PaletteName, only: frozenset[int] | None) -> None:
        """Take other class colours; with `only`, nuclei of other classes are not shown. No pixel is computed again."""
        self.palette, self.only = palette, only
        self.colormap.set_palette(palette, only)
        layer = self.get("nuclei")
        if layer is not None:
            layer.events.colormap()
        semantic = self.get("semantic")
        if semantic is not None:
            semantic.colormap = semantic_colormap(palette)

    def update_tables(self) -> None:
        """Bring the table of each nucleus up to date, for the status bar, Review and the legend."""
        nuclei = self.get("nuclei")
        if nuclei is not None:
            nuclei.features = self.session.features("nuclei")
        ambiguous = self.get("ambiguous")
        if ambiguous is not None:
            regions = sum(row.plane == "ambiguous" for row in self.session.rows.values())
            ambiguous.metadata.setdefault("monusac", {})["regions"] = regions

    def set_editable(self, editable: bool) -> None:
        """Let napari's tools paint, or not (the session is being saved)."""
        for name in PAINTED:
            layer = self.get(name)
            if layer is not None:
                layer.editable = editable


def recolour_predicted(layer: Any, palette: PaletteName) -> None:
    """Give a layer of a prediction the class colours that were chosen; other layers are left alone."""
    if canvas.role(layer) == "predicted semantic":
        layer.colormap = semantic_colormap(palette)
    elif canvas.role(layer) == "predicted nuclei" and "class_id" in layer.features:
        table = layer.features
        classes = dict(zip(table["index"].tolist(), table["class_id"].tolist(), strict=True))
        layer.colormap = ClassColormap.of({int(k): int(v) for k, v in classes.items()}, palette)


def plain(layer: Any) -> Any:
    """Return a layer itself: what a plugin's viewer hands out is a proxy, which is not the layer in its list."""
    return getattr(layer, "__wrapped__", layer)


def semantic_colormap(palette: PaletteName) -> DirectLabelColormap:
    """Colours of a semantic map."""
    colors: dict[int | None, Any] = dict(class_colors(palette).items())
    return DirectLabelColormap(color_dict=colors | {0: "transparent", None: "transparent"})


def refresh_box(layer: Labels, box: Box) -> None:
    """Redraw a box of a labels layer whose array was changed in place.

    napari has no public call for this; its brush uses the two private ones below. Should they go, all of the layer is
    redrawn, which is right but slow.
    """
    accumulate = getattr(layer, "_accumulate_updated_slice", None)
    redraw = getattr(layer, "_partial_labels_refresh", None)
    if accumulate is None or redraw is None or tuple(layer.data.shape) != _shown_shape(layer):
        layer.refresh()
        return
    cut = (slice(box[0], box[2]), slice(box[1], box[3]))
    view, raw = layer._slice.image.view, layer._slice.image.raw
    if layer.contour == 0 and not np.shares_memory(view, raw):
        view[cut] = layer.colormap._data_to_texture(raw[cut])
    accumulate(cut)
    redraw()


def _shown_shape(layer: Labels) -> tuple[int, ...]:
    image = getattr(getattr(layer, "_slice", None), "image", None)
    return tuple(image.raw.shape) if image is not None else ()
