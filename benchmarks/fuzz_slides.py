"""Mutated TIFF and .svs files: every one must open or give one SlideError; no crash, no hang, no unbounded memory.

    python benchmarks/fuzz_slides.py [--count 1000] [--seed 0] [--json]

Files run in batches in a child process, so that a crash of a decoder is seen and counted; the parent prints the table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import tifffile

from napari_monusac.core.errors import SlideError
from napari_monusac.io.slides.slide import open_slide

BATCH = 50
HANG_S = 10.0
EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seed_files() -> list[tuple[str, bytes]]:
    """Small files of every form that the reader knows."""
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(60, 255, (10, 12, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    aperio = (
        "Aperio Image Library v12 \r\n500x400 [10,20 96x80] (32x32) J2K;Aperio Image Library|AppMag = 40|MPP = 0.25"
    )
    forms = [
        ("tiled-deflate", image, {"tile": (32, 32), "compression": "deflate"}),
        ("tiled-jpeg", image, {"tile": (32, 32), "compression": "jpeg"}),
        ("svs-j2k", image,
         {"tile": (32, 32), "compression": "aperio_jp2000_rgb", "description": aperio, "metadata": None}),
        ("striped-lzw-rgba", np.dstack([image, np.full((80, 96), 255, np.uint8)]),
         {"rowsperstrip": 7, "compression": "lzw", "extrasamples": ("unassalpha",)}),
        ("planar", np.moveaxis(image, -1, 0), {"planarconfig": "separate", "photometric": "rgb", "tile": (32, 32)}),
        ("grey", image[..., 0], {"compression": "packbits"}),
        ("planes", np.moveaxis(image, -1, 0).copy(), {"imagej": True, "metadata": {"axes": "CYX"}}),
        ("ome-12-bit", image.astype(np.uint16) * 16, {"ome": True, "metadata": {"SignificantBits": 12}}),
        ("bigtiff-zstd", image, {"tile": (32, 32), "compression": "zstd", "bigtiff": True}),
    ]  # fmt: skip
    out = []
    with tempfile.TemporaryDirectory() as folder:
        for name, pixels, options in forms:
            path = Path(folder) / f"{name}.tif"
            options.setdefault("photometric", "minisblack" if pixels.ndim == 2 or name == "planes" else "rgb")
            kind = {key: bool(options.pop(key, False)) for key in ("bigtiff", "imagej", "ome")}
            with tifffile.TiffWriter(path, **kind) as writer:
                writer.write(pixels, **options)
                if name == "svs-j2k":
                    writer.write(image[::4, ::4], tile=(16, 16), compression="aperio_jp2000_rgb", photometric="rgb",
                                 subfiletype=1, metadata=None)  # fmt: skip
            out.append((name, path.read_bytes()))
    return out


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut, overwrite, repeat or blank parts of a file; in half of the files only single bytes and numbers change."""
    out = bytearray(data)
    gentle = rng.random() < 0.5
    for _ in range(int(rng.integers(1, 4))):
        kind = int(rng.integers(2) if gentle else rng.integers(6))
        at = int(rng.integers(len(out)) if rng.random() < 0.5 else rng.integers(min(len(out), 400)))
        if kind == 0:
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            size = int(rng.choice([1, 2, 4]))
            value = int(rng.choice(EXTREMES)) & ((1 << 8 * size) - 1)
            out[at : at + size] = value.to_bytes(size, "little")[: len(out) - at]
        elif kind == 2:
            del out[max(8, at) :]
        elif kind == 3:
            noise = rng.bytes(min(int(rng.integers(1, 40)), len(out) - at))
            out[at : at + len(noise)] = noise
        elif kind == 4:
            length = min(int(rng.integers(1, 60)), len(out) - at)
            out[at : at + length] = bytes(length)
        else:
            source = int(rng.integers(len(out)))
            out[at:at] = out[source : source + int(rng.integers(1, 30))]
    return bytes(out)


def outcome(path: Path) -> str:
    """Open a file and read all of it: "read", "SlideError", or the name of an error that must not happen."""
    try:
        with open_slide(path) as slide:
            for k, (height, width) in enumerate(slide.level_shapes):
                slide.read(0, 0, min(height, 2048), min(width, 2048), level=k)
    except SlideError as error:
        return "SlideError" if "\n" not in str(error) and len(str(error)) < 600 else "long error"
    except BaseException as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"[:100]
    return "read"


def batch(first: int, count: int, seed: int) -> None:
    """Run `count` files in this process, and print one line of JSON each."""
    seeds = seed_files()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.tif"
        for k in range(first, first + count):
            rng = np.random.default_rng((seed, k))
            name, data = seeds[k % len(seeds)]
            path.write_bytes(mutated(data, rng))
            print(json.dumps({"k": k, "start": name}), flush=True)
            began = time.perf_counter()
            result = outcome(path)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                json.dumps({"k": k, "form": name, "result": result, "s": time.perf_counter() - began, "mib": peak}),
                flush=True,
            )


def main() -> None:
    """Print a table of outcomes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--batch", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.batch:
        batch(*arguments.batch, arguments.seed)
        return
    began = time.perf_counter()
    rows: list[dict[str, object]] = []
    crashed: list[str] = []
    first = 0
    while first < arguments.count:
        size = min(BATCH, arguments.count - first)
        command = [sys.executable, __file__, "--batch", str(first), str(size), "--seed", str(arguments.seed)]
        child = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S * size, check=False)
        lines = [json.loads(line) for line in child.stdout.splitlines()]
        rows += [line for line in lines if "result" in line]
        if child.returncode:
            last = lines[-1]["k"] if lines else first
            crashed.append(f"file {last}: exit {child.returncode} {child.stderr.strip().splitlines()[-1:]}")
            first = int(last) + 1
        else:
            first += size
    results = Counter(str(r["result"]) for r in rows)
    slowest = max(float(str(r["s"])) for r in rows)
    peak = max(float(str(r["mib"])) for r in rows)
    summary = {
        "files": arguments.count, "outcomes": dict(results), "crashes": crashed, "slowest_s": round(slowest, 3),
        "peak_mib": round(peak), "seconds": round(time.perf_counter() - began, 1),
        "bad": [r for r in rows if r["result"] not in ("read", "SlideError") or float(str(r["s"])) > HANG_S],
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(summary))
    else:
        for key, value in summary.items():
            print(f"{key:10s} {value}")
    sys.exit(bool(crashed or summary["bad"]))


if __name__ == "__main__":
    main()
