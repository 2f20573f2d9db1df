"""A region too large for the memory: predicted piece by piece into a store on disk, and shown from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_monusac.app.actions import SEGMENT_AGAIN
from napari_monusac.app.work import Report, Task, Work
from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import StoreError
from napari_monusac.io.predictions.store_info import model_name
from napari_monusac.ui.canvas.predicted_layers import Stored
from napari_monusac.ui.widgets.basic import form_button
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.task_row import TaskRow


class SlideStore(QWidget):
    """Where the prediction of a large region is kept. Shown once such a region is asked for.

    Parameters
    ----------
    work : Work
        Of the window.
    settings : callable
        Called with the um/px of the store, gives the thresholds by the names that `instances_from_maps` has for them.
    shown : callable
        Called with the image and the store when its nuclei were segmented again.
    """

    #: Its nuclei are being segmented again, or no longer.
    busy_changed = Signal()

    def __init__(
        self,
        work: Work,
        settings: Callable[[float | None], dict[str, float]],
        shown: Callable[[Image, Stored], None],
    ) -> None:
        super().__init__()
        self._work = work
        self._settings, self._shown = settings, shown
        self._taken: tuple[Image, Stored] | None = None
        self.words = Note()
        self.folder = PathPicker(
            "predictions", "folder", tooltip="One OME-Zarr store a slide", placeholder="Keep the prediction in…"
        )
        self.again = form_button(SEGMENT_AGAIN, self)
        self.progress = TaskRow()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.words, self.folder):
            box.addWidget(widget)
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

    @property
    def store(self) -> Path | None:
        """The store that is shown."""
        return None if self._taken is None else self._taken[1].path

    @property
    def busy(self) -> bool:
        """Whether nuclei are being segmented again."""
        return self.progress.task is not None

    def took(self, image: Image, stored: Stored) -> None:
        """The prediction of this image is in this store: its nuclei can be segmented again."""
        self._taken = (image, stored)
        self.again.show()

    def forget(self) -> None:
        """Another image is looked at: what is being segmented is not for it."""
        if self.progress.task is not None:
            self.progress.task.stop()
        self._taken = None
        self.hide()

    def segment(self) -> Task | None:
        """Segment the nuclei of the store again, in the background; one at a time, for they write the same store."""
        if self._taken is None or self.busy or not self.again.isEnabled():
            return None
        image, stored = self._taken
        path, settings = stored.path, self._settings(stored.info.um_per_px)

        def work(report: Report) -> Stored:
            from napari_monusac.infer.blocks import segment_store

            segment_store(
                path, settings=settings, progress=lambda done: report(done, "Separating nuclei"),
                should_stop=lambda: report.stopping,
            )  # fmt: skip
            return read_stored(path)

        def done(again: Stored) -> None:
            if self._taken is not None and self._taken[1] is stored:
                self._shown(image, again)

        task: Task = self._work.task(work, self)
        task.done.connect(done)
        self.progress.follow(task, "Separating nuclei…")
        task.finished.connect(lambda: self.busy_changed.emit())
        self.busy_changed.emit()
        return task


def store_name(image: Image, region: Region, checkpoint: str, *, flips: bool) -> str:
    """Name of a store that says image, part and model: what is found under it may be gone on with."""
    about = image.metadata.get("monusac", {})
    stem = Path(str(about.get("image") or about.get("crop") or image.name)).stem
    base = image.data[0] if image.multiscale else image.data
    part = "" if region == (0, 0, *base.shape[:2]) else "-" + "_".join(map(str, region))
    model = model_name(checkpoint)
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{stem}{part}-{model}{'-flips' * flips}") + ".zarr"


def read_stored(path: Path) -> Stored:
    """Read what is shown of a store, in a worker.

    Raises
    ------
    StoreError
        It holds no nuclei, or is damaged.
    """
    stored = check_stored(path)
    if stored is None:
        raise StoreError(path, "its nuclei are not segmented", "predict again: only they are found anew")
    return stored


def check_stored(path: Path) -> Stored | None:
    """Read what is shown of a store; None while its nuclei are not segmented.

    Raises
    ------
    StoreError
        It is missing, foreign or damaged.
    """
    from napari_monusac.io.predictions.prediction_store import PredictionStore
    from napari_monusac.plugin.stored import stored_levels

    store = PredictionStore.open(path)
    try:
        table, levels = store.read_table(), stored_levels(store)
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        what = f"is damaged ({type(error).__name__}: {error})"
        raise StoreError(path, what, "remove it and predict again") from error
    if table is None or not levels["nuclei"] or not levels["classes"]:
        return None
    return Stored(path, store.info, table, store.shape, levels)
