"""Megapixels per second of tiled prediction, against MONAI and the bare forward pass; peak memory of slides.

    python benchmarks/inference.py [--data FOLDER] [--side 4096] [--encoder resnet34] [--threads 2] [--parts FILE] [--json]
    python benchmarks/inference.py --memory [--sides 2048 8192 20000]    peak memory, a process for each slide
    python benchmarks/inference.py --run RUN                             PQ and F1 on a run's validation crops

Images: real crops, and a mosaic of them (noise where the shared data is not at hand). Weights are random: they cost
what trained ones cost. The rival is MONAI's `SlidingWindowInferer` with Gaussian blending, the same tiles and
overlap, the same weights in float32; and the bare forward pass over the same tiles, in our precision, without reading,
normalising, softmax or blending. Aims: 2 times MONAI with torch, 3 times with OpenVINO, 90 % of the bare pass. With
``--memory`` a network of one layer stands in: memory is about tiling.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np

TILE, OVERLAP = 512, 64
#: Each whole image is predicted this often by each, and the faster time counts: the first pays for memory that the
#: machine has not handed out before.
TIMES = 2


def real_crops(data: Path, count: int = 8) -> list[np.ndarray]:
    """The largest real crops, RGB; noise where there are none."""
    if not (data / "monusac").is_dir():
        return [np.random.default_rng(0).integers(0, 256, (900, 1100, 3), dtype=np.uint8)]
    from napari_monusac.io.collection.collection import open_collection

    collection = open_collection(data / "monusac")
    images = []
    for crop in collection.labelled:
        with collection.open(crop) as slide:
            images.append(slide.read(0, 0, *slide.shape))
    return sorted(images, key=lambda i: -i.size)[:count]


def mosaic(images: list[np.ndarray], side: int) -> np.ndarray:
    out = np.zeros((side, side, 3), np.uint8)
    top, left, row, k = 0, 0, 0, 0
    while top < side:
        image = images[k % len(images)]
        h, w = min(image.shape[0], side - top), min(image.shape[1], side - left)
        out[top : top + h, left : left + w] = image[:h, :w]
        left, row, k = left + w, max(row, image.shape[0]), k + 1
        if left >= side:
            top, left, row = top + row, 0, 0
    return out


def network_of(encoder: str) -> SimpleNamespace:
    import torch

    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.network.unet import DualHeadUnet

    recipe = load_recipe("run-8").with_values(encoder=encoder, encoder_weights="none")
    torch.manual_seed(0)
    return SimpleNamespace(network=DualHeadUnet(recipe).eval(), recipe=recipe, metadata={})


def monai_seconds(model: SimpleNamespace, image: np.ndarray, device: str = "cpu") -> float:
    import torch
    from monai.inferers import SlidingWindowInferer

    count = 1 if device == "cpu" else 8
    inferer = SlidingWindowInferer((TILE, TILE), sw_batch_size=count, overlap=OVERLAP / TILE, mode="gaussian")
    start = time.perf_counter()
    with torch.inference_mode():
        batch = model.network.prepare(image[None]).contiguous()
        semantic, ternary = inferer(batch, model.network)
        semantic.softmax(1).cpu().numpy(), ternary.softmax(1).cpu().numpy()
    return time.perf_counter() - start


def bare_seconds(model: SimpleNamespace, precision: str, tile: tuple[int, int], repeats: int) -> float:
    """Seconds of one forward pass, the mean of `repeats`."""
    import copy

    import torch

    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    network = copy.deepcopy(model.network).to(dtype).to(memory_format=torch.channels_last)
    batch = torch.rand(1, 3, *tile).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        network(batch)
        start = time.perf_counter()
        for _ in range(repeats):
            network(batch)
    return (time.perf_counter() - start) / repeats


def bare_pass(model: SimpleNamespace, precision: str, tile: tuple[int, int], count: int, device: str) -> float:
    """Seconds of one forward pass over `count` tiles that lie on a device, ready: the median of ten."""
    import statistics

    import torch

    from napari_monusac.network.device import autocast

    batch = torch.rand(count, 3, *tile, device=device).contiguous(memory_format=torch.channels_last)

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    times = []
    with torch.inference_mode(), autocast(device, precision):
        for _ in range(13):
            wait()
            start = time.perf_counter()
            model.network(batch)
            wait()
            times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def bare_openvino_seconds(model: SimpleNamespace, precision: str, tile: tuple[int, int], repeats: int) -> float:
    """Seconds of one forward pass from normalised float32 to logits, the mean of `repeats`."""
    import openvino as ov

    from napari_monusac.infer.engines.deployed import BareNetwork
    from napari_monusac.infer.engines.openvino import as_graph, compiled

    graph = as_graph(BareNetwork(model.network))
    graph.reshape([1, 3, *tile])
    run = compiled(ov.Core(), graph, precision)
    batch = np.random.default_rng(0).random((1, 3, *tile), dtype=np.float32)
    run(batch)
    start = time.perf_counter()
    for _ in range(repeats):
        run(batch)
    return (time.perf_counter() - start) / repeats


class Parts:
    """Timings that are kept in a file as they come, so that a benchmark that was stopped goes on.

    Parameters
    ----------
    path : Path or None
        JSON; None keeps nothing.
    about : dict
        What was measured; timings of something else are thrown away.
    """

    def __init__(self, path: Path | None, about: dict) -> None:
        self.path, self.about = path, about
        self.known: dict[str, float] = {}
        if path is not None and path.is_file():
            kept = json.loads(path.read_text("utf-8"))
            self.known = kept["seconds"] if kept["about"] == about else {}

    def seconds(self, name: str, measure: Callable[[], float]) -> float:
        """Take the timing `name` from the file, or measure it now."""
        if name not in self.known:
            self.known[name] = measure()
            print(f"{name}: {self.known[name]:.1f} s", file=sys.stderr)
            if self.path is not None:
                self.path.write_text(json.dumps({"about": self.about, "seconds": self.known}), "utf-8")
        return self.known[name]


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def throughput(data: Path, side: int, encoder: str, threads: int, kept: Path | None) -> dict:
    import torch

    from napari_monusac.infer.engines import openvino as openvino_engine
    from napari_monusac.infer.engines.choose import choose_precision
    from napari_monusac.infer.engines.torch import TorchEngine
    from napari_monusac.infer.predict import predict
    from napari_monusac.infer.tiling.grid import Grid

    torch.set_num_threads(threads)
    images = real_crops(data)
    large = mosaic(images, side)
    model = network_of(encoder)
    precision = choose_precision(model, "cpu")
    engines = {"torch": TorchEngine(model, "cpu", precision)}
    if openvino_engine.available():
        engines["openvino"] = openvino_engine.OpenVinoEngine(model)
    grid = Grid.over(large.shape[:2], TILE, OVERLAP)
    parts = Parts(kept, {"encoder": encoder, "threads": threads, "side": side, "precision": precision})
    small = large[: 2 * TILE, : 2 * TILE]
    rival = None
    if importlib.util.find_spec("monai") is not None:

        def monai() -> float:
            monai_seconds(model, small)
            return min(monai_seconds(model, large) for _ in range(TIMES))

        rival = parts.seconds("MONAI", monai)
    rows = []
    for name, engine in engines.items():

        def bare(name: str = name, engine=engine) -> float:
            repeats = max(5, len(grid) // 8)
            if name == "torch":
                return bare_seconds(model, precision, grid.tile_shape, repeats) * len(grid)
            return bare_openvino_seconds(model, engine.precision, grid.tile_shape, repeats) * len(grid)

        def whole(engine=engine) -> float:
            predict(small, model, um_per_px=0.25, engine=engine)
            return min(
                timed(lambda: predict(large, model, um_per_px=0.25, engine=engine, skip_glass=False))
                for _ in range(TIMES)
            )

        def crops(engine=engine) -> float:
            return timed(lambda: [predict(i, model, um_per_px=0.25, engine=engine) for i in images])

        # before and after: a machine that becomes faster or slower meanwhile is no merit of either
        before = parts.seconds(f"{name}, bare, before", bare)
        seconds = parts.seconds(f"{name}, mosaic", whole)
        forward = (before + parts.seconds(f"{name}, bare, after", bare)) / 2
        row = {
            "name": name,
            "engine": engine.name,
            "mosaic_mpx_per_s": large[..., 0].size / 1e6 / seconds,
            "crops_mpx_per_s": sum(i[..., 0].size for i in images) / 1e6 / parts.seconds(f"{name}, crops", crops),
            "ratio_to_bare_forward": forward / seconds,
            "aim_ratio_to_bare_forward": 0.9,
        }
        if rival is not None:
            row |= {"ratio_to_monai": rival / seconds, "aim_ratio_to_monai": 2.0 if name == "torch" else 3.0}
        rows.append(row)
    return {
        "encoder": encoder,
        "threads": threads,
        "side": side,
        "tiles": len(grid),
        "tile_px": list(grid.tile_shape),
        "monai_float32_mpx_per_s": None if rival is None else large[..., 0].size / 1e6 / rival,
        "rows": rows,
    }


def peak_memory(side: int) -> dict:
    """Predict a slide of noise to disk in this process; give its peak memory."""
    import torch
    from torch import nn

    from napari_monusac.core.recipe import TrainingRecipe
    from napari_monusac.infer.slide import predict_slide
    from napari_monusac.infer.tiling.source import Source

    class Layer(nn.Module):
        stride = 32

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Conv2d(3, 8, 5, padding=2)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            maps = 4 * self.layer(images)
            return maps[:, :5], maps[:, 5:]

    import cv2

    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(1024, 1024, 3)).astype(np.float32), (0, 0), 5)
    texture = np.clip(140 + 900 * noise, 0, 255).astype(np.uint8)

    def read(y: int, x: int, height: int, width: int) -> np.ndarray:
        return texture[np.ix_((np.arange(y, y + height)) % 1024, (np.arange(x, x + width)) % 1024)]

    model = SimpleNamespace(network=Layer(), recipe=TrainingRecipe(name="layer"), metadata={})
    source = Source((side, side), read, 0.25)
    small = Source((1024, 1024), read, 0.25)
    with tempfile.TemporaryDirectory() as folder:
        options = {"device": "cpu", "precision": "float32", "skip_glass": False}
        predict_slide(small, model, Path(folder) / "small.zarr", **options)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = time.perf_counter()
        out = predict_slide(source, model, Path(folder) / "p.zarr", **options)
        seconds = time.perf_counter() - start
        stored = sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"side": side, "peak_mib": peak, "small_image_peak_mib": before, "seconds": seconds, "stored_mib": stored}


def memory(sides: list[int]) -> dict:
    rows = []
    for side in sides:
        command = [sys.executable, __file__, "--one-slide", str(side)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
    largest, smallest = rows[-1]["peak_mib"], rows[0]["peak_mib"]
    return {"slides": rows, "growth": largest / smallest, "area_growth": (sides[-1] / sides[0]) ** 2}


def validation(run_folder: Path, data: Path | None) -> dict:
    """PQ of each class and detection F1 on a run's validation crops, with and without flips."""
    from napari_monusac.infer.predict import predict
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.masks.instances import instances_from_maps
    from napari_monusac.masks.rasterize import label_maps
    from napari_monusac.network.checkpoint import load_checkpoint
    from napari_monusac.scoring.metrics.panoptic import panoptic_quality

    run = RunFolder.open(run_folder)
    collection, model = open_collection(data or run.data), load_checkpoint(run.best)
    result: dict = {"run": str(run_folder), "recipe": run.recipe.name, "crops": len(run.split.validation)}
    for flips in (False, True):
        sums = [None] * 5
        for name in run.split.validation:
            crop = collection.crop(name)
            with collection.open(crop) as slide:
                prediction = predict(slide, model, flips=flips)
            truth = label_maps(collection.annotation(crop), prediction.shape)
            nuclei = instances_from_maps(
                prediction.semantic, prediction.ternary, boundary_width=prediction.boundary_width
            )
            clear = ~truth.ignore
            pairs = [(truth.instances * clear, nuclei.instances * clear)]
            for k in range(1, 5):
                t = np.where((truth.semantic == k) & clear, truth.instances, 0)
                pairs.append((t, np.where((nuclei.class_map == k) & clear, nuclei.instances, 0)))
            for k, (t, p) in enumerate(pairs):
                quality = panoptic_quality(t, p)
                sums[k] = quality if sums[k] is None else sums[k] + quality
        names = ("all", "epithelial", "lymphocyte", "neutrophil", "macrophage")
        result["flips" if flips else "plain"] = {
            n: {"pq": q.pq, "f1": q.dq, "sq": q.sq, "tp": q.tp, "fp": q.fp, "fn": q.fn}
            for n, q in zip(names, sums, strict=True)
        }
    return result


