"""Every benchmark of this folder, one after another, and one table: what, ours, the rival, the ratio, the aim.

    python benchmarks/run_all.py [NAME ...] [--quick] [--timeout 900] [--json]

Each benchmark runs in a process of its own with ``--json``. A benchmark that fails, or needs data that are not here, is
a line of the table that says so; the exit code is then 1. ``--quick`` takes small sizes: to see that all of them run,
not for figures. A ratio is how many times as good as the rival; where there is no rival, ours stands against the aim.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
#: Options of each benchmark with --quick.
QUICK: dict[str, list[str]] = {
    "annotations": ["--crops", "2"],
    "coco": ["--outlines", "100"],
    "edits": ["--edits", "60", "--side", "800", "--nuclei", "400"],
    "fuzz_annotations": ["--examples", "500"],
    "fuzz_slides": ["--count", "100"],
    "scores": ["--repeats", "3"],
    "slides": ["--side", "8000"],
    "soak": ["--minutes", "0.5", "--kills", "1"],
    "startup": ["--rounds", "1"],
    "stress_kill": ["--kills", "2"],
    "stress_session": ["--rounds", "3", "--edits", "30"],
    "edits_window": ["--edits", "20", "--side", "800"],
    "outlines": ["--nuclei", "900", "--edits", "20"],
    "next_crop": ["--crops", "3", "--rounds", "1", "--side", "300"],
    "review_window": ["--steps", "10"],
    "training_window": ["--seconds", "5"],
    "training": ["--encoder", "resnet18", "--batch", "2", "--steps", "2"],
}


@dataclass(frozen=True)
class Line:
    """A line of the table; `met` is None where nothing is aimed at."""

    what: str
    ours: str
    rival: str = ""
    ratio: float | None = None
    aim: str = ""
    met: bool | None = None


def _ratio(what: str, ours: str, rival: str, ratio: float, aim: float | None = None) -> Line:
    return Line(what, ours, rival, ratio, "" if aim is None else f"{aim:g} x", None if aim is None else ratio >= aim)


def _below(what: str, value: float, unit: str, aim: float) -> Line:
    return Line(what, f"{value:.3g} {unit}", aim=f"< {aim:g} {unit}", met=value < aim)


def _none(what: str, number: int, of: str) -> Line:
    return Line(what, f"{number} of {of}", aim="0", met=number == 0)


def annotations(r: dict[str, Any]) -> Iterator[Line]:
    """XML to maps."""
    first = r["crops"][0]
    ours = f"{first['ours_ms']:.1f} ms"
    for key, name, aim in (
        ("organisers_ms", "organisers' way", 100.0),
        ("elementtree_ms", "ElementTree + skimage", None),
    ):
        yield _ratio(
            f"XML to masks, {first['crop']}", ours, f"{name} {first[key]:.0f} ms", first[key] / first["ours_ms"], aim
        )
    same = sum(bool(c["identical"]) for c in r["crops"])
    yield Line("the same pixels", f"{same} of {len(r['crops'])} crops", aim="all", met=same == len(r["crops"]))


def coco(r: dict[str, Any]) -> Iterator[Line]:
    """COCO, in and out, against the format's own library."""
    for what, part in r.items():
        if isinstance(part, dict) and "nuclei" in part:
            other = part["with_other_pixels"] + part["with_another_area_or_box"]
            yield _none(f"COCO, {what}: unlike pycocotools {r['pycocotools']}", other, f"{part['nuclei']} nuclei")
    between = r["between the pixels"]
    yield Line(
        f"COCO, {between['outlines']} outlines between the pixels: IoU with pycocotools' pixels", f"{between['iou']:.4f}",
        f"without the half pixel {between['iou_without_the_half_pixel']:.4f}", aim="> 0.98", met=between["iou"] > 0.98,
    )  # fmt: skip


