"""The next crop is shown in the layers of the former one, and nothing of the former one goes into it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tifffile

from napari_monusac.editing.commands import Select
from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.outlines import outlines_on

ROLES = ["image", "semantic", "ternary", "ambiguous", "nuclei"]


def ours(viewer):
    return {canvas.role(layer): getattr(layer, "__wrapped__", layer) for layer in canvas.our_layers(viewer)}


def to_next(studio, qtbot, settle, step=1):
    wanted = studio.model.neighbour(step).name
    studio.go(step)
    qtbot.waitUntil(lambda: studio.model.crop.name == wanted, timeout=60_000)
    settle()
    controller = studio.panels["Annotate"].controller
    qtbot.waitUntil(lambda: controller.session is not None or controller.layers is None, timeout=60_000)
    return studio.model.crop


@pytest.fixture
def of_two_sizes(tissue_folder, tmp_path):
    """Three crops of one patient: the second is smaller, the third has no annotation."""
    from napari_monusac.core.nuclei import Annotation, Nucleus
    from napari_monusac.io.annotations.files import write_annotation

    folder = tmp_path / "TCGA-AA-0001"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, shape in ((1, (90, 120)), (2, (64, 70)), (3, (90, 120))):
        tifffile.imwrite(folder / f"TCGA-AA-0001_{number}.tif", rng.integers(150, 255, (*shape, 3), dtype=np.uint8))
    for number, corner in ((1, 10), (2, 30)):
        square = np.array([(corner, corner), (corner, corner + 12), (corner + 12, corner + 12), (corner + 12, corner)])
        write_annotation(
            Annotation((Nucleus(square.astype(float), "Lymphocyte"),), um_per_px=0.25),
            folder / f"TCGA-AA-0001_{number}.xml",
        )
    return tmp_path


def test_the_next_crop_takes_over_the_layers_of_the_former(opened, viewer, qtbot, settle):
    from napari_monusac.plugin.layers import crop_layers

    before = ours(viewer)
    crop = to_next(opened, qtbot, settle)
    after = ours(viewer)
    assert list(after) == ROLES
    assert all(after[name] is before[name] for name in ROLES)
    collection = opened.model.collection
    right = {a["name"]: (d, a) for d, a, _ in crop_layers(collection.open(crop), collection.annotation(crop), crop)}
    for name, layer in after.items():
        assert np.array_equal(layer.data, right[name][0]), name
        assert layer.metadata["monusac"]["crop"] == crop.name
        assert np.allclose(layer.scale, right[name][1]["scale"])
    assert after["nuclei"].features["class"].tolist()[-1] == right["nuclei"][1]["features"]["class"].tolist()[-1]
    outlines = outlines_on(viewer, after["nuclei"])
    assert set(outlines.labels.tolist()) == set(np.unique(after["nuclei"].data).tolist()) - {0}
    assert viewer.layers.selection.active == after["nuclei"]


def test_nothing_of_the_next_crop_is_taken_for_paint_on_the_former(opened, qtbot, settle):
    """Crops of one size: the former session must not see the next crop's labels in its layers and keep them as edits."""
    controller = opened.panels["Annotate"].controller
    first = opened.model.crop.name
    qtbot.waitUntil(lambda: controller.session is not None, timeout=60_000)
    instances = controller.session.maps.instances.copy()
    for step in (1, -1, 1, -1):
        to_next(opened, qtbot, settle, step)
        assert not controller.session.unsaved
        assert controller.session.restored is None
    assert opened.model.crop.name == first
    assert np.array_equal(controller.session.maps.instances, instances)


def test_edits_of_a_crop_come_back_and_are_not_seen_in_the_next(opened, viewer, qtbot, settle):
    controller = opened.panels["Annotate"].controller
    qtbot.waitUntil(lambda: controller.session is not None, timeout=60_000)
    number = len(controller.session.rows)
    gone = int(controller.session.maps.instances.max())
    controller.session.do(Select([gone]))
    opened.panels["Annotate"].commands.delete()
    assert len(controller.session.rows) == number - 1
    wanted = opened.model.neighbour(1).name
    opened.go(1)
    buttons = opened.panels["Annotate"].question.buttons
    next(b for b in buttons if b.text().startswith("Leave")).click()
    qtbot.waitUntil(lambda: opened.model.crop.name == wanted, timeout=60_000)
    settle()
    qtbot.waitUntil(lambda: controller.session is not None, timeout=60_000)
    assert not controller.session.unsaved
    to_next(opened, qtbot, settle, -1)
    qtbot.waitUntil(lambda: controller.session is not None and controller.session.unsaved, timeout=60_000)
    assert len(controller.session.rows) == number - 1
    assert not (ours(viewer)["nuclei"].data == gone).any()


