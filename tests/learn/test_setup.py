"""What a run is put together of."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch


def test_bfloat16_trains_and_resumes(tiny_recipe, make_run):
    from napari_monusac.learn.loop import train
    from napari_monusac.network.checkpoint import read_tensors

    recipe = tiny_recipe.with_values(precision="bfloat16", steps_per_epoch=2)
    one, two = make_run(recipe, "one"), make_run(recipe, "two")
    list(train(recipe, one, loader_threads=1, threads=1))
    stops = iter([False, True])
    list(train(recipe, two, lambda: next(stops), loader_threads=1, threads=1))
    end = list(train(recipe, two, loader_threads=1, threads=1))[-1]
    assert end.reason == "completed", end.message
    a, b = read_tensors(one.last), read_tensors(two.last)
    assert all((a[k] == b[k]).all() for k in a)


def test_a_background_thread_leaves_a_core_to_the_window(tiny_recipe, make_run, monkeypatch):
    import threading

    from napari_monusac.learn import setup
    from napari_monusac.learn.loop import train

    monkeypatch.setattr(setup.os, "cpu_count", lambda: 2)
    events = []
    recipe = tiny_recipe.with_values(max_steps=1)
    run = make_run(recipe)
    thread = threading.Thread(target=lambda: events.extend(train(recipe, run, loader_threads=1)))
    thread.start()
    thread.join()
    assert events[-1].reason == "completed", events[-1].message
    assert events[0].threads == 1


@pytest.mark.parametrize(
    ("device", "deterministic", "told"),
    [("cpu", False, False), ("cuda", False, True), ("mps", False, True), ("cuda", True, False)],
)
def test_a_resume_on_a_gpu_says_what_it_cannot_promise(tiny_recipe, make_run, device, deterministic, told):
    from napari_monusac.learn.resume import TrainingCounters
    from napari_monusac.learn.setup import _differences

    recipe = tiny_recipe.with_values(deterministic=deterministic)
    run = make_run(recipe)
    found = _differences(recipe, run, None, TrainingCounters(device=device, step=3), device)
    assert bool(found) is told
    assert all("may differ in the last digits" in text and "deterministic = true" in text for text in found)
    assert _differences(recipe, run, None, TrainingCounters(), device) == [], "a run that begins resumes nothing"
