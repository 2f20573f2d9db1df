"""Choosing a folder or a file: typed, picked from the last ones, or browsed for."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QCompleter, QFileDialog, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from napari_monusac.ui.widgets.settings import SETTINGS


def complete_below(box: QComboBox) -> None:
    """Let an editable box offer its lines below what is typed, which stays as it is.

    Qt's own completer writes into the line, and takes another case for the same: a typed path became a remembered one.
    """
    completer = QCompleter(box.model(), box)
    completer.setCompletionMode(QCompleter.CompletionMode.PopupCompletion)
    completer.setCaseSensitivity(Qt.CaseSensitivity.CaseSensitive)
    box.setCompleter(completer)


class PathPicker(QWidget):
    """A remembered path with a button to choose another.

    Parameters
    ----------
    key : str
        Name under which the last paths are remembered; empty: not remembered.
    kind : {"folder", "file", "save"}
        What is chosen.
    filters : str
        File filter of the dialog.
    remember : bool
        Remember a path as soon as it is chosen; False: only when `set_path` says that it was good.
    """

    changed = Signal(str)

    def __init__(
        self,
        key: str = "",
        kind: str = "folder",
        filters: str = "",
        tooltip: str = "",
        placeholder: str = "",
        *,
        remember: bool = True,
    ) -> None:
        super().__init__()
        self._key, self._kind, self._filters, self._at_once = key, kind, filters, remember
        self.box = QComboBox()
        self.box.setEditable(True)
        self.box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.box.setMinimumContentsLength(8)
        self._tooltip, self._default = tooltip, ""
        self.box.setToolTip(tooltip)
        self.box.setAccessibleName(placeholder.rstrip("…") or tooltip)
        self.button = QPushButton("Browse…")
        self.button.setToolTip(tooltip)
        self.button.setAccessibleName(f"Browse: {placeholder.rstrip('…') or tooltip}")
        self.button.clicked.connect(self._browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.box, 1)
        row.addWidget(self.button)
        self.box.addItems(self.remembered())
        self.box.setCurrentIndex(-1)
        line = self.box.lineEdit()
        complete_below(self.box)
        line.setPlaceholderText(placeholder)
        line.editingFinished.connect(self._edited)
        self.box.activated.connect(lambda _: self._edited())
        self._last = ""

    def show_default(self, path: Path | str) -> None:
        """Say which path is used while none is chosen."""
        self._default = str(path)
        self.box.lineEdit().setPlaceholderText(self._default)
        self._explain(self._last)

    def _explain(self, path: str) -> None:
        """The tooltip: the whole path, of which the field may show the end only, and what it is for."""
        lines = (path or self._default, self._tooltip)
        self.box.setToolTip("\n".join(line for line in lines if line))

    @property
    def path(self) -> Path | None:
        """The chosen path, or None."""
        text = self.box.currentText().strip()
        return Path(text).expanduser() if text else None

    def set_path(self, path: Path | str | None, *, remember: bool = False) -> None:
        """Show a path without emitting `changed`."""
        self._last = "" if path is None else str(path)
        self.box.setEditText(self._last)
        self.box.lineEdit().setCursorPosition(len(self._last))
        self._explain(self._last)
        if remember and self._last:
            self._remember(self._last)

    def remembered(self) -> list[str]:
        """Return the last paths that are still there, the newest first."""
        if not self._key:
            return []
        return list(SETTINGS.last_paths(self._key))

    def _remember(self, text: str) -> None:
        if self._key:
            SETTINGS.remember_path(self._key, text)
            items = [text, *(i for i in self.remembered() if i != text)]
            self.box.blockSignals(True)
            self.box.clear()
            self.box.addItems(items)
            self.box.setEditText(text)
            self.box.blockSignals(False)

    def _browse(self) -> None:
        start = str(self.path or (self.remembered() or [str(Path.home())])[0])
        if self._kind == "folder":
            chosen = QFileDialog.getExistingDirectory(self, "Choose a folder", start)
        elif self._kind == "file":
            chosen = QFileDialog.getOpenFileName(self, "Choose a file", start, self._filters)[0]
        else:
            chosen = QFileDialog.getSaveFileName(self, "Save as", start, self._filters)[0]
        if chosen:
            self.box.setEditText(chosen)
            self._edited()

    def _edited(self) -> None:
        text = self.box.currentText().strip()
        if text and text != self._last:
            self._last = text
            if self._at_once:
                self._remember(text)
            self._explain(text)
            self.changed.emit(text)
