"""Nuclei from maps: against nuclei that are known, and against a plain watershed."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from skimage.draw import disk, ellipse
from skimage.segmentation import find_boundaries

from napari_monusac.core.errors import ShapeError
from napari_monusac.masks.instances import instances_from_maps
from napari_monusac.masks.uncertainty import disagreement_map, entropy_map

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def ternary_of(instances: np.ndarray, width: int) -> np.ndarray:
    """The definition of DOMAIN 4, written plainly."""
    edge = find_boundaries(instances, connectivity=1, mode="inner").astype(np.uint8)
    edge = cv2.dilate(edge, CROSS, iterations=(width - 1) // 2) if width > 1 else edge
    out = (instances > 0).astype(np.uint8)
    out[edge > 0] = 2
    return out


def one_hot(values: np.ndarray, channels: int) -> np.ndarray:
    return np.eye(channels, dtype=np.float32)[values].transpose(2, 0, 1)


def iou_of_each(truth: np.ndarray, found: np.ndarray) -> list[float]:
    """For each true nucleus the IoU with the found one that it shares most px with."""
    out = []
    for k in range(1, truth.max() + 1):
        mask = truth == k
        labels = found[mask]
        if not mask.any():
            continue
        best = np.bincount(labels[labels > 0], minlength=1).argmax() if (labels > 0).any() else 0
        other = (found == best) & (best > 0)
        out.append((mask & other).sum() / (mask | other).sum())
    return out


def crowd(seed: int = 0, n: int = 120, side: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Ellipses that touch but do not overlap, and their classes (index by label)."""
    rng = np.random.default_rng(seed)
    instances = np.zeros((side, side), np.int32)
    k = 0
    while k < n:
        rows, columns = ellipse(
            *rng.uniform(0, side, 2), *rng.uniform(3, 14, 2), shape=(side, side), rotation=rng.uniform(0, 3)
        )
        if len(rows) < 12 or (instances[rows, columns] > 0).any():
            continue
        k += 1
        instances[rows, columns] = k
    kinds = np.concatenate([[0], rng.integers(1, 5, n)]).astype(np.uint8)
    return instances, kinds


@pytest.mark.parametrize(("width", "mean", "worst"), [(1, 0.995, 0.9), (3, 0.99, 0.6), (5, 0.98, 0.4), (7, 0.96, 0.1)])
def test_truth_comes_back(width: int, mean: float, worst: float) -> None:
    instances, kinds = crowd()
    found = instances_from_maps(
        one_hot(kinds[instances], 5), one_hot(ternary_of(instances, width), 3), boundary_width=width
    )
    ious = iou_of_each(instances, found.instances)
    assert np.mean(ious) > mean
    assert min(ious) > worst
    assert abs(len(found) - 120) <= (1 if width < 7 else 3)
    # every nucleus has the class that its pixels had
    right = sum(kinds[instances[found.instances == r.label]][0] == r.class_id for r in found.table.itertuples())
    assert right >= len(found) - 1
    # the semantic map gives the edge: not a px outside, and hardly one is missing
    assert ((found.instances > 0) == (instances > 0)).mean() > 0.9999


@pytest.mark.parametrize(("width", "least"), [(1, 0.97), (3, 0.93), (5, 0.87)])
def test_the_ternary_map_alone_is_enough(width: int, least: float) -> None:
    instances, _ = crowd()
    found = instances_from_maps(None, one_hot(ternary_of(instances, width), 3), boundary_width=width)
    assert np.mean(iou_of_each(instances, found.instances)) > least
    assert set(found.table["class"]) == {"Unclassified"}
    assert set(found.table["class_id"]) == {255}


