"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real slides with labels (or skip)."""
    folder = Path(os.environ.get("MONUSAC_DATA", SHARED / "data"))
    if not (folder / "monusac").is_dir():
        pytest.skip(f"real data not at {folder}: set MONUSAC_DATA")
    return folder


@pytest.fixture(scope="session")
def encoder_weights() -> Path:
    """Real ImageNet weights of a small encoder (or skip)."""
    path = SHARED / "weights" / "tf_efficientnet_lite0.imagenet.safetensors"
    if not path.is_file():
        pytest.skip(f"encoder weights not at {path}")
    return path
