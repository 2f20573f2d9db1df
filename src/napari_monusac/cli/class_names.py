"""``--classes FILE`` of all commands that read annotations.

A command takes no names that it was not given, so that it does the same for everybody. Where a file has a name that was
given a meaning in the window, it says so.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_monusac.cli.shell import tell
from napari_monusac.core.errors import FileProblem

_OPTION = Annotated[
    Path | None,
    typer.Option("--classes", help="What class names in the files mean: a CSV (name,class) or TOML file."),
]


@contextmanager
def _kept_names_are_told() -> Iterator[None]:
    from napari_monusac.io.annotations.class_names import tell_of_kept_names

    try:
        tell_of_kept_names(tell)
    except FileProblem as error:
        tell(f"note: the names of classes given in the window are not looked at: {error}")
    try:
        yield
    finally:
        tell_of_kept_names(None)


def with_class_names(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option ``--classes`` to a command; the names are in force before the command begins."""

    @functools.wraps(command)
    def run(*args: Any, classes: Path | None = None, **options: Any) -> Any:
        if classes is not None:
            from napari_monusac.io.annotations.class_names import take_class_names

            tell(f"{len(take_class_names(classes))} class names are taken from {classes}")
        with _kept_names_are_told():
            return command(*args, **options)

    # typer reads the hints: resolved here, where the module of the command is known
    hints = typing.get_type_hints(command, include_extras=True) | {"classes": _OPTION}
    own = [p.replace(annotation=hints[p.name]) for p in inspect.signature(command).parameters.values()]
    option = inspect.Parameter("classes", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_OPTION)
    run.__signature__ = inspect.Signature([*own, option])  # type: ignore[attr-defined]
    run.__annotations__ = hints
    return run
