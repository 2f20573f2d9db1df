"""Where a session keeps its files: journal, base copy, earlier versions; beside the annotation, or in a work folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from napari_monusac.core.errors import SessionError
from napari_monusac.core.files import atomic_write, atomic_write_bytes, folder_key, replace_file, whole_suffix
from napari_monusac.core.settings import environment, user_folder
from napari_monusac.editing.disk.provenance import sidecar_of

#: Hidden, so that no one takes what lies in it for data (`open_collection` leaves hidden folders out).
FOLDER_NAME = ".monusac"


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def content_of(path: Path) -> bytes:
    """Return what a file holds; nothing where there is none.

    Raises
    ------
    SessionError
        It cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SessionError(f"{path}: cannot be read ({error.strerror})", "check the file") from error


@dataclass(frozen=True, slots=True)
class Version:
    """What is on disk of one annotation, by SHA-256: both files together are what was saved.

    Attributes
    ----------
    annotation, sidecar : str
        Of the annotation file, and of its sidecar (notes, who drew what); of nothing where there is none.
    """

    annotation: str
    sidecar: str

    @classmethod
    def of(cls, annotation: Path) -> Version:
        """Look at the files.

        Raises
        ------
        SessionError
            One cannot be read.
        """
        return cls(sha256(content_of(annotation)), sha256(content_of(sidecar_of(annotation))))


class Workplace:
    """Files of the sessions on one annotation.

    Parameters
    ----------
    annotation : Path
        The annotation file; it need not exist yet.
    folder : Path, optional
        A work folder of the user's choice, for data that cannot be written to; by default ``.monusac`` beside the file.
    """

    def __init__(self, annotation: Path, folder: Path | None = None) -> None:
        self.annotation = annotation
        self.folder = annotation.parent / FOLDER_NAME if folder is None else folder / annotation.resolve().parent.name

    @property
    def history(self) -> Path:
        """Folder of earlier versions and of journals that are done with."""
        return self.folder / "history"

    def journals(self) -> list[Path]:
        """Return the journals that lie here, in use or not."""
        names = [self._journal(k) for k in range(1, 100)]
        return [p for p in names if p.exists()]

    def new_journal(self) -> Path:
        """Return a name that no journal has yet.

        Raises
        ------
        SessionError
            All names are taken.
        """
        for k in range(1, 100):
            path = self._journal(k)
            if not path.exists():
                return path
        raise SessionError(f"{self.folder}: 99 journals wait for {self.annotation.name}", "restore or remove some")

    def _journal(self, k: int) -> Path:
        return self.folder / f"{self.annotation.name}{'' if k == 1 else f'.{k}'}.journal"

    def base_of(self, journal: Path) -> Path:
        """Return where the annotation that a journal starts from is copied to."""
        return journal.with_name(f"{journal.name}.base{whole_suffix(self.annotation)}")

    def keep_base(self, journal: Path, content: bytes, sidecar: bytes) -> None:
        """Copy the annotation that a journal starts from, and its sidecar.

        Raises
        ------
        SessionError
            The folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write_bytes(self.base_of(journal), content)
            if sidecar:
                atomic_write_bytes(sidecar_of(self.base_of(journal)), sidecar)
        except OSError as error:
            raise SessionError(
                f"{self.folder}: edits cannot be kept on disk ({error.strerror})", "choose a work folder"
            ) from error

    def put_aside(self, journal: Path, *, with_base: bool) -> None:
        """Move a journal to the history; its base goes with it where that is needed to read it, else it is removed."""
        target = self._numbered(journal.name)
        try:
            self.history.mkdir(parents=True, exist_ok=True)
            replace_file(journal, target)
        except OSError:
            return  # it stays where it is: the next opening tries again
        base, kept = self.base_of(journal), self.base_of(target)
        for file, place in ((base, kept), (sidecar_of(base), sidecar_of(kept))):
            with suppress(OSError):
                if with_base:
                    replace_file(file, place)
                else:
                    file.unlink(missing_ok=True)

    def back_up(self, path: Path) -> Path | None:
        """Copy a file that is about to be replaced to the history; return the copy, or None where there is no file.

        The sidecar of an annotation gets a number of its own.

        Raises
        ------
        SessionError
            The folder cannot be written: better no saving than one without the version before it.
        """
        if not path.exists():
            return None
        try:
            self.history.mkdir(parents=True, exist_ok=True)
            target = self._numbered(path.name)
            with atomic_write(target) as temporary:
                shutil.copyfile(path, temporary)
        except OSError as error:
            raise SessionError(
                f"{self.history}: the earlier version of {path.name} cannot be kept ({error.strerror})",
                "free some space or choose a work folder",
            ) from error
        return target

    def earlier_versions(self) -> list[Path]:
        """Return the earlier versions of the annotation, oldest first."""
        found = []
        for path in self.history.glob(f"{_escaped(self.annotation.name)}.~*~"):
            number = path.name[len(self.annotation.name) + 2 : -1]
            if number.isdigit():
                found.append((int(number), path))
        return [path for _, path in sorted(found)]

    def _numbered(self, name: str) -> Path:
        number = 1
        while (self.history / f"{name}.~{number}~").exists():
            number += 1
        return self.history / f"{name}.~{number}~"

    def writable(self) -> bool:
        """Whether a journal can be written here."""
        folder = self.folder
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return os.access(folder, os.W_OK)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def work_folder(collection: str | Path | None = None) -> Path:
    """Return where corrections of data that cannot be written go (``MONUSAC_WORK``, else the user's data folder).

    Each collection has a folder of its own there, by its resolved path: two of one name do not meet.
    """
    base = environment().work or user_folder("work") / "corrected"
    return base / folder_key(collection) if collection else base


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder."""
    return os.access(folder, os.W_OK)
