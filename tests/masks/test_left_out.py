"""What the maps do not show is counted, by reason; regions of interest as the border of what was annotated."""

from __future__ import annotations

import numpy as np
from skimage import draw

from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.masks.left_out import LeftOut, drawn_nuclei, left_out
from napari_monusac.masks.rasterize import label_maps

SHAPE = (60, 80)


def square(top: float, left: float, size: float = 10) -> np.ndarray:
    return np.array([(top, left), (top, left + size), (top + size, left + size), (top + size, left)])


def test_each_reason_is_counted_once() -> None:
    line, hidden = np.array([(5.0, 5), (9, 9)]), square(22, 22, 4)
    annotation = Annotation((
        Nucleus(hidden), Nucleus(square(20, 20)), Nucleus(square(-30, 5)), Nucleus(square(5, 300)),
        Nucleus(square(59, 5)), Nucleus(line), Nucleus(square(40.3, 40.3, 0.2)), Nucleus(line, role="mark"),
        Nucleus(square(0, 0, 55), role="region"), Nucleus(square(0, 60), "Ambiguous"), Nucleus(line, "Ambiguous"),
    ))  # fmt: skip
    maps = label_maps(annotation, SHAPE)
    found = left_out(annotation, maps)
    assert found == LeftOut(outside=2, hidden=1, too_small=1, degenerate=2, regions=1, marks=1)
    assert found.total == 8
    assert found.counts()["outside"] == 2
    assert drawn_nuclei(maps, len(annotation.nuclei)).tolist() == [False, True, False, False, True, False]
    assert len(np.unique(maps.instances)) - 1 == len(annotation.nuclei) - found.outside - found.hidden - found.too_small
    assert str(found) == (
        "left out: 2 outside the image, 1 hidden under later ones, 1 too small for a pixel, "
        "2 of fewer than three vertices, 1 regions of interest, 1 shapes without an area"
    )


def test_nothing_left_out_and_sums() -> None:
    annotation = Annotation((Nucleus(square(20, 20)), Nucleus(square(25, 25))))
    found = left_out(annotation, label_maps(annotation, SHAPE))
    assert found == LeftOut()
    assert (str(found), found.counts()) == ("nothing left out", {})
    assert LeftOut.sum([LeftOut(outside=1), LeftOut(outside=2, marks=1)]) == LeftOut(outside=3, marks=1)
    assert LeftOut.sum([]) == LeftOut()


def test_ignored_by_name_is_no_slip_of_the_pen() -> None:
    from napari_monusac.core.classes import use_class_names

    annotation = Annotation((Nucleus(square(20, 20), "Debris"), Nucleus(square(5, 5), "Lymphocyte")))
    try:
        use_class_names({"debris": "Ignored"})
        found = left_out(annotation, label_maps(annotation, SHAPE))
    finally:
        use_class_names({})
    assert found == LeftOut(ignored=1)
    assert str(found) == "left out: 1 ignored by their name"


def test_outside_of_regions_is_ignored_where_that_is_asked_for() -> None:
    nuclei = (Nucleus(square(5, 5), "Lymphocyte"), Nucleus(square(40, 60), "Macrophage"))
    regions = tuple(Nucleus(v, role="region") for v in (square(2, 2, 25), square(20, 20, 25)))
    ambiguous = Nucleus(square(3, 3, 4), "Ambiguous")
    annotation = Annotation((*nuclei, *regions, ambiguous))
    plain, within = label_maps(annotation, SHAPE), label_maps(annotation, SHAPE, within_regions=True)
    assert (plain.instances == within.instances).all()
    assert (plain.semantic == within.semantic).all()
    want = np.ones(SHAPE, bool)
    for region in regions:
        want[draw.polygon(*region.vertices.T, SHAPE)] = False
    only_ambiguous = np.zeros(SHAPE, bool)
    only_ambiguous[draw.polygon(*ambiguous.vertices.T, SHAPE)] = True
    assert (within.ignore == want | only_ambiguous).all()
    assert (plain.ignore == only_ambiguous).all()
    everywhere = label_maps(Annotation(nuclei), SHAPE, within_regions=True)
    assert not everywhere.ignore.any()
