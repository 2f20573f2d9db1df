"""Weights are fetched from a hub, a mirror or a file, checked, kept, and found without a network afterwards."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from napari_monusac.cli import main
from napari_monusac.core.errors import WeightsError
from napari_monusac.core.recipe import load_recipe
from napari_monusac.network import weights as hub_weights
from napari_monusac.network.weights import hub_address

pytestmark = pytest.mark.torch
ENCODER = "tu-test_efficientnet"


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A machine of its own that has fetched nothing and reaches nobody but itself."""
    monkeypatch.setenv("MONUSAC_WORK", str(tmp_path / "work"))
    monkeypatch.setattr(hub_weights, "in_hub_cache", lambda _: None)
    monkeypatch.setattr("napari_monusac.network.weights_store.in_hub_cache", lambda _: None)
    monkeypatch.setattr(hub_weights, "_fetch", lambda *_, **__: (_ for _ in ()).throw(hub_weights._NotCached("no")))
    monkeypatch.setattr(hub_weights, "why_offline", lambda: "there is no network")
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tensors():
    """Weights of a small encoder that nobody would draw at random."""
    import segmentation_models_pytorch as smp
    import torch

    encoder = smp.encoders.get_encoder(ENCODER, weights=None)
    torch.manual_seed(5)
    return {k: torch.randn_like(v) if v.is_floating_point() else v for k, v in encoder.state_dict().items()}


@pytest.fixture
def mirror(tmp_path, tensors):
    """A server on this machine, laid out as the hub is; its address, and what was asked of it."""
    from safetensors.torch import save_file

    repository, file, revision = hub_address(ENCODER)
    place = tmp_path / "mirror" / repository / "resolve" / (revision or "main")
    place.mkdir(parents=True)
    save_file(tensors, place / file)
    asked: list[str] = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "mirror")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def same(encoder, tensors):
    import torch

    return all(torch.equal(encoder.state_dict()[k], v) for k, v in tensors.items())


def run(*arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code, *capsys.readouterr()


def test_a_mirror_is_asked_once_and_training_finds_the_weights_without_a_network(mirror, tensors, capsys):
    from napari_monusac.network.unet import DualHeadUnet

    address, asked = mirror
    recipe = load_recipe("quick").with_values(
        encoder=ENCODER, encoder_weights="imagenet", decoder_channels=(16, 16, 16, 16, 16)
    )
    with pytest.raises(WeightsError, match=r"there is no network.*weights import"):
        DualHeadUnet(recipe)
    code, out, _ = run("weights", "get", ENCODER, "--from", address, "--json", capsys=capsys)
    told = json.loads(out)
    assert (code, told["where"], told["encoder"]) == (0, "imported", ENCODER)
    assert same(DualHeadUnet(recipe).encoder, tensors)
    hub_weights.have_weights(recipe)
    assert len(asked) == 1
    code, _, _ = run("weights", "get", ENCODER, capsys=capsys)
    assert (code, len(asked)) == (0, 1), "what is here is not fetched again"


def test_weights_are_carried_to_a_machine_without_a_network(mirror, tensors, tmp_path, monkeypatch, capsys):
    from napari_monusac.network.unet import DualHeadUnet

    stick = tmp_path / "USB Stick" / "weights.safetensors"
    assert run("weights", "get", ENCODER, "--from", mirror[0], "--out", stick, capsys=capsys)[0] == 0
    monkeypatch.setenv("MONUSAC_WORK", str(tmp_path / "hospital"))
    assert json.loads(run("weights", "list", "--json", capsys=capsys)[1])["weights"][0]["where"] == "missing"
    code, out, _ = run("weights", "import", stick, "--encoder", ENCODER, capsys=capsys)
    assert code == 0
    assert str(tmp_path / "hospital") in out
    recipe = load_recipe("quick").with_values(
        encoder=ENCODER, encoder_weights="imagenet", decoder_channels=(16, 16, 16, 16, 16)
    )
    assert same(DualHeadUnet(recipe).encoder, tensors)


def test_the_address_of_a_file_and_a_file_on_disk_do_too(mirror, tensors, tmp_path, capsys):
    from napari_monusac.network.weights_store import find_weights, get_weights

    repository, file, revision = hub_address(ENCODER)
    steps = []
    get_weights(
        ENCODER, f"{mirror[0]}/{repository}/resolve/{revision or 'main'}/{file}", progress=lambda *n: steps.append(n)
    )
    done, total = steps[-1]
    assert done == total > 0
    kept = find_weights(ENCODER)
    assert kept.where == "imported"
    assert kept.bytes == kept.path.stat().st_size > 0
    assert get_weights(ENCODER, str(kept.path)).path == kept.path


def test_what_cannot_be_had_is_one_clear_line_and_leaves_nothing(mirror, tmp_path, capsys):
    work = tmp_path / "work"
    for arguments, words in (
        (("get", ENCODER, "--from", f"{mirror[0]}/elsewhere"), "404"),
        (("get", ENCODER, "--from", "http://127.0.0.1:1"), "cannot be reached"),
        (("get", "resnet34", "--from", tmp_path / "none.safetensors"), "no such weights file"),
        (("get", "resnet9000"), "there is no encoder 'resnet9000'"),
        (("import", tmp_path / "none.pth", "--encoder", "resnet18"), "no such weights file"),
    ):
        code, out, error = run("weights", *arguments, capsys=capsys)
        assert (code, out) == (1, "")
        assert words in error.splitlines()[-1]
    assert not list(work.rglob("*.safetensors"))


def test_weights_of_another_encoder_are_refused(mirror, tensors, tmp_path, capsys):
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "other.safetensors")
    code, _, error = run("weights", "import", tmp_path / "other.safetensors", "--encoder", "resnet18", capsys=capsys)
    assert code == 1
    assert "of the 100 tensors of encoder resnet18 fit" in error


def test_a_download_that_breaks_off_is_told(tensors, tmp_path):
    from http.server import BaseHTTPRequestHandler

    from napari_monusac.network.weights_store import get_weights

    class Short(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Short)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(WeightsError, match=r"10 of 1000 bytes|cannot be reached"):
            get_weights(ENCODER, f"http://127.0.0.1:{server.server_port}/w.safetensors")
    finally:
        server.shutdown()
        server.server_close()
