"""A fingerprint of the data that a run was trained on: it changes when an annotation or the set of crops changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress

from napari_monusac.core.errors import CollectionError
from napari_monusac.io.collection.collection import Collection


def data_fingerprint(collection: Collection, names: Iterable[str]) -> str:
    """SHA-256 (first 16 hex digits) over the crops' names, the bytes of their annotations, the sizes of their images.

    Images are not read: they are large and nobody edits them. A file that cannot be read counts as absent.
    """
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(name.encode())
        with suppress(OSError, CollectionError):
            crop = collection.crop(name)
            digest.update(str(crop.image.stat().st_size).encode())
            if crop.annotation is not None:
                digest.update(hashlib.sha256(crop.annotation.read_bytes()).digest())
    return digest.hexdigest()[:16]
