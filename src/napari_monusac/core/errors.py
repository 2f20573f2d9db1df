"""The errors of this project.

Every message names the file (or the field), the offending value and the mend, on one line::

    MonusacError                     the root: ``except MonusacError`` catches all that is ours
    ├── FileProblem                  something is wrong with one file or folder
    │   ├── AnnotationError          an XML, GeoJSON or COCO file cannot be read or written
    │   │   └── HostileFileError     entities, too many vertices, too large: refused
    │   ├── SlideError               an image cannot be opened or its pixels cannot be read
    │   ├── CollectionError          a folder holds nothing that can be used, or contradicts itself
    │   ├── StoreError               a stored prediction is missing, foreign or damaged
    │   └── CheckpointError          a checkpoint is missing, foreign, damaged or of another shape
    ├── ShapeError                   two arrays that belong together do not fit
    ├── RecipeError                  a recipe is unknown or one of its values is wrong
    ├── RunError                     a run folder cannot be used
    │   └── RunLockedError           another live process writes into it
    ├── TrainingError                training cannot go on (NaN loss, no data, no memory)
    ├── WeightsError                 encoder weights cannot be had (offline, wrong file)
    ├── SessionError                 an edit cannot be made or a journal cannot be restored
    └── Cancelled                    the user asked to stop; not a failure
"""

from __future__ import annotations

from pathlib import Path


class MonusacError(Exception):
    """Root of all errors that this project raises on purpose.

    Parameters
    ----------
    problem : str
        What is wrong, with the value that is wrong.
    mend : str, optional
        What the user can do about it.
    """

    def __init__(self, problem: str, mend: str = "") -> None:
        self.problem = problem
        self.mend = mend
        super().__init__(f"{problem} — {mend}" if mend else problem)


class FileProblem(MonusacError):
    """Something is wrong with one file; the message starts with its path."""

    def __init__(self, path: str | Path, problem: str, mend: str = "") -> None:
        self.path = Path(path)
        super().__init__(f"{path}: {problem}", mend)


class AnnotationError(FileProblem):
    """An annotation file cannot be read or written."""


class HostileFileError(AnnotationError):
    """A file is refused: entities, external references, or beyond the bounds of size."""


class SlideError(FileProblem):
    """An image cannot be opened, or its pixels cannot be read."""


class CollectionError(FileProblem):
    """A folder holds nothing that can be used, or contradicts itself."""


class StoreError(FileProblem):
    """A stored prediction is missing, foreign or damaged."""


class CheckpointError(FileProblem):
    """A checkpoint is missing, foreign, damaged or does not fit the network."""


class ShapeError(MonusacError):
    """Two arrays that belong together do not fit."""


class RecipeError(MonusacError):
    """A recipe is unknown, or one of its values is wrong."""


class RunError(FileProblem):
    """A run folder cannot be used."""


class RunLockedError(RunError):
    """Another live process writes into this run folder."""


class TrainingError(MonusacError):
    """Training cannot go on."""


class WeightsError(MonusacError):
    """Encoder weights cannot be had."""


class SessionError(MonusacError):
    """An edit cannot be made, or a journal cannot be restored."""


class Cancelled(MonusacError):
    """The user asked to stop; not a failure."""
