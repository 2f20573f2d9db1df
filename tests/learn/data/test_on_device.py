"""Batches made on the device, held against the processor's: cut_patch, numpy's flips, albumentations.

All of it runs on CPU tensors, and on a GPU where there is one.
"""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.torch

SHAPES = {"wide": (70, 130), "small": (40, 44), "large": (150, 96)}


@pytest.fixture(scope="module")
def crops():
    from napari_monusac.learn.data.crops import TrainingCrop

    rng = np.random.default_rng(0)
    return {
        name: TrainingCrop(
            name, rng.integers(0, 256, (*shape, 3), np.uint8), rng.integers(0, 5, shape, np.uint8),
            rng.integers(0, 3, shape, np.uint8),
        )
        for name, shape in SHAPES.items()
    }  # fmt: skip


@pytest.fixture
def there(crops, device):
    from napari_monusac.learn.data.on_device import DeviceCrops

    found = DeviceCrops(SHAPES, device)
    for crop in crops.values():
        found.bring(crop)
    return found


@pytest.fixture(scope="module")
def tissue():
    """A patch with smooth colours, as H&E has them."""
    from napari_monusac.synth.tissue import synthesize

    return np.ascontiguousarray(synthesize((128, 128), seed=1).image[:128, :128])


def _batch(images, semantic=None, ternary=None, device="cpu"):
    import torch

    from napari_monusac.learn.data.loader import Batch

    images = np.stack(images)
    nothing = np.zeros(images.shape[:3], np.uint8)
    arrays = (
        images,
        nothing if semantic is None else np.stack(semantic),
        nothing if ternary is None else np.stack(ternary),
    )
    return Batch(*(torch.from_numpy(a).to(device) for a in arrays))


def _apart(a, b):
    return np.abs(np.asarray(a, np.int32) - np.asarray(b, np.int32))


# ----------------------------------------------------------------------------------------------------- cut, flip, turn


