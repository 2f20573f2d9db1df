"""Train in a real window: what it says holds, says why, and the keyboard does not slip."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QApplication, QComboBox, QLineEdit
from skimage.io import imread

from napari_monusac.core.events import BatchEnded, RunStarted
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.learn.dryrun import DryRunReport
from napari_monusac.ui.train.curves import CurvesView
from napari_monusac.ui.train.plots import CurvesPanel
from napari_monusac.ui.train.words import check_words, device_answer, run_device_words

pytestmark = [pytest.mark.gui, pytest.mark.torch]

LONG = DryRunReport(
    crops=6, crops_opened=6, device="cpu", precision="bfloat16", steps_per_epoch=60, epochs=120,
    seconds_per_step=1.0, seconds_per_validation=1.0, memory_mib=1536,
)  # fmt: skip


@pytest.fixture
def train(opened, qtbot):
    """The Train panel in an active window, with a folder to train on."""
    opened.show_panel("Train")
    QApplication.setActiveWindow(opened.window())
    qtbot.wait(50)
    return opened.panels["Train"]


@pytest.fixture
def checked(monkeypatch):
    """Checks end when told, with a long run; returns the event that ends them."""
    go_on = threading.Event()

    def dry_run(*_args, **_kwargs):
        assert go_on.wait(20)
        return LONG

    monkeypatch.setattr("napari_monusac.learn.dryrun.dry_run", dry_run)
    yield go_on
    go_on.set()


def test_a_second_key_after_check_cancels_and_starts_nothing(train, checked, qtbot, settle):
    train.check.setFocus()
    qtbot.keyClick(train.check, Qt.Key.Key_Space)
    assert train.checking.task is not None
    assert train.checking.cancel.hasFocus()
    qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Space)
    assert train.checking.task.stopping
    assert train.checking.cancel.hasFocus(), "a third key reaches no other button either"
    checked.set()
    settle()
    assert not train.training.running
    assert train.check.hasFocus()
    assert train.check.isEnabled()


def test_a_long_run_is_said_beside_start_until_a_value_changes(train, checked, settle, tmp_path):
    checked.set()
    train.dry_run()
    settle()
    assert train.buttons.estimate.isVisible()
    assert "2 h 02 min" in train.buttons.estimate.text()
    assert "All 6 crops can be read" in train.checking.label.text()
    assert "on the processor" in train.checking.label.text()
    assert "bfloat16" not in train.checking.label.text()
    for change in (
        lambda: train.form.epochs.setValue(7),
        lambda: train.form.where.setCurrentIndex(1),
        lambda: train.form.device.setCurrentIndex(1),
        lambda: (train.form.out.box.setEditText(str(tmp_path)), train.form.out._edited()),
        lambda: train.form.recipes.setCurrentText("quick"),
        lambda: train.model.collection_changed.emit(train.model.collection),
        lambda: train.form.split.setCurrentIndex(1),
    ):
        train.dry_run()
        settle()
        assert train.buttons.estimate.text()
        change()
        assert not train.buttons.estimate.text()
        assert not train.checking.label.text()
    settle()


def test_a_check_of_values_that_changed_says_nothing_of_them(train, checked, settle):
    train.dry_run()
    train.form.epochs.setValue(3)
    train.form.every.setValue(2)
    assert train.training.draft.recipe.validate_every == 2
    train.form.every.setValue(1)
    checked.set()
    settle()
    assert "crops can be read" not in train.checking.label.text()
    assert not train.buttons.estimate.text()


def test_an_error_goes_with_the_folder_that_caused_it(train, settle, tissue_folder):
    one = next(p for p in sorted(tissue_folder.rglob("*")) if p.is_dir() and list(p.glob("*.xml")))
    train.training.data = one
    train.start.click()
    settle()
    assert "a patient that the model never saw" in train.status.note.text()
    assert train.start.isEnabled()
    train.form.data.box.setEditText(str(tissue_folder))
    train.form.data._edited()
    assert train.status.note.text() == ""


def test_a_start_shows_its_run_and_a_pause_is_said_everywhere(train, opened, tiny_recipe, checked, qtbot, settle):
    checked.set()
    train.dry_run()
    settle()
    train.form.recipes.setCurrentText("quick")
    train.training.draft.take(tiny_recipe.with_values(epochs=500))
    train.form.device.setCurrentIndex(train.form.device.findData("cpu"))
    settle()
    assert "No run yet" in train.runs.note.text()
    train.start.setFocus()
    train.start.click()
    qtbot.waitUntil(lambda: train.training.running, timeout=60_000)
    assert not train.checking.label.text()
    qtbot.waitUntil(lambda: train.runs.table.rowCount() == 1, timeout=20_000)
    assert train.runs.note.text() == ""
    assert QApplication.focusWidget() not in (train.pause, train.stop), "the key that started must not stop"
    qtbot.waitUntil(lambda: train.training.progress.step > 4, timeout=120_000)
    train.pause.click()
    assert opened.job.text().endswith(", paused")
    qtbot.wait(600)
    assert opened.job.text().endswith(", paused")
    assert "left" not in train.run.status.text()
    train.pause.click()
    assert "paused" not in opened.job.text()
    train.stop.click()
    assert not train.stop.isEnabled()
    qtbot.waitUntil(lambda: not train.training.running, timeout=60_000)
    settle()
    assert train.start.isVisible()
    assert not train.stop.isVisible()
    # the only run is selected, so that it can be gone on with at once
    assert [r.path for r in train.runs.selected()] == [train.training.run.path]
    assert train.runs.resume.isEnabled()
    assert RunFolder.open(train.training.run.path).status == "stopped"


def test_check_says_that_there_is_no_nucleus_to_learn_from():
    words = check_words(DryRunReport(3, 0, problems=("slides: no nucleus to learn from in the 2 training crops",)))
    assert words == "Problem: slides: no nucleus to learn from in the 2 training crops"


def test_buttons_that_rest_say_why(train, settle):
    runs = train.runs
    for button in (runs.resume, runs.watch, runs.compare, runs.timelapse, runs.folder):
        assert not button.isEnabled()
        assert button.toolTip() == "Select a run first"
    train.form.editor.set_values(lr="fast")
    assert "wrong" in train.start.toolTip()


@pytest.mark.parametrize("name", ["Slides", "Masks", "Train"])
def test_every_control_explains_itself(opened, qtbot, name):
    panel = opened.panels[name]
    opened.show_panel(name)
    for kind in (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit):
        for widget in panel.findChildren(kind):
            above = [widget, widget.parentWidget(), widget.parentWidget().parentWidget()]
            if widget.focusPolicy() != Qt.FocusPolicy.NoFocus:
                assert any(w.toolTip() for w in above if w is not panel), (
                    type(widget).__name__,
                    widget.accessibleName(),
                )


def test_devices_are_said_in_plain_words():
    reason = "no GPU found (no NVIDIA driver or device); 2 threads; bfloat16: bfloat16 is 1.4 x as fast as float32 here"
    event = RunStarted(
        recipe="quick", fingerprint="", epochs=1, steps_per_epoch=1, device="cpu", device_reason=reason, threads=2
    )
    assert run_device_words(event) == "No GPU found: training uses the processor (2 threads)."
    assert device_answer("cpu", "asked for").startswith("Training uses the processor. There long runs take hours")
    gpu = "NVIDIA H100, 70.1 of 79.2 GiB free"
    assert device_answer("cuda", gpu) == "Training uses the GPU (NVIDIA H100, 70.1 of 79.2 GiB free)."


def batch(step, lr):
    return BatchEnded(epoch=1, step=step, step_in_epoch=step, loss=4, semantic_loss=1, ternary_loss=3, lr=lr)


def test_curves_are_drawn_on_a_logarithmic_axis_popped_out_and_saved(viewer, qtbot, tmp_path):
    panel = CurvesPanel()
    qtbot.addWidget(panel)
    panel.resize(360, 560)
    panel.show()
    panel.view.add_many([batch(k, 10.0**-k) for k in range(1, 6)], 5)
    panel.log.click()
    qtbot.wait(50)
    low, high = panel.view.rates.viewRange()[1]
    assert -5.5 < low < -5 < -1 < high < -0.5, "the axis is of the exponents"
    drawn = next(d for d in panel.view.rates.listDataItems() if len(d.getData()[0]))
    np.testing.assert_allclose(drawn.getData()[1], [-1, -2, -3, -4, -5])
    panel.pop.click()
    assert panel.view.window() is panel.window_
    assert panel.window_.isVisible()
    panel.pop.click()  # to the front, no second one
    panel.save_png(tmp_path / "Kurven.png")
    picture = imread(tmp_path / "Kurven.png")
    assert picture.shape[1] >= 3 * 300
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 10
    panel.window_.close()
    assert panel.view.window() is panel.window()
    assert panel.view.isVisible()
    panel.log.click()
    low, high = panel.view.rates.viewRange()[1]
    assert low <= 0 < 0.1 < high
    panel.save_csv(tmp_path / "Kurven.csv")
    table = pd.read_csv(tmp_path / "Kurven.csv")
    rates = table[table["curve"] == "learning rate"]
    np.testing.assert_allclose(rates["value"], [0.1, 0.01, 0.001, 1e-4, 1e-5])
    np.testing.assert_allclose(rates["epoch"], [0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(table["curve"]) == {"loss of each step", "learning rate"}


def test_curves_have_plain_epochs_and_a_learning_rate_that_can_be_read(viewer, qtbot):
    curves = CurvesView()
    qtbot.addWidget(curves)
    curves.resize(360, 440)
    curves.show()
    curves.add_many([batch(k, 1e-4) for k in range(1, 6)], 100)
    qtbot.wait(50)
    axis = curves.rates.getAxis("bottom")
    assert axis.labelString().count("x0.001") == 0
    low, high = curves.rates.viewRange()[1]
    assert low < 0.0 < 1e-4 < high < 2e-4
    left = curves.rates.getAxis("left")
    assert left.labelText == "Learning rate"
    assert left.tickStrings([0.0, 5e-5, 1e-4], 1.0, 5e-5) == ["0", "5e-5", "1e-4"]
    first, last = curves.rates.viewRange()[0]
    assert first < 0
    assert last > 1, "the marker of the first epoch is whole"
    assert all(spacing >= 1 for spacing, _ in axis.tickSpacing(0, 1.2, 300))
    for label, names in (("Loss", ("each step", "training", "validation")), ("Score", ("Dice inside", "combo"))):
        assert all(name in curves.legends[label].text for name in names)
        assert curves.legends[label].sceneBoundingRect().bottom() <= (
            {"Loss": curves.losses, "Score": curves.scores}[label].vb.sceneBoundingRect().top() + 1
        )


def test_a_report_without_a_device_says_no_crop_is_damaged():
    from napari_monusac.ui.train.words import check_words, long_start

    failed = DryRunReport(crops=6, crops_opened=0, problems=("no weights",))
    assert check_words(failed) == "Problem: no weights"
    assert long_start(failed) == ""
    assert long_start(dataclasses.replace(LONG, epochs=10)) == ""


def test_units_are_written_as_people_read_them(train, settle):
    editor = train.form.editor
    assert editor._labels["um_per_px"].text() == "resolution (µm/px)"
    assert editor._widgets["um_per_px"].native.toolTip().endswith(", in µm/px")
    editor.set_values(um_per_px=0.5)
    assert "own value: 0.25" in editor._labels["um_per_px"].toolTip()
    editor.set_values(um_per_px=0.25)
    assert "own value" not in editor._labels["um_per_px"].toolTip()
    assert editor._labels["um_per_px"].text() == "resolution (µm/px)"
    settle()


def test_no_paragraph_of_the_form_is_cut_off(opened, viewer, qtbot, settle):
    """A form shared out heights of another width: the last line of a paragraph was half hidden."""
    from napari_monusac.ui.widgets.note import Note

    opened.show_panel("Train")
    form = opened.panels["Train"].form
    for width in (1100, 1900):
        viewer.window.resize(width, 1100)
        for at in range(form.recipes.count()):
            form.recipes.setCurrentIndex(at)
            settle()
            notes = [note for note in form.findChildren(Note) if note.isVisible()]
            assert len(notes) >= 3
            qtbot.waitUntil(lambda shown=notes: all(n.height() >= n.heightForWidth(n.width()) for n in shown))


def test_a_unit_is_written_as_people_write_it(opened):
    from napari_monusac.ui.widgets.note import Note

    note = Note("trained at 0.25 um/px, 3 crops of 0.1945 um/px; see /data/um/run 5 um.txt and 7 umbrellas")
    assert note.text() == "trained at 0.25 µm/px, 3 crops of 0.1945 µm/px; see /data/um/run 5 um.txt and 7 umbrellas"


def test_a_recipe_that_is_none_of_the_list_is_named_all_the_same(train, tiny_recipe, settle):
    train.training.draft.take(tiny_recipe)
    assert train.form.recipes.currentIndex() == -1
    assert train.form.recipes.placeholderText() == "tiny"
    train.form.recipes.setCurrentText("run-2")
    assert train.training.draft.base.name == "run-2"
    settle()


def test_weights_that_cannot_be_had_are_mended_under_the_message(train, settle, tmp_path):
    train.training.draft.set(encoder_weights=str(tmp_path / "gone.safetensors"))
    train.start.click()
    settle()
    assert "gone.safetensors" in train.status.note.text()
    assert train.status.scratch.isVisibleTo(train)
    train.status.scratch.click()
    assert train.training.draft.recipe.encoder_weights == "none"
    assert train.form.weights.currentText() == "From scratch"
    assert train.status.note.text() == ""
    assert not train.status.scratch.isVisibleTo(train)
    assert not train.training.runs_folder.exists()


def test_encoders_are_a_list_and_another_name_can_be_typed(train, settle):
    field = train.form.editor._widgets["encoder"]
    assert field.findText("resnet50") >= 0
    field.value = "tu-regnety_002"
    assert train.training.draft.recipe.encoder == "tu-regnety_002"
    settle()


def test_a_run_goes_on_when_its_dock_is_closed_and_is_shown_when_it_is_opened_again(
    train, opened, viewer, tiny_recipe, qtbot, settle
):
    training = train.training
    training.draft.take(tiny_recipe.with_values(epochs=500))
    training.device = "cpu"
    training.start()
    qtbot.waitUntil(lambda: training.progress.step > 2, timeout=120_000)
    viewer.window.remove_dock_widget("all")
    qtbot.wait(100)
    done = training.progress.step
    qtbot.waitUntil(lambda: training.progress.step > done, timeout=60_000)
    again = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
    panel = again.panels["Train"]
    again.show_panel("Train")
    assert panel.training is training
    assert panel.run.isVisibleTo(panel)
    assert not panel.form.isVisibleTo(panel)
    assert panel.curves.has_points
    assert "tiny" in again.job.text()
    panel.stop.click()
    qtbot.waitUntil(lambda: not training.running, timeout=60_000)
    settle()
    assert "Stopped" in panel.run.status.text()
    assert panel.curves.isVisibleTo(panel), "the curves of a run that has ended stay"
    panel.run.away.click()
    assert not panel.run.isVisibleTo(panel)
