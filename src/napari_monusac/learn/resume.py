"""What a resume needs: ``last.safetensors`` and, beside it, optimiser, schedule and counters.

The state is ``last-<step>.state``, named in the metadata of ``last.safetensors``: renaming that one file is the moment
a pair becomes valid, so a crash at any moment leaves one whole pair.
"""

from __future__ import annotations

import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from napari_monusac.core.errors import CheckpointError
from napari_monusac.core.files import atomic_write
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.network.checkpoint import CheckpointMetadata, read_metadata, save_checkpoint, unwritable
from napari_monusac.network.unet import DualHeadUnet

_MEND = "start a new run with these weights as encoder_weights, or from the beginning"


def save_last(run: RunFolder, network: DualHeadUnet, metadata: CheckpointMetadata, state: dict[str, Any]) -> Path:
    """Write ``last.safetensors`` and its resume state as a pair: after a crash at any moment one whole pair is there.

    Raises
    ------
    TrainingError
        The disk is full, or the folder cannot be written.
    """
    name = f"last-{metadata.step:08d}.state"
    path = run.path / name
    try:
        with atomic_write(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise unwritable(path, error) from error
    save_checkpoint(run.last, network, metadata.model_copy(update={"state": name}))
    for old in run.path.glob("last-*.state"):
        if old.name != name:
            with suppress(OSError):
                old.unlink()
    return run.last


def load_state(run: RunFolder) -> dict[str, Any]:
    """Read the resume state that belongs to ``last.safetensors``.

    Raises
    ------
    CheckpointError
        It is missing, damaged, or holds more than tensors and plain values.
    """
    name = read_metadata(run.last).state
    path = run.path / Path(name).name
    if not name or not path.is_file():
        raise CheckpointError(run.last, f"its resume state {name!r} is missing", _MEND)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = str(error).split("\n")[0][:120]
        raise CheckpointError(path, f"is damaged or foreign ({reason})", _MEND) from error
    if not isinstance(state, dict):
        raise CheckpointError(path, "holds no resume state", _MEND)
    return state
