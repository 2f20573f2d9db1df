"""The guide and the README: every command and every Python block runs, links lead somewhere, names exist."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import napari_monusac
from napari_monusac.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
#: A fence: ``` sh, ``` python, or ``` { .sh .norun } where a block is not run.
FENCE = re.compile(r"^```[ ]*(?:(\w+)|\{([^}]*)\})?[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Training in the guide is cut to one tiny epoch, from scratch.
TINY = [
    *(f"--set={s}" for s in (
        "epochs=1", "steps_per_epoch=2", "patch_size=64", "batch_size=2", "precision=float32", "warmup_epochs=0",
        "schedule=constant", "encoder_weights=none", "encoder=tu-test_efficientnet",
        "decoder_channels=[16, 16, 16, 16, 16]",
    )),
    "--device=cpu",
]  # fmt: skip
#: Why a block is not run here, by page and the first words of the block.
NOT_RUN = {
    ("README.md", "make demo"): "sets up an environment of its own; CI runs both",
    ("README.md", "python -m venv .venv"): "installs with pip",
    ("docs/index.md", "git clone"): "network; CI runs `make test` in a fresh clone",
    ("docs/index.md", "python -m venv .venv"): "installs with pip",
    ("docs/index.md", "napari-monusac demo"): "two minutes of training and a window; tests/test_cli_run.py runs it",
    ("docs/index.md", "napari -w napari-monusac"): "opens a window",
    ("docs/guide/open.md", "napari --plugin"): "opens a window",
    ("docs/guide/open.md", "import napari"): "opens a window; tests/plugin and tests/ui do the same",
    ("docs/guide/review.md", "napari-monusac review"): "opens a window; tests/test_cli_run.py checks its child process",
    ("docs/guide/review.md", "napari-monusac evaluate"): "two models predict; tests/scoring/test_guard_checkpoints.py",
    ("docs/guide/train.md", "touch"): "stops a run that is being trained: tests/jobs and tests/learn do",
    ("docs/guide/watch.md", "tensorboard"): "a server, and an extra",
    ("docs/guide/report.md", "napari-monusac export runs/first"): "needs the extra [onnx]; tests/infer/test_export.py",
    ("docs/guide/report.md", "napari-monusac compare"): "two models; tests/scoring/report/test_agreement.py",
    ("docs/guide/cluster.md", "torchrun"): "several processes; tests/learn trains with two ranks",
    ("docs/guide/cluster.md", "#!/bin/bash"): "a Slurm script",
    ("docs/guide/cluster.md", "napari-monusac predict"): "worker processes; tests/infer/test_batch.py starts them",
    ("docs/guide/cluster.md", "dask scheduler"): "servers of a cluster",
    ("docs/guide/cluster.md", "export HF_HUB_OFFLINE=1"): "changes the environment of the shell",
    ("docs/troubleshooting.md", "python -c"): "shell quoting; the statement itself needs no test",
    ("docs/troubleshooting.md", "sudo apt-get"): "needs root and the network",
    ("docs/developer/rooms.md", "make setup"): "sets up an environment",
    ("docs/developer/card.md", "python tools/gpu_pack.py"): "downloads wheels",
    ("docs/developer/card.md", "python3 -m pip install"): "needs a card; tests/test_gpu_check.py runs its parts",
    ("docs/developer/card.md", "python tools/gpu_check.py"): "minutes; tests/test_gpu_check.py runs its parts",
}


@dataclass(frozen=True)
class Block:
    page: str
    kind: str
    text: str
    run: bool

    @property
    def key(self) -> tuple[str, str]:
        return self.page, self.text.strip().splitlines()[0]


def blocks(path: Path) -> Iterator[Block]:
    for plain, braces, text in FENCE.findall(path.read_text("utf-8")):
        classes = [plain] if plain else [c.lstrip(".") for c in braces.split()]
        kind = next((c for c in classes if c in ("sh", "python")), "")
        if kind:
            yield Block(path.relative_to(ROOT).as_posix(), kind, text, "norun" not in classes)


ALL = [b for page in PAGES for b in blocks(page)]


def reason(block: Block) -> str | None:
    page, first = block.key
    return next((why for (p, start), why in NOT_RUN.items() if p == page and first.startswith(start)), None)


def test_what_is_not_run_is_listed_with_its_reason() -> None:
    skipped = [b for b in ALL if not b.run]
    assert not [b.key for b in skipped if reason(b) is None]
    used = {(p, s) for p, s in NOT_RUN if any(b.page == p and b.key[1].startswith(s) for b in skipped)}
    assert used == set(NOT_RUN)
    assert sum(b.run for b in ALL) >= 30


def _commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def _call(words: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def predicted(example_run: Path, example_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example collection, predicted once."""
    out = tmp_path_factory.mktemp("docs") / "predicted"
    assert not _call(["predict", str(example_data), "--checkpoint", str(example_run), "--out", str(out)])
    return out


def _linked(source: str, target: str) -> None:
    """Copy small files (some are appended to), link the large ones."""
    try:
        if Path(source).stat().st_size > 1_000_000:
            os.link(source, target)
            return
    except OSError:
        pass
    shutil.copyfile(source, target)


