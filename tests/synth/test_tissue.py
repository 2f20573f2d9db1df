"""Synthetic tissue: truth exact, repeatable, believable in what can be measured."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import polygon

from napari_monusac.core.classes import CLASSES, NucleusClass
from napari_monusac.core.errors import ShapeError
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.synth import SyntheticTissue, synthesize


@pytest.fixture(scope="module")
def tissue() -> SyntheticTissue:
    return synthesize((384, 448), 5)


def _channel_statistic(image: np.ndarray) -> float:
    """DOMAIN 2: above 0 the channels are right, below 0 swapped."""
    density = -np.log((image.astype(float) + 1) / 256)
    total = density.sum(-1)
    stained = total > 0.45
    ratio = (density[..., 0] - density[..., 2])[stained] / total[stained]
    return float(np.corrcoef(ratio, total[stained])[0, 1])


def test_shapes_and_types(tissue: SyntheticTissue) -> None:
    assert tissue.image.shape == (384, 448, 3)
    assert tissue.image.dtype == np.uint8
    assert tissue.instances.shape == (384, 448)
    assert tissue.instances.dtype == np.int32
    assert tissue.classes.dtype == np.uint8
    assert len(tissue.classes) == len(tissue.annotation.nuclei) > 60


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    first, again, other = (synthesize((96, 128), s) for s in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert first.annotation == again.annotation
    assert not np.array_equal(first.image, other.image)


def test_instances_are_the_polygons_drawn_in_file_order(tissue: SyntheticTissue) -> None:
    expected = np.zeros(tissue.instances.shape, np.int32)
    for number, nucleus in enumerate(tissue.annotation.nuclei, 1):
        expected[polygon(nucleus.vertices[:, 0], nucleus.vertices[:, 1], expected.shape)] = number
    assert np.array_equal(tissue.instances, expected)


def test_label_maps_agree_with_the_truth(tissue: SyntheticTissue) -> None:
    maps = label_maps(tissue.annotation, tissue.instances.shape)
    assert np.array_equal(maps.instances, tissue.instances)
    assert np.array_equal(maps.semantic, tissue.semantic)
    assert not maps.ignore.any()


def test_all_four_classes_in_the_layer_order_of_imagescope(tissue: SyntheticTissue) -> None:
    assert [layer.label for layer in tissue.annotation.layers] == [c.label for c in CLASSES]
    assert set(tissue.classes) == {int(c) for c in CLASSES}
    assert np.all(np.diff(tissue.classes.astype(int)) >= 0)


def test_sizes_are_those_of_the_classes(tissue: SyntheticTissue) -> None:
    area = np.bincount(tissue.instances.ravel(), minlength=len(tissue.classes) + 1)[1:]
    median = {c: np.median(area[tissue.classes == c]) for c in CLASSES}
    assert 150 < median[NucleusClass.LYMPHOCYTE] < 350
    assert median[NucleusClass.EPITHELIAL] > 1.3 * median[NucleusClass.LYMPHOCYTE]
    assert median[NucleusClass.MACROPHAGE] > 1000
    assert (area > 0).mean() > 0.97


def test_vertices_lie_in_the_picture_and_close(tissue: SyntheticTissue) -> None:
    for nucleus in tissue.annotation.nuclei:
        assert np.array_equal(nucleus.vertices[0], nucleus.vertices[-1])
        assert nucleus.vertices.min() >= 0
        assert np.all(nucleus.vertices < tissue.instances.shape)
        assert np.array_equal(nucleus.vertices, np.round(nucleus.vertices))


def test_nuclei_are_bluer_and_darker_than_what_surrounds_them(tissue: SyntheticTissue) -> None:
    small = np.isin(tissue.semantic, (NucleusClass.EPITHELIAL, NucleusClass.LYMPHOCYTE, NucleusClass.NEUTROPHIL))
    inside, outside = tissue.image[small].mean(0), tissue.image[tissue.instances == 0].mean(0)
    assert inside[0] < 0.75 * outside[0]
    lymphocytes = tissue.image[tissue.semantic == NucleusClass.LYMPHOCYTE].mean()
    assert lymphocytes < 0.85 * tissue.image[tissue.semantic == NucleusClass.EPITHELIAL].mean()
    assert tissue.image[tissue.semantic == NucleusClass.MACROPHAGE].mean() > inside.mean() + 20


@pytest.mark.parametrize("seed", range(8))
def test_channel_order_can_be_told(seed: int) -> None:
    image = synthesize((256, 256), seed).image
    assert _channel_statistic(image) > 0.2
    assert _channel_statistic(image[..., ::-1]) < -0.2


def test_some_nuclei_overlap_a_little(tissue: SyntheticTissue) -> None:
    drawn = sum(
        polygon(n.vertices[:, 0], n.vertices[:, 1], tissue.instances.shape)[0].size for n in tissue.annotation.nuclei
    )
    covered = int((tissue.instances > 0).sum())
    assert 0 < drawn - covered < 0.1 * drawn


def test_stain_follows_the_patient_not_the_crop() -> None:
    colours = [
        synthesize((256, 256), s, patient_seed=p).image.reshape(-1, 3).max(0) for s, p in ((1, 9), (2, 9), (1, 8))
    ]
    assert np.abs(colours[0].astype(int) - colours[1]).max() <= 6
    means = [synthesize((256, 256), 1, patient_seed=p).image.mean() for p in range(6)]
    assert np.std(means) > 2


def test_resolution_scales_the_nuclei() -> None:
    fine, coarse = (np.median(_areas(synthesize((256, 256), 2, um_per_px=u))) for u in (0.25, 0.5))
    assert 2.8 < fine / coarse < 5.5


def _areas(tissue: SyntheticTissue) -> np.ndarray:
    areas = np.bincount(tissue.instances.ravel())[1:]
    return areas[tissue.classes[: len(areas)] == NucleusClass.LYMPHOCYTE]


def test_ambiguous_regions_are_no_nuclei() -> None:
    tissue = synthesize((256, 256), 6, ambiguous=2)
    assert len(tissue.annotation.ambiguous) == 2
    assert len(tissue.annotation.layers) == 5
    maps = label_maps(tissue.annotation, (256, 256))
    assert maps.ignore.any()
    assert np.array_equal(maps.instances, tissue.instances)


@pytest.mark.parametrize("shape", [(16, 16), (35, 33), (17, 300)])
def test_tiny_crops_can_be_made(shape: tuple[int, int]) -> None:
    tissue = synthesize(shape, 1)
    assert tissue.image.shape == (*shape, 3)


def test_no_nuclei_when_none_are_asked_for() -> None:
    tissue = synthesize((64, 64), 1, density=0)
    assert not tissue.instances.any()
    assert tissue.semantic.dtype == np.uint8


@pytest.mark.parametrize("wrong", [{"shape": (8, 100)}, {"um_per_px": 0}, {"density": -1}])
def test_wrong_requests_are_refused(wrong: dict) -> None:
    with pytest.raises(ShapeError, match="give"):
        synthesize(**wrong)
