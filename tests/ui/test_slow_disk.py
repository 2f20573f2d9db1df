"""A network folder that answers late, or fails now and then: the window stays alive and says so, and nothing is lost.

Python tells an audit hook of every file that it opens and of every folder that it lists. The hook makes them slow, or
lets every third one fail, and notes who waits: the thread of the window must not.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from napari_monusac.editing.commands import Delete
from napari_monusac.editing.session import EditingSession
from napari_monusac.ui.widgets.note import Note

_DISKS: list[Disk] = []


class Disk:
    """What is wrong with a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.slow_s, self.fails_every, self.opened = os.fspath(folder), 0.0, 0, 0
        #: files and folders that the window's thread waited for
        self.held: list[str] = []

    def touched(self, path: str) -> None:
        if not path.startswith(self.folder):
            return
        if threading.current_thread() is threading.main_thread():
            self.held.append(os.path.relpath(path, self.folder))
            return
        self.opened += 1
        if self.fails_every and self.opened % self.fails_every == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if self.slow_s:
            time.sleep(self.slow_s)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _DISKS and event in ("open", "os.scandir", "os.listdir") and isinstance(arguments[0], str | os.PathLike):
        _DISKS[-1].touched(os.fspath(arguments[0]))


sys.addaudithook(_hook)  # for good: it does nothing while there is no disk


@pytest.fixture
def disk(tmp_path: Path):
    from napari_monusac.synth import write_collection

    folder = tmp_path / "share"
    write_collection(folder, 3, 1, seed=3, shape=(96, 112), test_patients=1)
    made = Disk(folder)
    _DISKS.append(made)
    yield made
    _DISKS.remove(made)


def alive(qtbot: Any, true: Any, timeout: int = 60_000) -> int:
    """Wait for something; how often the event loop turned meanwhile."""
    from qtpy.QtCore import QTimer

    turns: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: turns.append(time.monotonic()))
    timer.start(10)
    qtbot.waitUntil(true, timeout=timeout)
    timer.stop()
    return len(turns)


def to_crop(studio: Any, crop: Any) -> Any:
    studio.model.open_crop(crop)
    controller = studio.panels["Annotate"].controller
    return lambda: (
        studio.model.crop is not None
        and studio.model.crop.name == crop.name
        and controller.session is not None
        and controller.session.file.path == crop.annotation
        and not studio.model.work.running
    )


def test_a_slow_folder_holds_nobody(studio: Any, qtbot: Any, disk: Disk) -> None:
    disk.slow_s = 0.15
    slides, annotate = studio.panels["Slides"], studio.panels["Annotate"]
    slides.open_folder(disk.folder)
    said = slides.opening.label.text()
    assert "Looking through the folder" in said
    turns = alive(qtbot, lambda: studio.model.crop is not None)
    crops = studio.model.collection.crops
    turns += alive(qtbot, to_crop(studio, crops[1]))
    assert turns > 30
    controller = annotate.controller
    controller.do(Delete([1]))
    annotate.saving.save_now()
    assert alive(qtbot, lambda: not controller.busy and not controller.session.unsaved) > 5
    # an edit is on the disk before it is seen: the journal is the one thing that is waited for
    assert [p for p in disk.held if ".monusac" not in p] == []


def test_a_failing_folder_is_told_and_loses_nothing(studio: Any, qtbot: Any, disk: Disk, settle: Any) -> None:
    slides, annotate = studio.panels["Slides"], studio.panels["Annotate"]
    slides.open_folder(disk.folder)
    qtbot.waitUntil(lambda: studio.model.crop is not None, timeout=60_000)
    settle()
    crops, told = studio.model.collection.crops, []
    studio.model.told.connect(lambda text, kind: told.append((kind, text)))
    annotate.controller.said.connect(lambda text, kind: told.append((kind, text)))
    disk.fails_every = 3
    for crop in (crops[1], crops[2], crops[0], crops[1]):
        studio.model.open_crop(crop)
        settle()
        shown = [note.text() for note in studio.findChildren(Note)]
        opened = studio.model.crop.name == crop.name and annotate.controller.session is not None
        assert opened or any("Input/output error" in text for text in [*shown, *(t for _, t in told)])
    disk.fails_every = 0
    qtbot.waitUntil(to_crop(studio, crops[0]), timeout=60_000)
    controller = annotate.controller
    before = len(controller.session.rows)
    controller.do(Delete([1]))
    disk.fails_every = 1
    told.clear()
    annotate.saving.save_now()
    settle()
    assert any(kind == "error" for kind, _ in told)
    assert controller.session.unsaved
    disk.fails_every = 0
    annotate.saving.save_now()
    qtbot.waitUntil(lambda: not controller.busy and not controller.session.unsaved, timeout=60_000)
    with EditingSession.open(crops[0].annotation, controller.session.shape) as again:
        assert len(again.rows) == before - 1