@pytest.fixture
def desk(tmp_path: Path, example_data: Path, example_run: Path, predicted: Path, monkeypatch) -> Path:
    """A working folder as the guide assumes it: slides, runs/first, predicted."""
    shutil.copytree(example_data, tmp_path / "slides")
    shutil.copytree(example_run, tmp_path / "runs" / "first", copy_function=_linked)
    shutil.copytree(predicted, tmp_path / "predicted")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.torch
@pytest.mark.parametrize("page", [p for p in PAGES if any(b.run for b in blocks(p))], ids=lambda p: p.stem)
def test_every_block_of_a_page_runs(page: Path, desk: Path) -> None:
    names: dict[str, object] = {"__name__": "__guide__"}
    for block in (b for b in blocks(page) if b.run):
        if block.kind == "python":
            exec(compile(block.text, block.page, "exec"), names)
            continue
        for program, *words in _commands(block.text):
            assert program == "napari-monusac", f"{block.page}: {program} cannot be run here: mark the block .norun"
            trains = words[0] in ("train", "study") and "--resume" not in words
            assert _call([*words, *(TINY if trains else [])]) == 0, f"{block.page}: {' '.join(words)}"


# ---------------------------------------------------------------- links and names


def _slugs(path: Path) -> set[str]:
    from markdown.extensions.toc import slugify

    text = FENCE.sub("", path.read_text("utf-8"))
    return {slugify(re.sub(r"[`*]", "", h), "-") for h in re.findall(r"^#+ +(.+?)\s*$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_between_pages(page: Path) -> None:
    pytest.importorskip("markdown")
    text = FENCE.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _slugs(path), f"{page.name}: {target}"


def _resolve(name: str) -> object:
    """Import as much of a dotted name as is a module, look the rest up."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[cut:]:
            found = getattr(found, attribute)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.torch
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_names_of_the_library_exist(page: Path) -> None:
    for name in set(re.findall(r"(?<![\w/.-])napari_monusac(?:\.\w+)+", page.read_text("utf-8"))):
        _resolve(name)
    for path in set(re.findall(r"`((?:src|tests|examples|benchmarks|tools)/[\w./-]+\.\w+)`", page.read_text("utf-8"))):
        assert (ROOT / path).exists(), f"{page.name}: {path}"


@pytest.mark.torch
def test_every_public_name_is_in_the_reference() -> None:
    shown = set(re.findall(r"^::: ([\w.]+)", (DOCS / "reference/python.md").read_text("utf-8"), re.MULTILINE))
    names = {"__version__"}
    for name in shown:
        found = _resolve(name)
        names |= set(vars(found)) if isinstance(found, types.ModuleType) else {name.rsplit(".", 1)[1]}
    assert not set(napari_monusac.__all__) - names


def test_every_command_and_option_is_in_the_reference() -> None:
    import typer

    from napari_monusac.cli.app import app

    text = (DOCS / "reference/command-line.md").read_text("utf-8")
    group = typer.main.get_command(app)
    known = {"--help", "--version", "--install-completion", "--show-completion"}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"## {name}\n" in text
        section = text.split(f"## {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            known.update(o for o in parameter.opts if o.startswith("--"))
            option = parameter.opts[0]
            assert option == "--help" or not option.startswith("--") or f"`{option}" in section, f"{name} {option}"
    for page in PAGES:
        for line in re.findall(r"napari-monusac (?:\w+ [^`\n]*)", page.read_text("utf-8")):
            unknown = set(re.findall(r"(?<=\s)--[\w-]+", line)) - known - {"--plugin", "--nproc-per-node"}
            assert not unknown, f"{page.name}: {line}"


def test_the_nine_runs_are_told_with_their_values() -> None:
    from napari_monusac.core.recipe import load_recipe, recipe_names

    rows = {
        m[1]: m[2] for m in re.finditer(r"^\| (run-\d) \|(.*)$", (DOCS / "runs.md").read_text("utf-8"), re.MULTILINE)
    }
    assert list(rows) == [n for n in recipe_names() if n.startswith("run-")]
    for name, row in rows.items():
        recipe = load_recipe(name)
        cells = [c.strip() for c in row.strip("|").split("|")]
        assert float(cells[0]) == recipe.lr
        assert float(cells[1]) == recipe.focal_gamma
        assert float(cells[2]) == recipe.semantic_weight
        assert float(cells[3]) == recipe.ternary_dice_weight
        assert float(cells[4]) == recipe.weight_decay
        assert cells[5] == f"{recipe.boundary_width} px"
        assert cells[6] == ("yes" if recipe.augment else "no")
        assert cells[8] == str(recipe.epochs)
        assert cells[9].lstrip("~") == f"{recipe.reported.combo:.3f}"


def test_doctor_codes_are_told() -> None:
    from napari_monusac.io.doctor.report import KINDS

    text = (DOCS / "guide/mend.md").read_text("utf-8")
    assert not [code for code in KINDS if f"`{code}`" not in text]


def test_pictures_are_small() -> None:
    sizes = [p.stat().st_size for p in (DOCS / "images").glob("*.png")]
    assert max(sizes) < 200_000
    assert sum(sizes) < 800_000
