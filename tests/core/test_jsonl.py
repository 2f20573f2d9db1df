"""Append-only logs: torn at every byte, damaged, refused by the disk; the journal, judgements and events stand on them."""

from __future__ import annotations

import os

import pytest
from pydantic import TypeAdapter

from napari_monusac.core.jsonl import AppendLog, DamagedLine, TornLine, read_records

NUMBERS = TypeAdapter(dict[str, int])
LINES = [b'{"a": 1}\n', b'{"b": 22}\n', b'{"c": 333}\n']


def parse(_, line):
    return NUMBERS.validate_json(line)


@pytest.fixture
def path(tmp_path):
    log = AppendLog.open(tmp_path / "log.jsonl")
    for line in LINES:
        log.append(line)
    log.close()
    return tmp_path / "log.jsonl"


def test_records_are_lines_in_order(path):
    assert path.read_bytes() == b"".join(LINES)
    assert read_records(path, parse) == ([{"a": 1}, {"b": 22}, {"c": 333}], path.stat().st_size)
    places = []
    read_records(path, lambda number, line: places.append((number, line)))
    assert places == list(enumerate(LINES))


def test_torn_at_every_byte_of_the_last_line(path):
    whole, kept = path.read_bytes(), len(LINES[0]) + len(LINES[1])
    for size in range(kept, len(whole)):
        path.write_bytes(whole[:size])
        assert read_records(path, parse) == ([{"a": 1}, {"b": 22}], kept)
        log = AppendLog.open(path)
        assert not log.cut(kept)
        log.append(LINES[2])
        log.close()
        assert path.read_bytes() == whole


def test_a_whole_last_line_is_only_dropped_where_it_is_known_to_be_torn(path):
    def checked(number, line):
        if number == 2:
            raise TornLine("the checksum is wrong")
        return parse(number, line)

    records, size = read_records(path, checked)
    assert (len(records), size) == (2, len(LINES[0]) + len(LINES[1]))
    log = AppendLog.open(path)
    assert log.cut(size)
    log.close()
    assert path.stat().st_size == size


@pytest.mark.parametrize("number", [1, 2, 3])
def test_damage_is_told_with_its_line(path, number):
    lines = list(LINES)
    lines[number - 1] = b'{"a": "x"}\n'
    path.write_bytes(b"".join(lines))
    with pytest.raises(DamagedLine, match=r"^a: Input should be a valid integer[^\n]*$") as told:
        read_records(path, parse)
    assert (told.value.number, told.value.count) == (number, 3)
    with pytest.raises(FileNotFoundError):
        read_records(path.with_name("none"), parse)


def test_a_torn_line_may_get_its_line_end(path):
    path.write_bytes(b'{"a": 1}\n{"b": ')
    log = AppendLog.open(path, durable=False)
    for _ in range(2):
        log.end_line()
    log.append(LINES[2])
    log.close()
    assert path.read_bytes() == b'{"a": 1}\n{"b": \n{"c": 333}\n'


def test_a_disk_that_refuses_half_a_line_keeps_none_of_it(path, monkeypatch):
    before = path.read_bytes()
    log = AppendLog.open(path)

    class Full:
        """Takes three bytes of a line, then the disk is full."""

        def __init__(self, file):
            self._file, self._room = file, 3

        def __getattr__(self, name):
            return getattr(self._file, name)

        def write(self, data):
            if not self._room:
                raise OSError(28, "No space left on device")
            written, self._room = self._file.write(data[: self._room]), 0
            return written

    file = log.file
    log.file = Full(file)
    with pytest.raises(OSError, match="No space"):
        log.append(b'{"d": 4}\n')
    log.file = file
    assert path.read_bytes() == before

    def gone(_):
        raise OSError(5, "gone")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", gone)
        with pytest.raises(OSError, match="gone"):
            log.append(b'{"d": 4}\n')
    assert path.read_bytes() == before
    log.append(b'{"d": 4}\n')
    log.close()
    assert path.read_bytes() == before + b'{"d": 4}\n'
