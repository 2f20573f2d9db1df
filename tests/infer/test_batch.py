"""Many slides: failures stay alone, dead workers are replaced, finished slides are skipped."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_monusac.core.errors import Cancelled, StoreError
from napari_monusac.infer import batch
from napari_monusac.infer.batch import SlideJob, SlideResult, cluster_workers, dask_executor, output_paths, predict_many
from napari_monusac.io.predictions.prediction_store import PredictionStore

pytestmark = pytest.mark.torch
OPTIONS = {
    "device": "cpu",
    "precision": "float32",
    "um_per_px": 0.25,
    "tile_px": 64,
    "overlap_px": 16,
    "skip_glass": False,
}


@pytest.fixture
def slides(tmp_path: Path, tissue: np.ndarray) -> list[Path]:
    paths = []
    for k in range(4):
        paths.append(tmp_path / f"slide_{k}.png")
        Image.fromarray(tissue[: 120 + k, :200]).save(paths[-1])
    return paths


def test_one_that_fails_does_not_stop_the_rest(slides: list[Path], checkpoint: Path, tmp_path: Path) -> None:
    slides[1].write_bytes(b"no image at all")
    small = tmp_path / "small.png"
    Image.fromarray(np.full((7, 7, 3), 200, np.uint8)).save(small)
    assert batch.predict_one(
        SlideJob(image=str(small), out=str(tmp_path / "small.zarr")), str(checkpoint), OPTIONS
    ).message == (f"{small}: an image of 7 x 7 px — predict on images of 16 x 16 px or more")
    with ThreadPoolExecutor(1) as pool:
        results = list(predict_many(slides, checkpoint, tmp_path / "out", executor=pool, options=OPTIONS))
    assert [r.status for r in results] == ["done", "failed", "done", "done"]
    assert "slide_1.png" in results[1].message
    assert len(PredictionStore.open(results[0].out).read_table()) >= 0
    with ThreadPoolExecutor(1) as pool:
        again = list(predict_many(slides, checkpoint, tmp_path / "out", executor=pool, options=OPTIONS))
    assert sorted(r.status for r in again) == ["failed", "skipped", "skipped", "skipped"]


class _Fragile(ThreadPoolExecutor):
    """Breaks, as a process pool does, whenever slide 2 is on it."""

    def __init__(self) -> None:
        super().__init__(2)
        self.broken = False

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.broken:
            raise BrokenExecutor("broken before")

        def task() -> SlideResult:
            image, out = args[0].image, args[0].out
            if "slide_2" in image:
                self.broken = True
            time.sleep(0.05)
            if self.broken:
                raise BrokenExecutor("a worker died")
            return SlideResult(image=image, out=out, status="done")

        return super().submit(task)


def test_a_slide_that_kills_its_worker_fails_alone(slides: list[Path], checkpoint: Path, tmp_path: Path) -> None:
    pools: list[_Fragile] = []

    def make() -> _Fragile:
        pools.append(_Fragile())
        return pools[-1]

    results = {
        Path(r.image).stem: r for r in predict_many(slides, checkpoint, tmp_path / "out", executor=make, workers=2)
    }
    assert {k: r.status for k, r in results.items()} == {
        "slide_0": "done",
        "slide_1": "done",
        "slide_2": "failed",
        "slide_3": "done",
    }
    assert results["slide_2"].attempts == 3
    assert "died 3 times" in results["slide_2"].message
    assert len(pools) > 1


def test_stop(slides: list[Path], checkpoint: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(Cancelled, match="are kept"):
        list(predict_many(slides, checkpoint, tmp_path / "out", executor=pool, should_stop=lambda: True))


def test_a_stop_is_heard_in_the_middle_of_a_slide(checkpoint: Path, tmp_path: Path, tissue: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(np.tile(tissue, (5, 4, 1))).save(tmp_path / "large.png")
    asked = iter([False, True])
    out = tmp_path / "out"
    with ThreadPoolExecutor(1) as pool, pytest.raises(Cancelled):
        list(
            predict_many(
                [tmp_path / "large.png"], checkpoint, out, executor=pool, should_stop=lambda: next(asked),
                options={"um_per_px": 0.25, "tile_px": 64, "overlap_px": 16},
            )
        )  # fmt: skip
    assert list(out.iterdir()) == [], "neither a store nor the request to stop"


def test_names_never_fall_together(tmp_path: Path) -> None:
    names = output_paths([tmp_path / "a" / "x.svs", tmp_path / "b" / "x.svs", tmp_path / "y.tif"], tmp_path / "out")
    assert [p.name for p in names.values()] == ["a__x.svs.zarr", "b__x.svs.zarr", "y.zarr"]
    with pytest.raises(StoreError, match="same name"):
        output_paths([tmp_path / "1" / "a" / "x.svs", tmp_path / "2" / "a" / "x.svs"], tmp_path)


def test_a_job_knows_its_channels_scale_and_store(tissue: np.ndarray, checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(tissue[:100, :120, ::-1]).save(tmp_path / "swapped.png")
    Image.fromarray(tissue[:100, :120]).save(tmp_path / "right.png")
    jobs = [
        SlideJob(
            image=str(tmp_path / "swapped.png"), out=str(tmp_path / "a.zarr"), channel_order="bgr", um_per_px=0.25
        ),
        SlideJob(image=str(tmp_path / "right.png"), out=str(tmp_path / "b.zarr"), channel_order="rgb", um_per_px=0.25),
    ]
    options = {k: v for k, v in OPTIONS.items() if k != "um_per_px"}
    with ThreadPoolExecutor(1) as pool:
        results = list(predict_many(jobs, checkpoint, tmp_path, executor=pool, options=options))
    assert [r.status for r in results] == ["done", "done"]
    first, second = (PredictionStore.open(tmp_path / f"{n}.zarr") for n in "ab")
    np.testing.assert_array_equal(first.read_maps(), second.read_maps())
    assert first.info.um_per_px == 0.25


def test_a_missing_checkpoint_is_said_for_each(slides: list[Path], tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        results = list(predict_many(slides[:2], tmp_path / "none.safetensors", tmp_path / "out", executor=pool))
    assert all(r.status == "failed" and "none.safetensors" in r.message for r in results)


def test_dask_with_two_workers_one_of_them_killed(slides: list[Path], checkpoint: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "out"
    with (
        distributed.LocalCluster(
            2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        assert len(set(pids)) == 2
        killed: list[int] = []

        def kill_one() -> None:
            """As soon as both workers are at a slide, one of them is shot."""
            while sum(len(v) for v in client.processing().values()) < 2:
                time.sleep(0.05)
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])

        shot = threading.Thread(target=kill_one)
        shot.start()
        executor = dask_executor(client=client)
        assert cluster_workers(executor) == 2
        results = list(predict_many(slides, checkpoint, out, executor=executor, workers=2, options=OPTIONS))
        shot.join()
    assert killed
    assert {Path(r.image).name for r in results} == {p.name for p in slides}
    assert [r.status for r in results] == ["done"] * 4, [r.message for r in results]
    assert sorted(p.name for p in out.iterdir()) == [f"{p.stem}.zarr" for p in slides]  # nothing half-done is left
    with ThreadPoolExecutor(1) as pool:
        expected = list(predict_many(slides, checkpoint, tmp_path / "here", executor=pool, options=OPTIONS))
    for result in expected:
        assert PredictionStore.open(result.out).info.engine == "torch float32 on cpu"  # as OPTIONS wants it
        there = PredictionStore.open(out / Path(result.out).name).read_maps().astype(int)
        assert np.abs(there - PredictionStore.open(result.out).read_maps()).max() <= 1


def test_a_scheduler_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")

    def silent(*_: Any, **__: Any) -> None:
        raise TimeoutError("no answer")

    monkeypatch.setattr(distributed, "Client", silent)
    with pytest.raises(batch.MonusacError, match="tcp://nowhere"):
        dask_executor("tcp://nowhere:1")


def test_workers_take_the_channels_that_the_patient_has(
    stand_in: Any, tissue: np.ndarray, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crop too pale to tell goes with its patient's swapped ones, with workers as without."""
    from napari_monusac.cli.app import main
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.synth import synthesize
    from napari_monusac.synth.slides import write_swapped_tif

    folder = tmp_path / "data" / "TCGA-5P-A9K0-01Z-00-DX1"
    folder.mkdir(parents=True)
    pale = np.full((64, 64, 3), (236, 222, 240), np.uint8)
    for number, image in ((1, synthesize((160, 192), seed=3).image), (2, pale)):
        write_swapped_tif(image, folder / f"{folder.name}_{number}.tif")
    monkeypatch.setattr(batch, "_processes", lambda workers: lambda: ThreadPoolExecutor(workers))
    for name, more in (("one", []), ("two", ["--workers", "2"])):
        argv = ["predict", folder.parent, "--checkpoint", checkpoint, "--device", "cpu", "--out", tmp_path / name]
        with pytest.raises(SystemExit) as end:
            main([*map(str, argv), *more])
        assert not end.value.code
    stores = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert len(stores) == 2
    for name in stores:
        first, second = (PredictionStore.open(tmp_path / k / name) for k in ("one", "two"))
        # stored in 1/255; another number of threads may round the last place differently
        difference = np.asarray(first.read_maps(), np.int16) - np.asarray(second.read_maps(), np.int16)
        assert np.abs(difference).max() <= 1
    collection = open_collection(folder.parent)
    crop = next(c for c in collection.crops if c.name.endswith("_2"))
    assert collection.channels_swapped(crop)  # the majority's word ...
    from napari_monusac.io.slides.slide import open_slide

    assert not open_slide(crop.image).channels_swapped  # ... against its own


def test_names_that_differ_in_case_alone_do_not_meet(tmp_path):
    images = [tmp_path / "a" / "Case1.svs", tmp_path / "b" / "case1.svs"]
    assert len({str(p).casefold() for p in output_paths(images, tmp_path / "out").values()}) == 2
