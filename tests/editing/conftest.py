"""Small crops to edit, and the random reader of the stress benchmark."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.files import write_annotation


@pytest.fixture(scope="session")
def stress() -> ModuleType:
    """benchmarks/stress_session.py as a module."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "stress_session.py"
    spec = importlib.util.spec_from_file_location("stress_session", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["stress_session"] = module
    spec.loader.exec_module(module)
    return module


def square(top, left, bottom, right, label="Epithelial"):
    layer = {"Epithelial": 0, "Lymphocyte": 1, "Neutrophil": 2, "Macrophage": 3}.get(label, -1)
    corners = [(top, left), (top, right - 1), (bottom - 1, right - 1), (bottom - 1, left)]
    return Nucleus(np.array(corners, float), label, layer, integral=True)


@pytest.fixture
def overlapping() -> Annotation:
    """1 below 2 (rows 20 to 29 hidden), 3 alone, 4 a lymphocyte over 3's corner; 5 an Ambiguous region over 3."""
    return Annotation(
        (
            square(10, 10, 30, 30),
            square(20, 10, 40, 30),
            square(50, 10, 70, 30),
            square(60, 25, 80, 45, "Lymphocyte"),
            square(45, 5, 60, 20, "Ambiguous"),
        ),
        um_per_px=0.25,
    )


@pytest.fixture
def crop(tmp_path, overlapping) -> Path:
    """The same as a file."""
    path = tmp_path / "TCGA-AA-0001" / "TCGA-AA-0001_1.xml"
    path.parent.mkdir()
    write_annotation(overlapping, path)
    return path
