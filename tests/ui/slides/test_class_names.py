"""Names of classes that nobody knows are met in Slides, and the reader says what they mean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_monusac.core.classes import use_class_names
from napari_monusac.io.annotations import class_names
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.slides.crop_list import COUNTS_ROLE


@pytest.fixture
def own_names(tmp_path, monkeypatch):
    """Names go to a folder of the test's own, and none is left behind."""
    monkeypatch.setenv("MONUSAC_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("MONUSAC_CLASSES", "")
    monkeypatch.setattr(class_names, "_taken", "")
    yield tmp_path / "work" / "class_names.csv"
    use_class_names({})


@pytest.fixture
def folder(tmp_path):
    """Two crops with six names of other programs, and a Point."""
    root = tmp_path / "data"
    root.mkdir()
    names = [["Neoplastic"] * 3 + ["Inflammatory", "lymphocyte"], ["neoplastic", "Dead", "Debris", "Stroma", "Vessel"]]
    for k, of_crop in enumerate(names):
        pixels = np.random.default_rng(k).integers(150, 250, (64, 200, 3), np.uint8)
        tifffile.imwrite(root / f"case{k}.tif", pixels, photometric="rgb")
        features = [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[[x, 9], [x + 12, 9], [x + 12, 25], [x, 25], [x, 9]]]},
                "properties": {"objectType": "annotation", "classification": {"name": name}},
            }
            for x, name in zip(range(5, 200, 30), of_crop, strict=False)
        ]
        point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [3, 4]}, "properties": {}}
        content = {"type": "FeatureCollection", "features": [*features, point]}
        (root / f"case{k}.geojson").write_text(json.dumps(content))
    return root


def counts(panel, name):
    return {int(k): v for k, v in panel.crops.items[name].data(1, COUNTS_ROLE).items()}


def test_unknown_names_are_said_asked_for_and_kept(own_names, studio, viewer, folder, settle, qtbot):
    panel = studio.panels["Slides"]
    panel.open_folder(folder)
    qtbot.waitUntil(lambda: len(panel.names.unknown) == 6, timeout=30_000)
    settle()
    assert panel.names.isVisibleTo(panel)
    assert panel.names.said.text() == (
        "6 names of classes are not known: Neoplastic (4), Inflammatory (1), Dead (1), Debris (1) …"
    )
    assert "1 of 6 objects are kept but are no nuclei: 1 Point." in panel.facts.text.text()
    assert counts(panel, "case0") == {255: 4, 2: 1}
    panel.names.ask.click()
    dialog = panel.names.dialog
    assert dialog.isVisible()
    assert list(dialog.meanings) == ["Neoplastic", "Inflammatory", "Dead", "Debris", "Stroma", "Vessel"]
    for name, meaning in (
        ("Neoplastic", "Epithelial"),
        ("Debris", "Ignored"),
        ("Vessel", "Ambiguous"),
        ("Dead", "Unclassified"),
    ):
        dialog.meanings[name].setCurrentText(meaning)
    dialog.keep.click()
    qtbot.waitUntil(lambda: len(panel.names.unknown) == 2, timeout=30_000)
    settle()
    assert counts(panel, "case0") == {1: 3, 255: 1, 2: 1}
    assert counts(panel, "case1") == {1: 1, 255: 2}
    assert panel.names.said.text() == "2 names of classes are not known: Inflammatory (1), Stroma (1)"
    # the open crop is shown anew
    features = canvas.find_layer(viewer, "nuclei").features
    assert features["class"].tolist() == ["Epithelial"] * 3 + ["Unclassified", "Lymphocyte"]
    assert class_names.read_class_names(own_names) == {
        "Neoplastic": 1, "Debris": "Ignored", "Vessel": "Ambiguous", "Dead": 255,
    }  # fmt: skip
    assert str(own_names) in studio.notice.text() or own_names.is_file()


