"""Every schedule, value by value: at each epoch's first step torch's own schedulers stepped once an epoch, and the end."""

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


# ---------------------------------------------------------------------- step by step, to the end of the run


def _rates(recipe, steps_per_epoch: int) -> list[float]:
    from napari_monusac.learn.schedule import LearningRate, steps_of_run

    rate = LearningRate(recipe, steps_per_epoch)
    return [
        rate.of(1 + s // steps_per_epoch, s % steps_per_epoch) for s in range(steps_of_run(recipe, steps_per_epoch))
    ]


@pytest.mark.parametrize("steps", [1, 7, 123])
def test_run_9_step_by_step_is_the_closed_form(steps):
    s = np.arange(100 * steps)
    warm = 1e-5 + (3e-4 - 1e-5) * s / (5 * steps)
    cosine = 1e-6 + (3e-4 - 1e-6) * (1 + np.cos(np.pi * (s - 5 * steps) / (95 * steps))) / 2
    np.testing.assert_allclose(_rates(load_recipe("run-9"), steps), np.where(s < 5 * steps, warm, cosine), rtol=1e-12)


@pytest.mark.parametrize(("steps", "max_steps"), [(7, 100), (7, 37), (7, 3), (1, 2), (1, 1)])
def test_run_9_with_max_steps_is_the_closed_form(steps, max_steps):
    """The warm-up as long as its five epochs, half of the run at most; then cosine to the last step."""
    recipe = load_recipe("run-9").with_values(max_steps=max_steps)
    warm = min(5 * steps, max_steps // 2)
    s = np.arange(max_steps)
    up = 1e-5 + (3e-4 - 1e-5) * s / max(1, warm)
    down = 1e-6 + (3e-4 - 1e-6) * (1 + np.cos(np.pi * (s - warm) / (max_steps - warm))) / 2
    np.testing.assert_allclose(_rates(recipe, steps), np.where(s < warm, up, down), rtol=1e-12)


@pytest.mark.parametrize("name", ["run-8", "run-9", "quick"])
@pytest.mark.parametrize("max_steps", [40, 300, 1000])
def test_max_steps_ends_the_schedule_and_does_not_cut_it(name, max_steps):
    recipe = load_recipe(name).with_values(max_steps=max_steps, epochs=100)
    values = np.array(_rates(recipe, 60))
    assert len(values) == max_steps
    peak = int(values.argmax())
    assert values[peak] == recipe.lr
    assert peak <= max_steps // 2
    assert (np.diff(values[: peak + 1]) > 0).all()
    assert (np.diff(values[peak:]) < 0).all()
    # the last step is one of `max_steps - peak` before 1e-6: what cosine gives there
    last = 1e-6 + (recipe.lr - 1e-6) * (1 - np.cos(np.pi / (max_steps - peak))) / 2
    assert values[-1] == pytest.approx(last)
    assert values[-1] < 0.02 * recipe.lr


@pytest.mark.parametrize("steps", [1, 2, 3, 60])
def test_one_epoch_of_quick_has_a_warm_up_and_an_end(steps):
    recipe = load_recipe("quick").with_settings(["epochs=1", f"steps_per_epoch={steps}"])
    values = _rates(recipe, steps)
    assert len(values) == steps
    assert max(values) == values[steps // 2] == recipe.lr
    if steps > 1:
        assert values[0] == 1e-5


def test_a_warm_up_that_is_cut_is_told():
    from napari_monusac.learn.schedule import LearningRate

    recipe = load_recipe("run-9")
    assert LearningRate(recipe, 100).notes() == []
    (note,) = LearningRate(recipe.with_values(max_steps=300), 100).notes()
    assert note == "the warm-up of 500 steps is cut to 150: half of this run of 300 steps"
    assert LearningRate(load_recipe("run-8").with_values(max_steps=1), 100).notes() == []


def test_max_steps_beyond_the_epochs_changes_nothing():
    recipe = load_recipe("run-9")
    assert _rates(recipe.with_values(max_steps=10**6), 3) == _rates(recipe, 3)
