"""Every example runs as it stands."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
ARGUMENTS = {"03_train.py": ["--epochs", "2", "--steps", "2"]}
NEED_TORCH = {"03_train.py", "04_stop_and_resume.py", "05_predict_a_folder.py", "09_dask_cluster.py"}
#: What each must have said, in this order.
SAYS = {
    "01_open_and_show.py": ["2 patients, 4 crops", "0.25 um/px", "Epithelial"],
    "02_masks_of_a_folder.py": ["nuclei ->", "_ternary.tif"],
    "03_train.py": ["on cpu|on cuda", "epoch 2: combo", "completed"],
    "04_stop_and_resume.py": ["stopped after 2 steps; the folder says: stopped", "completed after 6 steps"],
    "05_predict_a_folder.py": ["0001.*nuclei", "0002.*nuclei"],
    "06_score_and_list_errors.py": ["PQ of all nuclei.*0.9", "missed.: 3", "missed"],
    "07_export_to_qupath.py": [r"nuclei at slide position \(4096, 4096\)"],
    "08_custom_recipe.py": ["boundary_width: 3 -> 5", "refused: .*boundary_width = 4"],
    "09_dask_cluster.py": ["svs done", "svs done", "svs done"],
    "10_check_a_folder.py": ["swapped", "unknown-class", "red and blue put right"],
}


def _marked(path: Path) -> object:
    return pytest.param(path, id=path.stem, marks=[pytest.mark.torch] if path.name in NEED_TORCH else [])


@pytest.mark.parametrize("script", [_marked(p) for p in SCRIPTS])
def test_example(
    script: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if script.name == "09_dask_cluster.py":
        pytest.importorskip("distributed")
    if "MONUSAC_EXAMPLE_RUN" in script.read_text("utf-8"):
        monkeypatch.setenv("MONUSAC_EXAMPLE_RUN", str(request.getfixturevalue("example_run")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), *ARGUMENTS.get(script.name, [])])
    runpy.run_path(str(script), run_name="__main__")
    said = capsys.readouterr().out
    for text in SAYS[script.name]:
        found = re.search(text, said)
        assert found, f"{text!r} is not in:\n{said}"
        said = said[found.end() :]


def test_every_example_is_short_and_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    assert len(SCRIPTS) >= 8
    assert set(SAYS) == {p.name for p in SCRIPTS}
    for script in SCRIPTS:
        assert f"`{script.name}`" in listed
        assert len(script.read_text("utf-8").splitlines()) <= 60
