"""The legend on the canvas: it can be read on its colours, says whose counts it has, and is small where room is short."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QObject

from napari_monusac.app.studio import StudioModel
from napari_monusac.core.classes import PALETTES, NucleusClass
from napari_monusac.ui.canvas.legend import Legend, Seen, legend_entries, show_legend


def contrast(one, other):
    """WCAG's contrast ratio of two RGBA colours, 0 to 1."""

    def light(color):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in color[:3]]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", list(PALETTES))
def test_the_legend_can_be_read_and_says_that_it_counts_labels(palette):
    viewer = ViewerModel()
    show_legend(viewer, legend_entries(Seen({"labels": {1: 3, -1: 2, 255: 1}}), palette))
    overlays = {n: o for n, o in viewer.canvas.overlays.items() if n.startswith("monusac_legend_")}
    assert next(iter(overlays.values())).text.strip() == "labels"
    for overlay in overlays.values():
        assert contrast(overlay.color, overlay.box_color) > 4.5, overlay.text


def test_letters_are_smaller_on_a_narrow_canvas():
    viewer = ViewerModel()
    viewer.canvas.size = (800, 900)
    show_legend(viewer, legend_entries(Seen({"labels": {}}), "imagescope"))
    size = {o.font_size for n, o in viewer.canvas.overlays.items() if n.startswith("monusac_")}
    assert size == {11}
    viewer.canvas.size = (800, 420)
    size = {o.font_size for n, o in viewer.canvas.overlays.items() if n.startswith("monusac_")}
    assert size == {8}


SEEN = {"labels": {1: 3, -1: 2, 255: 1}, "prediction": {1: 5, 4: 2}}


def lines(seen, palette="imagescope"):
    return [text for _, text, _ in legend_entries(seen, palette)]


def test_lines_of_what_is_seen():
    assert lines(Seen()) == []
    assert lines(Seen({"labels": {2: 7}}))[:3] == ["labels", "Epithelial  0", "Lymphocyte  7"]
    both = lines(Seen(SEEN))
    assert both[0] == "labels / prediction"
    assert both[1] == "Epithelial  3 / 5"
    assert both[-2:] == ["Unclassified  1 / 0", "Ambiguous  2 / 0"]
    assert lines(Seen(classes=True)) == ["classes", "Epithelial", "Lymphocyte", "Neutrophil", "Macrophage"]
    assert lines(Seen(ternary=True)) == ["inside", "edge"]
    assert lines(Seen(uncertainty=True)) == ["some uncertainty", "high uncertainty"]


def labels(viewer, role, classes, *, visible=True):
    table = pd.DataFrame({"index": [*classes], "class": [NucleusClass(c).label for c in classes.values()]})
    about = {"monusac": {"role": role}}
    return viewer.add_labels(np.zeros((9, 9), np.int32), name=role, features=table, metadata=about, visible=visible)


def shown(viewer):
    return [o.text.strip() for n, o in viewer.canvas.overlays.items() if n.startswith("monusac_legend_") and o.visible]


def test_the_legend_follows_what_is_shown_and_hidden(qtbot, qapp):
    viewer, model, parent = ViewerModel(), StudioModel(), QObject()
    Legend(viewer, model, parent)
    assert shown(viewer) == []
    truth = labels(viewer, "nuclei", {1: 1, 2: 1, 3: 4})
    predicted = labels(viewer, "predicted nuclei", {1: 2}, visible=False)
    ternary = labels(viewer, "predicted ternary", {}, visible=False)
    qtbot.waitUntil(lambda: len(shown(viewer)) == 5)
    assert shown(viewer)[:2] == ["labels", "Epithelial  2"]
    predicted.visible = True
    qtbot.waitUntil(lambda: shown(viewer)[0] == "labels / prediction")
    assert "Lymphocyte  0 / 1" in shown(viewer)
    truth.visible, ternary.visible = False, True
    qtbot.waitUntil(lambda: shown(viewer)[0] == "prediction")
    assert shown(viewer)[-2:] == ["inside", "edge"]
    predicted.visible = ternary.visible = False
    qtbot.waitUntil(lambda: shown(viewer) == [])


def test_a_key_moves_the_legend_away_and_back(qtbot, qapp):
    viewer, model, parent = ViewerModel(), StudioModel(), QObject()
    Legend(viewer, model, parent)
    labels(viewer, "nuclei", {1: 1})
    qtbot.waitUntil(lambda: bool(shown(viewer)))
    corners = []
    for _ in range(3):
        model.move_legend()
        corners.append({str(o.position) for n, o in viewer.canvas.overlays.items() if shown(viewer) and "legend_" in n})
    assert corners == [{"top_right"}, set(), {"top_left"}]
