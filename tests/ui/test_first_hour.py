"""The Studio as a stranger meets it: empty, with a wrong folder, by keyboard, on a small screen, with long work."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
from napari.utils.progress import progress
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QWidget,
)

from napari_monusac.app.work import Work
from napari_monusac.core.classes import TernaryClass
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.model import take_to_qt
from napari_monusac.ui.widgets.accessible import spoken_name
from napari_monusac.ui.widgets.task_row import TaskRow

CONTROLS = (QAbstractButton, QAbstractItemView, QAbstractSpinBox, QComboBox, QLineEdit)


def test_the_empty_studio_offers_synthetic_tissue(studio, qtbot, settle, monkeypatch, tmp_path):
    monkeypatch.setenv("MONUSAC_CACHE", str(tmp_path / "Proben für alle"))
    panel = studio.panels["Slides"]
    assert panel.sample.isVisible()
    assert not panel.again.isVisible()
    assert not panel.crops.isVisible()
    panel.sample.click()
    qtbot.waitUntil(lambda: studio.model.crop is not None, timeout=60_000)
    settle()
    assert panel.crops.isVisible()
    assert not panel.sample.isVisible()
    assert len(panel.crops.items) == len(studio.model.collection.crops) == 4
    assert panel.folder.remembered() == [str(studio.model.collection.root)]


def test_a_wrong_folder_is_told_and_not_remembered(studio, settle, tmp_path):
    panel = studio.panels["Slides"]
    for name in ("leer", "gibt es nicht"):
        (tmp_path / "leer").mkdir(exist_ok=True)
        panel.folder.box.setEditText(str(tmp_path / name))
        panel.folder.box.lineEdit().editingFinished.emit()
        settle()
        assert str(tmp_path / name) in panel.opening.label.text()
    assert panel.folder.remembered() == []
    # beside the field, not at the foot of the panel
    assert panel.opening.y() < panel.hint.y()


def test_the_last_folder_is_offered_not_opened(viewer, tissue_folder, qtbot, settle):
    from napari_monusac.ui import model
    from napari_monusac.ui.widgets.settings import SETTINGS

    SETTINGS.remember_path("collection", str(tissue_folder))
    _, panel = viewer.window.add_plugin_dock_widget("napari-monusac", "Slides")
    qtbot.waitUntil(lambda: panel.again.isVisible(), timeout=5000)
    assert len(viewer.layers) == 0
    panel.again.click()
    settle()
    assert str(panel.model.collection.root) == str(tissue_folder)
    if panel.model.editing.session is not None:
        panel.model.editing.session.close(discard=True)
    model.forget(viewer)


def test_every_control_has_a_name_for_screen_readers(opened, qtbot):
    for name, panel in opened.panels.items():
        opened.show_panel(name)
        qtbot.wait(30)
        for kind in CONTROLS:
            for widget in panel.findChildren(kind):
                inner = isinstance(widget.parentWidget(), QComboBox | QAbstractSpinBox)
                if widget.isVisible() and not inner and widget.focusPolicy() != Qt.FocusPolicy.NoFocus:
                    assert spoken_name(widget), (name, type(widget).__name__, widget.toolTip())


@pytest.mark.parametrize("name", ["Slides", "Masks"])
def test_tab_reaches_every_control_from_top_to_bottom(opened, viewer, qtbot, name):
    opened.show_panel(name)
    qtbot.wait(50)
    panel = opened.panels[name]
    chain, widget = [], panel.nextInFocusChain()
    while widget is not panel:
        if panel.isAncestorOf(widget) and widget.isVisible() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            chain.append(widget)
        widget = widget.nextInFocusChain()
    tops = [w.mapTo(panel, w.rect().center()).y() for w in chain if not isinstance(w.parentWidget(), QComboBox)]
    assert len(tops) >= 6
    assert all(b > a - 12 for a, b in pairwise(tops)), tops


def test_alt_and_a_number_show_a_panel(opened, viewer, qtbot):
    QApplication.setActiveWindow(opened.window())
    opened.setFocus()
    for at, name in enumerate(opened.panels):
        qtbot.keyClick(opened, Qt.Key(int(Qt.Key.Key_1) + at), Qt.KeyboardModifier.AltModifier)
        qtbot.waitUntil(lambda n=name: opened.tabs.tabText(opened.tabs.currentIndex()) == n, timeout=2000)


def test_the_window_fits_the_screen(studio, qtbot):
    window: QWidget = studio.window()
    room = window.screen().availableGeometry()
    window.resize(room.width() + 300, room.height() + 200)
    studio._take_width()
    qtbot.waitUntil(lambda: window.frameGeometry().width() <= room.width(), timeout=3000)
    assert window.frameGeometry().height() <= room.height()


def test_pixels_are_counted_without_a_preview(opened, viewer, qtbot, settle):
    panel = opened.panels["Masks"]
    opened.show_panel("Masks")
    settle()
    qtbot.waitUntil(lambda: "px" in panel.amounts.labels[TernaryClass.BOUNDARY].text(), timeout=10_000)
    background = int(np.count_nonzero(canvas.find_layer(viewer, "ternary").data == 0))
    said = panel.amounts.labels[TernaryClass.BACKGROUND].text()
    assert said.replace("\u202f", "").startswith(f"{background} px")
    assert canvas.find_layer(viewer, "ternary preview") is None


def in_dock():
    return [p.desc.rstrip(": ") for p in progress._all_instances]


@pytest.fixture
def work():
    """The background work of a window."""
    work = Work()
    take_to_qt(work)
    return work


def test_long_work_stands_in_the_activity_dock_and_can_be_cancelled_there(viewer, qtbot, work):
    go_on, row = threading.Event(), TaskRow()
    qtbot.addWidget(row)

    def count(report):
        while not go_on.wait(0.02):
            report(0.25, "a quarter")

    task = row.follow(work.task(count, row), "Counting stars…")
    assert not in_dock(), "short work does not flash"
    qtbot.waitUntil(lambda: in_dock() == ["Counting stars"], timeout=10_000)
    bar = next(iter(progress._all_instances))
    qtbot.waitUntil(lambda: bar.n == bar.total // 4, timeout=10_000)
    cancelled = []
    task.cancelled.connect(lambda: cancelled.append(task))
    bar.cancel()
    qtbot.waitUntil(lambda: cancelled == [task], timeout=10_000)
    assert not in_dock()
    assert row.label.text() == "Stopped."


def test_work_without_a_title_stays_out_of_the_dock(viewer, qtbot, work):
    go_on = threading.Event()
    task = work.task(lambda _: go_on.wait(20), None).start()
    qtbot.wait(900)
    assert not in_dock()
    go_on.set()
    qtbot.waitUntil(lambda: not task.running, timeout=10_000)


def test_a_row_listens_to_its_newest_task_only(viewer, qtbot, work):
    row, first_may_end, second_may_end = TaskRow(), threading.Event(), threading.Event()
    qtbot.addWidget(row)
    first = row.follow(work.task(lambda _: first_may_end.wait(20), None), "First…")
    second = row.follow(work.task(lambda _: second_may_end.wait(20), None), "Second…")
    first_may_end.set()
    qtbot.waitUntil(lambda: not first.running, timeout=10_000)
    assert row.task is second
    assert row.label.text() == "Second…"
    second_may_end.set()
    qtbot.waitUntil(lambda: not second.running, timeout=10_000)
    assert row.task is None
    assert row.label.text() == ""
