"""How much an annotation file may ask for before it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_monusac.core.errors import AnnotationError, HostileFileError


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of an annotation file.

    Attributes
    ----------
    max_bytes : int
        Size of the file (the largest MoNuSAC file has 4 MB).
    max_vertices, max_regions, max_layers : int
        Numbers of elements (a whole slide has about 200,000 nuclei).
    max_depth : int
        Nesting of elements.
    max_coordinate_px : float
        Magnitude of a coordinate.
    """

    max_bytes: int = 512 * 2**20
    max_vertices: int = 8_000_000
    max_regions: int = 1_000_000
    max_layers: int = 10_000
    max_depth: int = 64
    max_coordinate_px: float = 1e7


DEFAULT_BOUNDS = Bounds()
_MEND = "open it only if you trust it, with wider Bounds"


def read_bounded(path: Path, bounds: Bounds) -> bytes:
    """Read a file whole, unless it is too large.

    Raises
    ------
    AnnotationError
        The file is missing or cannot be read.
    HostileFileError
        It is larger than `bounds` allow.
    """
    try:
        with path.open("rb") as file:
            # one byte more than allowed, not the size that the file system claims: a pipe or /dev/zero has none
            content = file.read(bounds.max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AnnotationError(path, f"cannot be read: {reason}", "check the path and the permissions") from error
    if len(content) > bounds.max_bytes:
        raise too_many(path, "bytes", bounds.max_bytes)
    return content


def too_many(path: Path, what: str, limit: int) -> HostileFileError:
    """The error for a file with more than `limit` of `what`."""
    return HostileFileError(path, f"more than {limit} {what}", _MEND)
