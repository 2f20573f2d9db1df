"""A synthetic pyramidal slide of 40,000 x 40,000 px (one compressed tile repeated): time and memory to the first layer.

    python benchmarks/slides.py [--side 40000] [--json]

The rival is the same slide through tifffile's own zarr store. Each measurement runs in a fresh process, with the file
in the page cache; "open" has all imports in it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

TILE = 256
OURS = """
import resource, sys, time
began = time.perf_counter()
from napari_monusac.plugin.reader import get_reader
layers = get_reader(sys.argv[1])(sys.argv[1])
opened = time.perf_counter() - began
import numpy as np
data = layers[0][0]
began = time.perf_counter()
lowest = np.asarray(data[-1])
drawn = time.perf_counter() - began
began = time.perf_counter()
n = data[0].shape[0] // 2
for k in range(5):
    np.asarray(data[0][n + 700 * k : n + 700 * k + 1080, n : n + 1920])
screen = (time.perf_counter() - began) / 5
print(opened, drawn, screen, len(data), lowest.shape[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
RIVAL = """
import resource, sys, time
began = time.perf_counter()
import tifffile, zarr, dask.array as da
import numpy as np
with tifffile.TiffFile(sys.argv[1]) as tiff:
    levels = len(tiff.series[0].levels)
data = [da.from_zarr(zarr.open(tifffile.imread(sys.argv[1], aszarr=True, series=0, level=k), mode="r"))
        for k in range(levels)]
opened = time.perf_counter() - began
began = time.perf_counter()
lowest = np.asarray(data[-1])
drawn = time.perf_counter() - began
began = time.perf_counter()
n = data[0].shape[0] // 2
for k in range(5):
    np.asarray(data[0][n + 700 * k : n + 700 * k + 1080, n : n + 1920])
screen = (time.perf_counter() - began) / 5
print(opened, drawn, screen, len(data), lowest.shape[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
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


def measured(code: str, path: Path) -> dict[str, float]:
    """Run one reader in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=300
    )
    keys = ("open_s", "lowest_level_s", "screen_s", "levels", "lowest_px", "peak_mib")
    return dict(zip(keys, map(float, done.stdout.split()[-6:]), strict=True))


def main() -> None:
    """Print a table, ours against tifffile's zarr store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=40_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.svs"
        write_slide(path, arguments.side)
        size = path.stat().st_size / 2**20
        measured(OURS, path)  # warm the page cache and the byte code
        ours, rival = measured(OURS, path), measured(RIVAL, path)
    first = ours["open_s"] + ours["lowest_level_s"]
    ratio = (rival["open_s"] + rival["lowest_level_s"]) / first
    if arguments.json:
        print(
            json.dumps({"side": arguments.side, "file_mib": size, "ours": ours, "tifffile zarr": rival, "ratio": ratio})
        )
        return
    print(
        f"{arguments.side} x {arguments.side} px, {size:.1f} MiB on disk, "
        f"{3 * arguments.side**2 / 2**30:.1f} GiB of pixels"
    )
    print(f"{'':16s}{'open s':>9s}{'lowest s':>10s}{'screen s':>10s}{'peak MiB':>10s}")
    for name, r in (("ours", ours), ("tifffile zarr", rival)):
        print(f"{name:16s}{r['open_s']:9.2f}{r['lowest_level_s']:10.2f}{r['screen_s']:10.3f}{r['peak_mib']:10.0f}")
    print(f"first layer drawn after {first:.2f} s; {ratio:.1f} x tifffile's zarr store")


if __name__ == "__main__":
    main()
