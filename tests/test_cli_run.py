"""Train, predict, evaluate, export, study, demo, review through the command line, on one tiny run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.io import loadmat

from napari_monusac.cli import main
from napari_monusac.core.events import BatchEnded, RunEnded
from napari_monusac.core.prediction import Prediction
from napari_monusac.core.recipe import load_recipe
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.predictions.open import read_prediction
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.masks.ternary import ternary_map
from napari_monusac.scoring.metrics.panoptic import panoptic_quality

pytestmark = pytest.mark.torch

TINY = [
    f"--set={s}"
    for s in ("epochs=1", "steps_per_epoch=2", "patch_size=64", "batch_size=2", "precision=float32", "warmup_epochs=0")
] + ["--set=schedule=constant", "--set=decoder_channels=[16, 8, 8, 8, 8]", "--device=cpu", "--threads=1"]


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]):
    """Call the command line in this process."""

    def call(*argv: str | Path) -> Result:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in argv])
        out, err = capfd.readouterr()
        return Result(int(end.value.code or 0), out, err)

    return call


@pytest.fixture(scope="session")
def predictions(example_run: Path, example_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole example collection, predicted once."""
    out = tmp_path_factory.mktemp("predictions") / "out"
    with pytest.raises(SystemExit) as end:
        main(["predict", str(example_data), "--checkpoint", str(example_run), "--out", str(out), "--device", "cpu"])
    assert not end.value.code
    return out


