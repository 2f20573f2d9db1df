"""Device, precision, the triton trap, the dry run, imports."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from napari_monusac.core.errors import Cancelled, TrainingError

pytestmark = pytest.mark.torch


def test_auto_takes_the_best_device_and_says_why(monkeypatch):
    import torch

    from napari_monusac.learn.device import choose_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    device, reason = choose_device("auto")
    assert device == "cpu"
    assert "no GPU found" in reason
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2 << 30, 8 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Test GPU")
    assert choose_device("auto") == ("cuda", "Test GPU, 2.0 of 8.0 GiB free")
    assert choose_device("cpu") == ("cpu", "asked for")
    assert choose_device("cuda:1")[0] == "cuda:1"
    for wrong in ("tpu", "mps"):
        with pytest.raises(TrainingError, match=wrong):
            choose_device(wrong)


@pytest.fixture
def apple(monkeypatch):
    """A pretended Apple GPU: ``apple(spoil)`` lets it compute the CPU's gradients, spoilt by a function."""
    import torch

    from napari_monusac.learn import device

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
    from napari_monusac.learn.device import choose_device

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
    from napari_monusac.learn.device import choose_device

    apple(spoil)
    device, reason = choose_device("auto", tiny_recipe)
    assert device == "cpu"
    assert word in reason
    assert "mps" in reason.lower()
    assert "\n" not in reason
    assert choose_device("mps", tiny_recipe) == ("mps", "asked for"), "the user's word counts"


def test_a_cpu_agrees_with_itself(tiny_recipe):
    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.learn.device import wrong_gradients

    assert wrong_gradients("cpu", tiny_recipe) == ""
    assert wrong_gradients("cpu", load_recipe("quick")) == ""


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1", "mps", "mps:0"])
def test_no_channels_last_on_an_apple_gpu(device):
    import torch

    from napari_monusac.learn.network import memory_format_of

    wanted = torch.contiguous_format if device.startswith("mps") else torch.channels_last
    assert memory_format_of(device) is wanted
    assert memory_format_of(torch.device(device)) is wanted


@pytest.mark.parametrize(
    ("seconds", "chosen"), [((1.0, 0.5), "bfloat16"), ((1.0, 0.99), "float32"), ((1, 3), "float32")]
)
def test_bfloat16_where_a_timed_step_says_that_it_pays(tiny_recipe, monkeypatch, seconds, chosen):
    from napari_monusac.learn import device

    times = dict(zip(("float32", "bfloat16"), seconds, strict=True))
    monkeypatch.setattr(device, "_step_seconds", lambda *args: times[args[-1]])
    fake = SimpleNamespace(train=lambda: None)
    precision, why = device.choose_precision(tiny_recipe.with_values(precision="auto"), fake, "cpu")
    assert precision == chosen
    assert "as fast as float32" in why
    assert device.choose_precision(tiny_recipe, fake, "cpu")[0] == "float32"


def test_timing_leaves_the_network_as_it_was(tiny_recipe):
    import torch

    from napari_monusac.learn.device import choose_precision
    from napari_monusac.learn.network import DualHeadUnet

    network = DualHeadUnet(tiny_recipe)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    choose_precision(tiny_recipe.with_values(precision="auto"), network, "cpu")
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_bfloat16_trains_and_resumes(tiny_recipe, make_run):
    from napari_monusac.learn.checkpoint import read_tensors
    from napari_monusac.learn.loop import train

    recipe = tiny_recipe.with_values(precision="bfloat16", steps_per_epoch=2)
    one, two = make_run(recipe, "one"), make_run(recipe, "two")
    list(train(recipe, one, loader_threads=1, threads=1))
    stops = iter([False, True])
    list(train(recipe, two, lambda: next(stops), loader_threads=1, threads=1))
    end = list(train(recipe, two, loader_threads=1, threads=1))[-1]
    assert end.reason == "completed", end.message
    a, b = read_tensors(one.last), read_tensors(two.last)
    assert all((a[k] == b[k]).all() for k in a)


