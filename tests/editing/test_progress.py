"""Statuses of crops."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from napari_monusac.core.errors import SessionError
from napari_monusac.editing.progress import CropMarks

CROPS = ["a", "b", "c", "d"]


def test_status_follows_the_files_until_a_person_says_more(tmp_path):
    progress = CropMarks(tmp_path)
    assert progress.status("a") == "unlabelled"
    assert progress.status("a", predicted=True) == "predicted"
    assert progress.status("a", annotated=True, predicted=True) == "labelled"
    progress.set_mark("a", "reviewed", author="anna", note="two doubtful ones")
    assert progress.status("a") == "reviewed"
    again = CropMarks(tmp_path)
    mark = again.mark_of("a")
    assert (mark.author, mark.note, mark.mark) == ("anna", "two doubtful ones", "reviewed")
    assert mark.time.endswith("Z")
    again.set_mark("a", None)
    progress.reload()
    assert progress.mark_of("a") is None
    assert not list(tmp_path.glob("*.json")), "nothing lies visible in the data"


def test_next_open_goes_round(tmp_path):
    progress = CropMarks(tmp_path, work=True)
    progress.set_mark("c", "done")
    assert progress.next_open(CROPS, "b") == "d"
    assert progress.next_open(CROPS, "d") == "a"
    assert progress.next_open(CROPS, "d", backwards=True) == "b"
    assert progress.next_open(CROPS) == "a"
    for c in "abd":
        progress.set_mark(c, "reviewed")
    assert progress.next_open(CROPS, "b") is None
    assert progress.counts([(c, True, False) for c in [*CROPS, "e"]]) == {
        "unlabelled": 0, "predicted": 0, "labelled": 1, "reviewed": 3, "done": 1
    }  # fmt: skip
    assert (tmp_path / "progress.json").exists()


def test_many_readers_mark_at_once(tmp_path):
    def mark(k):
        CropMarks(tmp_path).set_mark(f"crop {k}", "done", author=f"reader {k}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(mark, range(24)))
    progress = CropMarks(tmp_path)
    assert {progress.mark_of(f"crop {k}").author for k in range(24)} == {f"reader {k}" for k in range(24)}


def test_a_damaged_file_is_told_and_not_overwritten(tmp_path):
    path = tmp_path / "progress.json"
    path.write_text('{"crops": {"a": {"mark": "perhaps"}}}')
    with pytest.raises(SessionError, match="progress cannot be read"):
        CropMarks(tmp_path, work=True)
    assert "perhaps" in path.read_text()