def correction(r: dict[str, Any]) -> Iterator[Line]:
    """Seconds of a reader."""
    for way, word in (("repaint", "repainting"), ("outline", "outlining all")):
        yield _ratio(
            f"correcting a crop ({r['nuclei']} nuclei), a model of the reader",
            f"{r['tools']['seconds']:.0f} s", f"{word} {r[way]['seconds']:.0f} s", r[f"ratio_{way}"],
        )  # fmt: skip


def doctor(r: dict[str, Any]) -> Iterator[Line]:
    """Findings of the doctor."""
    yield Line(f"doctor on {r['crops']} crops", f"{r['seconds']:.1f} s")
    ours, rival = r["channels"].get("ours"), r["channels"].get("one term")
    if ours and rival:
        for key in ("swapped images found", "swapped patients found", "right images flagged"):
            yield Line(key, str(ours[key]), f"one-term statistic {rival[key]}")


def edits(r: dict[str, Any]) -> Iterator[Line]:
    """From an edit to fresh maps."""
    yield _ratio(
        "an edit to fresh maps, median", f"{r['p50_ms']:.1f} ms", f"whole frame {r['whole_frame_p50_ms']:.0f} ms",
        r["ratio_to_whole_frame"],
    )  # fmt: skip
    yield _below("an edit to fresh maps, 95 %", r["p95_ms"], "ms", 30)


def edits_window(r: dict[str, Any]) -> Iterator[Line]:
    """An edit in a real window."""
    yield _ratio(
        "an edit on the Qt thread of a window, median", f"{r['median_ms']:.1f} ms",
        f"whole layers {r['whole_layers_ms']:.0f} ms", r["ratio"],
    )  # fmt: skip
    yield _below("an edit on the Qt thread of a window, 95 %", r["p95_ms"], "ms", 30)


def fuzz_annotations(r: dict[str, Any]) -> Iterator[Line]:
    """Mutated annotations."""
    yield _none("mutated annotations that fail", r["failed"], str(r["read"] + r["refused"] + r["failed"]))
    yield _below("the slowest of them", r["slowest_s"], "s", 10)


def fuzz_slides(r: dict[str, Any]) -> Iterator[Line]:
    """Mutated images."""
    yield _none("mutated images that crash or hang", len(r["crashes"]) + len(r["bad"]), str(r["files"]))
    yield _below("the slowest of them", r["slowest_s"], "s", 10)


def next_crop(r: dict[str, Any]) -> Iterator[Line]:
    """The next crop of a folder in a real window: processor time of the Qt thread."""
    yield _below("the next crop's image on the canvas, median", r["image_ms"]["p50"], "ms", 150)
    yield _below("the next crop with all that belongs to it, median", r["everything_ms"]["p50"], "ms", 400)
    yield _below("memory that a crop leaves behind", r["memory_mib_a_crop"], "MiB", 2)


def outlines(r: dict[str, Any]) -> Iterator[Line]:
    """Outlines in a real window."""
    yield _ratio(
        f"first outlines of {r['nuclei']} nuclei: the window is held", f"{r['first_thread_ms']:.0f} ms",
        f"Shapes {r['shapes_first_ms']:.0f} ms", r["shapes_first_ms"] / r["first_thread_ms"],
    )  # fmt: skip
    yield _below("outlines after an edit, 95 %", r["edit_ms"]["p95"], "ms", 5)


def review_window(r: dict[str, Any]) -> Iterator[Line]:
    """A step from error to error in a real window."""
    for way, found in r["ways"].items():
        yield _below(f"a step to the next error, {way}, 95 %", found["shown_p95_ms"], "ms", r["aim_p95_ms"])
    yield _ratio(
        "a step, outlines, median", f"{r['ways']['outlines']['shown_p50_ms']:.0f} ms",
        f"whole overlay {r['whole_overlay']['shown_p50_ms']:.0f} ms", r["ratio"],
    )  # fmt: skip


