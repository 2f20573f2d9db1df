"""Which model predicts: the trained ones, the newest first, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QPushButton, QWidget
from superqt.utils import signals_blocked

from napari_monusac.app.work import Report, Task
from napari_monusac.io.runs.run_folder import progress_of
from napari_monusac.ui.model import StudioModel


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
        self._by_user = False
        self.models = QComboBox()
        self.models.setToolTip("Trained models, newest first, with their best combo on their own validation crops")
        self.models.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.models.setMinimumContentsLength(6)  # a long name must not make the panel wider than its dock
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
        self.models.currentIndexChanged.connect(lambda _: self._chosen())
        self.changed.connect(lambda: self.train.setVisible(self.models.count() == 0))

    def list_models(self) -> Task:
        """List runs with a checkpoint, newest first, in the background; the newest that was scored is chosen.

        What the user has chosen stays chosen.
        """
        folder = self.model.runs_folder

        def read(_: Report) -> list[tuple[str, str, bool]]:
            from napari_monusac.io.runs.run_folder import find_runs

            found = []
            for run in find_runs(folder):
                if run.best.is_file() or run.last.is_file():
                    combo = progress_of(run)[1]
                    score = f"combo {combo:.2f}" if combo is not None else "stopped before its first score"
                    name = f"{run.path.name} ({run.recipe.name}, {score})"
                    found.append((name, str(run.path), combo is not None))
            return found

        task = self.model.work.task(read, self)
        task.done.connect(self._show)
        return task.start()

    def _chosen(self) -> None:
        self._by_user = True
        self.changed.emit()

    def _show(self, found: list[tuple[str, str, bool]]) -> None:
        files = [(self.models.itemText(i), self.models.itemData(i)) for i in range(self.models.count())]
        chosen = self.models.currentData() if self._by_user else None
        with signals_blocked(self.models):
            self.models.clear()
            for text, path in [*((t, p) for t, p, _ in found), *(f for f in files if f[0].startswith("File: "))]:
                self._add(text, path)
            index = -1 if chosen is None else self.models.findData(chosen)
            self._by_user = index >= 0  # a model that is gone is no choice
            # a run that was stopped before its first score knows next to nothing: offered, but not by itself
            first = next((i for i, (_, _, scored) in enumerate(found) if scored), 0)
            self.models.setCurrentIndex((index if self._by_user else first) if self.models.count() else -1)
        self.changed.emit()

    def _add(self, text: str, path: str) -> None:
        self.models.addItem(text, path)
        self.models.setItemData(self.models.count() - 1, f"{text}\n{path}", Qt.ItemDataRole.ToolTipRole)

    def add_checkpoint(self, path: str | Path) -> None:
        """Offer a checkpoint file or a run folder and choose it."""
        index = self.models.findData(str(path))
        if index < 0:
            with signals_blocked(self.models):
                self._add(f"File: {Path(path).name}", str(path))
            index = self.models.count() - 1
        self.models.setCurrentIndex(index)
        self._chosen()

    def _browse(self) -> None:
        chosen = QFileDialog.getOpenFileName(
            self, "Choose a checkpoint", str(self.model.runs_folder), "Checkpoints (*.safetensors)"
        )[0]
        if chosen:
            self.add_checkpoint(chosen)

    def load(self, checkpoint: str) -> Any:
        """Load a checkpoint once; again only when its file has changed. Called in the worker.

        Raises
        ------
        CheckpointError
            It is gone, or is none.
        """
        from napari_monusac.core.errors import CheckpointError
        from napari_monusac.network.checkpoint import load_checkpoint, resolve_checkpoint
        from napari_monusac.network.device import choose_device

        try:
            path = resolve_checkpoint(checkpoint)
            stamp = path.stat().st_mtime
            if self._loaded is None or self._loaded[:2] != (str(path), stamp):
                device, _ = choose_device("auto")
                self._loaded = (str(path), stamp, load_checkpoint(path, device=device))
        except OSError as error:
            raise CheckpointError(
                checkpoint, f"cannot be read ({error.strerror or error})", "choose another model"
            ) from error
        return self._loaded[2]
