"""Crops that a model was trained on: recognised under any name, left out, counted, said; taken where that is asked for."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_monusac import label_maps, write_annotation
from napari_monusac.core.errors import MonusacError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.core.prediction import Prediction
from napari_monusac.core.recipe import load_recipe
from napari_monusac.core.training_crops import SeenAs, SeenCrop, TrainingCrops
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.predictions.identity import ImageIdentity
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.io.predictions.store_info import PredictionIdentity
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.io.splits import make_split
from napari_monusac.io.training_crops import crop_fingerprint, crops_of_checkpoint, crops_of_split
from napari_monusac.masks.ternary import ternary_map
from napari_monusac.scoring.report.evaluate import evaluate
from napari_monusac.scoring.report.folders import evaluate_folders, folder_pairs
from napari_monusac.scoring.report.guard import compare_predictions, guard_folders

SHAPE = (80, 96)
CLASSES = ("Epithelial", "Lymphocyte", "Neutrophil", "Macrophage")


def square(y, x, label):
    return Nucleus(np.array([(y, x), (y, x + 12), (y + 12, x + 12), (y + 12, x)], float), label, layer=-1)


def write_crop(root: Path, patient: str, number: int, seed: int) -> str:
    name = f"TCGA-{patient}-0001-01Z-00-DX1"
    (root / name).mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(90, 250, (*SHAPE, 3), np.uint8)
    tifffile.imwrite(root / name / f"{name}_{number}.tif", pixels, photometric="rgb")
    regions = tuple(square(5 + 25 * (k // 3), 5 + 28 * (k % 3), CLASSES[k % 4]) for k in range(9))
    write_annotation(Annotation(regions, um_per_px=0.25), root / name / f"{name}_{number}.xml")
    return f"{name}_{number}"


@pytest.fixture
def data(tmp_path):
    """Eight crops of four patients."""
    root = tmp_path / "data"
    for k, patient in enumerate(("AA", "BB", "CC", "DD")):
        for number in (1, 2):
            write_crop(root, patient, number, 10 * k + number)
    return root


def perfect(collection, crop, path, trained_on=None, checkpoint="", width=3):
    """A network's perfect prediction of a crop."""
    annotation = collection.annotation(crop)
    maps = label_maps(annotation, SHAPE)
    semantic = np.eye(5, dtype=np.float32)[maps.semantic].transpose(2, 0, 1)
    ternary = np.eye(3, dtype=np.float32)[ternary_map(maps.instances, width)].transpose(2, 0, 1)
    prediction = Prediction(
        semantic, ternary, 0.25, boundary_width=width, checkpoint=checkpoint, trained_on=trained_on
    )  # fmt: skip
    with collection.open(crop) as slide:
        image = ImageIdentity.of(slide)
    identity = PredictionIdentity(
        image=image.sample, weights="", region=(0, 0, *SHAPE), um_per_px=0.25, flips=False, pixels=image.whole
    )
    write_prediction(prediction, path, identity=identity)


def predict_all(data, out, trained_on=None, checkpoint=""):
    collection = open_collection(data)
    for crop in collection.labelled:
        perfect(collection, crop, out / f"{crop.name}.zarr", trained_on, checkpoint)
    return out


def trained_on_patients(data, *patients, validation=()):
    """What a checkpoint trained on some patients' crops would say."""
    collection = open_collection(data)

    def seen(wanted):
        return tuple(
            SeenCrop(c.name, c.patient, crop_fingerprint(collection, c))
            for c in collection.crops
            if c.patient[5:7] in wanted
        )

    return TrainingCrops(training=seen(patients), validation=seen(validation))


def names(data, *patients):
    return tuple(c.name for c in open_collection(data).crops if c.patient[5:7] in patients)


