"""What the first minutes cost the Qt thread: the first image of a folder, Annotate's first strokes, ways of looking.

    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/first_steps.py [--crops 27] [--side 600] [--profile STEP] [--json]

Each step is done twice in one window; measured are the processor time of the Qt thread until the window has been at rest
for a quarter of a second, and its longest single piece of work: what freezes the window. What other threads do does not
count, nor does waiting. `--profile` prints where the first of one step goes.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _window import until
from next_crop import at_rest, turn

_REST_S = 0.25


class Meter:
    """Measures steps of the Qt thread.

    Parameters
    ----------
    profiled : str
        The step whose profile is printed at its first time.
    """

    def __init__(self, profiled: str = "") -> None:
        self.profiled = profiled
        self.found: dict[str, list[dict[str, float]]] = {}

    def step(self, name: str, act: Callable[[], object], done: Callable[[], bool] = lambda: True) -> None:
        """Do a step and let the window come to rest."""
        from qtpy.QtWidgets import QApplication

        profile = cProfile.Profile() if name == self.profiled and name not in self.found else None
        if profile is not None:
            profile.enable()
        begun = before = time.thread_time()
        act()
        longest = time.thread_time() - before
        busy_until, end = time.thread_time(), time.perf_counter() + _REST_S
        latest = time.perf_counter() + 120
        while (time.perf_counter() < end or not done()) and time.perf_counter() < latest:
            before = time.thread_time()
            QApplication.processEvents()
            spent = time.thread_time() - before
            longest = max(longest, spent)
            if spent > 0.002:
                busy_until, end = time.thread_time(), time.perf_counter() + _REST_S
            time.sleep(0.002)
        if profile is not None:
            profile.disable()
            pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
        self.found.setdefault(name, []).append({"ms": 1000 * (busy_until - begun), "longest_ms": 1000 * longest})


class Pointer:
    """A mouse on the canvas. Points are (y, x) in px of the image."""

    def __init__(self, viewer: Any, studio: Any) -> None:
        from qtpy.QtWidgets import QWidget

        self.viewer = viewer
        self.canvas = next(
            w for w in studio.window().findChildren(QWidget) if type(w).__name__.startswith("CanvasBackend")
        )
        self.canvas.setFocus()

    def send(self, kind: Any, point: tuple[float, float], button: Any, held: Any) -> None:
        """Send one event of the mouse."""
        from qtpy.QtCore import QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        layer = next(x for x in self.viewer.layers if x.metadata.get("monusac", {}).get("role") == "image")
        camera = self.viewer.scene.camera
        offset = (np.asarray(layer.data_to_world(point))[-2:] - np.asarray(camera.center[-2:])) * camera.zoom
        where = QPointF(self.canvas.width() / 2 + offset[1], self.canvas.height() / 2 + offset[0])
        glob = self.canvas.mapToGlobal(where.toPoint()).toPointF()
        QApplication.sendEvent(
            self.canvas, QMouseEvent(kind, where, glob, button, held, Qt.KeyboardModifier.NoModifier)
        )

    def drag(self, points: list[tuple[float, float]]) -> None:
        """Press at the first point, move through the others, let go at the last."""
        from qtpy.QtCore import QEvent, Qt

        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        self.send(QEvent.Type.MouseMove, points[0], none, none)
        self.send(QEvent.Type.MouseButtonPress, points[0], left, left)
        for point in points[1:]:
            self.send(QEvent.Type.MouseMove, point, none, left)
        self.send(QEvent.Type.MouseButtonRelease, points[-1], left, none)

    def click(self, point: tuple[float, float]) -> None:
        """Click once."""
        self.drag([point, point])


def annotate(meter: Meter, studio: Any, pointer: Pointer, side: int) -> None:
    """A key, a brush stroke and a polygon, twice each."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    panel = studio.panels["Annotate"]
    middle = side / 2
    for at in range(2):
        y = 30.0 + 40 * at
        meter.step("key", lambda: QTest.keyClick(pointer.canvas, Qt.Key.Key_2))
        meter.step("take brush", lambda: panel.toolbox.set_tool("brush"))
        stroke = [(y, middle + x) for x in range(0, 30, 3)]
        meter.step("brush", lambda s=stroke: pointer.drag(s))
        meter.step("take polygon", lambda: panel.toolbox.set_tool("polygon"))
        corners = [(y, 30.0), (y, 60.0), (y + 20, 60.0), (y + 20, 30.0)]
        meter.step(
            "polygon",
            lambda c=corners: [pointer.click(p) for p in c] and QTest.keyClick(pointer.canvas, Qt.Key.Key_Return),
        )


def look(meter: Meter, studio: Any) -> None:
    """Each way of looking, twice, at labels and a prediction that differs from them a little."""
    review = studio.panels["Review"]
    meter.step("show Review", lambda: studio.show_panel("Review"), lambda: review.model.comparison is not None)
    for _ in range(2):
        for name, button in review.ways.items():
            meter.step(f"way: {name}", button.click)


def predicted(studio: Any, viewer: Any) -> None:
    """Show a prediction of the open crop that is made of its labels, shifted by 3 px."""
    from scipy import ndimage

    from napari_monusac.core.prediction import Prediction
    from napari_monusac.masks.instances import instances_from_maps
    from napari_monusac.masks.ternary import ternary_map
    from napari_monusac.ui.canvas.predicted_layers import add_prediction_layers

    layers = {x.metadata.get("monusac", {}).get("role"): x for x in viewer.layers}
    instances = np.roll(np.asarray(layers["nuclei"].data), 3, 1)
    classes = np.roll(np.asarray(layers["semantic"].data), 3, 1)
    classes = np.where(classes > 4, 0, classes)
    semantic = np.stack([ndimage.gaussian_filter((classes == k).astype(np.float32), 1) for k in range(5)])
    ternary = np.stack([(ternary_map(instances) == k).astype(np.float32) for k in range(3)])
    prediction = Prediction(semantic, ternary, um_per_px=0.25)
    nuclei = instances_from_maps(semantic, ternary, um_per_px=0.25)
    add_prediction_layers(viewer, layers["image"], prediction, nuclei)
    studio.model.last_prediction = (prediction, nuclei)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=27)
    parser.add_argument("--side", type=int, default=600)
    parser.add_argument("--profile", default="")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    import napari

    from napari_monusac.synth import write_collection

    meter = Meter(options.profile)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "crops"
        write_collection(root, options.crops // 3, 3, seed=1, shape=(options.side, options.side), test_patients=1)
        viewer = napari.Viewer(show=True)
        turn(1)
        studio: Any = None

        def dock() -> None:
            nonlocal studio
            studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]

        meter.step("dock", dock)
        meter.step(
            "first image", lambda: studio.panels["Slides"].open_folder(root), lambda: studio.model.crop is not None
        )
        meter.step("show Annotate", lambda: studio.show_panel("Annotate"), lambda: at_rest(studio))
        turn(1)
        annotate(meter, studio, Pointer(viewer, studio), options.side)
        predicted(studio, viewer)
        turn(1)
        look(meter, studio)
        session = studio.model.editing.session
        if session is not None:
            session.close(discard=True)
        until(lambda: True)
        viewer.close()
    if options.json:
        print(json.dumps(meter.found))
        return
    print(f"{'step':24} {'first ms':>9} {'longest':>8} {'again ms':>9} {'longest':>8}")
    for name, times in meter.found.items():
        cells = "".join(f"{t['ms']:10.0f}{t['longest_ms']:9.0f}" for t in times)
        print(f"{name:24}{cells}")


if __name__ == "__main__":
    main()
