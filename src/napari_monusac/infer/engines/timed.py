"""What was timed once on this machine is remembered in the cache folder: the next start need not time it again."""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from pathlib import Path

import torch

from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.recipe import Precision, TrainingRecipe
from napari_monusac.core.settings import user_folder

_FILE = "engines.json"


def timed_on(recipe: TrainingRecipe, device: str) -> str:
    """Name a machine, a device and the architecture of a network: what decides which precision is the faster."""
    kind = device.split(":")[0]
    runs_on = torch.cuda.get_device_name(device) if kind == "cuda" else torch.backends.cpu.get_cpu_capability()
    machine = f"{platform.node()}, {platform.machine()}, {kind} {runs_on}, {torch.get_num_threads()} threads"
    width = "-".join(map(str, recipe.decoder_channels))
    return f"{machine}, torch {torch.__version__}: {recipe.encoder}, decoder {width} {recipe.decoder_attention}"


def remembered(name: str) -> Precision | None:
    """Return the precision that was the faster one, by what `timed_on` calls it; None where it was not timed yet."""
    found = _read(_path()).get(name)
    return "bfloat16" if found == "bfloat16" else "float32" if found == "float32" else None


def remember(name: str, precision: str) -> None:
    """Keep what was found; where the cache cannot be written, it is timed again next time."""
    path = _path()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, json.dumps({**_read(path), name: precision}, indent=1, sort_keys=True))


def _path() -> Path:
    return user_folder("cache") / _FILE


def _read(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet, or damaged: it is only a cache
        return {}
    return found if isinstance(found, dict) else {}
