"""Slides that are made for the tests of this folder, and files that are damaged at random."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

HERE = Path(__file__).parent


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """Functions that write small slides as scanners do: `made_slides`."""
    return _module(HERE / "made_slides.py")


@pytest.fixture(scope="session")
def mutated() -> Callable[[bytes, np.random.Generator], bytes]:
    """Cut, overwrite, repeat or blank parts of a file."""
    return _module(HERE.parents[2] / "benchmarks" / "fuzz_slides.py").mutated


@pytest.fixture(scope="session")
def outcome() -> Callable[[Path], str]:
    """Open a file and read it: "read", "SlideError" (of one line), or the name of an error that must not happen."""
    return _module(HERE.parents[2] / "benchmarks" / "fuzz_slides.py").outcome


@pytest.fixture(scope="session")
def image(made: ModuleType) -> np.ndarray:
    """The pixels of the slides that are made."""
    return made.tissue()
