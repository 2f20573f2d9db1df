"""Whole or not at all: with somebody else's hand on the file, and with the mode that it had."""

from __future__ import annotations

import errno
import os
import stat
import sys

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
