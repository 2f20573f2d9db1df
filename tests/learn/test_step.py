"""One optimiser step, held against torch used plainly."""

from __future__ import annotations

import copy

import numpy as np
import pytest

pytestmark = pytest.mark.torch


@pytest.fixture
def make_stepper(tiny_recipe):
    """``make_stepper(network, **values)`` on the CPU."""
    from napari_monusac.learn.distributed import Ranks
    from napari_monusac.learn.step import Stepper

    def make(network, **values):
        return Stepper(network, tiny_recipe.with_values(dropout=0.0, **values), "cpu", "float32", 1, Ranks())

    return make


@pytest.fixture
def network(tiny_recipe):
    import torch

    from napari_monusac.network.unet import DualHeadUnet

    torch.manual_seed(0)
    return DualHeadUnet(tiny_recipe.with_values(dropout=0.0))


def _batches(count: int):
    import torch

    from napari_monusac.learn.data.loader import Batch

    rng = np.random.default_rng(0)
    for _ in range(count):
        shapes = ((255, (2, 64, 64, 3)), (5, (2, 64, 64)), (3, (2, 64, 64)))
        yield Batch(*(torch.from_numpy(rng.integers(0, most, shape, np.uint8)) for most, shape in shapes))


def _plain(network, recipe, groups, count: int, lr: float, *, clip: float = 0.0, after=lambda network: None):
    """The loop that a textbook writes: forward, backward, AdamW."""
    import torch

    from napari_monusac.network.losses import dual_head_loss

    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=recipe.weight_decay)
    network.train()
    for batch in _batches(count):
        optimizer.zero_grad()
        semantic, ternary = network(network.prepare(batch.images))
        dual_head_loss(semantic, ternary, batch.semantic, batch.ternary, recipe).total.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()
        after(network)


def _same(a, b, **tolerance) -> None:
    import torch

    for (name, x), (_, y) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        torch.testing.assert_close(x, y, msg=lambda m, name=name: f"{name}: {m}", **tolerance)


def test_the_defaults_are_plain_adamw(make_stepper, network):
    plain = copy.deepcopy(network)
    stepper = make_stepper(network)
    assert len(stepper.optimizer.param_groups) == 1
    assert stepper.judged is network
    for k, batch in enumerate(_batches(3)):
        stepper.step(batch, 1e-3, k)
    _plain(plain, stepper.recipe, plain.parameters(), 3, 1e-3)
    _same(network, plain, rtol=1e-5, atol=1e-6)


def test_the_encoder_learns_at_a_rate_of_its_own_and_norms_do_not_decay(make_stepper, network):
    plain = copy.deepcopy(network)
    stepper = make_stepper(network, encoder_lr_scale=0.1, decay_norms=False, weight_decay=0.5)
    for k, batch in enumerate(_batches(3)):
        stepper.step(batch, 1e-3, k)
    encoder = [p for n, p in plain.named_parameters() if n.startswith("encoder.")]
    rest = [p for n, p in plain.named_parameters() if not n.startswith("encoder.")]
    groups = [
        {"params": [p for p in part if (p.ndim > 1) is weights], "lr": lr, "weight_decay": 0.5 if weights else 0.0}
        for part, lr in ((encoder, 1e-4), (rest, 1e-3))
        for weights in (True, False)
    ]
    assert sum(len(g["params"]) for g in groups) == len(list(plain.parameters()))
    _plain(plain, stepper.recipe, groups, 3, 1e-3)
    _same(network, plain, rtol=1e-5, atol=1e-6)
    norms = [m.weight for m in network.modules() if type(m).__name__.startswith("BatchNorm")]
    bare = {id(p) for g in stepper.optimizer.param_groups if g["weight_decay"] == 0 for p in g["params"]}
    assert {id(p) for p in norms} <= bare


def test_a_long_gradient_is_shortened_to_the_norm(make_stepper, network):
    plain = copy.deepcopy(network)
    stepper = make_stepper(network, clip_norm=0.01)
    for k, batch in enumerate(_batches(2)):
        stepper.step(batch, 1e-3, k)
        assert sum(float(p.grad.norm()) ** 2 for p in network.parameters()) ** 0.5 == pytest.approx(0.01, rel=1e-3)
    _plain(plain, stepper.recipe, plain.parameters(), 2, 1e-3, clip=0.01)
    _same(network, plain, rtol=1e-5, atol=1e-6)


def test_the_average_is_that_of_torch_and_is_what_is_judged(make_stepper, network):
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    plain = copy.deepcopy(network)
    averaged = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(0.6))
    stepper = make_stepper(network, ema_decay=0.6)
    for k, batch in enumerate(_batches(3)):
        stepper.step(batch, 1e-3, k)
    _plain(plain, stepper.recipe, plain.parameters(), 3, 1e-3, after=averaged.update_parameters)
    _same(network, plain, rtol=1e-5, atol=1e-6)
    _same(stepper.judged, averaged.module, rtol=1e-5, atol=1e-6)
    name = "semantic_head.0.weight"
    assert not (stepper.judged.state_dict()[name] == network.state_dict()[name]).all()


def test_a_loss_that_is_no_number_changes_no_weight_and_is_told_when_it_is_read(make_stepper, network, monkeypatch):
    import torch

    from napari_monusac.core.errors import TrainingError
    from napari_monusac.learn import step

    alone = make_stepper(copy.deepcopy(network))
    stepper = make_stepper(network)
    first, bad, last = _batches(3)
    for each in (stepper, alone):
        assert each.step(first, 1e-3, 0).read().total > 0
    before = copy.deepcopy(network.state_dict())
    true = step.dual_head_loss
    with monkeypatch.context() as m:
        m.setattr(step, "dual_head_loss", lambda *args: step_with_nan(true(*args)))
        losses = stepper.step(bad, 1e-3, 1)
    weights = dict(network.named_parameters())
    assert all(torch.equal(weights[k], before[k]) for k in weights)
    with pytest.raises(TrainingError, match="the loss became nan in step 1"):
        losses.read()
    # as if the step had never been: the moments of AdamW and its count of steps, too
    with torch.no_grad():
        network.load_state_dict(before)
    for each in (stepper, alone):
        each.step(last, 1e-3, 2)
    _same(network, alone.network, rtol=0, atol=0)


def step_with_nan(parts):
    return type(parts)(parts.total * float("nan"), parts.semantic, parts.ternary)


def test_a_step_on_the_device_at_hand_is_that_of_the_cpu(tiny_recipe, network, device):
    from napari_monusac.learn.distributed import Ranks
    from napari_monusac.learn.step import Stepper

    there = copy.deepcopy(network).to(device)
    recipe = tiny_recipe.with_values(dropout=0.0)
    steppers = [Stepper(n, recipe, d, "float32", 1, Ranks()) for n, d in ((network, "cpu"), (there, device))]
    for k, batch in enumerate(_batches(2)):
        a, b = (s.step(batch, 1e-4, k).read() for s in steppers)
        assert b.total == pytest.approx(a.total, rel=5e-3)
    _same(network, copy.deepcopy(there).cpu(), rtol=1e-2, atol=1e-3)