def test_names_are_changed_taken_back_and_there_again_in_the_next_window(own_names, studio, folder, settle, qtbot):
    class_names.keep_class_names({"Neoplastic": class_names.MEANINGS["Macrophage"], "Stroma": "Ignored"})
    use_class_names({})
    class_names._taken = ""
    import os

    os.environ["MONUSAC_CLASSES"] = ""
    class_names.take_kept_names()  # as a new window does
    panel = studio.panels["Slides"]
    panel.open_folder(folder)
    qtbot.waitUntil(lambda: len(panel.names.unknown) == 4, timeout=30_000)
    settle()
    assert counts(panel, "case0") == {4: 3, 255: 1, 2: 1}
    dialog = panel.names.open_dialog()
    assert dialog.meanings["neoplastic"].currentText() == "Macrophage"
    assert dialog.meanings["stroma"].currentText() == "Ignored"
    assert dialog.changes() == {}
    dialog.cancel.click()
    assert class_names.read_class_names(own_names) == {"Neoplastic": 4, "Stroma": "Ignored"}
    dialog = panel.names.open_dialog()
    dialog.meanings["neoplastic"].setCurrentText("not known")
    dialog.keep.click()
    qtbot.waitUntil(lambda: len(panel.names.unknown) == 5, timeout=30_000)
    settle()
    assert counts(panel, "case0") == {255: 4, 2: 1}
    assert class_names.read_class_names(own_names) == {"Stroma": "Ignored"}


def test_a_broken_file_of_names_is_said_and_stays(own_names, viewer, qtbot):
    from napari_monusac.ui.slides.class_names import ClassNames

    own_names.parent.mkdir()
    own_names.write_text("name,class\nTumor,planet\n")
    names = ClassNames()
    qtbot.addWidget(names)
    assert "'Tumor' is said to be 'planet', which is no class" in names.said.text()
    names.forget()
    assert names.said.text()
    assert own_names.read_text() == "name,class\nTumor,planet\n"


def test_a_folder_without_odd_names_says_nothing(own_names, opened, settle):
    settle()
    assert not opened.panels["Slides"].names.isVisibleTo(opened.panels["Slides"])


def test_the_users_own_csv_is_written_a_toml_is_left_as_it_is(own_names, tmp_path, monkeypatch):
    toml, table = tmp_path / "names.toml", tmp_path / "names.csv"
    toml.write_text('Tumor = "Epithelial"\n')
    class_names.take_class_names(toml)
    assert class_names.keep_class_names({"Stroma": "Ignored"}) == own_names
    assert toml.read_text() == 'Tumor = "Epithelial"\n'
    assert class_names.read_class_names(own_names) == {"Tumor": 1, "Stroma": "Ignored"}
    table.write_text("Tumor,Epithelial\n")
    class_names.take_class_names(table)
    assert class_names.keep_class_names({"tumor": None, "a, b": "Ambiguous"}) == table
    assert class_names.read_class_names(table) == {"a, b": "Ambiguous"}


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_how_it_looks(own_names, studio, viewer, folder, settle, qtbot, theme, tmp_path, request):
    """Nothing is cut off at 1280 x 800, in both themes."""
    from napari.settings import get_settings

    viewer.window._qt_window.resize(1280, 800)
    get_settings().appearance.theme = theme
    viewer.theme = theme
    panel = studio.panels["Slides"]
    panel.open_folder(folder)
    qtbot.waitUntil(lambda: len(panel.names.unknown) == 6, timeout=30_000)
    settle()
    dialog = panel.names.open_dialog()
    qtbot.wait(100)
    for box in dialog.meanings.values():
        assert box.width() >= box.sizeHint().width() - 1
    assert dialog.keep.isVisible()
    pictures = request.config.getoption("--basetemp")
    if pictures:
        viewer.window._qt_window.grab().save(str(Path(pictures) / f"slides-{theme}.png"))
        dialog.grab().save(str(Path(pictures) / f"dialog-{theme}.png"))
    dialog.cancel.click()
