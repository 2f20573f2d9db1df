"""Append-only logs: a record a line, written whole or not at all; a last line that a crash tore is no record."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

T = TypeVar("T")


class TornLine(ValueError):
    """A line is not as it was written: cut off, or with another checksum."""


class DamagedLine(ValueError):
    """A line before the last one is damaged, or one is whole and no record.

    Attributes
    ----------
    number, count : int
        Which line it is, from 1, and how many there are.
    """

    def __init__(self, number: int, count: int, problem: ValueError) -> None:
        self.number, self.count = number, count
        super().__init__(_one_line(problem))


def _one_line(problem: ValueError) -> str:
    if not isinstance(problem, ValidationError):
        return str(problem)
    first = problem.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def read_records(path: str | Path, parse: Callable[[int, bytes], T]) -> tuple[list[T], int]:
    """Read the records of a log, whether it is in use or not.

    Parameters
    ----------
    path : str or Path
        The file.
    parse : callable
        Takes a line's place, from 0, and the line with its line end; gives the record. It raises `TornLine` where the
        line is not as it was written, any other ValueError where it is and is no record.

    Returns
    -------
    records, size
        Every whole record, and the bytes that they take: a last line that a crash tore lies behind.

    Raises
    ------
    DamagedLine
        A line before the last is torn, or one is no record.
    OSError
        The file cannot be read.
    """
    lines = Path(path).read_bytes().splitlines(keepends=True)
    records: list[T] = []
    size = 0
    for number, line in enumerate(lines):
        is_last = number == len(lines) - 1
        if is_last and not line.endswith(b"\n"):  # also where only the line end is missing: the next must not join it
            break
        try:
            records.append(parse(number, line))
        except ValueError as error:
            if is_last and isinstance(error, TornLine):
                break
            raise DamagedLine(number + 1, len(lines), error) from error
        size += len(line)
    return records, size


class AppendLog:
    """An open log.

    Parameters
    ----------
    file : FileIO
        Open for writing, unbuffered: what a full disk refuses must not wait in memory and come after the next record.
    durable : bool
        Each record is fsynced, so that not even a power cut takes it back.
    """

    def __init__(self, file: FileIO, *, durable: bool = True) -> None:
        self.file, self._durable = file, durable

    @classmethod
    def open(cls, path: Path, *, durable: bool = True) -> AppendLog:
        """Open a log to append to it; it is made where it is missing.

        Raises
        ------
        OSError
            It cannot be written.
        """
        return cls(path.open("ab", buffering=0), durable=durable)

    def append(self, line: bytes) -> None:
        """Write a line (with its line end).

        Raises
        ------
        OSError
            The disk is full or gone; the log is as it was.
        """
        where = self.file.seek(0, os.SEEK_END)
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self.file.write(rest) :]
            if self._durable:
                os.fsync(self.file.fileno())
        except OSError:
            with suppress(OSError):
                self.file.truncate(where)
                self.file.seek(where)
            raise

    def cut(self, size: int) -> bool:
        """Drop what lies behind the first `size` bytes; whether that ended as a line does.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        dropped = self.file.seek(0, os.SEEK_END) > size and self._ends_a_line()
        self.file.truncate(size)
        self.file.seek(size)
        return dropped

    def end_line(self) -> None:
        """Give a last line that a crash tore its line end, so that the next record does not join it.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        if self.file.seek(0, os.SEEK_END) and not self._ends_a_line():
            self.append(b"\n")

    def _ends_a_line(self) -> bool:
        with Path(self.file.name).open("rb") as stream:  # this one may be open for appending only
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) == b"\n"

    def close(self) -> None:
        """Let go of the file; it stays."""
        self.file.close()