@pytest.mark.parametrize("width", [3, 5, 7])
def test_a_nucleus_is_not_grown_to_the_outer_rim(width: int) -> None:
    instances = np.zeros((80, 80), np.int32)
    instances[disk((40, 40), 15)] = 1
    found = instances_from_maps(None, one_hot(ternary_of(instances, width), 3), boundary_width=width)
    assert iou_of_each(instances, found.instances)[0] > 0.97
    rim = ternary_of(instances, width) > 0
    assert (instances > 0).sum() / rim.sum() < 0.9  # what growing to the rim would give


def test_small_nuclei_whose_inside_vanished_are_kept() -> None:
    instances = np.zeros((60, 60), np.int32)
    instances[5, 5] = 1  # one px
    instances[10:12, 20:22] = 2
    instances[30:34, 30:33] = 3
    instances[20:40, 33:53] = 4  # a large one beside number 3
    ternary = ternary_of(instances, 3)
    assert not (ternary[instances == 3] == 1).any()
    found = instances_from_maps(one_hot((instances > 0).astype(int), 5), one_hot(ternary, 3))
    assert len(found) >= 3
    for k in (1, 2, 4):
        assert len(np.unique(found.instances[instances == k])) == 1
        assert found.instances[instances == k][0] > 0
    assert found.table["area_px"].min() == 1


def test_nuclei_at_the_edge_of_the_image_are_whole() -> None:
    instances = np.zeros((50, 50), np.int32)
    instances[0:12, 20:30] = 1
    instances[40:50, 0:9] = 2
    found = instances_from_maps(None, one_hot(ternary_of(instances, 3), 3))
    assert min(iou_of_each(instances, found.instances)) > 0.95


def test_holes_are_filled_and_gaps_between_nuclei_are_not() -> None:
    semantic, ternary = np.zeros((60, 90), int), np.zeros((60, 90), int)
    rows, columns = disk((30, 25), 18)
    semantic[rows, columns] = ternary[rows, columns] = 1
    semantic[28:32, 22:27] = ternary[28:32, 22:27] = 0
    # four nuclei around a gap
    for y, x in ((20, 60), (20, 75), (35, 60), (35, 75)):
        semantic[y : y + 14, x : x + 14] = 2
        ternary[y : y + 14, x : x + 14] = 2
        ternary[y + 2 : y + 12, x + 2 : x + 12] = 1
    semantic[34, 74] = ternary[34, 74] = 0
    found = instances_from_maps(one_hot(semantic, 5), one_hot(ternary, 3), boundary_width=1)
    assert (found.instances[28:32, 22:27] > 0).all()
    assert found.instances[34, 74] == 0
    assert len(found) == 5


def test_facts_of_a_nucleus() -> None:
    semantic = np.zeros((5, 30, 40), np.float32)
    semantic[0] = 1
    semantic[:, 10:20, 10:24] = np.float32([0.1, 0.2, 0.6, 0.1, 0.0])[:, None, None]
    ternary = np.zeros((3, 30, 40), np.float32)
    ternary[0] = 1
    ternary[:, 10:20, 10:24] = np.float32([0.2, 0.8, 0.0])[:, None, None]
    found = instances_from_maps(semantic, ternary, boundary_width=1, um_per_px=0.5, offset_px=(7, 8))
    (row,) = found.table.itertuples()
    assert (row.label, row.class_id, found.table.loc[0, "class"]) == (1, 2, "Lymphocyte")
    assert (row.area_px, row.area_um2) == (140, 35.0)
    assert (row.centroid_y, row.centroid_x) == (14.5, 16.5)
    assert row.p_lymphocyte == pytest.approx(0.6 / 0.9)
    assert row.p_nucleus == pytest.approx((0.9 + 0.8) / 2)
    assert row.confidence == pytest.approx(0.85 * 0.6 / 0.9)
    assert row.disagreement == pytest.approx(0.1, abs=1e-6)
    assert row.uncertainty >= row.disagreement
    assert found.offset_px == (7, 8)
    assert found.class_map[15, 15] == 2


