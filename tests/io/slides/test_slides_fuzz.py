"""A short run of benchmarks/fuzz_slides.py: mutated files open or give one SlideError."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "fuzz_slides.py"


def test_mutated_files_give_our_error_or_pixels(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("fuzz_slides", SCRIPT)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    seeds = fuzz.seed_files()
    path = tmp_path / "mutated.tif"
    for name, data in seeds:
        path.write_bytes(data)
        assert fuzz.outcome(path) == "read", name
    for k in range(140):
        name, data = seeds[k % len(seeds)]
        path.write_bytes(fuzz.mutated(data, np.random.default_rng((99, k))))
        assert fuzz.outcome(path) in ("read", "SlideError"), (k, name)
