"""Touching nuclei that one region of *inside* holds: parted by shape and probability together, never what is one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.draw import disk, ellipse
from skimage.measure import label

from napari_monusac.core.errors import ShapeError
from napari_monusac.masks._parting import parted
from napari_monusac.masks.instances import instances_from_maps


def region(*shapes: tuple[np.ndarray, np.ndarray], size: tuple[int, int] = (80, 120)) -> np.ndarray:
    mask = np.zeros(size, bool)
    for rows, columns in shapes:
        mask[rows, columns] = True
    return mask


def parts(mask: np.ndarray, inside: np.ndarray | float = 1.0, part: float = 0.5, rim: int = 2) -> int:
    labels, count = label(mask, connectivity=2, return_num=True)
    probability = np.where(mask, inside, 0).astype(np.float32)
    highest, found = parted(labels.astype(np.int32), count, probability, part, rim)
    np.testing.assert_array_equal(found > 0, mask, "no pixel is lost or won")
    assert found.max() <= highest
    return len(np.unique(found[found > 0]))


def two_discs(distance: int, radius: int = 18) -> np.ndarray:
    return region(disk((40, 40), radius), disk((40, 40 + distance), radius))


def dip(depth: float, at: int, width: float = 3.0) -> np.ndarray:
    """*Inside* that is lower by `depth` along a column."""
    x = np.arange(120)
    return np.broadcast_to(1 - depth * np.exp(-((x - at) ** 2) / (2 * width**2)), (80, 120))


def test_a_deep_waist_parts_and_a_shallow_one_does_not() -> None:
    assert parts(two_discs(34)) == 2  # neck over nucleus, with the rim: (6 + 2) / (18 + 2) = 0.4
    assert parts(two_discs(20)) == 1  # (15 + 2) / 20 = 0.85
    assert parts(two_discs(34), part=0.0) == 1, "0 parts nothing"


def test_shape_and_probability_multiply() -> None:
    mask = two_discs(28)  # (12 + 2) / (18 + 2) = 0.7
    assert parts(mask) == 1, "the shape alone is not enough"
    assert parts(two_discs(0), dip(0.35, 40)) == 1, "nor is a dim line across a round nucleus"
    assert parts(mask, dip(0.4, 54)) == 2, "0.7 x 0.6 lies below one half"


@pytest.mark.parametrize("part", [0.5, 0.7])
def test_what_is_one_stays_one(part: float) -> None:
    assert parts(region(ellipse(40, 60, 9, 34)), part=part) == 1
    assert parts(region(ellipse(40, 60, 30, 40)), part=part) == 1
    bean = region(ellipse(40, 60, 18, 30))
    bean[disk((64, 60), 12)] = False  # bitten from below
    assert parts(bean, part=part) == 1
    rng = np.random.default_rng(0)
    wobble = cv2.GaussianBlur(rng.normal(size=(80, 120)).astype(np.float32), (0, 0), 2)
    vesicular = 0.85 + 0.1 * wobble / np.abs(wobble).max()  # a large, uneven nucleus: a macrophage
    assert parts(region(ellipse(40, 60, 25, 30)), vesicular, part=part) == 1


def test_specks_are_no_nuclei() -> None:
    mask = region(disk((40, 40), 14))
    mask[39:42, 53:58] = True  # a spur of 3 px
    assert parts(mask, part=0.99) == 1


def test_each_of_many_is_parted_alone() -> None:
    pair = disk((20, 20), 12), disk((20, 43), 12)  # (5 + 2) / (12 + 2) = 0.5
    chain = disk((60, 30), 12), disk((60, 53), 12), disk((60, 76), 12)
    assert parts(region(*pair, disk((20, 95), 12), *chain), part=0.6) == 6


def test_two_nuclei_whose_boundary_the_network_misses_come_out_as_two() -> None:
    mask = two_discs(34)
    semantic, ternary = np.zeros((5, 80, 120), np.float32), np.zeros((3, 80, 120), np.float32)
    semantic[0], semantic[2] = ~mask, mask
    ternary[0], ternary[1] = ~mask, mask
    two = instances_from_maps(semantic, ternary, boundary_width=1)
    assert len(two) == 2
    assert ((two.instances > 0) != mask).sum() <= 8, "but for the notches between them"
    assert len(instances_from_maps(semantic, ternary, boundary_width=1, part_threshold=0.0)) == 1
    for k, x in ((1, 40), (2, 74)):
        at = two.instances[40, x]
        truth = region(disk((40, x), 18))
        assert (truth & (two.instances == at)).sum() / (truth | (two.instances == at)).sum() > 0.9, k


def test_a_nucleus_that_the_semantic_head_denies_is_left_out_where_that_is_asked() -> None:
    mask = region(disk((40, 30), 12), disk((40, 80), 12))
    semantic, ternary = np.zeros((5, 80, 120), np.float32), np.zeros((3, 80, 120), np.float32)
    ternary[0], ternary[1] = ~mask, mask
    left = np.arange(120) < 55
    semantic[4] = np.where(mask, np.where(left, 0.9, 0.3), 0)
    semantic[0] = 1 - semantic[4]
    assert len(instances_from_maps(semantic, ternary)) == 2
    (row,) = instances_from_maps(semantic, ternary, agreement_threshold=0.5).table.itertuples()
    assert row.centroid_x == pytest.approx(30, abs=0.5)
    assert len(instances_from_maps(None, ternary, agreement_threshold=0.5)) == 2, "there is no head to agree"


def test_a_temperature_changes_how_sure_a_class_is_and_not_which() -> None:
    mask = region(disk((40, 40), 12))
    semantic, ternary = np.zeros((5, 80, 120), np.float32), np.zeros((3, 80, 120), np.float32)
    ternary[0], ternary[1] = ~mask, mask
    semantic[1:, mask] = np.array([0.6, 0.3, 0.1, 0.0])[:, None]
    semantic[0] = 1 - semantic[1:].sum(0)
    columns = ["p_epithelial", "p_lymphocyte", "p_neutrophil", "p_macrophage"]
    cool, hot = (instances_from_maps(semantic, ternary, class_temperature=t).table for t in (1.0, 2.0))
    assert cool["class"][0] == hot["class"][0] == "Epithelial"
    expected = np.array([0.6, 0.3, 0.1, 1e-7]) ** 0.5
    np.testing.assert_allclose(hot[columns].to_numpy()[0], expected / expected.sum(), rtol=1e-4)
    assert hot["confidence"][0] < cool["confidence"][0]
    with pytest.raises(ShapeError, match="class_temperature"):
        instances_from_maps(semantic, ternary, class_temperature=0.0)
