"""Device, precision, and the same bits each time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from napari_monusac.core.errors import TrainingError

pytestmark = pytest.mark.torch


def test_auto_takes_the_best_device_and_says_why(monkeypatch):
    import torch

    from napari_monusac.network.device import choose_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    device, reason = choose_device("auto")
    assert device == "cpu"
    assert "no GPU found" in reason
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 << 30, 8 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Test GPU")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == ("cuda", "Test GPU, 2.0 of 8.0 GiB free")
    assert choose_device("cpu") == ("cpu", "asked for")
    assert choose_device("cuda:1")[0] == "cuda:1"
    for wrong in ("tpu", "mps", "cuda:2", "cuda:x"):
        with pytest.raises(TrainingError, match=wrong):
            choose_device(wrong)


@pytest.fixture
def apple(monkeypatch):
    """A pretended Apple GPU: ``apple(spoil)`` lets it compute the CPU's gradients, spoilt by a function."""
    import torch

    from napari_monusac.network import device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    device._wrong_gradients.cache_clear()
    true, asked = device.step_gradients, []

    def pretend(spoil=lambda found: found):
        def gradients(network, recipe, where):
            asked.append(where)
            found = true(network, recipe, "cpu")
            return spoil(found) if where == "mps" else found

        monkeypatch.setattr(device, "step_gradients", gradients)
        return asked

    yield pretend
    device._wrong_gradients.cache_clear()


def test_an_apple_gpu_with_right_gradients_is_chosen_and_asked_once(apple, tiny_recipe):
    from napari_monusac.network.device import choose_device

    asked = apple(lambda found: {k: g * (1 + 1e-5) for k, g in found.items()})
    assert choose_device("auto", tiny_recipe) == ("mps", "Apple GPU found, its gradients are those of the CPU")
    assert choose_device("auto", tiny_recipe)[0] == "mps"
    assert asked == ["mps", "cpu"]


def _nan(found):
    import torch

    return {k: torch.full_like(g, torch.nan) for k, g in found.items()}


def _flipped_norms(found):
    """What pytorch issue 175189 is like: the channels of batch norm's gradients stand in the wrong places."""
    return {k: g.flip(0) if g.ndim == 1 and "bn" in k else g for k, g in found.items()}


def _fails(found):
    raise NotImplementedError("The operator 'aten::x' is not currently implemented for the MPS device.\nmore")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [(_nan, "wrong gradients"), (_flipped_norms, "wrong gradients"), (_fails, "aten::x"),
     (lambda found: {k: 2 * g for k, g in found.items()}, "wrong gradients")],
    ids=["nan", "wrong places", "not implemented", "twice"],
)  # fmt: skip
def test_an_apple_gpu_with_wrong_gradients_is_not_chosen(apple, tiny_recipe, spoil, word):
    from napari_monusac.network.device import choose_device

    apple(spoil)
    device, reason = choose_device("auto", tiny_recipe)
    assert device == "cpu"
    assert word in reason
    assert "mps" in reason.lower()
    assert "\n" not in reason
    assert choose_device("mps", tiny_recipe) == ("mps", "asked for"), "the user's word counts"


def test_a_cpu_agrees_with_itself(tiny_recipe):
    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.network.device import wrong_gradients

    assert wrong_gradients("cpu", tiny_recipe) == ""
    assert wrong_gradients("cpu", load_recipe("quick")) == ""


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1", "mps", "mps:0"])
def test_no_channels_last_on_an_apple_gpu(device):
    import torch

    from napari_monusac.network.unet import memory_format_of

    wanted = torch.contiguous_format if device.startswith("mps") else torch.channels_last
    assert memory_format_of(device) is wanted
    assert memory_format_of(torch.device(device)) is wanted


@pytest.mark.parametrize(
    ("seconds", "chosen"), [((1.0, 0.5), "bfloat16"), ((1.0, 0.99), "float32"), ((1, 3), "float32")]
)
def test_bfloat16_where_a_timed_step_says_that_it_pays(tiny_recipe, monkeypatch, seconds, chosen):
    from napari_monusac.network import device

    times = dict(zip(("float32", "bfloat16"), seconds, strict=True))
    monkeypatch.setattr(device, "_step_seconds", lambda *args: times[args[-1]])
    fake = SimpleNamespace(train=lambda: None)
    precision, why = device.choose_precision(tiny_recipe.with_values(precision="auto"), fake, "cpu")
    assert precision == chosen
    assert "as fast as float32" in why
    assert device.choose_precision(tiny_recipe, fake, "cpu")[0] == "float32"


