"""A synthetic pyramidal slide of 40,000 x 40,000 px (one compressed tile repeated): first view, a pan, memory.

    python benchmarks/slides.py [--side 40000] [--json]

Rivals are plain reading with OpenSlide and with tiffslide, and tifffile's own zarr store, of the same slide. Each runs in
a fresh process, with the file in the page cache. "first view" is from the start of the process's imports to the pixels of
the smallest level; a pan is 100 steps of 200 px of a view of 1920 x 1080 px at full resolution, there and back.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

TILE = 256
#: Each defines view(level, y, x, height, width) and gives the sizes of the levels.
READERS = {
    "napari-monusac": """
from napari_monusac.plugin.reader import get_reader
levels = get_reader(path)(path)[0][0]
sizes = [level.shape[:2] for level in levels]
view = lambda k, y, x, h, w: np.asarray(levels[k][y : y + h, x : x + w])
""",
    "OpenSlide": """
import openslide
slide = openslide.OpenSlide(path)
sizes = [(h, w) for w, h in slide.level_dimensions]
step = slide.level_downsamples
view = lambda k, y, x, h, w: np.asarray(slide.read_region((int(x * step[k]), int(y * step[k])), k, (w, h)))
""",
    "tiffslide": """
import tiffslide
slide = tiffslide.TiffSlide(path)
sizes = [(h, w) for w, h in slide.level_dimensions]
step = slide.level_downsamples
view = lambda k, y, x, h, w: slide.read_region((int(x * step[k]), int(y * step[k])), k, (w, h), as_array=True)
""",
    "tifffile zarr": """
import tifffile, zarr, dask.array as da
with tifffile.TiffFile(path) as tiff:
    count = len(tiff.series[0].levels)
levels = [da.from_zarr(zarr.open(tifffile.imread(path, aszarr=True, series=0, level=k), mode="r")) for k in range(count)]
sizes = [level.shape[:2] for level in levels]
view = lambda k, y, x, h, w: np.asarray(levels[k][y : y + h, x : x + w])
""",
}
MEASURE = """
import resource, sys, time
began = time.perf_counter()
path = sys.argv[1]
import numpy as np
{reader}
view(len(sizes) - 1, 0, 0, *sizes[-1])
first, first_cpu = time.perf_counter() - began, time.process_time()
middle = sizes[0][0] // 2
start = max(0, middle - 5000)
step_px = min(200, (sizes[0][0] - 1080 - start) // 50)  # of a small slide shorter ones, that stay inside
turns = []
for k in [*range(50), *reversed(range(50))]:
    began = time.perf_counter()
    view(0, start + step_px * k, middle, 1080, 1920)
    turns.append(time.perf_counter() - began)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(first, first_cpu, sum(turns), sorted(turns)[94], max(turns), peak)
"""


def write_slide(path: Path, side: int) -> None:
    """Write an Aperio-like pyramid: every level is one JPEG 2000 tile again and again, with label and macro pages."""
    rng = np.random.default_rng(0)
    tissue = np.kron(rng.integers(120, 250, (16, 16, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    tile = imagecodecs.jpeg2k_encode(tissue, level=60, codecformat="j2k")
    note = f"Aperio Image Library v12\r\n{side}x{side} ({TILE}x{TILE}) J2K|AppMag = 40|MPP = 0.25"

    sizes = (side, side // 4, side // 16)
    small = np.zeros((100, 100, 3), np.uint8)
    options = {"dtype": np.uint8, "tile": (TILE, TILE), "compression": "aperio_jp2000_rgb", "photometric": "rgb"}
    strips = {"photometric": "rgb", "rowsperstrip": 16, "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for k, size in enumerate(sizes):
            text = note if k == 0 else f"Aperio Image Library\n{side}x{side} -> {size}x{size}"
            writer.write(iter([tile]), shape=(TILE, TILE, 3), description=text, metadata=None, **options)
            if k == 0:
                writer.write(small, description="Aperio\n100x100 -> thumbnail", **strips)
        for name in ("label", "macro"):
            writer.write(small, description=f"Aperio\n{name} 100x100", **strips)
    with tifffile.TiffFile(path, mode="r+") as tiff:  # every tile is the one that stands there
        for size, index in zip(sizes, (0, 2, 3), strict=True):
            tags, number = tiff.pages[index].tags, (-(-size // TILE)) ** 2
            for name in ("TileOffsets", "TileByteCounts"):
                tags[name].overwrite([tags[name].value[0]] * number, dtype="Q")
            for name in ("ImageWidth", "ImageLength"):
                tags[name].overwrite(size, dtype="I")


def measured(reader: str, path: Path) -> dict[str, float]:
    """Run one reader in a fresh process."""
    code = MEASURE.format(reader=READERS[reader])
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        raise SystemExit(f"{reader}: {done.stderr.strip().splitlines()[-1]}")
    keys = ("first_view_s", "first_view_cpu_s", "pan_s", "step_p95_s", "step_max_s", "peak_mib")
    return dict(zip(keys, map(float, done.stdout.split()[-6:]), strict=True))


def main() -> None:
    """Print a table, ours against the rivals that are installed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=40_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.svs"
        write_slide(path, arguments.side)
        size = path.stat().st_size / 2**20
        measured("napari-monusac", path)  # warm the page cache and the byte code
        for reader in READERS:
            if reader != "tiffslide" or importlib.util.find_spec("tiffslide"):
                rows[reader] = measured(reader, path)
    if arguments.json:
        print(json.dumps({"side": arguments.side, "file_mib": size, **rows}))
        return
    print(f"{arguments.side} x {arguments.side} px, {3 * arguments.side**2 / 2**30:.1f} GiB of pixels")
    print(
        f"{'':16s}{'first view s':>14s}{'its cpu s':>11s}{'100 steps s':>13s}{'p95 ms':>8s}{'max ms':>8s}{'peak MiB':>10s}"
    )
    for name, r in rows.items():
        steps = f"{r['pan_s']:13.2f}{1000 * r['step_p95_s']:8.0f}{1000 * r['step_max_s']:8.0f}"
        print(f"{name:16s}{r['first_view_s']:14.2f}{r['first_view_cpu_s']:11.2f}{steps}{r['peak_mib']:10.0f}")


if __name__ == "__main__":
    main()
