"""The folder for what can be made again: thumbnails, the sample collection."""

from __future__ import annotations

import os
from pathlib import Path

#: The first that is set says where; the second is an older name of the first.
_VARIABLES = ("MONUSAC_CACHE", "NAPARI_MONUSAC_CACHE")


def cache_folder() -> Path:
    """Return the folder in ``MONUSAC_CACHE``, or else the user's cache folder (it may not exist yet)."""
    for name in _VARIABLES:
        if given := os.environ.get(name):
            return Path(given)
    import platformdirs

    return Path(platformdirs.user_cache_path("napari-monusac", appauthor=False))
