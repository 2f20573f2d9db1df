"""What the layers of a session need, made in a worker: the window does not wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID
from napari_monusac.ui.canvas.colors import ClassColormap

if TYPE_CHECKING:
    import pandas as pd

    from napari_monusac.editing.session import EditingSession

#: Layers that show a session, bottom first, and the array of the session's maps that each shows.
VIEWS: Mapping[str, str] = {
    "semantic": "semantic",
    "ternary": "ternary",
    "ambiguous": "ambiguous",
    "nuclei": "instances",
}
#: Those that the user may paint on.
PAINTED = ("nuclei", "ambiguous")


@dataclass(frozen=True, slots=True)
class Ready:
    """A session with all that its layers need; made by `ready` in a worker, so that the window does not wait.

    Attributes
    ----------
    session : EditingSession
        The session.
    colormap : ClassColormap
        Colours of its nuclei.
    known : dict
        Copies of the maps that napari paints on: a stroke of its own tools is the difference.
    table : pandas.DataFrame
        The nuclei's features.
    """

    session: EditingSession
    colormap: ClassColormap
    known: dict[str, NDArray[Any]]
    table: pd.DataFrame


def ready(session: EditingSession, shown: Mapping[str, Any]) -> Ready:
    """Get everything ready for `SessionLayers` (no Qt: called in a worker).

    A layer that shows the same already (`shown`: arrays by layer name) lends its array to the session: it need not be
    drawn again.
    """
    for name, own in shown.items():
        array = getattr(session.maps, VIEWS[name])
        fits = isinstance(own, np.ndarray) and own.dtype == array.dtype and own.flags.writeable and own.base is None
        if fits and own.shape == array.shape and np.array_equal(own, array):
            setattr(session.maps, VIEWS[name], own)
    classes: dict[int, int | None] = {k: r.class_id for k, r in session.rows.items() if r.class_id != AMBIGUOUS_ID}
    known = {name: getattr(session.maps, VIEWS[name]).copy() for name in PAINTED}
    return Ready(session, ClassColormap.of(classes), known, session.nuclei.features("nuclei"))
