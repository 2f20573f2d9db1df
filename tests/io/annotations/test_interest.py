"""Regions of interest: told apart from nuclei, whatever the format; held against plain counting and scikit-image."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import draw

from napari_monusac.core.classes import CLASSES
from napari_monusac.core.errors import HostileFileError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations import interest
from napari_monusac.io.annotations.files import read_annotation, write_annotation
from napari_monusac.io.annotations.interest import nuclei_within_regions, with_regions_of_interest
from napari_monusac.masks.rasterize import label_maps

Points = NDArray[np.float64]


def ring(y: float, x: float, radius: float, corners: int = 24) -> Points:
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([y + radius * np.sin(turn), x + radius * np.cos(turn)], axis=1)


def box(top: float, left: float, bottom: float, right: float) -> Points:
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left), (top, left)])


def field(label: str = "", number: int = 5, radius: float = 7) -> list[Nucleus]:
    """`number` x `number` nuclei, 30 px apart, that do not touch."""
    middles = [(30 + 30 * i, 30 + 30 * j) for i in range(number) for j in range(number)]
    return [Nucleus(ring(y, x, radius), label) for y, x in middles]


def roles(*regions: Nucleus, um_per_px: float | None = None) -> list[str]:
    return [r.role for r in with_regions_of_interest(Annotation(regions, um_per_px=um_per_px)).regions]


@pytest.mark.parametrize("nuclei", ["Lymphocyte", "", "Immune cells"])
@pytest.mark.parametrize("label", ["", "Tumour nest", "Stroma"])
@pytest.mark.parametrize("around", [box(10, 10, 170, 170), ring(90, 90, 95)], ids=["rectangle", "drawn by hand"])
@pytest.mark.parametrize("last", [True, False])
def test_an_outline_around_many_nuclei_is_a_region(nuclei: str, label: str, around: Points, last: bool) -> None:
    roi = Nucleus(around, label)
    regions = [*field(nuclei), roi] if last else [roi, *field(nuclei)]
    annotation = with_regions_of_interest(Annotation(tuple(regions)))
    assert [r.role == "region" for r in annotation.regions] == [r is roi for r in regions]
    assert len(annotation.nuclei) == 25
    assert len(annotation.regions_of_interest) == 1
    assert sum(annotation.counts().values()) == 25
    assert label not in annotation.unknown_labels or label == nuclei
    maps = label_maps(annotation, (200, 200))
    want = np.zeros((200, 200), np.int32)
    for k, nucleus in enumerate(field(nuclei), 1):
        want[draw.polygon(*nucleus.vertices.T, want.shape)] = k
    assert (maps.instances == want).all()


@pytest.mark.parametrize("label", [*(c.label for c in CLASSES), "macrophages", " LYMPHOCYTE "])
def test_an_outline_of_one_of_the_four_classes_stays_a_nucleus(label: str) -> None:
    assert set(roles(*field(), Nucleus(box(10, 10, 170, 170), label))) == {"nucleus"}


@pytest.mark.parametrize("label", ["ROI", "region*", "Region of interest", "TMA core", "tissue area"])
def test_a_name_says_it_even_around_nothing(label: str) -> None:
    assert roles(Nucleus(ring(50, 50, 20), label)) == ["region"]


@pytest.mark.parametrize("kind", ["tma core", "tma_core", "PathTMACoreObject", "tile"])
def test_holders_of_qupath_are_regions(kind: str) -> None:
    assert roles(Nucleus(ring(50, 50, 20), object_type=kind), Nucleus(ring(50, 50, 5))) == ["region", "nucleus"]


def test_two_nested_nuclei_stay_nuclei() -> None:
    cell, inner = Nucleus(ring(50, 50, 26)), Nucleus(ring(52, 48, 9.3))
    assert roles(cell, inner) == ["nucleus", "nucleus"]
    assert roles(inner, cell, um_per_px=0.25) == ["nucleus", "nucleus"]


def test_overlapping_and_repeated_nuclei_stay_nuclei() -> None:
    several = [Nucleus(ring(50, 50 + 3 * k, 10)) for k in range(8)] + [Nucleus(ring(50, 50, 10))] * 4
    assert set(roles(*several)) == {"nucleus"}


def test_a_clump_that_was_drawn_as_one_and_again_as_its_three_nuclei_stays() -> None:
    parts = [Nucleus(ring(50 + y, 50 + x, 10)) for y, x in ((0, 0), (0, 19), (17, 9))]
    assert set(roles(Nucleus(ring(56, 59, 22)), *parts)) == {"nucleus"}


def test_nuclei_with_nucleoli_stay_nuclei() -> None:
    nuclei = field(radius=12)
    middles = [n.vertices.mean(0) for n in nuclei]
    nucleoli = [Nucleus(ring(y + dy, x + dx, 2)) for y, x in middles for dy, dx in ((-5, 0), (4, 4), (4, -4))]
    assert set(roles(*nuclei, *nucleoli, um_per_px=0.25)) == {"nucleus"}
    assert set(roles(*nuclei, *nucleoli)) == {"nucleus"}


def test_a_rectangle_around_one_nucleus_is_a_region_unless_all_are_rectangles() -> None:
    assert roles(Nucleus(ring(50, 50, 7)), Nucleus(box(30, 30, 70, 70))) == ["nucleus", "region"]
    assert roles(Nucleus(box(45, 45, 55, 55)), Nucleus(box(30, 30, 70, 70))) == ["nucleus", "nucleus"]


def test_an_annotation_around_one_detection_is_a_region() -> None:
    roi = Nucleus(ring(50, 50, 30), object_type="annotation")
    assert roles(Nucleus(ring(50, 50, 7), object_type="detection"), roi) == ["nucleus", "region"]
    assert roles(Nucleus(ring(50, 50, 7), object_type="annotation"), roi) == ["nucleus", "nucleus"]
    # one that a person drew over a fragment that a program found
    drawn = Nucleus(ring(50, 50, 12), object_type="annotation")
    assert roles(Nucleus(ring(50, 50, 5), object_type="detection"), drawn) == ["nucleus", "nucleus"]


def test_regions_in_regions_and_outlines_without_an_area() -> None:
    line = Nucleus(np.array([(40.0, 40.0), (60, 60), (40, 40)]))
    named = replace(line, label="ROI")
    core = Nucleus(ring(90, 90, 140))
    annotation = with_regions_of_interest(Annotation((*field(), Nucleus(box(10, 10, 170, 170)), core, line, named)))
    assert [r.role for r in annotation.regions][25:] == ["region", "region", "nucleus", "region"]
    assert len(nuclei_within_regions(annotation)) == 26


def test_nuclei_within_regions_by_plain_counting() -> None:
    roi = Nucleus(ring(70, 70, 55), "ROI")
    annotation = with_regions_of_interest(Annotation((*field(), roi)))
    want = [n for n in field() if np.hypot(*(n.vertices.mean(0) - 70)) < 54]
    assert 3 < len(want) < 25
    assert list(nuclei_within_regions(annotation)) == want
    assert len(nuclei_within_regions(Annotation(tuple(field())))) == 25


def qupath(regions: list[tuple[Points, str, str]]) -> str:
    features = []
    for outline, kind, name in regions:
        closed = np.concatenate([outline, outline[:1]])[:, ::-1].tolist()
        properties = {"objectType": kind} | ({"classification": {"name": name}} if name else {})
        geometry = {"type": "Polygon", "coordinates": [closed]}
        features.append({"type": "Feature", "id": "x", "geometry": geometry, "properties": properties})
    return json.dumps({"type": "FeatureCollection", "features": features})


@pytest.mark.parametrize("kind", ["annotation", "tma_core"])
def test_through_the_door_and_back(tmp_path: Path, kind: str) -> None:
    nuclei = [(n.vertices, "detection", "Lymphocyte") for n in field(number=3)]
    path = tmp_path / "a.geojson"
    path.write_text(qupath([(box(10, 10, 110, 110), kind, ""), *nuclei]))
    annotation = read_annotation(path)
    assert [r.role for r in annotation.regions] == ["region"] + 9 * ["nucleus"]
    for name in ("b.geojson", "b.xml"):
        write_annotation(annotation, tmp_path / name)
        again = read_annotation(tmp_path / name)
        assert (len(again.nuclei), len(again.regions_of_interest)) == (9, 1), name
        assert np.abs(again.regions_of_interest[0].vertices - annotation.regions[0].vertices).max() < 1e-6


def test_many_outlines_take_seconds_and_hostile_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    many = [Nucleus(ring(*rng.uniform(0, 5000, 2), rng.uniform(4, 20))) for _ in range(20_000)]
    start = time.perf_counter()
    annotation = with_regions_of_interest(Annotation((*many, Nucleus(ring(2500, 2500, 900, 200)))))
    assert time.perf_counter() - start < 20  # measured: 0.4 s
    assert [r.role for r in annotation.regions].count("region") == 1
    assert annotation.regions[-1].role == "region"
    monkeypatch.setattr(interest, "_MAX_PAIRS", 1000)
    with pytest.raises(HostileFileError, match="lie in each other"):
        with_regions_of_interest(Annotation(tuple(Nucleus(ring(0, 0, 1 + k)) for k in range(100))))