def test_timing_leaves_the_network_as_it_was(tiny_recipe):
    import torch

    from napari_monusac.network.device import choose_precision
    from napari_monusac.network.unet import DualHeadUnet

    network = DualHeadUnet(tiny_recipe)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    choose_precision(tiny_recipe.with_values(precision="auto"), network, "cpu")
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def _settings():
    import torch

    return (
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
    )  # fmt: skip


def test_a_deterministic_run_asks_torch_for_it_and_leaves_torch_as_it_was(tiny_recipe, make_run, monkeypatch):
    from napari_monusac.learn import step
    from napari_monusac.learn.loop import train
    from napari_monusac.network.checkpoint import read_tensors

    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before, seen = _settings(), []
    true = step.Stepper.step
    monkeypatch.setattr(step.Stepper, "step", lambda *args: (seen.append(_settings()), true(*args))[1])
    recipe = tiny_recipe.with_values(deterministic=True, max_steps=2)
    one, two, plain = make_run(recipe, "one"), make_run(recipe, "two"), make_run(tiny_recipe, "plain")
    for run in (one, two):
        events = list(train(recipe, run, loader_threads=1, threads=1, device="cpu"))
        assert events[-1].reason == "completed", events[-1].message
    assert set(seen) == {(True, True, False, True)}
    assert _settings() == before
    a, b = read_tensors(one.last), read_tensors(two.last)
    assert all((a[k] == b[k]).all() for k in a)
    seen.clear()
    list(train(tiny_recipe.with_values(max_steps=1), plain, loader_threads=1, threads=1, device="cpu"))
    assert set(seen) == {before}


def test_a_process_that_used_the_gpu_before_is_told(monkeypatch):
    import torch

    from napari_monusac.network.device import torch_kept, use_deterministic_algorithms

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with torch_kept():
        (told,) = use_deterministic_algorithms()
        assert "train in its own process" in told
        assert use_deterministic_algorithms() == [], "it is set now"


def test_precision_is_not_timed_where_it_must_be_the_same_each_time(tiny_recipe, monkeypatch):
    from napari_monusac.network import device

    monkeypatch.setattr(device, "_step_seconds", lambda *_: pytest.fail("timed"))
    recipe = tiny_recipe.with_values(precision="auto", deterministic=True)
    assert device.choose_precision(recipe, None, "cpu")[0] == "float32"


def test_a_gpu_that_has_bfloat16_trains_in_it_and_tf32_is_said(tiny_recipe, monkeypatch):
    import torch

    from napari_monusac.network import device

    monkeypatch.setattr(device, "_step_seconds", lambda *_: pytest.fail("timed"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: (9, 0) if name == "cuda:1" else (7, 5))
    monkeypatch.setattr(device, "has_bfloat16", lambda name: name == "cuda:1")
    recipe = tiny_recipe.with_values(precision="auto")
    assert device.choose_precision(recipe, None, "cuda:1") == ("bfloat16", "this GPU computes in it")
    assert device.choose_precision(recipe, None, "cuda:0") == ("float32", "this GPU has no bfloat16")
    asked = recipe.with_values(precision="float32")
    assert device.choose_precision(asked, None, "cuda:0") == ("float32", "the recipe says so")
    assert "TF32" in device.choose_precision(asked, None, "cuda:1")[1]
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert device.choose_precision(asked, None, "cuda:1") == ("float32", "the recipe says so")


def test_cudnn_tries_its_ways_only_in_the_block():
    import torch

    from napari_monusac.network.device import cudnn_tries

    before = torch.backends.cudnn.benchmark
    for wanted in (True, False):
        with cudnn_tries(wanted):
            assert torch.backends.cudnn.benchmark is (wanted or before)
        assert torch.backends.cudnn.benchmark is before
    with pytest.raises(ZeroDivisionError), cudnn_tries(True):
        1 / 0  # noqa: B018
    assert torch.backends.cudnn.benchmark is before
