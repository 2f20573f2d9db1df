"""The fitted thresholds that a checkpoint holds, read from its header: neither its weights nor torch are needed."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from napari_monusac.core.fitted import FittedThresholds


def fitted_in(path: str | Path) -> FittedThresholds | None:
    """Read the fitted thresholds of a checkpoint file or of a run folder's best.

    Returns
    -------
    FittedThresholds or None
        None where it holds none, or cannot be read: who predicts with it is told why.
    """
    path = Path(path)
    with suppress(SafetensorError, OSError, ValueError, ValidationError, KeyError, TypeError):
        with safe_open(path / "best.safetensors" if path.is_dir() else path, "np") as file:
            fitted = json.loads(file.metadata()["napari-monusac"])["fitted"]
        return None if fitted is None else FittedThresholds.model_validate(fitted)
    return None
