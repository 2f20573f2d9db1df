"""Checkpoints: what they carry, and that a foreign, damaged or hostile file is one clear line."""

from __future__ import annotations

import json
import pickle
import struct

import numpy as np
import pytest

from napari_monusac.core.classes import SEMANTIC_NAMES
from napari_monusac.core.errors import CheckpointError
from napari_monusac.core.events import Scores

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def network(tiny_recipe):
    import torch

    from napari_monusac.network.unet import DualHeadUnet

    torch.manual_seed(0)
    return DualHeadUnet(tiny_recipe)


@pytest.fixture
def saved(network, tiny_recipe, tmp_path):
    from napari_monusac.network.checkpoint import CheckpointMetadata, save_checkpoint

    path = tmp_path / "best.safetensors"
    metadata = CheckpointMetadata.describe(tiny_recipe, 7, 21, Scores(combo=0.5), {"torch": "9"})
    save_checkpoint(path, network, metadata)
    return path


def test_there_and_back(saved, network, tiny_recipe):
    import torch

    from napari_monusac.network.checkpoint import load_checkpoint, read_metadata

    model = load_checkpoint(saved)
    assert model.recipe == tiny_recipe
    assert not model.network.training
    for k, v in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[k], v)
    meta = read_metadata(saved)
    assert meta.fingerprint == tiny_recipe.fingerprint()
    assert meta.classes == SEMANTIC_NAMES
    assert (meta.um_per_px, meta.boundary_width, meta.epoch, meta.step) == (0.25, 3, 7, 21)
    assert meta.scores.combo == 0.5
    assert meta.versions == {"torch": "9"}
    images = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8)
    with torch.no_grad():
        ours = network.eval()(network.prepare(images))
        theirs = model.network(model.network.prepare(images))
    torch.testing.assert_close(ours, theirs)


def test_a_run_folder_stands_for_its_best_checkpoint(saved, tmp_path):
    from napari_monusac.network.checkpoint import load_checkpoint

    assert load_checkpoint(tmp_path).path == saved
    saved.rename(tmp_path / "last.safetensors")
    assert load_checkpoint(tmp_path).path.name == "last.safetensors"
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_checkpoint(tmp_path / "empty")


class _Evil:
    def __reduce__(self):
        return (eval, ("1/0",))


