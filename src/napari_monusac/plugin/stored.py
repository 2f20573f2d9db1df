"""A stored prediction as napari layers: pyramids read as they are looked at, over their image where that is there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_monusac.core.classes import CLASSES, NucleusClass, class_colors

if TYPE_CHECKING:
    from napari_monusac.io.predictions.prediction_store import PredictionStore
    from napari_monusac.plugin.layers import LayerData

#: napari's table of a layer is slow beyond this; the classes are a layer of their own.
_MOST_ROWS = 20_000


def is_stored_prediction(path: Path) -> bool:
    """Whether a folder is a prediction of ours; nothing but its attributes is read."""
    import json

    try:
        attributes = json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return "napari-monusac" in attributes


def stored_layers(path: str | Path) -> list[LayerData]:
    """The layers of a stored prediction.

    Parameters
    ----------
    path : str or Path
        The ``.zarr`` folder.

    Returns
    -------
    list of LayerData
        *image*, where the file that was predicted is still there and still that image; *stored uncertainty* (0 to 1), *stored ternary*, *stored
        nuclei* and *stored classes*. All lie on each other in um, or in px of the maps where the scale is unknown.

    Raises
    ------
    StoreError
        It is damaged.
    """
    from napari_monusac.io.predictions.prediction_store import PredictionStore
    from napari_monusac.plugin.layers import ternary_colors

    store = PredictionStore.open(path)
    classes: dict[int | None, Any] = {0: (0.0, 0.0, 0.0, 0.0), None: (0.0, 0.0, 0.0, 0.0)}
    classes.update({int(c): class_colors()[int(c)] for c in (*CLASSES, NucleusClass.UNCLASSIFIED)})
    looks: dict[str, tuple[str, dict[str, Any]]] = {
        "uncertainty": (
            "image",
            {"colormap": "inferno", "blending": "additive", "contrast_limits": (0, 1), "visible": False},
        ),
        "ternary": ("labels", {"colormap": ternary_colors(), "opacity": 0.6, "visible": False}),
        "nuclei": ("labels", {"opacity": 0.6, "visible": False, **_features(store)}),
        "classes": ("labels", {"colormap": classes, "opacity": 0.6}),
    }
    levels = stored_levels(store)
    layers = _image(store)
    for name, (kind, look) in looks.items():
        if levels[name]:
            several = len(levels[name]) > 1
            data = levels[name] if several else levels[name][0]
            layers.append((data, {**_attributes(store, f"stored {name}"), **look, "multiscale": several}, kind))
    return layers


def stored_levels(store: PredictionStore) -> dict[str, list[Any]]:
    """The maps of a store as pyramids of dask arrays (y, x), largest first: nothing is read yet.

    Returns
    -------
    dict
        *classes* uint8, *nuclei* int32 (both empty while the nuclei are not segmented), *ternary* uint8, and float32
        (0 to 1) *uncertainty*, *disagreement* of the heads and *entropy* of the classes; uncertainty is the larger of the two.
    """
    import dask.array as da
    import numpy as np

    from napari_monusac.masks.uncertainty import disagreement_map, entropy_map

    width = store.info.boundary_width
    maps = [da.from_zarr(level) for level in store.levels("data")]

    def derived(level: Any, function: Any) -> Any:
        # the ternary map is cut back to the nucleus, which looks over the edge of a piece
        depth = min(width, *level.shape[1:])
        none = {0: "none", 1: "none", 2: "none"}
        wide = da.overlap.overlap(level.rechunk({0: 8}), {0: 0, 1: depth, 2: depth}, none)
        found = wide.map_blocks(function, drop_axis=0, dtype=np.float32, meta=np.empty((0, 0), np.float32))
        return da.overlap.trim_internal(found, {0: depth, 1: depth}, {0: "none", 1: "none"})

    def disagreement(piece: Any) -> Any:
        return disagreement_map(piece[:5], piece[5:], width)

    def entropy(piece: Any) -> Any:
        return entropy_map(piece[:5])

    labels = {
        name: [da.from_zarr(level) for level in store.levels(f"labels/{key}")]
        for name, key in (("classes", "classes"), ("nuclei", "instances"))
    }
    return labels | {
        "ternary": [m[5:].rechunk({0: 3}).argmax(0).astype("uint8") for m in maps],
        "disagreement": [derived(m, disagreement) for m in maps],
        "entropy": [derived(m, entropy) for m in maps],
        "uncertainty": [derived(m, lambda piece: np.maximum(disagreement(piece), entropy(piece))) for m in maps],
    }


def _attributes(store: PredictionStore, role: str) -> dict[str, Any]:
    info = store.info
    um = info.um_per_px or 1.0
    unit = "um" if info.um_per_px else "pixel"
    about = {
        "role": role, "store": str(store.path), "image": info.image, "crop": store.path.stem, "checkpoint": info.checkpoint,
        "fingerprint": info.fingerprint, "engine": info.engine, "notes": info.notes, "um_per_px": info.um_per_px,
        "boundary_width": info.boundary_width, "use": "model output, research use",
    }  # fmt: skip
    return {
        "name": role, "scale": (um, um), "translate": tuple(n * um for n in info.first_px), "units": (unit, unit),
        "axis_labels": ("y", "x"), "metadata": {"monusac": about},
    }  # fmt: skip


def _features(store: PredictionStore) -> dict[str, Any]:
    table = store.read_table()
    if table is None or len(table) > _MOST_ROWS:
        return {}
    return {"features": table.rename(columns={"label": "index"})}


def _image(store: PredictionStore) -> list[LayerData]:
    """The image that was predicted, where its file is still there and has the scale that it had then."""
    from napari_monusac.core.errors import SlideError
    from napari_monusac.io.predictions.identity import match_image
    from napari_monusac.io.slides.slide import open_slide
    from napari_monusac.plugin.layers import crop_layers

    if not store.info.image or not Path(store.info.image).exists():
        return []
    try:
        slide = open_slide(store.info.image, um_per_px=store.info.image_um_per_px)
        match = match_image(store.info, slide)
        if match.same is False:
            warnings.warn(f"{store.path}: {match.words}: shown without its image", stacklevel=2)
            return []
        return crop_layers(slide, None)
    except SlideError:  # the maps can be looked at without it
        return []
