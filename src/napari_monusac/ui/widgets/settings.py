"""Where the window keeps settings: napari's preferences, and a file of its own. The model is `app.settings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QSettings, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QWidget,
)

from napari_monusac.app.settings import KeptSettings, kept_fields
from napari_monusac.core.classes import PaletteName
from napari_monusac.core.settings import environment

PLUGIN, SECTION = "napari-monusac", "annotate"


def _section() -> Any:
    """Return napari's own store of plugin settings; None where it does not know us (a script without the manifest)."""
    try:
        from napari.settings import get_plugin_settings

        return getattr(get_plugin_settings(PLUGIN), SECTION)
    except (ImportError, KeyError, AttributeError):
        return None


class _OwnFile:
    """The window's own file: the user's, or the one in ``MONUSAC_SETTINGS``. Paths and sections have a group each."""

    def read(self) -> Mapping[str, Any]:
        """What is kept."""
        file, found = self._file(), dict[str, dict[str, Any]]()
        for group in kept_fields("window"):
            file.beginGroup(group)
            found[group] = {key: self._value(group, file.value(key)) for key in file.allKeys()}
            file.endGroup()
        return found

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep one: what is the same stays as it is, for another window may have kept its own meanwhile."""
        file, before = self._file(), self.read()[name]
        for key, one in value.items():
            if before.get(key) != one:
                file.setValue(f"{name}/{key}", list(one) if isinstance(one, tuple) else one)

    @staticmethod
    def _file() -> QSettings:
        given = environment().settings
        return QSettings(str(given), QSettings.Format.IniFormat) if given else QSettings("napari-monusac", "studio")

    @staticmethod
    def _value(group: str, value: Any) -> Any:
        if group == "paths":  # Qt gives a list of one as its item, and an empty one as None
            return (value,) if isinstance(value, str) else tuple(value or ())
        return value


class _Preferences:
    """What File > Preferences > Plugins shows; in our own file where napari does not know the plugin."""

    def read(self) -> Mapping[str, Any]:
        """What is kept."""
        section = _section()
        if section is not None:
            return {name: getattr(section, name) for name in kept_fields("napari")}
        file = _OwnFile._file()
        kept = {name: file.value(f"{SECTION}/{name}") for name in kept_fields("napari")}
        return {name: value for name, value in kept.items() if value is not None}

    def write(self, name: str, value: Any) -> None:
        """Keep one."""
        section = _section()
        if section is not None:
            setattr(section, name, value)
        else:
            _OwnFile._file().setValue(f"{SECTION}/{name}", value)


#: All settings of this process: environment, preferences, the window's file.
SETTINGS = KeptSettings({"napari": _Preferences(), "window": _OwnFile()})


def reader() -> str:
    """Return the reader's name, empty until it was given."""
    return SETTINGS.now.reader.strip()


def set_reader(name: str) -> None:
    """Keep the reader's name."""
    SETTINGS.keep("reader", name.strip())


def palette() -> PaletteName:
    """Return the class colours that were chosen."""
    return "colour-blind" if SETTINGS.now.colour_blind else "imagescope"


def set_palette(name: PaletteName) -> None:
    """Keep the class colours."""
    SETTINGS.keep("colour_blind", name == "colour-blind")


def tolerance_px() -> float:
    """Return by how many screen px a click may slip, or miss a nucleus."""
    return float(SETTINGS.now.click_tolerance)


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
