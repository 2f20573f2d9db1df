"""Runs that are removed from the list are kept aside, and come back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_monusac.core.errors import RunError
from napari_monusac.core.recipe import load_recipe
from napari_monusac.io.runs.removed import remove_run, restore_run
from napari_monusac.io.runs.run_folder import RunFolder, find_runs
from napari_monusac.io.splits import Split


def made(path: Path) -> RunFolder:
    split = Split(kind="patient", training=("a",), validation=("b",))
    return RunFolder.create(path, data=path.parent / "data", split=split, recipe=load_recipe("quick"))


def test_a_removed_run_is_no_longer_found_and_comes_back_whole(tmp_path: Path) -> None:
    run, other = made(tmp_path / "runs" / "one"), made(tmp_path / "runs" / "two")
    (run.path / "best.safetensors").write_bytes(b"weights")
    removed = remove_run(run)
    assert [r.path for r in find_runs(tmp_path / "runs")] == [other.path]
    assert [r.path for r in find_runs(tmp_path)] == [other.path], "not from above, either"
    assert removed.kept.is_dir()
    assert not run.path.exists()
    back = restore_run(removed)
    assert back.path == run.path
    assert back.best.read_bytes() == b"weights"
    assert len(find_runs(tmp_path / "runs")) == 2


def test_two_runs_of_one_name_do_not_meet(tmp_path: Path) -> None:
    first = remove_run(made(tmp_path / "runs" / "one"))
    second = remove_run(made(tmp_path / "runs" / "one"))
    assert first.kept != second.kept
    restore_run(second)
    with pytest.raises(RunError, match="is there again"):
        restore_run(first)
    assert first.kept.is_dir(), "and nothing is lost"


def test_a_run_that_is_trained_stays(tmp_path: Path) -> None:
    run = made(tmp_path / "one")
    with run.lock(), pytest.raises(RunError, match="stop it first"):
        remove_run(run)
    assert run.path.is_dir()


def test_a_name_and_a_note_are_kept_beside_what_a_process_writes_meanwhile(tmp_path: Path) -> None:
    run = made(tmp_path / "one")
    RunFolder.open(run.path).update_info(data_fingerprint="abc")  # as a training process does
    run.update_info(title="Leber, zweiter Versuch", note="mit Ambiguous\nohne Flips")
    again = RunFolder.open(run.path)
    assert (again.title, again.info.note) == ("Leber, zweiter Versuch", "mit Ambiguous\nohne Flips")
    assert again.info.data_fingerprint == "abc"
    run.update_info(title="")
    assert RunFolder.open(run.path).title == "one"