def test_another_size_and_a_crop_without_labels(studio, viewer, qtbot, settle, of_two_sizes):
    studio.panels["Slides"].open_folder(of_two_sizes)
    qtbot.waitUntil(lambda: studio.model.crop is not None, timeout=60_000)
    settle()
    to_next(studio, qtbot, settle)
    found = ours(viewer)
    assert {name: layer.data.shape[:2] for name, layer in found.items()} == dict.fromkeys(ROLES, (64, 70))
    assert (found["nuclei"].data > 0).sum() == 13 * 13
    assert found["nuclei"].data[30, 30] == 1
    to_next(studio, qtbot, settle)
    assert list(ours(viewer)) == ["image"]  # nobody has labelled it: no nuclei of the crop before stay
    to_next(studio, qtbot, settle, -1)
    assert list(ours(viewer)) == ROLES
    assert ours(viewer)["nuclei"].data[30, 30] == 1


def test_hidden_nuclei_are_shown_again_and_a_deleted_layer_is_made_anew(opened, viewer, qtbot, settle):
    ours(viewer)["nuclei"].visible = False
    ours(viewer)["ternary"].visible = True
    viewer.layers.remove(ours(viewer)["semantic"])
    to_next(opened, qtbot, settle)
    found = ours(viewer)
    assert list(found) == ROLES
    assert found["nuclei"].visible
    assert found["ternary"].visible  # what the reader wants to see beside the nuclei stays on


def test_each_crop_is_fitted_to_the_window_whatever_is_hidden(studio, viewer, qtbot, settle, of_two_sizes):
    """A hidden layer keeps the extent of the larger crop before, unless somebody measures it anew."""
    studio.panels["Slides"].open_folder(of_two_sizes)
    qtbot.waitUntil(lambda: studio.model.crop is not None, timeout=60_000)
    settle()
    first = viewer.scene.camera.zoom
    assert not ours(viewer)["semantic"].visible
    to_next(studio, qtbot, settle)
    um = float(ours(viewer)["image"].scale[0])
    for layer in ours(viewer).values():
        assert np.allclose(layer.extent.world[1], np.array([63, 69]) * um), layer.name
    assert viewer.scene.camera.zoom > 1.2 * first  # 64 x 70 px after 90 x 120 px


def test_a_duplicate_of_a_layer_goes_with_its_crop(opened, viewer, qtbot, settle):
    duplicate(viewer, "semantic")
    to_next(opened, qtbot, settle)
    assert sorted(canvas.role(layer) for layer in canvas.our_layers(viewer)) == sorted(ROLES)


def duplicate(viewer, name):
    """What napari's *Duplicate* does."""
    from napari.layers._layer_actions import _duplicate_layer

    viewer.layers.selection.active = ours(viewer)[name]
    _duplicate_layer(viewer.layers)
    return viewer.layers[f"{name} copy"]


def test_a_duplicate_of_the_nuclei_is_the_users_own_and_edits_go_on_in_the_first(opened, viewer, qtbot, settle):
    controller = opened.panels["Annotate"].controller
    qtbot.waitUntil(lambda: controller.session is not None, timeout=60_000)
    session, nuclei, told = controller.session, ours(viewer)["nuclei"], []
    gone = int(session.maps.instances.max())
    session.do(Select([gone]))
    opened.panels["Annotate"].commands.delete()
    opened.model.told.connect(lambda text, kind: told.append(text))
    copy = duplicate(viewer, "nuclei")
    settle()
    assert controller.session is session
    assert controller.layers.get("nuclei") is nuclei
    assert told == ["nuclei copy is a copy of yours: what is painted on it is not saved with the crop."]
    copy.data[:20, :20] = 9_999  # theirs
    viewer.layers.remove(copy)
    settle()
    assert controller.session is session
    nuclei.paint((30.0, 30.0), session.nuclei.next_id)
    controller.adopt()
    assert len(session.history.done) == 2
    assert not (session.maps.instances == 9_999).any()


