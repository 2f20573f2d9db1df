"""Tables whose cells open their nuclei: PQ by class and patient, and the confusion of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_monusac.ui.model import hear
from napari_monusac.ui.review.gallery import Gallery
from napari_monusac.ui.widgets.basic import Heading, calm
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.tables import SHORT, Table, number

if TYPE_CHECKING:
    from napari_monusac.app.review import ReviewModel
    from napari_monusac.scoring.metrics.evaluation import Evaluation

_CROP, _FOLDER = "This crop", "The whole folder"
_BLUE, _ORANGE = (0, 114, 178), (213, 94, 0)


class TablesView(QWidget):
    """The tables and the gallery of the cell that was clicked."""

    def __init__(self, model: ReviewModel) -> None:
        super().__init__()
        self.model = model
        self.scope = calm(QComboBox())
        self.scope.addItem(_CROP)
        self.scope.setToolTip("Score the folder (Scores) to see all patients here")
        self.scope.currentIndexChanged.connect(lambda _: self._show())
        self.by_patient = Table(rows_at_most=10)
        self.confusion = Table()
        self.gallery = Gallery(model)
        self.by_patient.cellClicked.connect(self._patient_cell)
        self.confusion.cellClicked.connect(self._confusion_cell)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        for widget in (
            self.scope, Note("A click on a number shows its nuclei, here and on the slide."),
            Heading("PQ by class and patient"), self.by_patient,
            Heading("Classes: truth down, prediction across"), self.confusion, self.gallery,
        ):  # fmt: skip
            box.addWidget(widget)
        hear(self, model.folder_scored, lambda _: self._folder_scored())
        hear(self, model.compared, lambda _: self._show())
        self._folder_scored()

    @property
    def _of_folder(self) -> bool:
        return self.scope.currentText() == _FOLDER and self.model.scored is not None

    @property
    def evaluation(self) -> Evaluation | None:
        """The scores that are shown."""
        if self.model.scored is not None and self._of_folder:
            return self.model.scored.evaluation
        return self.model.comparison.evaluation if self.model.comparison is not None else None

    @property
    def nuclei(self) -> Any:
        """One row a nucleus of what is shown."""
        if self.model.scored is not None and self._of_folder:
            return self.model.scored.nuclei
        return self.model.comparison.nuclei if self.model.comparison is not None else None

    def _folder_scored(self) -> None:
        if self.model.scored is None:
            self.scope.removeItem(self.scope.findText(_FOLDER))
        elif self.scope.count() == 1:
            self.scope.addItem(_FOLDER)
        self._show()

    def _show(self) -> None:
        e = self.evaluation
        if e is None:
            return
        names = list(e.by_class)
        self.by_patient.set_headers(["Patient", *(SHORT[n] for n in names)], ["", *names])
        rows = [(p.name, *(number(p.by_class[n].pq) for n in names)) for p in e.patients]
        self.by_patient.fill(rows)
        for i, p in enumerate(e.patients):
            for k, n in enumerate(names, 1):
                pq = p.by_class[n].pq
                if pq is not None:
                    self.by_patient.tint(i, k, pq, _BLUE)
        if e.confusion is None:
            return
        c = e.confusion
        self.confusion.set_headers(["Truth", *(SHORT.get(n, n) for n in c.columns)], ["", *c.columns])
        self.confusion.fill([(row, *map(str, counts)) for row, counts in zip(c.rows, c.counts, strict=True)])
        for i, (row_, counts) in enumerate(zip(c.rows, c.counts, strict=True)):
            for at, (column, count) in enumerate(zip(c.columns, counts, strict=True), 1):
                if count:
                    strength = 0.25 + count / max(counts)
                    self.confusion.tint(i, at, strength, _BLUE if row_ == column else _ORANGE)

    # -- cells

    def _patient_cell(self, row: int, column: int) -> None:
        e, nuclei = self.evaluation, self.nuclei
        if e is None or nuclei is None or row >= len(e.patients):
            return
        patient, names = e.patients[row].name, list(e.by_class)
        found = nuclei[nuclei["patient"] == patient] if self._of_folder else nuclei
        title = patient
        if column:
            name = names[column - 1]
            found = found[(found["class"] == name) | (found["predicted_class"] == name)]
            title = f"{name} of {patient}"
        # what is wrong comes first: it is what one looks for
        wrong = found["class"] != found["predicted_class"]
        self._open(found[wrong], found[~wrong], title)

    def _confusion_cell(self, row: int, column: int) -> None:
        e, nuclei = self.evaluation, self.nuclei
        if e is None or e.confusion is None or nuclei is None:
            return
        truth = e.confusion.rows[row]
        found, title = nuclei[nuclei["class"] == truth], f"Truth: {truth}"
        if column:
            predicted = e.confusion.columns[column - 1]
            found, title = found[found["predicted_class"] == predicted], f"{truth} → {predicted}"
        self._open(found, None, title)

    def _open(self, first: Any, then: Any, title: str) -> None:
        import pandas as pd

        found = first if then is None else pd.concat([first, then])
        self.gallery.show_nuclei(found, title)
        self.model.cell_chosen.emit(found)
