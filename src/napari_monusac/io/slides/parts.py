"""Which files of a folder are parts of a slide that another file stands for: DICOM series, Hamamatsu's VMS."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from napari_monusac.io.slides.dicom import slides_of

_DICOM = ".dcm"
_VMS = frozenset((".vms", ".vmu"))
_MOST_BYTES = 2**20


def without_parts(files: Sequence[Path]) -> list[Path]:
    """Leave out the files of a folder that are no slide by themselves: other levels, label, macro and map of one."""
    dicom = [f for f in files if f.suffix.lower() == _DICOM]
    kept = set(slides_of(dicom)) if dicom else set()
    parts = {name for f in files if f.suffix.lower() in _VMS for name in _named_in(f)}
    return [f for f in files if (f in kept if f.suffix.lower() == _DICOM else f.name not in parts)]


def _named_in(path: Path) -> set[str]:
    """Names of the files that a .vms or .vmu puts together: pictures of the slide, and of its label."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return set()
    return set(
        re.findall(r"^\s*(?:\w*Image|ImageFile|MapFile|OptimisationFile)[^=\r\n]*=\s*(\S.*?)\s*$", text, re.MULTILINE)
    )
