"""Nuclei for other programs: a format, a folder, one click."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QComboBox, QFileDialog, QVBoxLayout, QWidget

from napari_monusac.app.actions import EXPORT_NUCLEI, SHOW_EXPORTED
from napari_monusac.app.work import Report, Task, Work
from napari_monusac.jobs.exports import Exported, export_nuclei
from napari_monusac.ui.widgets.basic import calm, form_button, row
from napari_monusac.ui.widgets.note import short_path
from napari_monusac.ui.widgets.task_row import TaskRow

#: What a format is called, its name, what it is for.
_FORMATS = (
    ("Table of every nucleus", "table", "One CSV: crop, patient, class, confidence, place, area, shape, colour"),
    ("Outlines for QuPath", "geojson", "A GeoJSON a crop, which QuPath opens by drag and drop"),
    ("COCO", "coco", "One JSON of all crops"),
    ("Masks", "tif", "Instances, classes and ternary map as .tif, a file each"),
    ("Aperio XML", "aperio", "An annotation a crop, as ImageScope and this window read it"),
)


class ExportRow(QWidget):
    """Writes the nuclei of stored predictions.

    Parameters
    ----------
    work : Work
    source : callable
        Where the predictions are; None where there are none.
    """

    def __init__(self, work: Work, source: Callable[[], Path | None]) -> None:
        super().__init__()
        self._work, self._source = work, source
        self._written: Path | None = None
        self.format = calm(QComboBox())
        for words, name, about in _FORMATS:
            self.format.addItem(words, name)
            self.format.setItemData(self.format.count() - 1, about, Qt.ItemDataRole.ToolTipRole)
        self.button = form_button(EXPORT_NUCLEI, self)
        self.progress = TaskRow(asked_by=self.button)
        self.show_folder = form_button(SHOW_EXPORTED, self)
        self.show_folder.hide()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (row(self.format, self.button, stretch_first=True), self.progress, self.show_folder):
            box.addWidget(widget)
        self.format.currentIndexChanged.connect(lambda _: self._explain())
        self._explain()

    def _explain(self) -> None:
        self.format.setToolTip(_FORMATS[self.format.currentIndex()][2])

    def choose_and_export(self) -> None:
        """Ask for a folder, and write them into it."""
        start = str(self._source() or Path.home())
        chosen = QFileDialog.getExistingDirectory(self, "Write nuclei to…", start)
        if chosen:
            self.export(Path(chosen))

    def export(self, out: Path) -> Task | None:
        """Write them into a folder, in the background."""
        source, to = self._source(), self.format.currentData()
        if source is None:
            self.progress.label.say("Choose a folder of predictions first.", "warning")
            return None
        if self.progress.task is not None:
            return None
        self.show_folder.hide()
        left_out: list[str] = []

        def work(report: Report) -> Exported:
            return export_nuclei(
                source, to, out, tell=left_out.append,
                begun=lambda done, name: report(None, f"{name} ({done + 1})"), should_stop=lambda: report.stopping,
            )  # fmt: skip

        task = self._work.task(work, self, title="Exporting nuclei")
        task.done.connect(lambda made: self._done(made, out, left_out))
        return self.progress.follow(task, "Reading the predictions…")

    def _done(self, made: Exported, out: Path, left_out: list[str]) -> None:
        images = f"{made.images} crops" if made.images != 1 else "one crop"
        files = f"{len(made.files)} files" if len(made.files) != 1 else made.files[0].name
        more = (
            f"\n{left_out[0]}" + (f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else "") if left_out else ""
        )
        self.progress.label.say(
            f"Nuclei of {images}: {files} in {short_path(out)}.{more}", "warning" if left_out else "good",
            "\n".join([str(out), *left_out]),
        )  # fmt: skip
        self._written = out
        self.show_folder.show()

    def show_exported(self) -> None:
        """Show what was written."""
        if self._written is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._written)))
