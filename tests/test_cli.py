"""The command line's frame: streams, exit codes, one-line errors, what is imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile

from napari_monusac.cli import main
from napari_monusac.cli.shell import one_line, plain
from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import RecipeError, SlideError
from napari_monusac.core.recipe import load_recipe, recipe_names
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.masks.ternary import ternary_map
from napari_monusac.synth import write_collection


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]):
    """Call the command line in this process."""

    def call(*argv: str | Path) -> Result:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in argv])
        out, err = capfd.readouterr()
        return Result(int(end.value.code or 0), out, err)

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("Schöne Schnitte")
    return write_collection(root, 2, 1, seed=3, shape=(160, 200), test_patients=1)


def _child(*argv: str, code: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", "napari_monusac", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


# ---------------------------------------------------------------- frame


def test_help_lists_every_command(run) -> None:
    result = run("--help")
    assert result.code == 0
    for name in ("recipes", "doctor", "masks", "train", "predict", "evaluate", "export", "study", "demo", "review"):
        assert f" {name} " in result.out
    assert "130" in result.out


def test_version(run) -> None:
    from napari_monusac import __version__

    assert run("--version").out.strip() == f"napari-monusac {__version__}"


@pytest.mark.parametrize(
    "argv",
    [
        ["nothing"],
        ["masks"],
        ["train", "--epochs"],
        ["recipes", "show"],
        ["masks", "x", "--out", "y", "--boundary-width", "2"],
    ],
)
def test_wrong_use_exits_2(run, argv: list[str]) -> None:
    result = run(*argv)
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err


def test_an_empty_argument_is_not_the_current_folder(run, tmp_path: Path) -> None:
    result = run("doctor", "")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: argument 2 is empty")
    assert result.err.count("\n") == 1


def test_an_error_is_one_line_with_file_and_mend(run, tmp_path: Path) -> None:
    result = run("masks", tmp_path / "nowhere", "--out", tmp_path / "masks")
    assert result.code == 1
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert str(tmp_path / "nowhere") in result.err
    assert "check the path" in result.err


def test_errors_of_the_system_are_told_the_same_way() -> None:
    assert one_line(PermissionError(13, "Permission denied", "/x/y")).startswith("/x/y: Permission denied — choose")
    assert "free some space" in one_line(OSError(28, "No space left on device", "/x"))
    assert (
        one_line(SlideError("/a.svs", "is damaged\nvery", "copy it again")) == "/a.svs: is damaged very — copy it again"
    )
    assert one_line(RecipeError("lr = 5", "use 1e-4")) == "lr = 5 — use 1e-4"


def test_plain_values_for_json() -> None:
    value = {
        "a": np.float32(1.5),
        "n": float("nan"),
        NucleusClass.EPITHELIAL: Path("/x"),
        "z": np.arange(3),
        "t": (1, None),
    }
    assert plain(value) == {"a": 1.5, "n": None, "Epithelial": str(Path("/x")), "z": [0, 1, 2], "t": [1, None]}


def test_light_commands_import_no_torch_and_no_qt() -> None:
    code = (
        "import sys\n"
        "from napari_monusac.cli import main\n"
        "try: main(['recipes', '--json'])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'torch', 'napari', 'qtpy', 'PyQt6', 'albumentations', 'skimage', 'pandas', 'zarr'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = _child(code=code)
    assert result.returncode == 0, result.stderr


def test_masks_imports_no_torch(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from napari_monusac.cli import main\n"
        f"try: main(['masks', {str(folder)!r}, '--out', {str(tmp_path)!r}])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert 'torch' not in sys.modules and 'napari' not in sys.modules\n"
    )
    result = _child(code=code)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes")
def test_a_reader_that_goes_away_is_no_crash() -> None:
    result = subprocess.run(
        f"{sys.executable} -m napari_monusac recipes show run-8 | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_ctrl_c_ends_without_a_trace(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        # a background shell starts its children with SIGINT ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import napari_monusac.io.collection.collection as c\n"
        "c.open_collection = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT) or signal.pause()\n"
        "from napari_monusac.cli import main\n"
        f"main(['masks', {str(tmp_path)!r}, '--out', {str(tmp_path)!r}])\n"
    )
    result = _child(code=code)
    assert result.returncode == 130
    assert "Traceback" not in result.stderr


# ---------------------------------------------------------------- recipes


def test_recipes_as_a_table_and_as_json(run) -> None:
    text, data = run("recipes"), run("recipes", "--json")
    assert text.code == data.code == 0
    found = {r["name"]: r for r in json.loads(data.out)["recipes"]}
    assert tuple(found) == recipe_names()
    for name in recipe_names():
        assert name in text.out
        assert found[name]["fingerprint"] == load_recipe(name).fingerprint()
    assert found["run-8"]["also"] == ["resnet34-cosine"]
    assert "resnet34-cosine" in text.out
    assert "balanced" in text.out
    assert found["balanced"]["fingerprint"] != found["ours"]["fingerprint"], "a recipe of its own; ours stays as it was"


def test_a_shown_recipe_is_a_file_to_start_from(run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(run("recipes", "show", "run-4").out, "utf-8")
    assert load_recipe(mine) == load_recipe("run-4")
    assert json.loads(run("recipes", "show", mine, "--json").out)["boundary_width"] == 3


def test_an_unknown_recipe(run) -> None:
    result = run("recipes", "show", "run-88")
    assert result.code == 1
    assert "run-88" in result.err
    assert "run-8," in result.err


# ---------------------------------------------------------------- masks


def test_masks_of_a_folder(run, folder: Path, tmp_path: Path) -> None:
    result = run("masks", folder, "--out", tmp_path / "masks", "--boundary-width", "5", "--json")
    assert result.code == 0, result.err
    answer = json.loads(result.out)
    assert answer["boundary_width"] == 5
    assert not answer["problems"]
    assert len(answer["crops"]) == 3
    first = answer["crops"][0]
    annotation = read_annotation(next(folder.rglob(f"{first['crop']}.xml")))
    maps = label_maps(annotation, (160, 200))
    read = {what: tifffile.imread(path) for what, path in first["files"].items()}
    assert np.array_equal(read["instances"], maps.instances)
    assert np.array_equal(read["semantic"], maps.semantic)
    assert np.array_equal(read["ternary"], ternary_map(maps.instances, boundary_width=5))
    assert sum(first["nuclei"].values()) == maps.instances.max()
    assert [("ambiguous" in c["files"]) for c in answer["crops"]] == [False, False, True]
    with tifffile.TiffFile(first["files"]["instances"]) as tif:
        numerator, denominator = tif.pages[0].tags["XResolution"].value
        assert 1e4 / (numerator / denominator) == pytest.approx(0.25, rel=1e-4)


def test_masks_again_changes_nothing(run, folder: Path, tmp_path: Path) -> None:
    first = run("masks", folder, "--out", tmp_path / "masks", "--json")
    second = run("masks", folder, "--out", tmp_path / "masks", "--json")
    assert json.loads(first.out) == json.loads(second.out)


def test_masks_and_exports_into_the_data_are_refused(run, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    for command in (("masks", folder), ("export", folder, "--to", "geojson"), ("export", folder, "--to", "tif")):
        result = run(*command, "--out", folder / "inside")
        assert result.code == 1
        assert "choose a folder outside of it" in result.err
        assert result.err.strip().count("\n") == 0
    assert sorted(folder.rglob("*")) == before


def test_the_doctor_says_whose_the_crops_are(run, tmp_path: Path) -> None:
    root = write_collection(tmp_path / "data", 2, 1, seed=1, shape=(64, 64))
    assert "2 crops of 2 patients, taken from the TCGA barcodes." in run("doctor", root).out
    crops = sorted(p.stem for p in root.rglob("*.svs"))
    (tmp_path / "p.csv").write_text("crop,patient\n" + "".join(f"{c},Meier\n" for c in crops))
    assert "2 crops of 1 patient, taken from p.csv." in run("doctor", root, "--patients", tmp_path / "p.csv").out
    refused = run("train", "--data", root, "--recipe", "quick", "--patients", tmp_path / "p.csv", "--dry-run")
    assert refused.code == 1
    assert "one patient only (Meier, taken from p.csv" in refused.err
    assert not (tmp_path / "data" / "patients.csv").exists()


def test_a_damaged_crop_is_told_and_the_rest_go_on(run, tmp_path: Path) -> None:
    root = write_collection(tmp_path / "data", 2, 1, seed=1, shape=(64, 64))
    next(root.rglob("*0001*_1.xml")).write_text("<Annotations><broken")
    result = run("masks", root, "--out", tmp_path / "masks", "--json")
    assert result.code == 1
    answer = json.loads(result.out)
    assert len(answer["crops"]) == 1
    assert "0001" in answer["problems"][0]["crop"]
    assert "skipped" in result.err


def test_masks_where_nothing_can_be_written(run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run("masks", folder, "--out", tmp_path / "file" / "masks")
    assert result.code == 1
    assert result.err.strip().count("\n") == 0
    assert "file" in result.err


def test_ctrl_c_between_two_crops(run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import napari_monusac.jobs.maskfiles as maskfiles

    real = maskfiles.write_crop_masks

    def then_ctrl_c(*args, **kwargs):
        try:
            return real(*args, **kwargs)
        finally:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(maskfiles, "write_crop_masks", then_ctrl_c)
    result = run("masks", folder, "--out", tmp_path)
    assert result.code == 130
    assert len(list(tmp_path.rglob("*_ternary.tif"))) == 1
    assert "1 of 3" in result.err


def test_a_command_says_where_the_window_knows_a_name_that_it_does_not(tmp_path: Path) -> None:
    """As people meet it: names given in the window, then `masks` in a terminal, without and with ``--classes``."""
    from napari_monusac.io.annotations.class_names import write_class_names

    data = write_collection(tmp_path / "data", 1, 1, seed=3, shape=(96, 112))
    for xml in data.rglob("*.xml"):
        xml.write_text(xml.read_text().replace('Name="Epithelial"', 'Name="Tumour"'))
    names = tmp_path / "work" / "class_names.csv"
    write_class_names({"tumour": NucleusClass.EPITHELIAL}, names)
    environment = {k: v for k, v in os.environ.items() if k != "MONUSAC_CLASSES"} | {"MONUSAC_WORK": str(names.parent)}

    def masks(out: str, *more: str) -> tuple[str, set[int]]:
        command = [sys.executable, "-m", "napari_monusac", "masks", str(data), "--out", str(tmp_path / out), *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        (semantic,) = (tmp_path / out).rglob("*semantic*.tif")
        return " ".join(done.stderr.split()), set(np.unique(tifffile.imread(semantic)).tolist())

    said, classes = masks("without")
    assert said.count("means Epithelial in the window, but not here") == 1
    assert f"--classes {names}" in said
    assert 1 not in classes
    said, classes = masks("with", "--classes", str(names))
    assert "in the window" not in said
    assert 1 in classes
