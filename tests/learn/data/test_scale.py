"""Crops come to the scale of the run: pixels, outlines, checkpoint, prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.draw import polygon
from skimage.transform import downscale_local_mean

from napari_monusac.core.recipe import load_recipe

pytestmark = pytest.mark.torch


def _write(folder: Path, patient: str, um: float | None, scale: int = 2) -> str:
    """Discs of 6 um on a plain ground, drawn at `um` (0.25 where it is None), with a ring of Ambiguous."""
    px = scale / 2 * 80
    size = int(px * 0.25 / (um or 0.25)) * 2
    name = f"TCGA-{patient}-0001-01Z-00-DX1"
    (folder / name).mkdir(parents=True, exist_ok=True)
    yy, xx = np.mgrid[:size, :size]
    radius, layers = 3 / (um or 0.25), {"Epithelial": [], "Ambiguous": []}
    image = np.full((size, size, 3), (235, 200, 225), np.uint8)
    for k, (y, x) in enumerate([(0.3, 0.3), (0.3, 0.7), (0.7, 0.3), (0.7, 0.7)]):
        cy, cx = y * size - 0.5, x * size - 0.5
        image[(yy - cy) ** 2 + (xx - cx) ** 2 <= radius**2] = (110, 60, 140)
        t = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        layers["Ambiguous" if k == 3 else "Epithelial"].append((cy + radius * np.sin(t), cx + radius * np.cos(t)))
    text = "".join(
        f'<Annotation Id="{i}"><Attributes><Attribute Name="{n}"/></Attributes><Regions>'
        + "".join(
            "<Region><Vertices>"
            + "".join(f'<Vertex X="{x:.6f}" Y="{y:.6f}"/>' for y, x in zip(ys, xs, strict=True))
            + "</Vertices></Region>"
            for ys, xs in outlines
        )
        + "</Regions></Annotation>"
        for i, (n, outlines) in enumerate(layers.items(), 1)
    )
    said = "" if um is None else f' MicronsPerPixel="{um}"'
    (folder / name / f"{name}_1.xml").write_text(f"<Annotations{said}>{text}</Annotations>")
    tifffile.imwrite(folder / name / f"{name}_1.tif", image, photometric="rgb")
    return f"{name}_1"


def _store(folder: Path, um: float | None, **values):
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.learn.data.crops import CropStore

    store = CropStore(open_collection(folder), load_recipe("run-8").with_values(**values))
    store.um_per_px = um
    return store


def test_outlines_are_scaled_before_they_are_drawn(tmp_path):
    name = _write(tmp_path, "AA", 0.5)
    fine = _write(tmp_path, "BB", 0.25)
    store = _store(tmp_path, 0.25)
    crop, own, true = store.get(name), store.own(name), store.get(fine)
    assert own.shape == (80, 80)
    assert crop.shape == store.shape(name) == true.shape == (160, 160)
    annotation = store.collection.annotation(store.collection.crop(name))
    expected = np.zeros(crop.shape, np.uint8)
    for nucleus in annotation.nuclei:
        ys, xs = (2 * nucleus.vertices + 0.5).T  # (v + 0.5) * 2 - 0.5
        expected[polygon(ys, xs, crop.shape)] = 1
    hidden = np.zeros(crop.shape, bool)
    for region in annotation.ambiguous:
        ys, xs = (2 * region.vertices + 0.5).T
        hidden[polygon(ys, xs, crop.shape)] = True
    np.testing.assert_array_equal(crop.semantic, np.where(hidden, 255, expected))
    assert (crop.semantic == true.semantic).mean() > 0.999, "as if it had been scanned at 0.25"
    assert (crop.ternary == true.ternary).mean() > 0.99
    assert np.abs(crop.image.astype(int) - true.image).mean() < 3
    np.testing.assert_allclose(store.centres(name)[1], store.centres(fine)[1], atol=0.01)


def test_shrinking_averages(tmp_path):
    name = _write(tmp_path, "AA", 0.125)
    image = tifffile.imread(next(tmp_path.rglob("*.tif"))).astype(int)
    noise = np.random.default_rng(0).integers(-40, 20, (*image.shape[:2], 1))
    tifffile.imwrite(next(tmp_path.rglob("*.tif")), (image + noise).clip(0, 255).astype(np.uint8), photometric="rgb")
    crop, plain = _store(tmp_path, 0.25).get(name), (image + noise)[::2, ::2]
    area = downscale_local_mean(image + noise, (2, 2, 1))
    flat = np.s_[:30, :30, 0]
    assert crop.shape == area.shape[:2]
    assert np.std(crop.image[flat]) < 1.2 * np.std(area[flat]) < 0.7 * np.std(plain[flat])
    assert np.abs(crop.image - area).mean() < 0.5 * np.abs(plain - area).mean()


def test_scales_that_are_one_are_left_alone_to_the_pixel(tmp_path):
    name = _write(tmp_path, "AA", 0.252)
    crop, own = (_store(tmp_path, 0.25).get(name), _store(tmp_path, 0.25).own(name))
    np.testing.assert_array_equal(crop.image, own.image)
    np.testing.assert_array_equal(crop.ternary, own.ternary)


@pytest.mark.parametrize(
    ("recipe", "scales", "expected", "source"),
    [
        (0.25, [(0.5, 100), (0.5, 50)], 0.25, "recipe"),
        (None, [(0.5, 100), (0.25, 101)], 0.25, "median"),
        (None, [(0.5, 100), (0.25, 60), (0.19, 30)], 0.5, "median"),
        (None, [(None, 900), (0.3, 10)], 0.3, "median"),
        (None, [(None, 900)], None, "none"),
        (0.25, [(None, 900)], 0.25, "recipe"),
    ],
)
def test_the_scale_of_a_run(recipe, scales, expected, source):
    from napari_monusac.learn.data.scale import CropHeader, training_scale

    crops = {f"c{k}": CropHeader((side, side), um) for k, (um, side) in enumerate(scales)}
    found = training_scale(load_recipe("run-8").with_values(um_per_px=recipe), crops)
    assert (found.um_per_px, found.source) == (expected, source)
    assert found.unknown == tuple(n for n, c in crops.items() if c.um_per_px is None)
    assert set(found.resampled) == {
        n for n, c in crops.items() if expected and c.um_per_px and abs(c.um_per_px / expected - 1) > 0.02
    }
    for name in found.unknown:
        assert name in found.sentence() or expected is None


def test_the_run_says_it_and_the_checkpoint_carries_it(tmp_path, tiny_recipe, make_run):
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.learn.dryrun import dry_run
    from napari_monusac.learn.loop import train
    from napari_monusac.network.checkpoint import read_metadata

    data = tmp_path / "data"
    for patient, um in (("AA", 0.5), ("BB", 0.5), ("CC", 0.5), ("DD", None)):
        _write(data, patient, um)
    recipe = tiny_recipe.with_values(um_per_px=None, max_steps=1)
    run = make_run(recipe, data=data)
    report = dry_run(recipe, run, device="cpu")
    events = list(train(recipe, run, threads=1, loader_threads=1))
    assert events[-1].reason == "completed", events[-1].message
    assert events[0].um_per_px == 0.5
    assert "0.5 um/px (the median of the training crops by area)" in events[0].scale
    assert RunFolder.open(run.path).info.scale.um_per_px == 0.5
    assert read_metadata(run.best).um_per_px == 0.5
    assert RunFolder.open(run.path).recipe == recipe, "unset survives the file"
    trains_on_dd = any("-DD-" in n for n in run.split.training)
    assert trains_on_dd == any("without a scale" in e.message for e in events if e.kind == "warned")
    assert any("0.5 um/px" in n for n in report.notes)
    # the folder changes while the run sleeps: it goes on at the scale it began at
    for file in data.rglob("*.xml"):
        file.write_text(file.read_text().replace('MicronsPerPixel="0.5"', 'MicronsPerPixel="0.3"'))
    again = list(train(recipe.with_values(max_steps=2, epochs=3), run, threads=1, loader_threads=1))
    assert again[-1].reason == "completed", again[-1].message
    assert again[0].um_per_px == 0.5
    assert read_metadata(run.last).um_per_px == 0.5
    assert "resampled to it from 0.3" in again[0].scale


def test_a_checkpoint_of_before_still_loads_and_a_run_of_before_is_told(tmp_path, tiny_recipe, make_run):
    from napari_monusac.learn.loop import train
    from napari_monusac.network.checkpoint import CheckpointMetadata, read_metadata

    data = tmp_path / "data"
    for patient in ("AA", "BB", "CC"):
        _write(data, patient, 0.5)
    run = make_run(tiny_recipe, data=data)
    list(train(tiny_recipe.with_values(max_steps=1), run, threads=1, loader_threads=1))
    new = read_metadata(run.last).model_dump(mode="json")
    assert new["scale_source"] == "recipe"
    before = {k: v for k, v in new.items() if k not in {"scale_source", "device", "precision"}}
    assert CheckpointMetadata.model_validate(before).um_per_px == 0.25
    assert CheckpointMetadata.model_validate(before).scale_source == ""


def test_training_and_prediction_measure_the_stain_on_the_same_pixels(tmp_path):
    """A crop that is largely glass with a blot of another colour: what is sampled decides what is measured."""
    from napari_monusac.infer.engines import Engine
    from napari_monusac.infer.tiling.plan import Expected, plan_tiles
    from napari_monusac.infer.tiling.source import array_source

    name = _write(tmp_path, "AA", 0.125)
    file = next(tmp_path.rglob("*.tif"))
    rng = np.random.default_rng(0)
    big = np.full((1400, 1500, 3), 245, np.uint8)
    amounts = rng.gamma(2.0, 0.4, (700, 800, 2))
    from napari_monusac.infer.tiling.stain import REFERENCE_STAINS

    big[:700, :800] = np.clip(240 * np.exp(-(amounts @ (0.7 * REFERENCE_STAINS))), 0, 255)
    big[1000:1100, 1200:1300] = (90, 20, 30)
    tifffile.imwrite(file, big, photometric="rgb")
    seen: list[np.ndarray] = []

    class Spy(Engine):
        name, batch_size = "spy", 1

        def run(self, tiles):
            seen.append(tiles)
            return np.zeros((len(tiles), 8, *tiles.shape[1:3]), np.float32)

    crop = _store(tmp_path, 0.25, stain="normalise").get(name)
    own = _store(tmp_path, 0.25, stain="normalise").own(name)
    np.testing.assert_array_equal(own.image, big)
    plan = plan_tiles(array_source(big, 0.125), Expected(0.25, 3, 256, normalise_stain=True), lambda _: Spy())
    predicted = plan.source.read(0, 0, *plan.source.shape)
    np.testing.assert_array_equal(crop.image, predicted)
    assert np.abs(crop.image[:300, :300].astype(int) - big[:600:2, :600:2]).mean() > 5, "it was normalised"
