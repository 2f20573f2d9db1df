"""What the Studio remembers from one start to the next: folders and choices."""

from __future__ import annotations

import os

from qtpy.QtCore import QSettings


def settings() -> QSettings:
    """Return the remembered folders and choices: the user's, or those of the file in ``MONUSAC_SETTINGS``."""
    given = os.environ.get("MONUSAC_SETTINGS")
    if given:
        return QSettings(given, QSettings.Format.IniFormat)
    return QSettings("napari-monusac", "studio")
