"""napari's start with and without this plugin, in turn, each in a fresh process with a real window.

    xvfb-run -a python benchmarks/startup.py [--rounds 7] [--json]

*Without*: the same environment, our distribution hidden from npe2's discovery. A start is the time from the first
statement of the interpreter to the first frame of an empty viewer. Also: what of ours a start imports, how long our
manifest takes npe2, and a cold ``import napari_monusac``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

#: Milliseconds that our part of napari's start may take.
AIM_IMPORT_MS = 100.0
_START = """
import time; began = time.perf_counter()
import json, sys
from npe2.manifest import schema
plain, ours = schema._from_dist, 0.0
def timed(dist):
    global ours
    if dist.metadata["Name"] != "napari-monusac":
        return plain(dist)
    if WITHOUT:
        return None
    at = time.perf_counter()
    found = plain(dist)
    ours += time.perf_counter() - at
    return found
schema._from_dist = timed
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer(show=True)
QApplication.processEvents()
took = time.perf_counter() - began
mine = sorted(m for m in sys.modules if m.split(".")[0] == "napari_monusac")
import npe2
known = "napari-monusac" in {m.name for m in npe2.PluginManager.instance().iter_manifests()}
print("FOUND" + json.dumps({"seconds": took, "manifest_s": ours, "modules": mine, "known": known}))
viewer.close()
"""
_IMPORT = """
import time; began = time.perf_counter()
import napari_monusac
print("FOUND" + str(time.perf_counter() - began))
"""


def answer(code: str, home: str) -> Any:
    """Run code in a fresh interpreter with settings of its own; give what it found."""
    environment = {**os.environ, "NAPARI_CONFIG": f"{home}/napari.yaml"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    if not lines:
        raise SystemExit(f"napari did not start: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    return json.loads(lines[-1].removeprefix("FOUND"))


def measure(rounds: int) -> dict[str, Any]:
    """Start napari `rounds` times each way, in turn (the order changes every round)."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    manifest, modules = [], []
    with tempfile.TemporaryDirectory() as home:
        for without in (False, True):  # files of both ways are in the disk cache before the clock counts
            answer(_START.replace("WITHOUT", str(without)), home)
        for k in range(rounds):
            for without in (False, True) if k % 2 else (True, False):
                found = answer(_START.replace("WITHOUT", str(without)), home)
                if found["known"] is without:
                    raise SystemExit(f"the plugin is {'' if found['known'] else 'not '}registered: install it first")
                seconds[without].append(found["seconds"])
                if not without:
                    manifest.append(found["manifest_s"])
                    modules = found["modules"]
        cold = [answer(_IMPORT, home) for _ in range(rounds)]
    pairs = [w / o for w, o in zip(seconds[False], seconds[True], strict=True)]
    median = statistics.median
    return {
        "rounds": rounds,
        "with_s": [round(s, 3) for s in seconds[False]],
        "without_s": [round(s, 3) for s in seconds[True]],
        "with_median_s": median(seconds[False]),
        "without_median_s": median(seconds[True]),
        "ratio": median(pairs),
        "ratio_lowest": min(pairs),
        "ratio_highest": max(pairs),
        "manifest_ms": 1000 * median(manifest),
        "modules_imported_at_start": modules,
        "import_ms": 1000 * median(cold),
        "aim_import_ms": AIM_IMPORT_MS,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="starts each way")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    r = measure(given.rounds)
    if given.json:
        print(json.dumps(r, indent=1))
    else:
        print(f"napari with the plugin     {r['with_median_s']:.2f} s (median of {r['rounds']})")
        print(f"napari without the plugin  {r['without_median_s']:.2f} s")
        print(f"ratio, paired median       {r['ratio']:.3f} x ({r['ratio_lowest']:.3f} to {r['ratio_highest']:.3f})")
        print(
            f"our manifest in npe2       {r['manifest_ms']:.0f} ms; imported of ours: {r['modules_imported_at_start'] or 'nothing'}"
        )
        print(f"import napari_monusac      {r['import_ms']:.0f} ms, cold process (aim < {AIM_IMPORT_MS:.0f} ms)")
    return int(max(r["manifest_ms"], r["import_ms"]) >= AIM_IMPORT_MS)


if __name__ == "__main__":
    sys.exit(main())
