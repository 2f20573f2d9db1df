"""Validation in groups of crops of one shape is validation one by one; the matrix on the device is that of the metrics."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.torch


@pytest.fixture
def collection(tmp_path):
    """Ten crops: six of one shape, two of another, one of two tiles, one at half the scale."""
    import tifffile

    from napari_monusac.io.slides.slide import open_slide
    from napari_monusac.synth.collection import write_collection

    data = write_collection(tmp_path / "data", 5, 2, shape=(120, 110), seed=3)
    images = sorted(data.rglob("*.svs"))
    for k, image in enumerate(images):
        with open_slide(image) as slide:
            pixels = slide.read(0, 0, *slide.shape)
        image.unlink()
        cut = {1: (60, 50), 2: (64, 33)}.get(k, (120, 110))
        pixels = pixels[: cut[0], : cut[1]]
        if k == 3:  # longer than a tile of 512 px
            pixels = np.tile(pixels, (5, 1, 1))
        tifffile.imwrite(image.with_suffix(".tif"), pixels, photometric="rgb")
        if k == 4:
            xml = image.with_suffix(".xml")
            xml.write_text(xml.read_text().replace('MicronsPerPixel="0.250000"', 'MicronsPerPixel="0.5"'))
    return data


@pytest.fixture
def make_validator(collection, tiny_recipe, device):
    import torch

    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.learn.data.crops import CropStore
    from napari_monusac.learn.distributed import Ranks
    from napari_monusac.learn.step import Stepper
    from napari_monusac.learn.validate import Validator
    from napari_monusac.network.unet import DualHeadUnet

    def make(**values):
        recipe = tiny_recipe.with_values(dropout=0.0, um_per_px=0.25, **values)
        torch.manual_seed(0)
        opened = open_collection(collection)
        names = [c.name for c in opened.labelled]
        store = CropStore(opened, recipe)
        store.um_per_px = 0.25
        network = DualHeadUnet(recipe).to(device)
        return Validator(Stepper(network, recipe, device, "float32", 1, Ranks()), store, names, names)

    return make


@pytest.mark.parametrize("select_by", ["combo", "pq"])
def test_groups_of_one_shape_find_what_single_crops_find(make_validator, monkeypatch, select_by):
    from napari_monusac.infer.engines.torch import TorchEngine

    true, batches = TorchEngine.probabilities, []
    monkeypatch.setattr(TorchEngine, "probabilities", lambda self, t: (batches.append(t.shape), true(self, t))[1])
    validator = make_validator(select_by=select_by)
    validator.at_once = 1
    single = validator.run()
    assert {b[0] for b in batches} == {1}
    del batches[:]
    validator.at_once = 4
    grouped = validator.run()
    assert [b[0] for b in batches if b[1:3] == (128, 128)][:2] == [4, 2], "six crops of one shape in two passes"
    assert len(single.pinned) == len(grouped.pinned) == 10
    for name, maps in single.pinned.items():
        for a, b in zip(maps, grouped.pinned[name], strict=True):
            assert a.dtype == np.uint8
            assert (a != b).mean() < 1e-3, name
    assert grouped.losses.total == pytest.approx(single.losses.total, rel=1e-5)
    assert grouped.scores.combo == pytest.approx(single.scores.combo, abs=1e-4)
    assert (single.scores.pq is not None) is (select_by == "pq")


def test_no_memory_for_a_group_predicts_its_crops_one_by_one(make_validator, monkeypatch):
    import torch

    from napari_monusac.infer.engines.torch import TorchEngine

    true = TorchEngine.probabilities

    def hungry(self, tiles):
        if len(tiles) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return true(self, tiles)

    validator = make_validator()
    validator.at_once = 1
    wanted = validator.run()
    validator.at_once = 4
    monkeypatch.setattr(TorchEngine, "probabilities", hungry)
    found = validator.run()
    assert list(validator.stepper.notes.take()) == ["out of memory: validation now predicts one crop at a time"]
    assert validator.tile_px is None
    assert found.scores == wanted.scores
    assert found.losses.total == pytest.approx(wanted.losses.total, rel=1e-9)


def test_the_losses_are_those_of_the_whole_crops(make_validator):
    """By hand: the loss of each crop's probabilities, weighted by its pixels that count."""
    import torch

    from napari_monusac.infer.predict import predict
    from napari_monusac.network.losses import dual_head_loss

    validator = make_validator()
    found = validator.run()
    total = pixels = 0.0
    for name in validator.names:
        crop = validator.store.own(name)
        model = type(
            "Model", (), {"network": validator.stepper.network, "recipe": validator.stepper.recipe, "metadata": {}}
        )
        maps = predict(crop.image, model, um_per_px=crop.um_per_px, device="cpu", precision="float32")
        logits = [torch.from_numpy(m)[None].clamp_min(1e-7).log() for m in (maps.semantic, maps.ternary)]
        truth = [torch.from_numpy(t)[None] for t in (crop.semantic, crop.ternary)]
        count = int((crop.ternary != 255).sum())
        total += float(dual_head_loss(*logits, *truth, validator.stepper.recipe).total) * count
        pixels += count
    assert found.losses.total == pytest.approx(total / pixels, rel=1e-3)


def test_the_matrix_on_the_device_is_that_of_scikit_learn(device):
    import torch
    from sklearn.metrics import confusion_matrix

    from napari_monusac.learn.validate import confusion

    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 5, (40, 50), np.uint8), rng.integers(0, 5, (40, 50))
    truth[rng.random(truth.shape) < 0.2] = 255
    counted = truth != 255
    wanted = confusion_matrix(truth[counted], found[counted], labels=range(5))
    ours = confusion(torch.from_numpy(found).to(device), torch.from_numpy(truth).to(device), 5)
    np.testing.assert_array_equal(ours.cpu().numpy(), wanted)
    nothing = torch.full((3, 3), 255, dtype=torch.uint8, device=device)
    assert confusion(torch.zeros((3, 3), dtype=torch.int64, device=device), nothing, 3).sum() == 0
