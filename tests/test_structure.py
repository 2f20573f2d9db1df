"""No two files import each other in a circle, not even inside functions or for types alone; no two things share a name."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import napari_monusac

ROOT = Path(napari_monusac.__file__).parent


def imports_of(path: Path, modules: dict[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                found.add(inside if inside in modules else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules.keys()


def test_no_circle_of_imports():
    modules = {}
    for path in ROOT.rglob("*.py"):
        name = ".".join((ROOT.name, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        modules[name] = path
    assert len(modules) > 250
    graph = {name: imports_of(path, modules) - {name} for name, path in modules.items()}
    assert sum(map(len, graph.values())) > 1000
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_a_circle_would_be_found(tmp_path):
    (tmp_path / "a.py").write_text("def f():\n    from b import x\n")
    (tmp_path / "b.py").write_text("import a\n")
    modules = {name: tmp_path / f"{name}.py" for name in "ab"}
    graph = {name: imports_of(path, modules) for name, path in modules.items()}
    assert graph == {"a": {"b"}, "b": {"a"}}


#: Names that may stand in several files: type variables, and the applications of typer.
_EVERYWHERE = {"T", "app", "__all__"}


def names_of(source: str) -> set[str]:
    """Public classes, type aliases and constants at the top of a file."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if not name.startswith("_")} - _EVERYWHERE


def test_classes_and_constants_have_a_name_of_their_own():
    """Who reads `Box`, `Report` or `WHOLE_PX` knows which."""
    where: dict[str, list[str]] = {}
    for path in ROOT.rglob("*.py"):
        for name in names_of(path.read_text("utf-8")):
            where.setdefault(name, []).append(path.relative_to(ROOT).as_posix())
    assert len(where) > 400
    assert {name: sorted(files) for name, files in where.items() if len(files) > 1} == {}


def test_names_are_found():
    source = "T = 1\nBox = tuple\nMOST: int = 3\n_own = 1\nclass A:\n    B = 2\ndef f(): pass\n"
    assert names_of(source) == {"Box", "MOST", "A"}
