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
from napari_monusac.io.runs.run_folder import RunFolder
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

    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.learn.loop import train
    from napari_monusac.network.checkpoint import read_tensors

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
    from napari_monusac.io.runs.run_folder import RunFolder

    first, second = _seen(folder, 0)["plain"], _seen(folder, 1)["plain"]
    assert first["kinds"].count("epoch-ended") == 2
    assert second["kinds"] == ["run-ended"]
    assert first["reason"] == second["reason"] == "completed"
    run = RunFolder.open(folder / "plain")
    assert [e.kind for e in run.read_events()] == first["kinds"]
    assert run.status == "completed"


def test_stop_reaches_all_ranks(folder):
    from napari_monusac.io.runs.run_folder import RunFolder

    for rank in range(2):
        seen = _seen(folder, rank)["stopped"]
        assert (seen["reason"], seen["step"]) == ("stopped", 2)
    run = RunFolder.open(folder / "stopped")
    assert (run.status, run.last.is_file()) == ("stopped", True)


def test_a_dead_rank_ends_the_run_with_a_resumable_checkpoint(folder):
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.learn.loop import train

    seen = _seen(folder, 0)["dying"]
    assert seen["reason"] == "failed"
    assert "another process of this run is gone" in seen["message"]
    run = RunFolder.open(folder / "dying")
    assert run.last.is_file()
    events = list(train(run.recipe, run, loader_threads=1, threads=1))
    assert events[0].first_epoch == 2
    assert events[-1].reason == "completed", events[-1].message


# ---------------------------------------------------------------------- a rank that fails

# What each rank does: the run of argv[1]; rank 1 fails where argv[2] says.
FAILING = """
import json, os, sys, time
from pathlib import Path
from napari_monusac.core.errors import TrainingError
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.learn import loop, setup, step
rank, where = int(os.environ["RANK"]), sys.argv[2]
failing = {"rank 0": 0}.get(where, 1)

def fail(*args, **kwargs):
    seen["failed"] = time.time()
    raise (KeyError if where == "fault" else TrainingError)("the cat is on the keyboard")

seen, true = {}, step.Stepper.step
if rank == failing:
    if where == "before":
        setup.choose_device = fail
    elif where == "set-up":
        setup.check_labels = fail
    elif where == "rank 0":
        loop.save_frame = fail
    else:
        step.Stepper.step = lambda self, batch, lr, n: fail() if n == 2 else true(self, batch, lr, n)
run = RunFolder.open(Path(sys.argv[1]))
events = list(loop.train(run.recipe, run, loader_threads=1, threads=1, device="cpu"))
seen |= {"ended": time.time(), "kinds": [e.kind for e in events], "reason": events[-1].reason, "message": events[-1].message}
(run.path / f"rank-{rank}.json").write_text(json.dumps(seen))
"""


def _two_ranks(run, where: str, ranks: int = 2) -> list[dict]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    address = {
        "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FAILING, str(run.path), where], env={**os.environ, **address, "RANK": str(k)}
        )
        for k in range(ranks)
    ]
    assert [p.wait(200) for p in processes] == [0] * ranks
    return [json.loads((run.path / f"rank-{k}.json").read_text()) for k in range(ranks)]


@pytest.mark.parametrize("where", ["before", "set-up", "step", "fault", "rank 0"])
def test_a_rank_that_fails_ends_the_others_within_seconds(where, tiny_recipe, new_run, tmp_path):
    from napari_monusac.io.runs.run_folder import RunFolder

    run = new_run(tmp_path / "run", tiny_recipe)
    first, second = _two_ranks(run, where)
    failed, other = (first, second) if where == "rank 0" else (second, first)
    assert failed["reason"] == other["reason"] == "failed"
    assert "the cat is on the keyboard" in failed["message"]
    assert "the cat is on the keyboard" in other["message"], "the others say why"
    assert f"rank {0 if where == 'rank 0' else 1} failed" in other["message"]
    assert "please report" not in other["message"] or where == "fault"
    assert other["ended"] - failed["failed"] < 10
    assert first["kinds"].count("run-ended") == second["kinds"].count("run-ended") == 1
    assert first["kinds"][-1] == "run-ended"
    assert [e.kind for e in run.read_events()] == first["kinds"]
    assert RunFolder.open(run.path).status == "failed"


def test_more_ranks_than_patches_are_refused_at_set_up(tiny_recipe, new_run, tmp_path):
    run = new_run(tmp_path / "run", tiny_recipe)
    wanted = (
        "3 processes cannot share a batch of 2 patches: some would have none "
        "— start 2 processes at most, or set batch_size = 3 or more"
    )
    for seen in _two_ranks(run, "nowhere", ranks=3):
        assert (seen["kinds"], seen["reason"], seen["message"]) == (["run-ended"], "failed", wanted)


@pytest.mark.parametrize(("ranks", "values", "fine"), [
    (2, {}, True), (2, {"batch_size": 4, "accumulate": 2, "patch_size": 32}, False),
    (2, {"batch_size": 4, "patch_size": 32}, True), (4, {"batch_size": 7, "patch_size": 32}, False), (8, {"batch_size": 8}, True),
])  # fmt: skip
def test_shares_that_batch_norm_cannot_use_are_refused(tiny_recipe, ranks, values, fine):
    from napari_monusac.core.errors import TrainingError
    from napari_monusac.learn.distributed import Ranks

    recipe = tiny_recipe.with_values(**values)
    if fine:
        Ranks(0, ranks).check_shares(recipe)
    else:
        with pytest.raises(TrainingError, match="batch norm needs more"):
            Ranks(0, ranks).check_shares(recipe)
    Ranks().check_shares(recipe)
