"""Slides streamed to disk: resumed, replaced, separated into nuclei."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_monusac.core.errors import Cancelled, StoreError
from napari_monusac.infer.predict import predict
from napari_monusac.infer.slide import predict_slide
from napari_monusac.io import locks
from napari_monusac.io.predictions.open import read_prediction
from napari_monusac.io.predictions.prediction_store import PredictionStore

pytestmark = pytest.mark.torch
OPTIONS: dict[str, Any] = {"device": "cpu", "precision": "float32", "um_per_px": 0.25, "tile_px": 96, "overlap_px": 32}


def _both(prediction: Any) -> np.ndarray:
    return np.concatenate([prediction.semantic, prediction.ternary])


def test_the_store_equals_the_prediction_in_memory(stand_in: Any, tissue: np.ndarray, tmp_path: Path) -> None:
    path = predict_slide(tissue, stand_in, tmp_path / "s.zarr", **OPTIONS)
    stored, whole = read_prediction(path), predict(tissue, stand_in, **OPTIONS)
    assert np.abs(_both(stored) - _both(whole)).max() < 0.5 / 255 + 1e-3  # overlaps wait in float16
    assert stored.fingerprint == whole.fingerprint
    assert stored.engine == whole.engine
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]
    store = PredictionStore.open(path)
    assert len(store.read_table()) == store.labels("instances")[:].max()


@pytest.mark.parametrize("after", [1, 8, 30])
def test_finished_tiles_are_not_predicted_again(stand_in: Any, tissue: np.ndarray, tmp_path: Path, after: int) -> None:
    whole = predict_slide(tissue, stand_in, tmp_path / "whole.zarr", nuclei=False, **OPTIONS)
    calls = iter(range(1000))
    with pytest.raises(Cancelled):
        predict_slide(
            tissue, stand_in, tmp_path / "s.zarr", nuclei=False, should_stop=lambda: next(calls) >= after, **OPTIONS
        )
    assert not (tmp_path / "s.zarr").exists()
    done: list[int] = []
    path = predict_slide(
        tissue, stand_in, tmp_path / "s.zarr", nuclei=False, progress=lambda p: done.append(p.done), **OPTIONS
    )
    assert done[0] == after + 1
    np.testing.assert_array_equal(PredictionStore.open(path).read_maps(), PredictionStore.open(whole).read_maps())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.zarr", "whole.zarr"]


def test_a_tile_that_was_half_written_is_done_again(
    stand_in: Any, tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the maps and the note of progress, at every kind of place."""
    from napari_monusac.infer import slide

    whole = predict_slide(tissue, stand_in, tmp_path / "whole.zarr", nuclei=False, **OPTIONS)
    kind: Any = slide._Work
    original = kind._note_progress
    for victim in (2, 9):
        out = tmp_path / f"{victim}.zarr"

        def dies(self: Any, victim: int = victim) -> None:
            if self.done == victim:
                raise KeyboardInterrupt
            original(self)

        monkeypatch.setattr(kind, "_note_progress", dies)
        with pytest.raises(KeyboardInterrupt):
            predict_slide(tissue, stand_in, out, nuclei=False, **OPTIONS)
        monkeypatch.setattr(kind, "_note_progress", original)
        done: list[int] = []
        predict_slide(tissue, stand_in, out, nuclei=False, progress=lambda p, d=done: d.append(p.done), **OPTIONS)
        assert done[0] == victim
        np.testing.assert_array_equal(PredictionStore.open(out).read_maps(), PredictionStore.open(whole).read_maps())


def test_other_weights_or_pixels_begin_anew(stand_in: Any, tissue: np.ndarray, tmp_path: Path) -> None:
    import copy

    calls = iter(range(1000))
    with pytest.raises(Cancelled):
        predict_slide(tissue, stand_in, tmp_path / "s.zarr", should_stop=lambda: next(calls) >= 4, **OPTIONS)
    other = type(stand_in)(copy.deepcopy(stand_in.network), stand_in.recipe)
    other.network.semantic.bias.data += 1
    done: list[int] = []
    predict_slide(tissue, other, tmp_path / "s.zarr", progress=lambda p: done.append(p.done), **OPTIONS)
    assert done[0] == 1


