"""Journals with right checksums and wrong content: refused with a word, never applied in part."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from napari_monusac.core.errors import SessionError
from napari_monusac.editing.commands import Delete, DrawBrush, SetNote
from napari_monusac.editing.disk.journal import read_journal
from napari_monusac.editing.disk.records import Saved, encode
from napari_monusac.editing.nuclei.edit import Edit, Patch
from napari_monusac.editing.nuclei.rows import NucleusRow
from napari_monusac.editing.session import EditingSession
from napari_monusac.io.annotations.files import write_annotation

SHAPE = (96, 64)


def pack(mask, before, after):
    raw = np.packbits(mask).tobytes() + before.astype("<i4").tobytes() + after.astype("<i4").tobytes()
    return base64.b64encode(zlib.compress(raw)).decode()


def painted(label, box=(80, 40, 84, 44), before=0):
    """A patch that gives a box to a label."""
    mask = np.ones((box[2] - box[0], box[3] - box[1]), bool)
    count = mask.sum()
    return Patch(plane="nuclei", box=box, data=pack(mask, np.full(count, before), np.full(count, label)))


def row(k, **values):
    return NucleusRow(id=k, class_id=1).model_copy(update=values)


def edit(n, **values):
    return Edit.model_construct(n=n, name="forged", **{"patches": (), "before": {}, "after": {}, **values})


@pytest.fixture
def journal(crop):
    """Two honest edits, left as kill -9 leaves them."""
    session = EditingSession.open(crop, SHAPE, author="anna")
    session.do(DrawBrush([(85, 10), (85, 30)], 7, class_="Neutrophil"))
    session.do(SetNote("kept", [1]))
    session.file.journal._log.close()
    path = next((crop.parent / ".monusac").glob("*.journal"))
    return path, session


def new(k, **more):
    return {"before": {k: None}, "after": {k: row(k)}, **more}


WRONG = {
    "pixels of an unknown nucleus": lambda s: edit(3, patches=(painted(77),)),
    "pixels of no nucleus at all": lambda s: edit(3, patches=(painted(-7),)),
    "an id of 2^40": lambda s: edit(3, **new(2**40)),
    "an id of -7": lambda s: edit(3, before={-7: None}, after={-7: row(1)}),
    "an id of 0": lambda s: edit(3, before={0: None}, after={0: row(1)}),
    "a row under another id": lambda s: edit(3, before={7: None}, after={7: row(9)}),
    "a class that is none": lambda s: edit(3, before={2: s.rows[2]}, after={2: row(2, class_id=77)}),
    "an endless confidence": lambda s: edit(
        3, before={2: s.rows[2]}, after={2: s.rows[2].model_copy(update={"confidence": 0.4375})}
    ),
    "a nucleus that is not so": lambda s: edit(3, before={2: row(2, note="never")}, after={2: s.rows[2]}),
    "a nucleus that is not there": lambda s: edit(3, before={50: row(50)}, after={50: None}),
    "rows of different nuclei": lambda s: edit(3, before={2: s.rows[2]}, after={3: None}),
    "a drawn nucleus as the file's own": lambda s: edit(
        3, before={6: s.rows[6]}, after={6: s.rows[6].model_copy(update={"intact": True, "source": 0})}
    ),
    "a region of the file as another's": lambda s: edit(
        3, before={2: s.rows[2]}, after={2: s.rows[2].model_copy(update={"source": 3})}
    ),
    "an untouched nucleus that grows": lambda s: edit(3, patches=(painted(4),)),
    "an untouched nucleus that shrinks": lambda s: edit(3, patches=(painted(0, (74, 40, 76, 42), 4),)),
    "a nucleus gone, its pixels not": lambda s: edit(3, before={4: s.rows[4]}, after={4: None}),
    "pixels that were not so": lambda s: edit(3, patches=(painted(6, before=3),)),
    "a box beyond the image": lambda s: edit(3, patches=(painted(6, (80, 40, 84, 90)),)),
    "a box before the image": lambda s: edit(3, patches=(painted(6).model_copy(update={"box": (-4, 0, 0, 4)}),)),
    "a box of 2^40": lambda s: edit(3, patches=(painted(6).model_copy(update={"box": (0, 0, 2**40, 2**40)}),)),
    "a box inside out": lambda s: edit(3, patches=(painted(6).model_copy(update={"box": (9, 9, 5, 5)}),)),
    "a bomb of zeros": lambda s: edit(3, patches=(painted(6).model_copy(
        update={"data": base64.b64encode(zlib.compress(bytes(1 << 26))).decode()}),)),
    "half a label": lambda s: edit(3, patches=(painted(6).model_copy(
        update={"data": base64.b64encode(zlib.compress(b"\xff\xff" + bytes(129))).decode()}),)),
    "one map twice": lambda s: edit(3, patches=(painted(6), painted(6, (88, 40, 92, 44)))),
    "a wrong number": lambda s: edit(9, **new(7)),
    "a first record that comes third": lambda s: read_journal(s.file.path.parent / ".monusac" / "x.journal")[0][0]
    .model_copy(update={"n": 3}),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("last", [True, False])
def test_a_wrong_record_is_refused_with_a_word(crop, journal, wrong, last):
    path, session = journal
    (crop.parent / ".monusac" / "x.journal").write_bytes(path.read_bytes())
    forged = WRONG[wrong](session)
    more = b"" if last else encode(Saved(n=4, sha256="00"))
    line = encode(forged)
    if wrong == "an endless confidence":
        body = line[9:-1].replace(b"0.4375", b"1e400")
        line = b"%08x %b\n" % (zlib.crc32(body), body)
    before = path.read_bytes() + line + more
    path.write_bytes(before)
    with pytest.raises(SessionError) as caught:
        EditingSession.open(crop, SHAPE)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    assert path.read_bytes() == before, "nothing of it is lost"
    with EditingSession.open(crop, SHAPE, restore="discard") as again:
        assert again.nuclei.same_as(EditingSession.open(crop, SHAPE).nuclei), "nothing of it was applied"
    assert any(p.read_bytes() == before for p in (crop.parent / ".monusac" / "history").iterdir())


def test_an_untouched_nucleus_takes_back_what_lay_hidden(crop):
    """Row 20 to 29 of nucleus 1 lie under 2: they come back when 2 goes, and 1 stays as the file has it."""
    session = EditingSession.open(crop, SHAPE)
    session.do(Delete([2]))
    session.undo()
    session.redo()
    session.file.journal._log.close()
    with EditingSession.open(crop, SHAPE) as again:
        assert again.nuclei.same_as(session.nuclei)
        assert again.rows[1].intact


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("region", [False, True])
def test_no_honest_journal_is_refused(tmp_path, stress, seed, region):
    path = tmp_path / "crop.xml"
    write_annotation(stress.make_annotation((240, 260), 60, seed), path)
    shape, offset = ((150, 140), (40, 60)) if region else ((240, 260), None)
    session = EditingSession.open(path, shape, offset_px=offset, author="anna")
    rng = np.random.default_rng(seed)
    for k in range(60):
        stress.random_edit(session, rng)
        if k % 7 == 3 and session.history.can_undo:
            session.undo()
            if rng.random() < 0.5:
                session.redo()
        if k in (20, 41):
            session.save()
    session.do(SetNote("the last word", [next(iter(session.rows))]))
    session.file.journal._log.close()
    with EditingSession.open(path, shape, offset_px=offset) as again:
        assert again.nuclei.same_as(session.nuclei)


def test_the_last_line_with_another_checksum_is_left_out_with_a_word(crop, journal):
    path, _ = journal
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + b"00000000" + lines[-1][8:])
    with EditingSession.open(crop, SHAPE) as again:
        assert again.restored.edits == 1
        assert again.restored.dropped