def test_foreign_and_tampered_files_are_one_line(saved, network, tmp_path):
    import torch
    from safetensors.torch import save_file

    from napari_monusac.network.checkpoint import load_checkpoint

    content = saved.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])

    def with_metadata(change) -> bytes:
        meta = json.loads(header["__metadata__"]["napari-monusac"])
        change(meta)
        new = json.dumps({**header, "__metadata__": {"napari-monusac": json.dumps(meta)}}).encode()
        return struct.pack("<Q", len(new)) + new + content[8 + size :]

    def other_lr(meta):
        meta["recipe"]["lr"] = 0.5

    def other_network(meta):
        meta["recipe"]["decoder_channels"] = [32, 16, 8, 8, 8]
        del meta["fingerprint"]

    flipped = bytearray(content)
    flipped[-100] ^= 1
    save_file({"a": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    bad = {
        "text": b"hello, I am no checkpoint",
        "empty": b"",
        "pickle": pickle.dumps(_Evil()),
        "truncated": content[: len(content) // 2],
        "flipped bit": bytes(flipped),
        "changed recipe": with_metadata(other_lr),
        "damaged metadata": with_metadata(other_network),
        "huge header": struct.pack("<Q", 1 << 62) + content[8:],
        "foreign": (tmp_path / "foreign.safetensors").read_bytes(),
    }
    for name, data in bad.items():
        file = tmp_path / f"{name}.safetensors"
        file.write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(file)
        message = str(caught.value)
        assert "\n" not in message, name
        assert str(file) in message
        assert " — " in message, f"{name}: no mend"
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "nowhere.safetensors")


def test_a_file_of_another_network_names_the_tensor(network, tiny_recipe, tmp_path):
    from napari_monusac.network.checkpoint import CheckpointMetadata, load_checkpoint, save_checkpoint

    other = tiny_recipe.with_values(decoder_channels=(32, 16, 8, 8, 8))
    save_checkpoint(tmp_path / "x.safetensors", network, CheckpointMetadata.describe(other, 1, 1, Scores(), {}))
    with pytest.raises(CheckpointError, match=r"tensor 'decoder.blocks.0.*has shape"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_a_save_that_fails_leaves_the_old_file(saved, network, tiny_recipe, monkeypatch):
    from napari_monusac.core.errors import TrainingError
    from napari_monusac.network import checkpoint

    before = saved.read_bytes()

    def half(_tensors, path, **_):
        path.write_bytes(before[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", half)
    with pytest.raises(TrainingError, match="the disk is full"):
        checkpoint.save_checkpoint(saved, network, checkpoint.read_metadata(saved))
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_the_resume_state_is_paired_with_its_weights(network, tiny_recipe, make_run):
    import torch

    from napari_monusac.learn.resume import load_state, save_last
    from napari_monusac.network.checkpoint import CheckpointMetadata

    run = make_run(tiny_recipe)
    for step in (3, 6):
        meta = CheckpointMetadata.describe(tiny_recipe, 1, step, Scores(), {})
        save_last(run, network, meta, {"progress": {"step": step}})
    assert [p.name for p in run.path.glob("*.state")] == ["last-00000006.state"]
    # A crash after the state was written and before the weights: the old pair must still be whole.
    torch.save({"progress": {"step": 3}}, run.path / "last-00000003.state")
    assert load_state(run)["progress"]["step"] == 6
    state = run.path / "last-00000006.state"
    content = state.read_bytes()
    for bad in (b"", content[:50], pickle.dumps(_Evil())):
        state.write_bytes(bad)
        with pytest.raises(CheckpointError, match="damaged or foreign") as caught:
            load_state(run)
        assert "\n" not in str(caught.value)
    torch.save({"a": _Evil()}, state)
    with pytest.raises(CheckpointError, match="damaged or foreign"):
        load_state(run)
    state.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load_state(run)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weights_that_are_no_numbers_are_refused_in_one_line(tiny_recipe, tmp_path, value):
    import torch

    from napari_monusac.core.events import Scores
    from napari_monusac.network.checkpoint import CheckpointMetadata, load_checkpoint, save_checkpoint
    from napari_monusac.network.unet import DualHeadUnet

    network = DualHeadUnet(tiny_recipe)
    with torch.no_grad():
        network.semantic_head[0].weight[0, 0] = float(value)
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, network, CheckpointMetadata.describe(tiny_recipe, 1, 1, Scores(), {}))
    with pytest.raises(CheckpointError) as found:
        load_checkpoint(path)
    assert str(found.value) == (
        f"{path}: holds weights that are no numbers ('semantic_head.0.weight'): it can predict nothing — use another checkpoint"
    )


def test_a_checkpoint_that_asks_for_terabytes_is_refused_before_a_network_is_made(tiny_recipe, tmp_path, monkeypatch):
    import json

    from safetensors.torch import load_file, save_file

    from napari_monusac.core.events import Scores
    from napari_monusac.network import checkpoint
    from napari_monusac.network.unet import DualHeadUnet

    path = tmp_path / "best.safetensors"
    described = checkpoint.CheckpointMetadata.describe(tiny_recipe, 1, 1, Scores(), {})
    checkpoint.save_checkpoint(path, DualHeadUnet(tiny_recipe), described)
    values = json.loads(described.model_dump_json())
    values["recipe"]["decoder_channels"] = [1_000_000] * 5
    save_file(load_file(path), path, metadata={checkpoint._KEY: json.dumps(values)})
    monkeypatch.setattr(checkpoint, "DualHeadUnet", None)
    with pytest.raises(CheckpointError, match="decoder_channels") as found:
        checkpoint.load_checkpoint(path)
    assert "\n" not in str(found.value)


def _stored_by(run):
    """What a store says that the run's model wrote of a crop, as `predict` on the command line writes it."""
    from typer.testing import CliRunner

    from napari_monusac.cli.app import app
    from napari_monusac.io.predictions.prediction_store import PredictionStore

    image, out = min(run.data.rglob("*.tif")), run.path.parent / "predicted"
    done = CliRunner().invoke(app, ["predict", str(image), "--checkpoint", str(run.path), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return PredictionStore.open(next(out.glob("*.zarr"))).info


def test_a_run_that_goes_on_from_another_names_that_ones_training_crops_too(make_run, tiny_recipe):
    """The weights have seen them: a validation crop among them is told, and is a training crop to whoever scores."""
    import json

    from napari_monusac.core.classes import NucleusClass, use_class_names
    from napari_monusac.core.training_crops import SeenAs
    from napari_monusac.learn.loop import train
    from napari_monusac.network.checkpoint import crops_seen_by, read_metadata

    first = make_run(tiny_recipe.with_values(epochs=1))
    use_class_names({"mesothelial": NucleusClass.EPITHELIAL})
    try:
        *_, end = train(first.recipe, first, device="cpu")
    finally:
        use_class_names({})
    assert end.reason == "completed", end.message
    mine = read_metadata(first.best).trained_on
    # names of the user's own stand in the run folder, and in whatever the model predicts
    assert mine.class_names == (("mesothelial", "Epithelial"),)
    assert type(first).open(first.path).info.class_names == {"mesothelial": "Epithelial"}
    assert _stored_by(first).trained_on == mine
    assert {c.name for c in mine.training} == set(first.split.training)
    assert {c.name for c in mine.validation} == set(first.split.validation)
    assert all(c.pixels and c.patient for c in (*mine.training, *mine.validation))
    assert crops_seen_by(first) == mine
    turned = first.split.model_copy(update={"training": first.split.validation, "validation": first.split.training})
    second = make_run(tiny_recipe.with_values(epochs=1, start_from=str(first.best)), "second")
    (second.path / "split.json").write_text(json.dumps(turned.model_dump(mode="json")))
    second = type(second).open(second.path)
    events = list(train(second.recipe, second, device="cpu"))
    assert events[-1].reason == "completed", events[-1].message
    told = [e.message for e in events if e.kind == "warned"]
    assert any("validation crops have been trained on" in m for m in told)
    both = read_metadata(second.best).trained_on
    assert {c.name for c in both.training} == {*first.split.training, *first.split.validation}
    crop = mine.training[0]
    assert both.seen_as(crop.name, crop.patient, crop.pixels) is SeenAs.TRAINING