def test_a_nucleus_that_only_the_ternary_head_sees() -> None:
    instances = np.zeros((60, 60), np.int32)
    instances[disk((30, 30), 12)] = 1
    semantic = np.zeros((5, 60, 60), np.float32)
    semantic[0], semantic[3] = 0.9, 0.1
    found = instances_from_maps(semantic, one_hot(ternary_of(instances, 3), 3))
    assert iou_of_each(instances, found.instances)[0] > 0.95
    assert found.table.loc[0, "class"] == "Neutrophil"  # never background
    assert found.table.loc[0, "disagreement"] > 0.8
    assert found.table.loc[0, "p_semantic"] == pytest.approx(0.1)
    nothing = one_hot(np.zeros((60, 60), int), 5)
    assert instances_from_maps(nothing, one_hot(ternary_of(instances, 3), 3)).table.loc[0, "class"] == "Unclassified"


@pytest.mark.parametrize(
    ("background", "threshold", "name"),
    [
        (0.99, None, "Unclassified"),
        (0.96, None, "Unclassified"),
        (0.94, None, "Macrophage"),
        (0.4, None, "Macrophage"),
        (0.99, 0.0, "Macrophage"),
        (0.4, 0.7, "Unclassified"),
    ],
)
def test_a_nucleus_that_the_semantic_head_denies_is_unclassified(background, threshold, name) -> None:
    instances = np.zeros((60, 60), np.int32)
    instances[disk((30, 30), 12)] = 1
    semantic = np.zeros((5, 60, 60), np.float32)
    semantic[0], semantic[4] = background, 1 - background
    more = {} if threshold is None else {"class_threshold": threshold}
    found = instances_from_maps(semantic, one_hot(ternary_of(instances, 3), 3), **more)
    (row,) = found.table.itertuples()
    assert found.table.loc[0, "class"] == name
    assert row.p_semantic == pytest.approx(1 - background, abs=1e-5)
    assert row.p_macrophage == pytest.approx(1.0), "what the head would say is kept"
    assert found.class_map[30, 30] == (255 if name == "Unclassified" else 4)
    with pytest.raises(ShapeError, match="class_threshold"):
        instances_from_maps(semantic, one_hot(ternary_of(instances, 3), 3), class_threshold=1.5)


