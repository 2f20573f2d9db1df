"""From a command to refreshed layers in a real napari window: 2,000 x 2,000 px, 3,000 nuclei, all four layers shown.

    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/edits_window.py [--edits 150] [--side 2000] [--json]

Measured on the Qt thread: command, journal with fsync, maps, colours, and the pixels handed to the canvas (`edits.py`
measures the same without a window). Drawing the next frame is the graphics card's and not counted. Rival: what a program
without local updates does, `Labels.refresh()` of the nuclei, semantic and ternary layers. Besides: how long the Qt thread
is held when a session is attached to the layers of its crop, and when a class or all of them are filled (wall clock, and
the thread's own time: what it would be on a machine with nothing else to do).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import stress_session
from _window import until
from edits import TOOLS, command

from napari_monusac.io.annotations.files import write_annotation


def opened(folder: Path, side: int, nuclei: int):
    """A window on a crop with its editing session, and the controller."""
    import napari
    import tifffile

    from napari_monusac.ui.studio import Studio

    rng = np.random.default_rng(0)
    patient = folder / "P-1"
    patient.mkdir()
    write_annotation(stress_session.make_annotation((side, side), nuclei, 0), patient / "P-1_1.xml")
    tifffile.imwrite(patient / "P-1_1.tif", rng.integers(150, 255, (side, side, 3), dtype=np.uint8))
    viewer = napari.Viewer(show=True)
    studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
    assert isinstance(studio, Studio)
    studio.panels["Slides"].open_folder(folder)
    studio.show_panel("Annotate")
    controller = studio.panels["Annotate"].controller
    until(lambda: controller.session is not None)
    return SimpleNamespace(viewer=viewer, studio=studio, controller=controller)


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def held(call) -> tuple[float, float]:
    """Milliseconds that a call holds this thread: wall clock, and processor time."""
    wall, own = time.perf_counter(), time.thread_time()
    call()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.thread_time() - own)


def attaching(controller, times: int = 4) -> list[tuple[float, float]]:
    """What attaching a session to the layers that are there takes on the Qt thread, some times over."""
    found = []
    attach = controller._opener._opened
    controller._opener._opened = lambda *opened: found.append(held(lambda: attach(*opened)))
    for number in range(1, times + 1):
        controller.open_again()
        until(lambda n=number: len(found) == n)
    controller._opener._opened = attach
    return found


def filling(controller) -> list[tuple[float, float]]:
    """What filling all classes, or one, and taking that back holds the Qt thread for."""
    from napari_monusac.ui.canvas.colors import FILLABLE

    return [held(lambda c=classes: controller.fill(c)) for classes in (FILLABLE, FILLABLE, [1], [1]) * 3]


def measure(edits: int, side: int, nuclei: int) -> dict:
    from qtpy.QtWidgets import QApplication

    from napari_monusac.ui.canvas import canvas

    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        window = opened(Path(folder), side, nuclei)
        controller = window.controller
        layers = [canvas.find_layer(window.viewer, name) for name in ("nuclei", "semantic", "ternary")]
        for layer in layers:
            layer.visible = True
        until(lambda: True)
        attached, filled = (np.median(found, axis=0) for found in (attaching(controller), filling(controller)))
        local: list[float] = []
        own: list[float] = []
        while len(local) < edits:
            tool = TOOLS[int(rng.integers(len(TOOLS)))]
            state = controller.session.history.state
            took, at_work = held(lambda t=tool: controller.do(command(controller.session, t, rng)))
            if controller.session.history.state != state:
                local.append(took)
                own.append(at_work)
            if len(local) % 10 == 0:
                QApplication.processEvents()
        whole = [timed(lambda: [layer.refresh() for layer in layers]) for _ in range(5)]
        settled = [timed(controller.settle) for _ in range(5)]
        controller.session.close(discard=True)
        controller.close()
        window.viewer.close()
    p50, p95 = np.percentile(local, [50, 95])
    return {
        "edits": len(local), "median_ms": float(p50), "p95_ms": float(p95),
        "median_thread_ms": float(np.median(own)), "p95_thread_ms": float(np.percentile(own, 95)), "tables_ms": float(np.median(settled)),
        "attach_ms": float(attached[0]), "attach_thread_ms": float(attached[1]),
        "fill_ms": float(filled[0]), "fill_thread_ms": float(filled[1]),
        "whole_layers_ms": float(np.median(whole)), "ratio": float(np.median(whole) / p50),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=150)
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--nuclei", type=int, default=3000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.edits, options.side, options.nuclei)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['edits']} edits: median {found['median_ms']:.1f} ms, p95 {found['p95_ms']:.1f} ms (aim: below 30)")
    print(f"of these at work: median {found['median_thread_ms']:.1f} ms, p95 {found['p95_thread_ms']:.1f} ms")
    print(f"tables and counts, a moment after a burst of edits: {found['tables_ms']:.1f} ms")
    for name, words in (("attach", "attaching a session"), ("fill", "outline or filled")):
        print(
            f"{words}: {found[f'{name}_ms']:.0f} ms, {found[f'{name}_thread_ms']:.0f} ms of them at work (aim: below 50)"
        )
    print(f"the three layers redrawn whole: {found['whole_layers_ms']:.0f} ms, {found['ratio']:.0f} times as long")


if __name__ == "__main__":
    main()