def test_a_finished_store_is_left_alone(stand_in: Any, tissue: np.ndarray, tmp_path: Path) -> None:
    path = predict_slide(tissue, stand_in, tmp_path / "s.zarr", **OPTIONS)
    stamp = (path / "zarr.json").stat().st_mtime_ns
    heard: list[float] = []
    assert predict_slide(tissue, stand_in, path, progress=heard.append, **OPTIONS) == path
    assert (path / "zarr.json").stat().st_mtime_ns == stamp
    assert not heard
    predict_slide(tissue, stand_in, path, overwrite=True, progress=heard.append, **OPTIONS)
    assert heard


def test_thresholds_of_the_model_are_taken_and_others_go_over_them(
    stand_in: Any, tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from napari_monusac.core.fitted import FittedThresholds
    from napari_monusac.infer import crop, slide
    from napari_monusac.infer.crop import predict_crop
    from napari_monusac.masks.instances import instances_from_maps

    fitted = FittedThresholds(inside=0.3, nucleus=0.35, peak=0.4, agreement=0.1, temperature=2.0)
    model = type(stand_in)(stand_in.network, stand_in.recipe, SimpleNamespace(fitted=fitted))
    model.path = tmp_path / "best.safetensors"
    options = {k: v for k, v in OPTIONS.items() if k not in {"tile_px", "overlap_px"}}
    path = predict_slide(tissue, model, tmp_path / "s.zarr", **OPTIONS)
    predict_crop(tissue, model, tmp_path / "c.zarr", **options)
    for one in (path, tmp_path / "c.zarr"):
        store = PredictionStore.open(one)
        maps = store.read_maps()
        expected = instances_from_maps(maps[:5], maps[5:], um_per_px=0.25, **fitted.settings())
        assert store.info.settings == fitted.settings()
        assert store.info.fitted == fitted
        assert abs(len(store.read_table()) - len(expected)) <= 5  # of 525: float maps there, 255ths here
        plain = instances_from_maps(maps[:5], maps[5:], um_per_px=0.25)
        assert abs(len(plain) - len(expected)) > 20
    assert predict(tissue, model, **OPTIONS).fitted == fitted

    def not_asked(*_: object, **__: object) -> None:
        raise AssertionError("the network is asked again")

    monkeypatch.setattr(slide, "run_tiles", not_asked)
    monkeypatch.setattr(crop, "predict", not_asked)
    heard: list[float] = []
    predict_slide(tissue, model, path, settings={"inside_threshold": 0.6}, progress=heard.append, **OPTIONS)
    assert heard[-1] == 1
    done = predict_crop(tissue, model, tmp_path / "c.zarr", settings={"inside_threshold": 0.6}, **options)
    assert not done.skipped
    for one in (path, tmp_path / "c.zarr"):
        info = PredictionStore.open(one).info
        assert info.settings == {**fitted.settings(), "inside_threshold": 0.6}
    assert predict_crop(tissue, model, tmp_path / "c.zarr", settings={"inside_threshold": 0.6}, **options).skipped
    assert predict_crop(tissue, model, tmp_path / "c.zarr", **options).skipped, "nobody asks for other ones"


def test_a_foreign_folder_is_not_taken_for_finished(stand_in: Any, tissue: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "s.zarr").mkdir()
    with pytest.raises(StoreError, match=r"s\.zarr"):
        predict_slide(tissue, stand_in, tmp_path / "s.zarr", **OPTIONS)


def test_region_and_scale(stand_in: Any, tissue: np.ndarray, tmp_path: Path) -> None:
    whole = _both(predict(tissue, stand_in, **OPTIONS))
    path = predict_slide(tissue, stand_in, tmp_path / "r.zarr", region=(100, 200, 150, 130), **OPTIONS)
    part = read_prediction(path)
    assert part.offset_px == (100, 200)
    assert np.abs(_both(part) - whole[:, 100:250, 200:330]).max() < 4e-3
    path = predict_slide(tissue, stand_in, tmp_path / "u.zarr", **{**OPTIONS, "um_per_px": 0.5})
    finer = PredictionStore.open(path)
    assert finer.shape == (840, 1220)  # at the network's scale
    assert finer.info.um_per_px == 0.25
    assert finer.info.boundary_width == 3
    assert any("resampled" in n for n in finer.info.notes)


def test_two_processes_do_not_write_the_same_store(stand_in: Any, tissue: np.ndarray, tmp_path: Path) -> None:
    def again(progress: float) -> None:
        if progress == 1.0:
            return
        with pytest.raises(StoreError, match="another process"):
            predict_slide(tissue, stand_in, tmp_path / "s.zarr", **OPTIONS)

    predict_slide(tissue, stand_in, tmp_path / "s.zarr", progress=again, nuclei=False, **OPTIONS)
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]


