"""A region too large for the memory: predicted piece by piece into a store on disk, and shown from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.layers import Image
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_monusac.core.errors import StoreError
from napari_monusac.ui.widgets import Note, PathPicker, TaskRow
from napari_monusac.ui.work import Report, Task

Region = tuple[int, int, int, int]


class SlideStore(QWidget):
    """Where the prediction of a large region is kept. Shown once such a region is asked for.

    Parameters
    ----------
    settings : callable
        Gives the thresholds, by the names that `instances_from_maps` has for them.
    shown : callable
        Called with the store when its nuclei were separated again.
    """

    def __init__(self, settings: Callable[[], dict[str, float]], shown: Callable[[Path], None]) -> None:
        super().__init__()
        self._settings, self._shown = settings, shown
        self.store: Path | None = None
        self.words = Note()
        self.folder = PathPicker(
            "predictions", "folder", tooltip="One OME-Zarr store a slide", placeholder="Keep the prediction in…"
        )
        self.again = QPushButton("Separate the nuclei again with these thresholds")
        self.again.setToolTip("Block by block on disk; the network is not asked again")
        self.progress = TaskRow()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.words, self.folder):
            box.addWidget(widget)
        self.again.clicked.connect(self.separate)
        self.hide()

    def target(self, image: Image, region: Region, checkpoint: str, *, flips: bool) -> Path | None:
        """Store for a region, or None (and the question for a folder) while none is chosen."""
        height, width = region[2:]
        self.show()
        self.words.say(
            f"{width * height / 1e6:.0f} megapixels: predicted piece by piece to disk, in constant memory. "
            "A stopped prediction goes on where it was."
        )
        if self.folder.path is None:
            self.words.say(
                f"{width * height / 1e6:.0f} megapixels: choose a folder to keep the prediction in.", "warning"
            )
            return None
        return self.folder.path / store_name(image, region, checkpoint, flips=flips)

    def took(self, store: Path) -> None:
        """A prediction is in this store: its nuclei can be separated again."""
        self.store = store

    def separate(self) -> Task | None:
        """Separate the nuclei of the store again, in the background."""
        path, settings = self.store, self._settings()
        if path is None:
            return None

        def work(report: Report) -> Path:
            from napari_monusac.infer.blocks import separate_store

            separate_store(
                path, settings=settings, progress=lambda done: report(done, "Separating nuclei"),
                should_stop=lambda: report.stopping,
            )  # fmt: skip
            return path

        task = Task(work)
        task.done.connect(self._shown)
        return self.progress.follow(task, "Separating nuclei…")


def store_name(image: Image, region: Region, checkpoint: str, *, flips: bool) -> str:
    """Name of a store that says image, part and model: what is found under it may be gone on with."""
    about = image.metadata.get("monusac", {})
    stem = Path(str(about.get("image") or about.get("crop") or image.name)).stem
    base = image.data[0] if image.multiscale else image.data
    part = "" if region == (0, 0, *base.shape[:2]) else "-" + "_".join(map(str, region))
    path = Path(checkpoint)
    model = path.parent.name if path.name in ("best.safetensors", "last.safetensors") else path.stem
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{stem}{part}-{model}{'-flips' * flips}") + ".zarr"


def lazy_levels(path: Path) -> dict[str, list[Any]]:
    """The maps of a store as pyramids of dask arrays (y, x), largest first: nothing is read yet.

    Returns
    -------
    dict
        *classes* uint8, *nuclei* int32 (both empty while the nuclei are not separated), *ternary* uint8, *doubt* float32
        (0 to 1: the heads disagree, or the classes are unsure).
    """
    import dask.array as da

    from napari_monusac.io.prediction_store import PredictionStore

    store = PredictionStore.open(path)
    maps = [da.from_zarr(level) for level in store.levels("data")]
    labels = {
        name: [da.from_zarr(level) for level in store.levels(f"labels/{key}")]
        for name, key in (("classes", "classes"), ("nuclei", "instances"))
    }
    return labels | {
        "ternary": [m[5:].rechunk({0: 3}).argmax(0).astype("uint8") for m in maps],
        "doubt": [_doubt_of(m, store.info.boundary_width) for m in maps],
    }


def _doubt_of(maps: Any, boundary_width: int) -> Any:
    """The doubt of stored maps (8, y, x), piece by piece as it is looked at."""
    import dask.array as da
    import numpy as np

    from napari_monusac.masks.doubt import disagreement_map, entropy_map

    def doubt(piece: Any) -> Any:
        return np.maximum(disagreement_map(piece[:5], piece[5:], boundary_width), entropy_map(piece[:5]))

    # the ternary map is cut back to the nucleus, which looks over the edge of a piece
    depth = min(boundary_width, *maps.shape[1:])
    wide = da.overlap.overlap(maps.rechunk({0: 8}), {0: 0, 1: depth, 2: depth}, {0: "none", 1: "none", 2: "none"})
    found = wide.map_blocks(doubt, drop_axis=0, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    return da.overlap.trim_internal(found, {0: depth, 1: depth}, {0: "none", 1: "none"})


def stored_facts(path: Path) -> tuple[Any, tuple[int, int], float | None, Any]:
    """Table, shape (y, x) in px of the maps, um/px of the maps, and what the store says of itself.

    Raises
    ------
    StoreError
        It holds no nuclei.
    """
    from napari_monusac.io.prediction_store import PredictionStore

    store = PredictionStore.open(path)
    table = store.read_table()
    if table is None:
        raise StoreError(path, "its nuclei are not separated", "separate them again")
    return table, store.shape, store.info.um_per_px, store.info
