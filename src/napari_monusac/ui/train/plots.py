"""The curves with what can be done with them: a logarithmic axis, a window of their own, a picture, a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QImage, QPainter
from qtpy.QtWidgets import QDialog, QFileDialog, QVBoxLayout, QWidget

from napari_monusac.app.actions import POP_CURVES, SAVE_CURVES, SAVE_PICTURE
from napari_monusac.core.files import atomic_write, atomic_write_text
from napari_monusac.ui.train.curves import CurvesView
from napari_monusac.ui.widgets.basic import form_button, row, toggle_button
from napari_monusac.ui.widgets.note import Note, short_path

#: Dots of a saved picture for each dot of the screen.
_FINER = 3


class CurvesPanel(QWidget):
    """The live curves in the panel, or in a window beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.view = CurvesView()
        self.log = toggle_button("Log", "Losses and learning rate on a logarithmic axis")
        self.pop = form_button(POP_CURVES, self)
        self.png, self.csv = form_button(SAVE_PICTURE, self), form_button(SAVE_CURVES, self)
        self.note = Note()
        self.window_: QDialog | None = None
        self._box = QVBoxLayout(self)
        self._box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.view, row(self.log, self.pop, self.png, self.csv), self.note):
            self._box.addWidget(widget)
        self.log.toggled.connect(self.view.set_log)

    def pop_out(self) -> None:
        """Show the curves in a window of their own; a second time brings that to the front."""
        if self.window_ is not None:
            self.window_.raise_()
            return
        window = self.window_ = QDialog(self.window(), Qt.WindowType.Window)
        window.setWindowTitle("Training curves")
        window.resize(900, 800)
        QVBoxLayout(window).addWidget(self.view)
        self.view.show()
        window.finished.connect(lambda _: self._take_back())
        window.show()

    def _take_back(self) -> None:
        window, self.window_ = self.window_, None
        self._box.insertWidget(0, self.view)
        self.view.show()
        if window is not None:
            window.deleteLater()

    def choose_picture(self) -> None:
        """Ask where a picture goes."""
        self._ask("curves.png", "Pictures (*.png)", self.save_png)

    def choose_table(self) -> None:
        """Ask where the numbers go."""
        self._ask("curves.csv", "Tables (*.csv)", self.save_csv)

    def _ask(self, name: str, filters: str, save: Any) -> None:
        path = QFileDialog.getSaveFileName(self, "Save the curves", name, filters)[0]
        if not path:
            return
        try:
            save(Path(path))
        except OSError as error:
            self.note.say(f"{path}: cannot be written ({error.strerror or error}) — choose another folder", "error")
        else:
            self.note.say(f"Saved in {short_path(Path(path))}.", "good", path)

    def save_png(self, path: Path) -> None:
        """Save a picture of the curves, finer than the screen."""
        graphics = self.view.graphics
        picture = QImage(graphics.size() * _FINER, QImage.Format.Format_RGB32)
        picture.fill(graphics.backgroundBrush().color())
        painter = QPainter(picture)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        graphics.render(painter, QRectF(picture.rect()), graphics.rect())
        painter.end()
        with atomic_write(path) as draft:
            if not picture.save(str(draft), "PNG"):
                raise OSError(f"no picture can be written as {path.name}")

    def save_csv(self, path: Path) -> None:
        """Save all numbers behind the curves, a row each."""
        lines = [f"{curve},{epoch:g},{value:.9g}\n" for curve, epoch, value in self.view.points()]
        atomic_write_text(path, "".join(["curve,epoch,value\n", *lines]))
