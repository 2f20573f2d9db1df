"""The fitted thresholds that a checkpoint holds, read from its header: neither its weights nor torch are needed."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from napari_monusac.core.fitted import FittedThresholds

#: Largest header that is read, bytes: ours have some hundred kB.
_MOST_BYTES = 64 << 20


def fitted_in(path: str | Path) -> FittedThresholds | None:
    """Read the fitted thresholds of a checkpoint file or of a run folder's best.

    Returns
    -------
    FittedThresholds or None
        None where it holds none, or cannot be read: who predicts with it is told why.

    Notes
    -----
    A safetensors file begins with the length of its header, 8 bytes little-endian, and the header, JSON.
    """
    path = Path(path)
    with suppress(OSError, ValueError, ValidationError, KeyError, TypeError, RecursionError):
        with (path / "best.safetensors" if path.is_dir() else path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= _MOST_BYTES else {}
        fitted = json.loads(header["__metadata__"]["napari-monusac"])["fitted"]
        return None if fitted is None else FittedThresholds.model_validate(fitted)
    return None
