"""Which precision is the faster one is timed once on a machine, and for little work not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from napari_monusac.infer.engines import choose
from napari_monusac.infer.engines.timed import remember, remembered, timed_on
from napari_monusac.infer.model import as_model

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, which nobody has made yet."""
    monkeypatch.setenv("MONUSAC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precisions that were timed; bfloat16 is found to be the faster one."""
    asked: list[str] = []

    def seconds(engine: Any) -> float:
        asked.append(engine.precision)
        return {"float32": 2.0, "bfloat16": 1.0}[engine.precision]

    monkeypatch.setattr(choose, "_seconds", seconds)
    return asked


def test_a_small_image_is_predicted_without_timing_and_much_work_is_timed_once(
    checkpoint: Path, timed: list[str]
) -> None:
    model = as_model(checkpoint)
    assert choose.choose_engine(model, "cpu", pixels=582 * 582).precision == "float32"
    assert timed == []
    assert choose.choose_engine(model, "cpu", pixels=choose.TIMED_PX).precision == "bfloat16"
    assert sorted(timed) == ["bfloat16", "float32"]
    later = as_model(checkpoint)  # as after a restart: nothing of it is in memory
    assert choose.choose_engine(later, "cpu", pixels=582 * 582).precision == "bfloat16", "what was found is taken"
    assert len(timed) == 2


def test_another_architecture_or_other_threads_are_another_matter(
    checkpoint: Path, timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model = as_model(checkpoint)
    recipe, here = model.recipe, timed_on(model.recipe, "cpu")
    others = [
        timed_on(recipe.with_values(**{name: value}), "cpu")
        for name, value in (("encoder", "resnet34"), ("decoder_channels", (64, 32, 16, 16, 16)))
    ]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert len({here, *others, timed_on(recipe, "cpu")}) == 4
    monkeypatch.undo()
    assert timed_on(recipe.with_values(epochs=7, lr=0.5), "cpu") == here, "how it was trained makes it no slower"


def test_a_recipe_or_a_checkpoint_that_says_the_precision_is_not_timed(checkpoint: Path, timed: list[str]) -> None:
    assert choose.choose_engine(as_model(checkpoint), "cpu", "float32", pixels=10**8).precision == "float32"
    assert timed == []


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"here": "float8"}', '{"here": 3}', '{"here": "auto"}'])
def test_a_damaged_cache_is_no_cache(cache: Path, content: str) -> None:
    assert remembered("here") is None
    cache.mkdir()
    (cache / "engines.json").write_text(content)
    assert remembered("here") is None
    remember("here", "bfloat16")
    assert remembered("here") == "bfloat16"


def test_what_others_have_timed_stays(cache: Path) -> None:
    remember("one", "bfloat16")
    remember("other", "float32")
    assert json.loads((cache / "engines.json").read_text()) == {"one": "bfloat16", "other": "float32"}


def test_a_cache_that_cannot_be_written_stops_nothing(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    remember("here", "bfloat16")
    assert remembered("here") is None
