"""The regression guard from two checkpoints, by the command line: counted again by hand, nucleus by nucleus."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_monusac.io.runs.run_folder import RunFolder

pytestmark = pytest.mark.torch


@pytest.fixture
def other_checkpoint(example_run: Path, tmp_path: Path) -> Path:
    """Another network: the same one with its heads turned to one answer."""
    import torch

    from napari_monusac.network.checkpoint import load_checkpoint, save_checkpoint

    loaded = load_checkpoint(example_run)
    heads = loaded.network.state_dict()
    # it sees nuclei nowhere: what the first network makes up is gone, what it finds is broken
    heads["ternary_head.0.bias"] += torch.tensor([9.0, -9.0, -9.0])
    heads["semantic_head.0.bias"] += torch.tensor([9.0, -9.0, -9.0, -9.0, -9.0])
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, loaded.network, loaded.metadata)
    return path


def right_nuclei(data: Path, stores: Path) -> tuple[dict[tuple[str, int], bool], int]:
    """Whether each true nucleus is found with its class; pixel by pixel. And how many predictions there are."""
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.predictions.open import open_prediction
    from napari_monusac.masks.rasterize import label_maps

    collection, right, predicted = open_collection(data), {}, 0
    for crop in collection.crops:
        found = open_prediction(stores / f"{crop.name}.zarr")
        predicted += len(found.classes)
        annotation = collection.annotation(crop)
        maps = label_maps(annotation, found.instances.shape)
        for k, nucleus in enumerate(annotation.nuclei, 1):
            mine = (maps.instances == k) & ~maps.ignore
            if not mine.any():
                continue
            right[crop.name, k] = False
            for p in np.unique(found.instances[mine]):
                other = (found.instances == p) & ~maps.ignore
                overlap = (mine & other).sum() / (mine | other).sum()
                if p and overlap > 0.5 and found.classes[int(p)] == int(nucleus.nucleus_class):
                    right[crop.name, k] = True
    return right, predicted


def evaluate(*words: object) -> dict:
    from napari_monusac.cli.app import app

    # the run was trained on crops of this folder: without the option they would be left out
    result = CliRunner().invoke(app, ["evaluate", *map(str, words), "--include-training", "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_two_checkpoints(example_data, example_run, other_checkpoint, tmp_path):
    cache = tmp_path / "kept"
    answer = evaluate(
        "--truth", example_data, "--pred", other_checkpoint, "--before", example_run, "--cache", cache,
    )  # fmt: skip
    from napari_monusac.core.files import sha256_of

    stores = [cache / sha256_of(p)[:16] for p in (example_run / "best.safetensors", other_checkpoint)]
    (before, _), (after, _) = (right_nuclei(example_data, folder) for folder in stores)
    changes = answer["guard"]["changes"]
    assert changes
    for kind, wanted in (("fixed", True), ("newly broken", False)):
        told = {(c["crop"], c["truth_id"]) for c in changes if c["kind"] == kind}
        assert told == {k for k in before if before[k] != after[k] and after[k] is wanted}
    guard = answer["guard"]
    assert guard["crops"] == 4
    assert (guard["verdict"], guard["interval"]) == ("too few patients to tell", None)
    assert guard["patients"] == 4
    assert set(guard["training"]["included"]) == set(RunFolder.open(example_run).split.training)
    # what is kept is not predicted again
    times = {p: p.stat().st_mtime_ns for p in cache.rglob("*") if p.is_file()}
    again = evaluate("--truth", example_data, "--pred", other_checkpoint, "--before", example_run, "--cache", cache)
    assert again["guard"] == guard
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*") if p.is_file()} == times


def test_a_checkpoint_against_the_truth_itself(example_data, example_run, tmp_path):
    """Every nucleus that the network does not find is fixed by the truth, and nothing is broken."""
    from napari_monusac.io.annotations.files import write_annotation
    from napari_monusac.io.collection.collection import open_collection

    collection = open_collection(example_data)
    (tmp_path / "perfect").mkdir()
    for crop in collection.crops:
        write_annotation(collection.annotation(crop), tmp_path / "perfect" / f"{crop.name}.xml")
    cache = tmp_path / "kept"
    answer = evaluate(
        "--truth", example_data, "--pred", tmp_path / "perfect", "--before", example_run, "--cache", cache,
    )  # fmt: skip
    right, _ = right_nuclei(example_data, next(cache.iterdir()))
    kinds = [c["kind"] for c in answer["guard"]["changes"]]
    assert kinds.count("fixed") == sum(not r for r in right.values()) > 0
    assert kinds.count("newly broken") == 0
    assert sum(c["fixed"] for c in answer["guard"]["by_class"].values()) == kinds.count("fixed")
    assert answer["guard"]["pq_after"] > answer["guard"]["pq_before"]
    assert answer["guard"]["verdict"] == "too few patients to tell"


def test_a_missing_checkpoint_is_said_in_one_line(example_data, tmp_path):
    from napari_monusac.cli.app import app

    result = CliRunner().invoke(app, ["evaluate", "--truth", str(example_data), "--pred", str(tmp_path / "none")])
    assert result.exit_code != 0
