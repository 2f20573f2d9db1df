"""Locks: a clock that jumps, a restart of the machine, strange content, and two that begin at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import psutil
import pytest

from napari_monusac.core.errors import RunLockedError
from napari_monusac.io.runs import lock as locks


def test_a_clock_that_jumps_makes_no_live_lock_stale(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    with locks.RunLock(path):
        began = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: began(self) + 7200)
        assert locks.process_is_alive(locks.read_holder(path))
        with pytest.raises(RunLockedError, match=f"process {os.getpid()}"), locks.RunLock(path):
            pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="boot ids are Linux's")
def test_a_lock_of_before_a_restart_is_stale_whatever_the_clock_says(tmp_path):
    path = tmp_path / "lock"
    path.write_text(json.dumps({**locks.this_process(), "boot": "another start"}))
    with locks.RunLock(path):
        assert locks.read_holder(path) == locks.this_process()


def test_locks_of_before_without_ticks_are_read(tmp_path):
    path = tmp_path / "lock"
    mine = {k: v for k, v in locks.this_process().items() if k in ("pid", "started", "host")}
    path.write_text(json.dumps(mine))
    with pytest.raises(RunLockedError), locks.RunLock(path):
        pass
    path.write_text(json.dumps({**mine, "started": mine["started"] - 1000}))
    with locks.RunLock(path):
        pass


STRANGE = [
    "", "null", "[]", "7", "1e400", '"lock"', "[" * 100_000, "\x00\x01", '{"pid": null}', '{"pid": 1e400}',
    '{"pid": -7}', '{"pid": 1099511627776}', '{"pid": [1]}', '{"pid": "x"}', '{"pid": true}',
    '{"pid": 1, "started": null}', '{"pid": 1, "started": 1e400}', '{"pid": 1, "started": NaN}', '{"pid": 1, "host": 3}',
    '{"pid": 1' + "0" * 5000 + "}",
]  # fmt: skip


@pytest.mark.parametrize("content", STRANGE, ids=range(len(STRANGE)))
def test_strange_content_is_nobodys_lock(tmp_path, content):
    path = tmp_path / "lock"
    path.write_text(content)
    assert not locks.process_is_alive(locks.read_holder(path))
    with locks.RunLock(path):
        assert locks.read_holder(path) == locks.this_process()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_locks_place_is_told(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(RunLockedError, match="lock is a folder"), locks.RunLock(tmp_path / "lock"):
        pass


def test_a_lock_that_cannot_be_read_is_somebodys(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    path.write_text("{}")

    def no(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(locks.Path, "read_text", no)
    with pytest.raises(RunLockedError, match="unknown machine"), locks.RunLock(path):
        pass
    assert path.exists()


def test_the_lock_is_never_seen_without_its_content(tmp_path):
    """One process takes and leaves the lock, another one looks: it is whole each time."""
    code = (
        "import sys; from pathlib import Path; from napari_monusac.io.runs.lock import RunLock\n"
        "stop = Path(sys.argv[1] + '.stop')\n"
        "while not stop.exists():\n"
        "    for _ in range(50):\n"
        "        with RunLock(Path(sys.argv[1])): pass"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock")])
    seen = 0
    while child.poll() is None:
        try:
            content = (tmp_path / "lock").read_text()
        except FileNotFoundError:
            continue
        assert json.loads(content)["pid"] == child.pid
        seen += 1
        if seen == 100:
            (tmp_path / "lock.stop").touch()
    assert child.returncode == 0
    assert seen >= 100


def test_a_disk_without_hard_links(tmp_path, monkeypatch):
    def no(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(locks.os, "link", no)
    with locks.RunLock(tmp_path / "lock"), pytest.raises(RunLockedError), locks.RunLock(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []
