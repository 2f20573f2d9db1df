"""Counts and densities against counting by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_monusac.core.classes import NucleusClass as N
from napari_monusac.core.errors import ShapeError
from napari_monusac.scoring.metrics.density import (
    Counts,
    count_nuclei,
    density_table,
    pooled,
    region_mask,
    write_density_table,
)


def _table(n: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "class_id": rng.choice([1, 2, 3, 4, 255], n),
            "centroid_y": rng.uniform(0, 399, n),
            "centroid_x": rng.uniform(0, 599, n),
        }
    )


def test_counts_of_a_crop() -> None:
    table = _table()
    counts = count_nuclei(table, (400, 600), 0.25, name="c", patient="p")
    for k in (N.EPITHELIAL, N.LYMPHOCYTE, N.NEUTROPHIL, N.MACROPHAGE, N.UNCLASSIFIED):
        assert counts.of(k) == sum(1 for v in table["class_id"] if v == int(k))
    assert counts.total == 200
    assert counts.area_mm2 == pytest.approx(100e-3 * 150e-3)  # 100 um x 150 um
    assert counts.per_mm2(N.LYMPHOCYTE) == pytest.approx(counts.of(N.LYMPHOCYTE) / 0.015)
    assert counts.ratio("lymphocytes_per_epithelial") == counts.of(N.LYMPHOCYTE) / counts.of(N.EPITHELIAL)


def test_a_region_counts_centroids_and_its_own_area() -> None:
    table = _table()
    region = region_mask([(50, 100), (50, 300), (250, 300), (250, 100)], (400, 600))
    counts = count_nuclei(table, (400, 600), 0.5, region=region)
    expected = sum(region[round(y), round(x)] for y, x in zip(table["centroid_y"], table["centroid_x"], strict=True))
    assert counts.total == expected > 10
    assert counts.area_mm2 == pytest.approx(region.sum() * 0.25e-6)
    assert region.sum() in (200 * 200, 201 * 201)  # vertices are pixel centres


def test_pooling_adds_counts_and_areas_not_densities() -> None:
    parts = [
        Counts("a", "p1", (10, 0, 0, 0, 0), 1.0),
        Counts("b", "p1", (0, 30, 0, 0, 0), 3.0),
        Counts("c", "p2", (4, 2, 0, 0, 1), 2.0),
    ]
    first, second = pooled(parts, "patient")
    assert (first.patient, first.total, first.area_mm2, first.per_mm2()) == ("p1", 40, 4.0, 10.0)
    assert second.numbers == parts[2].numbers
    (whole,) = pooled(parts, "all")
    assert (whole.total, whole.area_mm2) == (47, 6.0)
    table = density_table(parts)
    assert table["level"].tolist() == ["area", "area", "area", "patient", "all"]  # p2 has one area only
    assert table.loc[3, "lymphocytes_per_epithelial"] == 3.0


def test_unknown_scale_gives_no_density() -> None:
    known, unknown = Counts("a", "p", (1, 0, 0, 0, 0), 1.0), Counts("b", "p", (1, 0, 0, 0, 0), None)
    table = density_table([known, unknown])
    assert np.isnan(table.loc[1, "total_per_mm2"])
    assert np.isnan(table.loc[2, "total_per_mm2"])  # pooled with an unknown area
    assert table.loc[2, "total"] == 2
    assert np.isnan(table.loc[0, "neutrophils_per_lymphocyte"])  # nothing below the line


def test_csv(tmp_path: Path) -> None:
    table = density_table([count_nuclei(_table(), (400, 600), 0.25, name="crop", patient="TCGA")])
    back = pd.read_csv(write_density_table(table, tmp_path / "d.csv"))
    assert back.columns.tolist() == table.columns.tolist()
    np.testing.assert_allclose(back["total_per_mm2"], table["total_per_mm2"], rtol=1e-5)


def test_shares_of_all_nuclei() -> None:
    counts = Counts("crop", "p", (6, 3, 0, 1, 2), 0.5)
    assert [counts.percent(k) for k in N if k != N.BACKGROUND] == pytest.approx([50, 25, 0, 100 / 12, 200 / 12])
    row = density_table([counts], summary=False).iloc[0]
    shares = [row[f"{n}_percent"] for n in ("epithelial", "lymphocyte", "neutrophil", "macrophage", "unclassified")]
    assert sum(shares) == pytest.approx(100)
    assert np.isnan(Counts("crop", "p", (0, 0, 0, 0, 0)).percent(N.LYMPHOCYTE))


def test_no_nuclei() -> None:
    counts = count_nuclei(_table(0), (10, 10), 0.25)
    assert counts.total == 0
    assert counts.per_mm2() == 0


def test_misfits_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(5, 5\)"):
        count_nuclei(_table(), (400, 600), 0.25, region=np.ones((5, 5), bool))
    with pytest.raises(ShapeError, match="three points"):
        region_mask([(0, 0), (1, 1)], (9, 9))
