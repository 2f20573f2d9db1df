"""From a click in Review's list of errors to the nucleus on the screen, in a real napari window.

    xvfb-run -a -s "-screen 0 1920x1200x24" python benchmarks/review_window.py [--steps 100] [--json]

The crop is TCGA-5P-A9K0 _1 (321 nuclei; discs where the shared data is not at hand), its prediction the truth moved by
(2, 2) px, every seventh nucleus left out and every fifth of another class. A step chooses a row of the list as N, P and a
click do; the clock stops when the window shows the nucleus centred, framed and zoomed to. Under Xvfb a processor draws
it all (llvmpipe), so the load of the machine counts: the processor time of a step stands beside it. Rival: the same step by a program that hands the canvas its whole overlay
anew (outlines of all nuclei set again)."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import scores
from _window import until

#: Ways of looking, and the share of the steps that each is measured with.
WAYS = {"outlines": 1.0, "layers": 0.25, "difference": 0.25}


def settle(seconds: float = 0.5) -> None:
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end)


def write_inputs(data: Path, folder: Path) -> tuple[Path, Path]:
    """A folder with the one crop (links to the real files, or discs), and one with its spoiled prediction."""
    import tifffile

    from napari_monusac.io.annotations.files import write_annotation
    from napari_monusac.io.predictions.foreign import ForeignNuclei
    from napari_monusac.io.predictions.open import certain_prediction
    from napari_monusac.io.predictions.store import write_prediction

    truth, classes, real = scores.real_crop(data)
    patient = folder / "crops" / "TCGA-5P-A9K0-01Z-00-DX1"
    patient.mkdir(parents=True)
    name = "TCGA-5P-A9K0-01Z-00-DX1_1"
    if real:
        for suffix in (".svs", ".xml"):
            (patient / f"{name}{suffix}").symlink_to((data / f"{scores.CROP}{suffix}").resolve())
    else:
        rng = np.random.default_rng(0)
        tifffile.imwrite(patient / f"{name}.tif", rng.integers(150, 255, (*truth.shape, 3), dtype=np.uint8))
        write_annotation(outlined(truth, classes), patient / f"{name}.xml")
    prediction = scores.spoiled(truth)
    other = {k: c % 4 + 1 if k % 5 == 0 else c for k, c in classes.items() if (prediction == k).any()}
    found = ForeignNuclei(prediction, other, dict.fromkeys(other, 0.8)).nuclei(0.25)
    write_prediction(
        certain_prediction(found), folder / "predicted" / f"{name}.zarr", instances=prediction, table=found.table
    )  # fmt: skip
    return folder / "crops", folder / "predicted"


def outlined(truth: np.ndarray, classes: dict[int, int]):
    from napari_monusac.core.classes import NucleusClass
    from napari_monusac.core.nuclei import Annotation, Nucleus
    from napari_monusac.masks.polygons import polygons_from_instances

    outlines = polygons_from_instances(truth).polygons
    return Annotation(tuple(Nucleus(ring, NucleusClass(classes[k]).label) for k, ring in outlines.items()))


def opened(crops: Path, predicted: Path, size: tuple[int, int]):
    """A window with Review on the crop, compared."""
    import napari

    viewer = napari.Viewer(show=True)
    viewer.window.resize(*size)
    studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
    panel = studio.panels["Review"]
    studio.show_panel("Review")
    studio.panels["Slides"].open_folder(crops)
    until(lambda: studio.model.crop is not None)
    panel.predictions.set_path(predicted)
    panel.model.predictions = predicted
    until(lambda: panel.model.comparison is not None)
    panel.tabs.setCurrentIndex(1)
    settle(2)
    return SimpleNamespace(viewer=viewer, studio=studio, panel=panel)


class Frames:
    """When the canvas has last drawn."""

    def __init__(self, viewer) -> None:
        self.number = 0
        # the only way to hear of a drawn frame; the plugin itself uses nothing private
        viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(self._drawn, position="last")

    def _drawn(self, _) -> None:
        self.number += 1

    def after(self, step: Callable[[], object]) -> tuple[float, float, float]:
        """Milliseconds of a step: on the Qt thread until it can draw, until the window shows it, and of processor time.

        The window shows it when the pass of the event loop has ended in which the canvas drew: with software GL, putting
        canvas and docks together into one window takes longer than the drawing itself.
        """
        from qtpy.QtWidgets import QApplication

        before, began, used = self.number, time.perf_counter(), time.process_time()
        step()
        qt = time.perf_counter() - began
        while self.number == before and time.perf_counter() - began < 10:
            QApplication.processEvents()
        shown, used = time.perf_counter() - began, time.process_time() - used
        settle(0.05)
        return 1e3 * qt, 1e3 * shown, 1e3 * used


def whole_overlay(window, index: int) -> None:
    """The rival's step: the same, and the outlines of all nuclei are handed to the canvas anew."""
    from napari_monusac.ui.canvas import canvas, comparing

    window.panel.model.go_to(window.panel.model.errors[index])
    for role in (comparing.TRUTH, comparing.PREDICTED):
        layer = canvas.find_layer(window.viewer, role)
        layer.data = layer.data.copy()