def scores(r: dict[str, Any]) -> Iterator[Line]:
    """Panoptic quality."""
    for row in r["rivals"]:
        if row["installed"]:
            aim = r["aim_ratio_to_organisers"] if row["rival"] == "organisers" else None
            yield _ratio(
                f"PQ of {r['nuclei']} nuclei", f"{r['ours_ms']:.2f} ms", f"{row['rival']} {row['ms']:.1f} ms",
                row["ratio"], aim,
            )  # fmt: skip
            yield Line("the same PQ", f"differs by {row['differs_by']:.0e}", row["rival"])
        else:
            yield Line(f"PQ of {r['nuclei']} nuclei", f"{r['ours_ms']:.2f} ms", f"{row['rival']} not installed")
    slide = r["slide"]
    yield _below(f"errors of {slide['nuclei']} nuclei", slide["find_errors_s"], "s", slide["aim_find_errors_s"])


def slides(r: dict[str, Any]) -> Iterator[Line]:
    """To the first view, and a pan."""
    ours, other = r["napari-monusac"], r["OpenSlide"]
    first, side = other["first_view_s"], r["side"]
    ratio = first / ours["first_view_s"]
    yield _ratio(
        f"first view of {side} x {side} px", f"{ours['first_view_s']:.2f} s", f"OpenSlide {first:.2f} s", ratio
    )
    for key, what, unit in (("pan_s", "100 steps of a pan", "s"), ("peak_mib", "its peak memory", "MiB")):
        values = (f"{ours[key]:.2f} {unit}", f"OpenSlide {other[key]:.2f} {unit}")
        yield _ratio(what, *values, other[key] / ours[key])


def startup(r: dict[str, Any]) -> Iterator[Line]:
    """Starting napari, with and without us."""
    yield _ratio(
        "napari's start with the plugin, paired", f"{r['with_median_s']:.2f} s", f"without {r['without_median_s']:.2f} s",
        1 / r["ratio"],
    )  # fmt: skip
    yield _below("our manifest at napari's start", r["manifest_ms"], "ms", r["aim_import_ms"])
    yield _below("import napari_monusac, cold", r["import_ms"], "ms", r["aim_import_ms"])


def stress_kill(r: dict[str, Any]) -> Iterator[Line]:
    """Kill -9 and resume."""
    yield Line(
        f"same weights after {r['kills']} x kill -9", f"{r['equal_bit_for_bit']} of {r['runs']} runs", aim="all",
        met=r["equal_bit_for_bit"] == r["runs"],
    )  # fmt: skip
    yield Line("steps lost by a kill", str(r["most_steps_lost"]), aim=f"<= {r['steps_per_epoch']} (an epoch)",
               met=r["most_steps_lost"] <= r["steps_per_epoch"])  # fmt: skip


def stress_session(r: dict[str, Any]) -> Iterator[Line]:
    """Kill -9 and restore."""
    yield _none(f"edits lost in {r['rounds']} x kill -9", r["lost"], str(r["records_restored"]))


def soak(r: dict[str, Any]) -> Iterator[Line]:
    """A long day in a window."""
    yield _none(f"edits lost in {r['kills']} x kill -9 of a window", r["lost"], str(r["edits_held"]))
    grows = r["growth_a_round"]
    yield Line(
        f"memory after {r['rounds']} rounds of a window",
        f"{grows['rss_mb']:+.2f} MB a round",
        aim="<= 1 MB",
        met=r["bounded"],
    )


def training(r: dict[str, Any]) -> Iterator[Line]:
    """Steps per second."""
    s = r["seconds_per_step"]
    what = f"training step, {r['encoder']}, {r['device']}, {r['threads']} threads, {r['precision']}"
    ours = f"{s['ours']:.2f} s"
    aim = 2.5 if r["precision"] == "bfloat16" else None
    yield _ratio(what, ours, f"plain loop {s['plain loop']:.2f} s", r["faster_than_plain_loop"], aim)
    yield _ratio(what, ours, f"bare step {s['bare step']:.2f} s", r["share_of_bare_step"], 0.95)


