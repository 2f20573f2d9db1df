"""Names of files are hostile text: terminals obey escape codes, spreadsheets calculate formulas."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pandas as pd
import pytest

from napari_monusac.core.text import cell, visible


@pytest.mark.parametrize("text", ["=1+1", "+SUM(A1)", "-2+3", "@x", "\t=1", "\r=1", '=HYPERLINK("http://x")'])
def test_a_formula_is_text(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["TCGA-AA-0001", "", "a=b", "-0.5", "+3", "-1e-3", 7, -0.5, None, True])
def test_all_else_stays(value):
    assert cell(value) is value


def test_what_cannot_be_seen_is_spelled_out():
    assert visible("a\x1b[31mb\n\u202ec\x9bd") == "a\\x1b[31mb\\n\\u202ec\\x9bd"
    assert visible("a\nb\x1b", keep="\n") == "a\nb\\x1b"
    assert visible("é ü 中 µm – ok") == "é ü 中 µm – ok"
    assert visible("\udcff") == "\\udcff"


def test_tables_hold_no_formula(tmp_path):
    from napari_monusac.io.tables import write_table

    write_table(pd.DataFrame({"crop": ["=cmd|' /C calc'!A0", "P-1"], "area": [-1.5, 2.0]}), tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["crop", "area"], ["'=cmd|' /C calc'!A0", "-1.5"], ["P-1", "2"]]


def _run(*arguments, encoding):
    import os

    env = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-m", "napari_monusac", *arguments], capture_output=True, env=env, timeout=120, check=False
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
def test_narrow_terminals_end_no_command(tmp_path, encoding):
    shown = _run("recipes", encoding=encoding)
    assert shown.returncode == 0, shown.stderr
    shown = _run("recipes", "show", "run-8", "--json", encoding=encoding)
    assert shown.returncode == 0, shown.stderr
    json.loads(shown.stdout.decode(encoding))
    failed = _run("doctor", str(tmp_path / "Pr\u00e4parate \u2013 \U0001f52c \x1b[31m\nerror: fine"), encoding=encoding)
    assert failed.returncode == 1
    assert b"Traceback" not in failed.stderr
    assert b"\x1b" not in failed.stderr
    assert failed.stderr.strip().count(b"\n") == 0
