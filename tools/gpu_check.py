"""Check and measure the package on a machine with a card, within six minutes, without any network.

    python tools/gpu_check.py --out FOLDER [--crops .gpu/crops] [--device auto] [--seconds 330] [--parts NAME ...] [--quick]

Each part runs in a process of its own with a time limit of its own: one that fails, or hangs, is a line of the table and
loses no other. ``gpu_check.json`` is written after each part, ``gpu_check.md`` (the table) with it. The last part, the
nine runs, takes what time is left. ``--quick`` on a CPU is the rehearsal: figures mean nothing then.
What such a machine must be given is made by ``tools/gpu_pack.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
#: A test is asked for these rooms: the ones that compute with torch.
TESTED = ("tests/network", "tests/learn", "tests/infer")
#: Stop within, seconds; and what training and prediction aim at.
AIMS = {
    "share_of_bare_step": 0.95, "times_plain_loop": 5.0, "share_of_bare_pass": 0.9, "times_monai": 3.0,
    "seconds_to_stop": 1.0, "mib_kept": 0.0,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ what a part is told


class Setting:
    """Device, crops, and how much to do.

    Parameters
    ----------
    args : argparse.Namespace
        As `main` parses it.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        import torch

        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
        self.on_card = self.device.startswith("cuda")
        self.quick, self.crops = args.quick, args.crops
        self.until = time.monotonic() + args.limit
        self.folder = Path(tempfile.mkdtemp(prefix="gpu-check-"))

    def recipe(self, name: str = "run-8", **values: Any) -> Any:
        """A recipe without weights that would be downloaded; a tiny network for the rehearsal."""
        from napari_monusac.core.recipe import load_recipe

        small = {"encoder": "resnet18", "decoder_channels": (32, 16, 16, 8, 8), "patch_size": 64} if self.quick else {}
        return load_recipe(name).with_values(encoder_weights="none", **{**small, **values})

    def run(self, recipe: Any, name: str) -> Any:
        """A fresh run folder over the crops."""
        from napari_monusac.io.collection.collection import open_collection
        from napari_monusac.io.runs.run_folder import RunFolder
        from napari_monusac.io.splits import make_split

        split = make_split(open_collection(self.data))
        return RunFolder.create(self.folder / name, data=self.data, split=split, recipe=recipe)

    @property
    def data(self) -> Path:
        """The crops that were brought along, else synthetic tissue."""
        if self.crops is not None and self.crops.is_dir():
            return self.crops
        from napari_monusac.synth.collection import write_collection

        made = self.folder / "tissue"
        if not made.is_dir():
            write_collection(made, 4, 2, shape=(384, 384))
        return made

    def synchronize(self) -> None:
        """Wait for the card."""
        import torch

        if self.on_card:
            torch.cuda.synchronize(self.device)


def loss_events(recipe: Any, run: Any, s: Setting, stop: Callable[[], bool] | None = None) -> tuple[list[Any], Any]:
    """Play a run; its steps and its end.

    Raises
    ------
    RuntimeError
        It failed.
    """
    from napari_monusac.learn.loop import train

    steps, end = [], None
    for event in train(recipe, run, stop, device=s.device):
        if event.kind == "batch-ended":
            steps.append(event)
        elif event.kind == "run-ended":
            end = event
    if end is None or end.reason == "failed":
        raise RuntimeError(end.message if end else "no end")
    return steps, end


def card_memory(device: str) -> dict[str, float]:
    """MiB that torch has allocated and reserved on the card, and that all programs use there."""
    import torch

    if not device.startswith("cuda"):
        return {}
    free, total = torch.cuda.mem_get_info(device)
    return {
        "allocated": torch.cuda.memory_allocated(device) / 2**20,
        "reserved": torch.cuda.memory_reserved(device) / 2**20,
        "used_by_all": (total - free) / 2**20,
    }


