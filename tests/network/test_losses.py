"""Losses against references written apart from them: torch, segmentation-models-pytorch, and plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.torch


@pytest.fixture
def batch():
    import torch

    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 5, 13, 11, generator=generator) * 2
    target = torch.randint(0, 4, (2, 13, 11), generator=generator)  # class 4 is absent
    ignored = torch.rand(2, 13, 11, generator=generator) < 0.2
    return logits, target, torch.where(ignored, torch.tensor(255), target)


def _numpy_focal(logits, target, gamma: float) -> float:
    z = logits.numpy().astype(np.float64)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    t = target.numpy()
    values = []
    for b, y, x in np.argwhere(t != 255):
        pt = p[b, t[b, y, x], y, x]
        values.append((1 - pt) ** gamma * -np.log(pt))
    return float(np.mean(values))


def _numpy_dice(logits, target) -> float:
    z = logits.numpy().astype(np.float64)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    t = target.numpy()
    losses = []
    for k in range(p.shape[1]):
        truth, prob = t == k, p[:, k] * (t != 255)
        dice = 2 * (prob * truth).sum() / (truth.sum() + prob.sum())
        losses.append(1 - dice if truth.any() else 0.0)
    return float(np.mean(losses))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_focal_equals_its_definition(batch, gamma):
    from napari_monusac.network.losses import focal_cross_entropy

    logits, target, masked = batch
    assert focal_cross_entropy(logits, target, gamma).item() == pytest.approx(_numpy_focal(logits, target, gamma), 1e-5)
    assert focal_cross_entropy(logits, masked, gamma).item() == pytest.approx(_numpy_focal(logits, masked, gamma), 1e-5)


def test_focal_at_gamma_0_is_cross_entropy(batch):
    from torch.nn import functional as F

    from napari_monusac.network.losses import focal_cross_entropy

    logits, target, masked = batch
    assert focal_cross_entropy(logits, target, 0.0).item() == pytest.approx(
        F.cross_entropy(logits, target).item(), 1e-6
    )
    expected = F.cross_entropy(logits, masked, ignore_index=255)
    assert focal_cross_entropy(logits, masked, 0.0).item() == pytest.approx(expected.item(), 1e-6)


def test_soft_dice_equals_smp_and_its_definition(batch):
    import segmentation_models_pytorch as smp

    from napari_monusac.network.losses import soft_dice_loss

    logits, target, masked = batch
    theirs = smp.losses.DiceLoss("multiclass")(logits, target)
    assert soft_dice_loss(logits, target).item() == pytest.approx(theirs.item(), 1e-6)
    theirs = smp.losses.DiceLoss("multiclass", ignore_index=255)(logits, masked)
    assert soft_dice_loss(logits, masked).item() == pytest.approx(theirs.item(), 1e-6)
    assert soft_dice_loss(logits, masked).item() == pytest.approx(_numpy_dice(logits, masked), 1e-5)


def test_soft_dice_gradient_equals_smp(batch):
    import segmentation_models_pytorch as smp
    import torch

    from napari_monusac.network.losses import soft_dice_loss

    logits, _, masked = batch
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    soft_dice_loss(ours, masked).backward()
    smp.losses.DiceLoss("multiclass", ignore_index=255)(theirs, masked).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_ignored_pixels_have_no_gradient_and_none_left_gives_zero(batch, gamma):
    import torch

    from napari_monusac.network.losses import focal_cross_entropy, soft_dice_loss

    logits, _, masked = batch
    z = logits.clone().requires_grad_()
    (focal_cross_entropy(z, masked, gamma) + soft_dice_loss(z, masked)).backward()
    assert torch.isfinite(z.grad).all()
    assert (z.grad.permute(0, 2, 3, 1)[masked == 255] == 0).all()
    z.grad = None
    nothing = torch.full_like(masked, 255)
    total = focal_cross_entropy(z, nothing, gamma) + soft_dice_loss(z, nothing)
    total.backward()
    assert total.item() == 0
    assert (z.grad == 0).all()


def test_total_is_the_recipe_s_sum(batch):
    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.network.losses import dual_head_loss, focal_cross_entropy, soft_dice_loss

    logits, _, masked = batch
    ternary, ternary_target = logits[:, :3], masked.where((masked < 3) | (masked == 255), 0)
    for name in ("run-1", "run-2", "run-3", "run-8", "ours"):
        r = load_recipe(name)
        parts = dual_head_loss(logits, ternary, masked, ternary_target, r)
        semantic = soft_dice_loss(logits, masked) + r.semantic_ce_weight * focal_cross_entropy(logits, masked, 0)
        tern = focal_cross_entropy(ternary, ternary_target, r.focal_gamma)
        tern = tern + r.ternary_dice_weight * soft_dice_loss(ternary, ternary_target)
        assert parts.semantic.item() == pytest.approx(semantic.item(), 1e-6)
        assert parts.ternary.item() == pytest.approx(tern.item(), 1e-6)
        assert parts.total.item() == pytest.approx((r.semantic_weight * semantic + tern).item(), 1e-6)


@pytest.mark.parametrize("weights", [(), (1, 1, 1, 3, 2)])
def test_a_focal_semantic_loss_is_weighted_pixel_by_pixel(batch, weights):
    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.network.losses import dual_head_loss

    logits, _, masked = batch
    ternary, ternary_target = logits[:, :3], masked.where((masked < 3) | (masked == 255), 0)
    plain = load_recipe("run-8").with_values(semantic_class_weights=weights)
    focal = plain.with_values(semantic_ce_weight=1.0, semantic_focal_gamma=2.0)
    added = [dual_head_loss(logits, ternary, masked, ternary_target, r).semantic.item() for r in (plain, focal)]
    z = logits.double().numpy()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    t = masked.numpy()
    known = t != 255
    of_true = np.take_along_axis(p, np.where(known, t, 0)[:, None], 1)[:, 0][known]
    w = np.asarray(weights or (1,) * 5, float)[t[known]]
    expected = (w * (1 - of_true) ** 2 * -np.log(of_true)).sum() / w.sum()
    assert added[1] - added[0] == pytest.approx(expected, rel=1e-4)


def test_confident_logits_stay_finite():
    import torch

    from napari_monusac.network.losses import focal_cross_entropy, soft_dice_loss

    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 1] = 1e4
    logits.requires_grad_()
    for target in (torch.ones(1, 4, 4, dtype=torch.long), torch.zeros(1, 4, 4, dtype=torch.long)):
        for gamma in (0.5, 2.0):
            loss = focal_cross_entropy(logits, target, gamma) + soft_dice_loss(logits, target)
            logits.grad = None
            loss.backward()
            assert torch.isfinite(loss)
            assert torch.isfinite(logits.grad).all()


def test_shapes_that_do_not_fit_are_named():
    import torch

    from napari_monusac.core.errors import ShapeError
    from napari_monusac.network.losses import focal_cross_entropy, soft_dice_loss

    with pytest.raises(ShapeError, match=r"\(1, 3, 4, 4\)"):
        focal_cross_entropy(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 5), 2)
    with pytest.raises(ShapeError):
        soft_dice_loss(torch.zeros(3, 4, 4), torch.zeros(1, 4, 4))


def test_class_weights_are_those_of_torch_and_of_a_weighted_mean():
    import torch
    from torch.nn import functional as F

    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.network.losses import dual_head_loss

    torch.manual_seed(0)
    weights = [0.5, 1.0, 1.0, 4.0, 2.0]
    semantic_logits, ternary_logits = torch.randn(2, 5, 8, 8), torch.randn(2, 3, 8, 8)
    semantic, ternary = torch.randint(0, 4, (2, 8, 8)), torch.randint(0, 3, (2, 8, 8))  # class 4 is absent
    semantic[0, :2] = 255
    plain = load_recipe("run-8").with_values(semantic_ce_weight=1.0)
    weighted = plain.with_values(semantic_class_weights=weights)
    found = dual_head_loss(semantic_logits, ternary_logits, semantic, ternary, weighted)
    ce = F.cross_entropy(semantic_logits, semantic, weight=torch.tensor(weights), ignore_index=255)
    p, valid = semantic_logits.softmax(1), semantic != 255
    losses = []
    for k in range(5):
        true, there = (semantic == k) & valid, p[:, k] * valid
        losses.append(0.0 if not true.any() else 1 - 2 * float((there * true).sum() / (there.sum() + true.sum())))
    dice = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert float(found.semantic) == pytest.approx(dice + float(ce), rel=1e-5)
    equal = plain.with_values(semantic_class_weights=[3.0] * 5)
    alike = dual_head_loss(semantic_logits, ternary_logits, semantic, ternary, equal)
    none = dual_head_loss(semantic_logits, ternary_logits, semantic, ternary, plain)
    assert float(alike.semantic) == pytest.approx(float(none.semantic), rel=1e-5)
    assert float(alike.ternary) == float(found.ternary) == float(none.ternary)
    empty = torch.full_like(semantic, 255)
    assert float(dual_head_loss(semantic_logits, ternary_logits, empty, ternary, weighted).semantic) == 0.0
