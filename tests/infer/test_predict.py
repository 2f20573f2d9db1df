"""Prediction of images of any size and scale, against the network applied by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_monusac.core.errors import Cancelled, MonusacError, ShapeError, SlideError
from napari_monusac.infer.predict import TileProgress, predict

pytestmark = pytest.mark.torch
EXACT = {"device": "cpu", "precision": "float32"}


def _by_hand(model: Any, image: np.ndarray, at_least: int = 256) -> np.ndarray:
    """The network on the whole image at once, in the middle of its mirrored frame, probabilities (8, y, x)."""
    import torch

    lengths = [-(-max(n, at_least) // 32) * 32 for n in image.shape[:2]]
    pads = [((m - n + 1) // 2, (m - n) // 2) for n, m in zip(image.shape[:2], lengths, strict=True)]
    padded = np.pad(image, (*pads, (0, 0)), mode="reflect")
    with torch.no_grad():
        heads = model.network(torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255)
    maps = torch.cat([h.softmax(1) for h in heads], 1)[0].numpy()
    (top, _), (left, _) = pads
    return maps[:, top : top + image.shape[0], left : left + image.shape[1]]


def _both(prediction: Any) -> np.ndarray:
    return np.concatenate([prediction.semantic, prediction.ternary])


@pytest.mark.parametrize("tile", [96, 160, 1024])
def test_tiles_equal_the_whole(stand_in: Any, tissue: np.ndarray, tile: int) -> None:
    prediction = predict(tissue, stand_in, um_per_px=0.25, tile_px=tile, overlap_px=32, **EXACT)
    assert prediction.semantic.dtype == np.float32
    inner = np.s_[:, 16:-16, 16:-16] if tile < 1024 else np.s_[:]  # tiles end elsewhere than a single frame
    np.testing.assert_allclose(_both(prediction)[inner], _by_hand(stand_in, tissue)[inner], atol=2e-6)
    assert prediction.fingerprint == stand_in.recipe.fingerprint()
    assert prediction.engine == "torch float32 on cpu"


@pytest.mark.parametrize("shape", [(16, 16), (17, 300), (300, 33), (35, 33), (31, 64), (65, 129), (256, 257)])
def test_any_size_is_framed_as_in_training(stand_in: Any, tissue: np.ndarray, shape: tuple[int, int]) -> None:
    image = tissue[: shape[0], : shape[1]]
    prediction = predict(image, stand_in, um_per_px=0.25, **EXACT)
    assert prediction.shape == shape
    np.testing.assert_allclose(_both(prediction), _by_hand(stand_in, image), atol=2e-6)
    least = predict(image, stand_in, um_per_px=0.25, tile_px=320, **EXACT)
    np.testing.assert_allclose(_both(least), _by_hand(stand_in, image), atol=2e-6)


def test_patches_longer_than_a_tile_decide_its_length(stand_in: Any, tissue: np.ndarray) -> None:
    model = type(stand_in)(stand_in.network, stand_in.recipe.with_values(patch_size=640))
    prediction = predict(tissue, model, um_per_px=0.25, **EXACT)
    np.testing.assert_allclose(_both(prediction), _by_hand(stand_in, tissue, at_least=640), atol=2e-6)


def test_a_small_region_sees_a_patch_of_real_pixels(stand_in: Any, tissue: np.ndarray) -> None:
    """Where the image goes on, nothing is mirrored: a network that answers with a mean of its tile tells."""
    seen = []

    class Spy:
        name, batch_size = "spy", 1

        def run(self, tiles: np.ndarray) -> np.ndarray:
            seen.append(tiles.copy())
            return np.full((len(tiles), 8, *tiles.shape[1:3]), 0.125, np.float32)

    predict(tissue, stand_in, um_per_px=0.25, region=(200, 300, 20, 30), engine=Spy())
    np.testing.assert_array_equal(seen[0][0], tissue[82:338, 187:443])


def test_the_checkpoint_s_scale_counts_and_not_the_recipe_s(stand_in: Any, tissue: np.ndarray) -> None:
    trained = type(stand_in)(stand_in.network, stand_in.recipe, {"um_per_px": 0.5})
    assert predict(tissue, trained, um_per_px=0.5, **EXACT).notes == ()
    assert any("the model wants 0.5" in n for n in predict(tissue, trained, um_per_px=0.25, **EXACT).notes)
    nobody = type(stand_in)(stand_in.network, stand_in.recipe, {"um_per_px": None})
    (note,) = predict(tissue[:64, :64], nobody, um_per_px=0.25, **EXACT).notes
    assert "does not know the scale" in note


def test_a_region_is_what_the_whole_says_there(stand_in: Any, tissue: np.ndarray) -> None:
    whole = predict(tissue, stand_in, um_per_px=0.25, **EXACT)
    region = (101, 203, 150, 77)
    part = predict(
        tissue, stand_in, um_per_px=0.25, region=region, offset_px=(1000, 2000), tile_px=96, overlap_px=32, **EXACT
    )
    assert part.shape == (150, 77)
    assert part.offset_px == (1101, 2203)
    np.testing.assert_allclose(_both(part), _both(whole)[:, 101:251, 203:280], atol=2e-6)


def test_parts_tile_the_region(stand_in: Any, tissue: np.ndarray) -> None:
    whole = _both(predict(tissue, stand_in, um_per_px=0.25, **EXACT))
    seen = np.zeros((300, 400), int)
    told: list[TileProgress] = []

    def check(box: Any, semantic: np.ndarray, ternary: np.ndarray) -> None:
        rows, columns = box.slices
        seen[rows, columns] += 1
        here = whole[:, 50:350, 60:460][:, rows, columns]
        np.testing.assert_allclose(np.concatenate([semantic, ternary]), here, atol=2e-6)

    predict(
        tissue, stand_in, um_per_px=0.25, region=(50, 60, 300, 400), tile_px=96, overlap_px=32, on_tile=check,
        progress=told.append, **EXACT,
    )  # fmt: skip
    assert (seen == 1).all()
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert told[-1].eta_s == 0.0


def test_a_coarse_image_is_refused_and_not_enlarged_forty_times(
    stand_in: Any, tissue: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "coarse.tif"
    tifffile.imwrite(path, tissue, photometric="rgb", resolution=(1000, 1000), resolutionunit="centimeter")
    with pytest.raises(SlideError, match=r"coarse.tif: 10 um/px is too coarse.*40 times — take the image at a higher"):
        predict(path, stand_in, **EXACT)
    with pytest.raises(ShapeError, match="too coarse"):
        predict(tissue, stand_in, um_per_px=10, **EXACT)
    assert predict(path, stand_in, um_per_px=0.25, **EXACT).um_per_px == 0.25


def test_a_guessed_scale_is_used_and_said(stand_in: Any, tissue: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    text = "Aperio Image Library v10\n128x128 (64x64) JPEG/RGB Q=30|AppMag = 20"
    tifffile.imwrite(path, tissue[:128, :128], photometric="rgb", tile=(64, 64), description=text, metadata=None)
    prediction = predict(path, stand_in, **EXACT)
    assert prediction.um_per_px == 0.5
    assert any("about 0.5" in note for note in prediction.notes)
    assert any("resampled" in note for note in prediction.notes)


@pytest.mark.parametrize(("um", "width"), [(0.5, 1), (0.125, 5), (0.37, 3)])
def test_other_scales_are_resampled_and_said(stand_in: Any, tissue: np.ndarray, um: float, width: int) -> None:
    prediction = predict(tissue, stand_in, um_per_px=um, **EXACT)
    assert prediction.shape == tissue.shape[:2]
    assert prediction.um_per_px == um
    assert prediction.boundary_width == width  # 3 px of the network, in px of the image
    assert any("resampled" in n for n in prediction.notes)
    np.testing.assert_allclose(prediction.semantic.sum(0), 1, atol=1e-5)
    seen = np.zeros(tissue.shape[:2], int)
    worst: list[float] = []

    def check(box: Any, semantic: np.ndarray, _: np.ndarray) -> None:
        seen[box.slices] += 1
        worst.append(float(np.abs(semantic - prediction.semantic[(slice(None), *box.slices)]).mean()))

    predict(tissue, stand_in, um_per_px=um, tile_px=96, overlap_px=32, on_tile=check, **EXACT)
    assert (seen == 1).all()
    assert max(worst) < 2e-3


@pytest.mark.parametrize("um", [-0.25, 0.0, float("nan"), float("inf"), 1e-4])
def test_a_scale_that_no_microscope_has_is_refused(stand_in: Any, tissue: np.ndarray, um: float) -> None:
    with pytest.raises(ShapeError, match="um_per_px"):
        predict(tissue, stand_in, um_per_px=um, **EXACT)


def test_resampling_keeps_things_in_their_place(stand_in: Any) -> None:
    """A network that answers with the red channel gives back the image, at any scale."""
    import torch
    from torch import nn

    class Red(nn.Module):
        stride = 32

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            red = images[:, :1].clamp(1e-4, 1 - 1e-4)
            zeros = torch.full_like(red, -30.0)
            return torch.cat([torch.logit(1 - red), torch.zeros_like(red), zeros, zeros, zeros], 1), torch.cat(
                [zeros] * 3, 1
            )

    model = type(stand_in)(Red(), stand_in.recipe)
    y, x = np.mgrid[:240, :330]
    image = np.repeat((127 + 100 * np.sin(y / 20) * np.cos(x / 25)).astype(np.uint8)[..., None], 3, 2)
    expected = image[..., 0] / 255
    for um in (0.25, 0.5, 0.14, 0.4):
        region = (20, 37, 180, 251)
        prediction = predict(image, model, um_per_px=um, region=region, **EXACT)
        found = 1 - prediction.semantic[0]
        assert np.abs(found - expected[20:200, 37:288]).max() < 0.01, um


def test_scales_within_a_tenth_are_left_alone(stand_in: Any, tissue: np.ndarray) -> None:
    prediction = predict(tissue[:64, :64], stand_in, um_per_px=0.27, **EXACT)
    assert prediction.notes == ()
    unknown = predict(tissue[:64, :64], stand_in, **EXACT)
    assert unknown.um_per_px is None
    assert "unknown" in unknown.notes[0]


def test_flips_average_the_eight_views(stand_in: Any, tissue: np.ndarray) -> None:
    image = tissue[:64, :96]
    expected = np.zeros((8, 64, 96))
    for turns in range(4):
        for mirror in (False, True):
            view = np.rot90(image, turns)
            view = view[:, ::-1] if mirror else view
            maps = _by_hand(stand_in, np.ascontiguousarray(view))
            maps = maps[:, :, ::-1] if mirror else maps
            expected += np.rot90(maps, -turns, (1, 2)) / 8
    prediction = predict(image, stand_in, um_per_px=0.25, flips=True, **EXACT)
    np.testing.assert_allclose(_both(prediction), expected, atol=2e-6)


def test_all_kinds_of_images_give_the_same(stand_in: Any, tissue: np.ndarray, tmp_path: Any) -> None:
    import dask.array as da
    from PIL import Image

    from napari_monusac.io.slides.slide import open_slide

    image = tissue[:100, :120]
    Image.fromarray(image).save(tmp_path / "a.png")
    rgba = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    expected = _both(predict(image, stand_in, um_per_px=0.25, **EXACT))
    slide = open_slide(tmp_path / "a.png", channel_order="rgb")
    for other in (rgba, da.from_array(image, (40, 50, 3)), [image, image[::2, ::2]], slide):
        np.testing.assert_array_equal(_both(predict(other, stand_in, um_per_px=0.25, **EXACT)), expected)


def test_progress_tiles_and_stop(stand_in: Any, tissue: np.ndarray) -> None:
    heard: list[TileProgress] = []
    boxes = []
    options = {"um_per_px": 0.25, "tile_px": 96, "overlap_px": 32, **EXACT}
    predict(
        tissue,
        stand_in,
        progress=heard.append,
        on_tile=lambda box, s, t: boxes.append((box, s.shape, t.shape)),
        **options,
    )
    assert [p.done for p in heard] == list(range(1, len(heard) + 1))
    assert heard[-1] == 1.0
    assert all(s == (5, *box[2:]) and t == (3, *box[2:]) for box, s, t in boxes)
    with pytest.raises(Cancelled, match="of"):
        predict(tissue, stand_in, should_stop=lambda: True, **options)


def test_glass_is_not_asked_about(stand_in: Any, tissue: np.ndarray) -> None:
    asked = []

    class Spy:
        name, batch_size = "spy", 2

        def run(self, tiles: np.ndarray) -> np.ndarray:
            asked.append(len(tiles))
            return np.full((len(tiles), 8, *tiles.shape[1:3]), 0.125, np.float32)

    image = np.full((400, 900, 3), 243, np.uint8)
    image[:, :200] = tissue[:400, :200]
    prediction = predict(image, stand_in, um_per_px=0.25, engine=Spy(), tile_px=128, overlap_px=32, skip_glass=True)
    assert (prediction.semantic[0, :, 400:] == 1).all()
    assert (prediction.ternary[0, :, 400:] == 1).all()
    assert (prediction.semantic[0, :, :100] == 0.125).all()
    everything = sum(asked)
    asked.clear()
    predict(image, stand_in, um_per_px=0.25, engine=Spy(), tile_px=128, overlap_px=32, skip_glass=False)
    assert everything < 0.5 * sum(asked)


def test_the_network_is_left_as_it_was(stand_in: Any, tissue: np.ndarray) -> None:
    import torch

    stand_in.network.train()
    try:
        predict(tissue[:64, :64], stand_in, um_per_px=0.25, device="cpu", precision="bfloat16")
        assert stand_in.network.training
        assert next(stand_in.network.parameters()).dtype == torch.float32
    finally:
        stand_in.network.eval()


def test_bfloat16_is_within_tolerance(stand_in: Any, tissue: np.ndarray) -> None:
    exact = predict(tissue, stand_in, um_per_px=0.25, **EXACT)
    fast = predict(tissue, stand_in, um_per_px=0.25, device="cpu", precision="bfloat16")
    assert np.abs(_both(fast) - _both(exact)).mean() < 0.005
    assert (fast.semantic_map == exact.semantic_map).mean() > 0.98


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((100, 100), np.uint8),
        np.zeros((100, 100, 3), np.float32),
        np.zeros((15, 100, 3), np.uint8),
        np.zeros((3, 100, 100), np.uint8),
    ],
)
def test_what_is_no_image_is_refused(stand_in: Any, image: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="—"):
        predict(image, stand_in, **EXACT)


def test_wrong_regions_and_models_are_refused(stand_in: Any, tissue: np.ndarray) -> None:
    for region in ((0, 0, 500, 10), (-1, 0, 50, 50), (0, 0, 8, 8)):
        with pytest.raises(ShapeError, match="region"):
            predict(tissue, stand_in, region=region, **EXACT)
    with pytest.raises(MonusacError, match="checkpoint"):
        predict(tissue, 3, **EXACT)


def test_unusual_stain_is_said(stand_in: Any) -> None:
    from napari_monusac.infer.tiling.stain import stain_strength

    rng = np.random.default_rng(0)
    pink = np.clip(rng.normal((190, 120, 170), 12, (300, 300, 3)), 0, 255).astype(np.uint8)
    mean = stain_strength(pink)
    usual = type(stand_in)(stand_in.network, stand_in.recipe, {"stain": {"mean": list(mean), "std": [0.05, 0.05]}})
    assert predict(pink, usual, um_per_px=0.25, **EXACT).notes == ()
    dark = (pink * 0.6).astype(np.uint8)
    notes = predict(dark, usual, um_per_px=0.25, **EXACT).notes
    assert len(notes) == 1
    assert "unusual stain" in notes[0]
    assert predict(dark, stand_in, um_per_px=0.25, **EXACT).notes == ()  # a checkpoint that does not say


def test_stain_is_normalised_where_training_was(stand_in: Any) -> None:
    seen = []

    class Spy:
        name, batch_size = "spy", 1

        def run(self, tiles: np.ndarray) -> np.ndarray:
            seen.append(tiles.copy())
            return np.full((len(tiles), 8, *tiles.shape[1:3]), 0.125, np.float32)

    from napari_monusac.infer.tiling.stain import REFERENCE_STAINS, stain_change, with_stain_changed

    rng = np.random.default_rng(0)
    amounts = rng.gamma(2.0, 0.4, (256, 256, 2))
    image = np.clip(240 * np.exp(-(amounts @ (0.7 * REFERENCE_STAINS))), 0, 255).astype(np.uint8)
    model = type(stand_in)(stand_in.network, stand_in.recipe.with_values(stain="normalise"))
    predict(image, model, um_per_px=0.25, engine=Spy())
    difference = np.abs(seen[0][0].astype(int) - with_stain_changed(image, stain_change(image)).astype(int))
    assert difference.mean() < 1.0  # the same matrix, from the same pixels
