"""All settings in one model: what holds before what, what is kept where, and the guide's table."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import napari_monusac
from napari_monusac.app.settings import InMemory, KeptSettings, Settings, kept_fields, settings_table
from napari_monusac.core.errors import MonusacError

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def kept(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MONUSAC_{name.upper()}", raising=False)
    return {"napari": InMemory(), "window": InMemory()}


def test_the_environment_holds_before_what_was_kept_and_that_before_the_default(kept, monkeypatch):
    settings = KeptSettings(kept)
    assert settings.now.reader == ""
    settings.keep("reader", "Weber")
    assert settings.now.reader == "Weber"
    monkeypatch.setenv("MONUSAC_READER", "Blau")
    assert settings.now.reader == "Blau"
    monkeypatch.delenv("MONUSAC_READER")
    assert settings.now.reader == "Weber"


def test_each_setting_is_kept_at_its_place(kept):
    settings = KeptSettings(kept)
    settings.keep("colour_blind", True)
    settings.keep("sections", {"Runs": False})
    assert kept["napari"].values == {"colour_blind": True}
    assert kept["window"].values == {"sections": {"Runs": False}}
    assert settings.now.colour_blind is True
    assert settings.now.sections == {"Runs": False}


def test_paths_are_remembered_newest_first_once_and_while_they_are_there(kept, tmp_path):
    settings, folders = KeptSettings(kept), [tmp_path / f"f{i}" for i in range(10)]
    for folder in folders:
        folder.mkdir()
        settings.remember_path("runs", str(folder))
    settings.remember_path("runs", str(folders[5]))
    assert settings.last_paths("runs") == tuple(map(str, [folders[i] for i in (5, 9, 8, 7, 6, 4, 3, 2)]))
    assert settings.last_paths("training") == ()
    folders[9].rmdir()
    assert str(folders[9]) not in settings.last_paths("runs")


def test_what_was_kept_and_makes_no_sense_does_not_hold(kept):
    kept["napari"].values |= {"click_tolerance": 99, "reader": "Weber"}
    kept["window"].values |= {"paths": 7}
    now = KeptSettings(kept).now
    assert (now.click_tolerance, now.reader, now.paths) == (3, "Weber", {})


def test_a_variable_that_makes_no_sense_is_told_with_its_name(kept, monkeypatch):
    monkeypatch.setenv("MONUSAC_CLICK_TOLERANCE", "wide")
    with pytest.raises(MonusacError, match=r"^MONUSAC_CLICK_TOLERANCE = 'wide': .* — correct the environment variable"):
        KeptSettings(kept).now  # noqa: B018


def test_napari_shows_the_same_preferences_as_the_model_has():
    manifest = yaml.safe_load((Path(napari_monusac.__file__).parent / "napari.yaml").read_text("utf-8"))
    shown = manifest["contributions"]["configurations"]["annotate"]["properties"]
    assert tuple(shown) == kept_fields("napari")
    for name, about in shown.items():
        field = Settings.model_fields[name]
        assert (about["default"], about["description"]) == (field.default, field.description)
    low, high = (
        next(getattr(m, k) for m in Settings.model_fields["click_tolerance"].metadata if hasattr(m, k))
        for k in ("ge", "le")
    )
    assert (shown["click_tolerance"]["minimum"], shown["click_tolerance"]["maximum"]) == (low, high)


def test_the_guide_has_the_table_of_all_settings():
    assert settings_table() in (DOCS / "reference" / "settings.md").read_text("utf-8")
    assert len(settings_table().splitlines()) == len(Settings.model_fields) + 2
