"""How dense the nuclei of a class lie in the open crop, and where most. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from napari_monusac.app.answers import Refused
from napari_monusac.scoring.metrics.hotspots import DensityMap, HotSpot, density_map

if TYPE_CHECKING:
    from napari_monusac.editing.session import EditingSession


def density_of(
    session: EditingSession | None, class_id: int | None, radius_um: float
) -> Callable[[], DensityMap] | Refused:
    """Return what works out how dense nuclei lie in a crop as it is now; it may be called in a worker.

    Parameters
    ----------
    session : EditingSession or None
        Of the open crop.
    class_id : int or None
        Its number in a row; None for all nuclei.
    radius_um : float
        Radius of the disc that is counted in, µm.
    """
    if session is None:
        return Refused("Open a crop first (Slides).")
    scale, shape = session.nuclei.um_per_px, session.shape
    if scale is None:
        return Refused("The scale of this image is unknown: a density needs µm per pixel.")
    rows = session.rows
    boxes = [
        box for k, box in session.maps.boxes.items()
        if rows[k].plane == "nuclei" and (class_id is None or rows[k].class_id == class_id)
    ]  # fmt: skip
    # the middle of a nucleus's box: known without looking at a pixel
    corners = np.asarray(boxes, float).reshape(-1, 4)
    centres = (corners[:, :2] + corners[:, 2:] - 1) / 2
    return lambda: density_map(centres, shape, scale, radius_um)


def spot_words(spot: HotSpot) -> str:
    """Return a hot spot in words: "1240 per mm²: 10 nuclei"."""
    return f"{spot.per_mm2:.0f} per mm²: {spot.number} {'nucleus' if spot.number == 1 else 'nuclei'}"
