"""The layers of an editing session: views on its arrays, refreshed where an edit was and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.canvas import plain
from napari_monusac.ui.canvas.colormaps import ternary_colormap
from napari_monusac.ui.canvas.colors import ClassColormap, Look, semantic_colormap
from napari_monusac.ui.canvas.help import plain_status
from napari_monusac.ui.canvas.napari_private import refresh_box
from napari_monusac.ui.canvas.outlines import outline
from napari_monusac.ui.editing.ready import PAINTED, VIEWS, Ready
from napari_monusac.ui.model import studio_model

if TYPE_CHECKING:
    from napari_monusac.core.boxes import Box


#: Opacity that the reader gives a region that is only filled; of outlines, over which fillings are weaker.
_FILLED_OPACITY, _OUTLINE_OPACITY = 0.5, 0.9


class SessionLayers:
    """The four layers of a session. Any of them may be missing: the user may have deleted it.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are.
    made : Ready
        The session, and what was made for its layers.
    look : Look
        Colours, and which classes are filled.
    """

    def __init__(self, viewer: Any, made: Ready, look: Look) -> None:
        self.viewer, self.session, self.look = viewer, made.session, look
        self.colormap, self._known = made.colormap, made.known
        self.colormap.set_look(look)
        self._regions = ClassColormap.of({})
        self._regions.set_new_class(AMBIGUOUS_ID)
        self._regions.set_look(look)
        self._work = studio_model(viewer).work
        self._layers: dict[str, Labels] = {}
        self.take_over()
        if look.palette != "imagescope" and (semantic := self.get("semantic")) is not None:
            semantic.colormap = semantic_colormap(look.palette)
        nuclei = self.get("nuclei")
        if nuclei is not None:
            nuclei.features = made.table
        self._count_regions()

    def _array(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = getattr(self.session.maps, VIEWS[name])
        return array

    def get(self, name: str) -> Labels | None:
        """Return a layer, or None where the user has deleted it."""
        layer = self._layers.get(name)
        return layer if layer is not None and layer in self.viewer.layers else None

    # -- taking layers over

    def take_over(self) -> bool:
        """Show the maps in the topmost layers of a session that are there; whether any of them is another than before."""
        taken = False
        for name in VIEWS:
            found = plain(canvas.find_layer(self.viewer, name))
            if (
                isinstance(found, Labels)
                and found is not self.get(name)
                and tuple(found.data.shape) == self.session.shape
            ):
                self._layers[name], taken = found, True
                self._attach(name, found)
        return taken

    def _attach(self, name: str, layer: Labels) -> None:
        """Make a layer a view on its map; it is drawn once."""
        redraw = layer.data is not self._array(name)
        with canvas.undrawn(layer):
            if redraw:
                layer.data = self._array(name)
            if name in PAINTED:
                self._color(name, layer)
            layer.editable = name in PAINTED
        if redraw or name in PAINTED:
            layer.refresh(extent=False)
        if name in PAINTED:
            outline(self.viewer, layer, self._work)

    def _color(self, name: str, layer: Labels) -> None:
        """Give nuclei or regions their colours, and what is said of them."""
        layer.colormap = self.colormap if name == "nuclei" else self._regions
        plain_status(layer, self._area_px)
        if name == "ambiguous" and layer.opacity == _FILLED_OPACITY:
            layer.opacity = _OUTLINE_OPACITY  # an outline that faint is lost on tissue; the filling is weaker by itself

    def restore_array(self, name: str) -> None:
        """Give a layer its map back after somebody put another array in; what that one held can be had from it before.

        The layer then shows the map again.
        """
        layer = self.get(name)
        if layer is not None and layer.data is not self._array(name):
            layer.data = self._array(name)

    def show_missing(self, image: Image | None, names: Iterable[str] = VIEWS) -> None:
        """Add those of the layers that are not there (a crop that nobody has labelled, or the user deleted them)."""
        active = self.viewer.layers.selection.active
        for name in names:
            if self.get(name) is None:
                self._layers[name] = plain(self._add(name, image))
        self.update_tables()
        top = self.get("nuclei")
        if active is None or canvas.role(active) in ("image", ""):
            self.viewer.layers.selection.active = top
        else:
            self.viewer.layers.selection.active = active

    def _add(self, name: str, image: Image | None) -> Labels:
        about = dict(image.metadata.get("monusac", {})) if image is not None else {}
        first = about.get("offset_px", (0, 0))
        offset = self.session.nuclei.frame.offset_px
        about |= {
            "role": name, "annotation": str(self.session.file.path) if self.session.file.path else None, "offset_px": offset,
        }  # fmt: skip
        placing = {}
        if image is not None:
            placing = canvas.placing(image, np.subtract(offset, first).tolist())
        colormap = {
            "nuclei": self.colormap,
            "semantic": semantic_colormap(self.look.palette),
            "ternary": ternary_colormap(),
            "ambiguous": self._regions,
        }[name]
        layer: Labels = self.viewer.add_labels(
            self._array(name),
            name=name,
            colormap=colormap,
            opacity=_OUTLINE_OPACITY if name in PAINTED else _FILLED_OPACITY,
            visible=name in PAINTED,
            metadata={"monusac": about},
            **placing,
        )
        if name in PAINTED:
            self._color(name, plain(layer))
            outline(self.viewer, layer, self._work)
        layer.editable = name in PAINTED
        return layer

    def _area_px(self, label: int) -> int:
        """Pixels of a nucleus now; the table has none, because edits change them."""
        top, left, bottom, right = self.session.maps.boxes.get(label, (0, 0, 0, 0))
        return int(np.count_nonzero(self.session.maps.instances[top:bottom, left:right] == label))

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
            # an invisible layer is read anew when it is shown; outlines and the preview of Masks follow in any case
            if layer is not None and (layer.visible or name in PAINTED):
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

    def set_look(self, look: Look) -> None:
        """Take other colours, hide classes, fill some. No pixel is computed again."""
        recoloured, self.look = look.palette != self.look.palette, look
        for name, colormap in (("nuclei", self.colormap), ("ambiguous", self._regions)):
            colormap.set_look(look)
            layer = self.get(name)
            if layer is not None:
                layer.events.colormap()
        semantic = self.get("semantic")
        if semantic is not None and recoloured:
            semantic.colormap = semantic_colormap(look.palette)

    def update_tables(self) -> None:
        """Bring the table of each nucleus up to date, for the status bar, Review and the legend."""
        nuclei = self.get("nuclei")
        if nuclei is not None:
            nuclei.features = self.session.nuclei.features("nuclei")
        self._count_regions()

    def _count_regions(self) -> None:
        ambiguous = self.get("ambiguous")
        if ambiguous is not None:
            regions = sum(row.class_id == AMBIGUOUS_ID for row in self.session.rows.values())
            ambiguous.metadata.setdefault("monusac", {})["regions"] = regions

    def set_editable(self, editable: bool) -> None:
        """Let napari's tools paint, or not (the session is being saved)."""
        for name in PAINTED:
            layer = self.get(name)
            if layer is not None:
                layer.editable = editable
