"""Which model predicts: the trained ones, newest first, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QPushButton, QWidget

from napari_monusac.ui.model import StudioModel
from napari_monusac.ui.runs_table import progress_of
from napari_monusac.ui.work import Report, Task


class ModelChoice(QWidget):
    """A list of models and a button for a file.

    Parameters
    ----------
    model : StudioModel
        Knows where the runs are.
    """

    changed = Signal()

    def __init__(self, model: StudioModel) -> None:
        super().__init__()
        self.model = model
        self._loaded: tuple[str, float, Any] | None = None
        self.models = QComboBox()
        self.models.setToolTip("Trained models, newest first, with their best combo on their own validation crops")
        self.browse = QPushButton("Browse…")
        self.browse.clicked.connect(self._browse)
        box = QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.models, 1)
        self.train = QPushButton("Train one")
        self.train.setToolTip("There is no trained model yet: the panel Train makes one")
        self.train.clicked.connect(lambda: self.model.panel_asked.emit("Train"))
        box.addWidget(self.browse)
        box.addWidget(self.train)
        self.models.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.changed.connect(lambda: self.train.setVisible(self.models.count() == 0))

    def list_models(self) -> Task:
        """Look for runs with a checkpoint, newest first, in the background; the newest is chosen."""
        folder = self.model.runs_folder

        def read(_: Report) -> list[tuple[str, str]]:
            from napari_monusac.io.runs import find_runs

            found = []
            for run in find_runs(folder):
                if run.best.is_file():
                    combo = progress_of(run)[1]
                    score = f", combo {combo:.2f}" if combo is not None else ""
                    found.append((f"{run.path.name} ({run.recipe.name}{score})", str(run.path)))
            return found

        task = Task(read)
        task.done.connect(self._show)
        return task.start()

    def _show(self, found: list[tuple[str, str]]) -> None:
        files = [(self.models.itemText(i), self.models.itemData(i)) for i in range(self.models.count())]
        chosen = self.models.currentData() if self.models.currentText().startswith("File: ") else None
        self.models.clear()
        for text, path in [*found, *(f for f in files if f[0].startswith("File: "))]:
            self.models.addItem(text, path)
        if chosen is not None:
            self.models.setCurrentIndex(self.models.findData(chosen))
        self.changed.emit()

    def add_checkpoint(self, path: str | Path) -> None:
        """Offer a checkpoint file or a run folder and choose it."""
        self.models.addItem(f"File: {Path(path).name}", str(path))
        self.models.setCurrentIndex(self.models.count() - 1)

    def _browse(self) -> None:
        chosen = QFileDialog.getOpenFileName(
            self, "Choose a checkpoint", str(self.model.runs_folder), "Checkpoints (*.safetensors)"
        )[0]
        if chosen:
            self.add_checkpoint(chosen)

    def load(self, checkpoint: str) -> Any:
        """Load a checkpoint once; again only when its file has changed. Called in the worker."""
        from napari_monusac.learn.checkpoint import load_checkpoint
        from napari_monusac.learn.device import choose_device

        path = Path(checkpoint)
        stamp = (path / "best.safetensors" if path.is_dir() else path).stat().st_mtime
        if self._loaded is None or self._loaded[:2] != (checkpoint, stamp):
            device, _ = choose_device("auto")
            self._loaded = (checkpoint, stamp, load_checkpoint(path, device=device))
        return self._loaded[2]
