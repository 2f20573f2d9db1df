"""Two readers on one folder open, edit, save, note, mark, leave and are killed in every order: nothing is lost, nobody unasked."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.commands import Delete, DrawBrush, SetNote
from napari_monusac.editing.disk.file import SaveConflict
from napari_monusac.editing.disk.provenance import sidecar_of
from napari_monusac.editing.disk.workplace import Version, sha256
from napari_monusac.editing.progress import CropMarks
from napari_monusac.editing.session import EditingSession
from napari_monusac.io.annotations.files import write_annotation

SHAPE = (64, 64)
READERS = ("anna", "bert")
CROPS = ("one", "two")
READER = st.sampled_from(READERS)

#: What a reader sees: classes of pixels, and notes.
Seen = tuple[bytes, tuple[str, ...]]


def seen(session: EditingSession) -> Seen:
    notes = sorted(f"{row.class_id}:{row.note}" for row in session.rows.values() if row.note)
    return session.maps.semantic.tobytes(), tuple(notes)


@dataclass
class Left:
    """Edits of a reader who was killed, or went without saving."""

    what: Seen


class TwoReaders(RuleBasedStateMachine):
    """The model holds what each reader has seen; the files must give it back."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "crop_1.xml"
        self.open: dict[str, EditingSession] = {}
        self.marks: dict[str, CropMarks] = {}
        self.expected_marks: dict[str, tuple[str, str]] = {}
        #: versions (both files) that ever were on disk
        self.versions: list[tuple[bytes, bytes]] = []
        self.left: list[Left] = []
        self.made = 0

    @initialize()
    def begin(self) -> None:
        corners = np.array([(4, 4), (4, 20), (20, 20), (20, 4)], float)
        regions = tuple(Nucleus(corners + shift, "Epithelial", 0, integral=True) for shift in (0, 30))
        write_annotation(Annotation(regions, um_per_px=0.25), self.path)
        self.versions.append(self.on_disk())
        self.marks = {name: CropMarks(self.folder) for name in READERS}

    def on_disk(self) -> tuple[bytes, bytes]:
        sidecar = sidecar_of(self.path)
        return self.path.read_bytes(), sidecar.read_bytes() if sidecar.exists() else b""

    # ------------------------------------------------------------ opening

    @rule(reader=READER)
    def opens(self, reader: str) -> None:
        if reader in self.open:
            return
        before = self.on_disk()
        asked = ""
        try:
            session = EditingSession.open(self.path, SHAPE, author=reader)
        except SessionError as error:
            asked = str(error)  # not decided
            session = EditingSession.open(self.path, SHAPE, author=reader, restore="base")
        assert not asked or ("changed by somebody else" in asked and self.left and session.restored)
        assert self.on_disk() == before
        self.open[reader] = session
        if session.restored is not None:
            back = seen(session)
            found = next((one for one in self.left if one.what == back), None)
            assert found is not None, "what came back is what somebody left"
            self.left.remove(found)
        assert len(session.file.waiting) == len(self.left) or session.restored is None

    # ------------------------------------------------------------ editing

    @rule(reader=READER, y=st.integers(2, 60), x=st.integers(2, 60), kind=st.integers(0, 3))
    def draws(self, reader: str, y: int, x: int, kind: int) -> None:
        if reader in self.open:
            self.open[reader].do(DrawBrush([(y, x)], 5, class_=kind, over="all"))

    @rule(reader=READER, which=st.integers(0, 9))
    def deletes(self, reader: str, which: int) -> None:
        if reader in self.open and (ids := sorted(self.open[reader].rows)):
            self.open[reader].do(Delete([ids[which % len(ids)]]))

    @rule(reader=READER, which=st.integers(0, 9))
    def notes(self, reader: str, which: int) -> None:
        if reader in self.open and (ids := sorted(self.open[reader].rows)):
            self.made += 1
            self.open[reader].do(SetNote(f"{reader} {self.made}", [ids[which % len(ids)]]))

    @rule(reader=READER, back=st.booleans())
    def undoes(self, reader: str, back: bool) -> None:
        session = self.open.get(reader)
        if session is None:
            return
        if back and session.history.can_undo:
            session.undo()
        elif not back and session.history.can_redo:
            session.redo()

    # ------------------------------------------------------------ saving

    @rule(reader=READER, insists=st.booleans())
    def saves(self, reader: str, insists: bool) -> None:
        session = self.open.get(reader)
        if session is None:
            return
        before = self.on_disk()
        is_mine = session.file.known == _version(before)
        if is_mine:
            session.save()
        else:  # somebody else's version is not replaced unasked
            with pytest.raises(SaveConflict) as caught:
                session.save()
            assert self.on_disk() == before
            if not insists:
                session.save(caught.value.suggested)
                assert self.on_disk() == before
                return
            session.save(on_conflict="overwrite")
        assert not session.unsaved
        self.versions.append(self.on_disk())
        again = EditingSession.open(self.path, SHAPE, restore="auto") if not self.left else None
        if again is not None:
            assert seen(again) == seen(session), "the files say what the reader saw"
            again.close()

    # ------------------------------------------------------------ going

    @precondition(lambda self: self.open)
    @rule(reader=READER, killed=st.booleans())
    def goes(self, reader: str, killed: bool) -> None:
        session = self.open.pop(reader, None)
        if session is None:
            return
        if session.unsaved and session.file.journal is not None:
            self.left.append(Left(seen(session)))
        if killed:  # the operating system lets go of the journal; nothing else happens
            if session.file.journal is not None:
                session.file.journal.close()
        else:
            session.close()

    @rule(reader=READER, crop=st.sampled_from(CROPS), mark=st.sampled_from(["reviewed", "done", None]))
    def marks_a_crop(self, reader: str, crop: str, mark: str | None) -> None:
        self.marks[reader].set_mark(crop, mark, author=reader)
        self.expected_marks.pop(crop, None)
        if mark is not None:
            self.expected_marks[crop] = (mark, reader)

    # ------------------------------------------------------------ what must always hold

    @invariant()
    def every_version_is_there(self) -> None:
        if not self.versions:
            return
        history = self.folder / ".monusac" / "history"
        kept = Counter(p.read_bytes() for p in history.iterdir()) if history.exists() else Counter()
        now = self.on_disk()[0]
        assert all(annotation == now or annotation in kept for annotation, _ in self.versions)

    @invariant()
    def marks_are_those_that_were_made(self) -> None:
        if self.marks:
            fresh = CropMarks(self.folder)
            found = {c: (m.mark, m.author) for c in CROPS if (m := fresh.mark_of(c)) is not None}
            assert found == self.expected_marks

    def teardown(self) -> None:
        """Whoever was killed or went: their edits come back, one after another."""
        for session in self.open.values():
            if session.unsaved and session.file.journal is not None:
                self.left.append(Left(seen(session)))
            session.close()
        while self.left:
            session = EditingSession.open(self.path, SHAPE, restore="base")
            back = seen(session)
            assert session.restored is not None, "edits were lost"
            found = next((one for one in self.left if one.what == back), None)
            assert found is not None, "what came back is what somebody left"
            self.left.remove(found)
            session.close(discard=True)
        shutil.rmtree(self.folder)


def _version(files: tuple[bytes, bytes]) -> Version:
    return Version(*map(sha256, files))


TestTwoReaders = TwoReaders.TestCase
TestTwoReaders.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
