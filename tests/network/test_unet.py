"""The dual-head network."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.core.errors import RecipeError, ShapeError
from napari_monusac.core.recipe import load_recipe

pytestmark = pytest.mark.torch


def test_two_heads_over_one_decoder(network):
    import torch

    with torch.no_grad():
        semantic, ternary = network(torch.zeros(2, 3, 64, 96))
    assert semantic.shape == (2, 5, 64, 96)
    assert ternary.shape == (2, 3, 64, 96)


def test_run_8_has_the_parts_that_the_source_names():
    import segmentation_models_pytorch as smp
    from torch import nn

    from napari_monusac.network.unet import DualHeadUnet

    net = DualHeadUnet(load_recipe("run-8"), encoder_weights="none")
    theirs = smp.Unet("resnet34", encoder_weights=None, decoder_channels=(256, 128, 64, 32, 16), classes=5)
    assert net.encoder.state_dict().keys() == theirs.encoder.state_dict().keys()
    shapes = {k: v.shape for k, v in net.decoder.state_dict().items()}
    assert shapes == {k: v.shape for k, v in theirs.decoder.state_dict().items()}
    dropouts = [m for m in net.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    assert [(type(d), d.p) for d in dropouts] == [(nn.Dropout2d, 0.2)]
    assert net.semantic_head[0].weight.shape == (5, 16, 3, 3)
    assert net.ternary_head[0].weight.shape == (3, 16, 3, 3)


def test_dropout_drops_the_same_channels_for_both_heads(small):
    import torch

    from napari_monusac.network.unet import DualHeadUnet

    net = DualHeadUnet(small).train()
    seen = []
    for head in (net.semantic_head, net.ternary_head):
        head.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].clone()))
    net(torch.rand(2, 3, 64, 64))
    assert torch.equal(*seen)
    assert (seen[0].flatten(2).abs().sum(2) == 0).any() or (seen[0] != 0).any()
    none = DualHeadUnet(small.with_values(dropout=0.0))
    assert isinstance(none.dropout, torch.nn.Identity)


def test_scse_and_other_encoders_can_be_chosen(small):
    from napari_monusac.network.unet import DualHeadUnet

    scse = small.with_values(decoder_attention="scse", decoder_channels=(16,) * 5)
    assert "SCSEModule" in {type(m).__name__ for m in DualHeadUnet(scse).modules()}
    with pytest.raises(RecipeError, match="16 decoder channels or more"):
        small.with_values(decoder_attention="scse")
    net = DualHeadUnet(small.with_values(encoder="resnet18", decoder_channels=(16, 8, 8), patch_size=64))
    assert net.stride == 8


@pytest.mark.parametrize("decoder", ["unetplusplus", "manet"])
def test_decoders_that_fuse_scales(small, decoder):
    import torch

    from napari_monusac.network.unet import DualHeadUnet

    network = DualHeadUnet(small.with_values(decoder=decoder)).eval()
    assert type(network.decoder).__name__ == {"unetplusplus": "UnetPlusPlusDecoder", "manet": "MAnetDecoder"}[decoder]
    with torch.no_grad():
        semantic, ternary = network(torch.zeros(1, 3, 64, 96))
    assert (semantic.shape, ternary.shape) == ((1, 5, 64, 96), (1, 3, 64, 96))


def test_preparation_is_imagenet_s_or_pixels_over_255(small, network):
    import torch

    from napari_monusac.network.unet import DualHeadUnet

    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)
    expected = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    got = network.prepare(images)
    assert got.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(got.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)
    plain = DualHeadUnet(small.with_values(imagenet_norm=False)).prepare(images)
    np.testing.assert_allclose(plain.permute(0, 2, 3, 1).numpy(), images / 255, atol=1e-6)


def test_wrong_sizes_and_names_are_named(network, small):
    import torch

    from napari_monusac.network.unet import DualHeadUnet

    with pytest.raises(ShapeError, match="multiples of 32"):
        network(torch.zeros(1, 3, 60, 64))
    with pytest.raises(RecipeError, match=r"did you mean .*resnet34"):
        DualHeadUnet(small.with_values(encoder="resnet43"))
    with pytest.raises(RecipeError, match=r"did you mean .*tu-"):
        DualHeadUnet(small.with_values(encoder="tu-tf_eficientnet_lite0"))


# ---------------------------------------------------------------------- weights


@pytest.mark.parametrize("encoder", ["tu-hf-hub:timm/resnet18.a1_in1k", "tu-hf_hub:a/b", "tu-local-dir:/tmp/x", "a/b"])
def test_an_encoder_that_names_a_place_is_refused_without_asking_there(encoder, monkeypatch):
    import socket

    from napari_monusac.network.unet import DualHeadUnet

    def asked(*_: object) -> None:
        raise AssertionError("a host is looked up")

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    recipe = load_recipe("run-8").model_copy(update={"encoder": encoder, "encoder_weights": "none"})
    with pytest.raises(RecipeError, match="names a place, no network"):
        DualHeadUnet(recipe)
