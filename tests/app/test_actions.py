"""The table of keys: whole, without a clash, and the only place where a key is spelled."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import get_type_hints

import pytest

import napari_monusac
from napari_monusac.app import actions
from napari_monusac.app.actions import ACTIONS, ANNOTATE, BUTTONS, EDITS, EVERYWHERE, REVIEW, WINDOW, KeyGroup, Panel

SOURCE = Path(napari_monusac.__file__).parent
GUIDE = SOURCE.parents[1] / "docs" / "guide"


def clashes(table):
    """Keys that two actions have in one panel."""
    held = Counter((panel, key) for action in table for key in action.keys for panel in action.when)
    return sorted((panel.value, key) for (panel, key), n in held.items() if n > 1)


def test_no_two_actions_have_one_key_in_one_panel():
    assert clashes(ACTIONS) == []


def test_a_clash_would_be_found():
    twice = actions.Action(
        "annotate.other", "", "", lambda on: None, ("N",), frozenset([Panel.ANNOTATE]), KeyGroup.ABOUT
    )
    assert clashes([*ACTIONS, twice]) == [("Annotate", "N")]


def test_each_action_is_called_and_explained_once():
    assert len({a.id for a in ACTIONS}) == len(ACTIONS)
    for action in ACTIONS:
        assert action.text, action.id
        assert action.tip, action.id
        assert not action.tip.endswith("."), action.id
        assert action.when, action.id


def by_what_they_act_on(buttons):
    """The buttons of each protocol, as the table declares them."""
    found = {}
    for name, kind in get_type_hints(actions).items():
        if getattr(actions, name) in buttons:
            found.setdefault(kind.__args__[0], []).append(getattr(actions, name))
    return found


def test_each_button_is_declared_in_the_table():
    assert sum(map(len, by_what_they_act_on(BUTTONS).values())) == len(BUTTONS)
    assert {panel for action in BUTTONS for panel in action.when} == {
        Panel.SLIDES, Panel.MASKS, Panel.TRAIN, Panel.PREDICT,
    }  # fmt: skip
    assert not any(action.keys for action in BUTTONS), "what has a key stands in the key map: in a group"
    assert all(action.group is None for action in BUTTONS)


class Recorder:
    """Notes which methods are called on it, with what."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *given, **named: self.calls.append((name, *given, *named.values()))


@pytest.mark.parametrize(
    ("table", "protocol"),
    [
        (WINDOW, actions.StudioWindow),
        (EDITS, actions.Edits),
        (ANNOTATE, actions.Annotating),
        (REVIEW, actions.Reviewing),
        *((table, protocol) for protocol, table in by_what_they_act_on(BUTTONS).items()),
    ],
)
def test_each_action_does_one_thing_of_its_own(table, protocol):
    done = []
    for action in table:
        on = Recorder()
        action.run(on)
        if action.end is not None:
            action.end(on)
        assert len(on.calls) == (1 if action.end is None else 2), action.id
        assert all(name in vars(protocol) for name, *_ in on.calls), action.id
        done += on.calls
    assert len(set(done)) == len(done), "two actions do the same"
    offered = {name for name in vars(protocol) if not name.startswith("_")}
    assert {name for name, *_ in done} == offered, "what a panel offers has a key or a button"


def test_keys_as_they_are_read():
    assert actions.NEXT_CROP.tooltip == "Next crop (Page Down)"
    assert actions.DELETE.label == "Delete (X)"
    assert actions.DELETE.tooltip == "Delete (X or Delete)"
    assert actions.SHAPES[0].label == "Grow"
    assert actions.TOOL["lasso"].words.startswith("Draw around a new nucleus. With Shift")


def test_undo_means_judgements_in_review_and_edits_elsewhere():
    undo = {panel: a.id for a in ACTIONS for panel in a.when if "Ctrl+Z" in a.keys}
    assert undo.pop(Panel.REVIEW) == "review.undo"
    assert set(undo) == EVERYWHERE - {Panel.REVIEW}
    assert set(undo.values()) == {"edits.undo"}


def test_the_key_map_shows_every_key_once():
    shown = [words for _, lines in actions.keymap() for _, words in lines]
    for action in ACTIONS:
        assert shown.count(action.line) >= bool(action.keys), action.id
    assert [group for group, _ in actions.keymap()] == list(KeyGroup)
    assert all(lines for _, lines in actions.keymap())


