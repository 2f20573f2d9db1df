"""What stays in memory after crops and windows are closed: at most what is open."""

from __future__ import annotations

import gc
from collections import Counter
from importlib import import_module

import pytest
from qtpy.QtCore import QCoreApplication, QEvent

from napari_monusac.app.work import Task
from napari_monusac.ui.canvas.opening import crop_opener
from napari_monusac.ui.model import studio_model

pytestmark = pytest.mark.gui

EVENTS = (
    "collection_changed", "crop_changed", "crop_asked", "crop_leaving", "layers_changed", "predicted",
    "palette_changed", "panel_asked", "told",
)  # fmt: skip


@pytest.fixture(scope="module")
def twenty_crops(tmp_path_factory):
    """A folder of twenty small labelled crops."""
    from napari_monusac.synth import write_collection

    folder = tmp_path_factory.mktemp("twenty")
    write_collection(folder, 5, 4, seed=5, shape=(96, 96), test_patients=0)
    return folder


KINDS = {
    "napari_monusac.app.studio": "StudioModel",
    "napari_monusac.app.review": "ReviewModel",
    "napari_monusac.editing.session": "EditingSession",
    "napari_monusac.ui.editing.controller": "EditingController",
    "napari_monusac.app.work": "Task",
    "napari_monusac.ui.studio": "Studio",
}


def alive():
    """How many of the objects that belong to a crop or to a window there are, after a collection of garbage."""
    kinds = tuple(getattr(import_module(module), name) for module, name in KINDS.items())
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        QCoreApplication.processEvents()
        gc.collect()
    found = (o for o in gc.get_objects() if isinstance(o, kinds))
    # a task that is under way (the neighbours are read ahead, a moment after a crop is shown) is nothing that was left
    return Counter(type(o).__name__ for o in found if not (isinstance(o, Task) and o.running))


def step_through(viewer, folder, qtbot, settle, number):
    """Open a folder in a window's Studio and go from crop to crop."""
    studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
    studio.panels["Slides"].open_folder(folder)
    for at in range(number):
        qtbot.waitUntil(lambda at=at: studio.model.position()[0] == at + 1, timeout=60_000)
        qtbot.waitUntil(lambda: studio.model.editing.session is not None, timeout=60_000)
        settle()
        if at + 1 < number:
            studio.go(1)
    # its neighbours are read once it is at rest: work that goes on is not left over
    opener = crop_opener(viewer)
    qtbot.waitUntil(lambda: not opener._rest.isActive() and opener._ahead is None, timeout=60_000)


def test_twenty_crops_and_two_windows_leave_nothing(make_napari_viewer, twenty_crops, qtbot, settle):
    """Nothing is forgotten by hand: models, sessions and tasks end with their crop, and the rest with its window."""
    before = alive()
    one = Counter({"StudioModel": 1, "ReviewModel": 1, "EditingSession": 1, "EditingController": 1, "Studio": 1})
    # in a list: napari takes pictures of the variables of whoever makes a viewer, and they would hold the first one
    windows = [make_napari_viewer(show=True)]
    step_through(windows[0], twenty_crops, qtbot, settle, 11)
    assert alive() - before == one
    windows.append(make_napari_viewer(show=True))
    step_through(windows[1], twenty_crops, qtbot, settle, 9)
    assert alive() - before == one + one
    windows.pop(0).close()
    assert alive() - before == one
    windows.pop(0).close()
    assert not alive() - before


def test_a_dock_that_was_closed_is_not_told_any_more(make_napari_viewer, twenty_crops, qtbot, settle):
    """The model lasts as long as its window; the panels of a dock that is closed and opened again are others."""
    viewer = make_napari_viewer(show=True)
    step_through(viewer, twenty_crops, qtbot, settle, 2)
    model = studio_model(viewer)
    heard = {name: len(getattr(model, name)) for name in EVENTS}
    viewer.window.remove_dock_widget("all")
    assert alive()["Studio"] == 0
    # only what is the models' own: another crop has no prediction yet, Review is of the open crop and prediction, and the
    # round (queue, correct, retrain, guard) of the open folder, which it counts and tells
    own = {"crop_changed": 2, "collection_changed": 4, "predicted": 1, "layers_changed": 1}
    assert {name: len(getattr(model, name)) for name in EVENTS} == dict.fromkeys(EVENTS, 0) | own
    studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
    assert studio.model is model
    assert {name: len(getattr(model, name)) for name in EVENTS} == heard
    wanted = model.neighbour(1).name
    studio.go(1)
    qtbot.waitUntil(lambda: studio.model.crop.name == wanted, timeout=60_000)
    settle()
    assert studio.where.text() == wanted
