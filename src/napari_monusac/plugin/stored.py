"""A stored prediction as napari layers: pyramids read as they are looked at, over their image where that is there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_monusac.core.classes import CLASSES, NucleusClass, class_colors

if TYPE_CHECKING:
    from napari_monusac.io.predictions.lazy import PredictedSlide
    from napari_monusac.plugin.layers import LayerData

#: napari's table of a layer is slow beyond this; the classes are a layer of their own.
_MOST_ROWS = 20_000


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
    from napari_monusac.io.predictions.lazy import open_lazily
    from napari_monusac.plugin.layers import ternary_colors

    store = open_lazily(path)
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
    layers = _image(store)
    for name, (kind, look) in looks.items():
        levels = store.levels[name]
        if levels:
            several = len(levels) > 1
            data = levels if several else levels[0]
            layers.append((data, {**_attributes(store, f"stored {name}"), **look, "multiscale": several}, kind))
    return layers


def _attributes(store: PredictedSlide, role: str) -> dict[str, Any]:
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


def _features(store: PredictedSlide) -> dict[str, Any]:
    table = store.table
    if table is None or len(table) > _MOST_ROWS:
        return {}
    return {"features": table.rename(columns={"label": "index"})}


def _image(store: PredictedSlide) -> list[LayerData]:
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
