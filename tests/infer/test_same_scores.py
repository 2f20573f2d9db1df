"""The score that chooses a checkpoint is the score of its stored predictions, crop by crop."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of some steps on synthetic tissue of several sizes, one crop at half the scale, one without any."""
    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.io.slides.slide import open_slide
    from napari_monusac.io.splits import make_split
    from napari_monusac.learn.loop import train
    from napari_monusac.synth.collection import write_collection

    root = tmp_path_factory.mktemp("scores")
    data = write_collection(root / "data", 4, 2, shape=(150, 141))
    for k, image in enumerate(sorted(data.rglob("*.svs"))):
        with open_slide(image) as slide:
            pixels = slide.read(0, 0, *slide.shape)
        image.unlink()
        if k % 3 == 1:  # smaller than a patch
            pixels = pixels[:35, :33]
        tifffile.imwrite(image.with_suffix(".tif"), pixels, photometric="rgb")
        if k == 7:  # a crop at another scale
            xml = image.with_suffix(".xml")
            xml.write_text(xml.read_text().replace('MicronsPerPixel="0.25', 'MicronsPerPixel="0.5'))
    recipe = load_recipe("run-8").with_values(
        encoder="tu-test_efficientnet", encoder_weights="none", decoder_channels=(16, 16, 8, 8, 8), patch_size=64,
        batch_size=4, epochs=1, steps_per_epoch=30, precision="float32", lr=3e-3, dropout=0.0,
    )  # fmt: skip
    run = RunFolder.create(root / "run", data=data, split=make_split(open_collection(data), seed=0), recipe=recipe)
    events = list(train(recipe, run, threads=1, loader_threads=1, device="cpu"))
    assert events[-1].reason == "completed", events[-1].message
    return run, [e for e in events if e.kind == "epoch-ended"][-1].scores


def _validator(run, names):
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.learn.data.crops import CropStore
    from napari_monusac.learn.distributed import Ranks
    from napari_monusac.learn.step import Stepper
    from napari_monusac.learn.validate import Validator
    from napari_monusac.network.checkpoint import load_checkpoint

    model = load_checkpoint(run)
    store = CropStore(open_collection(run.data), model.recipe)
    store.um_per_px = model.metadata.um_per_px
    return Validator(Stepper(model.network, model.recipe, "cpu", "float32", 1, Ranks()), store, names, names)


def test_validation_equals_evaluate_on_every_crop(trained, tmp_path):
    from napari_monusac.infer.batch import SlideJob, predict_one
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.predictions.store import crop_store, read_prediction
    from napari_monusac.scoring.metrics.confusion import training_scores
    from napari_monusac.scoring.metrics.pixels import count_pixels
    from napari_monusac.scoring.report.folders import folder_pairs

    run, _ = trained
    collection = open_collection(run.data)
    names = [c.name for c in collection.labelled]
    for crop in collection.labelled:
        job = SlideJob(image=str(crop.image), out=str(crop_store(tmp_path, crop.name)), channel_order="rgb")
        result = predict_one(job, str(run.path), {"device": "cpu"})
        assert result.status == "done", result.message
    widths = {n: read_prediction(crop_store(tmp_path, n)).boundary_width for n in names}
    assert set(widths.values()) == {1, 3}, "one crop lies at another scale"
    pairs = {p.crop: p for p in folder_pairs(run.data, tmp_path)}
    seen = 0
    for name in names:
        validator = _validator(run, [name])
        found = validator.run()
        counts = count_pixels(pairs[name], widths[name])
        np.testing.assert_array_equal(found.pinned[name][0], pairs[name].semantic)
        np.testing.assert_array_equal(found.pinned[name][1], pairs[name].ternary)
        assert found.scores == training_scores(counts.semantic, counts.ternary), name
        seen += len(np.unique(found.pinned[name][1]))
    assert seen > 2 * len(names), "the network says more than background"


def test_the_score_that_chose_the_checkpoint_stands_in_it(trained):
    from napari_monusac.network.checkpoint import read_metadata

    run, scores = trained
    assert read_metadata(run.best).scores == scores
    assert _validator(run, run.split.validation).run().scores == scores


def test_prediction_prefers_the_precision_that_was_validated(trained):
    from napari_monusac.infer.engines.choose import choose_precision
    from napari_monusac.network.checkpoint import load_checkpoint

    assert choose_precision(load_checkpoint(trained[0]), "cpu") == "float32"


def test_a_stored_pixel_keeps_its_winner():
    from napari_monusac.core.prediction import HEADS, in_255ths

    rng = np.random.default_rng(0)
    maps = rng.random((8, 200, 200)).astype(np.float32)
    maps[4] = maps[1] + rng.normal(0, 1e-4, (200, 200))  # winners by a hair
    for head in HEADS:
        maps[head] = np.clip(maps[head], 0, None)
        maps[head] /= maps[head].sum(0)
    codes = in_255ths(maps)
    plain = np.rint(maps * np.float32(255))
    assert (plain[:5].argmax(0) != maps[:5].argmax(0)).any()
    for head in HEADS:
        np.testing.assert_array_equal(codes[head].argmax(0), maps[head].argmax(0))
    assert np.abs(codes - plain).max() <= 1
