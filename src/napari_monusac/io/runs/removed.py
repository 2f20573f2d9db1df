"""Runs that were removed from the list: kept aside in the same folder, until they are brought back or deleted by hand."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from napari_monusac.core.errors import RunError
from napari_monusac.io.runs.run_folder import REMOVED, RunFolder


@dataclass(frozen=True, slots=True)
class RemovedRun:
    """A run that was removed.

    Attributes
    ----------
    name : str
        For people.
    path : Path
        Where it was.
    kept : Path
        Where it is now.
    """

    name: str
    path: Path
    kept: Path


def remove_run(run: RunFolder) -> RemovedRun:
    """Move a run out of the list, into the folder ``.removed`` beside it.

    Raises
    ------
    RunError
        It is being trained, or the disk refuses.
    """
    if run.status in ("starting", "running", "paused"):
        raise RunError(run.path, "is being trained", "stop it first")
    kept = run.path.parent / REMOVED / run.path.name
    number = 1
    while kept.exists():
        number += 1
        kept = kept.with_name(f"{run.path.name}-{number}")
    _move(run.path, kept)
    return RemovedRun(run.title, run.path, kept)


def restore_run(removed: RemovedRun) -> RunFolder:
    """Bring a removed run back to where it was.

    Raises
    ------
    RunError
        Another run has taken its place, it is gone, or the disk refuses.
    """
    if removed.path.exists():
        raise RunError(removed.path, "is there again", f"rename one of the two; the removed one is {removed.kept}")
    _move(removed.kept, removed.path)
    return RunFolder.open(removed.path)


def _move(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(exist_ok=True)
        shutil.move(source, target)
    except OSError as error:
        problem = f"cannot be moved ({error.strerror or error})"
        raise RunError(source, problem, "close programs that use its files") from error
