"""The loop: events, checkpoints, stop, resume, and every failure made to happen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.torch


def _play(recipe, run, **options):
    from napari_monusac.learn.loop import train

    return list(train(recipe, run, loader_threads=1, threads=1, **options))


def _weights(path: Path):
    from napari_monusac.network.checkpoint import read_tensors

    return read_tensors(path)


def _same(a, b) -> bool:
    return a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)


def test_a_run_tells_its_events_and_leaves_a_whole_folder(tiny_recipe, make_run):
    run = make_run(tiny_recipe)
    assert run.status == "new"
    events = _play(tiny_recipe, run)
    kinds = [e.kind for e in events]
    assert kinds[0] == "run-started"
    assert kinds[-1] == "run-ended"
    assert kinds.count("run-ended") == 1
    assert kinds.count("batch-ended") == 6
    assert kinds.count("epoch-ended") == 2
    assert events[-1].reason == "completed", events[-1].message
    assert run.status == "completed"
    assert run.read_events() == events
    assert len(run.metrics_file.read_text().splitlines()) == 3
    assert "pq" not in run.metrics_file.read_text().splitlines()[0].split(","), "counted only where it is asked for"
    files = {p.name for p in run.path.iterdir()}
    assert {"best.safetensors", "last.safetensors", "recipe.toml", "split.json", "environment.json"} <= files
    assert [f for f in files if "best" in f] == ["best.safetensors"]
    assert not {"lock", "stop", "pause", "error.txt"} & files
    assert run.environment["threads"] == 1
    assert run.info.data_fingerprint


def test_a_completed_run_has_fitted_thresholds_in_its_best_checkpoint(tiny_recipe, make_run):
    from napari_monusac.network.checkpoint import load_checkpoint, read_metadata, save_checkpoint

    run = make_run(tiny_recipe)
    events = _play(tiny_recipe, run)
    assert [e.kind for e in events[-2:]] == ["thresholds-fitted", "run-ended"]
    fitted = read_metadata(run.best).fitted
    assert fitted == events[-2].fitted
    assert fitted.crops == len(run.split.validation)
    assert fitted.pq >= fitted.pq_before
    # a run that an earlier version completed gets them when it is resumed; its weights stay as they are
    model, weights = load_checkpoint(run.best), _weights(run.best)
    save_checkpoint(run.best, model.network, model.metadata.model_copy(update={"fitted": None}))
    again = _play(tiny_recipe, run)
    assert [e.kind for e in again if e.kind != "warned"] == ["run-started", "thresholds-fitted", "run-ended"]
    assert again[-1].reason == "completed"
    assert read_metadata(run.best).fitted == fitted
    assert _same(_weights(run.best), weights)
    assert [e.kind for e in _play(tiny_recipe, run) if e.kind != "warned"] == ["run-started", "run-ended"], "once"


def test_a_stopped_fit_is_told_and_the_run_is_over(tiny_recipe, make_run, monkeypatch):
    from napari_monusac.learn import loop
    from napari_monusac.network.checkpoint import read_metadata

    run = make_run(tiny_recipe)
    true = loop.fit_thresholds
    monkeypatch.setattr(loop, "fit_thresholds", lambda crops, stop: true(crops, lambda: True))
    events = _play(tiny_recipe, run)
    assert events[-1].reason == "completed"
    assert any("are not fitted" in e.message for e in events if e.kind == "warned")
    assert read_metadata(run.best).fitted is None


def test_learning_happens(tiny_recipe, make_run):
    recipe = tiny_recipe.with_values(epochs=1, steps_per_epoch=40, augment=False, dropout=0.0, lr=3e-3)
    events = _play(recipe, make_run(recipe))
    losses = [e.loss for e in events if e.kind == "batch-ended"]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


# ---------------------------------------------------------------------- stop, resume, pause


@pytest.fixture(scope="module")
def reference(tiny_recipe, new_run, tmp_path_factory):
    """Weights and scores of a run that nobody disturbed."""
    run = new_run(tmp_path_factory.mktemp("runs") / "reference", tiny_recipe)
    _play(tiny_recipe, run)
    return _weights(run.last), [e.scores for e in run.epochs()]


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5])
def test_a_stopped_run_resumes_bit_for_bit(tiny_recipe, make_run, reference, steps):
    run = make_run(tiny_recipe)
    count = [0]

    def should_stop() -> bool:
        return count[0] >= steps

    from napari_monusac.learn.loop import train

    for event in train(tiny_recipe, run, should_stop, loader_threads=2, threads=1):
        count[0] += event.kind == "batch-ended"
    assert event.kind == "run-ended"
    assert event.reason == "stopped"
    assert count[0] == steps, "stop answers within one batch"
    assert run.status == "stopped"
    assert run.last.is_file()
    events = _play(tiny_recipe, run)
    assert events[0].first_step == steps
    assert events[-1].reason == "completed", events[-1].message
    weights, scores = reference
    assert _same(_weights(run.last), weights)
    assert [e.scores for e in run.epochs()] == scores
    assert len(run.metrics_file.read_text().splitlines()) == 3


@pytest.mark.parametrize("steps", [1, 4])
def test_losses_that_are_read_a_step_late_change_nothing(tiny_recipe, make_run, reference, monkeypatch, steps):
    """As on a GPU, where the next step is handed over before the losses of this one are read."""
    from napari_monusac.learn import step

    made, order = step.Stepper.__init__, []
    take, read = step.Stepper.step, step.PendingLosses.read

    def ahead(self, *args):
        made(self, *args)
        self.runs_ahead = True

    monkeypatch.setattr(step.Stepper, "__init__", ahead)
    monkeypatch.setattr(step.Stepper, "step", lambda self, *a: (order.append(f"step {a[2]}"), take(self, *a))[1])
    monkeypatch.setattr(step.PendingLosses, "read", lambda self: (order.append(f"read {self._step}"), read(self))[1])
    run, count = make_run(tiny_recipe), [0]
    from napari_monusac.learn.loop import train

    for event in train(tiny_recipe, run, lambda: count[0] >= steps, loader_threads=1, threads=1):
        count[0] += event.kind == "batch-ended"
    assert event.reason == "stopped"
    assert order[:3] == ["step 0", "step 1", "read 0"]
    assert count[0] == steps + 1, "what is on its way is told before the run is saved"
    assert _play(tiny_recipe, run)[-1].reason == "completed"
    weights, scores = reference
    assert _same(_weights(run.last), weights)
    assert [e.scores for e in run.epochs()] == scores
    assert [e.step for e in run.read_events() if e.kind == "batch-ended"] == [1, 2, 3, 4, 5, 6]


def test_stop_during_validation_keeps_the_epoch_s_steps(tiny_recipe, make_run, reference, monkeypatch):
    from napari_monusac.learn import validate

    run = make_run(tiny_recipe)
    true = validate.Validator._predicted
    with monkeypatch.context() as m:
        m.setattr(validate.Validator, "_predicted", lambda *args: (run.request_stop(), true(*args))[1])
        events = _play(tiny_recipe, run)
    assert events[-1].reason == "stopped"
    assert events[-1].step == 3
    _play(tiny_recipe, run)
    assert _same(_weights(run.last), reference[0])


def test_control_files_pause_and_stop(tiny_recipe, make_run, monkeypatch):
    from napari_monusac.learn import loop
    from napari_monusac.learn.loop import train

    run = make_run(tiny_recipe)
    seen = []

    def sleep(_seconds: float) -> None:
        seen.append(run.status)
        run.request_resume()

    monkeypatch.setattr(loop.time, "sleep", sleep)
    kinds = []
    for event in train(tiny_recipe, run, loader_threads=1, threads=1):
        kinds.append(event.kind)
        if kinds.count("batch-ended") == 1 and event.kind == "batch-ended":
            assert run.status == "running"
            run.request_pause()
        if kinds.count("batch-ended") == 2 and event.kind == "batch-ended":
            run.request_stop()
    assert seen == ["paused"]
    assert kinds[2] == "checkpoint-saved", "a pause saves"
    assert event.reason == "stopped"
    assert kinds.count("batch-ended") == 2
    run.request_stop()  # left over from before: a new start forgets it
    assert _play(tiny_recipe, run)[-1].reason == "completed"


def test_a_second_writer_is_refused_and_does_no_harm(tiny_recipe, make_run):
    from napari_monusac.learn.loop import train

    run = make_run(tiny_recipe)
    first = train(tiny_recipe, run, loader_threads=1, threads=1)
    next(first)
    before = run.events_file.read_bytes()
    second = _play(tiny_recipe, run)
    assert [e.kind for e in second] == ["run-ended"]
    assert second[0].reason == "failed"
    assert "is being written by another process" in second[0].message
    assert run.events_file.read_bytes() == before
    first.close()
    assert run.status == "interrupted"


def test_an_abandoned_generator_gives_the_lock_back(tiny_recipe, make_run):
    from napari_monusac.learn.loop import train

    run = make_run(tiny_recipe)
    steps = train(tiny_recipe, run, loader_threads=1, threads=1)
    next(steps)
    assert run.is_alive
    steps.close()
    assert not run.is_alive
    assert run.status == "interrupted"


def test_an_abandoned_generator_gives_the_memory_back(tiny_recipe, make_run):
    import gc

    from napari_monusac.learn.loop import train
    from napari_monusac.network.unet import DualHeadUnet

    others = {id(o) for o in gc.get_objects() if isinstance(o, DualHeadUnet)}
    steps = train(tiny_recipe, make_run(tiny_recipe), loader_threads=1, threads=1)
    assert next(e for e in steps if e.kind == "batch-ended").step == 1
    assert [o for o in gc.get_objects() if isinstance(o, DualHeadUnet) and id(o) not in others]
    with pytest.raises(GeneratorExit) as kept:  # whoever keeps the exception keeps its frames
        steps.throw(GeneratorExit)
    alive = [o for o in gc.get_objects() if isinstance(o, DualHeadUnet) and id(o) not in others]
    assert kept.value
    assert not alive


def test_resume_wants_the_same_recipe(tiny_recipe, make_run):
    run = make_run(tiny_recipe)
    _play(tiny_recipe, run, should_stop=lambda: True)
    end = _play(tiny_recipe.with_values(lr=0.5), run)[-1]
    assert end.reason == "failed"
    assert "lr = 0.001, not 0.5" in end.message
    longer = tiny_recipe.with_values(epochs=3)
    assert _play(longer, run)[-1].epoch == 3


def test_loader_threads_change_nothing(tiny_recipe, make_run, reference):
    from napari_monusac.learn.loop import train

    run = make_run(tiny_recipe)
    list(train(tiny_recipe, run, loader_threads=4, threads=1))
    assert _same(_weights(run.last), reference[0])


def test_max_steps_and_early_stopping_complete_the_run(tiny_recipe, make_run):
    end = _play(tiny_recipe.with_values(max_steps=4), make_run(tiny_recipe, "a"))[-1]
    assert (end.reason, end.step) == ("completed", 4)
    still = tiny_recipe.with_values(lr=1e-12, epochs=9, early_stopping=2, weight_decay=0, steps_per_epoch=1, dropout=0)
    events = _play(still, make_run(still, "b"))
    assert events[-1].reason == "completed"
    assert "has not risen for 2 epochs" in events[-1].message
    assert events[-1].epoch < 9


def _lr(events) -> list[float]:
    return [e.lr for e in events if e.kind == "batch-ended"]


def test_the_schedule_ends_with_max_steps(tiny_recipe, make_run):
    recipe = tiny_recipe.with_values(epochs=50, max_steps=5, schedule="warmup-cosine", warmup_epochs=1)
    events = _play(recipe, make_run(recipe))
    assert events[-1].reason == "completed", events[-1].message
    assert (events[0].total_steps, events[0].epochs) == (5, 2)
    k = np.arange(3)
    cosine = 1e-6 + (1e-3 - 1e-6) * (1 + np.cos(np.pi * k / 3)) / 2
    np.testing.assert_allclose(_lr(events), [1e-5, 1e-5 + (1e-3 - 1e-5) / 2, *cosine])
    assert [e.message for e in events if e.kind == "warned"] == [
        "the warm-up of 3 steps is cut to 2: half of this run of 5 steps"
    ]


def test_a_run_that_is_resumed_to_another_end_follows_the_schedule_of_that_end(tiny_recipe, make_run):
    from napari_monusac.learn.schedule import LearningRate

    short = tiny_recipe.with_values(epochs=9, max_steps=3, schedule="cosine")
    run = make_run(short)
    _play(short, run)
    longer = short.with_values(max_steps=6)
    events = _play(longer, run)
    assert events[-1].step == 6
    rate = LearningRate(longer, 3)
    assert _lr(events) == [rate.of(2, k) for k in range(3)]
    (told,) = [e.message for e in events if e.kind == "warned"]
    assert told == (
        "this run was to end after 3 steps and now ends after 6: from step 3 on the learning rate follows the schedule "
        "of 6 steps (0.000501, before 1e-06)"
    )
    assert not [e for e in _play(longer, run) if e.kind in {"warned", "batch-ended", "epoch-ended"}], "it has ended"
    assert [e.epoch for e in run.epochs()] == [1, 2]
    less = _play(short, run)
    assert less[-1].reason == "completed"
    assert "6 steps" in less[-1].message


@pytest.mark.parametrize("schedule", ["cosine", "warmup-cosine"])
@pytest.mark.parametrize("max_steps", [None, 6, 7])
def test_a_run_that_was_cut_in_an_epoch_ends_its_schedule_where_it_now_ends(tiny_recipe, make_run, schedule, max_steps):
    """4 steps of 3 an epoch: the second epoch lacks two of them for good, so 3 epochs end after 7 steps."""
    recipe = tiny_recipe.with_values(epochs=3, max_steps=4, schedule=schedule, warmup_epochs=1, lr=1e-3)
    run = make_run(recipe)
    assert _play(recipe, run)[-1].step == 4
    events = _play(recipe.with_values(max_steps=max_steps), run)
    end = max_steps or 7
    assert (events[-1].reason, events[-1].step) == ("completed", end), events[-1].message
    assert (events[0].total_steps, events[0].epochs) == (end, 3)
    warm = 0 if schedule == "cosine" else 3
    k = np.arange(4, end) - warm
    np.testing.assert_allclose(_lr(events), 1e-6 + (1e-3 - 1e-6) * (1 + np.cos(np.pi * k / (end - warm))) / 2)
    assert any(f"to end after 4 steps and now ends after {end}" in e.message for e in events if e.kind == "warned")


def test_plateau_goes_on_as_it_was_whatever_ends_the_run(tiny_recipe, make_run, monkeypatch):
    """The rate is torch's, epoch by epoch, also where the run was cut by max_steps, stopped and resumed."""
    import torch

    from napari_monusac.learn import schedule

    monkeypatch.setattr(schedule, "_PATIENCE", 1)
    recipe = tiny_recipe.with_values(schedule="plateau", lr=1e-5, steps_per_epoch=1, epochs=12)
    whole = make_run(recipe, "whole")
    rates = _lr(_play(recipe, whole))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-5)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=1, factor=0.5)
    expected = []
    for epoch in whole.epochs():
        expected.append(optimizer.param_groups[0]["lr"])
        plateau.step(epoch.scores.combo)
    assert rates == expected
    assert rates[-1] < 1e-5, "it must have acted"
    run, found = make_run(recipe, "cut"), []
    for steps in (5, 8, None):
        events = _play(recipe.with_values(max_steps=steps), run)
        assert events[-1].reason == "completed", events[-1].message
        assert not [e.message for e in events if e.kind == "warned"], "its schedule has no end to move"
        found += _lr(events)
    assert found == rates
    assert _same(_weights(run.last), _weights(whole.last))


