"""The regression guard of the panel, from two checkpoints: predicted once, compared, each change a click away."""

from __future__ import annotations

import pytest

from napari_monusac.core.files import sha256_of
from napari_monusac.scoring.report.guard import guard_folders
from napari_monusac.ui.canvas import canvas


@pytest.fixture
def other_checkpoint(tiny_run, tmp_path):
    """Another network: the same one with its heads turned to one answer."""
    import torch

    from napari_monusac.network.checkpoint import load_checkpoint, save_checkpoint

    loaded = load_checkpoint(tiny_run)
    heads = loaded.network.state_dict()
    # it sees nuclei nowhere: what the first network makes up is gone, what it finds is broken
    heads["ternary_head.0.bias"] += torch.tensor([9.0, -9.0, -9.0])
    heads["semantic_head.0.bias"] += torch.tensor([9.0, -9.0, -9.0, -9.0, -9.0])
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, loaded.network, loaded.metadata)
    return path


def test_two_checkpoints(opened, viewer, qtbot, settle, tiny_run, other_checkpoint):
    panel = opened.panels["Review"]
    opened.show_panel("Review")
    panel.tabs.setCurrentIndex(4)
    view = panel.guard
    view.before.set_path(tiny_run)
    view.after_path.set_path(other_checkpoint)
    view.training.setChecked(True)  # all crops, also those that both were trained on
    view.start.click()
    qtbot.waitUntil(lambda: panel.model.guard is not None, timeout=300_000)
    settle()
    cache = panel.model.folder.parent / "napari-monusac-guard"
    folders = [cache / sha256_of(p)[:16] for p in (tiny_run / "best.safetensors", other_checkpoint)]
    crops = [c for c in opened.model.collection.crops if c.annotation is not None]
    assert all(sorted(p.stem for p in f.glob("*.zarr")) == sorted(c.name for c in crops) for f in folders)
    again = guard_folders(opened.model.collection.root, *folders, include_training=True)
    assert panel.model.guard == again
    assert panel.model.guard.crops == len(crops)
    assert view.verdict.text().startswith(again.verdict.capitalize())
    assert view.by_class.rowCount() == 4
    # a number of the table lists its nuclei; each is a click away
    kinds = ("fixed", "newly broken", "spurious gone", "newly spurious")
    cells = [
        (i, k) for i, name in enumerate(again.by_class) for k, kind in enumerate(kinds)
        if any(c.kind == kind and c.nucleus_class.label == name for c in again.changes)
    ]  # fmt: skip
    assert cells, "two different networks predict the same"
    (row, kind) = cells[-1]
    view.by_class.cellClicked.emit(row, 2 + kind)
    assert len(view.table.rows) == int(view.by_class.item(row, 2 + kind).text())
    change = view.table.rows[-1]
    assert change.kind == kinds[kind]
    view.table.chosen.emit(change)
    qtbot.waitUntil(lambda: opened.model.crop.name == change.crop and panel.model.awaited is None, timeout=60_000)
    settle()
    scale = canvas.find_layer(viewer, "image").scale[-1]
    assert viewer.scene.camera.center[-2:] == pytest.approx([c * scale for c in change.centre], abs=0.5)
