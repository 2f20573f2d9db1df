"""napari's private parts: those that we use are there and do what we need, and nothing else in the package touches any."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import napari
import numpy as np
import pytest
from napari.components import Camera, Dims, LayerList, ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes, Vectors
from napari.qt import QtViewer, Window
from napari.utils.colormaps import Colormap, CyclicLabelColormap, DirectLabelColormap

import napari_monusac
from napari_monusac.ui.canvas import napari_private
from napari_monusac.ui.canvas.napari_private import HOOKS

SOURCE = Path(napari_monusac.__file__).parent / "ui"  # the only room with napari: a contract holds that
CLASSES = (
    Layer, Image, Labels, Points, Shapes, Vectors, LayerList, ViewerModel, napari.Viewer, Camera, Dims, Window, QtViewer,
    Colormap, DirectLabelColormap, CyclicLabelColormap,
)  # fmt: skip


def private_names() -> set[str]:
    """All private names of napari's classes, and those that its methods set on themselves."""
    found = {name for holder in CLASSES for name in dir(holder)}
    for module in {sys.modules[base.__module__] for holder in CLASSES for base in holder.__mro__}:
        if module.__name__.startswith("napari"):
            tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
            found |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self"}
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


def touches(source: str, private: set[str]) -> list[str]:
    """What in a file reaches into napari: imports, attributes of something else, names in strings, overriding methods."""
    found, tree = [], ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari."):
            found += [
                f"{node.lineno}: {node.module}.{a.name}"
                for a in node.names
                if any(part.startswith("_") for part in f"{node.module}.{a.name}".split("."))
            ]
        elif isinstance(node, ast.Import):
            found += [f"{node.lineno}: {a.name}" for a in node.names if a.name.startswith("napari.") and "._" in a.name]
        elif isinstance(node, ast.Attribute) and node.attr in private:
            of = node.value
            own = isinstance(of, ast.Name) and of.id in ("self", "cls")
            if not own:
                found.append(f"{node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in private or node.value.startswith("napari._") or "napari.components._" in node.value:
                found.append(f"{node.lineno}: {node.value!r}")
        elif isinstance(node, ast.ClassDef) and any(b in _NAPARI_BASES for b in map(ast.unparse, node.bases)):
            found += [
                f"{f.lineno}: {node.name}.{f.name}"
                for f in node.body
                if isinstance(f, ast.FunctionDef) and f.name in private
            ]
    return found


_NAPARI_BASES = {c.__name__ for c in CLASSES} | {"TableColormap", "ClassColormap"}


def test_the_napari_that_is_installed_has_all_that_we_use():
    gone = {name: hook for hook in HOOKS for name in hook.gone()}
    told = [f"{name}: {hook.use}. Without it: {hook.without}." for name, hook in gone.items()]
    assert not told, "\n".join([f"napari {napari.__version__} has lost private parts that we use:", *told])


def test_a_name_that_is_gone_is_told():
    hook = napari_private.Hook("Labels", lambda: Labels(np.zeros((2, 2), int)), ("_no_such", "_slice"), "", "", "")
    assert hook.gone() == ["Labels._no_such"]


def test_every_hook_has_its_reason():
    assert len(HOOKS) >= 6
    for hook in HOOKS:
        assert all((hook.owner, hook.names, hook.use, hook.missing, hook.without, hook.since)), hook


def test_nothing_else_touches_a_private_part_of_napari():
    private = private_names()
    assert {"_slice", "_overlays", "_qt_viewer", "_qt_window", "_block_refresh"} <= private
    found = {
        path.relative_to(SOURCE).as_posix(): there
        for path in sorted(SOURCE.rglob("*.py"))
        if path.name != "napari_private.py" and (there := touches(path.read_text(encoding="utf-8"), private))
    }
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "from napari._qt import qt_viewer", "from napari.layers.labels._labels_constants import Mode", "import napari._app_model",
        "layer._slice.image.raw", "getattr(layer, '_block_refresh')", "viewer.window._qt_window", "vars(x)['_block_refresh']",
        "class Mine(Labels):\n    def _block_refresh(self): ...",
    ],
)  # fmt: skip
def test_a_private_part_would_be_found(line):
    assert touches(line, private_names())


def test_all_names_that_are_used_there_are_in_the_list():
    """What `napari_private` reaches for is what `HOOKS` tells of."""
    source = Path(napari_private.__file__).read_text(encoding="utf-8")
    told = {name for hook in HOOKS for name in hook.names}
    used = private_names() & {
        node.attr if isinstance(node, ast.Attribute) else node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    }
    assert used <= told


# -- what they do


@pytest.fixture
def layer():
    labels = np.zeros((40, 50), np.int32)
    labels[5:15, 5:15] = 1
    return Labels(labels)


def test_without_a_window_no_layer_has_a_picture():
    viewer = ViewerModel()
    layer = viewer.add_labels(np.zeros((4, 4), np.int32))
    assert not napari_private.has_pictures(viewer)
    assert napari_private.picture_of(viewer, layer) is None


@pytest.mark.parametrize("contour", [0, 2])
def test_a_box_is_redrawn_and_nothing_else(layer, contour):
    layer.contour = contour
    sent = []
    layer.events.labels_update.connect(lambda event: sent.append((tuple(event.offset), event.data.shape)))
    layer.data[20:24, 30:35] = 2
    napari_private.refresh_box(layer, (20, 30, 24, 35))
    ((top, left), (height, width)) = sent[0]
    assert len(sent) == 1
    assert (top, left) <= (20, 30)
    assert (height, width) >= (4, 5)
    assert height * width < 200, "the whole layer was sent"


def test_a_layer_is_held_back(layer):
    seen = []
    layer.events.set_data.connect(lambda _: seen.append(1))
    with napari_private.held_back(layer):
        layer.data = np.zeros((40, 50), np.int32)
        layer.refresh()
        held = len(seen)
    layer.refresh()
    assert held == 0
    assert seen


def test_what_zooms_at_a_double_click_is_found():
    viewer = ViewerModel()
    viewer.mouse_double_click_callbacks.append(lambda *_: None)
    found = napari_private.zooming_clicks(viewer)
    assert [f.__name__ for f in found] == ["double_click_to_zoom"]


def test_colours_come_from_the_tables():
    colormap = napari_private.TableColormap(color_dict={0: "transparent", None: "white"})
    colormap._table[:4] = (0, 1, 2, 1)
    colormap._shades[1], colormap._shades[2] = (1, 0, 0, 1), (0, 1, 0, 0.5)
    labels = np.array([[0, 1], [2, 3]], np.int32)
    assert np.array_equal(colormap.map(labels)[1, 0], (0, 1, 0, 0.5))
    layer = Labels(labels, colormap=colormap)
    assert np.array_equal(np.asarray(layer._slice.image.view), [[0, 1], [2, 1]])
