from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.segmentation import find_boundaries

from napari_monusac.ui.canvas import canvas
from napari_monusac.ui.canvas.outlines import outlines_on


def reference(instances, width):
    """DOMAIN 4, written plainly."""
    boundary = find_boundaries(instances, connectivity=1, mode="inner").astype(np.uint8)
    for _ in range((width - 1) // 2):
        boundary = cv2.dilate(boundary, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    ternary = (instances > 0).astype(np.uint8)
    ternary[boundary > 0] = 2
    return ternary


def test_the_preview_follows_width_and_brush(opened, viewer, qtbot):
    panel = opened.panels["Masks"]
    nuclei = canvas.find_layer(viewer, "nuclei")
    assert panel.nuclei.value is nuclei
    panel.live.value = True
    preview = canvas.find_layer(viewer, "ternary preview")
    assert (preview.data == reference(nuclei.data, 3)).all()
    assert viewer.layers.selection.active is nuclei, "the brush stays on the nuclei"
    for width in (1, 5, 7, 3):
        panel.width.value = width
        assert (canvas.find_layer(viewer, "ternary preview").data == reference(nuclei.data, width)).all()
    nuclei.selected_label = int(nuclei.data.max()) + 1
    nuclei.brush_size = 14
    nuclei.paint((60, 60), nuclei.selected_label)
    assert (preview.data == reference(nuclei.data, 3)).all()
    nuclei.undo()
    assert (preview.data == reference(nuclei.data, 3)).all()
    nuclei.fill((5, 5), int(nuclei.data.max()) + 2)
    assert (preview.data == reference(nuclei.data, 3)).all()


def test_the_preview_is_the_mask_itself_and_not_its_contours(opened, viewer, qtbot):
    panel = opened.panels["Masks"]
    panel.width.value = 7
    panel.live.value = True
    qtbot.wait(50)
    preview, nuclei = canvas.find_layer(viewer, "ternary preview"), canvas.find_layer(viewer, "nuclei")
    assert preview.contour == 0
    assert outlines_on(viewer, preview) is None
    assert outlines_on(viewer, nuclei) is not None
    shown = preview.colormap.map(np.asarray(preview.data))
    assert (shown[..., 3] == (reference(nuclei.data, 7) > 0)).all(), "every pixel of the band is coloured"
    assert 0 < preview.opacity < 1, "the tissue is seen through it"
    panel.live.value = False


def test_one_click_writes_the_ternary_layer(opened, viewer):
    panel = opened.panels["Masks"]
    panel.width.value = 5
    panel.write.native.click()
    layer = canvas.find_layer(viewer, "ternary")
    nuclei = canvas.find_layer(viewer, "nuclei")
    assert (layer.data == reference(nuclei.data, 5)).all()
    assert tuple(layer.scale) == tuple(nuclei.scale)
    assert layer.metadata["monusac"]["boundary_width"] == 5


def test_a_deleted_preview_stays_deleted(opened, viewer):
    panel = opened.panels["Masks"]
    panel.live.value = True
    viewer.layers.remove(canvas.find_layer(viewer, "ternary preview"))
    assert not panel.live.value
    nuclei = canvas.find_layer(viewer, "nuclei")
    nuclei.paint((60, 60), 1)
    assert canvas.find_layer(viewer, "ternary preview") is None
    viewer.layers.remove(nuclei)
    panel.refresh()


def test_any_labels_layer_can_be_masked(studio, viewer):
    panel = studio.panels["Masks"]
    assert not panel.write.enabled
    data = np.zeros((40, 50), np.int32)
    data[5:20, 5:20], data[20:30, 20:40] = 3, 9
    viewer.add_labels(data, name="mine", scale=(0.5, 0.5))
    assert panel.nuclei.value.name == "mine"
    layer = panel.write_layer()
    assert (layer.data == reference(data, 3)).all()
    assert tuple(layer.scale) == (0.5, 0.5)


@pytest.mark.parametrize("width", [1, 3])
def test_the_whole_folder_is_written(opened, qtbot, tmp_path, width, monkeypatch):
    import tifffile

    panel = opened.panels["Masks"]
    panel.width.value = width
    panel.folder.set_path(tmp_path / "masks")
    task = panel.write_all()
    qtbot.waitUntil(lambda: not task.running, timeout=60_000)
    assert f"Masks ({width} px boundary) of " in panel.progress.label.text()
    assert str(tmp_path / "masks") in panel.progress.label.text()
    opened_by = []
    monkeypatch.setattr("napari_monusac.ui.masks.folder.QDesktopServices.openUrl", opened_by.append)
    panel.whole.show_folder.click()
    assert [url.toLocalFile() for url in opened_by] == [str(tmp_path / "masks")]
    panel.folder.box.setEditText(str(tmp_path))
    panel.folder._edited()
    assert panel.progress.label.text() == ""
    assert panel.whole.show_folder.isHidden()
    files = sorted((tmp_path / "masks").rglob("*ternary*.tif"))
    assert len(files) == sum(c.annotation is not None for c in opened.model.collection.crops)
    instances = tifffile.imread(str(files[0]).replace("ternary", "instances"))
    assert (tifffile.imread(files[0]) == reference(instances, width)).all()


def test_the_preview_stays_in_its_panel(opened, viewer, qtbot, settle):
    panel = opened.panels["Masks"]
    opened.show_panel("Masks")
    panel.live.value = True
    preview = canvas.find_layer(viewer, "ternary preview")
    assert preview.visible
    opened.show_panel("Annotate")
    assert not preview.visible
    assert panel.live.value
    nuclei = canvas.find_layer(viewer, "nuclei")
    nuclei.data = np.where(nuclei.data == 1, 0, nuclei.data)
    opened.show_panel("Masks")
    assert preview.visible
    assert (preview.data == reference(nuclei.data, 3)).all(), "it shows the nuclei as they are now"
    # what the user hid stays hidden
    preview.visible = False
    opened.show_panel("Annotate")
    opened.show_panel("Masks")
    assert not preview.visible


def test_the_preview_goes_along_to_the_next_crop(opened, viewer, qtbot, settle):
    panel = opened.panels["Masks"]
    opened.show_panel("Masks")
    panel.live.value = True
    before = opened.model.crop
    opened.show_panel("Slides")
    opened.go(1)
    qtbot.waitUntil(lambda: opened.model.crop is not before, timeout=30_000)
    settle()
    assert not canvas.find_layer(viewer, "ternary preview").visible
    opened.show_panel("Masks")
    preview, nuclei = canvas.find_layer(viewer, "ternary preview"), canvas.find_layer(viewer, "nuclei")
    assert preview.visible
    assert (preview.data == reference(nuclei.data, 3)).all()
    viewer.layers.remove(preview)
    qtbot.wait(20)
    assert not panel.live.value


def test_masks_are_not_written_among_the_crops(opened, settle):
    panel = opened.panels["Masks"]
    root = opened.model.collection.root
    before = sorted(root.rglob("*.tif"))
    panel.folder.set_path(root / "masks")
    assert panel.write_all() is None
    assert "choose a folder outside of it" in panel.progress.label.text()
    assert sorted(root.rglob("*.tif")) == before
