"""Ceiling of the representation: truth -> ternary and semantic map -> nuclei -> against the truth, on every real crop.

    python benchmarks/ceiling.py [--data FOLDER] [--widths 1 3 5 7] [--list] [--json]

What a perfect network would score. Aim at 3 px: PQ 0.995 with both heads, 0.97 from the ternary map alone. The rival is
what many post-processings do: the inside regions grown to the outer rim of the boundary. ``--list`` names every nucleus
that is missed, merged or split.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from skimage.measure import label
from skimage.segmentation import watershed

from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.masks.ternary import ternary_map

AIMS = {"both heads": 0.995, "ternary alone": 0.97}
Way = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def crops(data: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, instances and semantic map of every labelled crop."""
    collection = open_collection(data / "monusac")
    for crop in collection.labelled:
        with collection.open(crop) as slide:
            shape = slide.shape
        maps = label_maps(read_annotation(crop.annotation), shape)
        yield crop.name, maps.instances, maps.semantic


def one_hot(values: np.ndarray, channels: int) -> np.ndarray:
    return np.ascontiguousarray(np.eye(channels, dtype=np.float32)[values].transpose(2, 0, 1))


def both(semantic: np.ndarray, ternary: np.ndarray, width: int) -> np.ndarray:
    return instances_from_maps(one_hot(semantic, 5), one_hot(ternary, 3), boundary_width=width).instances


def alone(_: np.ndarray, ternary: np.ndarray, width: int) -> np.ndarray:
    return instances_from_maps(None, one_hot(ternary, 3), boundary_width=width).instances


def to_the_rim(_: np.ndarray, ternary: np.ndarray, __: int) -> np.ndarray:
    return watershed(ternary == 2, label(ternary == 1), mask=ternary > 0)


WAYS: dict[str, Way] = {"both heads": both, "ternary alone": alone, "grown to the rim (rival)": to_the_rim}


def compare(truth: np.ndarray, found: np.ndarray) -> dict:
    """Counts and IoU sum of the matches over 0.5, and the labels of missed, merged and split nuclei."""
    size = int(found.max()) + 1
    inside = (truth > 0) & (found > 0)
    pairs, common = np.unique(truth[inside].astype(np.int64) * size + found[inside], return_counts=True)
    t, f = pairs // size, pairs % size
    area_t, area_f = np.bincount(truth.ravel()), np.bincount(found.ravel(), minlength=size)
    iou = common / (area_t[t] + area_f[f] - common)
    hit = iou > 0.5
    present = np.flatnonzero(area_t[1:]) + 1
    swallowed = common > 0.5 * area_t[t]  # most of a true nucleus lies in one found one
    owners, counts = np.unique(f[swallowed], return_counts=True)
    merged = t[swallowed & np.isin(f, owners[counts > 1])]
    pieces = common > 0.5 * area_f[f]
    owners, counts = np.unique(t[pieces], return_counts=True)
    return {
        "tp": int(hit.sum()),
        "fp": int((area_f[1:] > 0).sum() - hit.sum()),
        "fn": int(len(present) - hit.sum()),
        "iou": float(iou[hit].sum()),
        "missed": np.setdiff1d(present, t[hit]).tolist(),
        "merged": np.unique(merged).tolist(),
        "split": owners[counts > 1].tolist(),
    }


def measure(data: Path, widths: list[int]) -> dict:
    loaded = list(crops(data))
    rows = []
    for width in widths:
        for name, way in WAYS.items():
            total = {"tp": 0, "fp": 0, "fn": 0, "iou": 0.0}
            lists: dict[str, list[str]] = {"missed": [], "merged": [], "split": []}
            for crop, truth, semantic in loaded:
                result = compare(truth, way(semantic, ternary_map(truth, boundary_width=width), width))
                for key in total:
                    total[key] += result[key]
                for key, names in lists.items():
                    names += [f"{crop} #{k}" for k in result[key]]
            pq = total["iou"] / (total["tp"] + total["fp"] / 2 + total["fn"] / 2)
            aim = {"aim_pq": AIMS[name]} if width == 3 and name in AIMS else {}
            rows.append({"boundary_px": width, "way": name, "pq": pq, **aim, **total, **lists})
    return {"crops": len(loaded), "nuclei": sum(len(np.unique(t)) - 1 for _, t, _ in loaded), "rows": rows}


def show(result: dict, listed: bool) -> None:
    print(f"{result['crops']} crops, {result['nuclei']} nuclei")
    print(
        f"{'boundary':>8s}  {'way':26s} {'PQ':>7s} {'aim':>6s} {'FP':>5s} {'missed':>7s} {'merged':>7s} {'split':>6s}"
    )
    for r in result["rows"]:
        counts = f"{r['fp']:5d} {len(r['missed']):7d} {len(r['merged']):7d} {len(r['split']):6d}"
        print(f"{r['boundary_px']:5d} px  {r['way']:26s} {r['pq']:7.4f} {r.get('aim_pq', ''):>6} {counts}")
    if listed:
        for r in result["rows"]:
            if "rival" not in r["way"]:
                for key in ("missed", "merged", "split"):
                    for name in r[key]:
                        print(f"{r['boundary_px']} px, {r['way']}, {key}: {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("MONUSAC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 3, 5, 7])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not (args.data / "monusac").is_dir():
        print(f"no real crops at {args.data}: set MONUSAC_DATA", file=sys.stderr)
        return 1
    result = measure(args.data, args.widths)
    if args.json:
        print(json.dumps(result))
    else:
        show(result, args.list)
    return 0 if all(r["pq"] >= r.get("aim_pq", 0) for r in result["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
