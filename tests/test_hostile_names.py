"""Names of folders and files are text from elsewhere: no command obeys, loses or mixes them up."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from napari_monusac.cli import main

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="such names cannot be there"),
]

NAMES = (
    "=1+2_1",
    "@SUM(A1)_1",
    "-2+cmd_1",
    "line\nerror: all is well_1",
    "esc\x1b]0;owned\x07\x1b[2J_1",
    "turned\u202exvs_1",
    "<img src=x onerror=alert(1)>_1",
    "[bold red]rich[dim]_1",
    "a;b,c\t\"d'_1",
    "Case_1",
    "case_1",
    "Präparat – µ_1",
)
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def hostile(example_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "=data\x1b[31m"
    images = sorted(example_data.rglob("*.svs"))
    for k, name in enumerate(NAMES):
        folder = root / name.rpartition("_")[0]
        folder.mkdir(parents=True)
        for suffix in (".svs", ".xml"):
            shutil.copy(images[k % len(images)].with_suffix(suffix), folder / f"{name}{suffix}")
    return root


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]):
    """Call a command; nothing that it prints may be obeyed by a terminal."""

    def call(*argv: object, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in argv])
        out, err = capfd.readouterr()
        assert int(end.value.code or 0) == code, err
        for text in (out, err):
            assert UNSEEN.search(text) is None
            assert not any(line.startswith("error: all is well") for line in text.splitlines())
        return out, err

    return call


def no_formula(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    for row in rows:
        for value in row:
            assert not value.startswith(("=", "+", "@", "\t", "\r")), (path, value)
            assert not value.startswith("-") or re.fullmatch(r"-[\d.e+-]+", value), (path, value)
    return rows


def written(folder: Path) -> list[str]:
    """Names of what was written in a folder."""
    names = [
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.suffix in (".tif", ".csv", ".geojson", ".xml", ".mat", ".zarr")
    ]
    return names


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.handlers: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.handlers |= {name for name, _ in attrs if name.startswith("on")}


def test_doctor_says_names_and_obeys_none(run, hostile: Path, tmp_path: Path) -> None:
    out, _ = run("doctor", hostile, "--all")
    assert "identical-images" in out
    run("doctor", hostile)
    shown, _ = run("doctor", hostile, "--json")
    assert len(json.loads(shown)["findings"]) > 5
    run("doctor", hostile, "--fix", "--everything", "--out", tmp_path / "mended\x1b[1m")


#: Names that are none on some system are refused by what may be opened elsewhere; one line names them.
PLAIN = [n for n in NAMES if not re.search(r'[<>:"|?*\x00-\x1f]', n)]


@pytest.fixture(scope="module")
def odd(hostile: Path) -> Path:
    """Those of the crops whose names can be there on every system."""
    root = hostile.parent / "odd"
    for name in PLAIN:
        shutil.copytree(hostile / name.rpartition("_")[0], root / name.rpartition("_")[0])
    return root


@pytest.mark.parametrize("to", ["tif", "mat"])
def test_names_that_are_none_elsewhere_are_refused_in_one_line(run, hostile: Path, tmp_path: Path, to: str) -> None:
    _, err = run("export", hostile, "--to", to, "--out", tmp_path / "out", code=1)
    assert "cannot be a file name" in err.splitlines()[-1]
    _, err = run("masks", hostile, "--out", tmp_path / "masks", code=1)
    assert err.count("cannot be a file name") == len(NAMES) - len(PLAIN)


@pytest.mark.parametrize("command", ["export", "masks"])
def test_names_of_two_cases_are_refused_by_a_disk_that_knows_one(
    run, odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("napari_monusac.io.outputs.knows_case", lambda _: False)
    how = ["--to", "geojson"] if command == "export" else []
    _, err = run(command, odd, *how, "--out", tmp_path / "out", code=1)
    assert "ase_1 would overwrite " in err
    assert "does not tell upper from lower case" in err


@pytest.mark.parametrize("to", ["geojson", "aperio", "csv", "tif", "mat", "coco"])
def test_exports_keep_every_crop_apart(run, odd: Path, hostile: Path, tmp_path: Path, to: str) -> None:
    source, names_of = (odd, PLAIN) if to in ("tif", "mat") else (hostile, NAMES)
    run("export", source, "--to", to, "--out", tmp_path / "out")
    if to == "coco":
        document = json.loads(next((tmp_path / "out").rglob("*.json")).read_text("utf-8"))
        assert len({i["file_name"] for i in document["images"]}) == len(NAMES)
        return
    suffix = {"aperio": ".xml"}.get(to, f".{to}")
    names = [n for n in written(tmp_path / "out") if n.endswith(suffix)]
    assert len(names) >= (len(names_of) if to != "csv" else 1)
    for path in (tmp_path / "out").rglob("*.csv"):
        no_formula(path)


def test_masks_keep_every_crop_apart(run, odd: Path, tmp_path: Path) -> None:
    run("masks", odd, "--out", tmp_path / "out")
    names = written(tmp_path / "out")
    assert len([n for n in names if "ternary" in n]) == len(PLAIN)


def test_predictions_counts_and_the_report(run, hostile: Path, example_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(
        "predict",
        hostile,
        "--checkpoint",
        example_run,
        "--out",
        out,
        "--counts",
        tmp_path / "counts.csv",
        "--device",
        "cpu",
    )
    assert len([n for n in written(out) if n.endswith(".zarr")]) == len(NAMES)
    counts = no_formula(tmp_path / "counts.csv")
    assert sum(row[0] == "area" for row in counts) == len(NAMES)
    run("evaluate", "--truth", hostile, "--pred", out, "--include-training", "--report", tmp_path / "r.html")
    no_formula(tmp_path / "r.csv")
    text = (tmp_path / "r.html").read_text("utf-8")
    tags = _Tags()
    tags.feed(text)
    assert "script" not in tags.found
    assert tags.handlers == set()
    assert "&lt;img src=x onerror" in text
    assert UNSEEN.search(text) is None


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_on_a_narrow_terminal(hostile: Path, encoding: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "napari_monusac", "doctor", str(hostile), "--all"],
        env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, timeout=120,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    text = shown.stdout.decode(encoding)
    assert UNSEEN.search(text) is None
    assert "Traceback" not in shown.stderr.decode(encoding)