def test_cut_flipped_and_turned_as_numpy_does_it(crops, there):
    from napari_monusac.learn.data.on_device import Draw
    from napari_monusac.learn.data.patches import PatchRef, cut_patch

    refs, draws = [], []
    for k, (name, y, x) in enumerate((("wide", 3, 40), ("wide", -9, 90), ("small", -12, -10), ("large", 120, -30)) * 8):
        refs.append(PatchRef(k, name, y, x))
        draws.append(Draw(flip_x=bool(k // 4 & 1), flip_y=bool(k // 8 & 1), turns=k % 4))
    batch = there.cut(refs, draws, 64)
    assert len(batch) == 32
    for k, (ref, d) in enumerate(zip(refs, draws, strict=True)):
        patch = cut_patch(crops[ref.crop], ref.y, ref.x, 64)
        for ours, plain in zip(
            (batch.images, batch.semantic, batch.ternary), (patch.image, patch.semantic, patch.ternary), strict=True
        ):
            wanted = plain[:, ::-1] if d.flip_x else plain
            wanted = wanted[::-1] if d.flip_y else wanted
            np.testing.assert_array_equal(ours[k].cpu().numpy(), np.rot90(wanted, d.turns), err_msg=f"{ref} {d}")


def test_a_crop_of_another_shape_than_was_said_is_refused(crops, there):
    from dataclasses import replace

    from napari_monusac.core.errors import TrainingError

    with pytest.raises(TrainingError, match="small: is"):
        there.bring(replace(crops["large"], name="small"))


# -------------------------------------------------------------------------------------- each change, with what was drawn


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_colours_change_as_in_albumentations(tissue, device, order):
    import albumentations as A

    from napari_monusac.learn.data.on_device import ColourChange, Draw, augmented

    rng = np.random.default_rng(sum(order[:2]))
    amounts = [(*rng.uniform(0.85, 1.15, 3).tolist(), rng.uniform(-0.03, 0.03)) for _ in range(4)]
    draws = [Draw(colour=ColourChange(each, order)) for each in amounts]
    found = augmented(_batch([tissue] * 4, device=device), draws).images.cpu().numpy()
    jitter = A.ColorJitter()
    for ours, (brightness, contrast, saturation, hue) in zip(found, amounts, strict=True):
        wanted = jitter.apply(tissue, brightness, contrast, saturation, hue, list(order))
        apart = _apart(ours, wanted)
        assert apart.mean() < 1.0, (order, apart.mean())
        assert np.quantile(apart, 0.999) <= 8
        assert _apart(wanted, tissue).mean() > 2 * apart.mean(), "the change is larger than what is off"


def test_each_colour_change_alone_is_off_by_a_level_or_two(tissue, device):
    import albumentations.augmentations.pixel.functional as plain
    import torch

    from napari_monusac.learn.data import on_device as ours

    image = torch.from_numpy(tissue).permute(2, 0, 1)[None].float().to(device)
    # hue is kept in 180 steps there, so a step more or less is some levels
    cases = [
        (ours._brighter, plain.adjust_brightness_torchvision, (0.86, 1.14), 1, 0.1),
        (ours._contrasted, plain.adjust_contrast_torchvision, (0.86, 1.14), 1, 0.1),
        (ours._saturated, plain.adjust_saturation_torchvision, (0.86, 1.14), 1, 0.1),
        (ours._hued, plain.adjust_hue_torchvision, (-0.029, 0.013, 0.03), 8, 0.6),
    ]
    for change, reference, values, most, mean in cases:
        for value in values:
            found = change(image.clone(), ours._column([value], image))[0].permute(1, 2, 0).cpu().numpy()
            apart = _apart(found.round(), reference(tissue, value))
            assert np.quantile(apart, 0.999) <= most, (change.__name__, value, apart.max())
            assert apart.mean() < mean, (change.__name__, value, apart.mean())


def test_blur_is_that_of_albumentations(tissue, device):
    import albumentations.augmentations.blur.functional as blur
    import albumentations.augmentations.pixel.functional as pixel

    from napari_monusac.learn.data.on_device import Draw, _blur, augmented

    kernels = [_blur(np.random.default_rng(k)) for k in range(6)]
    assert {int((k > 0).sum()) for k in kernels} == {3, 5}
    found = augmented(_batch([tissue] * 6, device=device), [Draw(blur=k) for k in kernels]).images.cpu().numpy()
    for ours, kernel in zip(found, kernels, strict=True):
        size = int((kernel > 0).sum())
        sigma = float(np.sqrt(-0.5 / np.log(kernel[1] / kernel[2])))
        np.testing.assert_allclose(blur.create_gaussian_kernel_1d(sigma, size), kernel[kernel > 0], rtol=1e-6)
        assert _apart(ours, pixel.separable_convolve(tissue, kernel[kernel > 0])).max() <= 1


def test_affine_moves_image_and_masks_as_opencv_does(tissue, device, tiny_recipe):
    import cv2

    from napari_monusac.learn.data.on_device import Draw, _affine, augmented

    rng = np.random.default_rng(2)
    classes = cv2.resize(rng.integers(0, 5, (16, 16), np.uint8), (128, 128), interpolation=cv2.INTER_NEAREST)
    matrices = [_affine(np.random.default_rng(k), tiny_recipe.with_values(patch_size=128)) for k in range(5)]
    batch = _batch([tissue] * 6, [classes] * 6, [classes % 3] * 6, device)
    out = augmented(batch, [*(Draw(affine=m) for m in matrices), Draw()])
    for k, matrix in enumerate(matrices):
        options = {"dsize": (128, 128), "borderMode": cv2.BORDER_REFLECT_101}
        wanted = cv2.warpAffine(tissue, matrix[:2], flags=cv2.INTER_LINEAR, **options)
        apart = _apart(out.images[k].cpu(), wanted)
        assert np.quantile(apart, 0.99) <= 4, apart.max()
        assert apart.mean() < 1.0
        for target, plain in ((out.semantic[k], classes), (out.ternary[k], classes % 3)):
            mask = cv2.warpAffine(plain, matrix[:2], flags=cv2.INTER_NEAREST, **options)
            assert (target.cpu().numpy() == mask).mean() > 0.985
    np.testing.assert_array_equal(out.images[5].cpu(), tissue, err_msg="what nothing was drawn for stays as it is")


def test_masks_stay_where_the_image_goes(device, tiny_recipe):
    """An image that is painted by its own targets still fits them after everything."""
    import cv2
    import torch

    from napari_monusac.learn.data.crops import TrainingCrop
    from napari_monusac.learn.data.on_device import DeviceCrops, augmented, draw
    from napari_monusac.learn.data.patches import PatchRef

    rng = np.random.default_rng(5)
    classes = cv2.resize(rng.integers(0, 5, (12, 12), np.uint8), (192, 192), interpolation=cv2.INTER_NEAREST)
    image = np.repeat((classes * 50)[..., None], 3, 2)
    there = DeviceCrops({"a": (192, 192)}, device)
    there.bring(TrainingCrop("a", image, classes, classes % 3))
    recipe = tiny_recipe.with_values(augment=True, patch_size=128)
    refs = [PatchRef(k, "a", 20, 30) for k in range(40)]
    draws = [draw(recipe, 1, k) for k in range(40)]
    import dataclasses

    draws = [dataclasses.replace(d, colour=None, blur=None) for d in draws]
    assert len({(d.flip_x, d.flip_y, d.turns, d.affine is None) for d in draws}) > 15
    out = augmented(there.cut(refs, draws, 128), draws)
    seen = (out.images.float()[..., 0] / 50).round().to(torch.uint8)
    for k in range(40):
        assert (seen[k] == out.semantic[k]).float().mean() > 0.93, draws[k]  # bilinear against nearest, along edges
    assert torch.equal(out.semantic % 3, out.ternary)


def test_stain_varies_as_on_the_processor(tissue, device, tiny_recipe):
    from napari_monusac.infer.tiling.stain import augment_stain
    from napari_monusac.learn.data.augment import STAIN_STREAM
    from napari_monusac.learn.data.on_device import augmented, draw

    recipe = tiny_recipe.with_values(augment=False, stain="augment", seed=9)
    out = augmented(_batch([tissue] * 3, device=device), [draw(recipe, 2, k) for k in range(3)])
    for k in range(3):
        wanted = augment_stain(tissue, np.random.default_rng((9, 2, k, STAIN_STREAM)))
        assert _apart(out.images[k].cpu(), wanted).max() <= 1
        assert _apart(wanted, tissue).mean() > 0.3


# ----------------------------------------------------------------------------------------------------- what is drawn


@pytest.fixture(scope="module")
def drawn(tiny_recipe):
    """2000 draws of ours, and as many that albumentations says it applied."""
    import random

    import albumentations as A

    from napari_monusac.learn.data.augment import build_transforms
    from napari_monusac.learn.data.on_device import draw

    recipe = tiny_recipe.with_values(augment=True, patch_size=64)
    ours = [draw(recipe, 1, k) for k in range(2000)]
    transforms = A.Compose(list(build_transforms(recipe).transforms), save_applied_params=True)
    transforms.set_random_state(np.random.default_rng(0), random.Random(0))
    image = np.zeros((64, 64, 3), np.uint8)
    theirs = [dict(transforms(image=image)["applied_transforms"]) for _ in range(2000)]
    return ours, theirs


def test_each_augmentation_comes_as_often_as_in_albumentations(drawn):
    ours, theirs = drawn
    pairs = {
        "HorizontalFlip": sum(d.flip_x for d in ours),
        "VerticalFlip": sum(d.flip_y for d in ours),
        "ColorJitter": sum(d.colour is not None for d in ours),
        "GaussianBlur": sum(d.blur is not None for d in ours),
        "Affine": sum(d.affine is not None for d in ours),
    }
    for name, count in pairs.items():
        assert abs(count - sum(name in t for t in theirs)) < 150, name  # 5 sigma of the difference of two such counts
    turns = np.bincount([d.turns for d in ours], minlength=4) / len(ours)
    np.testing.assert_allclose(turns, [0.625, 0.125, 0.125, 0.125], atol=0.04)
    together = np.mean([(d.colour is not None) == (d.affine is not None) for d in ours])
    assert together == pytest.approx(0.5, abs=0.06), "they come independently of each other"


def test_strengths_are_distributed_as_in_albumentations(drawn):
    from scipy.stats import ks_2samp

    ours, theirs = drawn
    matrices = [
        np.array([d.affine for d in ours if d.affine is not None]),
        np.array([t["Affine"]["matrix"] for t in theirs if "Affine" in t]),
    ]
    samples = {f"affine {i}{j}": [m[:, i, j] for m in matrices] for i in (0, 1) for j in (0, 1, 2)}
    jitters = [t["ColorJitter"] for t in theirs if "ColorJitter" in t]
    colours = [d.colour for d in ours if d.colour is not None]
    for k, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        samples[name] = [[c.amounts[k] for c in colours], [t[name] for t in jitters]]
        samples[f"place of {name}"] = [
            [c.order.index(k) for c in colours],
            [list(t["order"]).index(k) for t in jitters],
        ]
    kernels = [
        [d.blur[d.blur > 0] for d in ours if d.blur is not None],
        [t["GaussianBlur"]["kernel"] for t in theirs if "GaussianBlur" in t],
    ]
    samples["length of the blur"] = [[len(k) for k in each] for each in kernels]
    samples["middle of the blur"] = [[k[len(k) // 2] for k in each] for each in kernels]
    for name, (a, b) in samples.items():
        assert len(a) > 200, name
        assert ks_2samp(a, b).pvalue > 1e-4, name
    assert ks_2samp(samples["brightness"][0], np.array(samples["brightness"][1]) * 1.06).pvalue < 1e-4, (
        "the test can fail"
    )


# ------------------------------------------------------------------------------------------------------- the loader


@pytest.fixture
def loaders(collection_folder, tiny_recipe, device):
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.learn.data.crops import CropStore
    from napari_monusac.learn.data.loader import PatchLoader
    from napari_monusac.learn.data.on_device import DeviceLoader
    from napari_monusac.learn.data.patches import PatchSampler

    made = []

    def make(on_device: bool = True, threads: int = 1, part: int = 0, parts: int = 1, **values):
        recipe = tiny_recipe.with_values(**{"batch_size": 4, "steps_per_epoch": 5, **values})
        collection = open_collection(collection_folder)
        store = CropStore(collection, recipe)
        sampler = PatchSampler(recipe, {c.name: store.shape(c.name) for c in collection.labelled})
        if on_device:
            made.append(DeviceLoader(store, sampler, device, threads, part=part, parts=parts))
        else:
            made.append(PatchLoader(store, sampler, threads, part=part, parts=parts))
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def _arrays(batches):
    return [[t.cpu().numpy() for t in (b.images, b.semantic, b.ternary)] for b in batches]


def _assert_same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        for p, q in zip(x, y, strict=True):
            np.testing.assert_array_equal(p, q)


def test_without_augmentation_its_batches_are_those_of_the_processor(loaders):
    plain = {"augment": False, "stain": "none"}
    _assert_same(_arrays(loaders(**plain).batches(3)), _arrays(loaders(on_device=False, **plain).batches(3)))


def test_a_patch_follows_from_seed_epoch_and_number_alone(loaders):
    whole = _arrays(loaders(threads=3, stain="augment").batches(2))
    _assert_same(_arrays(loaders(stain="augment").batches(2, 3)), whole[3:])
    halves = [_arrays(loaders(part=k, parts=2, stain="augment").batches(2)) for k in (0, 1)]
    for step, parts in enumerate(zip(*halves, strict=True)):
        for k in range(3):
            # sums over a smaller batch may differ in the last digit before they are rounded to levels
            assert _apart(np.concatenate([p[k] for p in parts]), whole[step][k]).max() <= 1
    other = _arrays(loaders(stain="augment").batches(4))
    assert any((p[0] != q[0]).any() for p, q in zip(whole, other, strict=True))


def test_a_run_with_patches_made_on_the_device_resumes_bit_for_bit(tiny_recipe, make_run):
    from napari_monusac.learn.loop import train
    from napari_monusac.network.checkpoint import read_tensors

    recipe = tiny_recipe.with_values(augment_on="device", stain="augment")
    whole, parts, plain = make_run(recipe, "whole"), make_run(recipe, "parts"), make_run(tiny_recipe, "plain")
    options = {"device": "cpu", "threads": 1, "loader_threads": 1}
    events = list(train(recipe, whole, **options))
    assert events[-1].reason == "completed", events[-1].message
    count = [0]
    for event in train(recipe, parts, lambda: count[0] >= 4, **options):
        count[0] += event.kind == "batch-ended"
    assert event.reason == "stopped"
    assert list(train(recipe, parts, **options))[-1].reason == "completed"
    a, b = read_tensors(whole.last), read_tensors(parts.last)
    assert all((a[k] == b[k]).all() for k in a)
    list(train(tiny_recipe, plain, **options))
    assert any((read_tensors(plain.last)[k] != a[k]).any() for k in a)


def test_crops_that_do_not_fit_are_augmented_by_the_processor_and_it_is_said(tiny_recipe, make_run, monkeypatch):
    from napari_monusac.learn.data import on_device
    from napari_monusac.learn.loop import train

    monkeypatch.setattr(on_device, "has_room", lambda *_: False)
    recipe = tiny_recipe.with_values(augment_on="device", max_steps=1)
    events = list(train(recipe, make_run(recipe), device="cpu", threads=1, loader_threads=1))
    assert events[-1].reason == "completed"
    assert any("augmented by the processor: the crops need" in e.message for e in events if e.kind == "warned")
