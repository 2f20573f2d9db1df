"""The scale that a network is trained at, and how each crop is brought to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from napari_monusac.core.nuclei import Annotation
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.io.runs.run_folder import ScaleRecord

#: A crop whose um/px differs from the run's by no more than this part is left as it is: 0.25 and 0.252 are one scanner,
#: written down twice, and interpolation would blur more than 2 % of size matter (the affine augmentation varies 10 %).
TRAINING_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class CropHeader:
    """What is known of a crop before its pixels are read: (height, width) in px, and um/px or None."""

    shape: tuple[int, int]
    um_per_px: float | None


def training_scale(
    recipe: TrainingRecipe, crops: Mapping[str, CropHeader], kept: ScaleRecord | None = None
) -> ScaleRecord:
    """Decide on the scale of a run.

    Parameters
    ----------
    recipe : TrainingRecipe
        Its `um_per_px` is taken; where that is None, the median of the crops, each weighted by its area in px.
    crops : mapping
        Headers of the training crops.
    kept : ScaleRecord, optional
        What a resumed run began at (none, where no crop said one then).

    Returns
    -------
    ScaleRecord
    """
    wanted, source = recipe.um_per_px, "recipe"
    if wanted is None:
        wanted, source = (kept.um_per_px if kept is not None else _median(crops.values())), "median"
    factors = {n: training_factor(c.um_per_px, wanted) for n, c in crops.items()}
    return ScaleRecord(
        um_per_px=wanted,
        source="none" if wanted is None else source,
        resampled={n: c.um_per_px for n, c in crops.items() if c.um_per_px is not None and factors[n] != 1.0},
        unknown=tuple(n for n, c in crops.items() if c.um_per_px is None),
        crops=len(crops),
    )


def _median(crops: Iterable[CropHeader]) -> float | None:
    """Area-weighted median of what the crops say, None where none says anything."""
    known = sorted((c.um_per_px, c.shape[0] * c.shape[1]) for c in crops if c.um_per_px is not None)
    if not known:
        return None
    area = np.cumsum([a for _, a in known])
    return float(known[int(np.searchsorted(area, area[-1] / 2))][0])


def training_factor(um_per_px: float | None, wanted: float | None) -> float:
    """How much a crop is enlarged for training: 1.0 where a scale is unknown or within `TRAINING_TOLERANCE`."""
    if not um_per_px or not wanted:
        return 1.0
    factor = um_per_px / wanted
    return factor if abs(factor - 1) > TRAINING_TOLERANCE else 1.0


def scaled_shape(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    """Height and width of an image that is enlarged by `factor`, px; as `napari_monusac.infer.tiling.source.resampled` has it."""
    height, width = (max(1, round(n * factor)) for n in shape)
    return height, width


def scaled_annotation(annotation: Annotation, factor: float) -> Annotation:
    """Outlines on an image that is enlarged by `factor`, to be drawn there; Ambiguous regions, too.

    The centre of px ``u`` comes to lie at ``(u + 0.5) * factor - 0.5``, as in the image.
    """
    if factor == 1.0:
        return annotation
    regions = tuple(
        replace(r, vertices=(r.vertices + 0.5) * factor - 0.5, source=None, integral=False) for r in annotation.regions
    )
    um_per_px = annotation.um_per_px / factor if annotation.um_per_px else None
    return replace(annotation, regions=regions, um_per_px=um_per_px)
