"""The corrected truth: what the annotation becomes when a reader's judgements are carried out. The original stays.

What a judgement does to the nuclei of its finding:

- *truth right*, *skip*: nothing.
- *model right*: the true nuclei go and the predicted ones take their place, with their outline and class; a wrong class
  is put right and a loose edge drawn anew without touching anything else of the nucleus.
- *both wrong*: with a class chosen by the reader, the true nuclei get it; without one the nucleus has to be drawn anew
  by hand, and is listed in `CorrectedTruth.to_redraw`.
- *ambiguous*: the nuclei become Ambiguous regions, left out of training and of scores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.review.judgements import Judgement, Verdict
from napari_monusac.scoring.errors.finding import Finding, FindingType
from napari_monusac.scoring.matching.matching import match_instances
from napari_monusac.scoring.matching.pairs import CropPair

PlacedMask = tuple[tuple[slice, slice], NDArray[np.bool_]]


@dataclass(slots=True, eq=False)
class CorrectedTruth:
    """The truth of a crop with judgements carried out.

    Attributes
    ----------
    instances : int64 (y, x)
        Instance map; nuclei that stayed keep their numbers, new ones get numbers above.
    classes : dict
        Class number by id.
    ignore : bool (y, x)
        Ambiguous regions.
    removed, redrawn, reclassed, added, made_ambiguous : dict
        What happened to which nucleus, and on whose word; predictions made ambiguous stand there as -id.
    ambiguous_masks : dict
        Box and pixels of each nucleus that became an Ambiguous region.
    offset_px : tuple of int
        (y, x) of the maps' first pixel in the crop.
    to_redraw : list of Judgement
        *Both wrong* without a class: to be drawn by hand.
    """

    instances: NDArray[np.int64]
    classes: dict[int, int]
    ignore: NDArray[np.bool_]
    offset_px: tuple[int, int] = (0, 0)
    removed: dict[int, Judgement] = field(default_factory=dict)
    redrawn: dict[int, Judgement] = field(default_factory=dict)
    reclassed: dict[int, Judgement] = field(default_factory=dict)
    added: dict[int, Judgement] = field(default_factory=dict)
    made_ambiguous: dict[int, Judgement] = field(default_factory=dict)
    ambiguous_masks: dict[int, PlacedMask] = field(default_factory=dict)
    to_redraw: list[Judgement] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything differs from the original."""
        return any((self.removed, self.redrawn, self.reclassed, self.added, self.made_ambiguous))

    def as_truth_of(self, pair: CropPair) -> CropPair:
        """The same crop with this as its truth, to be scored again."""
        ignore = self.ignore if self.ignore.any() else None
        return replace(pair, truth=self.instances, truth_classes=self.classes, ignore=ignore)


def correct_truth(pair: CropPair, judgements: Iterable[Judgement]) -> CorrectedTruth:
    """Carry out judgements on the maps of a crop.

    Parameters
    ----------
    pair : CropPair
        The original truth and the prediction that was judged.
    judgements : iterable of Judgement
        The last word on each finding of this crop, oldest first.

    Returns
    -------
    CorrectedTruth
        Copies; `pair` stays as it is.

    Raises
    ------
    SessionError
        A judgement names a nucleus that is not in the truth or the prediction: one of them changed since.
    """
    ignore = np.zeros(pair.truth.shape, bool) if pair.ignore is None else pair.ignore.copy()
    truth = CorrectedTruth(pair.truth.astype(np.int64), dict(pair.truth_classes), ignore, pair.offset_px)
    places = _Places(pair)
    free = max((int(pair.truth.max(initial=0)), *pair.truth_classes), default=0) + 1
    for judgement in judgements:
        where = places.window(judgement.finding)
        match judgement.verdict:
            case Verdict.MODEL_RIGHT:
                free = _take_prediction(truth, pair, judgement, where, free)
            case Verdict.AMBIGUOUS:
                _make_ambiguous(truth, pair, judgement, where)
            case Verdict.BOTH_WRONG if judgement.chosen_class is not None:
                _reclass(truth, judgement, int(judgement.chosen_class))
            case Verdict.BOTH_WRONG:
                truth.to_redraw.append(judgement)
            case _:
                pass
    return truth


