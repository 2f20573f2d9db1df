"""Which true and predicted nuclei belong together: pairs, one split in pieces, several merged into one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_monusac.scoring.matching.matching import MATCH_IOU, Matching

#: A predicted piece is part of a true nucleus only if it covers at least this share of it.
FRAGMENT_SHARE = 0.1
#: Members of a group must share more than this part of their joint area; below, they are strangers that touch.
GROUP_IOU = 0.2


@dataclass(frozen=True, slots=True)
class Group:
    """Nuclei that belong together; one side holds at most one of them. The best fitting stands first.

    Attributes
    ----------
    truths, predictions : tuple of int
        Indices into `Matching.truth.ids` and `Matching.prediction.ids`.
    shared : int
        Pixels that the first of each share.
    iou : float or None
        IoU of the first of each.
    """

    truths: tuple[int, ...]
    predictions: tuple[int, ...]
    shared: int = 0
    iou: float | None = None

    @property
    def is_match(self) -> bool:
        """Whether the first of each count as the same nucleus for panoptic quality."""
        return self.iou is not None and self.iou > MATCH_IOU


def group_nuclei(matching: Matching) -> list[Group]:
    """Put every nucleus into exactly one group.

    Parameters
    ----------
    matching : Matching
        Two instance maps laid over each other.

    Returns
    -------
    list of Group
        Groups with a true nucleus in its order, then predictions that stand alone.
    """
    pairs = _Pairs(matching)
    of_truth, of_prediction = pairs.stars(_links(matching))
    groups: list[Group] = []
    seen: set[int] = set()
    for t in range(len(matching.truth)):
        chosen = of_truth.get(t, [])
        if len(chosen) == 1:  # a pair, or one of several in a prediction
            p = pairs.prediction[chosen[0]]
            if p in seen:
                continue
            chosen = of_prediction[p]
        group = pairs.group(chosen) if chosen else None
        groups.extend([group] if group else pairs.alone(chosen, t))
        seen.update(pairs.prediction[k] for k in chosen)
    groups.extend(Group((), (p,)) for p in range(len(matching.prediction)) if p not in seen)
    return groups


def _links(matching: Matching) -> NDArray[np.intp]:
    """Pairs of which one lies mostly in the other, best IoU first."""
    shared = matching.intersection
    truth_area = matching.truth.areas[matching.pair_truth]
    prediction_area = matching.prediction.areas[matching.pair_prediction]
    linked = (2 * shared > truth_area) | ((2 * shared > prediction_area) & (shared >= FRAGMENT_SHARE * truth_area))
    links = np.flatnonzero(linked)
    return links[np.argsort(-matching.iou[links], kind="stable")]


class _Pairs:
    """The overlapping pairs as plain lists: many single look-ups are faster than in arrays."""

    def __init__(self, matching: Matching) -> None:
        self.truth: list[int] = matching.pair_truth.tolist()
        self.prediction: list[int] = matching.pair_prediction.tolist()
        self.shared: list[int] = matching.intersection.tolist()
        self.iou: list[float] = matching.iou.tolist()
        self.truth_areas: list[int] = matching.truth.areas.tolist()
        self.prediction_areas: list[int] = matching.prediction.areas.tolist()

    def stars(self, links: NDArray[np.intp]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """Take up links in turn unless one would tie two groups together; pairs by truth and by prediction."""
        of_truth: dict[int, list[int]] = {}
        of_prediction: dict[int, list[int]] = {}
        for link in links.tolist():
            t, p = self.truth[link], self.prediction[link]
            others, siblings = of_truth.get(t, []), of_prediction.get(p, [])
            if others and siblings:
                continue
            if any(len(of_prediction[self.prediction[k]]) > 1 for k in others):
                continue
            if any(len(of_truth[self.truth[k]]) > 1 for k in siblings):
                continue
            of_truth.setdefault(t, []).append(link)
            of_prediction.setdefault(p, []).append(link)
        return of_truth, of_prediction

    def group(self, chosen: list[int]) -> Group | None:
        """The group of some linked pairs, or None where they share too little."""
        truths = tuple(dict.fromkeys(self.truth[k] for k in chosen))
        predictions = tuple(dict.fromkeys(self.prediction[k] for k in chosen))
        shared = sum(self.shared[k] for k in chosen)
        joint = sum(self.truth_areas[t] for t in truths) + sum(self.prediction_areas[p] for p in predictions) - shared
        if shared <= GROUP_IOU * joint:
            return None
        return Group(truths, predictions, self.shared[chosen[0]], self.iou[chosen[0]])

    def alone(self, chosen: list[int], t: int) -> list[Group]:
        """Every nucleus of a group that is none, by itself."""
        truths = dict.fromkeys([t, *(self.truth[k] for k in chosen)])
        predictions = dict.fromkeys(self.prediction[k] for k in chosen)
        return [Group((i,), ()) for i in truths] + [Group((), (j,)) for j in predictions]
