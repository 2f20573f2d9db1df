"""What Annotate hears of the window it stands in: Ctrl+S, and the reader's wish to close it."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QWidget

from napari_monusac.ui.annotate_saving import Saving
from napari_monusac.ui.editing_running import Question


class WindowWatch(QObject):
    """Saves at Ctrl+S, and asks about unsaved edits when the window is closed.

    Parameters
    ----------
    panel : QWidget
        The Annotate panel.
    saving : Saving
        What saves.
    """

    def __init__(self, panel: QWidget, saving: Saving) -> None:
        super().__init__(panel)
        self.panel, self.saving, self.controller = panel, saving, saving.controller
        self._watched = 0  # the window by its number: a reference would keep it alive
        self._closing = False

    def watch(self) -> None:
        """Listen to the window that the panel is in now."""
        window = self.panel.window()
        if window is not self.panel and id(window) != self._watched:
            self._watched = id(window)
            window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Nothing is lost either way."""
        kind = event.type()
        if kind == QEvent.Type.ShortcutOverride and self._is_save(event):
            # accepted: napari's own Ctrl+S (it saves layers) does not hear of it
            event.accept()
            if not event.isAutoRepeat():
                self.saving.save_now()
            return True
        if kind == QEvent.Type.Close and event.spontaneous() and watched is self.panel.window() and self._must_ask():
            event.ignore()
            return True
        return bool(super().eventFilter(watched, event))

    def _is_save(self, event: Any) -> bool:
        """Whether this is Ctrl+S, and ours: the crop is edited here, or has edits that no file has."""
        session = self.controller.session
        return bool(
            event.matches(QKeySequence.StandardKey.Save)
            and session is not None
            and (self.panel.isVisible() or session.unsaved)
        )

    def _must_ask(self) -> bool:
        session = self.controller.session
        if self._closing or session is None or not self.panel.isVisible():
            return False
        self.controller.adopt()
        if not session.unsaved:
            return False
        answers = (
            ("Save and close", lambda: self.saving.save(self._close)),
            ("Close, keep them for later", self._close),
            ("Stay", lambda: None),
        )
        self.controller.asked.emit(
            Question("There are unsaved edits. They are kept and come back when the crop is opened.", answers)
        )
        return True

    def _close(self) -> None:
        self._closing = True
        self.panel.window().close()
