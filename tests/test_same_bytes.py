"""The same input gives the same files to the byte, on another day too; what does not is listed with its reason."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch

#: Every command that writes, in a process of its own; `{out}` is the same folder each time.
COMMANDS = {
    "masks": ["masks", "{data}", "--out", "{out}/masks"],
    **{to: ["export", "{data}", "--to", to, "--out", f"{{out}}/{to}"] for to in ("geojson", "aperio", "coco", "csv", "tif", "mat")},
    "mended": ["doctor", "{data}", "--fix", "--everything", "--out", "{out}/mended"],
    "predict": ["predict", "{data}", "--checkpoint", "{run}", "--out", "{out}/predicted", "--counts", "{out}/counts.csv", "--device", "cpu"],
    "report": ["evaluate", "--truth", "{data}", "--pred", "{out}/predicted", "--include-training", "--report", "{out}/r.html"],
    "onnx": ["export", "{run}", "--to", "onnx", "--out", "{out}/onnx"],
}  # fmt: skip
ALL = """
import json, sys
from napari_monusac.cli import main
for argv in json.loads(sys.argv[1]):
    try:
        main(argv)
    except SystemExit as end:
        assert not end.code, argv
"""


def written(out: Path, data: Path, run: Path) -> dict[str, str]:
    """Run all commands into an empty folder; the SHA-256 of each file."""
    import json
    import os

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    commands = [[part.format(out=out, data=data, run=run) for part in argv] for argv in COMMANDS.values()]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "random"}
    done = subprocess.run(
        [sys.executable, "-c", ALL, json.dumps(commands)], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    files = sorted(p for p in out.rglob("*") if p.is_file())
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_all_files_are_the_same_bytes(example_data: Path, example_run: Path, tmp_path: Path) -> None:
    first = written(tmp_path / "out", example_data, example_run)
    time.sleep(1.1)  # dates are in seconds
    second = written(tmp_path / "out", example_data, example_run)
    assert {name.split("/")[0] for name in first} >= set(COMMANDS) - {"predict", "report"}
    assert [name for name in first if first[name] != second.get(name)] == []
    assert first.keys() == second.keys()
