"""Outlines in a real window: as wide on the screen at every zoom, where the pixels' edges are, following each edit."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from skimage.draw import disk

from napari_monusac.ui.canvas.colors import ClassColormap, Look
from napari_monusac.ui.canvas.napari_private import refresh_box
from napari_monusac.ui.canvas.outlines import FALLBACK_PX, clip_outlines, outline, outline_no_more, outlines_on
from napari_monusac.ui.canvas.styles import PREDICTION, TRUTH
from napari_monusac.ui.model import studio_model

#: The tissue, and the classes' colours as ImageScope has them.
TISSUE, RED, YELLOW = (200, 140, 180), (255, 0, 0), (255, 255, 0)


@pytest.fixture
def layer(viewer):
    labels = np.zeros((200, 200), np.int32)
    labels[50:150, 50:150] = 1
    viewer.add_image(np.full((200, 200, 3), TISSUE, np.uint8), rgb=True, scale=(0.25, 0.25))
    made = viewer.add_labels(labels, colormap=ClassColormap.of({1: 1, 2: 2}), scale=(0.25, 0.25), opacity=1.0)
    outline(viewer, made, studio_model(viewer).work)
    return made


def picture(viewer):
    return viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)


def near(seen, color, by=40):
    return np.abs(seen - color).max(-1) < by


def look_at(viewer, y_px, x_px, px):
    """One px of the layer is `px` on the screen, (y, x) in the middle of the window."""
    viewer.scene.camera.center = (0, y_px / 4, x_px / 4)
    viewer.scene.camera.zoom = 4 * px


@pytest.mark.parametrize("px", [0.5, 1.0, 4.0, 16.0])
def test_a_line_is_as_wide_at_every_zoom_and_lies_on_the_edge(viewer, layer, px):
    look_at(viewer, 100, 49.5, px)  # the left edge of the nucleus, half a pixel before its first
    seen = picture(viewer)
    row = seen[seen.shape[0] // 2]
    middle = len(row) / 2
    red = np.clip((row[:, 0] - row[:, 1] - 60) / 195, 0, 1) * (np.abs(np.arange(len(row)) + 0.5 - middle) < 5)
    assert red.sum() == pytest.approx(TRUTH.width_px, abs=0.5)
    assert (red * (np.arange(len(row)) + 0.5)).sum() / red.sum() == pytest.approx(middle, abs=0.8)
    light = near(seen, (255, 255, 255), 75)[seen.shape[0] // 2]
    assert light[int(middle) - 4 : int(middle)].any(), "a light halo lets red stand out from eosin"
    assert near(seen[seen.shape[0] // 2, int(middle) + 8], TISSUE), "the tissue under the nucleus is seen"


def test_predictions_are_dashed_in_px_of_the_screen(viewer, layer):
    outline(viewer, layer, studio_model(viewer).work, PREDICTION)
    lengths = []
    for px in (2.0, 8.0):
        look_at(viewer, 100, 49.5, px)
        seen = picture(viewer)
        column = near(seen, RED, 90)[seen.shape[0] // 2 - 80 : seen.shape[0] // 2 + 80, seen.shape[1] // 2 - 2 :][:, :4]
        on = column.any(1)
        assert 0.35 < on.mean() < 0.75
        lengths.append(np.count_nonzero(np.diff(on.astype(int)) == 1))
    assert lengths[0] == pytest.approx(lengths[1], abs=1), "as many dashes to a screen"
    assert lengths[0] == pytest.approx(160 / (PREDICTION.dash_px + PREDICTION.gap_px), abs=2.5)


def test_an_edit_is_followed_where_it_was(viewer, layer):
    found = outlines_on(viewer, layer)
    area = disk((20, 170), 12)
    layer.data[area] = 2
    refresh_box(layer, (8, 158, 33, 183))
    assert set(found.labels.tolist()) == {1, 2}
    look_at(viewer, 20, 170, 8.0)
    assert near(picture(viewer), YELLOW).sum() > 300
    layer.data[area] = 0
    refresh_box(layer, (8, 158, 33, 183))
    assert found.labels.tolist() == [1]
    assert near(picture(viewer), YELLOW).sum() == 0


def test_what_changed_unsaid_is_seen_at_the_next_refresh(viewer, layer):
    found = outlines_on(viewer, layer)
    layer.data[10:30, 160:190] = 2
    layer.refresh()
    assert set(found.labels.tolist()) == {1, 2}
    layer.data = np.where(layer.data == 2, 2, 0).astype(np.int32)
    assert found.labels.tolist() == [2]


def test_a_large_map_is_followed_in_the_background_with_the_edits_meanwhile(viewer, layer, qtbot):
    found = outlines_on(viewer, layer)
    large = np.zeros((900, 900), np.int32)
    for k in range(100):
        large[disk((45 + 88 * (k // 10), 45 + 88 * (k % 10)), 20)] = k + 1
    layer.data = large
    assert not found.labels.size, "those of the former map are gone at once"
    large[:300] = 0
    refresh_box(layer, (0, 0, 300, 900))
    qtbot.waitUntil(lambda: found.ready, timeout=30_000)
    assert set(found.labels.tolist()) == set(np.unique(large).tolist()) - {0}


def test_colours_place_opacity_and_visibility_are_the_layers(viewer, layer):
    look_at(viewer, 100, 49.5, 2.0)
    assert near(picture(viewer), RED).sum() > 50
    layer.colormap.set_classes({1: 2})
    layer.events.colormap()
    assert near(picture(viewer), RED).sum() == 0
    assert near(picture(viewer), YELLOW).sum() > 50
    layer.opacity = 0.3
    assert near(picture(viewer), YELLOW).sum() == 0
    layer.opacity = 1.0
    layer.visible = False
    assert near(picture(viewer), YELLOW).sum() == 0
    layer.visible = True
    layer.affine = np.array([[1, 0, 0], [0, 1, 100.0], [0, 0, 1]])
    assert near(picture(viewer), YELLOW).sum() == 0, "it lies elsewhere"
    layer.affine = np.eye(3)
    layer.colormap.set_look(Look(only=frozenset([1])))
    layer.events.colormap()
    assert near(picture(viewer), YELLOW).sum() == 0, "the class is hidden"


def test_a_filling_is_seen_through_and_leaves_the_outline(viewer, layer):
    look_at(viewer, 100, 49.5, 4.0)
    before = picture(viewer)
    layer.colormap.set_look(Look(filled=frozenset([1]), strength=0.5))
    layer.events.colormap()
    after = picture(viewer)
    y, x = after.shape[0] // 2, after.shape[1] // 2
    assert near(before[y, x + 60], TISSUE, 4)
    assert np.abs(after[y, x + 60] - (np.array(TISSUE) + RED) / 2).max() < 12
    assert near(after[y, x - 60], TISSUE, 4)


def test_half_of_the_lines_and_none(viewer, layer):
    look_at(viewer, 100, 100, 3.0)
    clip_outlines(viewer, layer, -np.inf, 100)
    seen = near(picture(viewer), RED)
    middle = seen.shape[1] // 2
    assert seen[:, : middle - 3].any()
    assert not seen[:, middle + 3 :].any()
    outline_no_more(viewer, layer)
    assert outlines_on(viewer, layer) is None
    assert not near(picture(viewer), RED).any()


def test_a_layer_that_goes_takes_its_outlines_along(viewer, layer):
    look_at(viewer, 100, 49.5, 2.0)
    viewer.layers.remove(layer)
    assert not near(picture(viewer), RED).any()
    layer.data = np.zeros((20, 20), np.int32)  # nobody listens any more


def test_without_a_window_napari_draws_them():
    viewer = ViewerModel()
    layer = viewer.add_layer(Labels(np.eye(9, dtype=np.int32), colormap=ClassColormap.of({1: 1})))
    outline(viewer, layer, studio_model(viewer).work)
    assert layer.contour == FALLBACK_PX
    assert layer.colormap._values_mapping_to_minimum_values_set()[1][1][3] == 1, "else nothing would be seen"