def training_window(r: dict[str, Any]) -> Iterator[Line]:
    """The event loop of a window while it trains."""
    idle, busy = r["idle"]["p99"], r["training"]["p99"]
    yield Line("event loop while training, 99 %", f"{busy:.0f} ms", f"idle {idle:.0f} ms", None, "< 50 ms", busy < 50)
    yield Line("Stop to stopped and saved", f"{max(r['stop_s']):.1f} s", f"a step {r['step_s']:.1f} s")


def by_names(r: Any, path: str = "") -> Iterator[Line]:
    """Read a benchmark without a reader of its own: numbers with `ratio` in their name, or an `aim_NAME` beside."""
    if isinstance(r, list):
        for k, item in enumerate(r):
            yield from by_names(item, f"{path}[{_name_of(item, k)}]")
    elif isinstance(r, dict):
        for key, value in r.items():
            aim = r.get(f"aim_{key}")
            what = f"{path} {key}".strip().replace("_", " ")
            if isinstance(value, dict | list):
                yield from by_names(value, f"{path} {key}")
            elif not isinstance(value, int | float) or key.startswith("aim"):
                continue
            elif "ratio" in key:
                yield _ratio(what, "", "", float(value), aim)
            elif aim is not None and key.endswith(("_ms", "_s", "_mib")):
                yield _below(what, float(value), key.rpartition("_")[2], aim)
            elif aim is not None:
                yield Line(what, f"{value:.4g}", aim=f">= {aim:g}", met=value >= aim)


def _name_of(item: Any, k: int) -> str:
    """What tells an item of a list from the others: its texts, or its place."""
    words = [v for v in item.values() if isinstance(v, str) and len(v) < 40] if isinstance(item, dict) else []
    return ", ".join(words[:2]) or str(k)


READERS: dict[str, Callable[[dict[str, Any]], Iterator[Line]]] = {
    f.__name__: f
    for f in (annotations, coco, correction, doctor, edits, edits_window, fuzz_annotations, fuzz_slides, next_crop,
              outlines, review_window,
              scores, slides, soak, startup, stress_kill, stress_session, training,
              training_window)
}  # fmt: skip


def names() -> list[str]:
    """Name every benchmark of this folder."""
    return sorted(p.stem for p in FOLDER.glob("[!_]*.py") if p.stem != Path(__file__).stem)


def run(name: str, options: list[str], timeout_s: float) -> tuple[dict[str, Any] | None, str]:
    """Run one benchmark; give its JSON, or why there is none."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), *options, "--json"]
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return None, f"not done after {timeout_s:g} s"
    try:
        # a failed check exits with 1 and still has figures
        return json.loads(done.stdout[done.stdout.index("{") :]), ""
    except ValueError:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        return None, f"exit {done.returncode}: {last[0][:100]}"


def table(rows: list[dict[str, Any]]) -> str:
    """Lay the lines out in columns."""
    heads = ("benchmark", "what", "ours", "rival", "ratio", "aim", "")
    cells = [heads] + [
        (
            r["benchmark"], r["what"], r["ours"], r["rival"], "" if r["ratio"] is None else f"{r['ratio']:.2f} x",
            r["aim"], {None: "", True: "met", False: "MISSED"}[r["met"]],
        )
        for r in rows
    ]  # fmt: skip
    widths = [max(len(row[k]) for row in cells) for k in range(len(heads))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these benchmarks")
    parser.add_argument("--quick", action="store_true", help="small sizes: do they run?")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for each")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    unknown = set(given.names) - set(names())
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    rows: list[dict[str, Any]] = []
    failed = False
    for name in given.names or names():
        began = time.perf_counter()
        found, fault = run(name, QUICK.get(name, []) if given.quick else [], given.timeout)
        lines = list(READERS.get(name, by_names)(found)) if found is not None else [Line("", f"FAILED: {fault}")]
        failed |= found is None
        rows += [{"benchmark": name, **line.__dict__} for line in lines or [Line("no ratio in its JSON", "")]]
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print(json.dumps(rows, indent=1) if given.json else table(rows))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
