"""Two gloo ranks on the CPU: equal to one process that accumulates; one writer; Stop and a dead rank reach both."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.torch

# What each rank does: a whole run, a run that rank 0 is asked to stop, a run in which rank 1 dies.
RANK = """
import json, os, sys
from pathlib import Path
from napari_monusac.io.runs import RunFolder
from napari_monusac.learn.loop import train
rank, seen = int(os.environ["RANK"]), {}

def play(name, after=lambda batches, run: None):
    run, kinds, batches = RunFolder.open(Path(sys.argv[1]) / name), [], 0
    for event in train(run.recipe, run, loader_threads=1, threads=1):
        kinds.append(event.kind)
        batches += event.kind == "batch-ended"
        after(batches, run)
    seen[name] = {"kinds": kinds, "reason": event.reason, "message": event.message, "step": event.step}

play("plain")
play("stopped", lambda n, run: run.request_stop() if n == 2 else None)
(Path(sys.argv[1]) / f"rank-{rank}.json").write_text(json.dumps(seen))
if rank == 1:
    import napari_monusac.learn.step as step
    true = step.Stepper.step
    step.Stepper.step = lambda self, batch, lr, n: os._exit(9) if n == 4 else true(self, batch, lr, n)
play("dying")
(Path(sys.argv[1]) / f"rank-{rank}.json").write_text(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def folder(tiny_recipe, new_run, tmp_path_factory):
    """Three runs, played by two ranks."""
    root = tmp_path_factory.mktemp("ranks")
    recipe = tiny_recipe.with_values(dropout=0.0, batch_size=4)
    for name in ("plain", "stopped", "dying"):
        new_run(root / name, recipe)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    address = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(root)], env={**os.environ, **address, "RANK": str(k)})
        for k in range(2)
    ]
    codes = [p.wait(240) for p in ranks]
    assert codes == [0, 9]
    return root


def _seen(folder, rank: int):
    return json.loads((folder / f"rank-{rank}.json").read_text())


def test_two_ranks_equal_one_process_that_accumulates(folder, tiny_recipe, new_run, tmp_path):
    import torch

    from napari_monusac.io.runs import RunFolder
    from napari_monusac.learn.checkpoint import read_tensors
    from napari_monusac.learn.loop import train

    recipe = tiny_recipe.with_values(dropout=0.0, batch_size=4, accumulate=2)
    single = new_run(tmp_path / "single", recipe)
    end = list(train(recipe, single, loader_threads=1, threads=1))[-1]
    assert end.reason == "completed", end.message
    ours, theirs = read_tensors(RunFolder.open(folder / "plain").last), read_tensors(single.last)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for key, value in theirs.items():
        if not key.endswith(statistics):
            torch.testing.assert_close(ours[key], value, rtol=1e-4, atol=1e-5, msg=key)
    a, b = ([e.train_loss for e in r.epochs()] for r in (RunFolder.open(folder / "plain"), single))
    assert a == pytest.approx(b, rel=1e-4)


def test_rank_0_alone_writes_and_tells(folder):
    from napari_monusac.io.runs import RunFolder

    first, second = _seen(folder, 0)["plain"], _seen(folder, 1)["plain"]
    assert first["kinds"].count("epoch-ended") == 2
    assert second["kinds"] == ["run-ended"]
    assert first["reason"] == second["reason"] == "completed"
    run = RunFolder.open(folder / "plain")
    assert [e.kind for e in run.read_events()] == first["kinds"]
    assert run.status == "completed"


def test_stop_reaches_all_ranks(folder):
    from napari_monusac.io.runs import RunFolder

    for rank in range(2):
        seen = _seen(folder, rank)["stopped"]
        assert (seen["reason"], seen["step"]) == ("stopped", 2)
    assert RunFolder.open(folder / "stopped").can_resume


def test_a_dead_rank_ends_the_run_with_a_resumable_checkpoint(folder):
    from napari_monusac.io.runs import RunFolder
    from napari_monusac.learn.loop import train

    seen = _seen(folder, 0)["dying"]
    assert seen["reason"] == "failed"
    assert "another process of this run is gone" in seen["message"]
    run = RunFolder.open(folder / "dying")
    assert run.can_resume
    events = list(train(run.recipe, run, loader_threads=1, threads=1))
    assert events[0].first_epoch == 2
    assert events[-1].reason == "completed", events[-1].message
