"""Who drew which nucleus, and when: a sidecar, ``<name>.provenance.json`` beside the annotation.

Why no attributes in the XML: ImageScope drops what it does not know when it saves, MoNuSAC's own scripts read the XML,
and regions that nobody touched must keep to the letter. Entries find their region by its outline, so they survive when
another program puts regions in another order; a region that was redrawn elsewhere has no entry, which is the truth.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_monusac.core.errors import SessionError
from napari_monusac.core.files import atomic_write_bytes
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.nuclei.rows import NucleusRow, Provenance


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SavingNote(_Part):
    """One saving of the annotation."""

    author: str = ""
    time: str = ""
    sha256: str = ""


class NucleusNote(_Part):
    """What is known about one nucleus of the file besides its outline and class."""

    outline: str
    class_id: int
    provenance: Provenance
    class_provenance: Provenance
    confidence: float | None = None
    note: str = ""
    author: str = ""
    time: str = ""


class ProvenanceFile(_Part):
    """The sidecar: every saving, oldest first, and the nuclei that did not come with the first file as they are."""

    format: int = 1
    annotation: str
    savings: tuple[SavingNote, ...] = ()
    nuclei: tuple[NucleusNote, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the file."""
        return (self.model_dump_json(indent=1) + "\n").encode("utf-8")


def sidecar_of(annotation: Path) -> Path:
    """Return where the sidecar of an annotation lies."""
    return annotation.with_name(f"{annotation.stem}.provenance.json")


def outline_key(vertices: NDArray[np.float64]) -> str:
    """Return a short name of an outline: SHA-1 (16 digits) of its coordinates in thousandths of a px."""
    whole = np.rint(np.asarray(vertices, np.float64) * 1000).astype("<i8")
    return hashlib.sha1(whole.tobytes(), usedforsecurity=False).hexdigest()[:16]


def read_provenance(annotation: Path) -> ProvenanceFile | None:
    """Read the sidecar of an annotation, or None where there is none.

    Raises
    ------
    SessionError
        It is damaged.
    """
    path = sidecar_of(annotation)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SessionError(
            f"{path}: who drew what cannot be read ({error.strerror})", "mend or move this file away"
        ) from error
    return parse_provenance(content, path, missing=False)


def parse_provenance(content: bytes, path: Path, *, missing: bool = True) -> ProvenanceFile | None:
    """Read the bytes of a sidecar; None where there are none and it may be `missing`. `path` is for messages.

    Raises
    ------
    SessionError
        It is damaged.
    """
    if missing and not content:
        return None
    try:
        return ProvenanceFile.model_validate_json(content)
    except ValidationError as error:
        raise SessionError(
            f"{path}: who drew what cannot be read ({str(error).splitlines()[0]})", "mend or move this file away"
        ) from error


def make_provenance(
    annotation: Path,
    savings: Iterable[SavingNote],
    pairs: Iterable[tuple[Nucleus, NucleusRow]],
    kept: Iterable[NucleusNote] = (),
) -> ProvenanceFile:
    """Make the sidecar of an annotation. `kept` are entries of other nuclei."""
    entries = tuple(
        NucleusNote(
            outline=outline_key(region.vertices),
            **row.model_dump(
                include={"class_id", "provenance", "class_provenance", "confidence", "note", "author", "time"}
            ),
        )
        for region, row in pairs
        if row.author or row.note or row.provenance != "file" or row.class_provenance != "file"
    )
    return ProvenanceFile(annotation=annotation.name, savings=tuple(savings), nuclei=(*kept, *entries))


def write_provenance(
    annotation: Path, savings: Iterable[SavingNote], pairs: Iterable[tuple[Nucleus, NucleusRow]]
) -> Path:
    """Write the sidecar of an annotation, whole or not at all; return its path.

    Raises
    ------
    OSError
        The disk refuses.
    """
    path = sidecar_of(annotation)
    atomic_write_bytes(path, make_provenance(annotation, savings, pairs).to_bytes())
    return path


def with_provenance(
    rows: Mapping[int, NucleusRow], annotation: Annotation, known: ProvenanceFile
) -> dict[int, NucleusRow]:
    """Return rows of an annotation with what the sidecar knows about them."""
    entries: dict[str, list[NucleusNote]] = defaultdict(list)
    for entry in known.nuclei:
        entries[entry.outline].append(entry)
    out = dict(rows)
    for k, row in rows.items():
        if row.source is None:
            continue
        waiting = entries.get(outline_key(annotation.regions[row.source].vertices))
        if waiting:
            entry = waiting.pop(0)
            facts = entry.model_dump(exclude={"outline", "class_id"})
            if entry.class_id != row.class_id:
                facts["class_provenance"] = "file"  # somebody chose another class elsewhere
            if facts["confidence"] is None:
                facts["confidence"] = row.confidence
            out[k] = row.model_copy(update=facts)
    return out
