"""A hand on mouse and keyboard of a real canvas with the Annotate panel."""

from __future__ import annotations

import gc
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.widgets import settings as annotate_settings

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


def pytest_collection_modifyitems(items):
    """Everything in this folder drives a window."""
    for item in items:
        if Path(str(item.fspath)).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.gui)


class Hand:
    """A hand on the mouse and the keyboard of the canvas. Points are (y, x) in px of the nuclei."""

    def __init__(self, studio, viewer, qtbot):
        self.studio, self.viewer, self.qtbot = studio, viewer, qtbot
        self.panel = studio.panels["Annotate"]
        self.controller = self.panel.controller
        window = studio.window()
        self.canvas = next(w for w in window.findChildren(QWidget) if type(w).__name__.startswith("CanvasBackend"))
        self.canvas.setFocus()

    @property
    def session(self):
        return self.controller.session

    def at(self, point):
        layer = canvas.find_layer(self.viewer, "nuclei") or canvas.find_layer(self.viewer, "image")
        world = np.asarray(layer.data_to_world(point))
        camera = self.viewer.scene.camera
        offset = (world - np.asarray(camera.center[-2:])) * camera.zoom
        return QPoint(round(self.canvas.width() / 2 + offset[1]), round(self.canvas.height() / 2 + offset[0]))

    def _send(self, kind, where, button, buttons, modifiers):
        position = QPointF(where)
        event = QMouseEvent(kind, position, self.canvas.mapToGlobal(where).toPointF(), button, buttons, modifiers)
        QApplication.sendEvent(self.canvas, event)
        self.qtbot.wait(13)  # vispy drops moves that come faster

    def hover(self, point):
        self._send(QEvent.Type.MouseMove, self.at(point), Qt.MouseButton.NoButton, Qt.MouseButton.NoButton, NONE)

    def drag(self, path, modifiers=NONE):
        self._send(QEvent.Type.MouseButtonPress, self.at(path[0]), LEFT, LEFT, modifiers)
        for point in path[1:]:
            self._send(QEvent.Type.MouseMove, self.at(point), Qt.MouseButton.NoButton, LEFT, modifiers)
        self._send(QEvent.Type.MouseButtonRelease, self.at(path[-1]), LEFT, Qt.MouseButton.NoButton, modifiers)
        self.qtbot.wait(5)

    def click(self, point, modifiers=NONE, slip=(0, 0)):
        where = self.at(point)
        self._send(QEvent.Type.MouseButtonPress, where, LEFT, LEFT, modifiers)
        if slip != (0, 0):
            where = where + QPoint(*slip)
            self._send(QEvent.Type.MouseMove, where, Qt.MouseButton.NoButton, LEFT, modifiers)
        self._send(QEvent.Type.MouseButtonRelease, where, LEFT, Qt.MouseButton.NoButton, modifiers)
        self.qtbot.wait(5)

    def double_click(self, point):
        self.click(point)
        self._send(QEvent.Type.MouseButtonDblClick, self.at(point), LEFT, LEFT, NONE)
        self._send(QEvent.Type.MouseButtonRelease, self.at(point), LEFT, Qt.MouseButton.NoButton, NONE)
        self.qtbot.wait(5)

    def key(self, key, modifiers=NONE):
        QTest.keyClick(self.canvas, key, modifiers)
        self.qtbot.wait(5)

    def tool(self, name):
        self.panel.tools.buttons[name].click()
        assert self.panel.toolbox.tool == name

    def centre(self, label):
        top, left, bottom, right = self.session.maps.boxes[label]
        mask = self.session.maps.instances[top:bottom, left:right] == label
        y, x = np.nonzero(mask)
        k = int(np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2))
        return float(y[k] + top), float(x[k] + left)

    def free(self, radius=9):
        """The middle of a free place of that radius."""
        from scipy import ndimage

        distance = ndimage.distance_transform_edt(np.pad(self.session.maps.instances == 0, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(distance.argmax()), distance.shape)
        assert distance[y, x] > radius, "the crop has no free place"
        return float(y), float(x)

    def in_step(self):
        """The layers show the session's maps, and these are those of the whole frame worked out anew."""
        from napari_monusac.masks.ternary import ternary_map

        self.controller.adopt()
        maps = self.session.maps
        for role, name in (("nuclei", "instances"), ("semantic", "semantic"), ("ternary", "ternary")):
            layer = canvas.find_layer(self.viewer, role)
            assert layer is None or layer.data is getattr(maps, name)
        assert (maps.ternary == ternary_map(maps.instances, maps.boundary_width)).all()
        classes = np.zeros(max(self.session.rows) + 1, np.uint8)
        for k, row in self.session.rows.items():
            classes[k] = 0 if row.plane == "ambiguous" else row.class_id
        assert (maps.semantic == classes[maps.instances]).all()
        return True


@pytest.fixture(scope="module")
def bench(tissue_folder, tmp_path_factory):
    """One window with the Studio for all tests of this file, on a folder of its own: opening one takes seconds."""
    from napari import Viewer
    from qtpy.QtCore import QCoreApplication

    from napari_monusac.ui import model
    from napari_monusac.ui.studio import Studio

    folder = tmp_path_factory.mktemp("annotate") / "Gewebe"
    shutil.copytree(tissue_folder, folder)
    viewer = Viewer(show=True)
    with pytest.MonkeyPatch.context() as patch:
        # settings are the test's own, nothing of the user's is read
        patch.setattr(annotate_settings, "_section", lambda: None)
        state = model.studio_model(viewer)
        state.training.runs_folder = folder.parent / "runs"
        studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
        assert isinstance(studio, Studio)
        _resize(viewer, 1280, 900)
        studio.panels["Slides"].open_folder(folder)
        studio.show_panel("Annotate")
        yield studio, viewer
        state.work.stop()
        until(lambda: not state.work.running)
        model.forget(viewer)
        viewer.close()
        del studio, viewer
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        gc.collect()
        _forget_the_application()


def _forget_the_application():
    """napari's menus and commands are one for the process: the next window, of this or of another file, makes its own."""
    from napari._app_model import get_app_model
    from napari._qt._qapp_model.qactions import init_qactions
    from napari.plugins import _initialize_plugins

    application = get_app_model()
    application.destroy(application.name)
    _initialize_plugins.cache_clear()
    init_qactions.cache_clear()


def _resize(viewer, width, height):
    """Give the window its size: on a busy machine napari's own first size may arrive after ours."""

    def done():
        viewer.window.resize(width, height)
        QTest.qWait(100)
        return viewer.window.geometry()[2:] == (width, height)

    until(done)
    until(done)


def until(true, seconds=150):
    """Run the event loop until something is true."""
    end = time.monotonic() + seconds
    while not true():
        QTest.qWait(10)
        assert time.monotonic() < end, "waited in vain"


@pytest.fixture(name="until")
def until_fixture():
    """A function that runs the event loop until something is true."""
    return until


@pytest.fixture
def viewer(bench):
    """The window."""
    return bench[1]


@pytest.fixture
def hand(bench, qtbot):
    """Annotate on the first crop as its file has it: edits of the test before are put aside."""
    studio, viewer = bench
    found = Hand(studio, viewer, qtbot)
    controller, state = found.controller, studio.model
    until(lambda: state.collection is not None and state.crop is not None and not controller.editing.opening)
    first = state.collection.crops[0]
    if controller.session is not None:
        controller.session.close(discard=True)
    shutil.rmtree(first.annotation.parent / ".monusac", ignore_errors=True)
    old = controller.session
    if state.crop is first and canvas.find_layer(viewer, "nuclei") is not None:
        controller.open_again("discard")
    else:
        kept, state.may_leave_crop = state.may_leave_crop, lambda _: True
        state.ask_for_crop(first)
        state.may_leave_crop = kept
    until(lambda: controller.session is not None and controller.session is not old)
    studio.show_panel("Annotate")
    found.panel.toolbox.set_tool("pick")
    found.controller.editing.question = None
    found.controller.editing.current_class = 1
    controller.set_look(filled=frozenset([5]))
    viewer.reset_view()
    qtbot.wait(60)
    return found
