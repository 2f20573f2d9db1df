"""Notes are part of what "saved" means: one conflict check and one commit for the annotation and its sidecar."""

from __future__ import annotations

import pytest

from napari_monusac.core.errors import AnnotationError, SessionError
from napari_monusac.editing.commands import Delete, SetNote
from napari_monusac.editing.disk import file as on_disk
from napari_monusac.editing.disk.file import SaveConflict
from napari_monusac.editing.disk.provenance import read_provenance, sidecar_of
from napari_monusac.editing.session import EditingSession

SHAPE = (96, 64)


class Killed(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


def leave(session):
    session.file.journal._log.close()


def notes_of(crop):
    known = read_provenance(crop)
    return {e.note for e in known.nuclei if e.note} if known else set()


def test_notes_of_two_readers_are_a_conflict(crop):
    anna = EditingSession.open(crop, SHAPE, author="anna")
    bert = EditingSession.open(crop, SHAPE, author="bert")
    anna.do(SetNote("from anna", [1]))
    bert.do(SetNote("from bert", [2]))
    anna.save()
    outlines = crop.read_bytes()
    with pytest.raises(SaveConflict, match=r"its notes were changed by anna at .* nothing is overwritten") as caught:
        bert.save()
    assert caught.value.notes_only
    assert notes_of(crop) == {"from anna"}
    bert.save(caught.value.suggested)
    assert notes_of(caught.value.suggested) == {"from bert"}
    assert bert.unsaved
    bert.save(on_conflict="overwrite")
    assert crop.read_bytes() == outlines
    assert notes_of(crop) == {"from bert"}
    kept = list((crop.parent / ".monusac" / "history").glob("*.provenance.json.~*~"))
    assert any("from anna" in p.read_text() for p in kept), "theirs is kept in the history"
    assert not bert.unsaved
    anna.close()
    bert.close()


def test_a_note_alone_is_an_edit_to_save_and_to_undo(crop):
    with EditingSession.open(crop, SHAPE, author="anna") as session:
        session.do(SetNote("look again", [1]))
        assert session.unsaved
        session.save()
        assert not session.unsaved
        session.undo()
        assert session.unsaved, "the sidecar has the note, this state has not"
        session.save()
        assert notes_of(crop) == set()
        assert not session.unsaved


@pytest.mark.parametrize("moment", ["after the record", "between the files"])
@pytest.mark.parametrize("with_outline", [False, True])
def test_killed_while_saving_loses_no_note(crop, monkeypatch, moment, with_outline):
    session = EditingSession.open(crop, SHAPE, author="anna")
    session.do(SetNote("first", [2]))
    session.save()
    session.do(SetNote("do not lose me", [1]))
    if with_outline:
        session.do(Delete([3]))

    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        if moment == "after the record":
            patched.setattr(on_disk.SessionFile, "_put", kill)
        else:
            patched.setattr(on_disk, "sidecar_of", lambda path: path.parent / ".monusac" / "never")
            real = on_disk.atomic_write_bytes

            def then_kill(*args):
                real(*args)
                raise Killed

            patched.setattr(on_disk, "atomic_write_bytes", then_kill)
        with pytest.raises(Killed):
            session.save()
    leave(session)
    with EditingSession.open(crop, SHAPE, author="anna") as again:
        assert again.restored is not None
        assert again.nuclei.same_as(session.nuclei)
        assert again.unsaved
        again.save()
    assert notes_of(crop) == {"first", "do not lose me"}
    with EditingSession.open(crop, SHAPE) as last:
        assert last.restored is None
        assert (3 in last.rows) != with_outline or len(last.rows) == 4


def test_a_disk_that_refuses_the_sidecar_touches_neither_file(crop, monkeypatch):
    from napari_monusac.core import files

    with EditingSession.open(crop, SHAPE, author="anna") as session:
        session.do(SetNote("first", [2]))
        session.save()
        before = crop.read_bytes(), sidecar_of(crop).read_bytes()
        session.do(Delete([1]))
        session.do(SetNote("second", [3]))
        real = files.Path.write_bytes

        def full(path, content):
            if ".provenance" in path.name and b"second" in content:
                raise OSError(28, "No space left on device")
            return real(path, content)

        with monkeypatch.context() as patched:
            patched.setattr(files.Path, "write_bytes", full)
            with pytest.raises(AnnotationError, match="No space left"):
                session.save()
        assert (crop.read_bytes(), sidecar_of(crop).read_bytes()) == before
        assert session.unsaved
        real_replace = files.replace_file

        def held(source, target, *rest):
            if str(target).endswith(".provenance.json"):
                raise OSError(28, "No space left on device")
            return real_replace(source, target, *rest)

        with monkeypatch.context() as patched:
            patched.setattr(files, "replace_file", held)
            with pytest.raises(SessionError, match="was saved, but notes"):
                session.save()
        assert session.unsaved
        session.save()
        assert not session.unsaved
    assert notes_of(crop) == {"first", "second"}


def test_a_journal_of_before_knows_no_sidecar_and_is_read(crop):
    from napari_monusac.editing.disk.journal import read_journal
    from napari_monusac.editing.disk.records import Header, Saved, encode

    session = EditingSession.open(crop, SHAPE, author="anna")
    session.do(SetNote("saved", [1]))
    session.save()
    session.do(SetNote("not saved", [2]))
    leave(session)
    path = next((crop.parent / ".monusac").glob("*.journal"))
    old = [
        r.model_copy(update={"sidecar": None}) if isinstance(r, Header | Saved) else r for r in read_journal(path)[0]
    ]
    path.write_bytes(b"".join(map(encode, old)))
    with EditingSession.open(crop, SHAPE) as again:
        assert again.restored.edits == 2
        assert {r.note for r in again.rows.values()} >= {"saved", "not saved"}
        again.save()
    assert notes_of(crop) == {"saved", "not saved"}


def test_notes_that_somebody_changed_meanwhile_are_told_when_edits_wait(crop):
    session = EditingSession.open(crop, SHAPE, author="anna")
    session.do(SetNote("waits", [1]))
    leave(session)
    # a copy of the folder, or another program: no lock, no journal
    sidecar_of(crop).write_text('{"annotation": "x", "savings": [{"author": "bert"}]}')
    with pytest.raises(SessionError, match="changed by somebody else while 1 edits wait"):
        EditingSession.open(crop, SHAPE)
    with EditingSession.open(crop, SHAPE, restore="base") as again:
        assert again.rows[1].note == "waits"
        with pytest.raises(SaveConflict):
            again.save()
