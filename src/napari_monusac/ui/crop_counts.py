"""How many nuclei a crop has now: of its corrected annotation where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_monusac.ui.editing_opening import work_folder, writable

if TYPE_CHECKING:
    from napari_monusac.io.collection import Collection, Crop


def annotation_now(collection: Collection, crop: Crop) -> Path | None:
    """The file that Annotate opens and saves for a crop; None where there is none yet."""
    from napari_monusac.session.corrected import corrected_path

    own = corrected_path(crop)
    if not writable(own.parent):
        own = corrected_path(crop, work_folder(collection.root))
    return own if own.exists() else crop.annotation


def counts_now(collection: Collection, crop: Crop) -> dict[int, int] | None:
    """Nuclei by class number (reads a file: not for the Qt thread); None without labels.

    Raises
    ------
    AnnotationError
        The file is damaged.
    """
    path = annotation_now(collection, crop)
    if path is None:
        return None
    if path == crop.annotation:
        return {int(k): n for k, n in collection.counts(crop).items()}
    from napari_monusac.io.annotations import read_annotation

    return {int(k): n for k, n in read_annotation(path).counts().items()}
