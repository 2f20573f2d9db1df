"""The user's own class names: what each name in an annotation file means (CSV or TOML)."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_monusac.core.classes import (
    AMBIGUOUS,
    CLASSES,
    IGNORED,
    Meaning,
    NucleusClass,
    class_names_given,
    meaning_of,
    plain_name,
    use_class_names,
)
from napari_monusac.core.errors import FileProblem
from napari_monusac.core.files import atomic_write_text
from napari_monusac.core.settings import environment, pass_class_names_on, user_folder

#: What a name can mean, as the files spell it.
MEANINGS: Mapping[str, Meaning] = {
    **{c.label: c for c in CLASSES},
    "Unclassified": NucleusClass.UNCLASSIFIED,
    AMBIGUOUS: "Ambiguous",
    IGNORED: "Ignored",
}
_WORDS: Mapping[Meaning, str] = {meaning: word for word, meaning in MEANINGS.items()}
_MEND = f"write lines of name,class; classes are {', '.join(MEANINGS)}"
_MAX_BYTES = 1 << 20
_taken = ""
#: The names that hold in the window alone, and whom to tell when a file has one of them.
_elsewhere: tuple[Mapping[str, Meaning], Callable[[str], object]] | None = None


def read_class_names(path: str | Path) -> dict[str, Meaning]:
    """Read what names mean.

    Parameters
    ----------
    path : str or Path
        ``.toml`` with ``name = "class"`` (at the top or in a table ``classes``), else CSV with a line ``name,class`` a
        name. Classes are Epithelial, Lymphocyte, Neutrophil, Macrophage, Unclassified, Ambiguous, Ignored.

    Raises
    ------
    FileProblem
        It cannot be read, a line is no pair, a class is unknown, or a name stands there twice.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise FileProblem(path, f"is larger than {_MAX_BYTES} bytes", "give a file of class names")
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileProblem(path, f"cannot be read ({getattr(error, 'strerror', None) or error})", _MEND) from error
    pairs = _of_toml(path, text) if path.suffix.lower() == ".toml" else _of_csv(path, text)
    found: dict[str, Meaning] = {}
    for name, said in pairs:
        meaning = _meaning(said)
        if meaning is None:
            raise FileProblem(path, f"{name!r} is said to be {said!r}, which is no class", _MEND)
        if found.get(name, meaning) != meaning:
            raise FileProblem(path, f"{name!r} stands there twice, with two classes", "keep one line")
        found[name] = meaning
    return found


def write_class_names(names: Mapping[str, Meaning], path: str | Path) -> None:
    """Write class names as CSV, whole or not at all.

    Raises
    ------
    FileProblem
        The disk refuses.
    """
    path = Path(path)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "class"))
    writer.writerows((name, _WORDS[meaning]) for name, meaning in sorted(names.items()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, text.getvalue())
    except OSError as error:
        raise FileProblem(path, f"cannot be written ({error.strerror})", "check the folder") from error


def take_class_names(path: str | Path) -> dict[str, Meaning]:
    """Take a file's class names for this process and for those that it starts.

    Raises
    ------
    FileProblem
        As `read_class_names`.
    """
    # one table of names in a process, as its environment is one
    global _taken
    names = read_class_names(path)
    use_class_names(names)
    _taken = str(Path(path).absolute())
    pass_class_names_on(_taken)
    return names


def kept_names_file() -> Path:
    """Return where the names that were given in the window are kept: in ``MONUSAC_WORK``, else the user's data."""
    return user_folder("work") / "class_names.csv"


def take_kept_names() -> None:
    """Take the names that were given in the window before, unless the environment names another file.

    Raises
    ------
    FileProblem
        As `read_class_names`.
    """
    if not environment().classes and kept_names_file().is_file():
        take_class_names(kept_names_file())


def tell_of_kept_names(tell: Callable[[str], object] | None) -> None:
    """Have it said, once, when a file has a name that the window takes otherwise than this process (None: no more).

    Parameters
    ----------
    tell : callable
        Called with one line for people.

    Raises
    ------
    FileProblem
        The window's own file of names cannot be read.
    """
    global _elsewhere
    file = kept_names_file()
    _elsewhere = None
    if tell is not None and not environment().classes and file.is_file():
        _elsewhere = {plain_name(name): meaning for name, meaning in read_class_names(file).items()}, tell


def names_met(labels: Iterable[str]) -> None:
    """Note the class names of a file that was read: see `tell_of_kept_names`."""
    global _elsewhere
    if _elsewhere is None:
        return
    names, tell = _elsewhere
    label = next((m for m in dict.fromkeys(labels) if names.get(plain_name(m), meaning_of(m)) != meaning_of(m)), None)
    if label is not None:
        _elsewhere = None
        tell(
            f"note: {label!r} means {_WORDS[names[plain_name(label)]]} in the window, but not here: to take the names given "
            f"there, add --classes {kept_names_file()}"
        )


def keep_class_names(changes: Mapping[str, Meaning | None]) -> Path:
    """Keep what names mean beside the names that hold already, and take them for this process.

    Parameters
    ----------
    changes : mapping of str to meaning
        None takes a name's meaning back.

    Returns
    -------
    Path
        Where they are: the CSV file that the environment names, else `kept_names_file`.

    Raises
    ------
    FileProblem
        A file cannot be read or written.
    """
    take_inherited_names()
    in_force = environment().classes
    names = read_class_names(in_force) if in_force else {}
    changed = {plain_name(name) for name in changes}
    names = {name: meaning for name, meaning in names.items() if plain_name(name) not in changed}
    names |= {name: meaning for name, meaning in changes.items() if meaning is not None}
    file = Path(in_force) if in_force.lower().endswith(".csv") else kept_names_file()
    write_class_names(names, file)
    take_class_names(file)
    return file


def take_inherited_names() -> None:
    """Take the class names of the file that the environment names, once: a child process, a worker, a notebook.

    Raises
    ------
    FileProblem
        As `read_class_names`.
    """
    given = environment().classes
    if given not in ("", _taken):
        take_class_names(given)


def names_in_words() -> dict[str, str]:
    """Return the user's own names that hold in this process and the classes that they mean, both as text, sorted."""
    take_inherited_names()
    return {name: _WORDS[meaning] for name, meaning in sorted(class_names_given().items())}


def _meaning(said: Any) -> Meaning | None:
    word = str(said).strip().casefold()
    named = next((m for w, m in MEANINGS.items() if word in (w.casefold(), w.casefold().removesuffix("d"))), None)
    return named or (meaning_of(word) if word else None)


def _of_toml(path: Path, text: str) -> list[tuple[str, Any]]:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileProblem(path, f"is no TOML ({error})", 'write lines of "name" = "class"') from error
    inner = content.get("classes", content)
    if not isinstance(inner, dict):
        raise FileProblem(path, "classes is no table", 'write [classes] and lines of "name" = "class"')
    return list(inner.items())


def _of_csv(path: Path, text: str) -> list[tuple[str, Any]]:
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = ";" if ";" in first and "," not in first else ","
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(cell.strip() for cell in row)]
    if rows and [cell.strip().casefold() for cell in rows[0][:2]] == ["name", "class"]:
        rows = rows[1:]
    wrong = next((row for row in rows if len(row) != 2), None)
    if wrong is not None:
        raise FileProblem(path, f"the line {delimiter.join(wrong)[:80]!r} is no name and class", _MEND)
    return [(row[0].strip(), row[1]) for row in rows]
