"""Jobs in a thread and in a child process: same events, same folder, same controls. Following, sinks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.events import BatchEnded, EpochEnded, RunEnded, Scores, Warned
from napari_monusac.core.recipe import load_recipe
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.io.splits import make_split
from napari_monusac.jobs.follow import follow_events
from napari_monusac.jobs.job import attach_job, start_job
from napari_monusac.jobs.sinks import played, scalars, tensorboard_sink
from napari_monusac.synth.collection import write_collection


def _batch(step: int) -> BatchEnded:
    return BatchEnded(epoch=1, step=step, step_in_epoch=step, loss=1, semantic_loss=0.1, ternary_loss=0.2, lr=1e-4)


def _epoch(epoch: int) -> EpochEnded:
    losses = {f"{p}_{k}": 0.1 for p in ("train", "val") for k in ("loss", "semantic_loss", "ternary_loss")}
    return EpochEnded(epoch=epoch, step=epoch, scores=Scores(combo=0.5, iou={"Neutrophil": None}), lr=1e-4, **losses)


# ---------------------------------------------------------------------- following


def test_following_waits_for_whole_lines_and_ends_with_the_writer(tmp_path):
    file, alive = tmp_path / "events.jsonl", threading.Event()
    alive.set()
    expected = [_batch(1), _batch(2), Warned(message="µm"), RunEnded(reason="completed")]

    def write() -> None:
        for event in expected:
            line = event.to_json_line().encode() + b"\n"
            with file.open("ab") as stream:
                stream.write(line[:10])
                stream.flush()
                time.sleep(0.02)
                stream.write(line[10:])
        alive.clear()

    writer = threading.Thread(target=write)
    writer.start()
    assert list(follow_events(file, 0, alive.is_set, poll_s=0.005)) == expected
    writer.join()
    with file.open("ab") as stream:
        stream.write(b'{"torn": 1\n' + _batch(9).to_json_line().encode() + b"\n")
    assert [e.kind for e in follow_events(file, 0, lambda: False)].count("batch-ended") == 3
    size = file.stat().st_size
    assert list(follow_events(file, size, lambda: False)) == []
    assert list(follow_events(file, 0, lambda: True, lambda: True)) == []


# ---------------------------------------------------------------------- sinks


def test_sinks_take_every_event_and_pass_it_on():
    events = [_batch(1), _epoch(1), _epoch(2), RunEnded(reason="completed")]
    taken, closed = ([], []), []

    @contextmanager
    def sink(k):
        yield taken[k].append
        closed.append(k)

    for count, event in enumerate(played(iter(events), sink(0), sink(1)), 1):
        assert event is events[count - 1]
        assert taken == (events[:count], events[:count])  # each sink has it before the next one sees it
    assert sorted(closed) == [0, 1]


def test_scalars_leave_out_what_is_undefined():
    assert "IoU/Neutrophil" not in scalars(_epoch(1))
    assert scalars(_epoch(1))["score/combo"] == 0.5
    assert scalars(_batch(3))["learning rate"] == 1e-4
    assert scalars(RunEnded(reason="failed")) == {}


def test_tensorboard_gets_curves_without_torch(tmp_path, monkeypatch):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    before = "torch" in sys.modules
    list(played([_batch(1), _batch(2), _epoch(1)], tensorboard_sink(tmp_path)))
    assert ("torch" in sys.modules) == before
    (file,) = tmp_path.glob("events.out.tfevents*")
    found = {}
    for event in loader.EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            found.setdefault(value.tag, []).append(event.step)
    assert found["batch/loss"] == [1, 2]
    assert found["score/combo"] == [1]
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(MonusacError, match=r"pip install 'napari-monusac\[tensorboard\]'"), tensorboard_sink(tmp_path):
        pass


# ---------------------------------------------------------------------- jobs


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_collection(tmp_path_factory.mktemp("jobs") / "data", 3, 1, shape=(96, 96))


@pytest.fixture
def run(data, tmp_path) -> RunFolder:
    recipe = load_recipe("run-8").with_values(
        encoder="tu-test_efficientnet",
        encoder_weights="none",
        decoder_channels=(16, 16, 8, 8, 8),
        patch_size=32,
        batch_size=2,
        epochs=500,
        steps_per_epoch=2,
        precision="float32",
    )
    split = make_split(open_collection(data))
    return RunFolder.create(tmp_path / "run", data=data, split=split, recipe=recipe)


@pytest.mark.torch
def test_a_thread_job_is_followed_stopped_and_resumed(run):
    job = start_job(run, where="thread", device="cpu")
    seen = []
    for event in job.events():
        seen.append(event)
        if isinstance(event, BatchEnded) and event.step == 3:
            assert job.is_running
            assert job.memory_mib() > 10
            job.stop()
    assert job.wait(60)
    assert seen[0].kind == "run-started"
    assert seen[-1].reason == "stopped", seen[-1].message
    assert [e.kind for e in seen].count("run-ended") == 1
    assert run.status == "stopped"
    run.recipe = run.recipe.with_values(epochs=seen[-1].epoch + 1)
    again = list(start_job(run, where="thread", device="cpu").events())
    assert again[0].first_step == seen[-1].step, "a new job does not repeat what was told before"
    assert again[-1].reason == "completed", again[-1].message


@pytest.mark.torch
def test_a_child_outlives_its_parent_and_is_found_stopped_and_resumed(run):
    # The parent (napari) starts the child and closes.
    code = (
        "import sys\nfrom napari_monusac.io.runs.run_folder import RunFolder\nfrom napari_monusac.jobs.job import start_job\n"
        "run = RunFolder.open(sys.argv[1])\n"
        "start_job(run, where='child', device='cpu', threads=1)\nprint(run.status)"
    )
    parent = subprocess.run([sys.executable, "-c", code, str(run.path)], check=True, capture_output=True, text=True)
    assert parent.stdout.strip() in {"starting", "running"}
    # Opened again, the run is found at work.
    job = attach_job(RunFolder.open(run.path))
    assert job.is_running
    assert job.pid is not None
    seen = []
    for event in job.events():
        seen.append(event)
        if isinstance(event, BatchEnded) and event.step >= 3:
            job.stop()
    assert seen[0].kind == "run-started", (run.path / "child.log").read_text()
    assert seen[-1].reason == "stopped"
    deadline = time.monotonic() + 30
    assert run.status == "stopped"
    while job.pid is not None and time.monotonic() < deadline:  # it closes its files and goes
        time.sleep(0.1)
    assert job.memory_mib() is None
    # Who attaches later sees the same history.
    assert list(attach_job(run).events()) == seen
    # And a thread goes on where the child stopped.
    run.recipe = run.recipe.with_values(epochs=seen[-1].epoch + 1)
    again = list(start_job(run, where="thread", device="cpu").events())
    assert again[0].first_step == seen[-1].step
    assert again[-1].reason == "completed", again[-1].message


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot stop a process and let it go on")
def test_a_sleeping_laptop_is_not_a_dead_run(run):
    """The child is frozen as a suspended machine is: whoever watches waits, and it goes on where it was."""
    run.update_recipe(run.recipe.with_values(epochs=50))
    job = start_job(run, where="child", device="cpu", threads=1)
    pid, frozen, steps = job.pid, threading.Event(), []
    for event in job.events():
        if not isinstance(event, BatchEnded):
            continue
        steps.append(event.step)
        if event.step == 2:
            os.kill(pid, signal.SIGSTOP)
            frozen.set()
            threading.Timer(3, os.kill, (pid, signal.SIGCONT)).start()
            assert job.is_running
            assert RunFolder.open(run.path).status == "running"
            assert attach_job(run).is_running
        if event.step == 8:
            job.stop()
    assert frozen.is_set()
    assert steps == list(range(1, len(steps) + 1))
    assert run.read_events()[-1].reason == "stopped"


def test_a_child_that_dies_is_told_with_its_last_words(run, monkeypatch):
    from napari_monusac.jobs import job as module

    monkeypatch.setattr(
        module.sys, "executable", _script(run.path.parent / "dies", "echo boom: no such thing >&2; exit 3")
    )
    events = list(start_job(run, where="child").events())
    assert len(events) == 1
    assert events[0].reason == "failed"
    assert "exit code 3: boom: no such thing" in events[0].message
    assert "resume the run" in events[0].message
    monkeypatch.setattr(module.sys, "executable", str(run.path / "nowhere"))
    with pytest.raises(MonusacError, match="cannot be started"):
        start_job(run, where="child")


def test_a_killed_child_is_told_to_who_attaches(run):
    from napari_monusac.core.events import RunStarted

    started = RunStarted(recipe="x", fingerprint="x", epochs=1, steps_per_epoch=9, device="cpu")
    with run.recorder() as record:
        record(started)
        record(_batch(1))
    events = list(attach_job(run).events())
    assert events[:2] == [started, _batch(1)] or [e.kind for e in events[:2]] == ["run-started", "batch-ended"]
    assert events[-1].reason == "failed"
    assert "suddenly" in events[-1].message


def _script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)