@pytest.mark.parametrize("alive", [False, True])
def test_a_lock_of_another_machine(
    stand_in: Any, tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    """Its process cannot be asked: who touches the lock with each tile is at work, who is silent is dead."""
    import json
    import os
    import threading

    monkeypatch.setattr(locks, "SILENT_S", 1.5)
    lock = tmp_path / "t.zarr.lock"
    lock.write_text(json.dumps({"pid": 1, "started": 0.0, "host": "another machine"}))
    if not alive:
        predict_slide(tissue, stand_in, tmp_path / "t.zarr", nuclei=False, **OPTIONS)
        assert [p.name for p in tmp_path.iterdir()] == ["t.zarr"]
        return
    sign = threading.Timer(0.4, lambda: os.utime(lock))
    sign.start()
    with pytest.raises(StoreError, match="another process"):
        predict_slide(tissue, stand_in, tmp_path / "t.zarr", nuclei=False, **OPTIONS)
    sign.join()
    assert lock.exists()


def test_whoever_lost_the_lock_stops_writing(stand_in: Any, tissue: np.ndarray, tmp_path: Path) -> None:
    def stolen(progress: Any) -> None:
        if progress.done == 3:
            (tmp_path / "s.zarr.lock").write_text("{}")

    with pytest.raises(StoreError, match="another process"):
        predict_slide(tissue, stand_in, tmp_path / "s.zarr", progress=stolen, **OPTIONS)
    assert (tmp_path / "s.zarr.lock").exists(), "it is somebody else's"


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"image": "turned"}, "another image"),
        ({"model": "moved"}, "another model"),
        ({"flips": True}, "without flips"),
        ({"um_per_px": 0.26}, "0.25 um/px, not at 0.26"),
        ({"region": (0, 0, 200, 200)}, "another region"),
    ],
)
def test_a_finished_store_of_something_else_is_refused(
    stand_in: Any, tissue: np.ndarray, tmp_path: Path, other: dict[str, Any], says: str
) -> None:
    import copy

    path = predict_slide(tissue, stand_in, tmp_path / "s.zarr", **OPTIONS)
    stamp = (path / "zarr.json").stat().st_mtime_ns
    image, model = tissue, stand_in
    if other.pop("image", None):
        image = np.ascontiguousarray(tissue[::-1, ::-1])
    if other.pop("model", None):
        model = type(stand_in)(copy.deepcopy(stand_in.network), stand_in.recipe)
        model.network.semantic.bias.data += 1
    with pytest.raises(StoreError, match=says):
        predict_slide(image, model, path, **{**OPTIONS, **other})
    assert (path / "zarr.json").stat().st_mtime_ns == stamp
    predict_slide(image, model, path, **{**OPTIONS, **other}, overwrite=True)


@pytest.mark.parametrize("change", [{"um_per_px": 0.26}, {"region": (32, 64, 200, 300)}, {"skip_glass": True}])
def test_work_with_other_options_is_not_gone_on_with(
    stand_in: Any, tissue: np.ndarray, tmp_path: Path, change: dict[str, Any]
) -> None:
    calls = iter(range(1000))
    with pytest.raises(Cancelled):
        predict_slide(tissue, stand_in, tmp_path / "s.zarr", should_stop=lambda: next(calls) >= 4, **OPTIONS)
    done: list[int] = []
    path = predict_slide(
        tissue, stand_in, tmp_path / "s.zarr", progress=lambda p: done.append(p.done), **{**OPTIONS, **change}
    )
    assert done[0] == 1
    assert PredictionStore.open(path).info.um_per_px == change.get("um_per_px", 0.25)


