"""Never lost: the journal, torn lines, damage, restoring, kill -9."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from napari_monusac.core.errors import SessionError
from napari_monusac.editing.commands import Delete, DrawBrush, Reshape, Select, SetClass, SetNote
from napari_monusac.editing.disk.journal import Journal, read_journal
from napari_monusac.editing.disk.records import Header, decode, encode
from napari_monusac.editing.disk.restoring import carry_out
from napari_monusac.editing.nuclei.edit import Patch
from napari_monusac.editing.session import EditingSession
from napari_monusac.io.annotations.files import write_annotation
from napari_monusac.masks import edits

SHAPE = (96, 64)


def journal_of(crop, k=""):
    return crop.parent / ".monusac" / f"{crop.name}{k}.journal"


def leave(session):
    """Go as a killed process goes: nothing is tidied up, the lock goes with the file."""
    session.file.journal._log.close()


@pytest.fixture
def edited(crop):
    """A session with three edits and an undo, left as kill -9 leaves it."""
    session = EditingSession.open(crop, SHAPE, author="anna")
    session.do(DrawBrush([(85, 10), (85, 30)], 7, class_="Neutrophil"))
    session.do(SetClass(5, [2]))
    session.do(Delete([3]))
    session.undo()
    leave(session)
    return session


def test_a_patch_packs_and_unpacks():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 5, (30, 41)).astype(np.int32)
    change = edits.changed(frame, (3, 5, 29, 40), rng.integers(0, 100_000, (26, 35)).astype(np.int32))
    mask, before, after = Patch.pack(change, "nuclei").unpack()
    assert np.array_equal(mask, change.changed)
    assert np.array_equal(before, change.before[mask])
    assert np.array_equal(after, change.after[mask])
    with pytest.raises(SessionError, match="damaged"):
        Patch(plane="nuclei", box=(0, 0, 2, 2), data="eJwDAAAAAAE=").unpack()


def test_an_edit_of_a_nucleus_takes_little_room(crop):
    with EditingSession.open(crop, SHAPE, author="anna") as session:
        session.do(Reshape("grow", [3]))
        assert len(journal_of(crop).read_bytes().splitlines()[1]) < 1200


def test_looking_writes_nothing(crop):
    with EditingSession.open(crop, SHAPE) as session:
        session.do(Select([1]))
        assert session.file.writable
    assert not (crop.parent / ".monusac").exists()


def test_reopening_restores_edits_undo_and_redo(crop, edited):
    with EditingSession.open(crop, SHAPE) as session:
        assert session.nuclei.same_as(edited.nuclei)
        assert session.nuclei.next_id == edited.nuclei.next_id
        assert (session.restored.edits, session.restored.author) == (2, "anna")
        assert session.unsaved
        session.redo()
        assert 3 not in session.rows
        while session.history.can_undo:
            session.undo()
        assert session.nuclei.same_as(EditingSession(session.nuclei.source, SHAPE).nuclei)
        assert not session.unsaved


def test_a_torn_last_line_is_dropped_and_written_over(crop, edited):
    path = journal_of(crop)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(whole) - 1, 7):
        path.write_bytes(whole[:cut])
        session = EditingSession.open(crop, SHAPE)
        assert len(session.history.done) == 3, "the undo is gone, the three edits are there"
        session.do(SetNote("after the crash", [1]))
        leave(session)
        assert len(read_journal(path)[0]) == 5
        with EditingSession.open(crop, SHAPE) as again:
            assert again.rows[1].note == "after the crash"
        path.write_bytes(whole)


@pytest.mark.parametrize("harm", ["flip", "drop", "swap"])
def test_damage_before_the_end_is_told(crop, edited, harm):
    path = journal_of(crop)
    lines = path.read_bytes().splitlines(keepends=True)
    if harm == "flip":
        lines[2] = lines[2][:40] + bytes([lines[2][40] ^ 1]) + lines[2][41:]
    elif harm == "drop":
        del lines[2]
    else:
        lines[1], lines[2] = lines[2], lines[1]
    path.write_bytes(b"".join(lines))
    with pytest.raises(SessionError, match=r"line \d of \d of the journal is damaged"):
        EditingSession.open(crop, SHAPE)
    with EditingSession.open(crop, SHAPE, restore="discard") as session:
        assert session.restored is None
        assert not session.history.can_undo
    assert not path.exists()
    assert (crop.parent / ".monusac" / "history" / f"{path.name}.~1~").exists(), "put aside, not deleted"


def test_a_journal_is_bound_to_file_and_shape(crop, edited, overlapping):
    with pytest.raises(SessionError, match=r"image of \(96, 64\) px, this one has \(96, 65\)"):
        EditingSession.open(crop, (96, 65))
    write_annotation(type(overlapping)(overlapping.regions[:2]), crop)
    with pytest.raises(SessionError, match="changed by somebody else while 3 edits wait"):
        EditingSession.open(crop, SHAPE)
    session = EditingSession.open(crop, SHAPE, restore="base")
    assert session.nuclei.same_as(edited.nuclei)
    with pytest.raises(SessionError, match="was changed"):
        session.save()
    session.close()
    base = next((crop.parent / ".monusac").glob("*.base.xml"))
    base.write_bytes(base.read_bytes() + b" ")
    with pytest.raises(SessionError, match="is not the annotation that the journal starts from"):
        EditingSession.open(crop, SHAPE, restore="base")


def test_edits_after_a_saving_come_back_on_the_saved_file(crop):
    session = EditingSession.open(crop, SHAPE, author="anna")
    session.do(Delete([1]))
    session.save()
    session.do(Delete([2]))
    leave(session)
    with EditingSession.open(crop, SHAPE) as again:
        assert again.nuclei.same_as(session.nuclei)
        assert again.unsaved
        again.undo()
        assert not again.unsaved, "this is what the file holds"
        again.undo()
        assert again.unsaved
        assert 1 in again.rows, "undo reaches back beyond the saving"
        again.redo()
        again.redo()
        again.save()
    with EditingSession.open(crop, SHAPE) as last:
        assert last.restored is None
        assert last.nuclei.counts() == {1: 1, 2: 1, 5: 1}


def test_a_crash_right_after_saving_leaves_nothing_to_restore(crop):
    session = EditingSession.open(crop, SHAPE)
    session.do(Delete([1]))
    session.save()
    leave(session)
    with EditingSession.open(crop, SHAPE) as again:
        assert again.restored is None
        assert not again.unsaved
    assert not journal_of(crop).exists()


def test_a_crash_between_journal_and_file_of_a_saving(crop, monkeypatch):
    session = EditingSession.open(crop, SHAPE)
    session.do(Delete([1]))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(session.file), "_put", killed)
    with pytest.raises(KeyboardInterrupt):
        session.save()
    monkeypatch.undo()
    leave(session)
    with EditingSession.open(crop, SHAPE) as again:
        assert again.unsaved
        assert 1 not in again.rows
        again.save()
        assert not again.unsaved


def test_closing_with_unsaved_edits_keeps_them_unless_discarded(crop):
    session = EditingSession.open(crop, SHAPE)
    session.do(Delete([1]))
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.do(Delete([2]))
    again = EditingSession.open(crop, SHAPE)
    assert 1 not in again.rows
    again.close(discard=True)
    with EditingSession.open(crop, SHAPE) as last:
        assert 1 in last.rows
    kept = sorted(p.name for p in (crop.parent / ".monusac" / "history").iterdir())
    assert kept == [f"{crop.name}.journal.~1~", f"{crop.name}.journal.~1~.base.xml"]


def test_two_windows_keep_a_journal_each(crop):
    one = EditingSession.open(crop, SHAPE)
    one.do(Delete([1]))
    two = EditingSession.open(crop, SHAPE)
    assert two.file.in_use == (journal_of(crop),)
    assert two.restored is None
    two.do(Delete([2]))
    leave(one)
    leave(two)
    first = EditingSession.open(crop, SHAPE)
    assert 1 not in first.rows
    assert first.file.waiting == (journal_of(crop, ".2"),)
    first.close(discard=True)
    with EditingSession.open(crop, SHAPE) as second:
        assert 2 not in second.rows


def test_a_full_disk_refuses_the_edit_and_keeps_the_state(crop, monkeypatch):
    with EditingSession.open(crop, SHAPE) as session:
        session.do(Delete([1]))
        size = journal_of(crop).stat().st_size
        before = session.maps.instances.copy()

        def full(_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("napari_monusac.core.jsonl.os.fsync", full)
            with pytest.raises(SessionError, match="No space left"):
                session.do(Delete([2]))
            with pytest.raises(SessionError):
                session.undo()
        assert np.array_equal(session.maps.instances, before)
        assert 2 in session.rows
        assert journal_of(crop).stat().st_size == size
        session.do(Delete([2]))
        twin = EditingSession(session.nuclei.source, SHAPE)
        carry_out(read_journal(journal_of(crop))[0], twin.nuclei, twin.history)
        assert twin.nuclei.same_as(session.nuclei)


def test_a_folder_that_cannot_be_written(crop, tmp_path, monkeypatch):
    def no(self, *_, **__):
        raise PermissionError(13, "Permission denied")

    with EditingSession.open(crop, SHAPE) as session:
        with monkeypatch.context() as patched:
            patched.setattr("pathlib.Path.mkdir", no)
            with pytest.raises(SessionError, match=r"Permission denied.*choose a work folder"):
                session.do(Delete([1]))
        assert 1 in session.rows
    with EditingSession.open(crop, SHAPE, work=tmp_path / "work") as session:
        session.do(Delete([1]))
        assert list((tmp_path / "work").rglob("*.journal"))
        assert not (crop.parent / ".monusac").exists()


def test_records_are_lines_with_checksums():
    header = Header(annotation="a.xml", sha256="00", shape=(2, 3))
    line = encode(header)
    assert decode(line) == header
    assert json.loads(line[9:])["shape"] == [2, 3]
    for wrong in (line[:-1], line[:20] + b"\n", b"zzzzzzzz" + line[8:], b"\n"):
        with pytest.raises(ValueError):
            decode(wrong)


def test_a_journal_of_one_process_is_not_taken_by_another(tmp_path):
    path = tmp_path / "x.journal"
    journal = Journal.create(path, Header(annotation="a.xml", sha256="00", shape=(2, 3)))
    code = (
        "import sys; from pathlib import Path; from napari_monusac.editing.disk.journal import Journal; "
        "print(Journal.seize(Path(sys.argv[1])))"
    )
    taken = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert taken.stdout.strip() == "None"
    with pytest.raises(FileExistsError):
        Journal.create(path, Header(annotation="a.xml", sha256="00", shape=(2, 3)))
    journal.close()


def test_edits_on_disk_undone_one_by_one_give_the_file_back(tmp_path, stress):
    path, shape = tmp_path / "crop.xml", (200, 200)
    write_annotation(stress.make_annotation(shape, 35, seed=8), path)
    original = path.read_bytes()
    with EditingSession.open(path, shape) as session:
        rng = np.random.default_rng(8)
        made = 0
        while made < 1000:
            made += bool(stress.random_edit(session, rng))
        session.save()
        assert path.read_bytes() != original
        for _ in range(1000):
            session.undo()
        session.save()
    assert path.read_bytes() == original


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_kill_minus_nine(tmp_path, stress):
    """The short form of benchmarks/stress_session.py."""
    for seed in range(2):
        result = stress.one_round(tmp_path, seed, 40, (160, 160), 20)
        assert result["held"] >= result["finished"] > 0


@pytest.fixture
def small_disk():
    """A function that bounds the size of files, as a full disk does: part of a record is written, then no more."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_no_empty_journals(crop, small_disk):
    session = EditingSession.open(crop, SHAPE)
    small_disk(100)
    for _ in range(120):
        with pytest.raises(SessionError, match="cannot be kept on disk"):
            session.do(Delete([1]))
    assert not list((crop.parent / ".monusac").iterdir())
    small_disk(1 << 20)
    session.do(Delete([1]))
    session.close()


def test_half_a_record_does_not_come_after_the_next_one(crop, small_disk):
    session = EditingSession.open(crop, SHAPE)
    session.do(Delete([1]))
    size = journal_of(crop).stat().st_size
    small_disk(size + 50)
    for _ in range(3):
        with pytest.raises(SessionError, match="cannot be kept on disk"):
            session.do(Delete([2]))
    assert journal_of(crop).stat().st_size == size
    small_disk(1 << 20)
    session.do(SetNote("room again", [2]))
    leave(session)
    with EditingSession.open(crop, SHAPE) as again:
        assert [e.name for e in again.history.done] == ["delete", "note"]
        assert again.nuclei.same_as(session.nuclei)


def test_empty_journals_of_before_are_put_aside(crop):
    place = crop.parent / ".monusac"
    place.mkdir()
    for k in ["", *(f".{i}" for i in range(2, 100))]:
        journal_of(crop, k).touch()
    with EditingSession.open(crop, SHAPE) as session:
        assert session.restored is None
        session.do(Delete([1]))
        assert journal_of(crop).stat().st_size