def test_the_line_at_the_foot():
    assert actions.help_line(Panel.ANNOTATE).startswith("keys: 1-4 class, N next, X delete")
    assert actions.help_line(Panel.REVIEW).endswith("? all keys")
    assert "accept" not in actions.help_line(Panel.ANNOTATE)


# -- nowhere else

_SPELLED = re.compile(
    r"\b(Ctrl|Shift|Alt|Meta|Control|Cmd)[+-]\w|\(([A-Z?]|F\d+|Del|Esc)\)|\b[Kk]eys? [A-Z0-9]\b|\b[Hh]old [A-Z]\b"
    r"|\bPage ?(Up|Down)\b|\bPg(Up|Down)\b|\bEsc(ape)?\b|\b[A-Z] (and|or) [A-Z]\b"
)
#: Enter in a list is a click: a key of the widget's, not of the Studio's. `canvas/keys.py` translates keys.
_OF_WIDGETS = {"Key_Return", "Key_Enter"}


def spelled(source: str) -> list[str]:
    """Keys that a file spells: in words, to bind them, or by Qt's names."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(n.body[0].value)
        for n in ast.walk(tree)
        if isinstance(n, documented) and n.body and isinstance(n.body[0], ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            if _SPELLED.search(node.value):
                found.append(f"{node.lineno}: {node.value!r}")
        elif isinstance(node, ast.Attribute) and re.fullmatch(r"Key_\w+", node.attr) and node.attr not in _OF_WIDGETS:
            found.append(f"{node.lineno}: {node.attr}")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("bind_key", "QKeySequence"):
            found += [f"{node.lineno}: {ast.unparse(a)}" for a in node.args[:1] if isinstance(a, ast.Constant)]
    return found


def test_no_key_is_spelled_elsewhere():
    table, translator = SOURCE / "app" / "actions.py", SOURCE / "ui" / "canvas" / "keys.py"
    files = [p for room in ("app", "ui") for p in (SOURCE / room).rglob("*.py") if p not in (table, translator)]
    found = {
        p.relative_to(SOURCE).as_posix(): there for p in files if (there := spelled(p.read_text(encoding="utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "tip = 'Undo (Ctrl+Z)'", "QPushButton('Mend (F)')", "layer.bind_key('N', f)", "QShortcut(QKeySequence('?'), self)",
        "event.key() == Qt.Key.Key_B", "tip = f'{x} hold B to blink'", "x = 'Next (key N)'", "x = 'Previous crop (Page Up)'",
        "say('N and P step through')",
    ],
)  # fmt: skip
def test_a_key_that_is_spelled_would_be_found(line):
    assert spelled(line)


def drawn_by_hand(source: str) -> list[str]:
    """Buttons that a file words itself."""
    named = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and n.args]
    return [ast.unparse(n) for n in named if ast.unparse(n.func) == "QPushButton"]


@pytest.mark.parametrize("panel", ["masks", "predict", "slides", "train"])
def test_no_button_is_worded_elsewhere(panel):
    """But those of a dialog, which Qt places by their role."""
    found = {
        p.name: there
        for p in (SOURCE / "ui" / panel).glob("*.py")
        if (there := drawn_by_hand(p.read_text(encoding="utf-8")))
    }
    assert found == ({"class_names.py": ["QPushButton('Keep')", "QPushButton('Cancel')"]} if panel == "slides" else {})


def test_a_button_that_is_worded_by_hand_would_be_found():
    assert drawn_by_hand("self.start = calm(QPushButton('Start'))")


# -- the guide


@pytest.mark.parametrize("panel", [Panel.ANNOTATE, Panel.REVIEW])
def test_the_guide_tells_each_key(panel):
    """The guide has a table with a line for each key, in the words of ours; Review's own only, not the window's again."""
    page = GUIDE / {Panel.ANNOTATE: "correct.md", Panel.REVIEW: "review.md"}[panel]
    table = page.read_text(encoding="utf-8").partition("| key | what |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| (`.+?`) \| (.+?) \|$", table, re.M)
    wanted = ACTIONS if panel is Panel.ANNOTATE else REVIEW
    assert told == [
        (", ".join(f"`{actions.called(k)}`" for k in a.keys), a.line) for a in wanted if a.keys and panel in a.when
    ]
