"""The check for a machine with a card: it needs no window's libraries, and one part's failure is one line."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: What only the window imports; a machine with a card has none of it.
WINDOW = ("napari", "qtpy", "PyQt6", "superqt", "magicgui", "pyqtgraph", "vispy", "npe2")


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "tools" / "gpu_check.py")
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.fixture
def args(tmp_path: Path) -> Namespace:
    return Namespace(out=tmp_path, device="cpu", quick=True, crops=None)


@pytest.mark.torch
def test_train_predict_and_evaluate_need_nothing_of_the_window(example_data: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        f"for name in {WINDOW!r}: sys.modules[name] = None\n"
        "from napari_monusac.cli import main\n"
        "def done(*command):\n"
        "    try: main([str(c) for c in command])\n"
        "    except SystemExit as end: assert not end.code, (command, end.code)\n"
        f"data, out = {str(example_data)!r}, {str(tmp_path)!r}\n"
        "small = {'encoder': 'tu-test_efficientnet', 'encoder_weights': 'none', 'decoder_channels': '[16,16,8,8,8]',\n"
        "         'patch_size': 64, 'batch_size': 2, 'epochs': 1, 'steps_per_epoch': 1, 'precision': 'float32'}\n"
        "values = [w for k, v in small.items() for w in ('--set', f'{k}={v}')]\n"
        "done('train', '--data', data, '--recipe', 'run-8', '--run', out + '/run', '--device', 'cpu', *values)\n"
        "done('predict', data, '--checkpoint', out + '/run', '--out', out + '/pred', '--device', 'cpu')\n"
        "done('evaluate', '--truth', data, '--pred', out + '/pred')\n"
        "import napari_monusac.jobs.job, napari_monusac.app.training\n"
    )
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "best.safetensors").is_file()


@pytest.mark.torch
def test_a_part_tells_what_it_found(check, args) -> None:
    found = check.run_part("machine", args, 120.0)
    assert found["ok"], found
    assert found["cpus"] == os.cpu_count()
    assert found["torch"].split(".")[0].isdigit()


@pytest.mark.torch
def test_a_part_that_raises_is_a_line_of_the_table(check, args) -> None:
    args.device = "cuda:99"
    found = check.run_part("machine", args, 120.0)
    assert not found["ok"]
    assert found["failed"]
    assert found["trace"]
    lines = check.table(
        {"machine": found, "stop": {"ok": True, "seconds_to_stop": 0.25, "part_seconds": 3.0}}
    ).splitlines()
    assert lines[2].startswith("| machine | FAILED: ")
    assert lines[3] == "| stop | ok; seconds_to_stop 0.25 (aim 1) | 3 |"


def test_a_part_that_hangs_is_ended(check, args) -> None:
    found = check.run_part("training", args, 0.2)
    assert (found["ok"], found["failed"]) == (False, "not done within 0 s")
    assert found["part_seconds"] < 30


def test_the_whole_writes_table_and_figures(check, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "tools" / "gpu_check.py"),
        "--out",
        str(tmp_path),
        "--parts",
        "training",
        "stop",
    ]
    done = subprocess.run([*command, "--seconds", "5.5", "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, "a part that was not done is no success"
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    assert found["training"]["failed"].startswith("not done within")
    assert found["stop"]["failed"] == "no time was left"
    assert (tmp_path / "gpu_check.md").read_text() in done.stdout


def test_the_pack_lies_in_a_folder_that_git_ignores() -> None:
    spec = importlib.util.spec_from_file_location("gpu_pack", ROOT / "tools" / "gpu_pack.py")
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    assert len(set(pack.CARRIED)) == len(pack.CARRIED)
    assert not set(pack.CARRIED) & {"torch", "napari", "qtpy", "PyQt6"}
    assert ".gpu/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
