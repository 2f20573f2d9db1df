"""The settings of Annotate: the reader's name, the palette, the click's tolerance. Kept by napari (Preferences)."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QWidget,
)

from napari_monusac.core.classes import PaletteName
from napari_monusac.ui.widgets import basic as widgets

PLUGIN, SECTION = "napari-monusac", "annotate"
READER, COLOUR_BLIND, TOLERANCE = "reader", "colour_blind", "click_tolerance"
_DEFAULTS: dict[str, Any] = {READER: "", COLOUR_BLIND: False, TOLERANCE: 3}


def _section() -> Any:
    """Return napari's own store of plugin settings; None where it does not know us (a script without the manifest)."""
    try:
        from napari.settings import get_plugin_settings

        return getattr(get_plugin_settings(PLUGIN), SECTION)
    except (ImportError, KeyError, AttributeError):
        return None


def _get(name: str) -> Any:
    section = _section()
    if section is not None:
        return getattr(section, name)
    value = widgets.settings().value(f"{SECTION}/{name}", _DEFAULTS[name])
    default = _DEFAULTS[name]
    return str(value).lower() == "true" if isinstance(default, bool) else type(default)(value)


def _set(name: str, value: Any) -> None:
    section = _section()
    if section is not None:
        setattr(section, name, value)
    else:
        widgets.settings().setValue(f"{SECTION}/{name}", value)


def reader() -> str:
    """Return the reader's name, empty until it was given."""
    return str(_get(READER)).strip()


def set_reader(name: str) -> None:
    """Keep the reader's name."""
    _set(READER, name.strip())


def palette() -> PaletteName:
    """Return the class colours that were chosen."""
    return "colour-blind" if _get(COLOUR_BLIND) else "imagescope"


def set_palette(name: PaletteName) -> None:
    """Keep the class colours."""
    _set(COLOUR_BLIND, name == "colour-blind")


def tolerance_px() -> float:
    """Return by how many screen px a click may slip, or miss a nucleus."""
    return float(_get(TOLERANCE))


class ReaderName(QWidget):
    """Asks for the reader's name, once."""

    given = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.field = QLineEdit()
        self.field.setPlaceholderText("Your name (it stands on every edit)")
        self.keep = QPushButton("Keep")
        self.keep.setToolTip("Asked once; File > Preferences > Plugins changes it")
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.field, 1)
        line.addWidget(self.keep)
        self.field.returnPressed.connect(self._give)
        self.keep.clicked.connect(self._give)

    def _give(self) -> None:
        name = self.field.text().strip()
        if name:
            self.given.emit(name)
