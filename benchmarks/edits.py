"""From a finished edit to refreshed nuclei, semantic and ternary maps, on a crop of 2,000 x 2,000 px with 3,000 nuclei.

    python benchmarks/edits.py [--edits 300] [--side 2000] [--nuclei 3000] [--json]

Measured: the whole call of an edit (mask, command, journal with fsync, all maps). Rival: the semantic and ternary maps
worked out again over the whole frame (the edit itself not counted), as a program without local updates does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import stress_session

from napari_monusac.core.errors import SessionError
from napari_monusac.editing.commands import (
    Command,
    Delete,
    DrawBrush,
    DrawPolygon,
    EraseBrush,
    Merge,
    Reshape,
    SetClass,
    SplitByStroke,
)
from napari_monusac.editing.session import EditingSession
from napari_monusac.io.annotations.files import write_annotation
from napari_monusac.masks.ternary import ternary_map

TOOLS = ("draw", "brush", "extend", "erase", "split", "merge", "delete", "grow", "shrink", "smooth", "class", "paint")


def command(session: EditingSession, tool: str, rng: np.random.Generator) -> Command:
    """One command of a size that a reader gives: about a nucleus."""
    ids = list(session.maps.boxes)
    label = int(rng.choice(ids))
    while session.rows[label].plane != "nuclei":
        label = int(rng.choice(ids))
    top, left, bottom, right = session.maps.boxes[label]
    centre = np.array([(top + bottom) / 2, (left + right) / 2])
    across = np.array([[centre[0], left - 3.0], [centre[0], right + 3.0]])
    free = rng.uniform(20, np.array(session.shape) - 20)
    match tool:
        case "draw":
            return DrawPolygon(stress_session.blob(rng, tuple(free), 12))
        case "brush":
            return DrawBrush(free + np.cumsum(rng.uniform(-3, 3, (25, 2)), 0), 9)
        case "extend":
            return DrawBrush(across[1] + np.cumsum(rng.uniform(-1, 1, (10, 2)), 0), 7, into=label)
        case "erase":
            return EraseBrush(across, 5)
        case "split":
            return SplitByStroke(across)
        case "merge":
            return Merge([centre, centre + np.array([0, 1.3 * (right - left)])])
        case "paint":
            return stress_session.paint(session, rng, centre)
        case "class":
            return SetClass(int(rng.integers(1, 5)), [label])
        case "delete":
            return Delete([label])
        case _:
            return Reshape(tool, [label])


def whole_frame(session: EditingSession) -> float:
    """Seconds to work the semantic and ternary maps out again over the whole frame (the edit itself not counted)."""
    maps = session.maps
    start = time.perf_counter()
    lut = np.zeros(session.nuclei.next_id, np.uint8)
    for k, row in session.rows.items():
        lut[k] = 0 if row.plane == "ambiguous" else row.class_id
    maps.semantic[:] = lut[maps.instances]
    maps.ternary[:] = ternary_map(maps.instances, maps.boundary_width)
    return time.perf_counter() - start


def measure(edits: int, side: int, nuclei: int, seed: int = 0) -> dict:
    shape = (side, side)
    rng = np.random.default_rng(seed)
    local: dict[str, list[float]] = {t: [] for t in TOOLS}
    undo, full, refused = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crop.xml"
        write_annotation(stress_session.make_annotation(shape, nuclei, seed), path)
        start = time.perf_counter()
        with EditingSession.open(path, shape) as session:
            opened = time.perf_counter() - start
            made = 0
            while made < edits:
                tool = TOOLS[int(rng.integers(len(TOOLS)))]
                start = time.perf_counter()
                try:
                    change = session.do(command(session, tool, rng))
                except SessionError:
                    refused += 1
                    continue
                if change is None:
                    continue
                local[tool].append(time.perf_counter() - start)
                made += 1
                if made % 10 == 0:
                    expected = session.maps.ternary.copy(), session.maps.semantic.copy()
                    full.append(whole_frame(session))
                    if not all(map(np.array_equal, expected, (session.maps.ternary, session.maps.semantic))):
                        raise SystemExit("the local update is not that of the whole frame")
                if made % 5 == 0:
                    start = time.perf_counter()
                    session.undo()
                    undo.append(time.perf_counter() - start)
                    session.redo()
            start = time.perf_counter()
            session.save()
            saved = time.perf_counter() - start
            journal = session.file.journal.path.stat().st_size / max(1, session.file.records)
    return {
        "local": local, "undo": undo, "full": full, "opened": opened, "saved": saved, "journal": journal,
        "refused": refused,
    }  # fmt: skip


def milliseconds(values: list[float], share: float) -> float:
    return 1000 * float(np.percentile(values, share)) if values else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=300)
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--nuclei", type=int, default=3000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.edits, given.side, given.nuclei)
    every = [t for times in found["local"].values() for t in times]
    summary = {
        "edits": len(every),
        "p50_ms": milliseconds(every, 50),
        "p95_ms": milliseconds(every, 95),
        "max_ms": milliseconds(every, 100),
        "undo_p95_ms": milliseconds(found["undo"], 95),
        "whole_frame_p50_ms": milliseconds(found["full"], 50),
        "ratio_to_whole_frame": milliseconds(found["full"], 50) / milliseconds(every, 50),
        "open_s": found["opened"],
        "save_s": found["saved"],
        "journal_bytes_an_edit": found["journal"],
        "refused": found["refused"],
    }
    if given.json:
        print(json.dumps(summary))
        return
    print(f"{'tool':10} {'edits':>6} {'p50 ms':>8} {'p95 ms':>8}")
    for tool, times in found["local"].items():
        print(f"{tool:10} {len(times):6} {milliseconds(times, 50):8.2f} {milliseconds(times, 95):8.2f}")
    print()
    for name, value in summary.items():
        print(f"{name:22} {value:10.2f}")


if __name__ == "__main__":
    main()
