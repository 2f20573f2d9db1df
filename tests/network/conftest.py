"""A small network."""

from __future__ import annotations

import pytest

from napari_monusac.core.recipe import load_recipe


@pytest.fixture(scope="module")
def small():
    return load_recipe("run-8").with_values(
        encoder="tu-test_efficientnet", encoder_weights="none", decoder_channels=(16, 16, 8, 8, 8)
    )


@pytest.fixture(scope="module")
def network(small):
    from napari_monusac.network.unet import DualHeadUnet

    return DualHeadUnet(small).eval()
