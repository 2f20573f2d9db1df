"""A second view beside the canvas, whose camera moves with the first one's."""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import ref

from napari.components import ViewerModel
from napari.layers import Image
from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QDockWidget, QMainWindow

from napari_monusac.ui.canvas import canvas, comparing
from napari_monusac.ui.canvas.legend import show_legend
from napari_monusac.ui.model import studio_model
from napari_monusac.ui.review.legends import beside_legend

_TITLE = "Prediction"


class SecondView(QObject):
    """The image with the prediction's outlines in a canvas of its own, right of the first.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer that it goes with.

    Signals
    -------
    closed() : the user closed it.
    """

    closed = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.model: ViewerModel | None = None
        self.view: Any = None
        self._dock: Any = None
        self._linking = self._hidden = False
        self._image: Image | None = None
        self._neighbour: tuple[QDockWidget, int] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the view is shown."""
        return self.model is not None and not self._hidden

    def open(self, image: Image, outlines: Any, look: comparing.LookOf, offset_px: tuple[int, int]) -> None:
        """Show an image with outlines, or another map; the camera is that of the first view."""
        if self.model is not None and self._image is image:
            self._put(outlines, look, offset_px)
            self._legend(look)
            self._show_again()
            return
        self.close()
        self._image = image
        self.model = ViewerModel()
        self.model.theme = self.viewer.theme
        self.model.add_image(image.data, rgb=True, name="image", multiscale=image.multiscale, **canvas.placing(image))
        self.view = QtViewer(self.model, show_welcome_screen=False)
        self._put(outlines, look, offset_px)
        self.viewer.window.add_dock_widget(self.view, name=_TITLE, area="right", add_vertical_stretch=False)
        self._dock = _dock_of(self.view)
        self._dock.installEventFilter(self)
        # a function, not a method of ours: Qt may take us down before the dock
        self._dock.destroyed.connect(partial(_forget, ref(self)))
        self._place()
        self._legend(look)
        self._link()

    def _put(self, data: Any, look: comparing.LookOf, offset_px: tuple[int, int]) -> None:
        if self.model is not None:
            work, image = studio_model(self.viewer).work, self.model.layers[0]
            comparing.put_labels(self.model, comparing.PREDICTED, data, image, offset_px, look, work, window=self.view)

    def _link(self) -> None:
        """Let the two cameras move as one, from where the first one is."""
        if self.model is None:
            return
        self._follow_first()
        for camera, follow in ((self.viewer.scene.camera, self._follow_first), (self.model.scene.camera, self._lead)):
            camera.events.center.connect(follow)
            camera.events.zoom.connect(follow)

    def _unlink(self) -> None:
        for event in (self.viewer.scene.camera.events.center, self.viewer.scene.camera.events.zoom):
            event.disconnect(self._follow_first)
        if self.model is not None:
            for event in (self.model.scene.camera.events.center, self.model.scene.camera.events.zoom):
                event.disconnect(self._lead)

    def hide(self) -> None:
        """Put the view away; it comes back faster than another one is made."""
        if self.is_open:
            self._hidden = True
            self._unlink()
            self._dock.hide()
            self._give_room_back()

    def _show_again(self) -> None:
        if self._hidden:
            self._hidden = False
            self._dock.show()
            self._place()
            self._link()

    def _legend(self, look: comparing.LookOf) -> None:
        entries = beside_legend(look.name.split()[0])
        show_legend(self.model, entries, legend="monusac_beside_", position="top_right")

    def _place(self) -> None:
        """Put the dock between the canvas and the other docks at the right, as wide as the canvas that is left."""
        window = self._dock.window()
        if not isinstance(window, QMainWindow):
            return
        right = Qt.DockWidgetArea.RightDockWidgetArea
        others = [
            d for d in window.findChildren(QDockWidget)
            if d is not self._dock and window.dockWidgetArea(d) == right and d.isVisible() and not d.isFloating()
        ]  # fmt: skip
        if others:
            window.splitDockWidget(others[0], self._dock, Qt.Orientation.Horizontal)
            window.splitDockWidget(self._dock, others[0], Qt.Orientation.Horizontal)
        self._neighbour = (others[0], others[0].width()) if others else None
        QTimer.singleShot(0, lambda: self._share(window, others))

    def _share(self, window: QMainWindow, others: list[QDockWidget]) -> None:
        if self._dock is None:
            return
        room = window.centralWidget().width() + self._dock.width()
        docks, widths = [self._dock], [room // 2]
        if others:
            docks.append(others[0])
            widths.append(min(others[0].width(), 410))
        window.resizeDocks(docks, widths, Qt.Orientation.Horizontal)

    # -- cameras

    def _follow_first(self, _: object = None) -> None:
        if self.model is not None:
            self._copy(self.viewer.scene.camera, self.model.scene.camera)

    def _lead(self, _: object = None) -> None:
        if self.model is not None:
            self._copy(self.model.scene.camera, self.viewer.scene.camera)

    def _copy(self, source: Any, target: Any) -> None:
        if self._linking:
            return
        self._linking = True
        try:
            target.center = tuple(source.center)
            target.zoom = source.zoom
        finally:
            self._linking = False

    # -- the end

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Notice that the user closes the dock."""
        if event.type() == QEvent.Type.Close and watched is self._dock:
            QTimer.singleShot(0, self._user_closed)
        return bool(super().eventFilter(watched, event))

    def _user_closed(self) -> None:
        self.close()
        self.closed.emit()

    def close(self) -> None:
        """Take the view away."""
        if self.model is None:
            return
        if not self._hidden:
            self._unlink()
        self._hidden = False
        dock, view = self._dock, self.view
        self.model, self.view, self._dock, self._image = None, None, None, None
        dock.removeEventFilter(self)
        view.close()
        try:
            self.viewer.window.remove_dock_widget(view)
        except (LookupError, RuntimeError):  # napari's own close button was faster
            dock.deleteLater()
        self._give_room_back()

    def _give_room_back(self) -> None:
        if self._neighbour is not None:
            QTimer.singleShot(0, partial(_take_width, *self._neighbour))


def _forget(view: ref[SecondView], _: object = None) -> None:
    """The window has closed and taken the dock with it: what is kept of it would keep the canvas alive."""
    gone = view()
    if gone is not None:
        gone.model = gone.view = gone._dock = gone._image = None


def _take_width(dock: QDockWidget, width: int) -> None:
    """Give a dock the width again that it had: Qt lets it grow into the room of the one that is gone."""
    window = dock.window()
    if isinstance(window, QMainWindow):
        window.resizeDocks([dock], [width], Qt.Orientation.Horizontal)


def _dock_of(widget: Any) -> Any:
    """The dock that a widget lies in (napari hands plugins only a proxy of it)."""
    while widget is not None and not isinstance(widget, QDockWidget):
        widget = widget.parent()
    return widget
