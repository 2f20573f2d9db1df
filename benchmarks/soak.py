"""A long day in a real napari window, minutes by default: what grows, and what is lost when it is killed.

    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/soak.py [--minutes 3 | --hours 2] [--kills 3] [--curve FILE] [--json]

The day: crops are stepped through, edited as a reader might (the edits of `stress_session.py`) and saved, panels are
changed, predictions made, trainings run by turns in napari's thread and in a child process; at random, from a seed. At
rest, after every round (two crops), counted: memory, open handles, threads, layers, widgets, sessions, objects of ours. Growth is the slope over the second half of the day (Theil-Sen), a round: the first half warms caches.

The kills: a window that edits gets `kill -9` at a random moment, while it draws, writes or turns its event loop. What it
had told to be finished must come back, exactly: the restored state is compared with the same edits made in memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import stress_session
from _window import until

from napari_monusac.editing.session import EditingSession

PANELS = ("Slides", "Annotate", "Masks", "Train", "Predict", "Review")
#: Growth a round that is still called none: noise of the allocator, and objects that wait for the garbage collector.
MOST_MB, MOST_COUNT = 1.0, 0.2
#: Rounds below which growth cannot be told from warming up.
FEWEST_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """What is there at rest."""

    seconds: float
    rss_mb: float
    handles: int
    threads: int
    layers: int
    widgets: int
    sessions: int
    objects: int


class Day:
    """A window and who works in it."""

    def __init__(self, folder: Path, seed: int, side: int) -> None:
        import napari

        from napari_monusac.synth import write_collection

        self.rng, self.done, self.samples = np.random.default_rng(seed), Counter[str](), list[Sample]()
        write_collection(folder / "tissue", 4, 3, seed=1, shape=(side, side), test_patients=1)
        self.viewer = napari.Viewer(show=True)
        self.studio = self.viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
        self.model, self.panels = self.studio.model, self.studio.panels
        self.model.training.runs_folder = folder / "runs"
        self.annotate = self.panels["Annotate"]
        self.panels["Slides"].open_folder(folder / "tissue")
        until(self.settled)
        self.start = time.monotonic()

    def settled(self) -> bool:
        """Whether the open crop has its session and nothing runs but a training."""
        controller, crop = self.annotate.controller, self.model.crop
        place = controller.editing.place
        ready = crop is not None and place is not None and place.name == crop.name and controller.session is not None
        return ready and not controller.busy and not self.model.work.running

    # ------------------------------------------------------------ what a reader does

    def round(self) -> None:
        for _ in range(2):
            self.next_crop()
            for _ in range(10):
                self.edit()
            self.save()
        for name in self.rng.permutation(PANELS):
            self.show(str(name))
        if self.done["training"] and self.rng.random() < 0.5:
            self.predict()
        self.sample()

    def next_crop(self) -> None:
        wanted = self.model.neighbour(1) or self.model.collection.crops[0]
        self.model.open_crop(wanted)
        until(lambda: self.model.crop is not None and self.model.crop.name == wanted.name and self.settled())
        self.done["crops"] += 1

    def edit(self) -> None:
        self.done["edits"] += bool(stress_session.random_edit(self.annotate.controller.session, self.rng))
        self.turn(0.02)

    def save(self) -> None:
        self.annotate.saving.save_now()
        until(lambda: not self.annotate.controller.busy)
        assert not self.annotate.controller.session.unsaved
        self.done["savings"] += 1

    def show(self, name: str) -> None:
        self.studio.show_panel(name)
        self.turn(0.05)
        self.done["panels"] += 1

    def train(self, where: str) -> None:
        from napari_monusac.core.recipe import load_recipe

        panel = self.panels["Train"]
        recipe = load_recipe("quick").with_values(
            encoder="tu-test_efficientnet", encoder_weights="none", decoder_channels=(16, 16, 8, 8, 8), patch_size=64,
            batch_size=2, epochs=2, steps_per_epoch=4, precision="float32", warmup_epochs=0, schedule="constant",
        )  # fmt: skip
        panel.form.recipes.setCurrentText("quick")
        panel.training.draft.take(recipe)
        panel.form.where.setCurrentIndex(("thread", "child").index(where))
        panel.form.device.setCurrentIndex(panel.form.device.findData("cpu"))
        panel.start.click()
        until(lambda: panel.training.running, 120)
        until(lambda: not panel.training.running, 600)
        until(self.settled)
        self.panels["Predict"].predicting.offer(panel.training.run.path)
        self.done["training"] += 1
        self.done[f"training in {where}"] += 1

    def predict(self) -> None:
        task = self.panels["Predict"].predict()
        assert task is not None
        until(self.settled)
        self.done["predictions"] += 1

    def turn(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        until(lambda: time.monotonic() >= end)

    # ------------------------------------------------------------ what is counted

    def sample(self) -> None:
        from qtpy.QtWidgets import QApplication

        until(self.settled)
        self.turn(0.3)
        gc.collect()
        process = psutil.Process()
        ours = [o for o in gc.get_objects() if str(getattr(type(o), "__module__", "")).startswith("napari_monusac")]
        self.samples.append(
            Sample(
                seconds=time.monotonic() - self.start,
                rss_mb=process.memory_info().rss / 2**20,
                handles=process.num_handles() if sys.platform == "win32" else process.num_fds(),
                threads=process.num_threads(),
                layers=len(self.viewer.layers),
                widgets=len(QApplication.allWidgets()),
                sessions=sum(isinstance(o, EditingSession) for o in ours),
                objects=len(ours),
            )
        )

    def close(self) -> None:
        self.annotate.controller.session.close(discard=True)
        self.annotate.controller.close()
        self.viewer.close()


def slope(values: list[float]) -> float:
    """Median of the slopes of all pairs (Theil and Sen): what grows a round, whatever a single one does."""
    pairs = [(b - a) / (j - i) for i, a in enumerate(values) for j, b in enumerate(values) if j > i]
    return float(np.median(pairs)) if pairs else 0.0


def growth(samples: list[Sample]) -> dict[str, float]:
    """Growth a round over the second half of the day."""
    late = [asdict(s) for s in samples[len(samples) // 2 :]]
    return {name: round(slope([s[name] for s in late]), 3) for name in late[0] if name != "seconds"}


def day(minutes: float, seed: int, side: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        here = Day(Path(folder), seed, side)
        end, trainings = time.monotonic() + 60 * minutes, 0
        while time.monotonic() < end or len(here.samples) < 6:
            if trainings < 3 and time.monotonic() > here.start + trainings * 20 * minutes:
                here.train(("thread", "child")[trainings % 2])
                trainings += 1
            here.round()
        here.close()
    first, last = here.samples[0], here.samples[-1]
    grows = growth(here.samples)
    bounded = grows["rss_mb"] <= MOST_MB and all(
        grows[k] <= MOST_COUNT for k in ("handles", "threads", "layers", "sessions")
    )
    told = str(bounded) if len(here.samples) >= FEWEST_ROUNDS else f"not to be told from {len(here.samples)} rounds"
    return {
        "did": dict(here.done), "rounds": len(here.samples), "minutes": (time.monotonic() - here.start) / 60,
        "first": asdict(first), "last": asdict(last), "growth_a_round": grows, "bounded": told,
        "curve": [asdict(s) for s in here.samples],
    }  # fmt: skip


# ---------------------------------------------------------------- kills


def child(folder: Path, seed: int, edits: int) -> None:
    """A window whose reader edits one crop; tells each finished edit, and turns the event loop after it."""
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show=True)
    studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
    studio.panels["Slides"].open_folder(folder)
    studio.show_panel("Annotate")
    controller = studio.panels["Annotate"].controller
    until(lambda: controller.session is not None)

    def told(number: int) -> None:
        print(number, flush=True)
        QApplication.processEvents()

    controller.session.author = "child"
    stress_session.script(controller.session, seed, edits, told)
    print("end", flush=True)
    time.sleep(60)


def one_kill(folder: Path, seed: int, edits: int, side: int) -> dict[str, int]:
    """Kill a window while it edits; what it had told comes back, and is what the same edits in memory give."""
    import tifffile

    rng = np.random.default_rng(20_000 + seed)
    patient = folder / f"P-{seed}"
    patient.mkdir()
    path, shape = patient / f"P-{seed}_1.xml", (side, side)
    stress_session.write_annotation(stress_session.make_annotation(shape, 60, seed), path)
    tifffile.imwrite(path.with_suffix(".tif"), rng.integers(150, 255, (*shape, 3), dtype=np.uint8), photometric="rgb")
    command = [sys.executable, __file__, "--child", str(patient), str(seed), str(edits)]
    kill_at, finished = int(rng.integers(1, edits + 1)), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        for line in process.stdout:
            if line.strip() == "end" or not line.strip().isdigit():
                break
            finished = int(line)
            if finished >= kill_at:
                time.sleep(float(rng.uniform(0, 0.05)))  # while it draws, or within the next edit
                break
        process.kill()
        process.wait()
        finished = max([finished, *(int(x) for x in process.stdout.read().split() if x.isdigit())])
    if not finished:
        raise SystemExit(f"kill {seed}: the window did not come to its first edit")
    with EditingSession.open(path, shape) as session:
        held = session.file.records
        if held < finished:
            raise SystemExit(f"kill {seed}: {finished} edits were finished, {held} came back")
        reference = stress_session.replayed(path, shape, seed, held)
        if not stress_session.same_state(session, reference):
            raise SystemExit(f"kill {seed}: the restored state is not that of {held} records")
    return {"finished": finished, "held": held}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--hours", type=float)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--edits", type=int, default=40, help="of each window that is killed")
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--curve", type=Path, help="write all samples here, as CSV")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "SEED", "EDITS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("MONUSAC_SETTINGS", str(Path(tempfile.mkdtemp()) / "settings.ini"))
    if given.child:
        child(Path(given.child[0]), int(given.child[1]), int(given.child[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        kills = [one_kill(Path(folder), given.seed + k, given.edits, given.side) for k in range(given.kills)]
    found = day(60 * given.hours if given.hours else given.minutes, given.seed, given.side)
    found |= {"kills": len(kills), "lost": 0, "edits_held": sum(k["held"] for k in kills)}
    if given.curve:
        rows = found["curve"]
        lines = [",".join(rows[0]), *(",".join(f"{v:.6g}" for v in row.values()) for row in rows)]
        given.curve.write_text("\n".join(lines) + "\n")
    if given.json:
        print(json.dumps({k: v for k, v in found.items() if k != "curve"}))
    else:
        print(f"{found['minutes']:.1f} minutes, {found['rounds']} rounds: {found['did']}")
        print(f"{'':<10}{'first':>10}{'last':>10}{'a round':>10}")
        for name, grows in found["growth_a_round"].items():
            print(f"{name:<10}{found['first'][name]:>10.1f}{found['last'][name]:>10.1f}{grows:>10.3f}")
        print(
            f"growth bounded: {found['bounded']}; {len(kills)} x kill -9 of a window: {found['edits_held']} edits held, 0 lost"
        )
    if found["bounded"] == "False":
        raise SystemExit(1)


if __name__ == "__main__":
    main()