def test_training_crops_are_left_out_and_counted(data, tmp_path):
    out = predict_all(data, tmp_path / "pred", trained_on_patients(data, "AA", "BB", validation=("CC",)))
    result = evaluate_folders(data, out)
    assert tuple(c.name for c in result.crops) == names(data, "CC", "DD")
    assert result.training.left_out == names(data, "AA", "BB")
    assert result.training.validation == names(data, "CC")
    assert result.training.included == ()
    assert result.notes[0].startswith("4 of 8 crops are left out, because the model was trained on them: ")
    assert "2 of 4 scored crops are validation crops" in result.notes[1]
    assert [c.seen_as for c in result.crops] == [SeenAs.VALIDATION] * 2 + [SeenAs.UNSEEN] * 2
    # the library's evaluate, and what it reads back
    again = evaluate(folder_pairs(data, out))
    assert (again.training, again.pq, again.notes) == (result.training, result.pq, result.notes)
    assert type(result).model_validate_json(result.to_json()) == result


def test_each_crop_is_left_out_for_one_reason_and_the_numbers_add_up(data, tmp_path):
    """Of 8 crops the model was trained on 4; 3 have a prediction: one of the 4, and two others."""
    trained_on = trained_on_patients(data, "AA", "BB")
    out = predict_all(data, tmp_path / "pred", trained_on)
    kept = {names(data, "AA")[0], *names(data, "CC")}
    for store in out.glob("*.zarr"):
        if store.stem not in kept:
            shutil.rmtree(store)
    result = evaluate_folders(data, out)
    assert [c.name for c in result.crops] == list(names(data, "CC"))
    trained, missing = result.notes[:2]
    assert trained.startswith(
        "4 of 8 crops are left out, because the model was trained on them (3 of them have no prediction, either): "
    )
    assert missing == f"2 of 8 crops have no prediction and are left out: {', '.join(names(data, 'DD'))}"
    everything = evaluate_folders(data, out, include_training=True)
    assert "1 of 3 scored crops were used to train the model" in everything.notes[0]
    assert everything.notes[1].startswith("5 of 8 crops have no prediction and are left out: ")


def test_asked_for_they_are_scored_and_said(data, tmp_path):
    out = predict_all(data, tmp_path / "pred", trained_on_patients(data, "AA", "BB"))
    result = evaluate_folders(data, out, include_training=True)
    assert len(result.crops) == 8
    assert (result.training.left_out, result.training.included) == ((), names(data, "AA", "BB"))
    assert result.title == "8 crops of 4 patients, 4 of them used to train the model"
    assert "4 of 8 scored crops were used to train the model: the scores on them are too good" in result.notes[0]


def test_a_copy_is_recognised_under_another_name_and_written_anew_under_its_own(data, tmp_path):
    """A PNG with red and blue exchanged, in another patient's folder; other pixels under a name that tells the patient."""
    from PIL import Image

    trained_on = trained_on_patients(data, "AA")
    first = names(data, "AA")[0]
    source = data / first.rsplit("_", 1)[0] / f"{first}.tif"
    other = tmp_path / "other"
    copy = other / "TCGA-ZZ-0009-01Z-00-DX1"
    copy.mkdir(parents=True)
    Image.fromarray(np.ascontiguousarray(tifffile.imread(source)[..., ::-1])).save(copy / "renamed.png")
    shutil.copy(source.with_suffix(".xml"), copy / "renamed.xml")
    namesake = write_crop(other, "AA", 1, seed=99)
    assert namesake == first
    fellow = write_crop(other, "AA", 7, seed=98)
    out = predict_all(other, tmp_path / "pred", trained_on)
    result = evaluate_folders(other, out)
    assert set(result.training.left_out) == {"renamed", namesake}
    assert result.training.same_patient == (fellow,)
    assert "are of patients that the model was trained on (TCGA-AA-0001" in result.notes[1]


def test_a_name_that_many_crops_have_is_no_evidence_against_their_pixels():
    seen = TrainingCrops(training=(SeenCrop("P1/roi1", "P1", "a1"), SeenCrop("S23-1000_2", "S23-1000", "b2")))
    assert seen.seen_as("P1/roi1", "P1", "c3") is SeenAs.SAME_PATIENT  # another roi1 of another P1, or of this one
    assert seen.seen_as("roi1", "P7", "c3") is SeenAs.UNSEEN
    assert seen.seen_as("roi1", "P7", "a1") is SeenAs.TRAINING
    assert seen.seen_as("S23-1000_2", "S23-1000", "c3") is SeenAs.TRAINING  # as JPEG, say
    assert seen.seen_as("S23-1000_1", "S23-1000", "c3") is SeenAs.SAME_PATIENT
    assert seen.seen_as("S23-1000_2", "other", "c3") is SeenAs.UNSEEN


