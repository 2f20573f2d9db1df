"""What the environment says: each variable, an empty one, an older name, and what a process that is started gets."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import napari_monusac
from napari_monusac.core.settings import Environment, environment, user_folder

SOURCES = sorted(Path(napari_monusac.__file__).parent.rglob("*.py"))


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in Environment.model_fields:
        monkeypatch.delenv(f"MONUSAC_{name.upper()}", raising=False)
    monkeypatch.delenv("NAPARI_MONUSAC_CACHE", raising=False)


@pytest.mark.parametrize("name", ["cache", "work", "settings", "runs", "predictions"])
def test_a_folder_is_read_as_it_is_now(monkeypatch, name):
    assert getattr(environment(), name) is None
    monkeypatch.setenv(f"MONUSAC_{name.upper()}", "/data/Müller 1")
    assert getattr(environment(), name) == Path("/data/Müller 1")
    monkeypatch.setenv(f"MONUSAC_{name.upper()}", "")
    assert getattr(environment(), name) is None


def test_the_older_name_of_the_cache_holds_where_the_newer_says_nothing(monkeypatch):
    monkeypatch.setenv("NAPARI_MONUSAC_CACHE", "/old")
    assert user_folder("cache") == Path("/old")
    monkeypatch.setenv("MONUSAC_CACHE", "/new")
    assert user_folder("cache") == Path("/new")


def test_without_a_word_the_folders_are_the_users(tmp_path, monkeypatch):
    import platformdirs

    assert user_folder("cache") == Path(platformdirs.user_cache_path("napari-monusac", appauthor=False))
    assert user_folder("work") == Path(platformdirs.user_data_path("napari-monusac", appauthor=False))


def test_a_process_that_is_started_hears_what_was_given_and_nothing_else():
    given = Environment(panel="Review", runs="/data/runs")
    assert given.variables() == {"MONUSAC_PANEL": "Review", "MONUSAC_RUNS": "/data/runs"}
    code = "from napari_monusac.core.settings import environment as e; print(e().panel, e().runs, e().predictions)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**given.variables(), **_path()}
    )
    assert done.stdout.split() == ["Review", "/data/runs", "None"]


def _path():
    import os

    return {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "HOME", "SYSTEMROOT")}


def test_nobody_else_reads_our_variables():
    """One model: no other file of the package asks the environment for a `MONUSAC_*` name."""
    readers = [p for p in SOURCES if re.search(r"(environ|getenv)\W[^\n]*MONUSAC_", p.read_text("utf-8"))]
    assert readers == []
    qt = [p.name for p in SOURCES if re.search(r"\bQSettings\(", p.read_text("utf-8"))]
    assert qt == ["settings.py"]