def measure(data: Path, steps: int, size: tuple[int, int]) -> dict:
    with tempfile.TemporaryDirectory() as name:
        window = opened(*write_inputs(data, Path(name)), size)
        panel, frames = window.panel, Frames(window.viewer)
        rows = len(panel.model.errors)
        order = np.random.default_rng(0).permutation(rows)
        found: dict[str, dict[str, float]] = {}
        for way, share in WAYS.items():
            panel.model.look(way)
            settle()
            number = max(10, round(share * steps))
            times = [
                frames.after(lambda k=k: panel.model.go_to(panel.model.errors[int(order[k % rows])]))
                for k in range(number + 3)
            ][3:]
            found[way] = _spread(times)
        panel.model.look("outlines")
        settle()
        rival = [
            frames.after(lambda k=k: whole_overlay(window, int(order[k % rows]))) for k in range(max(10, steps // 4))
        ]
        result = {
            "steps": steps, "errors": rows, "window": list(size), "ways": found,
            "whole_overlay": _spread(rival), "aim_p95_ms": 100,
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        }  # fmt: skip
        result["ratio"] = result["whole_overlay"]["shown_p50_ms"] / found["outlines"]["shown_p50_ms"]
        window.viewer.close()
    return result


def _spread(times: list[tuple[float, float, float]]) -> dict[str, float]:
    names, found = ("on_qt", "shown", "cpu"), {}
    for name, values in zip(names, np.array(times).T, strict=True):
        p50, p95 = np.percentile(values, [50, 95])
        found |= {f"{name}_p50_ms": float(p50), f"{name}_p95_ms": float(p95)}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("MONUSAC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--size", type=int, nargs=2, default=(1920, 1200), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("NAPARI_CONFIG", str(Path(tempfile.mkdtemp()) / "napari.yaml"))
    found = measure(args.data, args.steps, tuple(args.size))
    if args.json:
        print(json.dumps(found))
        return 0
    size = " x ".join(map(str, found["window"]))
    print(
        f"{found['steps']} steps with outlines (a quarter each the other ways) through {found['errors']} errors, window {size}, load {found['load']:.1f}"
    )
    print(f"{'':24s}{'to the screen':>18s}{'on the Qt thread':>18s}{'processor':>18s}   (p50, p95 in ms)")
    for way, t in (*found["ways"].items(), ("whole overlay redrawn", found["whole_overlay"])):
        pairs = (f"{t[f'{k}_p50_ms']:9.1f}{t[f'{k}_p95_ms']:9.1f}" for k in ("shown", "on_qt", "cpu"))
        print(f"{way:24s}{''.join(pairs)}")
    print(f"whole overlay against ours: {found['ratio']:.1f} times as long (aim: p95 under {found['aim_p95_ms']} ms)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
