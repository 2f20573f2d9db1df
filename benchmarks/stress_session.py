"""Never lost: random edits, kill -9 after a random one, reopen; the restored state equals the journal's.

    python benchmarks/stress_session.py [--rounds 50] [--edits 100] [--json]

Each round a child process opens a crop and edits; the parent reads its messages and kills it (SIGKILL) at a random
moment after a random number of finished edits. Then the crop is opened again and compared, pixel for pixel and row for
row, with an independent replay of the child's script to the number of edits that the journal holds. No edit that the
child had reported as finished may be missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.commands import (
    AdoptPaint,
    Delete,
    DrawBrush,
    DrawPolygon,
    EraseBrush,
    ErasePolygon,
    Fill,
    Merge,
    Reshape,
    Separate,
    SetClass,
    SetNote,
    SplitAsSuggested,
    SplitByStroke,
)
from napari_monusac.editing.session import EditingSession
from napari_monusac.io.annotations.files import read_annotation, write_annotation

LABELS = ("Epithelial", "Lymphocyte", "Neutrophil", "Macrophage")


def blob(rng: np.random.Generator, centre: tuple[float, float], radius: float, vertices: int = 18) -> np.ndarray:
    """A wobbly outline, whole pixels, (y, x)."""
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    reach = radius * (1 + 0.18 * rng.standard_normal(vertices).cumsum() / np.sqrt(vertices))
    reach = np.clip(reach, 0.4 * radius, 1.6 * radius)
    return np.rint(np.stack([centre[0] + reach * np.sin(angle), centre[1] + reach * np.cos(angle)], axis=1))


def make_annotation(shape: tuple[int, int], nuclei: int, seed: int = 0, ambiguous: int = 3) -> Annotation:
    """Nuclei on a jittered grid that overlap here and there, in the four layers, and some Ambiguous regions."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(nuclei)))
    pitch = np.array(shape) / side
    cells = rng.permutation(side * side)[:nuclei]
    regions = []
    for cell in cells:
        centre = (np.array(divmod(int(cell), side)) + 0.5 + 0.25 * rng.uniform(-1, 1, 2)) * pitch
        kind = int(rng.choice(4, p=[0.45, 0.45, 0.04, 0.06]))
        outline = blob(rng, tuple(centre), pitch.min() * rng.uniform(0.25, 0.62))
        regions.append(Nucleus(outline, LABELS[kind], kind, integral=True))
    regions.sort(key=lambda r: r.layer)
    for _ in range(ambiguous):
        outline = blob(rng, tuple(rng.uniform(0, 1, 2) * shape), pitch.min())
        regions.append(Nucleus(outline, "Ambiguous", -1, integral=True))
    return Annotation(tuple(regions), um_per_px=0.25)


def random_edit(session: EditingSession, rng: np.random.Generator) -> str:
    """One edit as a reader might make it; returns its name, or an empty text where it could not be made."""
    height, width = session.shape
    size = min(height, width)
    ids = sorted(session.rows)
    some = [int(k) for k in rng.choice(ids, min(len(ids), int(rng.integers(1, 4))), replace=False)] if ids else []
    point = rng.uniform(0, 1, 2) * (height, width)
    if some and rng.random() < 0.7 and some[0] in session.maps.boxes:
        top, left, bottom, right = session.maps.boxes[some[0]]
        point = np.array([(top + bottom) / 2, (left + right) / 2])
    reach = rng.uniform(0.03, 0.12) * size
    along = rng.standard_normal(2)
    along *= reach / np.linalg.norm(along)
    stroke = np.stack([point - along, point + along])
    tools = {
        "polygon": lambda: session.do(DrawPolygon(blob(rng, tuple(point), reach), class_=int(rng.integers(0, 6)))),
        "over": lambda: session.do(DrawPolygon(blob(rng, tuple(point), reach), over="all")),
        "brush": lambda: session.do(DrawBrush(stroke, rng.uniform(1, 9), class_=int(rng.integers(0, 5)))),
        "extend": lambda: session.do(DrawBrush(stroke, rng.uniform(1, 9), into=some[0])),
        "erase": lambda: session.do(EraseBrush(stroke, rng.uniform(1, 9))),
        "erase one": lambda: session.do(ErasePolygon(blob(rng, tuple(point), reach), ids=some)),
        "fill": lambda: session.do(Fill(tuple(point))),
        "split": lambda: session.do(SplitByStroke(stroke)),
        "merge": lambda: session.do(Merge(stroke)),
        "delete": lambda: session.do(Delete(some)),
        "grow": lambda: session.do(Reshape("grow", some)),
        "shrink": lambda: session.do(Reshape("shrink", some)),
        "smooth": lambda: session.do(Reshape("smooth", some)),
        "holes": lambda: session.do(Reshape("fill holes", some)),
        "separate": lambda: session.do(Separate(some[0])),
        "suggested": lambda: session.do(SplitAsSuggested(some[0])),
        "class": lambda: session.do(SetClass(int(rng.integers(0, 6)), some)),
        "note": lambda: session.do(SetNote(f"note {rng.integers(1000)}", some)),
        "paint": lambda: session.do(paint(session, rng, point)),
    }  # fmt: skip
    name = str(rng.choice(list(tools)))
    try:
        return name if (some or name in ("polygon", "brush", "paint")) and tools[name]() is not None else ""
    except SessionError:
        return ""


