"""One table of optical densities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_monusac.core.optical_density import LN_10, density_of_levels


@pytest.mark.parametrize(("white", "offset"), [(240.0, 1.0), (256.0, 1.0), (255.0, 0.0)])
def test_each_level_has_its_density(white, offset):
    table = density_of_levels(white, offset)
    assert table.shape == (256,)
    for level in (0, 1, 17, 128, 254, 255):
        assert table[level] == pytest.approx(-math.log(max(level + offset, 1) / white), abs=1e-12)
    assert (np.diff(table[1:]) < 0).all(), "darker is denser"


def test_base_10_is_beer_and_lambert():
    table = density_of_levels(255.0, offset=0.0) / LN_10
    np.testing.assert_allclose(255 * 10 ** -table[1:], np.arange(1, 256))
