"""Which crops of a folder somebody has corrected: a list beside them, which training heeds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_monusac.core.errors import CollectionError
from napari_monusac.core.files import atomic_write_text
from napari_monusac.io.collection.collection import Collection

#: One image a line, by its path in the folder.
CORRECTED_FILE = "corrected.txt"


def write_corrected_list(folder: Path, images: Iterable[str]) -> Path:
    """Write which crops were corrected, by the paths of their images in the folder."""
    path = folder / CORRECTED_FILE
    atomic_write_text(path, "".join(f"{image}\n" for image in sorted(images)))
    return path


def corrected_crops(collection: Collection) -> tuple[str, ...]:
    """Names of the crops of a collection that its list has; none where there is no list.

    Raises
    ------
    CollectionError
        The list cannot be read.
    """
    path = Path(collection.root) / CORRECTED_FILE
    try:
        listed = set(path.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({error})"
        raise CollectionError(path, problem, "delete it: all crops are then trained on alike") from error
    root = Path(collection.root)
    return tuple(
        c.name
        for c in collection.crops
        if any(_place(i, root) in listed for i in (c.image, *c.others) if i is not None)
    )


def _place(image: Path, root: Path) -> str:
    return image.relative_to(root).as_posix() if image.is_relative_to(root) else image.name
