"""The data doctor in the dock: a verdict in one line, a table of findings, a click leads to the spot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QFileDialog, QHeaderView, QPushButton, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_monusac.ui import canvas
from napari_monusac.ui.widgets import Note, TaskRow, row
from napari_monusac.ui.work import Report, Task

if TYPE_CHECKING:
    from napari_monusac.ui.slides_panel import SlidesPanel

_FINDING = int(Qt.ItemDataRole.UserRole)


class DoctorView(QWidget):
    """What is wrong with the open folder.

    Parameters
    ----------
    slides : SlidesPanel
        The panel that opens crops.
    """

    def __init__(self, slides: SlidesPanel) -> None:
        super().__init__()
        self.slides, self.viewer, self.model = slides, slides.viewer, slides.model
        self._report: Any = None
        self._build()

    def _build(self) -> None:
        self.check = QPushButton("Check this folder")
        self.check.setToolTip("The data doctor looks at every file of the folder and says what would cost training")
        self.verdict = Note()
        self.findings = QTableWidget(0, 3)
        self.findings.setHorizontalHeaderLabels(["", "Crop", "Finding"])
        self.findings.horizontalHeader().setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.findings.verticalHeader().hide()
        self.findings.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.findings.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.findings.setMinimumHeight(170)
        self.findings.hide()
        self.mend = QPushButton("Write mended copies…")
        self.mend.setToolTip("Copies with what can be put right; the originals are never touched")
        self.progress = TaskRow()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (row(self.check, self.mend), self.progress, self.verdict, self.findings):
            box.addWidget(widget)
        self.check.clicked.connect(self.examine)
        self.mend.clicked.connect(lambda: self.write_mended())
        self.findings.itemClicked.connect(self._go_to_finding)
        self.reset()

    def reset(self) -> None:
        """Forget what was found: another folder is open."""
        self._report = None
        self.findings.hide()
        self.verdict.say("")
        self.check.setEnabled(self.model.collection is not None)
        self.mend.hide()

    def examine(self) -> Task | None:
        """Let the data doctor look at the folder, in the background."""
        collection = self.model.collection
        if collection is None:
            return None

        def work(report: Report) -> Any:
            from napari_monusac.io.doctor import examine

            return examine(collection.root, progress=lambda fraction, message: report(fraction, message))

        task = Task(work)
        task.done.connect(self._diagnosed)
        return self.progress.follow(task, "Examining…")

    def write_mended(self, out: str = "") -> Task | None:
        """Write mended copies of what can be mended into a folder that is asked for."""
        out = out or QFileDialog.getExistingDirectory(self, "Where the mended copies go")
        report_ = self._report
        if not out or report_ is None:
            return None

        def work(report: Report) -> int:
            from napari_monusac.io.doctor import fix

            return len(fix(report_, out, progress=lambda fraction, message: report(fraction, message)))

        task = Task(work)
        task.done.connect(lambda n: self.progress.label.say(f"{n} mended copies are in {out}.", "good"))
        return self.progress.follow(task, "Writing mended copies…")

    def _diagnosed(self, report: Any) -> None:
        from napari_monusac.io.doctor import KINDS

        found = list(report.findings)
        worst = [f for f in found if f.severity in ("error", "warning")]
        if not found:
            self.verdict.say("Nothing wrong was found in this folder.", "good")
        else:
            kinds: dict[str, int] = {}
            for f in found:
                kinds[f.code] = kinds.get(f.code, 0) + 1
            words = ", ".join(
                f"{code.replace('-', ' ')} ({n})" for code, n in sorted(kinds.items(), key=lambda k: -k[1])[:5]
            )
            self.verdict.say(
                f"{len(found)} findings, {len(worst)} that matter: {words}. Click a row to see it.",
                "warning" if worst else "hint",
            )
        self.findings.setRowCount(len(found))
        for i, f in enumerate(found):
            mark = {"error": "\u2716", "warning": "\u25b2"}.get(f.severity, "\u2022")
            for column, text in enumerate((mark, f.image or f.patient or "", f.message)):
                item = QTableWidgetItem(text)
                item.setToolTip(
                    "\n".join(
                        t for t in (f.message, getattr(f, "effect", ""), f"Mend: {f.mend}" if f.mend else "") if t
                    )
                )
                item.setData(_FINDING, f)
                if column == 0:
                    item.setForeground(QColor({"error": "#d55e00", "warning": "#e69f00"}.get(f.severity, "#7f8c9b")))
                self.findings.setItem(i, column, item)
        self.findings.setColumnWidth(0, 24)
        self.findings.setColumnWidth(1, 110)
        self.findings.setVisible(bool(found))
        self._report = report
        self.mend.setVisible(any(KINDS[f.code].fixable for f in found if f.code in KINDS))

    def _go_to_finding(self, item: QTableWidgetItem) -> None:
        finding = item.data(_FINDING)
        collection = self.model.collection
        crop = (
            next((c for c in collection.crops if finding.image and finding.image in (c.name, str(c.image))), None)
            if collection
            else None
        )
        if crop is None or crop.image is None:
            return

        def move() -> None:
            layer = canvas.find_layer(self.viewer, "image")
            if finding.at is not None and layer is not None:
                y, x = finding.at
                canvas.center_on(self.viewer, layer, y, x, times=40)

        if self.model.crop is not None and self.model.crop.name == crop.name:
            move()
        elif self.model.may_leave_crop() and (task := self.slides.open_crop(crop)) is not None:
            task.finished.connect(move)
