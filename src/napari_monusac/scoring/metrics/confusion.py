"""One confusion matrix, filled batch by batch, and the training scores that follow from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_monusac.core.classes import IGNORE_INDEX, SEMANTIC_NAMES, TernaryClass
from napari_monusac.core.errors import ShapeError
from napari_monusac.core.events import Scores

#: Weight of the inside class in combo; the boundary class has the rest.
COMBO_INSIDE = 0.7
COMBO_BOUNDARY = 0.3


class PixelConfusion:
    """Counts of pixels by true and predicted class.

    Parameters
    ----------
    n_classes : int
        Classes are 0 to n_classes - 1.
    ignore : int
        True pixels of this value are left out.

    Attributes
    ----------
    counts : int64 (n_classes, n_classes)
        Row = true class, column = predicted class.
    """

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.counts: NDArray[np.int64] = np.zeros((n_classes, n_classes), np.int64)

    def update(self, prediction: ArrayLike, target: ArrayLike) -> None:
        """Add the pixels of one image or batch.

        Parameters
        ----------
        prediction, target : integer arrays of one shape
            Class numbers.

        Raises
        ------
        ShapeError
            The shapes differ, or a class is out of range.
        """
        p, t = np.asarray(prediction), np.asarray(target)
        if p.shape != t.shape:
            raise ShapeError(f"prediction {p.shape} and target {t.shape} do not fit", "pass arrays of one shape")
        valid = t != IGNORE_INDEX
        p, t = p[valid].astype(np.int64), t[valid].astype(np.int64)
        n = self.n_classes
        if p.size and (p.min() < 0 or t.min() < 0 or p.max() >= n or t.max() >= n):
            raise ShapeError(
                f"class {int(max(p.max(), t.max()))} among {n} classes",
                f"use 0 to {n - 1}, or {IGNORE_INDEX} in the target",
            )
        self.counts += np.bincount(t * n + p, minlength=n * n).reshape(n, n)

    def __iadd__(self, other: PixelConfusion) -> PixelConfusion:
        self.counts += other.counts
        return self

    def dice(self, k: int) -> float | None:
        """2 TP / (2 TP + FP + FN) of class `k`; None where it is absent from truth and prediction."""
        tp, both = int(self.counts[k, k]), int(self.counts[k].sum() + self.counts[:, k].sum())
        return 2 * tp / both if both else None

    def iou(self, k: int) -> float | None:
        """TP / (TP + FP + FN) of class `k`; None where it is absent from truth and prediction."""
        tp = int(self.counts[k, k])
        union = int(self.counts[k].sum() + self.counts[:, k].sum()) - tp
        return tp / union if union else None

    def macro_iou(self, first: int = 0) -> float | None:
        """Mean of the classes' IoU from class `first` on; undefined classes are left out of the mean."""
        values = [v for k in range(first, self.n_classes) if (v := self.iou(k)) is not None]
        return float(np.mean(values)) if values else None

    def micro_iou(self, first: int = 0) -> float | None:
        """IoU of the classes from `first` on, pooled: sum of TP / sum of (TP + FP + FN)."""
        tp = int(np.diag(self.counts)[first:].sum())
        union = int(self.counts[first:].sum() + self.counts[:, first:].sum()) - tp
        return tp / union if union else None


def training_scores(semantic: PixelConfusion, ternary: PixelConfusion) -> Scores:
    """Dice inside, Dice boundary, combo and the semantic IoUs, from pixels pooled over the whole validation set.

    Parameters
    ----------
    semantic : PixelConfusion
        Of the five classes, background included.
    ternary : PixelConfusion
        Of background, inside, boundary.

    Notes
    -----
    ``combo = 0.7 x Dice inside + 0.3 x Dice boundary``; an undefined Dice counts as 0 there.
    """
    inside, boundary = ternary.dice(TernaryClass.INSIDE), ternary.dice(TernaryClass.BOUNDARY)
    return Scores(
        dice_inside=inside,
        dice_boundary=boundary,
        combo=COMBO_INSIDE * (inside or 0.0) + COMBO_BOUNDARY * (boundary or 0.0),
        iou={name: semantic.iou(k) for k, name in enumerate(SEMANTIC_NAMES)},
        miou_macro=semantic.macro_iou(),
        miou_micro=semantic.micro_iou(),
        miou_macro_nuclei=semantic.macro_iou(first=1),
        miou_micro_nuclei=semantic.micro_iou(first=1),
    )
