"""What a panel shows on the canvas for itself: put away while another panel is in front, and then as it was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from napari_monusac.ui.canvas import canvas


class PanelView:
    """The layers of one panel, and those of others that it hides to be seen itself.

    Layers are meant by their role, never by themselves: one that the user deletes, and that comes again, is the same.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose canvas.
    own : iterable of str
        Roles of the layers that are the panel's.
    """

    def __init__(self, viewer: Any, own: Iterable[str]) -> None:
        self.viewer, self._own = viewer, tuple(own)
        #: layers of others that are hidden for this view
        self._covered: set[str] = set()
        self._asked: tuple[str, ...] = ()
        #: what was seen of the panel when it was put away; None while the panel is in front
        self._away: dict[str, bool] | None = None

    def cover(self, roles: Iterable[str] = ()) -> None:
        """Hide layers of others while this view is looked at; none: all of them are seen again."""
        self._asked = tuple(roles)
        if self._away is None:
            self._uncover(self._asked)
            self._covered |= {r for r in self._asked if canvas.set_visible(self.viewer, r, False)}

    def _uncover(self, but: Iterable[str] = ()) -> None:
        for role in self._covered - set(but):
            canvas.set_visible(self.viewer, role, True)
        self._covered &= set(but)

    def forget(self) -> None:
        """Another crop is open: its layers are shown as they come."""
        self._covered, self._asked = set(), ()
        if self._away is not None:
            self._away = {}

    def put_away(self) -> None:
        """Hide what is the panel's, and show what it hid; a layer that catches the mouse lets go of it."""
        if self._away is None:
            self._away = {role: True for role in self._own if canvas.set_visible(self.viewer, role, False)}
            self._uncover()
            let_go(self.viewer, self._own)

    def bring_back(self) -> None:
        """Show the view again as it was."""
        away, self._away = self._away, None
        for role in away or ():
            canvas.set_visible(self.viewer, role, True)
        if away is not None:
            self.cover(self._asked)


def let_go(viewer: Any, roles: Iterable[str]) -> None:
    """See that no drag lands in these layers: they only pan, and another layer is the active one."""
    active = viewer.layers.selection.active
    for layer in viewer.layers:
        if canvas.role(layer) in roles and hasattr(layer, "mode"):
            layer.mode = "pan_zoom"
    if active is not None and canvas.role(active) in roles:
        others = (canvas.find_layer(viewer, role) for role in ("nuclei", "image"))
        viewer.layers.selection.active = next((layer for layer in others if layer is not None), None)
