"""File > Open Sample: two crops of synthetic tissue, out of a small collection that can be trained on at once."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_monusac import __version__
from napari_monusac.core.settings import user_folder

if TYPE_CHECKING:
    from napari_monusac.plugin.layers import LayerData

_PATIENTS = 4
_SEED = 46


def glands() -> list[LayerData]:
    """Open a synthetic crop rich in epithelium."""
    return _layers_of(patient=1)


def inflammation() -> list[LayerData]:
    """Open a synthetic crop rich in lymphocytes."""
    return _layers_of(patient=2)


def sample_collection(folder: str | Path | None = None) -> Path:
    """Return the folder of the sample collection; it is made on first use (about two seconds).

    Parameters
    ----------
    folder : str or Path, optional
        Where to; by default the user's cache folder (or the folder in ``MONUSAC_CACHE``).

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    from napari_monusac.core.files import draft_beside, replace_file
    from napari_monusac.synth.collection import write_collection

    root = Path(folder) if folder is not None else user_folder("cache") / f"sample-{__version__}"
    if root.is_dir():
        return root
    # Made beside and renamed: two windows that open the sample at once must not see each other's half.
    half = draft_beside(root)
    half.mkdir(parents=True)
    try:
        write_collection(half, _PATIENTS, 1, _SEED, shape=(640, 640))
        with suppress(OSError):
            half.rename(root)
        if not root.is_dir():
            replace_file(half, root)  # not a race: say what is wrong
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return root


def _layers_of(patient: int) -> list[LayerData]:
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.plugin.layers import crop_layers

    root = sample_collection()
    collection = open_collection(root)
    crop = collection.of_patient(collection.patients[patient - 1])[0]
    with collection.open(crop) as slide:
        return crop_layers(slide, collection.annotation(crop), crop, collection_root=root)
