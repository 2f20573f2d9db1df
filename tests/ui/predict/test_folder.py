"""Every crop of a folder in the background: what fails is told, what is done is counted, what is finished is skipped."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from napari_monusac.io.predictions.prediction_store import PredictionStore


@pytest.fixture
def panel(opened, tiny_run):
    predict = opened.panels["Predict"]
    predict.predicting.offer(tiny_run)
    return predict.folder


def test_a_crop_that_fails_leaves_the_others_and_the_counts(panel, settle, tmp_path, monkeypatch):
    from napari_monusac.infer import crop

    true, seen = crop.predict, []

    def one_fails(*args, **options):
        seen.append(1)
        if len(seen) == 2:
            raise RuntimeError("no more memory")
        return true(*args, **options)

    monkeypatch.setattr(crop, "predict", one_fails)
    out = tmp_path / "Vorhersagen für Müller"
    panel.out.set_path(out)
    panel.predict_folder()
    assert panel.predict_folder() is None, "one at a time"
    settle()
    crops = panel.model.collection.crops
    stores = sorted(p.stem for p in out.glob("*.zarr"))
    assert len(stores) == len(crops) - 1
    assert "no more memory" in panel.failures.text()
    assert f"{len(stores)} predictions" in panel.progress.label.text()
    counts = pd.read_csv(out / "counts.csv")
    assert set(stores) <= set(counts["name"])
    # the second start does what is missing, and nothing else
    panel.predict_folder()
    settle()
    assert len(seen) == len(crops) + 1
    assert not panel.failures.text()
    assert len(list(out.glob("*.zarr"))) == len(crops)


def test_a_stop_keeps_what_is_done(panel, settle, tmp_path, qtbot, monkeypatch):
    from napari_monusac.infer import crop

    true, seen = crop.predict, []

    def stopped_at_the_third(*args, **options):
        seen.append(1)
        if len(seen) == 3:
            panel.progress.task.stop()
        return true(*args, **options)

    monkeypatch.setattr(crop, "predict", stopped_at_the_third)
    panel.out.set_path(tmp_path / "out")
    panel.predict_folder()
    settle()
    stores = sorted((tmp_path / "out").glob("*.zarr"))
    assert len(stores) == 2
    for store in stores:
        assert PredictionStore.open(store).read_table() is not None
    assert set(pd.read_csv(tmp_path / "out" / "counts.csv")["name"]) >= {s.stem for s in stores}


def test_what_should_be_known_of_the_crops_is_said(panel, settle, tmp_path, monkeypatch):
    from napari_monusac.infer import plan
    from napari_monusac.infer.tiling import plan as tiles

    expected = plan.expected_of
    monkeypatch.setattr(plan, "expected_of", lambda model: replace(expected(model), stain={"a": 1}))
    monkeypatch.setattr(tiles, "stain_note", lambda *_: "the stain is unusual")
    panel.out.set_path(tmp_path / "out")
    panel.predict_folder()
    settle()
    assert f"{len(panel.model.collection.crops)} crops: the stain is unusual" in panel.failures.text()
