"""Does the window stay alive while it trains, and how soon does Stop stop? A real run in a real napari window.

    xvfb-run -a -s "-screen 0 1280x800x24" python benchmarks/training_window.py [--data FOLDER] [--seconds 30] [--json]

A timer of 10 ms runs in the Qt thread: the gaps between its ticks are what a click would have to wait. First with an idle
window, then while a run trains in napari's background thread (run-8, encoder from ../shared/weights where it is there).
Then Stop is pressed, three times (the run is resumed between): seconds from the click to a run that has saved and ended,
and, as the measure of "within one batch", the median duration of a step.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from _window import until

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
WEIGHTS = SHARED / "weights" / "tf_efficientnet_lite0.imagenet.safetensors"


class Pulse:
    """Gaps between the ticks of a 10 ms timer in the Qt thread, in milliseconds."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.times: list[float] = []
        self.timer = QTimer()
        self.timer.setTimerType(Qt.TimerType.PreciseTimer)
        self.timer.timeout.connect(lambda: self.times.append(time.perf_counter()))

    def listen(self, seconds: float) -> dict[str, float]:
        from qtpy.QtWidgets import QApplication

        self.times.clear()
        self.timer.start(10)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            QApplication.processEvents()
            time.sleep(0.001)
        self.timer.stop()
        gaps = 1000 * np.diff(self.times)
        return {
            "n": len(gaps),
            **{f"p{q}": float(np.percentile(gaps, q)) for q in (50, 95, 99)},
            "max": float(gaps.max()),
        }


def training_data(given: Path | None, folder: Path) -> Path:
    if given is not None:
        return given
    if (SHARED / "data" / "monusac").is_dir():
        return SHARED / "data" / "monusac"
    from napari_monusac.synth import write_collection

    return write_collection(folder / "tissue", 4, 3, seed=0, shape=(512, 512)) or folder / "tissue"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(training_data(arguments.data, Path(folder)), Path(folder), arguments.seconds)
    if arguments.json:
        print(json.dumps(result))
        return
    print(
        f"{'':<10}{'n':>7}{'p50':>8}{'p95':>8}{'p99':>8}{'max':>8}   ms between ticks of a 10 ms timer (aim: p99 < 50)"
    )
    for name in ("idle", "training"):
        row = result[name]
        print(f"{name:<10}{row['n']:>7}{row['p50']:>8.1f}{row['p95']:>8.1f}{row['p99']:>8.1f}{row['max']:>8.1f}")
    stops = ", ".join(f"{s:.2f}" for s in result["stop_s"])
    print(f"Stop to stopped and saved: {stops} s (a step takes {result['step_s']:.2f} s)")


def measure(data: Path, folder: Path, seconds: float) -> dict[str, object]:
    import napari

    from napari_monusac.core.events import BatchEnded
    from napari_monusac.core.recipe import load_recipe

    viewer = napari.Viewer(show=True)
    _, studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")
    studio.model.training.runs_folder = folder / "runs"
    studio.panels["Slides"].open_folder(data)
    until(lambda: studio.model.crop is not None)
    studio.show_panel("Train")
    panel = studio.panels["Train"]
    encoder = {"encoder": "tu-tf_efficientnet_lite0", "encoder_weights": str(WEIGHTS)} if WEIGHTS.is_file() else {
        "encoder_weights": "none"
    }  # fmt: skip
    panel.training.draft.take(load_recipe("run-8").with_values(steps_per_epoch=500, **encoder))
    steps: list[float] = []
    panel.training.events.connect(lambda events: steps.extend(e.seconds for e in events if isinstance(e, BatchEnded)))
    pulse = Pulse()
    idle = pulse.listen(min(10.0, seconds))
    panel.start.click()
    until(lambda: len(steps) > 3)
    training = pulse.listen(seconds)
    stops = []
    for again in range(3):
        panel.stop.click()
        stops.append(until(lambda: not panel.training.running))
        if again < 2:
            count = len(steps)
            panel.training.resume(panel.training.run)
            until(lambda before=count: len(steps) > before + 3)
    step = median(steps)
    viewer.close()
    return {"idle": idle, "training": training, "stop_s": stops, "step_s": step}


if __name__ == "__main__":
    main()