@pytest.fixture(scope="module")
def sure_predictions(example_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions that know the truth: full of nuclei, so that every format has something to hold."""
    out = tmp_path_factory.mktemp("sure")
    collection = open_collection(example_data)
    for crop in collection.crops[:2]:
        maps = label_maps(collection.annotation(crop), (160, 192))
        semantic, ternary = np.eye(5)[maps.semantic], np.eye(3)[ternary_map(maps.instances)]
        prediction = Prediction(
            np.moveaxis(semantic, 2, 0).astype(np.float32),
            np.moveaxis(ternary, 2, 0).astype(np.float32),
            um_per_px=0.25,
        )
        nuclei = instances_from_maps(prediction.semantic, prediction.ternary, um_per_px=0.25)
        path = out / f"{crop.name}.zarr"
        write_prediction(prediction, path, instances=nuclei.instances, table=nuclei.table, image=str(crop.image))
    return out


# ---------------------------------------------------------------- train


def test_train_makes_a_run_folder(run, example_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "läuft"
    result = run("train", "--data", example_data, "--recipe", "quick", "--run", folder, *TINY, "--json")
    assert result.code == 0, result.err
    answer = result.json
    assert answer["reason"] == "completed"
    assert answer["step"] == 2
    assert answer["best_epoch"] == 1
    assert answer["scores"]["combo"] == pytest.approx(answer["best_combo"])
    assert [p.name for p in folder.iterdir() if "best" in p.name] == ["best.safetensors"]
    assert RunFolder.open(folder).status == "completed"
    assert "epoch 1/1" in result.err
    again = run("train", "--data", example_data, "--recipe", "quick", "--run", folder, *TINY)
    assert again.code == 1
    assert again.out == ""
    assert "--resume" in again.err or "resume" in again.err
    more = run("train", "--resume", "--run", folder, "--set", "epochs=2", "--json")
    assert more.code == 0, more.err
    assert more.json["step"] == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_a_resume_goes_on(
    run, example_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    from napari_monusac.cli import console

    def take(self, event) -> None:
        if isinstance(event, BatchEnded) and event.step == 1:
            signal.raise_signal(number)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(console._View, "take", take)
        result = run(
            "train", "--data", example_data, "--recipe", "quick", "--run", folder, *TINY, "--set=steps_per_epoch=3"
        )
    assert result.code == 130
    assert "saved after this batch" in result.err
    assert f"--resume --run {folder}" in result.err
    stopped = RunFolder.open(folder)
    assert stopped.status == "stopped"
    assert stopped.last.is_file()
    assert sum(isinstance(e, RunEnded) for e in stopped.read_events()) == 1
    resumed = run("train", "--resume", "--run", folder, "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["step"] == 3
    assert signal.getsignal(number) is not None


def test_resume_starts_a_run_where_there_is_none(run, example_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    result = run("train", "--resume", "--data", example_data, "--recipe", "quick", "--run", folder, *TINY)
    assert result.code == 0, result.err
    assert "completed" in result.out


def test_dry_run_leaves_nothing(run, example_data: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = run("train", "--data", example_data, "--recipe", "quick", *TINY, "--dry-run")
    assert result.code == 0, result.err
    assert "crops can be read" in result.out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["--recipe", "quick", "--run", "X"], 2, "--data"),
        (["--data", "NOWHERE", "--run", "X"], 1, "NOWHERE"),
        (["--data", "DATA", "--recipe", "quick", "--run", "X", "--set", "lr=7"], 1, "lr"),
        (["--data", "DATA", "--recipe", "quick", "--run", "X", "--set", "colour=red"], 1, "colour"),
        (["--data", "DATA", "--recipe", "quick", "--run", "X", "--set", "epochs"], 1, "key=value"),
        (["--data", "DATA", "--recipe", "quick", "--run", "X", "--device", "toaster"], 1, "toaster"),
        (["--data", "DATA", "--recipe", "quick", "--run", "X", "--split", "official"], 1, "official"),
        (["--data", "DATA", "--recipe", "quick", "--run", "X", "--split", "random"], 2, "random"),
        (["--resume"], 2, "--run"),
    ],
)
def test_what_cannot_be_trained(run, example_data: Path, tmp_path: Path, argv: list[str], code: int, says: str) -> None:
    known = {"DATA": str(example_data), "X": str(tmp_path / "x"), "NOWHERE": str(tmp_path / "NOWHERE")}
    result = run("train", *(known.get(a, a) for a in argv))
    assert result.code == code, result.err
    assert says in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


# ---------------------------------------------------------------- predict and evaluate


def test_predictions_fit_their_images(predictions: Path, example_data: Path) -> None:
    stores = sorted(predictions.glob("*.zarr"))
    assert len(stores) == 4
    for store in stores:
        prediction = read_prediction(store)
        assert prediction.shape == (160, 192)
        assert prediction.um_per_px == pytest.approx(0.25)
        assert prediction.semantic.sum(0) == pytest.approx(np.ones((160, 192)), abs=0.02)
        assert PredictionStore.open(store).read_table() is not None


def test_finished_images_are_skipped_and_a_bad_one_is_told(
    run, example_run: Path, example_data: Path, tmp_path: Path
) -> None:
    image = next(example_data.rglob("*0001*_1.svs"))
    (tmp_path / "broken.svs").write_bytes(b"II*\0 this is no slide")
    argv = [
        "predict",
        image,
        tmp_path / "broken.svs",
        "--checkpoint",
        example_run,
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
    ]
    first = run(*argv, "--json")
    assert first.code == 1
    found = {Path(r["image"]).name: r for r in first.json["results"]}
    assert found[image.name]["status"] == "done"
    assert set(found[image.name]["nuclei"]) == {"Epithelial", "Lymphocyte", "Neutrophil", "Macrophage"}
    assert found["broken.svs"]["status"] == "failed"
    assert "broken.svs" in found["broken.svs"]["message"]
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.json")}
    second = run(*argv, "--json", "--counts", tmp_path / "counts.csv")
    counts = pd.read_csv(tmp_path / "counts.csv")
    assert counts["total"].tolist() == [sum(found[image.name]["nuclei"].values())] * len(counts)
    assert counts["area_mm2"][0] == pytest.approx(160 * 192 * 0.25**2 * 1e-6)
    assert {Path(r["image"]).name: r["status"] for r in second.json["results"]}[image.name] == "skipped"
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.json")} == written


def test_thresholds_of_the_command_go_over_the_fitted_ones(
    run, example_run: Path, example_data: Path, tmp_path: Path
) -> None:
    from napari_monusac.network.checkpoint import read_metadata

    image = next(example_data.rglob("*0001*_1.svs"))
    argv = ["predict", image, "--checkpoint", example_run, "--out", tmp_path / "out", "--device", "cpu", "--json"]
    fitted = read_metadata(example_run).fitted
    first = run(*argv)
    assert first.json["thresholds"] == fitted.settings()
    assert fitted.sentence() in first.err
    (store,) = (tmp_path / "out").glob("*.zarr")
    assert PredictionStore.open(store).info.settings == fitted.settings()
    second = run(*argv, "--inside", 0.65, "--part", 0)
    assert second.json["results"][0]["status"] == "done", "segmented again, not predicted again"
    assert PredictionStore.open(store).info.settings == {
        **fitted.settings(), "inside_threshold": 0.65, "part_threshold": 0.0,
    }  # fmt: skip
    assert run(*argv, "--inside", 1.5).code == 2


def test_a_prediction_of_another_image_is_never_taken_for_finished(run, example_run: Path, tmp_path: Path) -> None:
    """Two patients' slides of the same name, one folder of predictions."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for patient in ("P1", "P2"):
        (tmp_path / patient).mkdir()
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(tmp_path / patient / "slide.png")
    argv = ["--checkpoint", example_run, "--out", tmp_path / "out", "--device", "cpu", "--json"]
    first = run("predict", tmp_path / "P1" / "slide.png", *argv, "--um-per-px", 0.5)
    assert first.json["results"][0]["status"] == "done"
    assert any("0.5 um/px" in note and "resampled" in note for note in first.json["results"][0]["notes"])
    second = run("predict", tmp_path / "P2" / "slide.png", *argv, "--um-per-px", 0.5)
    (result,) = second.json["results"]
    assert (second.code, result["status"]) == (1, "failed")
    assert "another image" in result["message"]
    assert "P1" in result["message"]
    other_scale = run("predict", tmp_path / "P1" / "slide.png", *argv)
    assert "at 0.5 um/px" in other_scale.json["results"][0]["message"]
    over = run("predict", tmp_path / "P2" / "slide.png", *argv, "--overwrite")
    assert over.json["results"][0]["status"] == "done"
    assert read_prediction(tmp_path / "out" / "slide.zarr").um_per_px is None


@pytest.mark.parametrize(("option", "value", "says"), [("--device", "tpu", "tpu"), ("--um-per-px", -1, "um_per_px -1")])
def test_predict_with_values_that_cannot_be(
    run, example_run: Path, example_data: Path, tmp_path: Path, option: str, value: Any, says: str
) -> None:
    image = next(example_data.rglob("*.svs"))
    result = run("predict", image, "--checkpoint", example_run, "--out", tmp_path / "out", option, value)
    assert result.code == 1
    assert says in result.err
    assert "Traceback" not in result.err


def test_an_unforeseen_error_stays_with_its_image(
    run, example_run: Path, example_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_monusac.infer import crop

    true, first = crop.predict, []

    def fails_once(*args: Any, **options: Any) -> Any:
        if not first:
            first.append(1)
            raise RuntimeError("CUDA out of memory")
        return true(*args, **options)

    monkeypatch.setattr(crop, "predict", fails_once)
    images = sorted(example_data.rglob("*.svs"))[:2]
    result = run(
        "predict", *images, "--checkpoint", example_run, "--out", tmp_path / "out", "--device", "cpu", "--json"
    )
    assert result.code == 1
    assert [r["status"] for r in result.json["results"]] == ["failed", "done"]
    assert "out of memory" in result.json["results"][0]["message"]


@pytest.mark.parametrize("what", ["image", "checkpoint", "foreign"])
def test_predict_without_what_it_needs(run, example_run: Path, example_data: Path, tmp_path: Path, what: str) -> None:
    images, checkpoint = example_data, example_run  # of a whole folder: not a line for each image
    if what == "image":
        images = tmp_path / "none.svs"
    elif what == "checkpoint":
        checkpoint = tmp_path / "none.safetensors"
    else:
        checkpoint = tmp_path / "foreign.safetensors"
        checkpoint.write_bytes(b"\x08\0\0\0\0\0\0\0{}      nothing")
    result = run("predict", images, "--checkpoint", checkpoint, "--out", tmp_path / "out")
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert {"image": "none.svs", "checkpoint": "none.safetensors", "foreign": "foreign.safetensors"}[what] in result.err


def test_evaluate_agrees_with_the_library(run, predictions: Path, example_data: Path, tmp_path: Path) -> None:
    result = run(
        "evaluate", "--truth", example_data, "--pred", predictions, "--include-training", "--json",
        "--report", tmp_path / "r.html",
    )  # fmt: skip
    assert result.code == 0, result.err
    counts = np.zeros(3, int)
    for xml in example_data.rglob("*.xml"):
        truth = label_maps(read_annotation(xml), (160, 192)).instances
        quality = panoptic_quality(truth, read_prediction(predictions / f"{xml.stem}.zarr").nuclei.instances)
        counts += (quality.tp, quality.fp, quality.fn)
    assert [result.json["instances"][k] for k in ("tp", "fp", "fn")] == counts.tolist()
    assert len(result.json["crops"]) == 4
    assert "research use" in (tmp_path / "r.html").read_text("utf-8")
    assert (tmp_path / "r.csv").is_file()
    table = run("evaluate", "--truth", example_data, "--pred", predictions, "--include-training")
    assert "Per patient" in table.out
    assert "Macrophage" in table.out


def test_truth_against_itself_is_perfect(run, example_data: Path, tmp_path: Path) -> None:
    for to in ("geojson", "tif", "mat"):
        assert run("export", example_data, "--to", to, "--out", tmp_path / to).code == 0
        result = run("evaluate", "--truth", example_data, "--pred", tmp_path / to, "--json")
        assert result.code == 0, result.err
        assert result.json["instances"]["pq"] == pytest.approx(1.0)
        assert result.json["pixels"]["combo"] == pytest.approx(1.0)


def test_evaluate_with_nothing_to_compare(run, example_data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("evaluate", "--truth", example_data, "--pred", tmp_path / "empty")
    assert result.code == 1
    assert result.err.count("\n") == 1


# ---------------------------------------------------------------- export


@pytest.mark.parametrize("to", ["geojson", "aperio", "csv", "tif", "coco", "mat"])
def test_every_format_holds_the_predicted_nuclei(run, to: str, sure_predictions: Path, tmp_path: Path) -> None:
    store = sorted(sure_predictions.glob("*.zarr"))[0]
    nuclei = read_prediction(store).nuclei
    instances, table = nuclei.instances, nuclei.table
    assert len(table) > 10
    result = run("export", store, "--to", to, "--out", tmp_path, "--json")
    assert result.code == 0, result.err
    files = [Path(f) for f in result.json["files"]]
    assert all(f.is_file() for f in files)
    if to in {"geojson", "aperio"}:
        back = label_maps(read_annotation(files[0]), instances.shape)
        assert np.array_equal(back.instances > 0, instances > 0)
        assert len(read_annotation(files[0]).nuclei) == len(table)
    elif to == "csv":
        assert len(files[0].read_text("utf-8").splitlines()) == len(table) + 1
    elif to == "tif":
        written = tifffile.imread(next(f for f in files if f.name.endswith("_instances.tif")))
        assert np.array_equal(written > 0, instances > 0)
        assert len(np.unique(written)) == len(np.unique(instances))
    elif to == "coco":
        assert len(json.loads(files[0].read_text("utf-8"))["annotations"]) == len(table)
    else:
        numbers = [np.unique(loadmat(f)["n_ary_mask"])[1:] for f in files]
        assert len(np.concatenate(numbers)) == len(table)


def test_export_into_the_parent_slide(run, example_data: Path, tmp_path: Path) -> None:
    xml = next(example_data.rglob("*0002*_1.xml"))
    assert run("export", xml, "--to", "aperio", "--out", tmp_path, "--parent").code == 0
    moved = read_annotation(tmp_path / xml.name).regions[0].vertices - read_annotation(xml).regions[0].vertices
    assert np.array_equal(np.unique(moved, axis=0), [[4096 * 2, 4096 * 1]])
    assert run("export", xml, "--to", "csv", "--out", tmp_path, "--parent").code == 2


def test_export_of_nothing(run, tmp_path: Path) -> None:
    for source in (tmp_path / "none.zarr", tmp_path):
        result = run("export", source, "--to", "csv", "--out", tmp_path / "out")
        assert result.code == 1
        assert str(source) in result.err


def test_onnx(run, example_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    result = run("export", example_run, "--to", "onnx", "--out", tmp_path, "--json")
    assert result.code == 0, result.err
    assert Path(result.json["files"][0]).stat().st_size > 1000


# ---------------------------------------------------------------- study, demo, review


def test_study_compares_and_goes_on(run, example_data: Path, tmp_path: Path) -> None:
    own = tmp_path / "wide.toml"
    own.write_text('name = "wide"\nencoder = "resnet18"\nencoder_weights = "none"\nboundary_width = 5\n', "utf-8")
    argv = [
        "study",
        "--data",
        example_data,
        "--out",
        tmp_path / "study",
        "--recipe",
        "quick",
        "--recipe",
        own,
        *TINY,
        "--json",
    ]
    first = run(*argv)
    assert first.code == 0, first.err
    rows = first.json["runs"]
    assert [(r["recipe"], r["status"]) for r in rows] == [("quick", "completed"), ("wide", "completed")]
    assert first.json["split"]["validation"]
    lines = (tmp_path / "study" / "comparison.csv").read_text("utf-8").splitlines()
    assert len(lines) == 3
    figure = ElementTree.parse(tmp_path / "study" / "comparison.svg").getroot()
    assert "wide" in "".join(figure.itertext())
    events = (tmp_path / "study" / "wide" / "events.jsonl").read_bytes()
    assert run(*argv).json["runs"] == rows
    assert (tmp_path / "study" / "wide" / "events.jsonl").read_bytes() == events
    other = run(*argv, "--set", "lr=1e-5")
    assert other.code == 1
    assert "lr" in other.err


def _study(data: Path, out: Path) -> list[str]:
    recipes = ["--recipe", "quick", "--recipe", "run-3"]
    common = ["--set=encoder=resnet18", "--set=encoder_weights=none", *TINY]
    return ["study", "--data", str(data), "--out", str(out), *recipes, *common]


def test_a_signal_stops_the_whole_study(run, example_data: Path, tmp_path: Path) -> None:
    """SIGTERM to a real process: the run at work is saved, the next one not begun; the same command goes on."""
    import subprocess
    import time

    out = tmp_path / "study"
    command = [sys.executable, "-m", "napari_monusac", *_study(example_data, out), "--set=steps_per_epoch=2000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    events = out / "quick" / "events.jsonl"
    until = time.monotonic() + 200
    while not (events.is_file() and "batch-ended" in events.read_text("utf-8")):
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    said = child.communicate(timeout=120)[1]
    assert child.returncode == 130, said
    assert "no other run begins" in said
    assert "the same command goes on" in said
    stopped = RunFolder.open(out / "quick")
    assert stopped.status == "stopped"
    assert stopped.last.is_file()
    assert sum(isinstance(e, RunEnded) for e in stopped.read_events()) == 1
    assert not (out / "run-3").exists()
    assert "stopped" in (out / "comparison.csv").read_text("utf-8")


def test_a_signal_at_the_end_of_a_run_begins_no_other(
    run, example_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_monusac.cli import console

    out = tmp_path / "study"
    before = signal.getsignal(signal.SIGINT)

    def take(self, event) -> None:
        if isinstance(event, RunEnded):
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(console._View, "take", take)
        result = run(*_study(example_data, out))
    assert result.code == 130, result.err
    assert RunFolder.open(out / "quick").status == "completed"
    assert not (out / "run-3").exists()
    again = run(*_study(example_data, out), "--json")
    assert again.code == 0, again.err
    assert [r["status"] for r in again.json["runs"]] == ["completed", "completed"]
    assert signal.getsignal(signal.SIGINT) is before


def test_demo_without_a_window(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_monusac.cli import demo

    monkeypatch.setattr(demo, "_PATIENTS", 2)
    monkeypatch.setattr(demo, "_SHAPE", (128, 160))
    monkeypatch.setattr(demo, "_EPOCHS", 2)
    small = {"decoder_channels": (16, 8, 8, 8, 8), "patch_size": 64, "batch_size": 2, "precision": "float32"}
    monkeypatch.setattr(demo, "load_recipe", lambda name: load_recipe(name).with_values(**small))
    result = run("demo", "--no-gui", "--out", tmp_path / "demo", "--minutes", "0.05", "--device", "cpu", "--json")
    assert result.code == 0, result.err
    answer = result.json
    for key in ("overlay", "report", "predictions", "run", "image"):
        assert Path(answer[key]).exists()
    assert Path(answer["overlay"]).read_bytes().startswith(b"\x89PNG")
    assert answer["evaluation"]["crops"]
    assert not (Path(answer["image"]).parent.parent.parent / "tissue").samefile(Path(answer["image"]).parent.parent)


def test_review_needs_a_display(run, example_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform in {"darwin", "win32"}:
        pytest.skip("there is always a display")
    result = run("review", example_data)
    assert result.code == 1
    assert "xvfb-run" in result.err


def test_review_starts_napari_as_a_child(
    run, example_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_monusac.cli import window

    seen = tmp_path / "seen.json"
    code = (
        "import json, os, sys; "
        "hints = [os.environ['MONUSAC_PREDICTIONS'], os.environ['MONUSAC_PANEL']]; "
        f"json.dump([sys.argv[1:], *hints], open({str(seen)!r}, 'w'))"
    )
    real = window.studio_command
    monkeypatch.setattr(window, "studio_command", lambda paths: [sys.executable, "-c", code, *real(paths)])
    monkeypatch.setattr("napari_monusac.cli.review.display_is_there", lambda: True)
    result = run("review", example_data, "--pred", tmp_path)
    assert result.code == 0, result.err
    argv, predictions, panel = json.loads(seen.read_text())
    assert argv[:4] == [sys.executable, "-m", "napari", str(example_data)]
    assert argv[-2:] == ["napari-monusac", "MoNuSAC Studio"]
    assert (predictions, panel) == (str(tmp_path), "Review")
    assert run("review", tmp_path / "none").code == 1


def test_a_window_that_dies_at_once_is_told(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_monusac.cli import window
    from napari_monusac.core.settings import Environment

    monkeypatch.setattr(window, "studio_command", lambda _: [sys.executable, "-c", "raise SystemExit(3)"])
    assert window.open_studio([], Environment(), wait=False) == 3
    assert "code 3" in capfd.readouterr().err


def test_torchrun_trains_as_one(example_data: Path, tmp_path: Path) -> None:
    import subprocess

    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "napari_monusac",
        "train",
    ]
    command += ["--data", str(example_data), "--recipe", "quick", "--run-folder", str(folder), *TINY, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads(result.stdout)["step"] == 2
    events = RunFolder.open(folder).read_events()
    assert sum(isinstance(e, RunEnded) for e in events) == 1
    assert sum(isinstance(e, BatchEnded) for e in events) == 2
    shutil.rmtree(folder)


def test_a_library_that_is_missing_is_one_line(example_data) -> None:
    import subprocess

    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from napari_monusac.cli.app import main\n"
        "main(['train', '--data', sys.argv[1], '--recipe', 'quick', '--dry-run'])\n"
    )
    command = [sys.executable, "-c", code, str(example_data)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("error:")]
    assert "torch cannot be imported" in line
    assert "install napari-monusac again" in line
