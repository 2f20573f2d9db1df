"""The losses of both heads. Pixels of value 255 in a target are left out of everything."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_monusac.core.classes import IGNORE_INDEX
from napari_monusac.core.errors import ShapeError
from napari_monusac.core.recipe import TrainingRecipe

_EPS = 1e-7


@dataclass(frozen=True, slots=True)
class LossParts:
    """Loss of a batch: ``total = semantic_weight x semantic + ternary``."""

    total: Tensor
    semantic: Tensor
    ternary: Tensor


def focal_cross_entropy(logits: Tensor, target: Tensor, gamma: float, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Mean of (1 - p_t)^gamma x cross-entropy over the pixels that count; gamma = 0 is plain cross-entropy.

    Parameters
    ----------
    logits : float (b, classes, y, x)
    target : integer (b, y, x)
        Class numbers, or `ignore_index`.
    gamma : float
        Exponent, 0 or more.
    ignore_index : int
        Pixels of this value are left out; a target without any other pixel gives 0.

    Raises
    ------
    ShapeError
        Logits and target do not fit.

    References
    ----------
    Lin et al. 2017, "Focal loss for dense object detection", eq. 4, in its softmax form.
    """
    _check(logits, target)
    return _focal(_log_probabilities(logits), target.long(), gamma, ignore_index)


def soft_dice_loss(logits: Tensor, target: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """1 - soft Dice, pooled over the batch: a class absent from the target adds 0, mean over all classes.

    Parameters
    ----------
    logits : float (b, classes, y, x)
    target : integer (b, y, x)
        Class numbers, or `ignore_index`.
    ignore_index : int
        Pixels of this value are left out.

    Raises
    ------
    ShapeError
        Logits and target do not fit.

    Notes
    -----
    The values of ``segmentation_models_pytorch.losses.DiceLoss("multiclass", ignore_index=255)``, with less memory.
    """
    _check(logits, target)
    return _dice(_log_probabilities(logits).exp(), target.long(), ignore_index)


def dual_head_loss(
    semantic_logits: Tensor, ternary_logits: Tensor, semantic: Tensor, ternary: Tensor, recipe: TrainingRecipe
) -> LossParts:
    """Loss of both heads as the recipe weights it.

    ``total = sem_w x (Dice_sem + ce_w x CE_sem) + focal CE_ter + dice_w x Dice_ter``; `ce_w` is 0 in the nine runs.
    With class weights both semantic terms are weighted means: Dice over the classes, cross-entropy over the pixels (as
    `torch.nn.functional.cross_entropy` has it).

    Parameters
    ----------
    semantic_logits, ternary_logits : float (b, 5, y, x) and (b, 3, y, x)
    semantic, ternary : integer (b, y, x)
        Targets, 255 where a pixel is left out.
    recipe : TrainingRecipe
        `semantic_weight`, `semantic_ce_weight`, `semantic_focal_gamma`, `semantic_class_weights`, `focal_gamma` and `ternary_dice_weight` are
        used.
    """
    _check(semantic_logits, semantic)
    _check(ternary_logits, ternary)
    semantic, ternary = semantic.long(), ternary.long()
    log_p = _log_probabilities(semantic_logits)
    weights = log_p.new_tensor(recipe.semantic_class_weights) if recipe.semantic_class_weights else None
    semantic_loss = _dice(log_p.exp(), semantic, IGNORE_INDEX, weights)
    if recipe.semantic_ce_weight:
        semantic_loss = semantic_loss + recipe.semantic_ce_weight * _cross_entropy(
            log_p, semantic, recipe.semantic_focal_gamma, IGNORE_INDEX, weights
        )
    log_p = _log_probabilities(ternary_logits)
    ternary_loss = _focal(log_p, ternary, recipe.focal_gamma, IGNORE_INDEX)
    if recipe.ternary_dice_weight:
        ternary_loss = ternary_loss + recipe.ternary_dice_weight * _dice(log_p.exp(), ternary, IGNORE_INDEX)
    return LossParts(recipe.semantic_weight * semantic_loss + ternary_loss, semantic_loss, ternary_loss)


def _check(logits: Tensor, target: Tensor) -> None:
    if logits.ndim != 4 or target.shape != (logits.shape[0], *logits.shape[2:]):
        raise ShapeError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} do not fit",
            "pass logits (b, classes, y, x) and a target (b, y, x)",
        )


def _log_probabilities(logits: Tensor) -> Tensor:
    """Log-softmax in float32: bfloat16 has too few digits for sums over a batch of pixels."""
    return F.log_softmax(logits.float().contiguous(), dim=1)


def _cross_entropy(
    log_p: Tensor, target: Tensor, gamma: float, ignore_index: int, class_weights: Tensor | None
) -> Tensor:
    if class_weights is None:
        return _focal(log_p, target, gamma, ignore_index)
    if gamma:
        log_p = log_p * (-torch.expm1(log_p)).clamp(min=_EPS).pow(gamma)  # of each class; the true one is picked below
    total = F.nll_loss(log_p, target, class_weights, ignore_index=ignore_index, reduction="sum")
    return total / class_weights[target[target != ignore_index]].sum().clamp(min=_EPS)  # a target of nothing gives 0


def _focal(log_p: Tensor, target: Tensor, gamma: float, ignore_index: int) -> Tensor:
    cross_entropy = F.nll_loss(log_p, target, ignore_index=ignore_index, reduction="none")
    if gamma:
        # Ignored pixels have cross-entropy 0 and add nothing; the clamp keeps the slope of pow finite there.
        cross_entropy = cross_entropy * (-torch.expm1(-cross_entropy)).clamp(min=_EPS).pow(gamma)
    return cross_entropy.sum() / (target != ignore_index).sum().clamp(min=1)


def _dice(p: Tensor, target: Tensor, ignore_index: int, class_weights: Tensor | None = None) -> Tensor:
    valid = target != ignore_index
    classes = p.shape[1]
    one_hot = (target.unsqueeze(1) == torch.arange(classes, device=p.device).view(1, -1, 1, 1)).to(p.dtype)
    intersection = (p * one_hot).sum((0, 2, 3))
    true = one_hot.sum((0, 2, 3))
    predicted = (p * valid.unsqueeze(1)).sum((0, 2, 3))
    dice = 2 * intersection / (true + predicted).clamp(min=_EPS)
    losses = (1 - dice) * (true > 0)
    return losses.sum() / classes if class_weights is None else (losses * class_weights).sum() / class_weights.sum()
