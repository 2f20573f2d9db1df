"""Moves of a lasso that are lost, and the area that is lost with them, at three speeds; and how long a move takes.

    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/strokes.py [--json]

A circle of 200 px radius is drawn over a crop with the tool Lasso, by real X events (XTEST) of another process: 200 moves in
0.3, 0.6 and 2 s. Rival: what napari tells of the same stroke (vispy leaves out moves within 10 ms of another, Qt puts those
together that wait while the window draws); its polygon has the corners that are left. A move is the time that the Qt thread
is busy with one that napari tells of, drawing the stroke included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _window import until

POINTER = Path(__file__).parents[1] / "tests" / "ui" / "x_pointer.py"
RADIUS_PX, MOVES = 200, 200


def area(points: Any) -> float:
    """Area of a polygon (n, 2)."""
    y, x = np.asarray(points, float).T
    return float(0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def measure(studio: Any, seconds: float, *, ours: bool) -> dict[str, float]:
    """Draw one circle, and say what of it came."""
    from qtpy.QtWidgets import QApplication, QWidget

    from napari_monusac.editing.commands import Undo

    panel = studio.panels["Annotate"]
    toolbox, viewer = panel.toolbox, panel.viewer
    toolbox.set_tool("lasso")
    toolbox.set_over(True)
    canvas = next(w for w in studio.window().findChildren(QWidget) if type(w).__name__.startswith("CanvasBackend"))
    strokes: list[Any] = []
    took: list[float] = []
    seen: list[tuple[float, float]] = []
    kept = toolbox.strokes.stroked, toolbox._points_of

    def stroked(tool: str, path: Any, *args: Any, **named: Any) -> None:
        strokes.append(path if ours else seen)
        kept[0](tool, path, *args, **named)

    def points_of(event: Any, moves: Any) -> Any:
        seen.append(toolbox.point_of(event))
        return kept[1](event, moves)

    toolbox.strokes.stroked, toolbox._points_of = stroked, points_of
    process = viewer.window._qt_viewer.canvas._scene_canvas._backend
    told = process._vispy_mouse_move

    def move(**named: Any) -> Any:
        begun = time.thread_time()
        answer = told(**named)
        if answer is not None:
            took.append(1000 * (time.thread_time() - begun))
        return answer

    process._vispy_mouse_move = move
    middle = canvas.mapToGlobal(canvas.rect().center())
    pointer = subprocess.Popen(
        [sys.executable, str(POINTER), *map(str, (middle.x(), middle.y(), RADIUS_PX, seconds, MOVES))]
    )
    end = time.perf_counter() + 60
    while (pointer.poll() is None or toolbox._stroking) and time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)
    process._vispy_mouse_move = told
    toolbox.strokes.stroked, toolbox._points_of = kept
    panel.controller.do(Undo())
    layer = panel.controller.layers.get("nuclei")
    whole = np.pi * (RADIUS_PX / (float(viewer.scene.camera.zoom) * float(layer.scale[-1]))) ** 2
    path = strokes[0]
    return {
        "seconds": seconds,
        "moves": MOVES,
        "came": len({(round(y, 3), round(x, 3)) for y, x in path}),
        "area %": round(100 * area(path) / whole, 1),
        "move p50 ms": round(float(np.median(took)), 1),
        "move p95 ms": round(float(np.percentile(took, 95)), 1),
        "move max ms": round(max(took), 1),
    }


def main() -> None:
    """Measure, and print a line a speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    import napari

    from napari_monusac.synth import write_collection

    with tempfile.TemporaryDirectory() as folder:
        write_collection(Path(folder), 2, 1, seed=1, shape=(600, 600), test_patients=1)
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1600, 1000)
        studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
        studio.panels["Slides"].open_folder(folder)
        studio.show_panel("Annotate")
        until(lambda: studio.model.editing.session is not None and not studio.model.work.running)
        rows = []
        for seconds in (0.3, 0.3, 0.6, 2.0):  # the first draws the marks for the first time
            rows.append(measure(studio, seconds, ours=True))
        rows = rows[1:]
        rivals = [measure(studio, seconds, ours=False) for seconds in (0.3, 0.6, 2.0)]
        viewer.close()
    if args.json:
        print(json.dumps({"ours": rows, "napari": rivals}))
        return
    for name, found in (("ours", rows), ("as napari tells", rivals)):
        for row in found:
            print(name.ljust(16), "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