class _Places:
    """Where each nucleus of truth and prediction lies."""

    def __init__(self, pair: CropPair) -> None:
        self._nuclei = pair.nuclei
        matching = match_instances(pair.truth, pair.prediction)
        self._boxes = {
            name: dict(zip(objects.ids.tolist(), objects.boxes.tolist(), strict=True))
            for name, objects in (("truth", matching.truth), ("prediction", matching.prediction))
        }

    def window(self, finding: Finding) -> tuple[slice, slice]:
        """The box of a finding's nuclei, after checking that they are those that were judged."""
        if finding.prediction_ids and not finding.counts_in(self._nuclei):
            raise SessionError(
                f"{finding.crop}: nucleus {finding.prediction_ids[0]} was judged in another prediction",
                "the prediction changed: judge it again",
            )
        boxes = []
        for name, ids in (("truth", finding.truth_ids), ("prediction", finding.prediction_ids)):
            known = self._boxes[name]
            boxes += [known[i] for i in ids if i in known]
            lost = [i for i in ids if i not in known]
            if lost:
                raise SessionError(
                    f"{finding.crop}: nucleus {lost[0]} of the {name} is gone", f"the {name} changed: judge it again"
                )
        y0, x0 = min(b[0] for b in boxes), min(b[1] for b in boxes)
        y1, x1 = max(b[2] for b in boxes), max(b[3] for b in boxes)
        top, left, bottom, right = finding.box  # smaller where Ambiguous regions hid a part of it
        if top < y0 or left < x0 or bottom > y1 or right > x1:
            raise SessionError(
                f"{finding.crop}: nuclei lie at {(y0, x0, y1, x1)} that were judged at {finding.box}",
                "truth or prediction changed: judge it again",
            )
        return slice(y0, y1), slice(x0, x1)


def _take_prediction(
    truth: CorrectedTruth, pair: CropPair, judgement: Judgement, where: tuple[slice, slice], free: int
) -> int:
    """Put the predicted nuclei in the place of the true ones; returns the next free number."""
    f = judgement.finding
    if f.type is FindingType.WRONG_CLASS:
        _reclass(truth, judgement, _class_of(pair, judgement, f.prediction_ids[0]))
        return free
    here, predicted = truth.instances[where], pair.prediction[where]
    here[np.isin(here, f.truth_ids)] = 0
    if f.type is FindingType.LOOSE_EDGE:
        here[(predicted == f.prediction_ids[0]) & (here == 0)] = f.truth_ids[0]
        truth.redrawn[f.truth_ids[0]] = judgement
        if judgement.chosen_class is not None:
            _reclass(truth, judgement, int(judgement.chosen_class))
        return free
    for k in f.truth_ids:
        truth.classes.pop(k, None)
        truth.removed[k] = judgement
    for p in f.prediction_ids:
        here[(predicted == p) & (here == 0)] = free  # never over a nucleus that nobody judged
        truth.classes[free] = _class_of(pair, judgement, p)
        truth.added[free] = judgement
        free += 1
    return free


def _class_of(pair: CropPair, judgement: Judgement, prediction_id: int) -> int:
    if judgement.chosen_class is not None:
        return int(judgement.chosen_class)
    return int(pair.prediction_classes.get(prediction_id, NucleusClass.UNCLASSIFIED))


def _reclass(truth: CorrectedTruth, judgement: Judgement, class_number: int) -> None:
    for k in judgement.finding.truth_ids:
        truth.classes[k] = class_number
        truth.reclassed[k] = judgement


def _make_ambiguous(truth: CorrectedTruth, pair: CropPair, judgement: Judgement, where: tuple[slice, slice]) -> None:
    f = judgement.finding
    here = truth.instances[where]
    for k in f.truth_ids:
        truth.ambiguous_masks[k] = where, here == k
        truth.made_ambiguous[k] = judgement
        truth.classes.pop(k, None)
    if not f.truth_ids:
        for p in f.prediction_ids:
            truth.ambiguous_masks[-p] = where, pair.prediction[where] == p
            truth.made_ambiguous[-p] = judgement
    for k in (*f.truth_ids, *(() if f.truth_ids else [-p for p in f.prediction_ids])):
        truth.ignore[where] |= truth.ambiguous_masks[k][1]
    here[np.isin(here, f.truth_ids)] = 0
