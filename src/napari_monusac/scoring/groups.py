"""Which true and predicted nuclei belong together: pairs, one split in pieces, several merged into one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_monusac.scoring.matching import MATCH_IOU, Matching

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
    links = _links(matching)
    of_truth, of_prediction = _stars(matching, links)
    groups: list[Group] = []
    seen: set[int] = set()
    for t in range(len(matching.truth)):
        pairs = of_truth.get(t, [])
        if len(pairs) == 1:  # a pair, or one of several in a prediction
            p = int(matching.pair_prediction[pairs[0]])
            if p in seen:
                continue
            seen.add(p)
            pairs = of_prediction[p]
        group = _group(matching, pairs) if pairs else None
        groups.extend([group] if group else _alone(matching, pairs, t))
        seen.update(int(matching.pair_prediction[k]) for k in pairs)
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


def _stars(matching: Matching, links: NDArray[np.intp]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Take up links in turn unless one would tie two groups together; pairs by truth and by prediction."""
    of_truth: dict[int, list[int]] = {}
    of_prediction: dict[int, list[int]] = {}
    truths, predictions = matching.pair_truth.tolist(), matching.pair_prediction.tolist()
    for link in links.tolist():
        t, p = truths[link], predictions[link]
        others, siblings = of_truth.get(t, []), of_prediction.get(p, [])
        if others and siblings:
            continue
        if any(len(of_prediction[predictions[k]]) > 1 for k in others):
            continue
        if any(len(of_truth[truths[k]]) > 1 for k in siblings):
            continue
        of_truth.setdefault(t, []).append(link)
        of_prediction.setdefault(p, []).append(link)
    return of_truth, of_prediction


def _group(matching: Matching, pairs: list[int]) -> Group | None:
    """The group of some linked pairs, or None where they share too little."""
    truths = tuple(dict.fromkeys(int(matching.pair_truth[k]) for k in pairs))
    predictions = tuple(dict.fromkeys(int(matching.pair_prediction[k]) for k in pairs))
    shared = int(matching.intersection[pairs].sum())
    joint = int(matching.truth.areas[list(truths)].sum() + matching.prediction.areas[list(predictions)].sum()) - shared
    if shared <= GROUP_IOU * joint:
        return None
    return Group(truths, predictions, int(matching.intersection[pairs[0]]), float(matching.iou[pairs[0]]))


def _alone(matching: Matching, pairs: list[int], t: int) -> list[Group]:
    """Every nucleus of a group that is none, by itself."""
    truths = dict.fromkeys([t, *(int(matching.pair_truth[k]) for k in pairs)])
    predictions = dict.fromkeys(int(matching.pair_prediction[k]) for k in pairs)
    return [Group((i,), ()) for i in truths] + [Group((), (j,)) for j in predictions]
