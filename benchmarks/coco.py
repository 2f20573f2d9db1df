"""COCO, in and out, against pycocotools (the reference of the format): the same pixels, areas, boxes.

    python benchmarks/coco.py [--data ../shared/data] [--outlines 2000] [--json]

(a) *written*: annotations are written by this project and decoded by pycocotools (`COCO.annToMask`), each nucleus
against the pixels that it has in our maps; ``area`` and ``bbox`` against those that pycocotools counts.
(b) *read*: the pixels of each nucleus as pycocotools encodes them, compressed and plain in turn, read by this project.
(c) *several polygons*: objects of two or three overlapping polygons, read by both.
(d) *polygons between the pixels*: star-convex outlines, by half a pixel right and wrong: `iou` is with pycocotools'
pixels, whose own lines are a fifth of a pixel coarse.
The outlines are those of the real crops and made ones: blobs with holes and in parts, so thin that they touch in corners.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from pycocotools import mask as rle
from pycocotools.coco import COCO
from skimage import draw

from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.coco import CocoImage, read_coco, write_coco
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.masks.polygons import polygons_from_instances

Mask = NDArray[np.bool_]
_SIDE = 48


@dataclass
class Found:
    """Nuclei that were compared, and what was not the same."""

    nuclei: int = 0
    as_run_lengths: int = 0
    with_other_pixels: int = 0
    with_another_area_or_box: int = 0


def drawn(outline: NDArray[np.float64], shape: tuple[int, int]) -> Mask:
    """Draw an outline as the challenge does."""
    mask = np.zeros(shape, np.bool_)
    mask[draw.polygon(outline[:, 0], outline[:, 1], shape)] = True
    return mask


def along_pixels(region: Nucleus) -> bool:
    """Whether an outline means pixels: MoNuSAC's and all that are made from masks have whole numbers."""
    return bool((region.vertices == np.rint(region.vertices)).all())


def opened(path: Path) -> COCO:
    """Load a file as pycocotools does, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def written(images: Iterable[CocoImage], path: Path) -> Found:
    """(a) What this project writes, decoded by pycocotools."""
    found = Found()
    for image in images:
        regions = [r for r in image.annotation.regions if len(r.vertices) >= 3 and r.role != "mark"]
        write_coco([image], path)
        reference = opened(path)
        entries = reference.loadAnns(reference.getAnnIds())
        masks = [reference.annToRLE(entry) for entry in entries]
        for region, entry, runs in zip(regions, entries, masks, strict=True):
            if not along_pixels(region):
                continue
            pixels = drawn(region.vertices, image.shape)
            found.nuclei += 1
            found.as_run_lengths += isinstance(entry["segmentation"], dict)
            found.with_other_pixels += not np.array_equal(rle.decode(runs).astype(bool), pixels)
            inside = region.vertices.min() >= 0 and (region.vertices.max(0) < image.shape).all()
            same = entry["area"] == rle.area(runs) and np.array_equal(entry["bbox"], rle.toBbox(runs))
            found.with_another_area_or_box += bool(inside and not same)
    return found


def read(images: Iterable[CocoImage], path: Path) -> Found:
    """(b) What pycocotools encodes, read by this project."""
    found = Found()
    for image in images:
        masks = [drawn(r.vertices, image.shape) for r in image.annotation.regions if len(r.vertices) >= 3]
        masks = [m for m in masks if m.any()]
        runs = [rle.encode(np.asfortranarray(m, np.uint8)) for m in masks]
        segmentations: list[object] = [
            {"size": r["size"], "counts": r["counts"].decode() if k % 2 else lengths(m)}
            for k, (r, m) in enumerate(zip(runs, masks, strict=True))
        ]
        plain = [rle.frPyObjects(s, *image.shape)["counts"] for s in segmentations[::2]]
        assert plain == [r["counts"] for r in runs[::2]]
        path.write_text(json.dumps(document(segmentations, image.shape)))
        (back,) = read_coco(path)
        for region, mask in zip(back.annotation.regions, masks, strict=True):
            found.nuclei += 1
            found.with_other_pixels += not np.array_equal(drawn(region.vertices, image.shape), mask)
        found.as_run_lengths += len(masks)
    return found


def several(count: int, path: Path) -> Found:
    """(c) Objects of several polygons, read by both."""
    rng, found, shape = np.random.default_rng(1), Found(), (_SIDE, _SIDE)
    objects = []
    for _ in range(count):
        corners = rng.integers(1, _SIDE - 16, (int(rng.integers(2, 4)), 2)) // 2 + 8
        sides = rng.integers(3, 14, corners.shape)
        objects.append(
            [
                [int(v) for v in (x, y, x + w, y, x + w, y + h, x, y + h)]
                for (y, x), (h, w) in zip(corners, sides, strict=True)
            ]
        )
    path.write_text(json.dumps(document(objects, shape)))
    (image,) = read_coco(path)
    masks = [rle.decode(rle.merge(rle.frPyObjects(parts, *shape))).astype(bool) for parts in objects]
    for region, mask in zip(image.annotation.regions, masks, strict=True):
        found.nuclei += 1
        found.with_other_pixels += not np.array_equal(drawn(region.vertices, shape), mask)
    return found


def between_pixels(count: int, path: Path) -> dict[str, float]:
    """(d) Outlines between the pixels, written by this project and drawn by both."""
    rng, shape = np.random.default_rng(2), (_SIDE, _SIDE)
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    outlines = []
    for _ in range(count):
        radius = rng.uniform(5, 15) * (1 + 0.15 * np.sin(3 * angle + rng.uniform(0, 6)))
        outlines.append(rng.uniform(20, 28, 2) + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1))
    regions = tuple(Nucleus(o, "Epithelial") for o in outlines)
    write_coco([CocoImage("stars.png", shape, Annotation(regions))], path)
    reference = opened(path)
    entries = reference.loadAnns(reference.getAnnIds())
    (back,) = read_coco(path)
    right, wrong, areas = [], [], np.zeros(3)
    for outline, region, entry in zip(outlines, back.annotation.regions, entries, strict=True):
        ours, theirs = drawn(region.vertices, shape), reference.annToMask(entry).astype(bool)
        unmoved = np.reshape(entry["segmentation"][0], (-1, 2))[:, ::-1]
        right.append((ours & theirs).sum() / (ours | theirs).sum())
        moved = drawn(unmoved, shape)
        wrong.append((moved & theirs).sum() / (moved | theirs).sum())
        areas += (entry["area"], ours.sum(), theirs.sum())
        assert np.abs(region.vertices[: len(outline)] - outline).max() < 1e-9
    return {
        "outlines": count,
        "iou": float(np.mean(right)),
        "iou_without_the_half_pixel": float(np.mean(wrong)),
        "ours_px_to_area": float(areas[1] / areas[0]),
        "pycocotools_px_to_area": float(areas[2] / areas[0]),
    }


def lengths(mask: Mask) -> list[int]:
    """Plain run lengths by their definition: down the columns, zeros first."""
    x, y = np.nonzero(mask.T)
    flat = x * mask.shape[0] + y
    first = np.flatnonzero(np.diff(flat, prepend=-2) != 1)
    ends = np.stack([flat[first], flat[np.append(first[1:], len(flat)) - 1] + 1], 1).ravel()
    runs = np.diff(ends, prepend=0, append=mask.size).tolist()
    return runs if runs[-1] else runs[:-1]


def document(segmentations: list[object], shape: tuple[int, int]) -> dict[str, object]:
    """Make a COCO file of one image."""
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": shape[0], "width": shape[1]}],
        "categories": [{"id": 1, "name": "Epithelial"}],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": 1, "segmentation": s} for k, s in enumerate(segmentations, 1)
        ],
    }


def real(data: Path) -> list[CocoImage]:
    """Read every annotated crop of a folder."""
    found = []
    for xml in sorted(data.rglob("*.xml")):
        image = next((xml.with_suffix(s) for s in (".svs", ".tif") if xml.with_suffix(s).exists()), None)
        if image is not None:
            with tifffile.TiffFile(image) as file:
                height, width = file.pages.first.shape[:2]
            found.append(CocoImage(xml.stem, (int(height), int(width)), read_annotation(xml)))
    return found


def made(count: int) -> list[CocoImage]:
    """Make blobs of noise: with holes, in parts, thin, at the image's edge; their outlines as masks are outlined here."""
    rng, images = np.random.default_rng(0), []
    for _ in range(count):
        noise = cv2.GaussianBlur(rng.normal(size=(_SIDE, _SIDE)), (0, 0), rng.uniform(1, 3))
        mask = noise > np.quantile(noise, rng.uniform(0.55, 0.95))
        outline = polygons_from_instances(mask.astype(np.int32)).polygons[1]
        images.append(CocoImage("made.png", (_SIDE, _SIDE), Annotation((Nucleus(outline, "Epithelial"),))))
    return images


def measure(data: Path, outlines: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coco.json"
        result: dict[str, object] = {"pycocotools": _version()}
        for name, images in (("real", real(data)), ("made", made(outlines))):
            result[f"written, {name}"] = asdict(written(images, path))
            result[f"read, {name}"] = asdict(read(images, path))
        result["several polygons"] = asdict(several(outlines, path))
        result["between the pixels"] = between_pixels(outlines, path)
    return result


def _version() -> str:
    from importlib.metadata import version

    return version("pycocotools")


def differences(result: dict[str, object]) -> int:
    """Count what is not the same."""
    return sum(
        v for part in result.values() if isinstance(part, dict) for k, v in part.items() if k.startswith("with_")
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("MONUSAC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--outlines", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"{args.data}: no such folder: pass --data", file=sys.stderr)
        return 2
    result = measure(args.data, args.outlines)
    if args.json:
        print(json.dumps(result))
        return int(differences(result) > 0)
    for name, part in result.items():
        print(name, part if isinstance(part, str) else "")
        for key, value in part.items() if isinstance(part, dict) else ():
            print(f"    {key.replace('_', ' '):28s} {value if isinstance(value, int) else format(value, '.4g')}")
    return int(differences(result) > 0)


if __name__ == "__main__":
    sys.exit(main())