def test_nuclei_that_a_stop_left_out_are_separated_without_the_network(
    stand_in: Any, tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_monusac.infer import slide

    path = predict_slide(tissue, stand_in, tmp_path / "s.zarr", nuclei=False, **OPTIONS)
    monkeypatch.setattr(slide, "run_tiles", lambda *_, **__: pytest.fail("the network is asked"))
    assert PredictionStore.open(path).read_table() is None
    heard: list[float] = []
    predict_slide(tissue, stand_in, path, progress=heard.append, **OPTIONS)
    assert PredictionStore.open(path).read_table() is not None
    assert heard == [1.0], "one block"


def test_a_slide_of_another_scale_scores_as_predicted_in_memory(stand_in: Any, tmp_path: Path) -> None:
    """A network that reads the truth off the colours: what is stored at its scale must fit the image's truth."""
    import torch
    from torch import nn

    from napari_monusac.masks.instances import instances_from_maps
    from napari_monusac.masks.ternary import ternary_map
    from napari_monusac.scoring.metrics.panoptic import panoptic_quality

    class Colours(nn.Module):
        stride = 32

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            red, green, _ = images.clamp(1e-3, 1 - 1e-3).split(1, 1)
            low = torch.full_like(red, -20.0)
            nucleus, inside, edge = red.logit(), green.logit(), (red * (1 - green)).clamp(1e-3, 1 - 1e-3).logit()
            return torch.cat([-nucleus, low, nucleus, low, low], 1), torch.cat([-nucleus, inside, edge], 1)

    truth = np.zeros((300, 420), np.int32)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    for k, centre in enumerate(((i, j) for i in range(20, 290, 30) for j in range(20, 410, 30)), 1):
        rows, columns = 8 + 4 * rng.random(2)
        truth[((y - centre[0]) / rows) ** 2 + ((x - centre[1]) / columns) ** 2 < 1] = k
    image = np.zeros((*truth.shape, 3), np.uint8)
    ternary = ternary_map(truth, boundary_width=3)
    image[..., 0] = 255 * ((truth > 0) | (ternary > 0))
    image[..., 1] = 255 * (ternary == 1)
    model = type(stand_in)(Colours(), stand_in.recipe)
    for um, region in ((0.5, None), (0.17, (31, 57, 203, 251))):
        options = {**OPTIONS, "um_per_px": um, "region": region}
        path = predict_slide(image, model, tmp_path / f"{um}.zarr", **options)
        whole = predict(image, model, **options)
        assert PredictionStore.open(path).shape != whole.shape  # stored at the network's scale
        back = read_prediction(path)
        assert (back.shape, back.um_per_px, back.offset_px) == (whole.shape, um, whole.offset_px)
        assert back.boundary_width == whole.boundary_width
        difference = np.abs(_both(back) - _both(whole))
        assert difference[:, 3:-3, 3:-3].max() < 0.02  # the store ends where the region does
        assert difference.mean() < 0.005
        part = truth if region is None else truth[31:234, 57:308]
        here = instances_from_maps(
            whole.semantic, whole.ternary, boundary_width=whole.boundary_width, um_per_px=um
        ).instances
        nuclei = back.nuclei
        in_memory, on_disk = (panoptic_quality(part, i) for i in (here, nuclei.instances))
        assert in_memory.pq > 0.75
        assert on_disk.pq > in_memory.pq - 0.05  # the maps are coarser or finer than the image
        assert on_disk.fp <= in_memory.fp + 1
        assert on_disk.fn <= in_memory.fn + 1  # slivers of nuclei that the region cuts
        assert nuclei.um_per_px == um
        found = nuclei.table.sort_values("label")
        ys, xs = np.nonzero(nuclei.instances)
        counts = np.bincount(nuclei.instances[ys, xs])
        np.testing.assert_array_equal(found["area_px"], counts[counts > 0])
        for name, place in (("centroid_y", ys), ("centroid_x", xs)):
            means = np.bincount(nuclei.instances[ys, xs], place)[counts > 0] / counts[counts > 0]
            assert np.abs(found[name].to_numpy() - means).max() <= 0.55
