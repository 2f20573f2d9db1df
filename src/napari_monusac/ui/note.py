"""A paragraph of help, a warning or an error."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy


class Note(QLabel):
    """A paragraph of help, a warning or an error, wrapped, that can be selected and copied."""

    def __init__(self, text: str = "", kind: str = "hint") -> None:
        super().__init__(text)
        self.setWordWrap(True)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.LinksAccessibleByMouse
        )
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self._kind = ""
        self.say(text, kind)

    def say(self, text: str, kind: str = "hint", whole: str = "") -> None:
        """Show `text` as a "hint", "good", "warning" or "error"; nothing hides the label. `whole`: all of it, on hover."""
        self.setText(text)
        self.setToolTip(whole)
        self.setVisible(bool(text))
        if kind != self._kind:
            self._kind = kind
            edge = {"hint": "#7f8c9b", "good": "#009e73", "warning": "#e69f00", "error": "#d55e00"}[kind]
            self.setStyleSheet(
                f"Note, QLabel {{ border-left: 3px solid {edge}; padding: 4px 6px; background: transparent; }}"
            )
