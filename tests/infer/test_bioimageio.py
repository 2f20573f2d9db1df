"""A package of the Model Zoo: what it says of itself holds, the same maps when it is read back, nothing of this machine."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from napari_monusac.cli.app import app
from napari_monusac.core.errors import CheckpointError
from napari_monusac.core.training_crops import SeenCrop, TrainingCrops
from napari_monusac.infer import bioimageio as package
from napari_monusac.infer.bioimageio import export_bioimageio
from napari_monusac.infer.model_card import model_card
from napari_monusac.infer.predict import predict
from napari_monusac.network.checkpoint import CHECKPOINT_IN_PACKAGE, load_checkpoint, resolve_checkpoint

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONUSAC_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def packed(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_bioimageio(checkpoint, tmp_path_factory.mktemp("zoo") / "model.zip", authors=["A. Reader"])


def test_its_description_is_that_of_the_zoo_and_holds_for_its_files(packed: Path) -> None:
    with zipfile.ZipFile(packed) as files:
        about = json.loads(files.read("bioimageio.yaml"))
        digests = {name: hashlib.sha256(files.read(name)).hexdigest() for name in files.namelist()}
    assert (about["type"], about["format_version"][:3], about["license"]) == ("model", "0.5", "CC-BY-NC-SA-4.0")
    assert about["authors"] == [{"name": "A. Reader"}]
    weights = about["weights"]
    named = [
        *about["attachments"],
        *weights.values(),
        *(t["test_tensor"] for t in (*about["inputs"], *about["outputs"])),
    ]
    assert {n["source"]: n["sha256"] for n in named} == {n["source"]: digests[n["source"]] for n in named}
    assert {n["source"] for n in named} | {"README.md", "bioimageio.yaml"} == set(digests), "nothing lies in it unnamed"
    y = about["inputs"][0]["axes"][2]
    assert (y["scale"], y["unit"], y["size"]) == (0.25, "micrometer", {"min": 128, "step": 32})


@pytest.mark.parametrize("form", ["onnx", "pytorch_state_dict"])
def test_both_forms_of_the_weights_give_the_stored_outputs(packed: Path, form: str, tmp_path: Path) -> None:
    import onnxruntime
    import torch

    with zipfile.ZipFile(packed) as files:
        files.extractall(tmp_path)
    image, *stored = (np.load(tmp_path / f"{name}.npy") for name in ("image", "semantic", "ternary"))
    if form == "onnx":
        session = onnxruntime.InferenceSession(str(tmp_path / "weights.onnx"), providers=["CPUExecutionProvider"])
        found = session.run(["semantic", "ternary"], {"image": image})
    else:
        kwargs = json.loads((tmp_path / "bioimageio.yaml").read_text("utf-8"))["weights"][form]["architecture"][
            "kwargs"
        ]
        network = package.deployed_network(**kwargs)
        network.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        with torch.inference_mode():
            found = [t.numpy() for t in network.eval()(torch.from_numpy(image))]
    for one, other in zip(found, stored, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_same_model_is_the_same_bytes(packed: Path, checkpoint: Path, tmp_path: Path) -> None:
    again = export_bioimageio(checkpoint, tmp_path / "again.zip", authors=["A. Reader"])
    with zipfile.ZipFile(packed) as first, zipfile.ZipFile(again) as second:
        assert {n: first.read(n) for n in first.namelist()} == {n: second.read(n) for n in second.namelist()}


def test_read_back_it_predicts_the_same_maps(packed: Path, checkpoint: Path, tissue: np.ndarray) -> None:
    back, first = (
        predict(tissue[:128, :128], p, um_per_px=0.25, device="cpu", precision="float32") for p in (packed, checkpoint)
    )
    assert np.array_equal(back.semantic, first.semantic)
    assert np.array_equal(back.ternary, first.ternary)
    assert back.fingerprint == first.fingerprint
    assert resolve_checkpoint(packed) == resolve_checkpoint(packed), "taken out once"


def test_nothing_of_this_machine_goes_out(packed: Path, checkpoint: Path) -> None:
    with zipfile.ZipFile(packed) as files:
        for name in files.namelist():
            if name == CHECKPOINT_IN_PACKAGE:  # the file itself, to the byte
                assert files.read(name) == checkpoint.read_bytes()
                continue
            for local in (str(checkpoint.parent), str(Path.home()), str(Path(package.__file__).parent)):
                assert local.encode() not in files.read(name), f"{name} names {local}"


def test_the_card_says_data_split_scores_and_limits(checkpoint: Path) -> None:
    model = load_checkpoint(checkpoint)
    crops = TrainingCrops(
        training=(SeenCrop(name="P1/1", patient="P1"), SeenCrop(name="P1/2", patient="P1"), SeenCrop(name="P2/1", patient="P2")),
        validation=(SeenCrop(name="P3/1", patient="P3"),),
    )  # fmt: skip
    about = model.metadata.model_copy(update={"trained_on": crops})
    card = model_card(type(model)(model.network, model.recipe, about, model.path))
    assert "3 crops of 2 patients: P1 (2), P2 (1)" in card
    assert "no patient is in both" in card
    assert "1 validation crops" in card
    assert about.fingerprint in card
    assert "not diagnosis" in card
    leaking = about.model_copy(update={"trained_on": crops.model_copy(update={"validation": crops.training[:1]})})
    assert "1 patients are in both" in model_card(type(model)(model.network, model.recipe, leaking, model.path))
    unknown = about.model_copy(update={"trained_on": None})
    assert "does not say" in model_card(type(model)(model.network, model.recipe, unknown, model.path))


def test_a_package_of_somebody_else_or_a_damaged_one_is_one_line(packed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as files:
        files.writestr("rdf.yaml", "type: model")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_checkpoint(other)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read as a package"):
        load_checkpoint(cut)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_monusac.network import checkpoint as rooms

    monkeypatch.setattr(rooms, "_MOST_BYTES", 1 << 20)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as files:
        files.writestr(CHECKPOINT_IN_PACKAGE, bytes(4 << 20))
    with pytest.raises(CheckpointError, match="states a checkpoint"):
        load_checkpoint(bomb)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_command_writes_a_card(checkpoint: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, ["export", str(checkpoint), "--to", "card", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (card,) = tmp_path.glob("*.md")
    assert card.read_text("utf-8").startswith("# ")
