"""Where a run is computed: libraries, machine, commit. Imports none of the libraries it names."""

from __future__ import annotations

import platform
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

_LIBRARIES = (
    "napari-monusac",
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "timm",
    "albumentations",
    "numpy",
    "opencv-python-headless",
)


def describe_environment() -> dict[str, Any]:
    """Versions of the libraries, Python, machine, and the commit of the checkout that this package runs from."""
    versions = {}
    for library in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return {
        "versions": versions,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "host": platform.node(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of the checkout, read from ``.git`` without running git; empty for an installed package."""
    for parent in Path(__file__).resolve().parents[:5]:
        head = parent / ".git" / "HEAD"
        if head.is_file():
            text = head.read_text("utf-8").strip()
            reference = parent / ".git" / text.removeprefix("ref: ")
            with suppress(OSError):
                return reference.read_text("utf-8").strip() if text.startswith("ref: ") else text
    return ""
