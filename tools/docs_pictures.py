"""Take the guide's pictures anew: the panels on synthetic tissue, never on real data (their licence forbids it).

    napari-monusac demo --no-gui --out demo
    xvfb-run -a -s "-screen 0 1920x1200x24" python tools/docs_pictures.py demo docs/images

The demo's run is shown in Train; its first training crop is predicted with it and shown in Review.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

_LARGEST = 160_000
_SIZE = (1340, 860)


def pump(seconds: float) -> None:
    """Let Qt work."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def wait(true: Callable[[], Any], seconds: float = 300) -> None:
    """Let Qt work until something is true."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise SystemExit("the window did not get there")
        pump(0.1)
    pump(1.0)


def shrink(path: Path) -> None:
    """Save a picture with as many colours as fit the size that a page may load; class colours stay exact."""
    from napari.utils.theme import get_theme

    from napari_monusac.core.classes import PALETTES

    picture = Image.open(path).convert("RGB")
    theme = get_theme("dark")
    greys = (
        theme.background,
        theme.foreground,
        theme.primary,
        theme.secondary,
        theme.highlight,
        theme.text,
        theme.icon,
    )
    exact = [v for palette in PALETTES.values() for rgb in palette.values() for v in rgb][: 3 * 16]
    exact += [v for grey in greys for v in grey.as_rgb_tuple()[:3]] + [127, 140, 155]
    for number in (200, 160, 130, 100, 80, 60, 48):
        colours = picture.quantize(number, method=Image.Quantize.MEDIANCUT).getpalette() or []
        palette = Image.new("P", (1, 1))
        palette.putpalette((colours[: 3 * number] + exact + [0] * 768)[:768])
        picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < _LARGEST:
            break
    print(path, path.stat().st_size)


def take(demo: Path, out: Path) -> None:
    """Walk through the panels and take a picture of each."""
    import napari

    viewer = napari.Viewer(show=True)
    viewer.window.resize(*_SIZE)
    _, studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")

    def snap(name: str) -> None:
        pump(1.0)
        viewer.window._qt_window.grab().save(str(out / f"{name}.png"))
        shrink(out / f"{name}.png")

    studio.panels["Slides"].open_folder(demo / "tissue")
    wait(lambda: studio.model.crop is not None and not studio.model.work.running)
    snap("studio")
    studio.show_panel("Annotate")
    wait(lambda: not studio.model.work.running)
    snap("annotate")
    studio.show_panel("Masks")
    studio.panels["Masks"].live.value = True
    snap("masks")
    studio.panels["Masks"].live.value = False
    studio.show_panel("Train")
    train = studio.panels["Train"]
    wait(lambda: train.runs.table.rowCount() and not studio.model.work.running)
    train.runs.table.selectRow(0)
    train.runs.compare_asked.emit(train.runs.selected())
    wait(lambda: not studio.model.work.running)
    snap("train")
    studio.show_panel("Review")
    review = studio.panels["Review"]
    review.predictions.set_path(demo / "pictures")
    review.model.predictions = review.predictions.path
    wait(lambda: review.model.comparison is not None and not studio.model.work.running)
    review.model.look("outlines")
    wait(lambda: not studio.model.work.running)
    snap("review")
    viewer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder of `napari-monusac demo --out`")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    demo = given.demo.resolve()
    run = max((demo / "runs").iterdir())
    image = sorted((demo / "tissue").rglob("*.svs"))[0]
    if not (demo / "pictures").is_dir():
        command = ["predict", str(image), "--checkpoint", str(run), "--out", str(demo / "pictures")]
        subprocess.run([sys.executable, "-m", "napari_monusac", *command], check=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {
            "NAPARI_CONFIG": f"{home}/napari.yaml",
            "MONUSAC_SETTINGS": f"{home}/settings.ini",
            "MONUSAC_RUNS": str(run.parent),
        }
        take(demo, given.out.resolve())


if __name__ == "__main__":
    main()