def test_a_file_that_is_open_twice_is_edited_in_the_layer_that_is_left(opened, viewer, qtbot, settle):
    from napari_monusac.plugin.layers import crop_layers

    controller = opened.panels["Annotate"].controller
    qtbot.waitUntil(lambda: controller.session is not None, timeout=60_000)
    first, collection, crop = ours(viewer)["nuclei"], opened.model.collection, opened.model.crop
    again = crop_layers(collection.open(crop), collection.annotation(crop), crop, collection_root=collection.root)
    second = next(viewer.add_labels(d, **a) for d, a, _ in again if a["name"] == "nuclei")
    settle()
    qtbot.waitUntil(lambda: controller.session is not None, timeout=60_000)
    viewer.layers.remove(second)
    settle()
    qtbot.waitUntil(
        lambda: controller.session is not None and controller.layers.get("nuclei") is not None, timeout=60_000
    )
    assert controller.layers.get("nuclei") is first
    gone = int(controller.session.maps.instances.max())
    controller.session.do(Select([gone]))
    opened.panels["Annotate"].commands.delete()
    assert not (first.data == gone).any()


def test_a_nucleus_selected_in_one_crop_does_not_grow_in_the_next(opened, viewer, qtbot, settle):
    """napari's brush draws into the selected label: that number is another nucleus in the next crop."""
    controller = opened.panels["Annotate"].controller
    qtbot.waitUntil(lambda: controller.session is not None, timeout=60_000)
    ours(viewer)["nuclei"].selected_label = 2
    to_next(opened, qtbot, settle)
    session, nuclei = controller.session, ours(viewer)["nuclei"]
    assert 2 in session.rows
    second = session.maps.instances == 2
    y, x = np.argwhere(session.maps.instances == 0)[0]
    nuclei.brush_size = 1
    nuclei.paint((float(y), float(x)), nuclei.selected_label)
    controller.adopt()
    assert np.array_equal(session.maps.instances == 2, second)
    assert session.maps.instances[y, x] == max(session.rows)


def test_what_was_hidden_or_renamed_for_one_crop_is_as_ever_in_the_next(opened, viewer, qtbot, settle):
    ours(viewer)["image"].visible = False
    ours(viewer)["nuclei"].name = "nuclei of the first"
    to_next(opened, qtbot, settle)
    assert ours(viewer)["image"].visible
    assert [layer.name for layer in canvas.our_layers(viewer)] == ROLES


def test_a_turned_crop_does_not_turn_the_next(opened, viewer, qtbot, settle):
    ours(viewer)["image"].rotate = 30
    to_next(opened, qtbot, settle)
    assert np.allclose(ours(viewer)["image"].rotate, np.eye(2))


def test_the_legend_counts_the_crop_that_is_open(opened, viewer, qtbot, settle):
    from napari_monusac.ui.canvas.opening import class_counts

    for _ in range(2):
        to_next(opened, qtbot, settle)
        wanted = {int(k): v for k, v in opened.model.collection.counts(opened.model.crop).items()}
        assert class_counts(viewer) == wanted


def held_back(monkeypatch, where, name, result):
    """Let a function of a module wait in its worker; what is returned lets it go on."""
    gate = threading.Event()

    def slow(*args, **kwargs):
        assert gate.wait(60)
        return result(*args, **kwargs) if callable(result) else result

    monkeypatch.setattr(where, name, slow)
    return gate


def of_shape(shape):
    """A prediction that sees one nucleus."""
    from napari_monusac.core.prediction import Prediction
    from napari_monusac.masks.instances import instances_from_maps

    semantic, ternary = np.zeros((5, *shape), np.float32), np.zeros((3, *shape), np.float32)
    semantic[0] = ternary[0] = 1
    semantic[:, 10:30, 10:30] = ternary[:, 10:30, 10:30] = 0
    semantic[2, 10:30, 10:30] = ternary[1, 10:30, 10:30] = 1
    return Prediction(semantic, ternary, 0.25), instances_from_maps(semantic, ternary, um_per_px=0.25)


