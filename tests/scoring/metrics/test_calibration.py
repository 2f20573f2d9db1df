"""Reliability and temperature, against plain numpy and against temperatures that are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_monusac.scoring.metrics.calibration import calibration_error, fitted_temperature, reliability


def drawn(temperature: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (4, n) that are `temperature` times too sure, and classes drawn by the true ones."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(4, n)) * 1.5
    true = np.exp(logits) / np.exp(logits).sum(0)
    classes = (true.cumsum(0) > rng.random(n)).argmax(0)
    said = np.exp(logits * temperature)
    return said / said.sum(0), classes


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_is_found(temperature: float) -> None:
    said, classes = drawn(temperature)
    assert fitted_temperature(said, classes) == pytest.approx(temperature, rel=0.12)


def test_few_nuclei_tell_nothing() -> None:
    said, classes = drawn(4.0, n=19)
    assert fitted_temperature(said, classes) == 1.0


def test_bins_are_those_of_plain_numpy() -> None:
    said, classes = drawn(2.0)
    sure, right = said.max(0), said.argmax(0) == classes
    bins = reliability(sure, right)
    assert sum(b.nuclei for b in bins) == len(sure)
    edges = np.linspace(0, 1, 11)
    gap = 0.0
    for low, high in itertools.pairwise(edges):
        here = (sure >= low) & (sure < high if high < 1 else sure <= 1)
        if here.any():
            gap += here.mean() * abs(sure[here].mean() - right[here].mean())
    assert calibration_error(bins) == pytest.approx(gap)
    assert gap > 0.1, "twice too sure"
    assert reliability([1.0], [True])[0].said == 1.0
    assert calibration_error(reliability([], [])) is None
