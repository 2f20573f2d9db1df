"""Where the class mapping of predictions is kept: beside them, in ``class_mapping.csv``."""

from __future__ import annotations

from pathlib import Path

from napari_monusac.core.class_mapping import BY_NAME, PRESETS, ClassMapping
from napari_monusac.core.classes import Meaning, plain_name
from napari_monusac.core.errors import FileProblem
from napari_monusac.io.annotations.class_names import read_class_names, write_class_names

#: In the folder of the predictions, or in that which holds it: lines of name,class; a name may be a number of the file.
MAPPING_FILE = "class_mapping.csv"


def class_mapping_of(said: str) -> ClassMapping:
    """Return the class mapping that a word or a file gives.

    Parameters
    ----------
    said : str
        A preset (``PRESETS``), or a CSV or TOML file of names, or numbers, and classes.

    Raises
    ------
    FileProblem
        It is neither.
    """
    preset = PRESETS.get(said.strip().casefold())
    if preset is not None:
        return preset
    path = Path(said)
    if not path.is_file():
        raise FileProblem(path, "is no class mapping", f"use {', '.join(PRESETS)}, or a file with lines of name,class")
    return _read(path)


def mapping_beside(path: str | Path) -> ClassMapping:
    """Return the class mapping that lies beside a prediction or in the folder above; `BY_NAME` where there is none.

    Raises
    ------
    FileProblem
        The file is damaged.
    """
    path = Path(path)
    for folder in (path, path.parent, path.parent.parent):
        file = folder / MAPPING_FILE
        if file.is_file():
            return _read(file)
    return BY_NAME


def keep_class_mapping(mapping: ClassMapping, folder: str | Path) -> Path:
    """Write a class mapping beside predictions, whole or not at all; `BY_NAME` takes the file away.

    Parameters
    ----------
    mapping : ClassMapping
        Its names, and its numbers, go into the file.
    folder : str or Path
        Of the predictions.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileProblem
        The disk refuses.
    """
    file = Path(folder) / MAPPING_FILE
    if mapping is BY_NAME:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise FileProblem(file, f"cannot be removed ({error.strerror})", "check the folder") from error
        return file
    write_class_names(_with_numbers(mapping), file)
    return file


def _read(path: Path) -> ClassMapping:
    meanings = {plain_name(name): meaning for name, meaning in read_class_names(path).items()}
    same = next((m for m in PRESETS.values() if meanings == _with_numbers(m)), None)
    return same if same is not None else ClassMapping(path.name, meanings)


def _with_numbers(mapping: ClassMapping) -> dict[str, Meaning]:
    names = {str(k): plain_name(name) for k, name in mapping.numbers.items()}
    return {**mapping.meanings, **{k: mapping.meanings[name] for k, name in names.items() if name in mapping.meanings}}
