"""Thresholds that are fitted: on maps whose best thresholds are known, against `instances_from_maps` and plain scores."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import disk

from napari_monusac.core.errors import Cancelled
from napari_monusac.core.fitted import FittedThresholds, with_fitted
from napari_monusac.learn.fit import JudgedMaps, fit_thresholds
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.scoring.metrics.panoptic import panoptic_quality

pytestmark = pytest.mark.torch


def crop(seed: int, *, inside: float = 0.95, stroma: float = 0.0, lost: int = 0) -> JudgedMaps:
    """Sixteen discs; as many specks of stroma that the ternary head takes for nuclei with the semantic head at `stroma`."""
    rng = np.random.default_rng(seed)
    truth, classes = np.zeros((240, 240), np.int32), np.zeros((240, 240), np.uint8)
    maps = np.zeros((8, 240, 240), np.float32)
    maps[0] = maps[5] = 1
    for k, (y, x) in enumerate((y, x) for y in range(30, 240, 60) for x in range(30, 240, 60)):
        at, kind = disk((y, x), 10), int(rng.integers(1, 5))
        truth[at], classes[at] = k + 1, kind
        maps[(slice(0, 5), *at)] = np.where(np.arange(5) == kind, 0.9, 0.025)[:, None]
        maps[(slice(5, 8), *at)] = np.array([0.03, inside, 0.97 - inside])[:, None]
        speck = disk((y + 28, x + 28), 6, shape=truth.shape)
        if stroma:
            maps[(slice(0, 5), *speck)] = np.where(np.arange(5) == 0, 1 - stroma, stroma / 4)[:, None]
            maps[(slice(5, 8), *speck)] = np.array([0.03, 0.97, 0.0])[:, None]
    return JudgedMaps(maps, truth, classes, np.zeros(truth.shape, bool), 1)


def pooled(crops: list[JudgedMaps], settings: dict[str, float]) -> float:
    """Panoptic quality of the public segmentation."""
    total = panoptic_quality(np.zeros((1, 1), int), np.zeros((1, 1), int))
    for c in crops:
        found = instances_from_maps(c.probabilities[:5], c.probabilities[5:], boundary_width=1, **settings)
        total += panoptic_quality(c.truth, found.instances, ignore=c.ignore)
    return total.pq


def test_stroma_that_the_semantic_head_denies_is_left_out() -> None:
    crops = [crop(0, stroma=0.35), crop(1, stroma=0.35)]
    fitted = fit_thresholds(crops)
    assert fitted is not None
    assert fitted.agreement > 0.35
    assert fitted.pq_before == pytest.approx(pooled(crops, {}), abs=1e-9)
    assert fitted.pq == pytest.approx(pooled(crops, fitted.settings()), abs=1e-9), "the same by the public function"
    assert fitted.pq > fitted.pq_before + 0.2
    assert (fitted.crops, fitted.nuclei) == (2, 32)
    assert fitted.sentence().startswith("thresholds fitted on 32 nuclei of 2 validation crops: inside")


def test_nothing_to_gain_leaves_the_defaults() -> None:
    fitted = fit_thresholds([crop(0)])
    assert fitted is not None
    plain = instances_from_maps.__kwdefaults__
    assert fitted.settings() == {
        **{k: plain[k] for k in ("inside_threshold", "nucleus_threshold", "part_threshold", "agreement_threshold")},
        "peak_threshold": 0.7,  # what None stands for at nucleus_threshold 0.5
        "class_temperature": fitted.temperature,
    }
    assert fitted.pq == fitted.pq_before > 0.95


def test_classes_that_are_right_more_often_than_they_say_are_made_surer() -> None:
    fitted = fit_thresholds([crop(k) for k in range(3)])
    assert fitted is not None
    assert fitted.temperature < 1, "all 48 are right, said with 0.92"
    assert fitted.error is not None
    assert fitted.error_before is not None
    assert fitted.error < fitted.error_before
    assert sum(b.nuclei for b in fitted.reliability) == 48


def test_ambiguous_pixels_and_unknown_classes_do_not_count() -> None:
    one = crop(0, stroma=0.35)
    one.ignore[:] = one.truth == 0  # every speck lies in one
    one.classes[:] = 255
    fitted = fit_thresholds([one])
    assert fitted is not None
    assert fitted.agreement == 0
    assert fitted.temperature == 1
    assert fitted.error is None
    assert fitted.reliability == ()


def test_no_truth_no_fit_and_a_stop_is_heard() -> None:
    nothing = crop(0)
    nothing.truth[:] = 0
    assert fit_thresholds([nothing]) is None
    with pytest.raises(Cancelled, match="resume"):
        fit_thresholds([crop(0)], lambda: True)


def test_what_is_asked_for_goes_over_what_was_fitted() -> None:
    fitted = FittedThresholds(inside=0.3, agreement=0.4)
    assert with_fitted(fitted, {"inside_threshold": 0.6})["inside_threshold"] == 0.6
    assert with_fitted(fitted, None)["agreement_threshold"] == 0.4
    assert with_fitted(None, {"min_area_px": 3.0}) == {"min_area_px": 3.0}
    assert FittedThresholds.model_validate_json(fitted.model_dump_json()) == fitted
