"""The round in which a model gets better: look through its queue, correct, train on that, see what changed. No Qt, no torch."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_monusac.app.answers import Refused
from napari_monusac.app.facts import Fact
from napari_monusac.app.review import COMPARE, QUEUE, ReviewModel
from napari_monusac.app.studio import StudioModel
from napari_monusac.app.training import RunRow
from napari_monusac.app.work import Latest, Report, Task, error_line
from napari_monusac.core.files import folder_key
from napari_monusac.editing.disk.workplace import work_folder, writable

if TYPE_CHECKING:
    from napari_monusac.editing.corrected import CorrectedCollection

_NO_FOLDER = "Open a folder of crops first (Slides)."


class RoundStep(StrEnum):
    """The steps of a round, in order."""

    QUEUE = "Queue"
    CORRECT = "Correct"
    RETRAIN = "Retrain"
    GUARD = "Guard"


@dataclass(frozen=True, slots=True)
class RoundStepState:
    """How far one step is.

    Attributes
    ----------
    step : RoundStep
    text : str
        What its button says: the step, and how far it is.
    tip : str
        What a click does.
    why : str
        Why it rests; empty where it can be done.
    """

    step: RoundStep
    text: str
    tip: str
    why: str = ""


class ImprovingModel:
    """Where the round stands in one window.

    Parameters
    ----------
    studio : StudioModel
    review : ReviewModel

    Attributes
    ----------
    corrected : int
        Crops of the open folder that were corrected and saved (`corrected_changed`).

    Notes
    -----
    `changed` tells that a step is another now: see `steps`.
    """

    corrected_changed = Signal(int)
    changed = Signal()

    corrected: Fact[int] = Fact("corrected_changed", 0, operator.eq)

    def __init__(self, studio: StudioModel, review: ReviewModel) -> None:
        self.studio, self.review = studio, review
        self._gathering: Task | None = None
        self._counting = Latest(studio.work, self)
        self._counting.done.connect(self._counted)
        training = studio.training
        for signal in (studio.collection_changed, studio.editing.unsaved_changed):
            signal.connect(self._count)
        for signal in (
            self.corrected_changed, review.session_changed, review.judged, review.guarded, review.predictions_changed,
            studio.collection_changed, studio.editing.unsaved_changed, training.runs_changed, training.state_changed,
        ):  # fmt: skip
            signal.connect(self._tell)
        self._count()

    def _tell(self, _: object = None) -> None:
        self.changed.emit()

    # -- how far it is

    def steps(self) -> tuple[RoundStepState, ...]:
        """Say how far each step is, and what can be done next."""
        folder = "" if self.studio.collection is not None else _NO_FOLDER
        return (
            RoundStepState(RoundStep.QUEUE, self._queue_text(), "Look through what the model is uncertain of, and its errors", folder),
            RoundStepState(
                RoundStep.CORRECT, f"Correct: {self.corrected}" if self.corrected else "Correct",
                "Mend outlines and classes (Annotate); the number is of crops that are corrected and saved", folder,
            ),
            RoundStepState(
                RoundStep.RETRAIN, "Retrained" if self.retrained is not None else "Retrain",
                "Train on what you corrected: the last model goes on with the corrected crops, which are seen more often, "
                "and the other labelled ones of the folder. Patients that nobody has corrected validate",
                folder or self._why_no_training(),
            ),
            RoundStepState(
                RoundStep.GUARD, "Guard" if self.review.guard is None else f"Guard: {self.review.guard.verdict}",
                "See what the new model fixed and what it newly broke, nucleus by nucleus",
                folder or ("" if self.retrained is not None else "Retrain first: there is no new model yet"),
            ),
        )  # fmt: skip

    def _queue_text(self) -> str:
        queue = self.review.queue
        if queue is None:
            return "Queue"
        done, total = queue.progress
        return f"Queue: {done}/{total}"

    def _why_no_training(self) -> str:
        if self.studio.training.busy:
            return "A run is being trained: one at a time"
        return "" if self.corrected or self.studio.editing.unsaved else "Correct a crop first, and save it"

    @property
    def folder(self) -> Path | None:
        """Where the corrected crops of the open folder are gathered; None while none is open."""
        if self.studio.collection is None:
            return None
        return self.studio.training.runs_folder / "corrected" / folder_key(self.studio.collection.root)

    @property
    def retrained(self) -> RunRow | None:
        """The newest run that went on with the corrected crops of this folder and has a model."""
        folder = self.folder
        return next(
            (
                row
                for row in self.studio.training.runs
                if row.run.recipe.start_from and row.run.data == folder and row.run.best.is_file()
            ),
            None,
        )

    def _count(self, _: object = None) -> None:
        collection = self.studio.collection
        if collection is None:
            self._counting.forget()
            self.corrected = 0
            return

        def count() -> tuple[object, int]:
            from napari_monusac.editing.corrected import corrected_sources

            return collection, len(corrected_sources(collection, work=_work_of(Path(collection.root))))

        self._counting.ask(count)

    def _counted(self, found: tuple[object, int]) -> None:
        collection, number = found
        if collection is self.studio.collection:
            self.corrected = number

    # -- one click each

    def go(self, step: RoundStep) -> Task | Refused | None:
        """Do a step, or go where it is done."""
        state = next(one for one in self.steps() if one.step is step)
        if state.why:
            self.studio.tell(state.why)
            return Refused(state.why)
        if step is RoundStep.RETRAIN:
            return self.retrain()
        if step is RoundStep.GUARD:
            self._guard()
        elif step is RoundStep.QUEUE:
            self.review.page = QUEUE
        self.studio.panel_asked.emit("Annotate" if step is RoundStep.CORRECT else "Review")
        return None

    def retrain(self) -> Task | Refused | None:
        """Gather the corrected crops and the folder's other labelled ones, and let Train go on from the last model.

        Returns
        -------
        Task, Refused or None
            None where edits are saved first; it goes on by itself then.
        """
        collection, saver, folder = self.studio.collection, self.studio.saver, self.folder
        if collection is None or folder is None:
            self.studio.tell(_NO_FOLDER)
            return Refused(_NO_FOLDER)
        if self._gathering is not None:
            return Refused()
        if saver is not None and saver.unsaved():
            saver.save(self.retrain)
            return None
        root, runs = Path(collection.root), self.studio.training.runs_folder

        def work(_: Report) -> tuple[CorrectedCollection, Path | None]:
            from napari_monusac.editing.corrected import corrected_collection

            made = corrected_collection(root, folder, others=True, work=_work_of(root))
            return made, last_checkpoint(runs)

        def ended() -> None:
            self._gathering = None

        task = self._gathering = self.studio.work.task(work, self)
        task.done.connect(self._gathered)
        task.failed.connect(lambda error: self.studio.tell(error_line(error), "error"))
        task.finished.connect(ended)
        return task.start()

    def _gathered(self, answer: tuple[CorrectedCollection, Path | None]) -> None:
        made, checkpoint = answer
        mine = len(made.crops) - len(made.others)
        number = f"{mine} corrected crops" if mine != 1 else "One corrected crop"
        beside = f" and {len(made.others)} other labelled ones" if made.others else ""
        self.studio.tell(f"{number}{beside} are trained on.", "good")
        self.studio.training.start_from(made.folder, checkpoint)
        self.studio.panel_asked.emit("Train")

    def _guard(self) -> None:
        row = self.retrained
        if row is not None:
            self.review.page = COMPARE
            self.review.guard_pair = (Path(row.run.recipe.start_from), row.run.best)


def _work_of(root: Path) -> Path | None:
    """Where corrected annotations lie of a folder that cannot be written; None where they lie beside the images."""
    return None if writable(root) else work_folder(root)


def last_checkpoint(runs: Path) -> Path | None:
    """Return the best checkpoint of the newest run that has one; None where there is none."""
    from napari_monusac.io.runs.run_folder import find_runs

    return next((run.best for run in find_runs(runs) if run.best.is_file()), None)
