"""From nuclei to pixels and back, against scikit-image and counting by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from skimage.measure import regionprops

from napari_monusac import Nuclei
from napari_monusac.masks.lookup import majority_classes, measure, paint


@pytest.fixture
def instances():
    """Scattered blocks with numbers that have gaps."""
    rng = np.random.default_rng(4)
    labels = np.zeros((60, 80), np.int32)
    for k in (3, 9, 4, 70, 12):
        y, x = rng.integers(0, 50), rng.integers(0, 70)
        labels[y : y + rng.integers(2, 12), x : x + rng.integers(2, 12)] = k
    return labels


@pytest.mark.parametrize("factor", [1, 10_000_000], ids=["dense", "huge numbers"])
def test_a_value_is_painted_into_each_nucleus(instances, factor):
    ids = np.unique(instances[instances > 0]).astype(np.int64)
    values = np.arange(1, len(ids) + 1, dtype=np.uint8)
    painted = paint(instances.astype(np.int64) * factor, ids[1:] * factor, values[1:], other=200)
    for k, value in zip(ids, values, strict=True):
        assert (painted[instances == k] == (200 if k == ids[0] else value)).all()
    assert not painted[instances == 0].any()


def test_the_most_frequent_class_counts_and_background_does_not(instances):
    semantic = np.random.default_rng(1).integers(0, 5, instances.shape).astype(np.uint8)
    semantic[instances == 9] = 0
    expected = {}
    for k in np.unique(instances[instances > 0]).tolist():
        seen = Counter(v for v in semantic[instances == k].tolist() if v)
        if seen:
            expected[k] = min(seen, key=lambda v: (-seen[v], v))
    assert majority_classes(semantic, instances) == expected
    assert 9 not in expected


def test_areas_and_centroids_are_those_of_scikit_image(instances):
    ids, areas, centroids = measure(instances)
    regions = regionprops(instances)
    assert ids.tolist() == [r.label for r in regions]
    assert areas.tolist() == [int(r.area) for r in regions]
    np.testing.assert_allclose(centroids, [r.centroid for r in regions])
    assert [len(a) for a in measure(np.zeros((4, 5), np.int32))] == [0, 0, 0]


def test_the_class_map_of_nuclei_whose_numbers_have_gaps(instances):
    import pandas as pd

    ids = np.unique(instances[instances > 0])
    table = pd.DataFrame({"label": ids, "class_id": np.uint8([1, 2, 3, 4, 255][: len(ids)])})
    found = Nuclei(instances, table).class_map
    for label, kind in zip(table["label"], table["class_id"], strict=True):
        assert set(np.unique(found[instances == label])) <= {kind}
    assert not found[instances == 0].any()
    assert not Nuclei(np.zeros((3, 3), np.int32), table.iloc[:0]).class_map.any()
