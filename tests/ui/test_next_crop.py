"""The next crop is shown in the layers of the former one, and nothing of the former one goes into it."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_monusac.ui.canvas import canvas

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
    assert after["nuclei"].contour == 2
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
    controller.session.select([gone])
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


def test_a_duplicate_of_a_layer_goes_with_its_crop(opened, viewer, qtbot, settle):
    from napari.layers import Layer

    data, attributes, kind = ours(viewer)["semantic"].as_layer_data_tuple()
    viewer.add_layer(Layer.create(np.array(data), {**attributes, "name": "semantic copy"}, kind))
    to_next(opened, qtbot, settle)
    assert sorted(canvas.role(layer) for layer in canvas.our_layers(viewer)) == sorted(ROLES)


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
