"""Whole or not at all: with somebody else's hand on the file, and with the mode that it had."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest

from napari_monusac.core import files
from napari_monusac.core.files import atomic_write, atomic_write_bytes, atomic_write_text, replace_file

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")


@pytest.fixture
def held(monkeypatch):
    """Let `os.replace` fail a number of times: ``held(times, error)``; gives the pauses that were made."""
    pauses: list[float] = []
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    true = os.replace

    def hold(times: int, error: OSError | None = None) -> list[float]:
        left = [times]

        def replace(source, target):
            if left[0]:
                left[0] -= 1
                raise error or PermissionError(errno.EACCES, "The process cannot access the file")
            true(source, target)

        monkeypatch.setattr(os, "replace", replace)
        return pauses

    return hold


@pytest.mark.parametrize("times", [0, 1, 3, len(files.PAUSES_S)])
def test_a_file_that_is_held_for_a_moment_is_waited_for(tmp_path, held, times):
    target = tmp_path / "best.safetensors"
    target.write_bytes(b"old")
    pauses = held(times)
    atomic_write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert pauses == list(files.PAUSES_S[:times])
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_the_pauses_grow_and_last_some_seconds():
    assert list(files.PAUSES_S) == sorted(set(files.PAUSES_S))
    assert 3 <= sum(files.PAUSES_S) <= 10


def test_a_file_that_stays_held_is_as_it_was(tmp_path, held):
    target = tmp_path / "metrics.csv"
    target.write_text("old")
    pauses = held(1000)
    with pytest.raises(PermissionError):
        atomic_write_text(target, "new")
    assert pauses == list(files.PAUSES_S)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOENT, errno.EROFS, errno.EXDEV])
def test_other_faults_are_told_at_once(tmp_path, held, number):
    pauses = held(1, OSError(number, os.strerror(number)))
    with pytest.raises(OSError, match=os.strerror(number)):
        atomic_write_text(tmp_path / "a.txt", "new")
    assert pauses == []
    assert not list(tmp_path.iterdir())


def test_a_sharing_violation_of_windows_counts_as_held(tmp_path, held):
    error = OSError(errno.EINVAL, "sharing violation")
    error.winerror = 32
    pauses = held(2, error)
    atomic_write_text(tmp_path / "a.txt", "new")
    assert len(pauses) == 2
    assert (tmp_path / "a.txt").read_text() == "new"


def test_folders_are_waited_for_too(tmp_path, held):
    (tmp_path / "half").mkdir()
    held(2)
    replace_file(tmp_path / "half", tmp_path / "whole")
    assert (tmp_path / "whole").is_dir()


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_a_file_keeps_its_mode(tmp_path, mode):
    target = tmp_path / "crop.xml"
    target.write_text("old")
    target.chmod(mode)
    atomic_write_text(target, "new")
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == mode


@POSIX
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664), (0o077, 0o600)])
def test_a_new_file_follows_the_umask_whoever_writes_it(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "a.bin") as temporary:
            # as safetensors does: a private file of its own, put in the place of the one it was given
            private = tmp_path / "private"
            private.write_bytes(b"new")
            private.chmod(0o600)
            private.replace(temporary)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == mode


# ---------------------------------------------------------------- what killed processes leave

WRITES_AND_IS_KILLED = """
import os, sys
from pathlib import Path
from napari_monusac.core.files import atomic_write, draft_beside
folder = Path(sys.argv[1])
folder_draft = draft_beside(folder / "crop.zarr")
folder_draft.mkdir()
(folder_draft / "half").write_bytes(b"half")
with atomic_write(folder / "a.xml") as temporary:
    temporary.write_bytes(b"half")
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def writing(folder):
    """Another process in the middle of writing a file and a folder."""
    command = [sys.executable, "-c", WRITES_AND_IS_KILLED, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_a_killed_process_left_goes_at_the_next_start_and_what_a_live_one_writes_stays(tmp_path):
    (tmp_path / ".notes.txt").write_text("somebody's")
    (tmp_path / ".old.tmp-file.txt").write_text("somebody's")
    with writing(tmp_path):
        assert len(list(tmp_path.iterdir())) == 4
        files.clear_leftovers(tmp_path)
        assert len(list(tmp_path.iterdir())) == 4
    files._cleared.clear()  # as a new process
    atomic_write_bytes(tmp_path / "b.xml", b"whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".notes.txt", ".old.tmp-file.txt", "b.xml"]


def test_another_machines_draft_stays_for_a_week_of_the_disks_time(tmp_path, monkeypatch):
    with monkeypatch.context() as there:
        there.setattr(files, "_this_machine", lambda: "abcdef")
        new, forgotten = (files.draft_beside(tmp_path / f"{n}.xml", ".xml") for n in ("new", "forgotten"))
    for path, days in ((new, 6), (forgotten, 8)):
        path.write_bytes(b"half")
        then = path.stat().st_mtime - 86_400 * days
        os.utime(path, (then, then))
    monkeypatch.setattr(files.time, "time", lambda: 4e9)  # a clock that jumps fools nobody
    files._cleared.clear()
    files.clear_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [new]


def test_what_was_set_aside_for_what_never_came_gets_its_name_back(tmp_path, monkeypatch):
    for name in ("replaced.zarr", "alone.zarr"):
        old = files.draft_beside(tmp_path / name, kind="old")
        old.mkdir()
        (old / "zarr.json").write_text("old")
    (tmp_path / "replaced.zarr").mkdir()
    (tmp_path / "replaced.zarr" / "zarr.json").write_text("new")
    files._cleared.clear()
    files.clear_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3  # this process lives
    monkeypatch.setattr(files.psutil, "pid_exists", lambda pid: pid != os.getpid())
    files._cleared.clear()
    files.clear_leftovers(tmp_path)
    found = {p.name: (p / "zarr.json").read_text() for p in tmp_path.iterdir()}
    assert found == {"replaced.zarr": "new", "alone.zarr": "old"}


def test_a_name_that_fills_the_disks_limit_can_be_written(tmp_path):
    target = tmp_path / ("ä" * 120 + ".xml")
    atomic_write_bytes(target, b"whole")
    assert target.read_bytes() == b"whole"
