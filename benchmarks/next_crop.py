"""From *Next crop* to the picture, and to everything: the Qt thread's own processor time, and memory over many crops.

    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/next_crop.py [--crops 12] [--rounds 2] [--side 600] [--json]

A folder of synthetic crops is opened in the Studio, the Annotate panel in front, and *next* is pressed until all crops were
seen, `--rounds` times. Measured for each crop: the processor time of the Qt thread until the image of the next crop has
been drawn on the canvas, and until its nuclei are there, its session is attached and the window has been at rest for a
quarter of a second (what other threads do does not count, nor does waiting). Rival, which is a limit rather than a rival: a
napari viewer with the same five layers, read beforehand, whose `data` alone are set and drawn.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from _window import until


def turn(seconds: float) -> None:
    """Turn the event loop for a while."""
    from qtpy.QtWidgets import QApplication

    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.002)


def opened(folder: Path, crops: int, side: int) -> Any:
    """A window on a folder of crops, the first of which is open with its session."""
    import napari

    from napari_monusac.synth import write_collection

    write_collection(folder, crops // 3, 3, seed=1, shape=(side, side), test_patients=1)
    viewer = napari.Viewer(show=True)
    studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
    studio.panels["Slides"].open_folder(folder)
    studio.show_panel("Annotate")
    until(lambda: at_rest(studio))
    turn(2)
    return viewer, studio


def at_rest(studio: Any) -> bool:
    """Whether the open crop has its session."""
    controller = studio.panels["Annotate"].controller
    place, crop = controller.editing.place, studio.model.crop
    return controller.session is not None and crop is not None and place is not None and place.name == crop.name


def one_step(viewer: Any, studio: Any, step: int) -> tuple[float, float]:
    """Go to a neighbour: seconds of the Qt thread's processor until its image is drawn, and until all is there."""
    from qtpy.QtWidgets import QApplication

    wanted = studio.model.neighbour(step)
    drawn: list[float] = []
    canvas = viewer.window._qt_viewer.canvas

    def on_draw(_: Any = None) -> None:
        image = next((x for x in viewer.layers if x.metadata.get("monusac", {}).get("role") == "image"), None)
        if not drawn and image is not None and image.metadata["monusac"].get("crop") == wanted.name:
            drawn.append(time.thread_time())

    canvas._scene_canvas.events.draw.connect(on_draw, position="last")
    start = time.thread_time()
    studio.go(step)
    until(lambda: studio.model.crop is not None and studio.model.crop.name == wanted.name and at_rest(studio))
    busy_until, end = time.thread_time(), time.perf_counter() + 0.25
    while time.perf_counter() < end:
        before = time.thread_time()
        QApplication.processEvents()
        if time.thread_time() - before > 0.002:
            busy_until, end = time.thread_time(), time.perf_counter() + 0.25
        time.sleep(0.002)
    canvas._scene_canvas.events.draw.disconnect(on_draw)
    return (drawn[0] if drawn else busy_until) - start, busy_until - start


def limit(folder: Path, crops: int) -> list[float]:
    """Seconds of the Qt thread to show the next crop by setting `data` alone, in a viewer without us."""
    import napari
    from napari.layers import Layer

    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.plugin.layers import crop_layers

    collection = open_collection(folder)
    ready = [crop_layers(collection.open(c), collection.annotation(c), c) for c in collection.crops[:crops]]
    viewer = napari.Viewer(show=True)
    layers = [viewer.add_layer(Layer.create(*data)) for data in ready[0]]
    layers[-1].contour = 2
    turn(2)
    found = []
    for data in ready[1:]:
        start = time.thread_time()
        for layer, (array, attributes, _) in zip(layers, data, strict=True):
            layer.data = array
            if "features" in attributes:
                layer.features = attributes["features"]
        turn(0.3)
        found.append(time.thread_time() - start)
    viewer.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", type=int, default=600)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "crops"
        viewer, studio = opened(root, options.crops, options.side)
        process = psutil.Process()
        first, all_there, memory = [], [], [process.memory_info().rss / 2**20]
        for _ in range(options.rounds):
            for direction in (1, -1):
                while studio.model.neighbour(direction) is not None:
                    image, everything = one_step(viewer, studio, direction)
                    first.append(1000 * image)
                    all_there.append(1000 * everything)
                    memory.append(process.memory_info().rss / 2**20)
        viewer.close()
        alone = [1000 * s for s in limit(root, options.crops)]
    quarter = max(1, len(all_there) // 4)
    result = {
        "steps": len(first),
        "image_ms": {"p50": float(np.median(first)), "p95": float(np.quantile(first, 0.95))},
        "everything_ms": {"p50": float(np.median(all_there)), "p95": float(np.quantile(all_there, 0.95))},
        "everything_last_quarter_ms": float(np.median(all_there[-quarter:])),
        "limit_ms": {"p50": float(np.median(alone)), "p95": float(np.quantile(alone, 0.95))},
        "ratio_to_limit": float(np.median(all_there) / np.median(alone)),
        "memory_mib": {"first": memory[0], "after_a_quarter": memory[len(memory) // 4], "last": memory[-1]},
        "memory_mib_a_crop": (memory[-1] - memory[len(memory) // 4]) / max(1, len(memory) - 1 - len(memory) // 4),
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['steps']} steps; processor time of the Qt thread:")
    print(f"image drawn      p50 {result['image_ms']['p50']:.0f} ms, p95 {result['image_ms']['p95']:.0f} ms")
    print(f"everything       p50 {result['everything_ms']['p50']:.0f} ms, p95 {result['everything_ms']['p95']:.0f} ms")
    print(f"  last quarter   p50 {result['everything_last_quarter_ms']:.0f} ms")
    print(f"data set alone   p50 {result['limit_ms']['p50']:.0f} ms: ours {result['ratio_to_limit']:.1f} times as long")
    m = result["memory_mib"]
    print(f"memory           {m['first']:.0f} -> {m['last']:.0f} MiB, {result['memory_mib_a_crop']:.1f} MiB a crop")


if __name__ == "__main__":
    main()
