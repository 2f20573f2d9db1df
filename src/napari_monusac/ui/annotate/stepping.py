"""Stepping: nucleus after nucleus, or through what the audit found, each with its mend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QListWidgetItem,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_monusac.app.actions import MEND_FINDING, NEXT, PREVIOUS
from napari_monusac.app.work import Report, Task
from napari_monusac.core.classes import NucleusClass
from napari_monusac.editing.commands import Select
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.editing.commands import Commands
from napari_monusac.ui.editing.controller import EditingController
from napari_monusac.ui.model import hear
from napari_monusac.ui.widgets.basic import button_of, calm, row
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.tables import CalmList
from napari_monusac.ui.widgets.task_row import TaskRow

if TYPE_CHECKING:
    from napari_monusac.core.boxes import Box
    from napari_monusac.editing.audit import AuditFinding
    from napari_monusac.editing.nuclei.edit import SessionChange
    from napari_monusac.editing.session import EditingSession

ALL, UNCLASSIFIED, UNCERTAIN, AUDIT = ORDERS = (
    "All nuclei", "Unclassified", "The model's, least sure first", "Audit findings",
)  # fmt: skip
#: Nuclei are read like a page, in lines of this height (px).
_LINE_PX = 150
_FINDING = int(Qt.ItemDataRole.UserRole)
_VERBS = {
    "split": "Split it", "delete": "Delete it", "merge": "Merge with its neighbour", "fill holes": "Fill the hole",
    "separate": "Make two nuclei of it", "rebuild boundary": "Draw the boundary anew",
}  # fmt: skip


class Stepping(QWidget):
    """Steps through nuclei or audit findings.

    Signals
    -------
    stepped(str) : the nucleus that was stepped to, in words.
    """

    stepped = Signal(str)

    def __init__(self, controller: EditingController, commands: Commands) -> None:
        super().__init__()
        self.controller, self.commands = controller, commands
        self._last: int = 0
        self._build()
        controller.session_changed.connect(self._session_changed)
        hear(self, controller.editing.changed, self._changed)
        self._session_changed()

    def _build(self) -> None:
        self.order = calm(QComboBox())
        self.order.addItems(ORDERS)
        self.order.setToolTip(f"What {NEXT.key} and {PREVIOUS.key} step through")
        self.previous = calm(QPushButton(f"\u25c0 {PREVIOUS.key}"))
        self.next = calm(QPushButton(f"{NEXT.key} \u25b6"))
        self.previous.setToolTip(PREVIOUS.tooltip)
        self.next.setToolTip(NEXT.tooltip)
        self.look = calm(QPushButton("Audit this crop"))
        self.look.setToolTip("Look for broken boundaries, clumps, slivers, holes and nuclei in pieces")
        self.progress = TaskRow()
        self.list = CalmList()
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.words = Note()
        self.mend_button = button_of(MEND_FINDING)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (
            row(self.order, self.previous, self.next, stretch_first=True),
            self.look, self.progress, self.list, self.words, self.mend_button,
        ):  # fmt: skip
            box.addWidget(widget)
        self.previous.clicked.connect(lambda: self.step(-1))
        self.next.clicked.connect(lambda: self.step(1))
        self.look.clicked.connect(self.audit)
        self.mend_button.clicked.connect(self.mend)
        self.list.currentItemChanged.connect(lambda item, _: self._chosen(item))

    def _session_changed(self) -> None:
        self._last = 0
        self._list([])
        for widget in (self.previous, self.next, self.look, self.order):
            widget.setEnabled(self.controller.session is not None)

    # -- stepping

    def step(self, by: int) -> None:
        """Go to the next (1) or the previous (-1)."""
        session = self.controller.session
        if session is None:
            return
        if self.order.currentText() == AUDIT:
            if self.list.count():
                at = self.list.currentRow()
                self.list.setCurrentRow((at + by) % self.list.count() if at >= 0 else 0)
            else:
                self.controller.said.emit("Press Audit this crop first.", "hint")
            return
        ids = self.sequence(session)
        if not ids:
            self.controller.said.emit(f"There is nothing to step through: {self.order.currentText().lower()}.", "hint")
            return
        current = next(iter(session.selection.ids)) if len(session.selection.ids) == 1 else self._last
        at = ids.index(current) + by if current in ids else (0 if by > 0 else -1)
        self.go_to(ids[at % len(ids)])

    def sequence(self, session: EditingSession) -> list[int]:
        """Return what is stepped through, in order."""
        boxes, kind = session.maps.boxes, self.order.currentText()
        rows = [r for k, r in session.rows.items() if r.plane == "nuclei" and k in boxes]
        if kind == UNCLASSIFIED:
            rows = [r for r in rows if r.class_id == NucleusClass.UNCLASSIFIED]
        elif kind == UNCERTAIN:
            rows = [r for r in rows if r.provenance == "model"]
            return [r.id for r in sorted(rows, key=lambda r: (r.confidence or 0.0, r.id))]

        def place(label: int) -> tuple[int, int]:
            top, left, bottom, right = boxes[label]
            return (top + bottom) // 2 // _LINE_PX, (left + right) // 2

        return sorted((r.id for r in rows), key=place)

    def go_to(self, label: int) -> None:
        """Select a nucleus and show it."""
        session = self.controller.session
        if session is None or label not in session.maps.boxes:
            return
        self._last = label
        session.do(Select([label]))
        self.commands.stepped()
        self.stepped.emit(self.commands.words(label))
        self.show_box(session.maps.boxes[label])

    def show_box(self, box: Box) -> None:
        """Bring a box into view; where it is in view already, the camera stays."""
        layers = self.controller.layers
        layer = layers.get("nuclei") if layers is not None else None
        if layer is None:
            return
        viewer = self.controller.viewer
        zoom = float(viewer.scene.camera.zoom) * float(layer.scale[-1])
        center = layer.world_to_data(viewer.scene.camera.center[-2:])
        half = [0.4 * n / zoom for n in viewer.canvas.size]
        y, x = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        small = max(box[2] - box[0], box[3] - box[1]) * zoom < 16
        if small or abs(y - center[-2]) > half[0] or abs(x - center[-1]) > half[1]:
            canvas.center_on(viewer, layer, y, x, times=40 if small else None)

    # -- the audit

    def audit(self) -> Task | None:
        """Look for shapes that are likely wrong, in the background."""
        session = self.controller.session
        if session is None:
            return None
        self.controller.adopt()
        nuclei = session.nuclei.snapshot()

        def work(_: Report) -> list[AuditFinding]:
            from napari_monusac.editing.audit import audit

            return audit(nuclei)

        task = self.controller.model.work.task(work, self)
        task.done.connect(lambda found: self._found(session, found))
        return self.progress.follow(task, "Looking at every nucleus…")

    def _found(self, session: Any, findings: list[AuditFinding]) -> None:
        if session is not self.controller.session:
            return
        self._list(findings)
        if findings:
            self.order.setCurrentText(AUDIT)
            self.list.setCurrentRow(0)
            QTimer.singleShot(0, self._show_mend)
        else:
            self.progress.label.say("The audit found nothing.", "good")

    def _show_mend(self) -> None:
        """Scroll the panel so far that the finding and its mend are seen: the reader has asked for them."""
        above = self.parentWidget()
        while above is not None and not isinstance(above, QScrollArea):
            above = above.parentWidget()
        if isinstance(above, QScrollArea) and self.mend_button.isVisible():
            above.ensureWidgetVisible(self.mend_button)

    def _list(self, findings: list[AuditFinding]) -> None:
        self.list.blockSignals(True)
        self.list.clear()
        for finding in findings:
            item = QListWidgetItem(f"{finding.kind.capitalize()}: {_numbers(finding)}")
            item.setData(_FINDING, finding)
            item.setToolTip(finding.explanation)
            self.list.addItem(item)
        self.list.blockSignals(False)
        self._show_list()

    def _show_list(self) -> None:
        there = self.list.count() > 0
        self.list.setVisible(there)
        line = self.list.sizeHintForRow(0) if there else 0
        self.list.setFixedHeight(min(8, max(3, self.list.count())) * max(14, line) + 8)
        self.mend_button.setVisible(there and self.list.currentItem() is not None)
        self.words.say("" if not there else self.words.text())
        number = f"{self.list.count()} findings" if self.list.count() != 1 else "1 finding"
        self.look.setText(f"Audit this crop ({number})" if there else "Audit this crop")

    def _chosen(self, item: QListWidgetItem | None) -> None:
        session = self.controller.session
        self.mend_button.setVisible(item is not None)
        if item is None or session is None:
            self.words.say("")
            return
        finding: AuditFinding = item.data(_FINDING)
        self.words.say(finding.explanation)
        self.mend_button.setText(f"{_VERBS.get(finding.action, finding.action.capitalize())} ({MEND_FINDING.key})")
        session.do(Select([k for k in finding.ids if k in session.rows]))
        self.commands.stepped()
        self.commands.show_cut(finding.ids[0] if finding.action == "split" and finding.ids else 0)
        self.show_box(finding.box)

    def mend(self) -> None:
        """Run the suggested mend of the finding that is shown, and go to the next."""
        item = self.list.currentItem()
        if item is None:
            return
        from napari_monusac.editing.audit import mend_of

        finding: AuditFinding = item.data(_FINDING)
        if self.controller.do(mend_of(finding)):
            self.commands.show_cut(0)
            self._drop({finding})

    def _changed(self, change: SessionChange) -> None:
        """Findings about nuclei that were changed are done with; Undo brings none back: the audit is quick."""
        shaped = change.kind in ("edit", "undo", "redo") and change.name not in ("class", "note")
        if shaped and self.list.count():
            found = (self.list.item(i).data(_FINDING) for i in range(self.list.count()))
            self._drop({f for f in found if change.ids & set(f.ids)})

    def _drop(self, findings: set[AuditFinding]) -> None:
        for i in reversed(range(self.list.count())):
            if self.list.item(i).data(_FINDING) in findings:
                self.list.takeItem(i)
        self._show_list()


def _numbers(finding: AuditFinding) -> str:
    some = ", ".join(str(k) for k in finding.ids[:4])
    return f"nucleus {some}" if len(finding.ids) == 1 else f"nuclei {some}{' …' if len(finding.ids) > 4 else ''}"