def test_nothing_left_is_a_clear_error(data, tmp_path):
    out = predict_all(data, tmp_path / "pred", trained_on_patients(data, "AA", "BB", "CC", "DD"))
    for call in (lambda: evaluate_folders(data, out), lambda: evaluate(folder_pairs(data, out)),
                 lambda: guard_folders(data, out, out)):  # fmt: skip
        with pytest.raises(MonusacError, match=r"trained on all 8 crops .*--include-training"):
            call()


def test_runs_of_before_say_it_by_their_split_or_not_at_all(data, tmp_path):
    split = make_split(open_collection(data), seed=0)
    run = RunFolder.create(tmp_path / "run", data=data, split=split, recipe=load_recipe("quick"))
    out = predict_all(data, tmp_path / "pred", None, str(run.best))  # the file need not be there
    result = evaluate_folders(data, out)
    assert set(result.training.left_out) == set(split.training)
    assert set(result.training.validation) == set(split.validation)
    # without its data by name only
    shutil.rmtree(tmp_path / "moved", ignore_errors=True)
    shutil.move(data, tmp_path / "moved")
    found = crops_of_checkpoint(run.path)
    assert {c.name for c in found.training} == set(split.training)
    assert {c.pixels for c in found.training} == {""}
    assert set(evaluate_folders(tmp_path / "moved", out).training.left_out) == set(split.training)
    # no run folder either
    shutil.rmtree(run.path)
    unknown = evaluate_folders(tmp_path / "moved", out)
    assert len(unknown.crops) == len(unknown.training.unknown) == 8
    assert "it is not known whether the model was trained on them" in unknown.notes[0]


def test_the_guard_leaves_out_what_either_model_was_trained_on(data, tmp_path):
    one = predict_all(data, tmp_path / "one", trained_on_patients(data, "AA"))
    two = predict_all(data, tmp_path / "two", trained_on_patients(data, "BB"))
    guard = guard_folders(data, one, two)
    assert (guard.crops, guard.patients) == (4, 2)
    assert guard.training.left_out == names(data, "AA", "BB")
    assert "4 of 8 crops are left out" in guard.notes[0]
    everything = guard_folders(data, one, two, include_training=True)
    assert (everything.crops, everything.training.included) == (8, names(data, "AA", "BB"))
    pairs = [list(folder_pairs(data, folder)) for folder in (one, two)]
    assert compare_predictions(*pairs).training == guard.training
    # a model predicts no crop that it was trained on: those do not stand "in one folder only"
    for name in names(data, "AA"):
        shutil.rmtree(one / f"{name}.zarr")
    again = guard_folders(data, one, two)
    assert (again.training, again.notes) == (guard.training, guard.notes)
    missing = evaluate_folders(data, one)
    assert missing.training.left_out == names(data, "AA")
    assert not any("no prediction" in n for n in missing.notes)


def test_a_perfect_network_of_any_boundary_width_scores_combo_1(data, tmp_path):
    """The width is the prediction's own; several in one folder are named; another one is drawn from the nuclei."""
    collection = open_collection(data)
    for width in (1, 3, 5):
        out = tmp_path / f"w{width}"
        for crop in collection.labelled:
            perfect(collection, crop, out / f"{crop.name}.zarr", TrainingCrops(), width=width)
        result = evaluate_folders(data, out)
        assert (result.pixels.combo, result.boundary_width, result.boundary_widths) == (1.0, width, (width,))
        assert result.notes == ()
    (pair,) = folder_pairs(data, tmp_path / "w1", crops=names(data, "AA")[:1])
    held_against_3 = evaluate(dataclasses.replace(pair, boundary_width=None), boundary_width=3, bootstrap=0)
    assert held_against_3.pixels.combo < 0.9, "what it was"
    asked = evaluate_folders(data, tmp_path / "w1", boundary_width=3)
    assert asked.boundary_width == 3
    assert asked.pixels.combo > 0.9, "its nuclei at 3 px against the truth at 3 px"
    assert "8 of 8 predictions have boundaries of another width than the 3 px asked for" in asked.notes[0]
    for name in names(data, "AA"):
        shutil.rmtree(tmp_path / "w3" / f"{name}.zarr")
        shutil.copytree(tmp_path / "w1" / f"{name}.zarr", tmp_path / "w3" / f"{name}.zarr")
    mixed = evaluate_folders(data, tmp_path / "w3")
    assert (mixed.boundary_width, mixed.boundary_widths, mixed.pixels.combo) == (3, (1, 3), 1.0)
    assert mixed.boundary_words == "1 and 3 px"
    assert "boundaries of several widths (1 px in 2 crops, 3 px in 6 crops)" in mixed.notes[0]