def soft_maps(instances: np.ndarray, kinds: np.ndarray, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Maps as an unsure network gives them: blurred, with noise, soft."""
    rng = np.random.default_rng(seed)

    def soften(values: np.ndarray, channels: int) -> np.ndarray:
        maps = cv2.GaussianBlur(np.ascontiguousarray(one_hot(values, channels).transpose(1, 2, 0)), (0, 0), 1.0)
        wobble = cv2.GaussianBlur(rng.normal(size=maps.shape).astype(np.float32), (0, 0), 1.0)
        logits = 7 * maps + noise * 7 * wobble
        odds = np.exp(logits)
        return (odds / odds.sum(-1, keepdims=True)).transpose(2, 0, 1)

    return soften(kinds[instances], 5), soften(ternary_of(instances, 3), 3)


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.6])
def test_soft_and_noisy_maps_do_not_shatter(noise: float) -> None:
    instances, kinds = crowd(3, n=70)
    large = np.bincount(instances.ravel())[1:] > 100
    found = instances_from_maps(*soft_maps(instances, kinds, noise))
    ious = np.array(iou_of_each(instances, found.instances))
    assert (ious[large] > 0.5).mean() > 0.9
    assert len(found) < 1.25 * 70


def test_sliders() -> None:
    instances, kinds = crowd(4)
    maps = soft_maps(instances, kinds, 0.4)
    default = instances_from_maps(*maps, um_per_px=0.25)
    assert len(instances_from_maps(*maps, um_per_px=0.25, min_area_um2=10)) == (default.table["area_um2"] >= 10).sum()
    assert len(instances_from_maps(*maps, min_area_px=160)) == (default.table["area_px"] >= 160).sum()
    assert len(instances_from_maps(*maps, min_confidence=0.8)) == (default.table["confidence"] >= 0.8).sum()
    wide, narrow = (instances_from_maps(*maps, nucleus_threshold=t).table["area_px"].sum() for t in (0.3, 0.7))
    assert wide > default.table["area_px"].sum() > narrow
    assert default.instances.max() == len(default)


def test_uint8_maps_mean_255ths() -> None:
    instances, kinds = crowd(5)
    semantic, ternary = soft_maps(instances, kinds, 0.2)
    a = instances_from_maps(np.rint(semantic * 255).astype(np.uint8), np.rint(ternary * 255).astype(np.uint8))
    b = instances_from_maps(np.rint(semantic * 255) / np.float32(255), np.rint(ternary * 255) / np.float32(255))
    np.testing.assert_array_equal(a.instances, b.instances)


def test_nothing_to_find() -> None:
    found = instances_from_maps(one_hot(np.zeros((20, 30), int), 5), one_hot(np.zeros((20, 30), int), 3))
    assert len(found) == 0
    assert found.instances.shape == (20, 30)
    assert "confidence" in found.table
    everything = instances_from_maps(one_hot(np.ones((20, 30), int), 5), one_hot(np.ones((20, 30), int), 3))
    assert len(everything) == 1
    assert everything.table.loc[0, "area_px"] == 600


def test_uncertainty_maps() -> None:
    semantic = one_hot(np.array([[0, 1], [2, 0]]), 5)
    ternary = one_hot(np.array([[0, 1], [0, 1]]), 3)
    np.testing.assert_array_equal(disagreement_map(semantic, ternary, 1), [[0, 0], [1, 1]])
    np.testing.assert_allclose(entropy_map(semantic), 0, atol=1e-6)
    np.testing.assert_allclose(entropy_map(np.full((5, 2, 2), 0.2, np.float32)), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("semantic", "ternary", "options"),
    [
        (np.zeros((5, 4, 4)), np.zeros((3, 4, 5)), {}),
        (np.zeros((4, 4, 5)), np.zeros((4, 4, 3)), {}),
        (None, np.zeros((3, 4, 5)), {"boundary_width": 4}),
        (None, np.zeros((3, 4, 5)), {"um_per_px": 0.0}),
        (None, np.zeros((3, 4, 5)), {"min_area_um2": 3.0}),
    ],
)
def test_misfits_are_refused(semantic: Any, ternary: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ShapeError, match="—"):
        instances_from_maps(semantic, ternary, **options)


@pytest.mark.shared
def test_ceiling_on_real_crops(shared_data: Any) -> None:
    """Truth -> maps -> nuclei on a real crop; all of them: benchmarks/ceiling.py."""
    import xml.etree.ElementTree as ET

    from skimage.draw import polygon

    path = next(shared_data.rglob("TCGA-5P-A9K0-01Z-00-DX1_1.xml"))
    instances, semantic, k = np.zeros((1153, 1307), np.int32), np.zeros((1153, 1307), np.uint8), 0
    names = ["Epithelial", "Lymphocyte", "Neutrophil", "Macrophage"]
    for layer in ET.parse(path).getroot().iter("Annotation"):
        name = layer.find("Attributes/Attribute").get("Name")
        for region in layer.iter("Region"):
            outline = np.array([(float(v.get("Y")), float(v.get("X"))) for v in region.iter("Vertex")])
            rows, columns = polygon(outline[:, 0], outline[:, 1], instances.shape)
            k += 1
            instances[rows, columns], semantic[rows, columns] = k, names.index(name) + 1
    for maps, least in ((one_hot(semantic, 5), 0.99), (None, 0.97)):
        found = instances_from_maps(maps, one_hot(ternary_of(instances, 3), 3))
        assert np.mean(iou_of_each(instances, found.instances)) > least