def paint(session: EditingSession, rng: np.random.Generator, point: np.ndarray) -> AdoptPaint:
    """Paint on the array itself, as napari's brush does; return what takes it over."""
    y, x = (int(np.clip(c, 0, n - 1)) for c, n in zip(point, session.shape, strict=True))
    box = (max(0, y - 4), max(0, x - 6), min(session.shape[0], y + 5), min(session.shape[1], x + 7))
    view = session.maps.instances[box[0] : box[2], box[1] : box[3]]
    before = view.copy()
    view[rng.random(view.shape) < 0.8] = rng.choice([0, int(view.max()), session.nuclei.next_id])
    return AdoptPaint(box, before, view.copy())


def script(session: EditingSession, seed: int, until: int, told=None) -> None:
    """Edits, with an undo or redo now and then, until the journal would hold `until` records; `told` hears of each."""
    rng = np.random.default_rng(seed)
    while session.file.records < until:
        dice = rng.random()
        if dice < 0.12 and session.history.can_undo:
            session.undo()
        elif dice < 0.2 and session.history.can_redo:
            session.redo()
        elif not random_edit(session, rng):
            continue
        if told is not None:
            told(session.file.records)


def child(path: Path, shape: tuple[int, int], seed: int, edits: int) -> None:
    session = EditingSession.open(path, shape, author="child")
    script(session, seed, edits, lambda n: print(n, flush=True))
    print("end", flush=True)
    time.sleep(60)


def one_round(folder: Path, seed: int, edits: int, shape: tuple[int, int], nuclei: int) -> dict[str, float]:
    """Start a child, kill it, restore, compare."""
    rng = np.random.default_rng(10_000 + seed)
    path = folder / f"crop_{seed}.xml"
    write_annotation(make_annotation(shape, nuclei, seed), path)
    command = [sys.executable, __file__, "--child", str(path), str(seed), str(edits), str(shape[0]), str(shape[1])]
    kill_at = int(rng.integers(1, edits + 1))
    finished = 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if line.strip() == "end":
                break
            finished = int(line)
            if finished >= kill_at:
                time.sleep(float(rng.uniform(0, 0.004)))  # somewhere within the next edit
                break
        process.kill()
        process.wait()
        # what it had written to the pipe before it died was finished as well
        finished = max([finished, *(int(x) for x in process.stdout.read().split() if x.isdigit())])
    start = time.perf_counter()
    with EditingSession.open(path, shape) as session:
        seconds = time.perf_counter() - start
        held = session.file.records
        if held < finished:
            raise SystemExit(f"round {seed}: {finished} edits were finished, {held} came back")
        reference = replayed(path, shape, seed, held)
        if not same_state(session, reference) or session.nuclei.next_id != reference.nuclei.next_id:
            raise SystemExit(f"round {seed}: the restored state is not that of {held} records")
        if len(session.history.done) != len(reference.history.done):
            raise SystemExit(f"round {seed}: the history has another length")
    return {"finished": finished, "held": held, "restore_ms": 1000 * seconds}


def same_state(one: EditingSession, other: EditingSession) -> bool:
    """Equal maps, and equal rows but for the clock."""
    rows = [{k: r.model_copy(update={"time": ""}) for k, r in s.rows.items()} for s in (one, other)]
    names = ("instances", "ambiguous", "semantic", "ternary")
    return rows[0] == rows[1] and all(np.array_equal(getattr(one.maps, n), getattr(other.maps, n)) for n in names)


def replayed(path: Path, shape: tuple[int, int], seed: int, records: int) -> EditingSession:
    """The same script in memory, without any journal."""
    session = EditingSession(read_annotation(path), shape, author="child")
    script(session, seed, records)
    return session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--edits", type=int, default=100)
    parser.add_argument("--nuclei", type=int, default=60)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=5, metavar=("PATH", "SEED", "EDITS", "H", "W"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        path, seed, edits, height, width = given.child
        child(Path(path), (int(height), int(width)), int(seed), int(edits))
        return
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        shape = (given.side, given.side)
        rounds = [one_round(Path(folder), k, given.edits, shape, given.nuclei) for k in range(given.rounds)]
    held = sum(r["held"] for r in rounds)
    summary = {
        "rounds": len(rounds),
        "records_restored": held,
        "beyond_reported": held - sum(r["finished"] for r in rounds),
        "lost": 0,
        "restore_ms_median": float(np.median([r["restore_ms"] for r in rounds])),
        "seconds": time.perf_counter() - start,
    }
    if given.json:
        print(json.dumps(summary))
        return
    for name, value in summary.items():
        print(f"{name:20} {value:10.1f}" if isinstance(value, float) else f"{name:20} {value:10}")


if __name__ == "__main__":
    main()
