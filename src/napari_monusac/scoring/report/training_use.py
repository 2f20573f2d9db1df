"""Crops that a model was trained on are no test of it: which are scored all the same, and what is said of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.training_crops import SeenAs
from napari_monusac.scoring.metrics.evaluation import Evaluation, TrainingUse

#: From the strongest: what a crop is to two models is the first of these that it is to one of them.
_ORDER = (SeenAs.TRAINING, SeenAs.UNKNOWN, SeenAs.VALIDATION, SeenAs.SAME_PATIENT, SeenAs.UNSEEN, SeenAs.NOT_ASKED)
_SHOWN = 5


class TrainingCount:
    """Decides crop by crop whether it is scored, and counts what the crops are to the model.

    Parameters
    ----------
    include_training : bool
        Score training crops too.
    """

    def __init__(self, include_training: bool = False) -> None:
        self.include_training = include_training
        self._crops: dict[SeenAs, list[str]] = {seen: [] for seen in SeenAs}
        self._patients: dict[str, None] = {}
        self._others = self._without = 0

    def leaves(self) -> None:
        """Count a crop that is not scored for another reason than training."""
        self._others += 1

    def takes(self, crop: str, patient: str, *seen: SeenAs, predicted: bool = True) -> bool:
        """Count a crop and say whether it is scored.

        Parameters
        ----------
        crop, patient : str
        *seen : SeenAs
            What it is to each of the models.
        predicted : bool
            Whether there is a prediction of it: a training crop needs none to be counted as one.
        """
        found = min(seen, key=_ORDER.index)
        self._crops[found].append(crop)
        self._without += not predicted
        if found is SeenAs.SAME_PATIENT:
            self._patients[patient] = None
        return found is not SeenAs.TRAINING or self.include_training

    def check(self) -> None:
        """Raise where nothing is left to score.

        Raises
        ------
        MonusacError
            Every crop is a training crop, and those are left out.
        """
        trained, use = self._crops[SeenAs.TRAINING], self.use
        if use.left_out and not any(self._crops[s] for s in SeenAs if s is not SeenAs.TRAINING):
            raise MonusacError(
                f"the model was trained on all {len(trained)} crops that could be scored ({_shown(trained)})",
                "give crops that it has not seen; or score these all the same: --include-training in a terminal, "
                "include_training=True in Python",
            )

    @property
    def use(self) -> TrainingUse:
        """The crops that have been counted, by what they are to the model."""
        trained = tuple(self._crops[SeenAs.TRAINING])
        return TrainingUse(
            left_out=() if self.include_training else trained,
            included=trained if self.include_training else (),
            validation=tuple(self._crops[SeenAs.VALIDATION]),
            same_patient=tuple(self._crops[SeenAs.SAME_PATIENT]),
            unknown=tuple(self._crops[SeenAs.UNKNOWN]),
        )

    def told_in(self, evaluation: Evaluation) -> Evaluation:
        """Return an evaluation with the use of training crops, and the notes on it."""
        notes = (*self.notes(), *evaluation.notes)
        return evaluation.model_copy(update={"training": self.use, "notes": notes})

    def notes(self) -> tuple[str, ...]:
        """What must be said beside the scores."""
        use, everything = self.use, sum(map(len, self._crops.values()))
        scored = everything - len(use.left_out)
        if scored == everything == 1:
            return _of_one_crop(use)
        notes = []
        if use.left_out:
            # a run predicts none of them, a folder may hold some
            some = 0 < self._without < len(use.left_out)
            either = f" ({self._without} of them have no prediction, either)" if some else ""
            notes.append(
                f"{len(use.left_out)} of {everything + self._others} crops are left out, because the model was trained on "
                f"them{either}: {_shown(use.left_out)}"
            )
        if use.included:
            notes.append(
                f"{len(use.included)} of {scored} scored crops were used to train the model: the scores on them are "
                f"too good ({_shown(use.included)})"
            )
        if use.same_patient:
            notes.append(
                f"{len(use.same_patient)} of {scored} scored crops are of patients that the model was trained on "
                f"({_shown(tuple(self._patients))}): the scores on them may be too good"
            )
        if use.validation:
            notes.append(
                f"{len(use.validation)} of {scored} scored crops are validation crops of the run: they chose this "
                "checkpoint, and the scores on them are a little too good"
            )
        if use.unknown:
            notes.append(
                f"of {len(use.unknown)} of {scored} scored crops it is not known whether the model was trained on them "
                "(neither prediction nor run folder says it): if it was, the scores are too good"
            )
        return tuple(notes)


def _of_one_crop(use: TrainingUse) -> tuple[str, ...]:
    if use.included:
        return ("the model was trained on this crop: the scores are too good",)
    if use.same_patient:
        return ("the model was trained on crops of this patient: the scores may be too good",)
    if use.validation:
        return ("this is a validation crop of the run: it chose this checkpoint, the scores are a little too good",)
    if use.unknown:
        return ("it is not known whether the model was trained on this crop: if it was, the scores are too good",)
    return ()


def _shown(names: Sequence[str] | Collection[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
