"""The score that chooses a checkpoint is the score of its stored predictions, crop by crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

pytestmark = pytest.mark.torch


#: (height, width) of the crops' frames before some are cut down.
SHAPE = (150, 141)
SAID = 'MicronsPerPixel="0.250000"'
#: Half of a crop, as an outline around nuclei that ImageScope draws as a rectangle of no class.
REGION = (
    '<Annotation Id="9" Name="ROI"><Attributes><Attribute Name="ROI"/></Attributes><Regions>'
    '<Region Id="1" Type="1"><Vertices><Vertex X="3" Y="5"/><Vertex X="130" Y="{below}"/></Vertices></Region>'
    "</Regions></Annotation></Annotations>"
)


def _write_data(folder: Path, kind: str) -> Path:
    """Synthetic tissue of four patients in several sizes, as plain .tif; the last crop at half the scale."""
    from napari_monusac.io.slides.slide import open_slide
    from napari_monusac.synth.collection import write_collection

    data = write_collection(folder, 4, 2, shape=SHAPE)
    for k, image in enumerate(sorted(data.rglob("*.svs"))):
        with open_slide(image) as slide:
            pixels = slide.read(0, 0, *slide.shape)
        image.unlink()
        if k % 3 == 1:  # smaller than a patch
            pixels = pixels[:35, :33]
        tifffile.imwrite(image.with_suffix(".tif"), pixels, photometric="rgb")
        xml = image.with_suffix(".xml")
        text = xml.read_text()
        assert text.count(SAID) == 1
        if kind == "without a scale" or (kind == "median" and k == 2):
            text = text.replace(SAID, "")
        elif k == 7 or (kind == "median" and k in {0, 3, 4}):
            text = text.replace(SAID, 'MicronsPerPixel="0.5"')
        if kind == "regions" and k % 3 != 1:
            text = text.replace("</Annotations>", REGION.format(below=60 + 10 * k))
        xml.write_text(text)
    return data


def _add_a_crop(data: Path) -> None:
    """A large crop of a patient of the split, at another scale than all others."""
    first = min(data.rglob("*.tif"))
    tifffile.imwrite(first.with_name("later.tif"), np.full((900, 900, 3), 200, np.uint8), photometric="rgb")
    first.with_name("later.xml").write_text('<Annotations MicronsPerPixel="0.4"/>')


@pytest.fixture(scope="module", params=["one scale", "median", "without a scale", "regions"])
def trained(request, tmp_path_factory):
    """A run of some steps; of crops of several scales it is stopped and resumed, with a crop more in the folder."""
    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.io.splits import make_split
    from napari_monusac.learn.loop import train

    root, kind = tmp_path_factory.mktemp("scores"), request.param
    data = _write_data(root / "data", kind)
    recipe = load_recipe("run-8").with_values(
        encoder="tu-test_efficientnet", encoder_weights="none", decoder_channels=(16, 16, 8, 8, 8), patch_size=64,
        batch_size=4, epochs=2, steps_per_epoch=15, precision="float32", lr=3e-3, dropout=0.0,
        um_per_px=None if kind in {"median", "without a scale"} else 0.25, within_regions=kind == "regions",
    )  # fmt: skip
    run = RunFolder.create(root / "run", data=data, split=make_split(open_collection(data), seed=0), recipe=recipe)
    if kind == "median":
        done = []
        for event in train(recipe, run, lambda: len(done) == 20, threads=1, loader_threads=1, device="cpu"):
            if event.kind == "batch-ended":
                done.append(event)
        assert (event.reason, event.step) == ("stopped", 20)
        scale = RunFolder.open(run.path).info.scale
        _add_a_crop(data)
        run = RunFolder.open(run.path)
    events = list(train(run.recipe, run, threads=1, loader_threads=1, device="cpu"))
    assert events[-1].reason == "completed", events[-1].message
    if kind == "median":
        assert RunFolder.open(run.path).info.scale == scale
        assert (scale.um_per_px, scale.source) == (0.5, "median")
        assert scale.resampled, "a crop at 0.25 is among them"
        assert scale.unknown, "so is one without any"
    assert events[0].um_per_px == {"median": 0.5, "without a scale": None}.get(kind, 0.25)
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
    from napari_monusac.io.predictions.open import read_prediction
    from napari_monusac.io.predictions.store import crop_store
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
    if run.recipe.um_per_px is not None:
        assert set(widths.values()) == {1, 3}, "one crop lies at another scale"
    pairs = {p.crop: p for p in folder_pairs(run.data, tmp_path, within_regions=run.recipe.within_regions)}
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
    ignored = {name for name, pair in pairs.items() if pair.ignore is not None}
    assert bool(ignored) == run.recipe.within_regions


def test_the_score_of_the_run_is_that_of_evaluate(trained, tmp_path):
    """The command line, as people type it: ``evaluate --pred RUN``, on the validation crops."""
    import json

    from typer.testing import CliRunner

    from napari_monusac.cli.app import app

    run, scores = trained
    chosen = [word for name in run.split.validation for word in ("--crop", name)]
    within = ["--within-regions"] if run.recipe.within_regions else []
    done = CliRunner().invoke(
        app, ["evaluate", "--truth", str(run.data), "--pred", str(run.last), *chosen, *within, "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["pixels"]
    expected = json.loads(scores.model_dump_json())
    assert found == expected


def test_the_score_that_chose_the_checkpoint_stands_in_it(trained):
    from napari_monusac.network.checkpoint import read_metadata

    run, _ = trained
    scores = read_metadata(run.best).scores
    assert scores == max(run.epochs(), key=lambda e: e.scores.combo).scores
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
