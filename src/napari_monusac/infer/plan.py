"""The plan of a prediction: an image of any kind, and the engine that suits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_monusac.core.recipe import Precision
from napari_monusac.infer.engines import Engine
from napari_monusac.infer.engines.choose import choose_engine
from napari_monusac.infer.engines.torch import tile_multiple
from napari_monusac.infer.model import ModelLike
from napari_monusac.infer.tiling.plan import OVERLAP_PX, Expected, Plan, plan_tiles
from napari_monusac.infer.tiling.source import as_source


def plan_prediction(
    image: Any,
    model: ModelLike,
    *,
    um_per_px: float | None = None,
    region: Sequence[int] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    engine: Engine | None = None,
    tile_px: int | None = None,
    overlap_px: int = OVERLAP_PX,
) -> Plan:
    """Decide on scale, tiles and engine; see `napari_monusac.infer.predict.predict` for the parameters."""

    def choose(pixels: int) -> Engine:
        return engine or choose_engine(model, device, precision, pixels=pixels)

    source = as_source(image, um_per_px)
    return plan_tiles(source, expected_of(model), choose, region=region, tile_px=tile_px, overlap_px=overlap_px)


def expected_of(model: ModelLike) -> Expected:
    """What a loaded network expects: by its checkpoint, and by its recipe where that says nothing."""
    recipe, about = model.recipe, getattr(model, "metadata", None)
    return Expected(
        um_per_px=_said(about, "um_per_px", recipe.um_per_px),
        boundary_width=recipe.boundary_width,
        patch_px=recipe.patch_size,
        multiple=tile_multiple(model.network),
        normalise_stain=recipe.stain == "normalise",
        stain=_said(about, "stain", None),
    )


def _said(about: Any, name: str, otherwise: Any) -> Any:
    """What a checkpoint's metadata say; they are a mapping where somebody else made the model."""
    return about.get(name, otherwise) if isinstance(about, Mapping) else getattr(about, name, otherwise)
