"""What a panel shows for itself, put away and brought back: by role, whatever the user does with the layers meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.regions import REGION_ROLE, chosen_region, draw_rectangle
from napari_monusac.ui.canvas.view import PanelView


def add(viewer, role, *, visible=True):
    return viewer.add_labels(
        np.zeros((8, 8), np.uint8), name=role, visible=visible, metadata={"monusac": {"role": role}}
    )


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    for role in ("nuclei", "predicted nuclei", "outlines", "frames"):
        add(viewer, role)
    add(viewer, "difference", visible=False)
    return viewer


@pytest.fixture
def view(viewer):
    return PanelView(viewer, ("outlines", "difference", "frames"))


def shown(viewer):
    return {layer.name for layer in viewer.layers if layer.visible}


def test_a_view_is_put_away_and_comes_back_as_it_was(viewer, view):
    view.cover(("nuclei", "predicted nuclei"))
    assert shown(viewer) == {"outlines", "frames"}
    view.put_away()
    assert shown(viewer) == {"nuclei", "predicted nuclei"}, "what was hidden by it is seen, nothing of its own is"
    view.put_away()
    view.bring_back()
    assert shown(viewer) == {"outlines", "frames"}
    view.cover()
    assert shown(viewer) == {"nuclei", "predicted nuclei", "outlines", "frames"}


def test_what_the_user_hid_stays_hidden(viewer, view):
    canvas.find_layer(viewer, "predicted nuclei").visible = False
    view.cover(("nuclei", "predicted nuclei"))
    view.put_away()
    assert shown(viewer) == {"nuclei"}
    canvas.find_layer(viewer, "nuclei").visible = False
    view.bring_back()
    view.put_away()
    assert shown(viewer) == set()


def test_what_is_asked_for_while_it_is_away_holds_when_it_comes_back(viewer, view):
    view.put_away()
    view.cover(("nuclei",))
    assert shown(viewer) == {"nuclei", "predicted nuclei"}
    view.bring_back()
    assert shown(viewer) == {"predicted nuclei", "outlines", "frames"}


def test_layers_are_meant_by_their_role(viewer, view):
    """One is deleted, one is renamed, one made anew while the view is away: what is there comes back."""
    view.cover(("nuclei",))
    view.put_away()
    viewer.layers.remove("outlines")
    viewer.layers["frames"].name = "mine"
    viewer.layers.remove("nuclei")
    add(viewer, "nuclei")
    view.bring_back()
    assert shown(viewer) == {"predicted nuclei", "mine"}
    view.cover()
    assert shown(viewer) == {"predicted nuclei", "mine", "nuclei"}


def test_another_crop_is_shown_as_it_comes(viewer, view):
    view.cover(("nuclei",))
    view.forget()
    canvas.find_layer(viewer, "nuclei").visible = True
    view.put_away()
    view.forget()
    view.bring_back()
    assert "outlines" not in shown(viewer), "of the former crop"


def test_a_drawn_region_catches_no_drag_in_another_panel():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((80, 90, 3), np.uint8), rgb=True, metadata={"monusac": {"role": "image"}})
    nuclei = add(viewer, "nuclei")
    region = draw_rectangle(viewer, image)
    region.add_rectangles(np.array([[10, 10], [10, 60], [50, 60], [50, 10]]))
    view = PanelView(viewer, (REGION_ROLE,))
    assert viewer.layers.selection.active is region
    assert region.mode == "add_rectangle"
    view.put_away()
    assert not region.visible
    assert region.mode == "pan_zoom"
    assert viewer.layers.selection.active is nuclei
    view.bring_back()
    assert region.visible
    assert chosen_region(viewer, image, "Drawn rectangle") == (10, 10, 40, 50)
