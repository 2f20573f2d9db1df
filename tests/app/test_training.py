"""Training without a window: what will run, what is refused, what a run says, and that it outlives its panel."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from napari_monusac.app.answers import Refused, Said
from napari_monusac.app.facts import Fact
from napari_monusac.app.recipe_draft import ENCODERS, RecipeDraft
from napari_monusac.app.training import RunProgress, TrainingModel, TrainingPlan
from napari_monusac.app.work import Work
from napari_monusac.core.errors import WeightsError
from napari_monusac.core.events import BatchEnded, CheckpointSaved, EpochEnded, RunEnded, RunStarted, Scores
from napari_monusac.core.recipe import load_recipe
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.runs.run_folder import RunFolder, find_runs
from napari_monusac.ui.train.words import progress_words


@pytest.fixture
def training(tmp_path):
    model = TrainingModel(Work())
    model.runs_folder = tmp_path / "runs"
    model.work.wait()
    return model


def heard(signal):
    values = []
    signal.connect(lambda *value: values.append(value))
    return values


# -- the recipe that is edited


def test_wrong_values_are_told_at_their_field_in_plain_words():
    draft = RecipeDraft(load_recipe("run-8"))
    draft.set(lr="fast", epochs=0, patch_size=100, steps_per_epoch="many", decoder_channels="64, 32", dropout="1")
    assert draft.recipe is None
    assert draft.faults == {
        "lr": "must be a number (such as 0.0001 or 1e-4), not 'fast'",
        "epochs": "must be 1 or more",
        "patch_size": "must be a multiple of 32",
        "steps_per_epoch": "must be a whole number, not 'many'",
        "decoder_channels": "needs 3 numbers or more",
        "dropout": "must be less than 1",
    }
    assert "pydantic" not in draft.faults_in_words()
    draft.set(lr="0.001", epochs=5, patch_size=128, steps_per_epoch="", decoder_channels="64, 32, 16", dropout="0.1")
    assert draft.faults == {}
    assert draft.recipe.lr == 0.001
    assert draft.recipe.decoder_channels == (64, 32, 16)
    assert draft.recipe.steps_per_epoch is None


def test_values_that_clash_are_marked_at_each_of_their_fields():
    draft = RecipeDraft(load_recipe("run-8"))
    draft.set(batch_size=8, accumulate=3)
    assert set(draft.faults) == {"batch_size", "accumulate"}
    assert draft.faults["accumulate"] == "accumulate = 3 must divide batch size = 8"
    assert draft.faults_in_words() == "accumulate: accumulate = 3 must divide batch size = 8"
    draft.set(accumulate=4)
    assert draft.faults == {}
    assert draft.changes_in_words() == "Changed: accumulate 4 (was 1)."


def test_each_change_is_one_event_and_another_recipe_forgets_them():
    draft = RecipeDraft(load_recipe("run-8"))
    changes, bases = heard(draft.changed), heard(draft.base_changed)
    draft.set(epochs=3)
    quick = load_recipe("quick")
    draft.take(quick)
    assert len(changes) == 2
    assert bases == [(quick,)]
    assert draft.recipe == quick
    assert draft.changes() == {}


@pytest.mark.torch
def test_every_encoder_that_is_offered_is_one_that_can_be_built():
    import segmentation_models_pytorch as smp
    import timm

    for name in ENCODERS:
        assert timm.is_model(name[3:]) if name.startswith("tu-") else name in smp.encoders.encoders, name


# -- what will run


def test_setting_a_fact_is_its_event_and_another_plan(training, tmp_path):
    facts = {name: fact.event for name, fact in vars(TrainingModel).items() if isinstance(fact, Fact)}
    assert len(set(facts.values())) == len(facts) == 15
    plans = heard(training.plan_changed)
    for name, value in (
        ("data", tmp_path), ("split", "official"), ("where", "child"), ("device", "cpu"), ("runs_folder", tmp_path)
    ):  # fmt: skip
        told, before = heard(getattr(training, facts[name])), len(plans)
        setattr(training, name, value)
        assert told == [(value,)]
        assert len(plans) == before + 1
        training.checked = "a report"
    training.draft.set(epochs=3)
    assert training.checked is None, "of values that were others"
    training.work.wait()


def test_what_is_missing_is_answered(training):
    assert training.start() == Refused("Choose a folder of labelled crops to train on.")
    assert training.said == Said("Choose a folder of labelled crops to train on.", "warning")
    training.draft.set(epochs="few")
    assert not training.check()
    assert training.said.text == "A value of the recipe is wrong: epochs: must be a whole number, not 'few'."
    assert training.pause() == Refused("No run is going on.")
    assert not training.stop()
    assert training.state == "idle"


def test_the_open_folder_is_trained_on_and_its_patients_are_known(training, example_data):
    collection = open_collection(example_data)
    training.take_collection(collection)
    assert training.data == collection.root
    assert training.patients == collection.grouping_of(collection.labelled)
    training.take_collection(None)
    assert training.data == collection.root
    plan = training.plan()
    assert isinstance(plan, TrainingPlan)
    assert (plan.recipe, plan.split, plan.where, plan.device) == (load_recipe("run-8"), "patient", "thread", "auto")


def test_of_two_folders_the_patients_of_the_last_are_told(training, example_data, tmp_path):
    training.choose_data(tmp_path / "none there")
    training.choose_data(example_data)
    training.work.wait()
    assert training.patients == open_collection(example_data).grouping_of(open_collection(example_data).labelled)
    training.choose_data(tmp_path / "none there")
    training.work.wait()
    assert "none there" in str(training.patients)


def test_weights_that_cannot_be_had_leave_no_folder(training, example_data, tmp_path):
    training.data = example_data
    training.draft.set(encoder_weights=str(tmp_path / "gone.safetensors"))
    assert training.start()
    assert training.state == "opening"
    training.work.wait()
    assert training.state == "idle"
    assert isinstance(training.said.error, WeightsError)
    assert not training.runs_folder.exists()


# -- a run


@pytest.fixture
def tiny(training, example_data):
    training.draft.take(
        load_recipe("quick").with_values(
            encoder="tu-test_efficientnet",
            decoder_channels=(16, 16, 16, 16, 16),
            epochs=2,
            steps_per_epoch=3,
            patch_size=64,
            batch_size=2,
            schedule="constant",
            warmup_epochs=0,
            precision="float32",
        )
    )
    training.data, training.device = example_data, "cpu"
    return training


@pytest.mark.torch
def test_a_run_is_told_from_beginning_to_end(tiny):
    states, events, ends = heard(tiny.state_changed), heard(tiny.events), heard(tiny.ended)
    assert tiny.start()
    assert tiny.start() == Refused(), "one at a time"
    tiny.work.wait(120)
    assert [s for (s,) in states] == ["opening", "running", "idle"]
    flat = [event for (batch,) in events for event in batch]
    assert flat == tiny.history == RunFolder.open(tiny.run.path).read_events()
    assert isinstance(flat[0], RunStarted)
    assert [e.epoch for e in flat if isinstance(e, EpochEnded)] == [1, 2]
    assert ends == [(flat[-1],)]
    assert flat[-1].reason == "completed"
    assert tiny.progress.fraction == 1.0
    (row,) = tiny.runs
    assert (row.run.path, row.status, row.epochs, row.combo) == (
        tiny.run.path, "completed", 2, tiny.progress.best_combo
    )  # fmt: skip
    # it stays to be looked at until it is put away
    tiny.put_away()
    assert tiny.run is None
    assert tiny.history == []


@pytest.mark.torch
def test_a_run_is_stopped_and_resumed(tiny):
    tiny.draft.set(epochs=500)
    tiny.events.connect(lambda batch: tiny.stop() if any(isinstance(e, BatchEnded) for e in batch) else None)
    tiny.start()
    tiny.work.wait(120)
    assert isinstance(tiny.end, RunEnded)
    assert tiny.end.reason == "stopped"
    done = tiny.progress.step
    assert tiny.runs[0].status == "stopped"
    tiny.resume(tiny.runs[0].run)
    tiny.work.wait(120)
    assert tiny.end.reason == "stopped"
    assert tiny.progress.step > done
    assert isinstance(tiny.history[0], RunStarted), "what was before is drawn, too"
    assert len(find_runs(tiny.runs_folder)) == 1


def told(model):
    return [event.step for event in model.history if isinstance(event, BatchEnded)]


def started(first_step):
    return RunStarted(
        recipe="quick", fingerprint="f", epochs=2, steps_per_epoch=3, total_steps=6, device="cpu", first_step=first_step,
        first_epoch=1 + first_step // 3,
    )  # fmt: skip


def steps(*numbers):
    return [
        BatchEnded(
            epoch=1 + (n - 1) // 3, step=n, step_in_epoch=1 + (n - 1) % 3, loss=1, semantic_loss=1, ternary_loss=1, lr=1e-3
        )
        for n in numbers
    ]  # fmt: skip


def crashed(training, example_data):
    """The folder of a run that was killed in its fifth step: the checkpoint is that of the third."""
    training.data = example_data
    run = training.plan().make_run()
    with run.events_file.open("w", encoding="utf-8") as file:
        file.writelines(f"{event.model_dump_json()}\n" for event in [started(0), *steps(1, 2, 3, 4, 5)])
    return run


def test_steps_that_a_crash_lost_are_drawn_once_when_they_are_run_again(training, example_data, monkeypatch):
    run = crashed(training, example_data)
    again = [started(3), *steps(4, 5, 6), RunEnded(reason="completed")]
    monkeypatch.setattr("napari_monusac.learn.loop.train", lambda *_, **__: iter(again))
    begun = heard(training.begun)
    training.resume(run)
    training.work.wait(60)
    assert told(training) == [1, 2, 3, 4, 5, 6]
    assert len(begun) == 2, "what is drawn is drawn anew without them"


def test_a_run_that_is_watched_is_told_once(training, example_data):
    run = crashed(training, example_data)
    with run.events_file.open("a", encoding="utf-8") as file:
        again = [started(3), *steps(4, 5, 6), RunEnded(reason="completed")]
        file.writelines(f"{event.model_dump_json()}\n" for event in again)
    events = heard(training.events)
    training.watch(run)
    training.work.wait(60)
    assert told(training) == [1, 2, 3, 4, 5, 6]
    assert [e for (batch,) in events for e in batch] == training.history


@pytest.mark.torch
def test_a_window_that_closes_lets_its_run_save_and_end(tiny):
    other = Work()
    go_on = threading.Event()
    stays = other.task(lambda _: go_on.wait(60), None).start()
    tiny.draft.set(epochs=500)
    tiny.events.connect(lambda batch: tiny.work.close() if any(isinstance(e, BatchEnded) for e in batch) else None)
    tiny.start()
    tiny.work.wait(120)
    run = RunFolder.open(tiny.run.path)
    assert run.status == "stopped"
    assert run.last.is_file()
    assert stays.running, "another window's work goes on"
    go_on.set()
    other.wait()


@pytest.mark.torch
def test_a_run_is_handed_over_to_its_own_process(tiny):
    """It stops here, goes on there from where it was, and whoever waits for that hears of it once."""
    tiny.draft.set(epochs=500)
    told, steps = [], []

    def there():
        told.append((tiny.state, tiny.ends_with_window))
        tiny.stop()  # the test ends it there

    def look(batch):
        steps.extend(e.step for e in batch if isinstance(e, BatchEnded))
        if steps and not told and tiny.ends_with_window:
            assert tiny.hand_over(there) is None

    tiny.events.connect(look)
    assert isinstance(tiny.hand_over(there), Refused), "nothing runs yet"
    tiny.start()
    tiny.work.wait(240)
    assert told == [("running", False)]
    assert tiny.end.reason == "stopped"
    (run,) = find_runs(tiny.runs_folder)
    assert sum(isinstance(e, RunStarted) for e in run.read_events()) == 2
    assert steps == sorted(set(steps)), "no step is trained twice"


@pytest.mark.torch
def test_a_run_that_cannot_go_over_says_why_and_nobody_is_told_that_it_has(tiny, monkeypatch):
    from napari_monusac.jobs import job

    def full(*_, **__):
        raise WeightsError("no process can be started", "close other programs")

    monkeypatch.setattr(job, "start_job", full)
    tiny.draft.set(epochs=500)
    told = []

    def look(batch):
        if any(isinstance(e, BatchEnded) for e in batch):
            tiny.hand_over(lambda: told.append(True))

    tiny.events.connect(look)
    tiny.start()
    tiny.work.wait(240)
    assert told == []
    assert "no process can be started" in str(tiny.end)
    assert find_runs(tiny.runs_folder)[0].last.is_file()


def test_opening_the_model_imports_neither_qt_nor_torch():
    code = (
        "import sys, napari_monusac.app.training\n"
        "print([m for m in ('torch', 'qtpy', 'napari', 'PyQt6', 'smp', 'albumentations') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_runs_are_named_noted_removed_and_brought_back(training, example_data):
    run = TrainingPlan(load_recipe("quick"), example_data, training.runs_folder, "patient", "thread", "cpu").make_run()
    assert training.describe_run(run, name="  Leber ", note="erster Versuch") is None
    training.work.wait()
    (row,) = training.runs
    assert (row.run.title, row.run.info.note) == ("Leber", "erster Versuch")
    with row.run.lock():
        refused = training.remove_runs([row.run])
        assert isinstance(refused, Refused)
        assert "stop it first" in refused.why
        assert training.removed == ()
    assert training.remove_runs([row.run]) is None
    training.work.wait()
    assert training.runs == ()
    assert [one.name for one in training.removed] == ["Leber"]
    assert training.restore_runs() is None
    training.work.wait()
    assert [r.run.title for r in training.runs] == ["Leber"]
    assert training.removed == ()


@pytest.mark.torch
def test_curves_for_tensorboard_are_written_where_they_are_wanted(tiny):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    tiny.draft.set(epochs=1)
    tiny.start()
    tiny.work.wait(120)
    assert not (tiny.run.path / "tensorboard").exists()
    tiny.put_away()
    tiny.tensorboard = True
    started = tiny.start()
    tiny.work.wait(120)
    assert tiny.run is not None, (started, tiny.said, tiny.state)
    (file,) = (tiny.run.path / "tensorboard").iterdir()
    tags = {v.tag for event in loader.EventFileLoader(str(file)).Load() for v in event.summary.value}
    assert {"batch/loss", "score/combo", "learning rate"} <= tags


# -- progress


def test_time_spent_waiting_says_nothing_of_the_pace(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("napari_monusac.app.training.time.monotonic", lambda: clock.now)
    progress = RunProgress()
    progress.take(RunStarted(recipe="quick", fingerprint="", epochs=1, steps_per_epoch=21, device="cpu"))
    for step in range(1, 12):
        clock.now = float(step)
        progress.take(
            BatchEnded(epoch=1, step=step, step_in_epoch=step, loss=1, semantic_loss=0, ternary_loss=1, lr=1e-4)
        )
    assert progress.seconds_left == pytest.approx(10)
    progress.pause(True)
    clock.now += 1000
    progress.pause(False)
    assert progress.seconds_left == pytest.approx(10)


def test_the_best_is_what_the_loop_kept_not_the_largest_combo():
    progress = RunProgress()
    for epoch, combo, which in ((1, 0.7, "best"), (2, 0.6, "best"), (3, 0.8, "last")):  # selected by PQ, say
        progress.take(CheckpointSaved(path="x", which=which, epoch=epoch, combo=combo))
    assert progress.best_combo == 0.6


def test_a_run_that_max_steps_ends_is_done_there(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("napari_monusac.app.training.time.monotonic", lambda: clock.now)
    progress = RunProgress()
    progress.take(
        RunStarted(recipe="run-8", fingerprint="", epochs=3, steps_per_epoch=10, total_steps=24, device="cpu")
    )
    for step in range(1, 13):
        clock.now = float(step)
        progress.take(
            BatchEnded(
                epoch=1 + (step - 1) // 10, step=step, step_in_epoch=1 + (step - 1) % 10,
                loss=1, semantic_loss=0, ternary_loss=1, lr=1e-4,
            )
        )  # fmt: skip
    assert progress.fraction == 0.5
    assert progress.seconds_left == pytest.approx(12)


def _batch(epoch, step, step_in_epoch):
    return BatchEnded(
        epoch=epoch, step=step, step_in_epoch=step_in_epoch, loss=1, semantic_loss=0, ternary_loss=1, lr=1e-4
    )


def _epoch_ended(epoch, step, combo):
    losses = {f"{part}_{kind}loss": 1.0 for part in ("train", "val") for kind in ("", "semantic_", "ternary_")}
    return EpochEnded(epoch=epoch, step=step, scores=Scores(combo=combo), lr=1e-4, **losses)


def test_an_epoch_that_is_validated_says_so_until_its_scores_are_there():
    """Of five epochs of two steps the second, the fourth and the last are validated."""
    progress, validated = RunProgress(validate_every=2), []
    progress.take(RunStarted(recipe="quick", fingerprint="", epochs=5, steps_per_epoch=2, device="cpu"))
    for step in range(1, 11):
        epoch = 1 + (step - 1) // 2
        progress.take(_batch(epoch, step, 1 + (step - 1) % 2))
        if progress.validating:
            validated.append((epoch, step))
            assert "validating" in progress_words(progress)
            progress.take(_epoch_ended(epoch, step, combo=0.5 - 0.1 * epoch))
            assert "validating" not in progress_words(progress)
    assert validated == [(2, 4), (4, 8), (5, 10)]


def test_the_epoch_in_which_max_steps_ends_a_run_is_validated():
    progress = RunProgress(validate_every=7)
    progress.take(
        RunStarted(recipe="quick", fingerprint="", epochs=9, steps_per_epoch=10, total_steps=13, device="cpu")
    )
    for step, wanted in ((10, False), (12, False), (13, True)):
        progress.take(_batch(1 + (step - 1) // 10, step, 1 + (step - 1) % 10))
        assert progress.validating is wanted