def test_a_run_that_stopped_early_is_over_when_it_is_resumed(tiny_recipe, make_run):
    still = tiny_recipe.with_values(lr=1e-12, epochs=9, early_stopping=2, weight_decay=0, steps_per_epoch=1, dropout=0)
    run = make_run(still)
    end = _play(still, run)[-1]
    weights = _weights(run.last)
    again = _play(still, run)
    assert (again[-1].reason, again[-1].message, again[-1].step) == ("completed", end.message, end.step)
    assert not [e for e in again if e.kind in {"batch-ended", "epoch-ended"}]
    assert _same(_weights(run.last), weights)
    assert _play(still.with_values(early_stopping=5), run)[-1].step > end.step


def test_an_earlier_version_s_run_that_max_steps_cut_is_told_when_it_goes_on(tiny_recipe, make_run, monkeypatch):
    from napari_monusac.learn.resume import TrainingCounters

    recipe = tiny_recipe.with_values(epochs=9, max_steps=6, schedule="cosine")
    run = make_run(recipe)
    true = TrainingCounters.to_state
    with monkeypatch.context() as m:
        m.setattr(
            TrainingCounters, "to_state", lambda self: {k: v for k, v in true(self).items() if k != "total_steps"}
        )
        stops = iter([False, False, True])
        _play(recipe, run, should_stop=lambda: next(stops))
    events = _play(recipe, run)
    assert events[-1].reason == "completed", events[-1].message
    (told,) = [e.message for e in events if e.kind == "warned"]
    assert "was to end after 27 steps and now ends after 6" in told