def show(r: dict) -> None:
    if "rows" in r:
        print(f"{r['encoder']}, {r['threads']} threads, {r['side']} x {r['side']} px in {r['tiles']} tiles")
        rival = r["monai_float32_mpx_per_s"]
        print(f"MONAI, float32: {f'{rival:.2f} Mpx/s' if rival else 'not installed'}")
        for row in r["rows"]:
            monai = f"{row['ratio_to_monai']:.2f} x MONAI (aim {row['aim_ratio_to_monai']:g})" if rival else ""
            print(
                f"{row['engine']:26s} {row['mosaic_mpx_per_s']:6.2f} Mpx/s, real crops {row['crops_mpx_per_s']:6.2f}; "
                f"{monai}; {100 * row['ratio_to_bare_forward']:.0f} % of the bare forward pass (aim 90 %)"
            )
    elif "slides" in r:
        for row in r["slides"]:
            print(f"{row['side']:6d} px square: peak {row['peak_mib']:6.0f} MiB, {row['seconds']:6.0f} s")
        print(f"area x {r['area_growth']:.0f}, peak memory x {r['growth']:.2f} (aim: flat)")
    else:
        for key in ("plain", "flips"):
            for name, q in r[key].items():
                print(f"{key:6s} {name:12s} PQ {q['pq']:.3f}  F1 {q['f1']:.3f}  SQ {q['sq']:.3f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("MONUSAC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--encoder", default="resnet34")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 8192, 20000])
    parser.add_argument("--one-slide", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--parts", type=Path, help="keep timings in this file and go on from it")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.one_slide:
        print(json.dumps(peak_memory(args.one_slide)))
        return 0
    if args.memory:
        result = memory(args.sides)
    elif args.run:
        result = validation(args.run, None)
    else:
        result = throughput(args.data, args.side, args.encoder, args.threads, args.parts)
    if args.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
