"""The learning time-lapse as napari's LayerData: tissue, truth, and what was predicted after each epoch. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import TERNARY_COLORS, PaletteName, class_colors
from napari_monusac.core.errors import MonusacError, RunError
from napari_monusac.core.events import Scores
from napari_monusac.io.runs.timelapse import Timelapse, read_timelapse, timelapse_crops

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Collection
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.plugin.layers import Colors, LayerData

#: Glass between two crops, px.
_GAP_PX = 16
_CLEAR = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class TimelapseScene:
    """What to show of a run.

    Attributes
    ----------
    layers : list of LayerData
        Tissue, truth, semantic and ternary; the pinned crops stand side by side in each, so that one slider moves all.
    epochs : tuple of int
        The epoch of each frame.
    scores : dict of int to Scores
        Of each epoch.
    crops : tuple of str
        Names, from left to right.
    note : str
        What the user should be told, or nothing.
    """

    layers: list[LayerData]
    epochs: tuple[int, ...]
    scores: dict[int, Scores]
    crops: tuple[str, ...]
    note: str = ""


def timelapse_scene(run: RunFolder, palette: PaletteName = "imagescope") -> TimelapseScene:
    """Build the scene of a run's time-lapse. Frames stay on disk until the slider asks for them.

    Parameters
    ----------
    run : RunFolder
        A run with one finished epoch or more. Where its data folder is gone, tissue and truth are left out, and said.
    palette : {"imagescope", "colour-blind"}
        Colours of the classes.

    Raises
    ------
    RunError
        There is no frame yet, or one is damaged.
    """
    lapses = [read_timelapse(run, crop) for crop in timelapse_crops(run)]
    if not lapses:
        raise RunError(run.path, "has no time-lapse yet", "let it finish an epoch: it grows by one picture each")
    # a crop that failed to load in one epoch lacks a frame there: only epochs that all crops have are shown
    epochs = tuple(sorted(set.intersection(*(set(lapse.epochs) for lapse in lapses))))
    tissue, note, scale = _tissue_and_truth(run, lapses)
    shared = {"scale": (scale or 1.0,) * 2, "units": ("um" if scale else "pixel",) * 2, "axis_labels": ("y", "x")}
    about = {"monusac": {"role": "time-lapse", "run": str(run.path), "um_per_px": scale}}
    layers: list[LayerData] = [
        (data, {"name": f"time-lapse {name}", **shared, "metadata": about, **look}, kind)
        for name, data, look, kind in tissue
    ]
    over_time = {
        "scale": (1.0, *shared["scale"]), "units": ("pixel", *shared["units"]), "axis_labels": ("epoch", "y", "x"),
        "metadata": about, "opacity": 0.5,
    }  # fmt: skip
    looks: list[tuple[str, Colors, bool]] = [
        ("semantic", {None: _CLEAR, **dict(class_colors(palette).items()), 0: _CLEAR}, False),
        ("ternary", _ternary_colors(), True),
    ]
    for name, colors, visible in looks:
        maps = [getattr(lapse, name)[[lapse.epochs.index(e) for e in epochs]] for lapse in lapses]
        look = {"name": f"time-lapse {name}", "colormap": colors, "visible": visible}
        layers.append((_side_by_side(maps), {**over_time, **look}, "labels"))
    scores = {e.epoch: e.scores for e in run.epochs()}
    return TimelapseScene(layers, epochs, scores, tuple(lapse.crop for lapse in lapses), note)


def _tissue_and_truth(
    run: RunFolder, lapses: list[Timelapse]
) -> tuple[list[tuple[str, NDArray[Any], dict[str, Any], str]], str, float | None]:
    """Tissue and nuclei of the crops' parts that were pinned, the note, and the scale in um/px."""
    from napari_monusac.io.collection.collection import open_collection

    try:
        collection = open_collection(run.data)
        parts = [_part(collection, lapse) for lapse in lapses]
    except MonusacError as error:
        return [], f"Shown without tissue and truth: {error}", None
    images, labels, scales = zip(*parts, strict=True)
    height = max(image.shape[0] for image in images)
    width = sum(image.shape[1] + _GAP_PX for image in images) - _GAP_PX
    tissue = np.full((height, width, 3), 255, np.uint8)
    truth = np.zeros((height, width), np.int32)
    x = 0
    for image, nuclei in zip(images, labels, strict=True):
        h, w = nuclei.shape
        tissue[:h, x : x + w], truth[:h, x : x + w] = image, nuclei
        x += w + _GAP_PX
    white: Colors = {0: _CLEAR, None: (1.0, 1.0, 1.0, 1.0)}
    scale = scales[0] if len(set(scales)) == 1 else None
    note = "" if len(set(scales)) == 1 else "The crops differ in scale: shown in pixels."
    return [
        ("tissue", tissue, {"rgb": True}, "image"),
        ("truth", truth, {"colormap": white, "opacity": 0.9}, "labels"),
    ], note, scale  # fmt: skip


def _part(collection: Collection, lapse: Timelapse) -> tuple[NDArray[np.uint8], NDArray[np.int32], float | None]:
    from napari_monusac.masks.rasterize import label_maps

    crop = collection.crop(lapse.crop)
    y, x = lapse.origin_px
    _, height, width = lapse.semantic.shape
    with collection.open(crop) as slide:
        image, scale = slide.read(y, x, height, width), slide.um_per_px
    annotation = collection.annotation(crop)
    moved = replace(annotation, regions=tuple(r.moved(-y, -x) for r in annotation.regions))
    return image, label_maps(moved, (height, width)).instances, scale


def _side_by_side(maps: list[da.Array]) -> da.Array:
    height = max(m.shape[1] for m in maps)
    padded = [da.pad(m, ((0, 0), (0, height - m.shape[1]), (0, 0 if m is maps[-1] else _GAP_PX))) for m in maps]
    # one chunk a frame: the slider asks for one at a time
    joined = da.concatenate(padded, axis=2)
    return cast("da.Array", joined.rechunk((1, -1, -1)))


def _ternary_colors() -> Colors:
    colors: Colors = {0: _CLEAR, None: _CLEAR}
    for number, (r, g, b) in TERNARY_COLORS.items():
        colors[int(number)] = (r / 255, g / 255, b / 255, 1.0)
    return {**colors, 0: _CLEAR}