# ---------------------------------------------------------------------- failures, made to happen


def _failed(events) -> str:
    assert [e.kind for e in events].count("run-ended") == 1
    assert events[-1].reason == "failed"
    assert "\n" not in events[-1].message
    return events[-1].message


def test_nan_ends_the_run_and_keeps_the_last_checkpoint(tiny_recipe, make_run, monkeypatch):
    import torch

    from napari_monusac.learn import step

    run = make_run(tiny_recipe)
    true = step.dual_head_loss
    calls = [0]

    def poisoned(*args):
        calls[0] += 1
        parts = true(*args)
        return type(parts)(parts.total * torch.nan, parts.semantic, parts.ternary) if calls[0] == 5 else parts

    monkeypatch.setattr(step, "dual_head_loss", poisoned)
    message = _failed(_play(tiny_recipe, run))
    assert "the loss became nan in step 4" in message
    assert "lower lr" in message
    assert run.status == "failed"
    assert all(t.isfinite().all() for t in _weights(run.last).values() if t.is_floating_point())
    monkeypatch.setattr(step, "dual_head_loss", true)
    assert _play(tiny_recipe, run)[-1].reason == "completed"


def test_out_of_memory_halves_the_batch_and_goes_on(tiny_recipe, make_run, monkeypatch):
    import torch

    from napari_monusac.learn import step

    recipe = tiny_recipe.with_values(batch_size=4)
    run = make_run(recipe)
    true = step.Stepper._micro

    def hungry(self, batch, part):
        if part.stop - part.start > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return true(self, batch, part)

    monkeypatch.setattr(step.Stepper, "_micro", hungry)
    events = _play(recipe, run)
    assert events[-1].reason == "completed", events[-1].message
    told = [e.message for e in events if e.kind == "warned"]
    assert [m for m in told if "4 micro-batches of 1 patches" in m]
    assert len(told) == 2
    monkeypatch.setattr(step.Stepper, "_micro", true)
    resumed = _play(recipe.with_values(epochs=3), run)
    assert resumed[-1].reason == "completed"


