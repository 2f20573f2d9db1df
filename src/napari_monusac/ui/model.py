"""Which viewer has which model, and how it ends.

The model dies with its viewer, its work with the window; a panel ends with its dock, and hears of nothing after that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from psygnal import SignalInstance
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QApplication, QWidget

from napari_monusac.app.improving import ImprovingModel
from napari_monusac.app.review import ReviewModel
from napari_monusac.app.studio import StudioModel
from napari_monusac.app.work import Work
from napari_monusac.ui.widgets.activity import show_activities, show_run
from napari_monusac.ui.widgets.closing import ClosingWatch

__all__ = [
    "ImprovingModel", "Placed", "ReviewModel", "StudioModel", "forget", "hear", "improving_model", "review_model", "studio_model",
    "works",
]  # fmt: skip

#: The attribute of a viewer's list of layers that holds its model. A table of ours, even a weak one, would keep both for
#: ever: the model knows the panels, the panels know the viewer. (The viewer itself, a pydantic model, takes no attribute.)
_HERE, _REVIEW, _IMPROVING = "_monusac_studio", "_monusac_review", "_monusac_improving"


def studio_model(viewer: Any) -> StudioModel:
    """Return the model that all panels of this viewer share, made on first use.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer, or npe2's proxy of it.
    """
    kept = vars(getattr(viewer, "__wrapped__", viewer).layers)
    if _HERE not in kept:
        made = kept[_HERE] = StudioModel()
        take_to_qt(made.work)
        show_run(made.training)
    model: StudioModel = kept[_HERE]
    return model


def review_model(viewer: Any) -> ReviewModel:
    """Return Review's state in this viewer, made on first use."""
    studio = studio_model(viewer)
    kept = vars(getattr(viewer, "__wrapped__", viewer).layers)
    if _REVIEW not in kept:
        kept[_REVIEW] = ReviewModel(studio)
    model: ReviewModel = kept[_REVIEW]
    return model


def improving_model(viewer: Any) -> ImprovingModel:
    """Return where the round of improving the model stands in this viewer, made on first use."""
    studio, review = studio_model(viewer), review_model(viewer)
    kept = vars(getattr(viewer, "__wrapped__", viewer).layers)
    if _IMPROVING not in kept:
        kept[_IMPROVING] = ImprovingModel(studio, review)
    model: ImprovingModel = kept[_IMPROVING]
    return model


def forget(viewer: Any) -> None:
    """Drop the model of a viewer before its end; its session is closed."""
    kept = vars(getattr(viewer, "__wrapped__", viewer).layers)
    kept.pop(_IMPROVING, None)
    kept.pop(_REVIEW, None)
    model = kept.pop(_HERE, None)
    if model is not None:
        model.work.close()
        if model.editor is not None:
            model.editor.close()


def hear(owner: QObject, signal: SignalInstance, call: Callable[..., object]) -> None:
    """Call a function at each event of a model, until the widget or object that it is for comes to its end.

    The model may outlive a panel (a dock that is closed, and opened again): without this it would call what Qt has taken
    away.

    Parameters
    ----------
    owner : QObject
        Whose end is the end of hearing.
    signal : SignalInstance
        A signal of the model.
    call : callable
        Gets as many of the event's values as it takes.
    """
    signal.connect(call)
    owner.destroyed.connect(lambda: signal.disconnect(call, missing_ok=True))


class _Bell(QObject):
    """Runs functions in Qt's thread, whoever asks for it."""

    rung = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.rung.connect(lambda call: call(), Qt.ConnectionType.QueuedConnection)

    def ring(self, call: Callable[[], object]) -> None:
        """Run a function soon."""
        with suppress(RuntimeError):  # when the interpreter ends, Qt may have taken the bell away before us
            self.rung.emit(call)


_BELLS: list[_Bell] = []
_WORKS: WeakSet[Work] = WeakSet()


def works() -> list[Work]:
    """The background work of every window that is left."""
    return list(_WORKS)


def take_to_qt(work: Work) -> None:
    """Let a window's work tell of itself in Qt's thread and in napari's activity dock, and end before Qt does."""
    if not _BELLS:
        _BELLS.append(_Bell())
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(_end_work)
    work.deliver = _BELLS[0].ring
    work.is_there = _is_there
    show_activities(work)
    _WORKS.add(work)


def _end_work() -> None:
    """Wait for what runs: a run saves and ends, and no pool of threads takes work once the interpreter is ending."""
    for work in works():
        work.close()
    for work in works():
        work.join()


def _is_there(owner: object) -> bool:
    return not isinstance(owner, QObject) or bool(isalive(owner))


class Placed(QObject):
    """Watches where a panel is docked: it ends with its dock, and the work of its model with the window.

    napari leaves the widget of a dock that is closed alive, without a place; another one is made when it is opened anew.

    Parameters
    ----------
    panel : QWidget
        The Studio, or a panel that may be docked alone.
    model : StudioModel
    """

    def __init__(self, panel: QWidget, model: StudioModel) -> None:
        super().__init__(panel)
        self._panel, self._model, self._placed = panel, model, False
        panel.installEventFilter(self)

    def eventFilter(self, _: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Look at where the panel is now."""
        if event.type() == QEvent.Type.Show and not self._placed:
            window = self._panel.window()
            if window is not self._panel:
                self._placed = True
                work = self._model.work  # without ourselves: the panel ends before the window does
                window.destroyed.connect(lambda: work.close())
                if window.findChild(ClosingWatch) is None:  # one a window, whichever panel is docked first
                    ClosingWatch(window, self._model)
        elif event.type() == QEvent.Type.ParentChange and self._placed and self._panel.parent() is None:
            QTimer.singleShot(0, self._end_unless_placed)
        return False

    def _end_unless_placed(self) -> None:
        if self._panel.parent() is None:
            self._panel.deleteLater()
