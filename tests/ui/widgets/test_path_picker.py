"""Path fields take what was typed, letter for letter, whatever was chosen before."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QCompleter

import napari_monusac
from napari_monusac.ui.widgets.path_picker import PathPicker
from napari_monusac.ui.widgets.settings import SETTINGS


@pytest.fixture
def picker(qtbot, tmp_path):
    for name in ("ab", "abc"):
        (tmp_path / name).mkdir()
        SETTINGS.remember_path("test", str(tmp_path / name))
    made = PathPicker("test")
    qtbot.addWidget(made)
    made.show()
    qtbot.waitExposed(made)
    made.activateWindow()
    made.box.lineEdit().setFocus()
    qtbot.waitUntil(made.box.lineEdit().hasFocus)
    return made


@pytest.mark.parametrize("name", ["a", "ab", "AB", "Abc"])
@pytest.mark.parametrize("end", [Qt.Key.Key_Return, Qt.Key.Key_Tab])
def test_a_typed_path_stays_what_was_typed(picker, qtbot, tmp_path, name, end):
    heard = []
    picker.changed.connect(heard.append)
    wanted = str(tmp_path / name)
    line = picker.box.lineEdit()
    qtbot.keyClicks(line, wanted)
    assert line.text() == wanted, "completed while it was typed"
    qtbot.keyClick(QApplication.activePopupWidget() or line, end)  # a list that is open has the keyboard
    line.clearFocus()
    assert line.text() == wanted
    assert picker.path == Path(wanted)
    assert heard == [wanted]


def test_remembered_paths_are_offered_below_the_line(picker, qtbot, tmp_path):
    completer = picker.box.completer()
    assert completer.completionMode() == QCompleter.CompletionMode.PopupCompletion
    completer.setCompletionPrefix(str(tmp_path / "ab"))
    assert completer.completionCount() == 2


def test_each_field_that_can_be_typed_into_and_chosen_from_completes_below():
    """An editable box of Qt's completes within its line: each of ours is given another completer."""
    source = Path(napari_monusac.__file__).parent
    boxes, put_right = Counter(), Counter()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = path.relative_to(source).as_posix()
            if isinstance(node, ast.Attribute) and node.attr in ("setEditable", "InlineCompletion"):
                boxes[name] += 1
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "complete_below":
                put_right[name] += 1
    assert boxes == put_right == {"ui/train/recipe_editor.py": 1, "ui/widgets/path_picker.py": 1}


def test_a_typed_encoder_stays_what_was_typed(qtbot):
    from napari_monusac.ui.train.recipe_editor import EncoderField

    field = EncoderField()
    qtbot.addWidget(field)
    for name in ("resnet3", "ResNet34", "tu-of-mine"):
        field.lineEdit().selectAll()
        qtbot.keyClicks(field.lineEdit(), name)
        qtbot.keyClick(field.lineEdit(), Qt.Key.Key_Return)
        assert field.value == name