def test_no_memory_for_one_patch_is_a_clear_end(tiny_recipe, make_run, monkeypatch):
    from napari_monusac.learn import step

    def never(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(step.Stepper, "_micro", never)
    message = _failed(_play(tiny_recipe, make_run(tiny_recipe)))
    assert "no memory for a single patch" in message
    assert "patch_size" in message


def test_validation_out_of_memory_uses_smaller_tiles(tiny_recipe, make_run, monkeypatch):
    import torch

    from napari_monusac.infer.engines.torch import TorchEngine

    true, calls = TorchEngine.probabilities, []

    def hungry(self, tiles):
        calls.append(tiles.shape)
        if len(calls) <= 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return true(self, tiles)

    monkeypatch.setattr(TorchEngine, "probabilities", hungry)
    events = _play(tiny_recipe, make_run(tiny_recipe))
    assert events[-1].reason == "completed", events[-1].message
    told = [e.message for e in events if e.kind == "warned"]
    assert [m.split()[-2] for m in told if "validation now uses tiles" in m] == ["256", "128"]
    assert len(events[0].scale) > 0


def test_disk_full_is_told_and_the_run_resumes(tiny_recipe, make_run, reference, monkeypatch):
    import errno

    from napari_monusac.network import checkpoint

    run = make_run(tiny_recipe)
    true = checkpoint.save_file
    calls = [0]

    def full(*args, **kwargs):
        calls[0] += 1
        if calls[0] >= 3:  # best and last of the first epoch were written
            raise OSError(errno.ENOSPC, "No space left on device")
        return true(*args, **kwargs)

    monkeypatch.setattr(checkpoint, "save_file", full)
    message = _failed(_play(tiny_recipe, run))
    assert "the disk is full" in message
    assert "resume" in message
    assert not [p for p in run.path.iterdir() if p.name.startswith(".")], "no half-written file stays"
    monkeypatch.setattr(checkpoint, "save_file", true)
    assert _play(tiny_recipe, run)[-1].reason == "completed"
    assert _same(_weights(run.last), reference[0])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
def test_a_disk_that_really_takes_no_more_loses_nothing(tiny_recipe, make_run, reference):
    """No file of the child may grow over 100 kB: the events still go in, a checkpoint does not."""
    run = make_run(tiny_recipe)
    code = (
        "import resource, sys\n"
        "from napari_monusac.io.runs.run_folder import RunFolder\nfrom napari_monusac.learn.loop import train\n"
        "run = RunFolder.open(sys.argv[1])\n"
        "for event in train(run.recipe, run, loader_threads=1, threads=1, device='cpu'):\n"
        "    if event.kind == 'epoch-ended' and event.epoch == 1:\n"
        "        checkpoints_follow = True\n"
        "    if event.kind == 'batch-ended' and event.epoch == 2:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=True, timeout=300)
    end = run.read_events()[-1]
    assert (end.kind, end.reason) == ("run-ended", "failed")
    assert "cannot be written" in end.message or "disk" in end.message
    assert "\n" not in end.message
    assert not [p for p in run.path.iterdir() if p.name.startswith(".")], "no half-written file stays"
    assert run.last.is_file()
    assert _play(tiny_recipe, run)[-1].reason == "completed"
    assert _same(_weights(run.last), reference[0])


@pytest.fixture
def spreadsheet(monkeypatch):
    """A set of file names that another program holds open: nothing takes their place."""
    import os

    from napari_monusac.core import files

    held: set[str] = set()
    true = os.replace

    def replace(source, target):
        if Path(target).name in held:
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        true(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(files.time, "sleep", lambda _: None)
    return held


def test_a_metrics_table_that_is_open_elsewhere_is_one_warning_and_catches_up(tiny_recipe, make_run, spreadsheet):
    from napari_monusac.learn.loop import train

    recipe = tiny_recipe.with_values(epochs=4, steps_per_epoch=1)
    run = make_run(recipe)
    spreadsheet.add("metrics.csv")
    events = []
    for event in train(recipe, run, loader_threads=1, threads=1):
        events.append(event)
        if event.kind == "checkpoint-saved" and event.which == "last" and event.epoch == 3:
            assert not run.metrics_file.exists()
            spreadsheet.clear()  # the spreadsheet is closed
    assert events[-1].reason == "completed", events[-1].message
    (told,) = [e.message for e in events if e.kind == "warned"]
    assert str(run.metrics_file) in told
    assert "close the program that holds it open" in told
    assert run.read_events() == events
    assert [line.split(",")[0] for line in run.metrics_file.read_text().splitlines()] == ["epoch", "1", "2", "3", "4"]


def test_a_metrics_table_that_stays_open_never_ends_a_run(tiny_recipe, make_run, spreadsheet):
    run = make_run(tiny_recipe)
    spreadsheet.add("metrics.csv")
    events = _play(tiny_recipe, run)
    assert events[-1].reason == "completed", events[-1].message
    assert [e.kind for e in events].count("warned") == 1
    assert not [p for p in run.path.iterdir() if p.name.startswith(".")]
    spreadsheet.clear()
    events = _play(tiny_recipe.with_values(epochs=3), run)
    assert [line.split(",")[0] for line in run.metrics_file.read_text().splitlines()] == ["epoch", "1", "2", "3"]


def test_a_checkpoint_that_is_held_for_too_long_ends_the_run_resumably(tiny_recipe, make_run, spreadsheet, reference):
    run = make_run(tiny_recipe)
    stops = iter([False, False, False, False, True])
    _play(tiny_recipe, run, should_stop=lambda: next(stops))
    spreadsheet.add("last.safetensors")
    message = _failed(_play(tiny_recipe, run))
    assert "last.safetensors: cannot be written" in message
    spreadsheet.clear()
    assert _play(tiny_recipe, run)[-1].reason == "completed"
    assert _same(_weights(run.last), reference[0])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_checkpoints_follow_the_umask(tiny_recipe, make_run):
    import os

    before = os.umask(0o027)
    try:
        recipe = tiny_recipe.with_values(max_steps=1)
        run = make_run(recipe)
        _play(recipe, run)
    finally:
        os.umask(before)
    assert {p.name: oct(p.stat().st_mode & 0o777) for p in run.path.iterdir() if p.is_file()} == {
        p.name: "0o640" for p in run.path.iterdir() if p.is_file()
    }


def test_a_vanished_data_folder_ends_the_run_with_a_resumable_checkpoint(
    tiny_recipe, make_run, make_collection, tmp_path, monkeypatch
):
    from napari_monusac.learn.data import crops
    from napari_monusac.learn.loop import train

    monkeypatch.setattr(crops, "_WAIT_S", 0.01)
    data = make_collection(tmp_path / "stick")
    run = make_run(tiny_recipe, data=data)
    events = []
    # A budget of one byte: each crop is read again whenever it is needed.
    for event in train(tiny_recipe, run, loader_threads=1, threads=1, memory_budget_bytes=1):
        events.append(event)
        if event.kind == "epoch-ended":
            data.rename(tmp_path / "gone")
    message = _failed(events)
    assert "the data folder is gone" in message or "can be read" in message
    assert run.last.is_file()
    (tmp_path / "gone").rename(data)
    assert _play(tiny_recipe, run)[-1].reason == "completed"


def test_a_crop_that_cannot_be_read_is_left_out_and_told(tiny_recipe, make_run, make_collection, tmp_path):
    data = make_collection(tmp_path / "copy")
    run = make_run(tiny_recipe, data=data)
    name = run.split.training[0]
    next(data.rglob(f"{name}.xml")).write_text("<Annotations><Annot")
    events = _play(tiny_recipe, run)
    assert events[-1].reason == "completed", events[-1].message
    told = [e.message for e in events if e.kind == "warned"]
    assert len(told) == 1
    assert f"crop {name} is left out" in told[0]
    assert ".xml" in told[0]


def test_an_empty_annotation_file_costs_its_crop_and_no_more(tiny_recipe, make_run, make_collection, tmp_path):
    """0 bytes: a copy that broke off."""
    from napari_monusac.learn.dryrun import dry_run
    from napari_monusac.network.checkpoint import read_metadata

    data = make_collection(tmp_path / "copy")
    run = make_run(tiny_recipe, data=data)
    lost = [run.split.training[0]]
    sound = set(run.split.training) - set(lost)
    files = {name: next(data.rglob(f"{name}.xml")) for name in lost}
    for file in files.values():
        file.write_bytes(b"")
    report = dry_run(tiny_recipe, run, device="cpu")
    assert report.problems == ()
    assert (report.crops, report.crops_opened) == (5, 4)
    (said,) = [line for line in report.summary().splitlines() if line.startswith("Left out: ")]
    assert said.startswith(f"Left out: crop {lost[0]}: {files[lost[0]]}: ")
    assert "4 of 5 crops can be read" in report.summary()
    events = _play(tiny_recipe, run)
    assert events[-1].reason == "completed", events[-1].message
    (told,) = [e.message for e in events if e.kind == "warned" and "left out" in e.message]
    assert told.startswith(f"crop {lost[0]} is left out: {files[lost[0]]}: ")
    assert events[0].training_crops == len(sound)
    assert read_metadata(run.best).scores.combo is not None


def test_a_run_that_is_resumed_under_other_names_of_classes_says_so(tiny_recipe, make_run):
    from napari_monusac.core.classes import NucleusClass, use_class_names
    from napari_monusac.io.runs.run_folder import RunFolder

    run = make_run(tiny_recipe.with_values(max_steps=1))
    said = "class names have other meanings than when the run began: see --classes"

    def told(names, steps):
        use_class_names(names)
        try:
            events = _play(tiny_recipe.with_values(max_steps=steps, epochs=9), RunFolder.open(run.path))
        finally:
            use_class_names({})
        assert events[-1].reason == "completed", events[-1].message
        return said in [e.message for e in events if e.kind == "warned"]

    epithelial = {"tumour": NucleusClass.EPITHELIAL}
    assert not told(epithelial, 1)
    assert not told(epithelial, 2)
    assert told({"tumour": "Ignored"}, 3)
    assert RunFolder.open(run.path).info.class_names == {"tumour": "Ignored"}
    assert told({}, 4)


def test_no_readable_crop_is_a_clear_end(tiny_recipe, make_run, make_collection, tmp_path):
    data = make_collection(tmp_path / "copy")
    run = make_run(tiny_recipe, data=data)
    for name in run.split.validation:
        next(data.rglob(f"{name}.xml")).write_text("broken")
    assert "none of the validation crops can be read" in _failed(_play(tiny_recipe, run))


def test_a_fault_of_ours_is_told_and_its_traceback_kept(tiny_recipe, make_run, monkeypatch):
    from napari_monusac.learn import loop

    def broken(*_):
        raise KeyError("oops")

    monkeypatch.setattr(loop, "save_frame", broken)
    run = make_run(tiny_recipe)
    message = _failed(_play(tiny_recipe, run))
    assert "KeyError" in message
    assert "please report" in message
    assert "oops" in (run.path / "error.txt").read_text()


def test_warnings_of_libraries_travel_as_events(tiny_recipe, make_run, monkeypatch):
    import warnings

    from napari_monusac.learn import loop

    true = loop.save_frame

    def noisy(*args):
        warnings.warn("the sky is falling", UserWarning, stacklevel=1)
        return true(*args)

    monkeypatch.setattr(loop, "save_frame", noisy)
    before = warnings.showwarning
    events = _play(tiny_recipe, make_run(tiny_recipe))
    assert [e.message for e in events if e.kind == "warned"] == ["UserWarning: the sky is falling"]
    assert warnings.showwarning is before


def test_wrong_device_and_missing_weights_end_clearly(tiny_recipe, make_run, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = _failed(_play(tiny_recipe, make_run(tiny_recipe, "a"), device="cuda"))
    assert "'cuda' is not there" in message
    lost = tiny_recipe.with_values(encoder_weights="/nowhere/w.safetensors")
    assert "no such weights file" in _failed(_play(lost, make_run(lost, "b")))


def test_the_time_lapse_has_a_frame_an_epoch(tiny_recipe, make_run):
    from napari_monusac.io.runs.timelapse import read_timelapse, timelapse_crops

    run = make_run(tiny_recipe)
    _play(tiny_recipe, run)
    (crop,) = timelapse_crops(run)[:1]
    assert crop in run.split.validation
    frames = read_timelapse(run, crop)
    assert frames.epochs == (1, 2)
    assert frames.semantic.shape == frames.ternary.shape
    assert frames.semantic.shape[0] == 2
    assert frames.semantic.dtype == np.uint8
    assert frames.semantic.max() < 5
    assert frames.ternary.max() < 3


def test_a_validation_that_is_not_finite_saves_nothing(tiny_recipe, make_run, monkeypatch):
    from napari_monusac.learn import validate

    true = validate.Validator.run
    calls = [0]

    def poisoned(self, *args):
        calls[0] += 1
        found = true(self, *args)
        if calls[0] == 2:
            found.losses = type(found.losses)(float("nan"), 0.0, 0.0)
        return found

    monkeypatch.setattr(validate.Validator, "run", poisoned)
    run = make_run(tiny_recipe)
    assert "the validation loss became nan in epoch 2" in _failed(_play(tiny_recipe, run))
    from napari_monusac.network.checkpoint import read_metadata

    assert read_metadata(run.last).epoch == 1


def test_the_end_frees_memory_and_leaves_torch_as_it_was(tiny_recipe, make_run):
    import gc
    import threading

    import torch

    from napari_monusac.network.unet import DualHeadUnet

    # networks that other tests keep are not ours to count
    others = {id(o) for o in gc.get_objects() if isinstance(o, DualHeadUnet)}
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    before = threading.active_count()
    run = make_run(tiny_recipe)
    from napari_monusac.learn.loop import train

    for event in train(tiny_recipe, run, loader_threads=3, threads=1):
        if event.kind == "run-ended":
            assert not run.is_alive, "the folder is free before the last event goes out"
            alive = [o for o in gc.get_objects() if isinstance(o, DualHeadUnet) and id(o) not in others]
            assert not alive
    assert threading.active_count() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_the_folder_keeps_the_recipe_that_was_really_trained(tiny_recipe, make_run):
    from napari_monusac.io.runs.run_folder import RunFolder

    run = make_run(tiny_recipe)
    other = tiny_recipe.with_values(max_steps=1)
    _play(other, run)
    assert RunFolder.open(run.path).recipe == other


@pytest.mark.parametrize("stain", ["normalise", "augment"])
def test_ours_with_every_option_trains_and_resumes(tiny_recipe, make_run, stain):
    options = {"sampling": "class-balanced", "stain": stain, "decoder_attention": "scse", "semantic_ce_weight": 1.0}
    recipe = tiny_recipe.with_values(**options, accumulate=2, schedule="plateau", decoder_channels=(16,) * 5)
    one, two = make_run(recipe, "one"), make_run(recipe, "two")
    end = _play(recipe, one)[-1]
    assert end.reason == "completed", end.message
    stops = iter([False, False, False, False, True])
    _play(recipe, two, should_stop=lambda: next(stops))
    end = _play(recipe, two)[-1]
    assert end.reason == "completed", end.message
    assert _same(_weights(one.last), _weights(two.last))
    from napari_monusac.network.checkpoint import read_metadata

    assert set(read_metadata(one.best).stain) == {"mean", "std"}


def test_fine_tuning_starts_from_another_run_and_not_from_the_hub(tiny_recipe, make_run):
    first = make_run(tiny_recipe, "first")
    _play(tiny_recipe, first)
    recipe = tiny_recipe.with_values(start_from=str(first.path), encoder_weights="imagenet", lr=1e-12, weight_decay=0)
    second = make_run(recipe, "second")
    events = _play(recipe.with_values(max_steps=1), second)
    assert events[-1].reason == "completed", events[-1].message
    assert not [e for e in events if e.kind == "warned"]
    a, b = _weights(first.best), _weights(second.last)
    for key, value in a.items():
        if value.is_floating_point() and "running" not in key:
            np.testing.assert_allclose(b[key].numpy(), value.numpy(), atol=1e-6)
    lost = tiny_recipe.with_values(start_from="/nowhere")
    assert "no such file" in _failed(_play(lost, make_run(lost, "lost")))


# ---------------------------------------------------------------------- averages, and what chooses the best


def test_an_averaged_run_saves_what_it_validates_and_resumes_bit_for_bit(tiny_recipe, make_run, monkeypatch):
    from napari_monusac.learn import validate
    from napari_monusac.learn.resume import load_state
    from napari_monusac.network.checkpoint import load_checkpoint

    recipe = tiny_recipe.with_values(ema_decay=0.8, decay_norms=False, encoder_lr_scale=0.5, clip_norm=1.0)
    one, two = make_run(recipe, "one"), make_run(recipe, "two")
    true, judged = validate.TorchEngine, []

    def engine(model, *args):
        judged.append({k: v.clone() for k, v in model.network.state_dict().items()})
        return true(model, *args)

    with monkeypatch.context() as m:
        m.setattr(validate, "TorchEngine", engine)
        end = _play(recipe, one)[-1]
    assert end.reason == "completed", end.message
    assert _same(_weights(one.last), judged[-1]), "the file holds what its scores are of"
    assert _same(load_checkpoint(one.best).network.state_dict(), judged[end.best_epoch - 1])
    raw = load_state(one)["network"]
    assert not _same(raw, judged[-1])
    stops = iter([False, False, False, False, True])
    _play(recipe, two, should_stop=lambda: next(stops))
    end = _play(recipe, two)[-1]
    assert end.reason == "completed", end.message
    assert _same(_weights(one.last), _weights(two.last))
    assert _same(raw, load_state(two)["network"])


def test_epochs_between_two_validations_are_trained_and_saved(tiny_recipe, make_run, reference):
    recipe = tiny_recipe.with_values(epochs=5, steps_per_epoch=2, validate_every=2)
    one, two = make_run(recipe, "one"), make_run(recipe, "two")
    events = _play(recipe, one)
    assert events[-1].reason == "completed", events[-1].message
    epochs = [e for e in events if e.kind == "epoch-ended"]
    assert [e.epoch for e in epochs] == [2, 4, 5], "every second one, and the last"
    assert [e.epoch for e in events if e.kind == "checkpoint-saved" and e.which == "last"] == [1, 2, 3, 4, 5]
    losses = [e.loss for e in events if e.kind == "batch-ended"]
    means = [np.mean(losses[:4]), np.mean(losses[4:8]), np.mean(losses[8:])]
    np.testing.assert_allclose([e.train_loss for e in epochs], means, rtol=1e-6)
    every = make_run(recipe, "every")
    _play(recipe.with_values(validate_every=1), every)
    assert _same(_weights(one.last), _weights(every.last)), "validation changes no weight"
    stops = iter([False, False, False, True])
    _play(recipe, two, should_stop=lambda: next(stops))
    again = _play(recipe, two)
    assert again[-1].reason == "completed", again[-1].message
    assert [e.scores for e in two.epochs()] == [e.scores for e in epochs]
    np.testing.assert_allclose([e.train_loss for e in two.epochs()], means, rtol=1e-6)


@pytest.mark.parametrize(("by", "best"), [("combo", 1), ("combo-and-miou", 3), ("pq", 2)])
def test_the_score_that_the_recipe_names_chooses_the_best(tiny_recipe, make_run, monkeypatch, by, best):
    from napari_monusac.learn import validate
    from napari_monusac.network.checkpoint import read_metadata

    recipe = tiny_recipe.with_values(epochs=3, steps_per_epoch=1, select_by=by)
    run = make_run(recipe)
    true, calls = validate.Validator.run, [0]
    given = [(0.6, 0.1, 0.2), (0.5, 0.3, 0.4), (0.4, 0.6, 0.3)]  # combo, mIoU, PQ: another epoch is best by each

    def scored(self, *args):
        found = true(self, *args)
        assert (found.scores.pq is not None) == (by == "pq")
        combo, miou, pq = given[calls[0]]
        calls[0] += 1
        found.scores = found.scores.model_copy(update={"combo": combo, "miou_macro": miou, "pq": pq})
        return found

    monkeypatch.setattr(validate.Validator, "run", scored)
    end = _play(recipe, run)[-1]
    assert (end.reason, end.best_epoch) == ("completed", best)
    assert end.best_combo == given[best - 1][0]
    assert read_metadata(run.best).epoch == best


def test_pq_of_validation_is_that_of_the_crops_predicted_and_counted_by_hand(tiny_recipe, make_run):
    from napari_monusac.infer.predict import predict
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.masks.instances import instances_from_maps
    from napari_monusac.masks.rasterize import label_maps
    from napari_monusac.scoring.metrics.panoptic import PanopticQuality, panoptic_quality

    recipe = tiny_recipe.with_values(epochs=1, steps_per_epoch=30, lr=3e-3, augment=False, dropout=0.0, select_by="pq")
    run = make_run(recipe)
    assert _play(recipe, run)[-1].reason == "completed"
    collection, total = open_collection(run.data), PanopticQuality()
    for name in run.split.validation:
        crop = collection.crop(name)
        with collection.open(crop) as slide:
            image = slide.read(0, 0, *slide.shape)
        truth = label_maps(collection.annotation(crop), image.shape[:2])
        found = predict(image, run.best, um_per_px=0.25, device="cpu", precision="float32")
        nuclei = instances_from_maps(found.semantic, found.ternary, um_per_px=0.25)
        total += panoptic_quality(truth.instances, nuclei.instances, ignore=truth.ignore)
    (epoch,) = run.epochs()
    assert epoch.scores.pq == pytest.approx(total.pq, abs=1e-6)
    head, row = (line.split(",") for line in run.metrics_file.read_text().splitlines())
    assert float(dict(zip(head, row, strict=True))["pq"]) == pytest.approx(total.pq, abs=1e-6)
    assert total.fn + total.tp > 0