def test_names_decide_only_where_pixels_are_not_known():
    known = TrainingCrops(
        training=(SeenCrop("a", "p", "8x8-1"), SeenCrop("f/b", "q")), validation=(SeenCrop("c", "r"),)
    )
    assert known.seen_as("z", "", "8x8-1") is SeenAs.TRAINING
    assert known.seen_as("a", "p", "8x8-2") is SeenAs.SAME_PATIENT
    assert known.seen_as("a", "p") is SeenAs.TRAINING
    assert known.seen_as("b", "x", "8x8-3") is SeenAs.TRAINING
    assert known.seen_as("c", "r", "8x8-4") is SeenAs.VALIDATION
    assert known.seen_as("d", "x", "8x8-4") is SeenAs.UNSEEN
    later = TrainingCrops(training=(SeenCrop("n", "s", "8x8-9"),), validation=known.validation)
    both = later.going_on_from(known)
    assert both.seen_as("a", "p", "8x8-1") is both.seen_as("n", "s", "8x8-9") is SeenAs.TRAINING
    assert later.going_on_from(None).seen_as("d", "x") is SeenAs.UNKNOWN
    assert TrainingCrops.model_validate_json(both.model_dump_json()) == both


@pytest.mark.torch
def test_the_checkpoint_the_store_and_the_command_line(example_data, example_run, tmp_path):
    from napari_monusac.cli.app import app
    from napari_monusac.network.checkpoint import load_checkpoint, read_metadata, save_checkpoint

    split, said = RunFolder.open(example_run).split, read_metadata(example_run).trained_on
    assert said == crops_of_split(open_collection(example_data), split)
    assert all(c.pixels for c in (*said.training, *said.validation))

    def run(*words):
        result = CliRunner().invoke(app, ["evaluate", "--truth", str(example_data), *map(str, words)])
        return result.exit_code, result.output

    code, text = run("--pred", example_run, "--json", "--cache", tmp_path / "kept")
    assert code == 0, text
    answer = json.loads(text[text.index("{") :])
    assert answer["training"]["left_out"] == list(split.training)
    assert {c["name"] for c in answer["crops"]} == set(split.validation)
    stores = list((tmp_path / "kept").rglob("*.zarr"))
    assert {p.stem for p in stores} == set(split.validation), "what is not scored is not predicted"
    assert PredictionStore.open(stores[0]).info.trained_on == said
    report = tmp_path / "r.html"
    code, text = run("--pred", example_run, "--include-training", "--cache", tmp_path / "kept", "--report", report)
    assert code == 0, text
    assert f"4 crops of 4 patients, {len(split.training)} of them used to train the model" in " ".join(text.split())
    html = report.read_text()
    assert "used to train the model: the scores on them are too good" in html
    assert "--include-training" in html
    # a checkpoint of before, in no run folder: said that it is not known
    loaded = load_checkpoint(example_run)
    save_checkpoint(
        tmp_path / "old.safetensors", loaded.network, loaded.metadata.model_copy(update={"trained_on": None})
    )
    code, text = run("--pred", tmp_path / "old.safetensors")
    assert code == 0, text
    assert "it is not known whether the model was trained on them" in " ".join(text.split())
    # nothing left
    words = ["evaluate", "--truth", str(example_data), "--pred", str(example_run)]
    words += [w for n in split.training for w in ("--crop", n)]
    with pytest.raises(MonusacError, match=r"trained on all .*--include-training"):
        CliRunner().invoke(app, words, catch_exceptions=False)
