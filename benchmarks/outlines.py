"""Outlines of 20,000 nuclei in a real napari window: first drawing, a frame while panning and zooming, an edit.

    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/outlines.py [--nuclei 20000] [--edits 100] [--json]

Rivals: napari's own outlines of a labels layer (`contour`), and the same polygons as a Shapes layer (its first drawing
alone is measured, on a tenth of the nuclei, times ten). A frame is `viewer.screenshot` of a window of 1100 x 900 px: what
Mesa draws on processors is in it, so a graphics card is faster. An edit is a nucleus that is drawn over with another:
labels, colours and lines handed to the canvas.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from _window import until
from numpy.typing import NDArray
from skimage.draw import disk, ellipse

#: Room for each nucleus, px; magnifications of the frames, in screen px a px of the image.
_ROOM_PX, _ZOOMS = 30, {"1x": 0.025, "13x": 0.33, "43x": 1.08}


def tissue(nuclei: int) -> NDArray[np.int32]:
    """An instance map of so many nuclei, which partly touch."""
    rng, side = np.random.default_rng(0), int(np.ceil(nuclei**0.5))
    labels = np.zeros((side * _ROOM_PX, side * _ROOM_PX), np.int32)
    for k in range(nuclei):
        y, x = ((n + 0.5) * _ROOM_PX for n in divmod(k, side))
        rows, columns = ellipse(y, x, *rng.uniform(8, 16, 2), shape=labels.shape, rotation=rng.uniform(0, 3.1))
        labels[rows, columns] = k + 1
    return labels


def timed(call: Callable[[], object]) -> float:
    """Milliseconds of processor time of this thread."""
    start = time.thread_time()
    call()
    return 1000 * (time.thread_time() - start)


def frames(viewer, side: int) -> dict[str, float]:
    """Milliseconds a frame takes at each magnification, the median of five pans (wall clock)."""
    found = {}
    for name, zoom in _ZOOMS.items():
        viewer.scene.camera.zoom = zoom
        times = []
        for k in range(6):
            viewer.scene.camera.center = (0, side / 2 + 40 * k, side / 2 + 25 * k)
            start = time.perf_counter()
            viewer.screenshot(canvas_only=True, flash=False)
            times.append(1000 * (time.perf_counter() - start))
        found[name] = float(np.median(times[1:]))
    return found


def edited(layer, edits: int) -> list[float]:
    """What each of some edits takes on the Qt thread."""
    from napari_monusac.ui.canvas.napari_private import refresh_box

    rng, side, times = np.random.default_rng(1), layer.data.shape[0], []
    for k in range(edits):
        y, x = rng.integers(40, side - 40, 2)
        layer.data[disk((y, x), 14)] = int(layer.data.max()) + 1 if k % 2 else 0
        times.append(timed(lambda y=y, x=x: refresh_box(layer, (y - 15, x - 15, y + 16, x + 16))))
    return times


def measured(nuclei: int, edits: int) -> dict:
    """Ours, and the rivals, one after the other in one window."""
    import napari

    from napari_monusac.masks.contours import contours_of
    from napari_monusac.ui.canvas.colors import ClassColormap
    from napari_monusac.ui.canvas.outlines import outline, outlines_on
    from napari_monusac.ui.model import studio_model

    labels = tissue(nuclei)
    side = labels.shape[0]
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 1000)
    viewer.add_image(np.full((side, side, 3), (200, 140, 180), np.uint8), rgb=True)
    colors = ClassColormap.of({k: 1 + k % 4 for k in range(1, nuclei + 1)})
    layer = viewer.add_labels(labels, colormap=colors)
    result: dict = {"nuclei": nuclei, "side_px": side, "tissue_frame_ms": frames(viewer, side)}
    start = time.perf_counter()
    result["first_thread_ms"] = timed(lambda: outline(viewer, layer, studio_model(viewer).work))
    found = outlines_on(viewer, layer)
    ended: list[float] = []
    take = found._take
    found._take = lambda *made: ended.append(timed(lambda: take(*made)))
    until(lambda: found.ready)
    result["first_s"] = time.perf_counter() - start
    result["first_thread_ms"] += sum(ended)
    result["frame_ms"] = frames(viewer, side)
    times = edited(layer, edits)
    result["edit_ms"] = {"p50": float(np.median(times)), "p95": float(np.percentile(times, 95))}
    viewer.layers.remove(layer)

    plain = viewer.add_labels(labels)
    result["contour_first_ms"] = timed(lambda: setattr(plain, "contour", 2))
    result["contour_frame_ms"] = frames(viewer, side)
    times = edited(plain, min(edits, 20))
    result["contour_edit_ms"] = {"p50": float(np.median(times)), "p95": float(np.percentile(times, 95))}
    viewer.layers.remove(plain)

    few = [ring for _, ring in contours_of(labels[: side // 3, : side // 3])][: nuclei // 10]
    shapes = timed(lambda: viewer.add_shapes(few, shape_type="polygon", face_color="transparent", edge_width=2))
    result["shapes_first_ms"] = shapes * nuclei / max(1, len(few))
    viewer.close()
    return result


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nuclei", type=int, default=20_000)
    parser.add_argument("--edits", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    r = measured(options.nuclei, options.edits)
    if options.json:
        print(json.dumps(r))
        return
    print(f"{r['nuclei']:,} nuclei, {r['side_px']} px a side")
    print(f"first drawing: {r['first_s']:.1f} s, of which the window is held {r['first_thread_ms']:.0f} ms")
    print(f"  napari's contour {r['contour_first_ms']:.0f} ms held, Shapes {r['shapes_first_ms'] / 1000:.1f} s held")
    for name in _ZOOMS:
        ours, theirs, none = (r[k][name] for k in ("frame_ms", "contour_frame_ms", "tissue_frame_ms"))
        print(f"a frame at {name}: {ours:.0f} ms (napari's contour {theirs:.0f} ms, no outlines {none:.0f} ms)")
    print(f"an edit: {r['edit_ms']['p50']:.1f} ms, 95 % {r['edit_ms']['p95']:.1f} ms", end=" ")
    print(f"(napari's contour {r['contour_edit_ms']['p50']:.1f} ms, 95 % {r['contour_edit_ms']['p95']:.1f} ms)")


if __name__ == "__main__":
    main()
