"""Steps per second of our training loop against the loop a user would write, and against a step with no data to load.

    python benchmarks/training.py [--encoder resnet34] [--batch 8] [--steps 4] [--device cpu] [--threads 2] [--json]

(a) *plain loop*: float32, contiguous memory, torch's `DataLoader` with two worker processes, the same six
albumentations, the same network and losses (smp's Dice, a plain focal cross-entropy), AdamW as it comes.
(b) *bare step*: our own step again and again on one batch that is already there: what the loader must hide behind.
Ours is `train` itself, events, recording and all. Median seconds of a step after two to warm up. On a GPU also the
memory before, during and after the run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional as F

from napari_monusac.core.recipe import TrainingRecipe, load_recipe
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.io.splits import make_split
from napari_monusac.learn.data.augment import build_transforms
from napari_monusac.learn.data.crops import CropStore
from napari_monusac.learn.data.loader import Batch
from napari_monusac.learn.distributed import Ranks
from napari_monusac.learn.loop import train
from napari_monusac.learn.step import Stepper
from napari_monusac.network.device import autocast, choose_precision, memory_in_use
from napari_monusac.network.losses import dual_head_loss
from napari_monusac.network.unet import DualHeadUnet
from napari_monusac.synth.collection import write_collection

WARM_UP = 2


class PlainData(torch.utils.data.Dataset):
    """Random patches of arrays in memory, augmented and normalised: what most tutorials have."""

    def __init__(self, crops: list, recipe: TrainingRecipe, count: int) -> None:
        self.crops, self.recipe, self.count = crops, recipe, count
        self.transforms = build_transforms(recipe)
        self.mean = np.array((0.485, 0.456, 0.406), np.float32)
        self.std = np.array((0.229, 0.224, 0.225), np.float32)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng(index)
        crop = self.crops[rng.integers(len(self.crops))]
        p = self.recipe.patch_size
        y, x = (int(rng.integers(n - p + 1)) for n in crop.shape)
        part = np.s_[y : y + p, x : x + p]
        out = self.transforms(image=crop.image[part], masks=[crop.semantic[part], crop.ternary[part]])
        image = (out["image"].astype(np.float32) / 255 - self.mean) / self.std
        masks = [torch.from_numpy(np.ascontiguousarray(m)).long() for m in out["masks"]]
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), *masks


def focal(logits: torch.Tensor, target: torch.Tensor, gamma: float) -> torch.Tensor:
    ce = F.cross_entropy(logits, target, ignore_index=255, reduction="none")
    return (((1 - torch.exp(-ce)) ** gamma) * ce)[target != 255].mean()


def plain_loop(recipe: TrainingRecipe, crops: list, steps: int, device: str) -> list[float]:
    torch.manual_seed(0)
    network = DualHeadUnet(recipe, encoder_weights="none").to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    dice = smp.losses.DiceLoss("multiclass", ignore_index=255)
    data = PlainData(crops, recipe, (steps + WARM_UP) * recipe.batch_size)
    loader = torch.utils.data.DataLoader(data, recipe.batch_size, shuffle=True, num_workers=2)
    times, last = [], time.perf_counter()
    for images, semantic, ternary in loader:
        images, semantic, ternary = images.to(device), semantic.to(device), ternary.to(device)
        a, b = network(images)
        loss = recipe.semantic_weight * dice(a, semantic)
        loss = loss + focal(b, ternary, recipe.focal_gamma) + recipe.ternary_dice_weight * dice(b, ternary)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        times.append(time.perf_counter() - last)
        last = time.perf_counter()
    return times[WARM_UP:]


def our_loop(recipe: TrainingRecipe, run: RunFolder, device: str, threads: int) -> tuple[list[float], str]:
    """Seconds between the ends of two steps, waiting for the loader and recording included."""
    times, precision = [], ""
    for event in train(recipe, run, device=device, threads=threads):
        if event.kind == "batch-ended":
            times.append(event.seconds)
        elif event.kind == "run-started":
            precision = event.precision
        elif event.kind == "run-ended" and event.reason != "completed":
            raise SystemExit(event.message)
    return times[WARM_UP:], precision


def bare_step(recipe: TrainingRecipe, device: str, precision: str, steps: int) -> list[float]:
    torch.manual_seed(0)
    network = DualHeadUnet(recipe, encoder_weights="none").to(device).to(memory_format=torch.channels_last)
    stepper = Stepper(network, recipe, device, precision, recipe.accumulate, Ranks())
    rng = np.random.default_rng(0)
    shape = (recipe.batch_size, recipe.patch_size, recipe.patch_size)
    parts = ((255, (*shape, 3)), (5, shape), (3, shape))
    batch = Batch(*(torch.from_numpy(rng.integers(0, most, each, np.uint8)) for most, each in parts))
    times = []
    for k in range(steps + WARM_UP):
        start = time.perf_counter()
        stepper.step(batch, recipe.lr, k).read()
        times.append(time.perf_counter() - start)
    return times[WARM_UP:]


def fixed_step(recipe: TrainingRecipe, device: str, precision: str, steps: int) -> float:
    """Seconds of a step that has its tensors on the device already and asks for no number back: the floor."""
    torch.manual_seed(0)
    network = DualHeadUnet(recipe, encoder_weights="none").to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, fused=True)
    shape = (recipe.batch_size, recipe.patch_size, recipe.patch_size)
    rng = np.random.default_rng(0)
    images = network.prepare(rng.integers(0, 255, (*shape, 3), np.uint8))
    semantic, ternary = (torch.from_numpy(rng.integers(0, n, shape, np.uint8)).to(device) for n in (5, 3))
    start = 0.0
    for k in range(steps + WARM_UP):
        if k == WARM_UP:
            synchronize(device)
            start = time.perf_counter()
        with autocast(device, precision):
            logits = network(images)
        dual_head_loss(*logits, semantic, ternary, recipe).total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    synchronize(device)
    return (time.perf_counter() - start) / steps


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet34")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    steps = args.steps + WARM_UP
    recipe = load_recipe("run-8").with_values(
        encoder=args.encoder, encoder_weights="none", batch_size=args.batch, epochs=1, steps_per_epoch=steps
    )
    memory = {"before": memory_in_use(args.device)}
    with tempfile.TemporaryDirectory() as folder:
        data = write_collection(Path(folder) / "data", 2, 2, shape=(384, 384))
        split = make_split(open_collection(data))
        store = CropStore(open_collection(data), recipe)
        crops = [store.get(name) for name in split.training]
        plain = plain_loop(recipe, crops, args.steps, args.device)
        # Precision is chosen beforehand (by the same timed step) so that both of our timings use the same one.
        network = DualHeadUnet(recipe, encoder_weights="none").to(args.device).to(memory_format=torch.channels_last)
        precision, why = choose_precision(recipe, network, args.device)
        del network
        recipe = recipe.with_values(precision=precision)
        run = RunFolder.create(Path(folder) / "run", data=data, split=split, recipe=recipe)
        ours, _ = our_loop(recipe, run, args.device, args.threads)
        memory["after"] = memory_in_use(args.device)
    bare = bare_step(recipe, args.device, precision, args.steps)
    memory["during"] = memory_in_use(args.device)
    median = {
        "plain loop": statistics.median(plain),
        "ours": statistics.median(ours),
        "bare step": statistics.median(bare),
    }
    result = {
        "device": args.device,
        "threads": args.threads,
        "encoder": args.encoder,
        "batch": args.batch,
        "precision": precision,
        "precision_reason": why,
        "seconds_per_step": median,
        "faster_than_plain_loop": median["plain loop"] / median["ours"],
        "share_of_bare_step": median["bare step"] / median["ours"],
        "memory_mib": {k: {"process": v[0], "gpu": v[1]} for k, v in memory.items()},
    }
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{args.encoder}, batch {args.batch} x 256 px, {args.device}, {args.threads} threads, {precision} ({why})")
    for name, seconds in median.items():
        print(f"  {name:12s} {seconds:7.3f} s a step   {1 / seconds:7.3f} steps/s")
    print(f"  ours / plain loop: {result['faster_than_plain_loop']:.2f} x")
    print(f"  ours / bare step:  {100 * result['share_of_bare_step']:.0f} %")
    if memory["during"][1] is not None:
        print("  GPU memory, MiB: " + ", ".join(f"{k} {memory[k][1]:.0f}" for k in ("before", "during", "after")))


if __name__ == "__main__":
    main()
