"""The learning time-lapse: the pinned crops as predicted after each epoch, scrubbed with napari's slider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari_monusac.ui.masks_panel import ternary_colormap
from napari_monusac.ui.predicted_layers import semantic_colormap

if TYPE_CHECKING:
    from napari_monusac.io.runs import RunFolder
    from napari_monusac.io.timelapse import Timelapse


def show_timelapse(viewer: Any, run: RunFolder, found: Sequence[Timelapse]) -> str:
    """Add one pair of layers (semantic, ternary) a pinned crop, with the epochs as first axis.

    Crops stand side by side, so that one slider moves all of them.

    Returns
    -------
    str
        What to tell the user.
    """
    if not found:
        return f"{run.path.name} has no time-lapse yet: it grows by one picture an epoch."
    x = 0
    for lapse in found:
        about = {"monusac": {"role": "time-lapse", "crop": lapse.crop, "run": str(run.path)}}
        for kind, data, colormap in (
            ("semantic", lapse.semantic, semantic_colormap()),
            ("ternary", lapse.ternary, ternary_colormap()),
        ):
            layer = viewer.add_labels(
                data,
                name=f"time-lapse {kind} {lapse.crop}",
                colormap=colormap,
                translate=(0, 0, x),
                visible=kind == "ternary",
                metadata=about,
                axis_labels=("epoch", "y", "x"),
            )
            layer.editable = False
        x += lapse.semantic.shape[2] + 16
    viewer.dims.set_current_step(0, viewer.dims.nsteps[0] - 1)
    return f"{len(found[0].epochs)} epochs of {len(found)} crops: move the slider under the picture."