def test_a_background_thread_leaves_a_core_to_the_window(tiny_recipe, make_run, monkeypatch):
    import threading

    from napari_monusac.learn import setup
    from napari_monusac.learn.loop import train

    monkeypatch.setattr(setup.os, "cpu_count", lambda: 2)
    events = []
    recipe = tiny_recipe.with_values(max_steps=1)
    run = make_run(recipe)
    thread = threading.Thread(target=lambda: events.extend(train(recipe, run, loader_threads=1)))
    thread.start()
    thread.join()
    assert events[-1].reason == "completed", events[-1].message
    assert events[0].threads == 1


# ---------------------------------------------------------------------- the triton trap


def test_triton_is_refused_while_llvm_is_mapped(monkeypatch):
    """Asked at each import: torch may have been imported long before the viewer, and ask for triton after it."""
    from napari_monusac.learn import _triton

    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, _triton._TritonGuard)])
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    _triton.guard_triton()
    _triton.guard_triton()
    (guard,) = (f for f in sys.meta_path if isinstance(f, _triton._TritonGuard))
    assert guard is sys.meta_path[0]
    monkeypatch.setattr(_triton, "llvm_is_mapped", lambda: False)
    assert guard.find_spec("triton") is None, "without a viewer others look for it"
    monkeypatch.setattr(_triton, "llvm_is_mapped", lambda: True)
    for name in ("triton", "triton.language"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    assert guard.find_spec("json") is None


def test_llvm_is_looked_for_in_the_maps_of_this_process(tmp_path):
    from napari_monusac.learn._triton import llvm_is_mapped

    file = tmp_path / "maps"
    file.write_text("7f00-7f01 r-xp 0 08:01 1 /usr/lib/libLLVM.so.19.1\n")
    assert llvm_is_mapped(file)
    file.write_text("7f00-7f01 r-xp 0 08:01 1 /usr/lib/libc.so.6\n")
    assert not llvm_is_mapped(file)
    assert not llvm_is_mapped(tmp_path / "nowhere")


def test_torch_works_with_triton_blocked():
    code = (
        "import napari_monusac.learn, napari_monusac.learn._triton as guard\n"
        "import torch\n"  # before the viewer
        "guard.llvm_is_mapped = lambda: True\n"
        "import segmentation_models_pytorch, torch._dynamo, sys\n"
        "assert 'triton' not in sys.modules\n"
        "torch.optim.AdamW([torch.zeros(1, requires_grad=True)])\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_the_rooms_import_neither_torch_nor_qt_by_themselves():
    code = (
        "import sys, napari_monusac.learn, napari_monusac.jobs.job, napari_monusac.jobs.sinks, napari_monusac.io.runs.run_folder\n"
        "bad = {'torch', 'albumentations', 'qtpy', 'napari'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# ---------------------------------------------------------------------- dry run


def test_a_dry_run_tries_everything_and_leaves_the_folder(tiny_recipe, make_run):
    from napari_monusac.learn.dryrun import dry_run

    run = make_run(tiny_recipe)
    before = {p.name: p.read_bytes() for p in run.path.iterdir()}
    told = []
    report = dry_run(tiny_recipe, run, device="cpu", progress=lambda f, line: told.append((f, line)))
    assert not report.problems
    assert report.crops == report.crops_opened == 5
    assert report.seconds_per_step > 0
    assert report.seconds_per_epoch == pytest.approx(3 * report.seconds_per_step + report.seconds_per_validation)
    assert report.seconds_total == pytest.approx(2 * report.seconds_per_epoch)
    assert report.memory_mib > 50
    assert [f for f, _ in told] == sorted(f for f, _ in told)
    assert told[-1][0] == 1.0
    assert "5 of 5 crops can be read" in report.summary()
    assert {p.name: p.read_bytes() for p in run.path.iterdir()} == before
    assert run.status == "new"


def test_a_dry_run_names_what_is_wrong(tiny_recipe, make_run, make_collection, tmp_path):
    from napari_monusac.learn.dryrun import dry_run

    data = make_collection(tmp_path / "copy")
    run = make_run(tiny_recipe, data=data)
    name = run.split.training[0]
    next(data.rglob(f"{name}.tif")).write_bytes(b"II*\0broken")
    report = dry_run(tiny_recipe, run, device="cpu")
    assert report.crops_opened == 4
    assert report.problems == (), "the run goes on without it"
    assert len(report.left_out) == 1
    assert name in report.left_out[0]
    assert f"Left out: crop {name}: " in report.summary()
    lost = tiny_recipe.with_values(encoder_weights="/nowhere.pth")
    assert "no such weights file" in dry_run(lost, run, device="cpu").problems[0]
    with pytest.raises(Cancelled):
        dry_run(tiny_recipe, run, device="cpu", should_stop=lambda: True)


# ---------------------------------------------------------------------- the same bits each time


def _settings():
    import torch

    return (
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
    )  # fmt: skip


def test_a_deterministic_run_asks_torch_for_it_and_leaves_torch_as_it_was(tiny_recipe, make_run, monkeypatch):
    from napari_monusac.learn import step
    from napari_monusac.learn.checkpoint import read_tensors
    from napari_monusac.learn.loop import train

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

    from napari_monusac.learn.device import torch_kept, use_deterministic_algorithms

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with torch_kept():
        (told,) = use_deterministic_algorithms()
        assert "train in its own process" in told
        assert use_deterministic_algorithms() == [], "it is set now"


def test_precision_is_not_timed_where_it_must_be_the_same_each_time(tiny_recipe, monkeypatch):
    import torch

    from napari_monusac.learn import device

    monkeypatch.setattr(device, "_step_seconds", lambda *_: pytest.fail("timed"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    recipe = tiny_recipe.with_values(precision="auto", deterministic=True)
    assert device.choose_precision(recipe, None, "cpu")[0] == "float32"
    assert device.choose_precision(recipe, None, "cuda:0")[0] == "bfloat16"
    assert device.choose_precision(recipe.with_values(precision="float32"), None, "cuda")[0] == "float32"


@pytest.mark.parametrize(
    ("device", "deterministic", "told"),
    [("cpu", False, False), ("cuda", False, True), ("mps", False, True), ("cuda", True, False)],
)
def test_a_resume_on_a_gpu_says_what_it_cannot_promise(tiny_recipe, make_run, device, deterministic, told):
    from napari_monusac.learn.progress import Progress
    from napari_monusac.learn.setup import _differences

    recipe = tiny_recipe.with_values(deterministic=deterministic)
    run = make_run(recipe)
    found = _differences(recipe, run, None, Progress(device=device, step=3), device)
    assert bool(found) is told
    assert all("may differ in the last digits" in text and "deterministic = true" in text for text in found)
    assert _differences(recipe, run, None, Progress(), device) == [], "a run that begins resumes nothing"


def test_a_dry_run_says_what_is_in_no_mask(tiny_recipe, make_run, make_collection, tmp_path):
    from napari_monusac.learn.dryrun import dry_run

    data = make_collection(tmp_path / "data")
    for path in data.rglob("*.xml"):
        beyond = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((900, 900), (910, 900), (905, 910)))
        text = f'<Region Id="99"><Vertices>{beyond}</Vertices></Region></Regions></Annotation>'
        path.write_text(path.read_text().replace("</Regions></Annotation>", text, 1))
    report = dry_run(tiny_recipe, make_run(tiny_recipe, data=data), device="cpu")
    assert "in the annotations of 5 crops, left out: 5 outside the image" in report.notes
    assert "Note: in the annotations of 5 crops, left out: 5 outside the image" in report.summary()
    clean = dry_run(tiny_recipe, make_run(tiny_recipe, name="other"), device="cpu")
    assert not any("left out" in note for note in clean.notes)
