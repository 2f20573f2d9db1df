"""Locks: a clock that jumps, a restart of the machine, strange content, another machine, and two that begin at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from napari_monusac.core.errors import RunLockedError, SessionError, StoreError
from napari_monusac.io import locks as locks


def test_a_clock_that_jumps_makes_no_live_lock_stale(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    with locks.ProcessLock(path):
        began = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: began(self) + 7200)
        assert locks.process_is_alive(locks.read_holder(path))
        with pytest.raises(RunLockedError, match=f"process, {os.getpid()} on"), locks.ProcessLock(path):
            pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="boot ids are Linux's")
def test_a_lock_of_before_a_restart_is_stale_whatever_the_clock_says(tmp_path):
    path = tmp_path / "lock"
    path.write_text(json.dumps({**locks.this_process(), "boot": "another start"}))
    with locks.ProcessLock(path):
        assert locks.read_holder(path) == locks.this_process()


def test_locks_of_before_without_ticks_are_read(tmp_path):
    path = tmp_path / "lock"
    mine = {k: v for k, v in locks.this_process().items() if k in ("pid", "started", "host")}
    path.write_text(json.dumps(mine))
    with pytest.raises(RunLockedError), locks.ProcessLock(path):
        pass
    path.write_text(json.dumps({**mine, "started": mine["started"] - 1000}))
    with locks.ProcessLock(path):
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
    with locks.ProcessLock(path):
        assert locks.read_holder(path) == locks.this_process()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_locks_place_is_told(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(RunLockedError, match="lock is a folder"), locks.ProcessLock(tmp_path / "lock"):
        pass


def test_a_lock_that_cannot_be_read_is_somebodys(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    path.write_text("{}")

    def no(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(locks.Path, "read_text", no)
    with pytest.raises(RunLockedError, match="unknown machine"), locks.ProcessLock(path):
        pass
    assert path.exists()


def test_the_lock_is_never_seen_without_its_content(tmp_path):
    """One process takes and leaves the lock, another one looks: it is whole each time."""
    code = (
        "import sys; from pathlib import Path; from napari_monusac.io.locks import ProcessLock\n"
        "stop = Path(sys.argv[1] + '.stop')\n"
        "while not stop.exists():\n"
        "    for _ in range(50):\n"
        "        with ProcessLock(Path(sys.argv[1])): pass"
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
    with locks.ProcessLock(tmp_path / "lock"), pytest.raises(RunLockedError), locks.ProcessLock(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def elsewhere(path, silent_for_s, monkeypatch, clock_ahead_s=0.0):
    """A store's lock of another machine, touched so long ago; this machine's clock differs from the disk's."""
    path.write_text(json.dumps({"pid": 1, "started": 0.0, "host": "another machine"}))
    os.utime(path, (time.time() - silent_for_s,) * 2)
    now = time.time
    monkeypatch.setattr(locks.time, "time", lambda: now() + clock_ahead_s)
    return path


@pytest.mark.parametrize("clock_ahead_s", [-3600.0, 0.0, 3600.0])
def test_a_live_worker_elsewhere_keeps_its_store_whatever_our_clock_says(tmp_path, monkeypatch, clock_ahead_s):
    monkeypatch.setattr(locks, "SILENT_S", 3.0)
    path = elsewhere(tmp_path / "s.zarr.lock", 0.0, monkeypatch, clock_ahead_s)
    sign = threading.Timer(0.5, lambda: os.utime(path))
    sign.start()
    with pytest.raises(StoreError, match=r"another machine.*delete s.zarr.lock"), locks.store_lock(tmp_path / "s.zarr"):
        pass
    sign.join()
    assert json.loads(path.read_text())["host"] == "another machine"


@pytest.mark.parametrize("clock_ahead_s", [-3600.0, 3600.0])
def test_a_dead_worker_elsewhere_loses_its_store(tmp_path, monkeypatch, clock_ahead_s):
    path = elsewhere(tmp_path / "s.zarr.lock", locks.SILENT_S + 1, monkeypatch, clock_ahead_s)
    began = time.monotonic()
    with locks.store_lock(tmp_path / "s.zarr") as lock:
        lock.touch()
        assert locks.read_holder(path) == locks.this_process()
    assert time.monotonic() - began < 10
    assert list(tmp_path.iterdir()) == []


def test_whoever_lost_a_lock_is_told_and_leaves_it_alone(tmp_path):
    path = tmp_path / "s.zarr.lock"
    with locks.store_lock(tmp_path / "s.zarr") as lock:
        path.write_text("{}")
        with pytest.raises(StoreError, match="being written by another process"):
            lock.touch()
    assert path.read_text() == "{}"


def test_turns_are_taken_one_after_another(tmp_path):
    inside = []

    def turn(k):
        with locks.exclusive(tmp_path / "x.lock"):
            inside.append(k)
            time.sleep(0.05)
            inside.append(k)

    threads = [threading.Thread(target=turn, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside[::2] == inside[1::2]
    assert sorted(inside[::2]) == [0, 1, 2, 3]


def test_a_turn_that_does_not_come_is_told_and_a_killed_holder_gives_it_back(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from napari_monusac.io.locks import exclusive\n"
        "with exclusive(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    path = tmp_path / "x.lock"
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(SessionError, match=r"x.lock: another process is writing here"), locks.exclusive(path, 0.2):
        pass
    child.kill()
    child.wait()
    with locks.exclusive(path, 5.0):
        pass
    (tmp_path / "folder.lock").mkdir()
    with pytest.raises(OSError, match=r"folder\.lock"), locks.exclusive(tmp_path / "folder.lock", 0.2):
        pass
