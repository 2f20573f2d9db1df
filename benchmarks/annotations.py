"""XML -> instances, semantic and ternary maps: this project against two other ways, on real crops, same pixels.

    python benchmarks/annotations.py [--data ../shared/data] [--crops 6] [--json]

(a) *organisers*: the challenge's published way (``n-ary_mask_generation.ipynb``): ElementTree, `skimage.draw.polygon`
on the full frame, and after each nucleus the full-size mask of its class written to disk.
(b) *ElementTree + skimage*: the same without the files: what most users write.
Both get the ternary map of the nine runs (`find_boundaries`, `cv2.dilate`). (a) is run on the first crop only. Then all
files of the data folder are read and drawn by this project. Every map is compared pixel for pixel with (b).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import scipy.io
import tifffile
from skimage import draw
from skimage.segmentation import find_boundaries

from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.masks.ternary import ternary_map

NAMES = ["Epithelial", "Lymphocyte", "Neutrophil", "Macrophage"]
Maps = tuple[np.ndarray, np.ndarray, np.ndarray]


def ours(xml: Path, shape: tuple[int, int]) -> Maps:
    maps = label_maps(read_annotation(xml), shape)
    return maps.instances, maps.semantic, ternary_map(maps.instances, 3)


def ternary_of(instances: np.ndarray) -> np.ndarray:
    boundary = find_boundaries(instances, connectivity=1, mode="inner").astype(np.uint8)
    boundary = cv2.dilate(boundary, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    ternary = (instances > 0).astype(np.uint8)
    ternary[boundary > 0] = 2
    return ternary


def elementtree(xml: Path, shape: tuple[int, int]) -> Maps:
    instances, semantic = np.zeros(shape, np.int32), np.zeros(shape, np.uint8)
    number = 0
    for layer in ET.parse(xml).getroot().iter("Annotation"):
        naming = layer.find("Attributes/Attribute")
        name = "" if naming is None else naming.get("Name")
        for region in layer.iter("Region"):
            points = np.array([(float(v.get("Y")), float(v.get("X"))) for v in region.iter("Vertex")])
            if len(points) < 3 or name == "Ambiguous":
                continue
            number += 1
            rows, columns = draw.polygon(points[:, 0], points[:, 1], shape)
            instances[rows, columns] = number
            semantic[rows, columns] = NAMES.index(name) + 1 if name in NAMES else 255
    return instances, semantic, ternary_of(instances)


def organisers(xml: Path, shape: tuple[int, int]) -> Maps:
    """Their loop: a mask a class, drawn on and written whole after each nucleus; the maps are then read from disk."""
    number = count = 0
    with tempfile.TemporaryDirectory() as temporary:
        files = []
        for layer in ET.parse(xml).getroot():
            for child in layer:
                for element in child:
                    if element.tag == "Attribute":
                        count += 1
                        label = element.attrib["Name"]
                        mask = np.transpose(np.zeros(shape[::-1]))
                        folder = Path(temporary) / label
                        folder.mkdir(exist_ok=True)
                    if element.tag == "Region" and label in NAMES:
                        vertices = element[1]
                        points = np.zeros((len(vertices), 2))
                        for k, vertex in enumerate(vertices):
                            points[k][0] = vertex.attrib["X"]
                            points[k][1] = vertex.attrib["Y"]
                        rows, columns = draw.polygon(points[:, 1], points[:, 0], mask.shape)
                        number += 1
                        mask[rows, columns] = number
                        path = folder / f"{count}_mask.mat"
                        scipy.io.savemat(path, {"n_ary_mask": mask})
                        if not files or files[-1][0] != path:
                            files.append((path, NAMES.index(label) + 1))
        instances, semantic = np.zeros(shape, np.int32), np.zeros(shape, np.uint8)
        for path, kind in files:
            mask = scipy.io.loadmat(path)["n_ary_mask"]
            instances[mask > 0] = mask[mask > 0]
            semantic[mask > 0] = kind
    return instances, semantic, ternary_of(instances)


def fastest(function: Callable[[], object], seconds: float = 3.0, most: int = 30) -> float:
    """Shortest of several runs, in seconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or (time.perf_counter() < end and len(times) < most):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def equal(one: Maps, other: Maps) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def pairs(data: Path) -> list[tuple[Path, tuple[int, int]]]:
    """(XML, shape of its image) of each annotated crop, the largest files first."""
    found = []
    for xml in data.rglob("*.xml"):
        image = next((xml.with_suffix(s) for s in (".svs", ".tif") if xml.with_suffix(s).exists()), None)
        if image is not None:
            with tifffile.TiffFile(image) as file:
                found.append((xml, tuple(file.pages.first.shape[:2])))
    return sorted(found, key=lambda pair: ("A9K0" not in pair[0].name, -pair[0].stat().st_size))


def measure(data: Path, crops: int) -> dict[str, object]:
    files = pairs(data)
    rows = []
    for k, (xml, shape) in enumerate(files[:crops]):
        row: dict[str, object] = {
            "crop": xml.stem,
            "shape": shape,
            "ours_ms": fastest(lambda x=xml, s=shape: ours(x, s)) * 1e3,
        }
        row["elementtree_ms"] = fastest(lambda x=xml, s=shape: elementtree(x, s)) * 1e3
        row["identical"] = equal(ours(xml, shape), elementtree(xml, shape))
        if k == 0:
            row["organisers_ms"] = fastest(lambda x=xml, s=shape: organisers(x, s), 0.0) * 1e3
            row["identical"] = row["identical"] and equal(ours(xml, shape), organisers(xml, shape))
        rows.append(row)
    start = time.perf_counter()
    nuclei = sum(int(ours(xml, shape)[0].max()) for xml, shape in files)
    seconds = time.perf_counter() - start
    return {"crops": rows, "all": {"files": len(files), "nuclei": nuclei, "seconds": seconds}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("MONUSAC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--crops", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"{args.data}: no such folder: pass --data", file=sys.stderr)
        return 2
    result = measure(args.data, args.crops)
    if args.json:
        print(json.dumps(result))
        return 0
    print(f"{'crop':36s} {'px':>12s} {'ours':>9s} {'ET + skimage':>20s} {'organisers':>20s}  identical")
    for row in result["crops"]:
        px = "{} x {}".format(*row["shape"])
        b = f"{row['elementtree_ms']:8.0f} ms {row['elementtree_ms'] / row['ours_ms']:6.1f}x"
        a = (
            f"{row['organisers_ms']:8.0f} ms {row['organisers_ms'] / row['ours_ms']:6.0f}x"
            if "organisers_ms" in row
            else ""
        )
        print(f"{row['crop']:36s} {px:>12s} {row['ours_ms']:6.1f} ms {b:>20s} {a:>20s}  {row['identical']}")
    total = result["all"]
    print(f"whole folder: {total['files']} crops, {total['nuclei']} nuclei in {total['seconds']:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
