"""Run folders: made whole, status from the folder alone, locks, control files, history, time-lapse. No torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from napari_monusac.core.errors import RunError, RunLockedError
from napari_monusac.core.events import BatchEnded, CheckpointSaved, EpochEnded, RunEnded, RunStarted, Scores
from napari_monusac.core.recipe import load_recipe
from napari_monusac.io import locks as _locks
from napari_monusac.io.runs.run_folder import RunFolder, find_runs
from napari_monusac.io.runs.timelapse import read_timelapse, timelapse_crops
from napari_monusac.io.splits import Split

SPLIT = Split(kind="patient", training=("a_1", "a_2"), validation=("b_1",))


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "runs" / "one", data=tmp_path, split=SPLIT, recipe=load_recipe("run-8"))


def _started(first_epoch=1, first_step=0):
    where = {"first_epoch": first_epoch, "first_step": first_step, "device": "cpu"}
    return RunStarted(recipe="run-8", fingerprint="x", epochs=9, steps_per_epoch=2, **where)


def _batch(epoch, step, loss=1.0):
    return BatchEnded(epoch=epoch, step=step, step_in_epoch=1, loss=loss, semantic_loss=0.1, ternary_loss=0.2, lr=1e-4)


def _epoch(epoch, step, combo=0.5):
    losses = {f"{p}_{k}": 0.1 for p in ("train", "val") for k in ("loss", "semantic_loss", "ternary_loss")}
    scores = Scores(combo=combo, dice_inside=0.6, iou={"Background": 0.9, "Neutrophil": None})
    return EpochEnded(epoch=epoch, step=step, scores=scores, lr=1e-4, seconds=1.0, **losses)


def _record(run, *events):
    with run.recorder() as record:
        for event in events:
            record(event)


def test_the_best_epoch_is_the_one_whose_weights_were_kept(run):
    assert run.epochs_and_best() == ([], None)
    first, second = _epoch(1, 2, 0.7), _epoch(2, 4, 0.6)
    _record(run, first, second)  # as versions of before wrote them
    assert run.epochs_and_best()[1] == first
    _record(run, CheckpointSaved(path="x", which="best", epoch=1, combo=0.7))
    _record(run, CheckpointSaved(path="x", which="best", epoch=2, combo=0.6))  # chosen by another score than combo
    _record(run, CheckpointSaved(path="x", which="best", epoch=3, combo=0.9))  # its epoch was never written: a crash
    epochs, best = run.epochs_and_best()
    assert epochs == run.epochs() == [first, second]
    assert best == second


def test_a_new_folder_holds_what_was_asked_for(run, tmp_path):
    again = RunFolder.open(run.path)
    assert again.recipe == load_recipe("run-8")
    assert again.split == SPLIT
    assert again.data == tmp_path
    assert again.name == "one"
    assert again.status == "new"
    assert not again.last.exists()
    environment = again.environment
    assert environment["versions"]["numpy"] == np.__version__
    assert environment["cores"] >= 1
    assert len(environment["commit"]) in {0, 40}


def test_folders_that_cannot_be_used_are_named(run, tmp_path):
    with pytest.raises(RunError, match="is not empty"):
        RunFolder.create(run.path, data=tmp_path, split=SPLIT, recipe=load_recipe("run-8"))
    with pytest.raises(RunError, match="is no run folder"):
        RunFolder.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot be made"):
        RunFolder.create(tmp_path / "file" / "run", data=tmp_path, split=SPLIT, recipe=load_recipe("run-8"))
    for name in ("split.json", "recipe.toml", "run.json"):
        content = (run.path / name).read_text()
        (run.path / name).write_text("{broken")
        with pytest.raises(RunError, match="damaged") as caught:
            RunFolder.open(run.path)
        assert "\n" not in str(caught.value)
        (run.path / name).write_text(content)


def test_status_follows_from_the_folder(run):
    assert run.status == "new"
    with run.lock():
        assert run.status == "running"
        run.request_pause()
        assert run.status == "paused"
        run.request_resume()
        assert run.status == "running"
        run.request_stop()
        assert run.should_stop()
        _record(run, _started(), _batch(1, 1))
    assert run.status == "interrupted"
    run.clear_requests()
    assert not run.should_stop()
    for reason in ("stopped", "failed", "completed"):
        _record(run, RunEnded(reason=reason))
        assert run.status == reason


def test_a_child_that_has_said_its_end_is_not_starting(run):
    assert run.status == "new"
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        run.record_child(sleeper.pid)
        assert run.status == "starting"
        _record(run, _started(), _batch(1, 1), RunEnded(reason="stopped"))
        assert run.status == "stopped", "the child is still closing its files"
    finally:
        sleeper.communicate(b"\n")
    assert run.status == "stopped"


def test_only_one_process_may_write(run):
    code = (
        "import sys, time\nfrom napari_monusac.io.runs.run_folder import RunFolder\n"
        "with RunFolder.open(sys.argv[1]).lock():\n    print('locked', flush=True)\n    time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"locked\n"
    assert run.status == "running"
    assert run.writer_pid() == child.pid
    with pytest.raises(RunLockedError, match=f"process, {child.pid} on"), run.lock():
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    assert run.status == "interrupted", "a killed process holds nothing"
    assert run.writer_pid() is None
    with run.lock():
        assert run.writer_pid() == os.getpid()


def test_a_recycled_pid_a_torn_lock_and_another_machine(run):
    lock = run.path / "lock"
    own = _locks.this_process()
    lock.write_text(json.dumps({**own, "started": own["started"] - 1000, "ticks": 1}))
    assert not run.is_alive, "this pid belonged to another process"
    lock.write_text("")
    assert not run.is_alive
    with run.lock():
        pass
    lock.write_text(json.dumps({"pid": 1, "started": 0, "host": "elsewhere"}))
    assert run.is_alive, "a process of another machine cannot be asked"
    assert run.writer_pid() is None
    with pytest.raises(RunLockedError, match=r"elsewhere.*delete lock"), run.lock():
        pass


def test_a_lock_taken_meanwhile_is_not_taken_away(run):
    lock = _locks.ProcessLock(run.path / "lock")
    stale = {"pid": 999999, "started": 0, "host": _locks.platform.node()}
    (run.path / "lock").write_text(json.dumps(_locks.this_process()))  # taken after `stale` was read
    lock._take_away(stale)
    assert run.is_alive


def test_history_leaves_out_what_was_run_again(run):
    _record(run, _started(), _batch(1, 1), _batch(1, 2), _epoch(1, 2), _batch(2, 3), _batch(2, 4), _epoch(2, 4, 0.9))
    _record(run, CheckpointSaved(path="x", which="best", epoch=2, combo=0.9))
    with run.events_file.open("ab") as file:
        file.write(b'{"kind": "batch-ended", "epo')  # killed while writing; the checkpoint is that of epoch 1
    _record(run, _started(2, 2), _batch(2, 3, loss=7.0), _batch(2, 4), _epoch(2, 4, 0.4))
    steps = [(e.step, e.loss) for e in run.read_events() if isinstance(e, BatchEnded)]
    assert steps == [(1, 1.0), (2, 1.0), (3, 7.0), (4, 1.0)]
    assert [e.scores.combo for e in run.epochs()] == [0.5, 0.4]
    assert not [e for e in run.read_events() if isinstance(e, CheckpointSaved)]
    assert len(run.read_events(superseded=True)) == 12
    table = run.metrics_file.read_text().splitlines()
    assert len(table) == 3
    assert table[0].startswith("epoch,step,lr,seconds,train_loss")
    assert table[0].endswith("iou_background,iou_neutrophil")
    assert table[2].split(",")[0] == "2"
    assert ",0.4," in table[2]
    assert table[2].endswith("0.9,"), "an undefined score is empty"


def test_runs_are_found_newest_first(tmp_path):
    made = [
        RunFolder.create(tmp_path / n, data=tmp_path, split=SPLIT, recipe=load_recipe("run-8"))
        for n in ("a", "group/b", "c")
    ]
    for k, run in enumerate(made):
        run.update_info(created=float(k))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("?")
    assert [r.path.name for r in find_runs(tmp_path)] == ["c", "b", "a"]
    assert [r.path.name for r in find_runs(tmp_path / "a")] == ["a"]
    assert find_runs(tmp_path / "nowhere") == []


def test_the_time_lapse_is_read_as_a_stack(run):
    with pytest.raises(RunError, match="no frame"):
        read_timelapse(run, "b_1")
    assert timelapse_crops(run) == ()
    run.timelapse.mkdir()
    for epoch in (1, 2, 10):
        maps = {"b_1/semantic": np.full((4, 5), epoch, np.uint8), "b_1/ternary": np.zeros((4, 5), np.uint8)}
        np.savez_compressed(run.timelapse / f"epoch-{epoch:04d}.npz", **maps, **{"b_1/origin": np.array([3, 7])})
    assert timelapse_crops(run) == ("b_1",)
    frames = read_timelapse(run, "b_1")
    assert frames.epochs == (1, 2, 10)
    assert frames.semantic.shape == (3, 4, 5)
    assert np.asarray(frames.semantic)[:, 0, 0].tolist() == [1, 2, 10]
    assert frames.origin_px == (3, 7)
    (run.timelapse / "epoch-0011.npz").write_bytes(b"broken")
    with pytest.raises(RunError, match="damaged"):
        read_timelapse(run, "b_1")


def test_the_fingerprint_of_the_data_sees_an_edited_annotation(tmp_path):
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.runs.fingerprint import data_fingerprint
    from napari_monusac.synth.collection import write_collection

    write_collection(tmp_path / "d", 2, 1, shape=(96, 96))
    collection = open_collection(tmp_path / "d")
    names = [c.name for c in collection.labelled]
    before = data_fingerprint(collection, names)
    assert before == data_fingerprint(collection, reversed(names))
    assert before != data_fingerprint(collection, names[:1])
    file = collection.labelled[0].annotation
    file.write_text(file.read_text().replace("Epithelial", "Macrophage", 1) + " ")
    assert data_fingerprint(collection, names) != before
