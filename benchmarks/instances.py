"""From maps to nuclei, against a loop over nuclei of the kind that HoVer-Net publishes; and seams of blocks.

    python benchmarks/instances.py [--data FOLDER] [--side 2000] [--block 700] [--json]

Maps: real crops as a mosaic (discs where the shared data is not at hand), softened as a network would give them. The
rival is written plainly after HoVer-Net's published post-processing: a watershed, then for each nucleus its mask on the
frame, bounding box, contour, moments, and the vote of its pixels on the class. Seams: the same maps separated in blocks
from a store must give the same nuclei as separated whole. Aim: 10 times as many nuclei per second.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed

from napari_monusac.core.prediction import Prediction
from napari_monusac.infer.blocks import segment_store
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.predictions.open import open_prediction
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.masks.ternary import ternary_map


def mosaic(data: Path, side: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Instances and semantic map, (side, side)."""
    instances, semantic = np.zeros((side, side), np.int32), np.zeros((side, side), np.uint8)
    if not (data / "monusac").is_dir():
        yy, xx = np.mgrid[:side, :side]
        number = (yy // 40) * (side // 40 + 1) + xx // 40 + 1
        disc = (yy % 40 - 20) ** 2 + (xx % 40 - 20) ** 2 < 150
        return np.where(disc, number, 0).astype(np.int32), np.where(disc, number % 4 + 1, 0).astype(np.uint8), False
    collection = open_collection(data / "monusac")
    top, left, row, count = 0, 0, 0, 0
    for crop in list(collection.labelled) * 8:
        with collection.open(crop) as slide:
            maps = label_maps(read_annotation(crop.annotation), slide.shape)
        if left >= side:
            top, left, row = top + row, 0, 0
        if top >= side:
            break
        h, w = min(maps.instances.shape[0], side - top), min(maps.instances.shape[1], side - left)
        part = maps.instances[:h, :w]
        instances[top : top + h, left : left + w] = np.where(part > 0, part + count, 0)
        semantic[top : top + h, left : left + w] = np.where(maps.semantic[:h, :w] == 255, 0, maps.semantic[:h, :w])
        count += int(maps.instances.max())
        left, row = left + w, max(row, h)
    return instances, semantic, True


def softened(values: np.ndarray, channels: int, seed: int) -> np.ndarray:
    maps = cv2.GaussianBlur(np.eye(channels, dtype=np.float32)[values], (0, 0), 0.8)
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=maps.shape).astype(np.float32), (0, 0), 1.5)
    odds = np.exp(7 * maps + 3 * noise)
    return np.ascontiguousarray((odds / odds.sum(-1, keepdims=True)).transpose(2, 0, 1))


def plain_loop(semantic: np.ndarray, ternary: np.ndarray) -> tuple[np.ndarray, dict]:
    """The rival: HoVer-Net's steps, with *inside* for the markers."""
    kinds = semantic.argmax(0)
    blob = (1 - semantic[0]) > 0.5
    marker = ndimage.label(ndimage.binary_fill_holes(ternary[1] > 0.5))[0]
    marker = remove_small_objects(marker, max_size=10)
    instances = watershed(-ternary[1], markers=marker, mask=blob)
    facts = {}
    for number in np.unique(instances)[1:]:
        mask = instances == number
        rows, columns = np.any(mask, axis=1), np.any(mask, axis=0)
        (y0, y1), (x0, x1) = np.where(rows)[0][[0, -1]], np.where(columns)[0][[0, -1]]
        cut = mask[y0 : y1 + 1, x0 : x1 + 1].astype(np.uint8)
        moments = cv2.moments(cut)
        contours, _ = cv2.findContours(cut, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        if contours[0].shape[0] < 3:
            continue
        votes, counts = np.unique(kinds[y0 : y1 + 1, x0 : x1 + 1][cut > 0], return_counts=True)
        order = sorted(zip(votes, counts, strict=True), key=lambda v: v[1], reverse=True)
        kind = order[0][0] if order[0][0] or len(order) == 1 else order[1][0]
        facts[int(number)] = {
            "bbox": (y0, x0, y1, x1),
            "centroid": (moments["m01"] / moments["m00"] + y0, moments["m10"] / moments["m00"] + x0),
            "contour": contours[0][:, 0],
            "type": int(kind),
            "type_prob": float(dict(order)[kind] / (mask.sum() + 1e-6)),
        }
    return instances, facts


def clock(function, repeats: int) -> tuple[object, float]:
    value, best = None, float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        value = function()
        best = min(best, time.perf_counter() - start)
    return value, best


def measure(data: Path, side: int, block: int) -> dict:
    truth, kinds, real = mosaic(data, side)
    semantic, ternary = softened(kinds, 5, 0), softened(ternary_map(truth), 3, 1)
    ours, ours_s = clock(lambda: instances_from_maps(semantic, ternary, um_per_px=0.25), 3)
    (_, facts), loop_s = clock(lambda: plain_loop(semantic, ternary), 1)
    part = (slice(None), slice(0, 1000), slice(0, 1000))
    _, slider_s = clock(lambda: instances_from_maps(semantic[part], ternary[part]), 3)
    with tempfile.TemporaryDirectory() as folder:
        path = write_prediction(Prediction(semantic, ternary, 0.25), Path(folder) / "p.zarr")
        maps = PredictionStore.open(path).read_maps()
        whole = instances_from_maps(maps[:5], maps[5:], um_per_px=0.25)
        _, blocks_s = clock(lambda: segment_store(path, block_px=block), 1)
        blocks = open_prediction(path).nuclei
    pairs = np.unique(np.stack([whole.instances.ravel(), blocks.instances.ravel()]), axis=1)
    differing = max(len(whole), len(blocks)) - sum(np.bincount(pairs[0])[1:] == 1)
    return {
        "real_crops": real,
        "shape": [side, side],
        "true_nuclei": len(np.unique(truth)) - 1,
        "ours": {"nuclei": len(ours), "seconds": ours_s, "nuclei_per_s": len(ours) / ours_s},
        "loop": {"nuclei": len(facts), "seconds": loop_s, "nuclei_per_s": len(facts) / loop_s},
        "ratio_to_loop": (len(ours) / ours_s) / (len(facts) / loop_s),
        "aim_ratio_to_loop": 10,
        "slider_ms_of_1000_x_1000": 1e3 * slider_s,
        "seams": {"block_px": block, "nuclei": len(blocks), "whole": len(whole), "differing": int(differing)},
        "blocks_s": blocks_s,
    }


def show(r: dict) -> None:
    print(f"{r['shape'][0]} x {r['shape'][1]} px, {r['true_nuclei']} nuclei, {'real' if r['real_crops'] else 'discs'}")
    print(f"{'':12s} {'nuclei':>8s} {'s':>8s} {'nuclei/s':>10s}")
    for name in ("ours", "loop"):
        print(f"{name:12s} {r[name]['nuclei']:8d} {r[name]['seconds']:8.2f} {r[name]['nuclei_per_s']:10.0f}")
    print(f"ratio to the loop: {r['ratio_to_loop']:.1f} (aim: {r['aim_ratio_to_loop']})")
    print(f"a slider's move on 1000 x 1000 px: {r['slider_ms_of_1000_x_1000']:.0f} ms")
    s = r["seams"]
    print(f"in blocks of {s['block_px']} px: {s['nuclei']} nuclei, whole: {s['whole']}, differing: {s['differing']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("MONUSAC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--block", type=int, default=700)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = measure(args.data, args.side, args.block)
    if args.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
