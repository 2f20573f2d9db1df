from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import yaml
from qtpy.QtWidgets import QAbstractButton, QLabel

from napari_monusac.ui.canvas import canvas

PANELS = {"Slides", "Annotate", "Masks", "Train", "Predict", "Review"}


def test_the_manifest_counts_what_the_plugin_offers():
    """`npe2 validate` passes a misspelt key: count them."""
    from importlib.resources import files

    manifest = yaml.safe_load((files("napari_monusac") / "napari.yaml").read_text("utf-8"))
    contributions = manifest["contributions"]
    assert manifest["name"] == "napari-monusac"
    assert {"commands", "readers", "writers", "widgets", "sample_data"} <= set(contributions)
    assert PANELS | {"MoNuSAC Studio"} <= {w["display_name"] for w in contributions["widgets"]} | {"Masks"}
    known = {c["id"] for c in contributions["commands"]}
    for kind in ("readers", "writers", "widgets", "sample_data"):
        for entry in contributions[kind]:
            assert entry["command"] in known


def test_every_command_of_the_manifest_can_be_imported():
    from importlib import import_module
    from importlib.resources import files

    manifest = yaml.safe_load((files("napari_monusac") / "napari.yaml").read_text("utf-8"))
    for command in manifest["contributions"]["commands"]:
        if "python_name" in command:
            module, name = command["python_name"].split(":")
            assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("name", ["Slides", "Annotate", "Boundary masks", "Train", "Predict", "Review"])
def test_each_panel_also_stands_alone(viewer, qtbot, name, settle):
    from napari_monusac.ui import model

    _, widget = viewer.window.add_plugin_dock_widget("napari-monusac", name)
    qtbot.wait(50)
    assert widget.isVisible()
    settle()
    model.forget(viewer)


def test_the_empty_studio_says_what_to_do(studio):
    assert set(studio.panels) >= PANELS
    assert "Choose a folder" in studio.panels["Slides"].hint.text()
    assert studio.where.text() == "No slide is open"
    assert not studio.next.isEnabled()
    assert not studio.presets[40].isEnabled()


def test_a_slide_that_is_open_already_is_taken(viewer, qtbot, tissue_folder, settle, monkeypatch, tmp_path):
    """`napari PATH -w napari-monusac` opens the file before it docks the Studio."""
    from napari_monusac.ui import model

    monkeypatch.setenv("MONUSAC_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MONUSAC_PANEL", "review")
    image = sorted(tissue_folder.rglob("*.svs"))[1]
    viewer.open(str(image.parent), plugin="napari-monusac")
    _, studio = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")
    qtbot.waitUntil(lambda: studio.model.crop is not None, timeout=30_000)
    assert studio.where.text() == studio.model.crop.name
    assert studio.tabs.tabText(studio.tabs.currentIndex()) == "Review"
    assert studio.model.training.runs_folder == tmp_path / "runs"
    out = studio.panels["Train"].form.out.box
    assert out.lineEdit().placeholderText() == str(tmp_path / "runs")
    assert out.toolTip().startswith(str(tmp_path / "runs"))
    settle()
    if studio.model.editing.session is not None:
        studio.model.editing.session.close(discard=True)
    model.forget(viewer)


def test_magnification_presets(opened, viewer):
    um = canvas.um_per_px(canvas.find_layer(viewer, "image"))
    assert um == pytest.approx(0.25)
    opened.presets[40].click()
    # at 40x and 0.25 um/px one screen pixel is one image pixel
    assert viewer.scene.camera.zoom * um == pytest.approx(1.0)
    assert viewer.canvas.overlays.text.text == "40x"
    opened.presets[10].click()
    assert viewer.scene.camera.zoom * um == pytest.approx(0.25)


def test_scale_bar_and_legend(opened, viewer, qtbot):
    assert viewer.canvas.overlays.scale_bar.visible
    counts = opened.model.collection.annotation(opened.model.crop).counts()
    legend = {n: o.text for n, o in viewer.canvas.overlays.items() if n.startswith("monusac_legend_")}
    for cls, number in counts.items():
        assert any(cls.label in t and str(number) in t for t in legend.values())
    viewer.layers.remove(canvas.find_layer(viewer, "nuclei"))
    qtbot.waitUntil(lambda: not [n for n in viewer.canvas.overlays if n.startswith("monusac_legend_")])


def test_deleting_any_layer_breaks_nothing(opened, viewer, qtbot):
    for layer in list(viewer.layers):
        viewer.layers.remove(layer)
        qtbot.wait(10)
    opened.presets[40].click()
    opened.go(1)
    qtbot.waitUntil(lambda: canvas.find_layer(viewer, "nuclei") is not None, timeout=30_000)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_no_word_is_cut_off(opened, viewer, qtbot, theme):
    """Every visible button and unwrapped label gets at least the width that its text wants."""
    viewer.theme = theme
    viewer.window.resize(1280, 800)
    for name in opened.panels:
        opened.show_panel(name)
        qtbot.wait(60)
        for widget in [*opened.findChildren(QLabel), *opened.findChildren(QAbstractButton)]:
            if widget.isVisible() and widget.text() and not (isinstance(widget, QLabel) and widget.wordWrap()):
                needed = widget.fontMetrics().horizontalAdvance(widget.text().replace("&", ""))
                assert widget.width() >= needed - 2, (name, widget.text(), widget.width(), needed)


def test_opening_a_slide_imports_neither_torch_nor_qt(tissue_folder):
    image = sorted(tissue_folder.rglob("*.svs"))[0]
    code = (
        "import sys\nfrom npe2 import PluginManager\nPluginManager.instance().discover()\n"
        "from npe2.io_utils import read\n"
        "layers = read([sys.argv[1]], stack=False, plugin_name='napari-monusac')\n"
        "print(len(layers), [m for m in ('torch', 'albumentations', 'qtpy', 'napari') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(image)], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"
    assert int(done.stdout.split()[0]) >= 4


def test_a_panel_docked_alone_ends_with_its_dock(viewer, qtbot):
    from qtpy.compat import isalive

    _, panel = viewer.window.add_plugin_dock_widget("napari-monusac", "Train")
    work, go_on, heard = panel.model.work, threading.Event(), []
    task = work.task(lambda report: [report() for _ in iter(lambda: go_on.wait(0.01), True)], panel)
    task.finished.connect(lambda: heard.append(task))
    task.start()
    kept = work.task(lambda _: go_on.wait(20), None).start()
    qtbot.wait(100)
    viewer.window.remove_dock_widget(panel)
    qtbot.waitUntil(lambda: not isalive(panel), timeout=10_000)
    qtbot.waitUntil(lambda: not task.running, timeout=10_000)
    assert heard == [], "nobody is told of the end of what a closed panel asked for"
    assert kept.running, "the window's other work goes on"
    go_on.set()
    qtbot.waitUntil(lambda: not kept.running, timeout=10_000)


def test_closing_one_of_two_windows_leaves_the_others_work(make_napari_viewer, qtbot):
    windows = [make_napari_viewer(show=True) for _ in range(2)]
    models = []
    for window in windows:
        models.append(window.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1].model)
    go_on = threading.Event()
    tasks = [
        m.work.task(lambda report: [report() for _ in iter(lambda: go_on.wait(0.01), True)], None).start()
        for m in models
    ]
    qtbot.wait(100)
    windows.pop(0).close()
    qtbot.waitUntil(lambda: not tasks[0].running, timeout=20_000)
    assert models[0].work.closed
    assert tasks[1].running
    assert not tasks[1].stopping
    go_on.set()
    qtbot.waitUntil(lambda: not tasks[1].running, timeout=10_000)
