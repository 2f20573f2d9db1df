"""Every schedule, value by value, against torch's own schedulers stepped once an epoch."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.core.recipe import load_recipe

pytestmark = pytest.mark.torch


def _torch_values(make, epochs: int, lr: float) -> list[float]:
    import torch

    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    values = []
    for _ in range(epochs):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_cosine_of_run_8():
    from torch.optim.lr_scheduler import CosineAnnealingLR

    from napari_monusac.learn.schedule import LearningRate

    recipe = load_recipe("run-8")
    expected = _torch_values(lambda o: CosineAnnealingLR(o, T_max=120, eta_min=1e-6), 120, 1e-4)
    rate = LearningRate(recipe)
    np.testing.assert_allclose([rate.of(e) for e in range(1, 121)], expected, rtol=1e-9)
    assert expected[0] == 1e-4
    assert expected[-1] < 1.1e-6


def test_warmup_and_cosine_of_run_9():
    from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

    from napari_monusac.learn.schedule import LearningRate

    def make(optimizer):
        warm = LinearLR(optimizer, start_factor=1e-5 / 3e-4, total_iters=5)
        return SequentialLR(optimizer, [warm, CosineAnnealingLR(optimizer, T_max=95, eta_min=1e-6)], milestones=[5])

    expected = _torch_values(make, 100, 3e-4)
    rate = LearningRate(load_recipe("run-9"))
    np.testing.assert_allclose([rate.of(e) for e in range(1, 101)], expected, rtol=1e-6)
    assert rate.of(1) == 1e-5
    assert rate.of(6) == 3e-4
    assert max(range(1, 101), key=rate.of) == 6


def test_plateau_watches_the_combo_and_survives_a_resume():
    import torch

    from napari_monusac.learn.schedule import LearningRate

    combos = [0.1, 0.2, 0.3, *[0.3] * 11, 0.31, *[0.25] * 11, *[0.2] * 12]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=10, factor=0.5)
    rate = LearningRate(load_recipe("run-4"))
    for epoch, combo in enumerate(combos, 1):
        assert rate.of(epoch) == optimizer.param_groups[0]["lr"]
        rate.epoch_ended(combo)
        reference.step(combo)
        fresh = LearningRate(load_recipe("run-4"))
        fresh.load_state_dict(rate.state_dict())
        rate = fresh
    assert rate.of(99) < 1e-4, "it must have acted"


def test_constant():
    from napari_monusac.learn.schedule import LearningRate

    rate = LearningRate(load_recipe("run-8").with_values(schedule="constant"))
    rate.epoch_ended(0.1)
    assert {rate.of(e) for e in range(1, 121)} == {1e-4}