def leave_while_at_work(studio, qtbot):
    """Open the next crop; tasks that are under way stay so."""
    wanted = studio.model.neighbour(1).name
    studio.go(1)
    qtbot.waitUntil(lambda: studio.model.crop.name == wanted, timeout=60_000)


def test_what_was_predicted_of_the_former_crop_is_not_offered_as_this_ones(opened, viewer, qtbot, settle, monkeypatch):
    """Crops of one size, in the same image layer: nothing but the pixels tells them apart."""
    from napari_monusac.app import prediction
    from napari_monusac.app.prediction_jobs import PredictedImage

    predict = opened.panels["Predict"]
    monkeypatch.setattr(predict.predicting, "load", lambda checkpoint: None)
    found = PredictedImage(*of_shape(ours(viewer)["image"].data.shape[:2]))
    gate = held_back(monkeypatch, prediction, "predict_image", found)
    predict.models.addItem("a model", "model")
    task = predict.predict()
    leave_while_at_work(opened, qtbot)
    assert ours(viewer)["image"].data.shape[:2] == (160, 192)
    gate.set()
    qtbot.waitUntil(lambda: not task.running, timeout=60_000)
    settle()
    assert opened.model.last_prediction is None
    assert canvas.find_layer(viewer, "predicted nuclei") is None


def test_a_stored_prediction_that_is_read_late_is_not_shown_on_the_next_crop(
    opened, viewer, qtbot, settle, monkeypatch, tmp_path
):
    from napari_monusac.app import review_jobs
    from napari_monusac.io.predictions.open import PredictedCrop

    review = opened.panels["Review"].model
    prediction, nuclei = of_shape((160, 192))
    gate = held_back(monkeypatch, review_jobs, "predicted_of", PredictedCrop(tmp_path / "a.zarr", nuclei, prediction))
    review.predictions = tmp_path
    review.predictions = None  # nothing is looked for in the next crop
    leave_while_at_work(opened, qtbot)
    gate.set()
    settle()
    assert opened.model.last_prediction is None
    assert canvas.find_layer(viewer, "predicted nuclei") is None


def test_the_stain_of_the_former_crop_is_not_laid_over_the_next(opened, viewer, qtbot, settle, monkeypatch):
    from napari_monusac.ui.annotate import seeing

    right = seeing.stain_view
    gate = held_back(monkeypatch, seeing, "stain_view", right)
    view = opened.panels["Annotate"].seeing.stain_view
    view.show(seeing.STAINS[1], 1.0)
    qtbot.waitUntil(lambda: view._task is not None, timeout=20_000)
    leave_while_at_work(opened, qtbot)
    gate.set()
    settle()
    qtbot.waitUntil(lambda: canvas.find_layer(viewer, seeing.VIEW_ROLE) is not None, timeout=20_000)
    shown = canvas.find_layer(viewer, seeing.VIEW_ROLE).data
    assert np.array_equal(shown, right(ours(viewer)["image"].data[..., :3], seeing.STAINS[1], 1.0))


def test_how_strong_nuclei_are_drawn_holds_in_the_next_crop(opened, viewer, qtbot, settle):
    seeing = opened.panels["Annotate"].seeing
    controller = opened.panels["Annotate"].controller
    qtbot.waitUntil(lambda: controller.session is not None, timeout=60_000)
    seeing.opacity.setValue(40)
    to_next(opened, qtbot, settle)
    assert ours(viewer)["nuclei"].opacity == pytest.approx(0.4)
    assert seeing.opacity.value() == 40


def test_the_neighbours_of_the_open_crop_are_read_ahead(opened, viewer, qtbot, settle, monkeypatch):
    from napari_monusac.app import reading
    from napari_monusac.ui.canvas.opening import crop_opener

    opener, after = crop_opener(viewer), opened.model.neighbour(1)
    qtbot.waitUntil(lambda: after.name in opener._reader._ready, timeout=60_000)
    monkeypatch.setattr(reading, "_read", lambda *_: pytest.fail("read once more"))
    opener._rest.setInterval(10**6)  # the one after it is not asked for here
    assert to_next(opened, qtbot, settle) == after
    collection = opened.model.collection
    with collection.open(after) as slide:
        assert np.array_equal(canvas.find_layer(viewer, "image").data, slide.read(0, 0, *slide.shape))
