"""The package as others see it: what it needs is declared, what it gives has types in an editor, the shell completes."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import napari_monusac
from napari_monusac.core import errors

ROOT = Path(napari_monusac.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]


def _plain(requirement: str) -> str:
    name = requirement
    for mark in "[<>=!~; ":
        name = name.partition(mark)[0]
    return name.lower().replace("_", "-")


def test_every_library_that_is_imported_is_declared():
    """Nothing is used that comes only because something else needs it."""
    extras = [r for group in PROJECT["optional-dependencies"].values() for r in group]
    declared = {_plain(r) for r in [*PROJECT["dependencies"], *extras]}
    distributions = packages_distributions()
    imported = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.partition(".")[0])
    imported -= {*sys.stdlib_module_names, "napari_monusac"}
    assert {"torch", "numpy", "psygnal"} <= imported
    # one module may come from several distributions (cv2): one of them is enough
    missing = {m for m in imported if not {_plain(d) for d in distributions.get(m, [m])} & declared}
    assert not missing


def test_every_requirement_has_a_floor():
    assert [r for r in PROJECT["dependencies"] if ">=" not in r] == []


def test_editors_see_the_public_names():
    """The imports under TYPE_CHECKING are those that are made on first use."""
    tree = ast.parse((ROOT / "__init__.py").read_text("utf-8"))
    seen = {
        alias.asname: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {name: f"napari_monusac.{module}" for name, module in napari_monusac._PUBLIC.items()}
    assert set(napari_monusac.__all__) == {*seen, "__version__"}


@pytest.mark.torch
def test_every_public_name_is_there():
    for name, module in napari_monusac._PUBLIC.items():
        assert getattr(napari_monusac, name) is getattr(importlib.import_module(f"napari_monusac.{module}"), name)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = napari_monusac.no_such_name


def test_the_whole_error_tree_is_public_and_in_its_picture():
    tree = {n for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, errors.MonusacError)}
    assert tree <= set(napari_monusac.__all__)
    picture = {line.strip("│├└─ ").partition(" ")[0] for line in errors.__doc__.splitlines() if "  " in line}
    assert tree <= picture


@pytest.mark.parametrize(
    ("typed", "given"), [("napari-monusac ev", "evaluate"), ("napari-monusac train --recipe run-7", "run-7")]
)
def test_the_shell_completes_commands_and_recipes(typed, given):
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    answer = subprocess.run(
        [sys.executable, "-m", "napari_monusac"],
        env={**os.environ, "_NAPARI_MONUSAC_COMPLETE": "complete_bash", **words},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout.split() == [given], answer.stderr
