"""The data doctor in the dock: a verdict in one line, a table of findings, a click leads to the spot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QFileDialog,
    QHeaderView,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.app.actions import EXAMINE, WRITE_MENDED
from napari_monusac.app.work import Report, Task
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.marks import Marks
from napari_monusac.ui.model import hear, studio_model
from napari_monusac.ui.widgets.basic import form_button, row
from napari_monusac.ui.widgets.note import Note, in_micrometres, short_path
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Crop
    from napari_monusac.io.doctor.report import DoctorFinding


#: A code of the doctor in words that need no explanation. Codes that are not here are said as they are.
_PLAIN = {
    "unreadable-image": "images that cannot be read",
    "unreadable-annotation": "annotations that cannot be read",
    "size-mismatch": "annotations that do not fit their image",
    "identical-images": "the same image twice",
    "patient-in-both-lists": "patients in training and testing",
    "patient-list": "gaps in the list of patients",
    "left-out": "folders that were not looked into",
    "own-output": "masks and runs of this program",
    "swapped-channels": "red and blue swapped",
    "swapped-sibling": "a second image with red and blue swapped",
    "unsure-channels": "red and blue may be swapped",
    "missing-image": "annotations without an image",
    "missing-annotation": "images without an annotation",
    "missing-um-per-px": "scale (µm a pixel) unknown",
    "contradicting-um-per-px": "two scales that contradict each other",
    "guessed-um-per-px": "a scale guessed from the magnification",
    "unequal-um-per-px": "pixels that are not square",
    "missing-scale-in-xml": "scale missing in the annotation",
    "annotation-note": "remarks on how a file was read",
    "unknown-class": "unknown names of classes",
    "unclassified-nuclei": "nuclei without a class",
    "no-nuclei": "annotations without a nucleus",
    "degenerate-region": "outlines of fewer than three points",
    "zero-area": "outlines without an area",
    "tiny-nucleus": "nuclei too small to be one",
    "huge-nucleus": "nuclei too large to be one",
    "self-crossing": "outlines that cross themselves",
    "self-touching": "outlines that touch themselves",
    "out-of-bounds": "outlines that reach over the edge of the image",
    "outside-the-image": "nuclei outside of the image",
    "duplicate-nucleus": "the same nucleus outlined twice",
    "heavy-overlap": "nuclei that overlap much",
    "negative-region": "regions marked as negative",
    "region-of-interest": "regions of interest around nuclei",
    "not-an-area": "arrows, rulers and other shapes without an area",
    "boxed-shape": "ellipses and rectangles (read as drawn)",
    "class-imbalance": "a class with few nuclei",
    "class-missing": "a class without nuclei",
    "class-in-one-patient": "a class that one patient alone has",
    "stain-outlier": "a stain unlike the others",
    "little-tissue": "almost no tissue",
}
#: What is wrong in the file and right in the window: it is said, and is nothing to look at.
_PUT_RIGHT = frozenset({"swapped-channels"})
_MOST_KINDS = 4


def plain(code: str) -> str:
    """A kind of finding in plain words."""
    return _PLAIN.get(code, code.replace("-", " "))


def verdict_words(findings: Iterable[DoctorFinding]) -> tuple[str, str]:
    """Say what was found in a few lines, the worst first, and the kind of the note."""
    found = list(findings)
    if not found:
        return "Nothing wrong was found in this folder.", "good"
    mended = [f for f in found if f.code in _PUT_RIGHT]
    grave = [f for f in found if f.severity in ("error", "warning") and f.code not in _PUT_RIGHT]
    harmless = [f for f in found if f.severity not in ("error", "warning") and f.code not in _PUT_RIGHT]
    said = []
    if grave:
        said.append(f"{len(grave)} to look at: {_kinds(grave)}.")
    if mended:
        said.append(f"{len(mended)} put right here, nothing to do: {_kinds(mended)}.")
    if harmless:
        said.append(f"{len(harmless)} that cost{'s' if len(harmless) == 1 else ''} nothing: {_kinds(harmless)}.")
    return " ".join([*said, "Click a row to see it."]), "warning" if grave else "hint"


def _kinds(findings: list[DoctorFinding]) -> str:
    kinds = Counter(f.code for f in findings).most_common()
    words = [f"{plain(code)} ({number})" for code, number in kinds[:_MOST_KINDS]]
    return ", ".join(words) + (" and others" if len(kinds) > _MOST_KINDS else "")


def explanation(finding: DoctorFinding) -> str:
    """What a finding means for training, and what to do about it in this window."""
    mend = finding.mend.replace("doctor --fix --out DIR writes", "the button Write mended copies makes")
    lines = (
        finding.message,
        f"What it does: {finding.effect}" if finding.effect else "",
        f"To do: {mend}" if mend else "",
    )
    return "\n".join(in_micrometres(line[:1].upper() + line[1:]) for line in lines if line)


def brief_names(crops: Iterable[Crop], longest: int = 16) -> dict[str, str]:
    """Names that fit into a narrow column and differ where the crops do: patient and number of a TCGA name, or the end."""
    short = {}
    for crop in crops:
        name, patient = str(crop.name), str(crop.patient)
        rest = name.removeprefix(patient).lstrip("-_")
        tcga = name.startswith(f"{patient}-") and patient.count("-") >= 2
        words = f"{patient.rpartition('-')[2]} {rest.rpartition('-')[2]}" if tcga else name
        short[name] = words if len(words) <= longest else f"…{words[-longest + 1 :]}"
    often = Counter(short.values())
    return {name: words if often[words] == 1 else f"…{name[-longest + 1 :]}" for name, words in short.items()}


#: More outlines than these say nothing more.
_MOST_MARKED = 300
#: How far outside of a nucleus its mark runs, px.
_AWAY_PX = 2.0
_FINDING = int(Qt.ItemDataRole.UserRole)


class DoctorView(QWidget):
    """What is wrong with the open folder.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose folder is examined, and where findings are shown.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer, self.model = viewer, studio_model(viewer)
        self._report: Any = None
        self._marks: Marks | None = None
        self._build()

    def _build(self) -> None:
        self.check, self.mend = form_button(EXAMINE, self), form_button(WRITE_MENDED, self)
        self.verdict = Note()
        self.findings = QTableWidget(0, 3)
        self.findings.setHorizontalHeaderLabels(["", "Crop", "Finding"])
        self.findings.setToolTip("What was found, the worst first. A click opens the crop and marks the nuclei.")
        header = self.findings.horizontalHeader()
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        # a finding is read to its end: rows are as high as their text
        self.findings.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.findings.verticalHeader().hide()
        self.findings.setTextElideMode(Qt.TextElideMode.ElideLeft)
        self.findings.setVerticalScrollMode(QTableWidget.ScrollMode.ScrollPerPixel)
        self.findings.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.findings.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.findings.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.findings.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        self.findings.setMinimumHeight(200)
        self.findings.hide()
        self.explained = Note()
        self.progress = TaskRow()
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (row(self.check, self.mend), self.progress, self.verdict, self.findings, self.explained):
            box.addWidget(widget)
        self.findings.itemClicked.connect(self._go_to_finding)
        self.findings.itemActivated.connect(self._go_to_finding)
        self.findings.itemSelectionChanged.connect(self._explain)
        hear(self, self.model.crop_changed, lambda _: self._unmark())
        self.reset()

    def reset(self) -> None:
        """Forget what was found: another folder is open."""
        self._report = None
        self._unmark()
        self.findings.hide()
        self.findings.setRowCount(0)
        self.verdict.say("")
        self.explained.say("")
        self.check.setEnabled(self.model.collection is not None)
        self.mend.hide()

    def examine(self) -> Task | None:
        """Let the data doctor look at the folder, in the background."""
        collection = self.model.collection
        if collection is None:
            return None

        def work(report: Report) -> Any:
            from napari_monusac.io.doctor.examine import examine

            return examine(collection.root, progress=lambda fraction, message: report(fraction, message))

        task = self.model.work.task(work, self)
        task.done.connect(self._diagnosed)
        return self.progress.follow(task, "Examining…")

    def write_mended(self, out: str = "") -> Task | None:
        """Write mended copies of what can be mended into a folder that is asked for."""
        out = out or QFileDialog.getExistingDirectory(self, "Where the mended copies go")
        report_ = self._report
        if not out or report_ is None:
            return None

        def work(report: Report) -> int:
            from napari_monusac.io.doctor.mend import fix

            return len(fix(report_, out, progress=lambda fraction, message: report(fraction, message)))

        task = self.model.work.task(work, self)
        task.done.connect(
            lambda n: self.progress.label.say(f"{n} mended copies are in {short_path(out)}.", "good", out)
        )
        return self.progress.follow(task, "Writing mended copies…")

    def _diagnosed(self, report: Any) -> None:
        from napari_monusac.io.doctor.report import KINDS

        found = list(report.findings)
        self.verdict.say(*verdict_words(found))
        collection = self.model.collection
        names = brief_names(collection.crops) if collection is not None else {}
        self.findings.setRowCount(len(found))
        for i, f in enumerate(found):
            mark = {"error": "\u2716", "warning": "\u25b2"}.get(f.severity, "\u2022")
            name = f.image or f.patient or ""
            for column, text in enumerate((mark, names.get(name, name), in_micrometres(f.message))):
                item = QTableWidgetItem(text)
                item.setToolTip("\n".join(t for t in (name, explanation(f)) if t))
                item.setData(_FINDING, f)
                if column == 0:
                    item.setForeground(QColor({"error": "#d55e00", "warning": "#e69f00"}.get(f.severity, "#7f8c9b")))
                self.findings.setItem(i, column, item)
        self.findings.setColumnWidth(0, 24)
        self.findings.setColumnWidth(1, 118)
        self.findings.setVisible(bool(found))
        self.explained.say("")
        self._report = report
        self.mend.setVisible(any(KINDS[f.code].fixable for f in found if f.code in KINDS))
        # the answer stands below the list of crops: bring it into view once it is laid out
        QTimer.singleShot(0, self._show_all)

    def _show_all(self) -> None:
        area: Any = self.parentWidget()
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parentWidget()
        if area is not None:
            for widget in (self.explained, self.findings, self.verdict):
                if widget.isVisible():
                    area.ensureWidgetVisible(widget, 0, 8)

    def _explain(self) -> None:
        """Say what the selected finding means; marks of another one go."""
        self._unmark()
        items = self.findings.selectedItems()
        self.explained.say(explanation(items[0].data(_FINDING)) if items else "")
        QTimer.singleShot(0, self._show_all)

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
            if layer is not None and finding.nuclei:
                self._mark(crop, finding, layer)

        if self.model.crop is not None and self.model.crop.name == crop.name:
            move()
        else:
            self.model.ask_for_crop(crop, then=move)

    # -- marks

    def _mark(self, crop: Crop, finding: DoctorFinding, image: Any) -> None:
        """Draw the outlines of a finding's nuclei, as they stand in the file."""
        collection = self.model.collection
        if collection is None:
            return

        def read(_: Report) -> list[Any]:
            regions = collection.annotation(crop).regions
            return [_closed(regions[k].vertices) for k in finding.nuclei[:_MOST_MARKED] if k < len(regions)]

        def show(outlines: list[Any]) -> None:
            if self.model.crop is None or self.model.crop.name != crop.name or image not in self.viewer.layers:
                return
            self._unmark()
            self._marks = Marks(self.viewer, image, "finding")
            self._marks.show("finding", outlines)

        task = self.model.work.task(read, self)
        task.done.connect(show)
        task.start()

    def _unmark(self) -> None:
        marks, self._marks = self._marks, None
        if marks is not None:
            marks.close()


def _closed(vertices: Any) -> Any:
    """An outline (y, x) that ends where it begins, a little larger than what it marks."""
    points = np.asarray(vertices, float)
    middle = points.mean(axis=0)
    away = points - middle
    lengths = np.maximum(np.hypot(*away.T), 1e-6)[:, None]
    points = middle + away * (1 + _AWAY_PX / lengths)
    return np.concatenate([points, points[:1]])