@contextmanager
def busy_share(out: dict[str, Any]) -> Iterator[None]:
    """Note the card's busy share, as its driver counts it, while the block runs."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        process.terminate()
        text, _ = process.communicate()
        found = [int(line) for line in text.split() if line.isdigit()]
        if found:
            out["gpu_busy_percent"] = sum(found) / len(found)


# -------------------------------------------------------------------------------------------------------------- parts


def machine(s: Setting) -> dict[str, Any]:
    """Card, driver, libraries."""
    import platform

    import torch

    found: dict[str, Any] = {"python": sys.version.split()[0], "cpus": os.cpu_count(), "machine": platform.processor()}
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        found["processor"] = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    for name in ("torch", "torchvision", "timm", "segmentation-models-pytorch", "albumentations", "numpy", "monai"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    if s.on_card:
        properties = torch.cuda.get_device_properties(s.device)
        found |= {
            "card": properties.name,
            "card_gib": properties.total_memory / 2**30,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "bfloat16": torch.cuda.is_bf16_supported(),
            "tf32_convolutions": torch.backends.cudnn.allow_tf32,
            "tf32_products": torch.backends.cuda.matmul.allow_tf32,
        }
    return found


def tests(s: Setting) -> dict[str, Any]:
    """The tests marked torch; those that take a device take the card."""
    report = s.folder / "junit.xml"
    # the project's own options ask for plugins that such a machine lacks
    config = s.folder / "pytest.ini"
    config.write_text("[pytest]\nmarkers =\n  gui: x\n  torch: x\n  shared: x\naddopts = --import-mode=importlib\n")
    chosen = TESTED if not s.quick else ("tests/learn/test_step.py",)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "torch and not shared", "-p", "no:cacheprovider"]
    command += ["-c", str(config), "--rootdir", str(ROOT), f"--junitxml={report}", *chosen]
    with suppress(PackageNotFoundError):
        if version("pytest-xdist") and (os.cpu_count() or 1) > 3:
            command += ["-n", str(min(8, (os.cpu_count() or 2) // 2))]
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    log = s.folder / "pytest.txt"
    with log.open("w") as file:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-40:])
    if not report.is_file():
        raise RuntimeError(f"pytest ended with {done.returncode} and no report: {tail[-1500:]}")
    suite = next(iter(ET.parse(report).getroot().iter("testsuite")))
    counts = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
    failed = [
        f"{case.get('classname')}::{case.get('name')}: {(fault.get('message') or '')[:200]}"
        for case in suite.iter("testcase")
        for fault in (*case.iter("failure"), *case.iter("error"))
    ]
    return {**counts, "failed": failed, "tail": "" if not failed else tail}


def training(s: Setting) -> dict[str, Any]:
    """Steps a second: our loop, the plain loop, a bare step on fixed tensors; busy share and memory."""
    import torch
    import training as benchmark  # benchmarks/training.py

    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.learn.data.crops import CropStore
    from napari_monusac.network.device import choose_precision
    from napari_monusac.network.unet import DualHeadUnet

    steps = 4 if s.quick or not s.on_card else 250
    recipe = s.recipe(epochs=1, steps_per_epoch=steps + benchmark.WARM_UP, validate_every=1)
    found: dict[str, Any] = {"batch": recipe.batch_size, "patch_px": recipe.patch_size, "encoder": recipe.encoder}
    precision, why = choose_precision(recipe, DualHeadUnet(recipe).to(s.device), s.device)
    recipe = recipe.with_values(precision=precision)
    found |= {"precision": precision, "precision_why": why, "memory_mib": {"before": card_memory(s.device)}}
    run = s.run(recipe, "training")
    if s.on_card:
        torch.cuda.reset_peak_memory_stats(s.device)
    ends: list[float] = []
    with busy_share(found):
        from napari_monusac.learn.loop import train

        for event in train(recipe, run, device=s.device):
            if event.kind == "batch-ended":
                ends.append(time.perf_counter())
            elif event.kind == "run-ended" and event.reason != "completed":
                raise RuntimeError(event.message)
    found["ours_steps_per_s"] = rate(ends, benchmark.WARM_UP)
    if s.on_card:
        found["memory_mib"]["peak"] = torch.cuda.max_memory_reserved(s.device) / 2**20
    found["memory_mib"]["after"] = card_memory(s.device)
    found["bare_steps_per_s"] = 1 / benchmark.fixed_step(recipe, s.device, precision, steps)
    store = CropStore(open_collection(s.data), recipe)
    crops = [store.get(name) for name in run.split.training]
    crops = [c for c in crops if min(c.shape) >= recipe.patch_size]
    plain = benchmark.plain_loop(recipe, crops, min(steps, 60), s.device)
    found["plain_steps_per_s"] = len(plain) / sum(plain)
    found["share_of_bare_step"] = found["ours_steps_per_s"] / found["bare_steps_per_s"]
    found["times_plain_loop"] = found["ours_steps_per_s"] / found["plain_steps_per_s"]
    return found


def rate(ends: list[float], warm_up: int) -> float:
    """Steps a second between the ends of steps after the first few."""
    return (len(ends) - 1 - warm_up) / (ends[-1] - ends[warm_up])


def prediction(s: Setting) -> dict[str, Any]:
    """Mpx a second over one large image: ours, MONAI's sliding window in float32, the bare forward pass."""
    import inference as benchmark  # benchmarks/inference.py
    import numpy as np
    import torch

    from napari_monusac.infer.engines.choose import choose_engine
    from napari_monusac.infer.predict import predict
    from napari_monusac.infer.tiling.grid import Grid
    from napari_monusac.infer.tiling.plan import OVERLAP_PX, TILE_PX

    side = 512 if s.quick else 2048 if not s.on_card else 8192
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    image = np.tile(noise, (max(1, side // 1024),) * 2 + (1,))[:side, :side]
    model = benchmark.network_of("resnet18" if s.quick else "resnet34")
    model.network.to(s.device).to(memory_format=torch.channels_last)
    engine = choose_engine(model, s.device, pixels=image[..., 0].size)
    grid = Grid.over(image.shape[:2], TILE_PX, OVERLAP_PX)
    found: dict[str, Any] = {"side_px": side, "engine": engine.name, "tiles": len(grid), "batch": engine.batch_size}

    def ours() -> None:
        predict(image, model, um_per_px=0.25, engine=engine, skip_glass=False)

    small = image[:1024, :1024]
    predict(small, model, um_per_px=0.25, engine=engine)
    mpx = image[..., 0].size / 1e6
    with busy_share(found):
        found["ours_mpx_per_s"] = mpx / min(benchmark.timed(ours) for _ in range(2))
    found["memory_mib"] = card_memory(s.device)
    seconds = benchmark.bare_pass(model, engine.precision, grid.tile_shape, engine.batch_size, s.device)
    found["bare_mpx_per_s"] = mpx / (seconds * len(grid) / engine.batch_size)
    found["share_of_bare_pass"] = found["ours_mpx_per_s"] / found["bare_mpx_per_s"]
    try:
        benchmark.monai_seconds(model, small, s.device)
        part = image[:4096, :4096]
        found["monai_mpx_per_s"] = part[..., 0].size / 1e6 / benchmark.monai_seconds(model, part, s.device)
        found["times_monai"] = found["ours_mpx_per_s"] / found["monai_mpx_per_s"]
    except ImportError as error:
        found["monai"] = f"not installed ({error})"
    return found


def stop(s: Setting) -> dict[str, Any]:
    """Seconds from Stop to stopped in a background thread, and what the run leaves on the card."""
    wanted, said = threading.Event(), [0.0]
    recipe = s.recipe(epochs=50, steps_per_epoch=50 if s.on_card else 4)
    run, before = s.run(recipe, "stop"), card_memory(s.device)
    end: list[Any] = []
    from napari_monusac.learn.loop import train

    def play() -> None:
        for event in train(recipe, run, wanted.is_set, device=s.device):
            if event.kind == "batch-ended" and event.step == 5:
                threading.Timer(0.2, ask).start()
            elif event.kind == "run-ended":
                end.append(event)

    def ask() -> None:
        said[0] = time.perf_counter()
        wanted.set()

    thread = threading.Thread(target=play)
    thread.start()
    thread.join()
    seconds = time.perf_counter() - said[0]
    if not end or end[0].reason != "stopped":
        raise RuntimeError(f"ended otherwise: {end}")
    after = card_memory(s.device)
    found = {"seconds_to_stop": seconds, "steps": end[0].step, "memory_mib": {"before": before, "after": after}}
    if after:
        found["mib_kept"] = after["reserved"] - before["reserved"]
    return found


def resume(s: Setting) -> dict[str, Any]:
    """A run that was stopped and resumed against one that was not, both deterministic: the largest difference of a loss."""
    steps, half = (40, 17) if s.on_card else (6, 3)
    recipe = s.recipe(epochs=2, steps_per_epoch=steps // 2, deterministic=True, precision="float32")
    whole, _ = loss_events(recipe, s.run(recipe, "whole"), s)
    run, count = s.run(recipe, "parts"), [0]

    def enough() -> bool:
        count[0] += 1
        return count[0] > half

    first, end = loss_events(recipe, run, s, enough)
    second, _ = loss_events(recipe, run, s)
    if end.reason != "stopped" or len(first) + len(second) != len(whole):
        raise RuntimeError(f"{len(first)} and {len(second)} steps, not {len(whole)} ({end.reason})")
    apart = [abs(a.loss - b.loss) for a, b in zip(whole, first + second, strict=True)]
    return {"steps": len(whole), "resumed_after": len(first), "largest_difference": max(apart)}


def out_of_memory(s: Setting) -> dict[str, Any]:
    """A batch that does not fit is split and the run completes; on a CPU there is nothing to run out of."""
    import torch

    from napari_monusac.learn.loop import train

    if not s.on_card:
        return {"skipped": "no card"}
    share = 4 * 2**30 / torch.cuda.get_device_properties(s.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, share), s.device)
    recipe = s.recipe(epochs=1, steps_per_epoch=4, batch_size=96, patch_size=256)
    notes, end = [], None
    for event in train(recipe, s.run(recipe, "memory"), device=s.device):
        if event.kind == "warned":
            notes.append(event.message)
        elif event.kind == "run-ended":
            end = event
    if end is None or end.reason != "completed" or not any("micro-batches" in n for n in notes):
        raise RuntimeError(f"{end}; notes: {notes}")
    return {"notes": notes, "ended": end.reason, "memory_mib": card_memory(s.device)}


def nine_runs(s: Setting) -> dict[str, Any]:
    """The nine runs, each 1000 steps or as far as its share of the time goes."""
    names = [f"run-{k}" for k in range(1, 10)]
    most = 1000 if s.on_card else 2
    found: dict[str, Any] = {}
    for k, name in enumerate(names):
        share = (s.until - time.monotonic() - 5) / (len(names) - k)
        began, until = time.monotonic(), time.monotonic() + max(3.0, share - 2)
        # one validation, at the end
        recipe = s.recipe(name, epochs=1, steps_per_epoch=most, max_steps=None)
        try:
            row = one_run(recipe, s.run(recipe, name), s, until)
        except Exception as error:  # noqa: BLE001 - the other eight are told
            row = {"failed": f"{type(error).__name__}: {error}"[:300]}
        found[name] = {**row, "seconds": time.monotonic() - began}
        print(json.dumps({name: found[name]}), flush=True)
    bad = [name for name, row in found.items() if "failed" in row]
    if bad:
        raise PartFailed(f"failed: {', '.join(bad)}", found)
    return found


def one_run(recipe: Any, run: Any, s: Setting, until: float) -> dict[str, Any]:
    """Play a run until it is over or its time is; its last losses and scores."""
    from napari_monusac.learn.loop import train

    losses: list[float] = []
    row: dict[str, Any] = {}
    for event in train(recipe, run, lambda: time.monotonic() > until, device=s.device):
        if event.kind == "batch-ended":
            losses.append(event.loss)
        elif event.kind == "epoch-ended":
            row |= {"combo": event.scores.combo, "miou": event.scores.miou_macro}
        elif event.kind == "run-ended":
            if event.reason == "failed":
                raise RuntimeError(event.message)
            row |= {"ended": event.reason}
    tenth = max(1, len(losses) // 10)
    return {
        **row,
        "steps": len(losses),
        "first_loss": sum(losses[:tenth]) / tenth,
        "last_loss": sum(losses[-tenth:]) / tenth,
    }


class PartFailed(Exception):
    """A part failed, and has figures all the same."""

    def __init__(self, message: str, figures: dict[str, Any]) -> None:
        super().__init__(message)
        self.figures = figures


#: In the order in which they run, with their limits in seconds. The last takes what is left.
PARTS: dict[str, tuple[Callable[[Setting], dict[str, Any]], float]] = {
    "machine": (machine, 30),
    "training": (training, 60),
    "prediction": (prediction, 50),
    "stop": (stop, 30),
    "resume": (resume, 40),
    "out of memory": (out_of_memory, 30),
    "tests": (tests, 80),
    "nine runs": (nine_runs, 200),
}


# ------------------------------------------------------------------------------------------ around them: limits, table


def one_part(args: argparse.Namespace) -> None:
    """Run a part in this process, and write what it found."""
    try:
        figures = PARTS[args.part][0](Setting(args))
        outcome = {"ok": True, **figures}
    except PartFailed as error:
        outcome = {"ok": False, "failed": str(error), **error.figures}
    except BaseException as error:  # noqa: BLE001 - a line of the table
        told = traceback.format_exc().splitlines()[-12:]
        outcome = {"ok": False, "failed": f"{type(error).__name__}: {error}"[:500], "trace": told}
    args.result.write_text(json.dumps(outcome), "utf-8")


def run_part(name: str, args: argparse.Namespace, limit: float) -> dict[str, Any]:
    """Run a part in a process of its own, ended when its time is over."""
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder) / "result.json", args.out / f"{name.replace(' ', '_')}.txt"
        command = [sys.executable, __file__, "--part", name, "--result", str(result), "--limit", str(limit)]
        command += ["--out", str(args.out), "--device", args.device, *(["--quick"] if args.quick else [])]
        command += ["--crops", str(args.crops)] if args.crops else []
        began = time.monotonic()
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                code = process.wait(limit)
                outcome: dict[str, Any] = {"ok": False, "failed": f"died with exit code {code}"}
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                outcome = {"ok": False, "failed": f"not done within {limit:.0f} s"}
        if result.is_file():
            outcome = json.loads(result.read_text("utf-8"))
        if not outcome["ok"]:
            outcome["log"] = log.read_text("utf-8", "replace").splitlines()[-15:]
        else:
            log.unlink()
        outcome["part_seconds"] = time.monotonic() - began
    return outcome


def table(found: dict[str, dict[str, Any]]) -> str:
    """One line a part; figures that have an aim stand beside it."""
    lines = ["| part | outcome | s |", "|---|---|---|"]
    for name, outcome in found.items():
        told = "ok" if outcome["ok"] else f"FAILED: {outcome['failed']}".replace("|", "/").replace("\n", " ")
        figures = ", ".join(shown(k, v) for k, v in outcome.items() if isinstance(v, int | float) and k not in _BORING)
        lines.append(f"| {name} | {told[:300]}{'; ' if figures else ''}{figures} | {outcome['part_seconds']:.0f} |")
        if name == "nine runs":
            lines += [
                f"| - {k} | {row_shown(v)} | {v['seconds']:.0f} |" for k, v in outcome.items() if isinstance(v, dict)
            ]
    return "\n".join(lines)


#: How much longer a part may take in a rehearsal on a CPU.
_SLOWER = 4
_BORING = {"ok", "part_seconds"}


def row_shown(row: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items() if k != "seconds")


def shown(key: str, value: float) -> str:
    aim = f" (aim {AIMS[key]:g})" if key in AIMS else ""
    return f"{key} {value:.4g}{aim}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--crops", type=Path, default=ROOT / ".gpu" / "crops")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=330.0, help="for all parts together")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="tiny network, few steps: to see that it runs")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=60.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        one_part(args)
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + args.seconds
    found: dict[str, dict[str, Any]] = {}
    for name in args.parts:
        left = until - time.monotonic()
        limit = min(PARTS[name][1] * (_SLOWER if args.quick else 1), left)
        found[name] = (
            run_part(name, args, limit)
            if left > 5
            else {"ok": False, "failed": "no time was left", "part_seconds": 0.0}
        )
        (args.out / "gpu_check.json").write_text(json.dumps(found, indent=1), "utf-8")
        (args.out / "gpu_check.md").write_text(table(found) + "\n", "utf-8")
        print(f"{name}: {'ok' if found[name]['ok'] else found[name]['failed']}", flush=True)
    print(table(found))
    return 0 if all(outcome["ok"] for outcome in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
