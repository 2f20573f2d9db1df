"""Weights of the encoder: from a file, the hub or its cache, each with a clear message."""

from __future__ import annotations

import re
import time

import pytest

from napari_monusac.core.errors import WeightsError
from napari_monusac.core.recipe import load_recipe

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("prefix", ["", "module.", "encoder.", "model.encoder."])
def test_a_local_file_is_loaded_whatever_prefix_it_carries(network, small, tmp_path, prefix):
    import torch
    from safetensors.torch import save_file

    from napari_monusac.network.unet import DualHeadUnet

    own = {f"{prefix}{k.removeprefix('model.')}": v + 1 for k, v in network.encoder.state_dict().items() if v.ndim}
    own["classifier.weight"] = torch.zeros(3)
    save_file(own, tmp_path / "w.safetensors")
    torch.save({"state_dict": own}, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        loaded = DualHeadUnet(small.with_values(encoder_weights=str(tmp_path / name)))
        for k, v in network.encoder.state_dict().items():
            if v.ndim:
                assert torch.equal(loaded.encoder.state_dict()[k], v + 1), k


def test_torchvision_names_fit_smp_s_resnet(tmp_path):
    import segmentation_models_pytorch as smp
    import torch
    import torchvision

    from napari_monusac.network.weights import fit_weights, load_encoder_weights

    theirs = torchvision.models.resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    encoder = smp.encoders.get_encoder("resnet18", weights=None)
    assert load_encoder_weights(encoder, "resnet18", str(tmp_path / "resnet18.pth")) == 100
    assert torch.equal(encoder.state_dict()["layer4.1.conv2.weight"], theirs.layer4[1].conv2.weight)
    other = smp.encoders.get_encoder("resnet34", weights=None)
    with pytest.raises(WeightsError, match=r"\d+ of the 180 tensors of encoder resnet34 fit, 'layer1.2"):
        fit_weights(other, theirs.state_dict(), "file", "resnet34")


def test_the_shared_weights_fit_their_encoder(encoder_weights):
    from napari_monusac.network.unet import DualHeadUnet

    recipe = load_recipe("run-8").with_values(encoder="tu-tf_efficientnet_lite0", encoder_weights=str(encoder_weights))
    net = DualHeadUnet(recipe)
    assert float(net.encoder.state_dict()["model.conv_stem.weight"].std()) > 0.1


def test_bad_weights_files_are_one_clear_line(network, tmp_path):
    import torch

    from napari_monusac.network.weights import load_encoder_weights

    class Evil:
        def __reduce__(self):
            return (eval, ("open('/tmp/never', 'w')",))

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "noise.safetensors").write_bytes(b"\x99" * 100)
    (tmp_path / "noise.pth").write_bytes(b"\x99" * 100)
    torch.save({"a": 1}, tmp_path / "numbers.pth")
    for name, problem in {
        "evil.pth": "holds more than tensors",
        "noise.safetensors": "cannot be read as weights",
        "noise.pth": "noise.pth",
        "numbers.pth": "no table of tensors",
        "none.pth": "no such weights file",
    }.items():
        with pytest.raises(WeightsError, match=problem) as caught:
            load_encoder_weights(network.encoder, "x", str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_offline_never_hangs_and_offers_a_way(small, monkeypatch, tmp_path):
    from napari_monusac.network import weights
    from napari_monusac.network.unet import DualHeadUnet

    monkeypatch.setattr(weights, "_fetch", _nothing_cached)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"HF_HUB_OFFLINE.*local weights file.*none"):
        DualHeadUnet(small.with_values(encoder_weights="imagenet"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(weights, "_REACH_S", 0.2)
    # A host that answers nothing (TEST-NET), a name that does not exist, and a name service that hangs.
    for host in ("https://192.0.2.1", "https://no-such-host.invalid"):
        monkeypatch.setenv("HF_ENDPOINT", host)
        for proxy in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.delenv(proxy, raising=False)
        assert re.search("cannot be reached|did not answer", weights.why_offline())
    monkeypatch.setattr(weights.socket, "create_connection", _hanging)
    start = time.monotonic()
    assert "did not answer" in weights.why_offline()
    assert time.monotonic() - start < 10


def _hanging(*_, **__):
    time.sleep(15)
    raise OSError("at last")


def _nothing_cached(*_, **__):
    from napari_monusac.network.weights import _NotCached

    raise _NotCached("nothing")


def test_the_hub_s_cache_is_used_without_a_network(network, small, monkeypatch):
    from napari_monusac.network import weights
    from napari_monusac.network.unet import DualHeadUnet

    asked = []

    def fetch(_name, *, local):
        asked.append(local)
        return network.encoder.state_dict()

    monkeypatch.setattr(weights, "_fetch", fetch)
    monkeypatch.setattr(weights, "why_offline", lambda: "nothing may ask")
    DualHeadUnet(small.with_values(encoder_weights="imagenet"))
    assert asked == [True]


def test_a_download_is_announced_only_where_there_will_be_one(small, monkeypatch):
    import huggingface_hub

    from napari_monusac.network import weights

    assert weights.download_notice(small) == ""
    recipe = small.with_values(encoder="resnet34", encoder_weights="imagenet")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(weights, "why_offline", lambda: "offline")
    assert weights.download_notice(recipe) == ""
    monkeypatch.setattr(weights, "why_offline", lambda: "")
    size = type("Metadata", (), {"size": 87_300_000})
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: size)
    notice = weights.download_notice(recipe)
    assert notice == "downloading ImageNet weights of resnet34: 87 MB from huggingface.co/smp-hub/resnet34.imagenet"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: "cached")
    assert weights.download_notice(recipe) == ""


def test_hub_addresses():
    from napari_monusac.network.weights import hub_address

    assert hub_address("resnet34")[0] == "smp-hub/resnet34.imagenet"
    assert hub_address("tu-tf_efficientnet_lite0")[0] == "timm/tf_efficientnet_lite0.in1k"
