"""A slide that is too large to be edited as a whole: one line and two buttons, then a region like any crop."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_monusac.app import place as app_place
from napari_monusac.editing.commands import DrawPolygon
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.ui.annotate import region as annotate_region
from napari_monusac.ui.canvas import canvas


@pytest.fixture
def large(hand, until, monkeypatch):
    """The crop, with a limit that makes a large slide of it."""
    monkeypatch.setattr(app_place, "EDITABLE_PX", 10_000)
    monkeypatch.setattr(annotate_region, "EDITABLE_PX", 10_000)
    hand.controller.leave()
    hand.controller._look()
    path = hand.controller.editing.place.path
    before = path.read_bytes()
    yield hand.controller.editing.place
    path.write_bytes(before)
    monkeypatch.undo()
    hand.controller.leave()
    for name in ("nuclei", "ambiguous", "semantic", "ternary"):
        while (layer := canvas.find_layer(hand.viewer, name)) is not None:
            hand.viewer.layers.remove(layer)
    hand.controller._look()
    until(lambda: hand.session is not None)


def test_a_large_slide_says_what_to_do(hand, large):
    panel = hand.panel
    assert hand.session is None
    assert large.large
    assert panel.region.isVisible()
    assert not panel.hint.isVisible()
    assert not panel.begin.isVisible()
    assert not canvas.find_layer(hand.viewer, "nuclei").editable
    hand.viewer.reset_view()
    panel.region.view.click()
    assert "zoom in" in panel.region.trouble.text()
    panel.region.rectangle.click()
    assert "rectangle" in panel.region.trouble.text()


def test_a_region_is_edited_in_its_place_and_saved_among_the_rest(hand, large, viewer, until):
    old = read_annotation(large.path)
    rectangle = np.array([(40, 60), (40, 140), (110, 140), (110, 60)], float)
    image = canvas.find_layer(viewer, "image")
    viewer.add_shapes([rectangle], scale=image.scale, units=image.units)
    hand.panel.region.rectangle.click()
    until(lambda: hand.session is not None)
    viewer.layers.remove(viewer.layers[-1] if canvas.role(viewer.layers[-1]) == "" else "Shapes")
    session = hand.session
    assert session.shape == (70, 80)
    assert session.nuclei.frame.offset_px == (40, 60)
    nuclei = canvas.find_layer(viewer, "nuclei")
    assert np.allclose(nuclei.translate[-2:], np.array([40, 60]) * image.scale[-2:])
    assert "A region of this slide" in hand.panel.region.note.text()
    # a lasso where nothing is, drawn by hand
    hand.panel.classes.buttons[3].click()
    hand.tool("lasso")
    middle, known = hand.free(radius=3), set(session.rows)
    hand.drag([(middle[0] + 3 * np.sin(a), middle[1] + 3 * np.cos(a)) for a in np.linspace(0, 6, 12)])
    (label,) = set(session.rows) - known
    ys, xs = np.nonzero(session.maps.instances == label)
    hand.key(Qt.Key.Key_V)
    hand.panel.save.click()
    until(lambda: not hand.controller.busy and not session.unsaved)
    new = read_annotation(large.path)
    added = [r for r in new.regions if not any(np.array_equal(r.vertices, o.vertices) for o in old.regions)]
    assert len(new.regions) == len(old.regions) + 1
    (one,) = added
    assert one.vertices.min(0) == pytest.approx([ys.min() + 40, xs.min() + 60], abs=1)
    assert hand.in_step()


def test_another_region_waits_until_edits_are_saved(hand, large, viewer, until):
    from napari_monusac.editing.nuclei.frame import Frame

    hand.controller.edit_region(Frame((0, 0), (60, 60)))
    until(lambda: hand.session is not None)
    first = hand.session
    hand.controller.do(DrawPolygon([(30, 30), (30, 36), (36, 36), (36, 30)], over="all"))
    hand.panel.region._go(Frame((60, 60), (50, 50)))
    assert hand.session is first
    next(b for b in hand.panel.question.buttons if b.text() == "Save and go on").click()
    until(lambda: hand.session is not None and hand.session is not first)
    assert hand.session.nuclei.frame.offset_px == (60, 60)


def test_edits_of_another_region_are_not_forgotten(hand, large, until):
    from napari_monusac.editing.nuclei.frame import Frame

    hand.controller.edit_region(Frame((0, 0), (60, 60)))
    until(lambda: hand.session is not None)
    hand.controller.do(DrawPolygon([(30, 30), (30, 36), (36, 36), (36, 30)], over="all"))
    hand.controller.edit_region(Frame((60, 60), (50, 50)))
    until(lambda: bool(hand.panel.question.buttons))
    assert "another region" in hand.panel.question.text.text()
    next(b for b in hand.panel.question.buttons if b.text().startswith("Go to")).click()
    until(lambda: hand.session is not None)
    assert hand.session.nuclei.frame.shape == (60, 60)
    assert hand.session.restored.edits == 1
    hand.session.close(discard=True)
