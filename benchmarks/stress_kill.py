"""Kill -9 at random moments of a small CPU run, resume each time: the final weights must equal an undisturbed run's.

    python benchmarks/stress_kill.py [--kills 20] [--seed 0] [--precision float32] [--json]

Each attempt is a forked process (so that torch is imported once) that trains the run folder until it is done or killed.
A run that is finished before all kills are spent is compared, and another begins. One thread, as stored in the run.
Also counted: how much a kill cost (steps that had to be taken again; at most one epoch's).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from napari_monusac.core.events import BatchEnded, RunStarted
from napari_monusac.core.recipe import TrainingRecipe, load_recipe
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.io.splits import Split, make_split
from napari_monusac.learn.loop import train
from napari_monusac.network.checkpoint import read_tensors
from napari_monusac.synth.collection import write_collection


def recipe_of(precision: str) -> TrainingRecipe:
    return load_recipe("run-9").with_values(
        encoder="tu-test_efficientnet",
        encoder_weights="none",
        decoder_channels=(16, 16, 8, 8, 8),
        patch_size=64,
        batch_size=2,
        epochs=8,
        warmup_epochs=2,
        steps_per_epoch=6,
        precision=precision,
    )


def attempt(run: RunFolder) -> int:
    """Start a process that trains; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        end = list(train(run.recipe, run, threads=1, loader_threads=1, device="cpu"))[-1]
        code = 0 if end.reason == "completed" else 2
    finally:
        os._exit(code)


def waited(pid: int, seconds: float) -> int | None:
    """Exit code of a process that ends within some seconds, else None."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def same_weights(a: RunFolder, b: RunFolder) -> bool:
    for name in ("last", "best"):
        one, two = read_tensors(getattr(a, name)), read_tensors(getattr(b, name))
        if one.keys() != two.keys() or not all(torch.equal(one[k], two[k]) for k in one):
            return False
    return True


def lost_steps(run: RunFolder) -> list[int]:
    """Steps that each resume had to take again."""
    lost, last = [], 0
    for event in run.read_events(superseded=True):
        if isinstance(event, RunStarted):
            lost.append(last - event.first_step)
        elif isinstance(event, BatchEnded):
            last = event.step
    return lost[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    recipe = recipe_of(args.precision)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = write_collection(root / "data", 3, 1, shape=(128, 128))
        split: Split = make_split(open_collection(data))

        def new(name: str) -> RunFolder:
            return RunFolder.create(root / name, data=data, split=split, recipe=recipe)

        reference = new("reference")
        start = time.monotonic()
        if os.waitstatus_to_exitcode(os.waitpid(attempt(reference), 0)[1]) != 0:
            raise SystemExit(str(reference.read_events()[-1]))
        duration = time.monotonic() - start
        kills, equal, lost, longest = 0, [], [], duration
        while kills < args.kills:
            run = new(f"run-{len(equal)}")
            code = None
            while code is None:
                pid = attempt(run)
                # Anywhere between start and end. The machine may have become slower or faster: an attempt that gets to
                # its end makes the next waits shorter, one that is killed makes them a little longer.
                code = waited(pid, rng.uniform(0.02, 1.0) * longest if kills < args.kills else 600)
                longest *= 0.7 if code is not None else 1.05
                if code is None:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    kills += 1
            if code != 0:
                raise SystemExit(f"{run.path}: ended with {code}: {run.read_events()[-1]}")
            equal.append(same_weights(run, reference))
            lost += lost_steps(run)
    result = {
        "kills": kills,
        "runs": len(equal),
        "equal_bit_for_bit": sum(equal),
        "most_steps_lost": max(lost, default=0),
        "steps_per_epoch": recipe.steps_per_epoch,
        "precision": args.precision,
        "seconds_undisturbed": duration,
    }
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(
            f"{kills} x kill -9 in {len(equal)} runs ({args.precision}): {sum(equal)} of {len(equal)} end with the same"
        )
        print("weights, bit for bit, as a run that nobody disturbed")
        print(
            f"most steps taken again after a kill: {result['most_steps_lost']} (an epoch has {recipe.steps_per_epoch})"
        )
    if not all(equal):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
