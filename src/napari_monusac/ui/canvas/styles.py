"""How each kind of line on the canvas is drawn: one table, in px of the screen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LineStyle:
    """How a line is drawn, the same at every zoom.

    Attributes
    ----------
    width_px : float
        Of the line itself, px of the screen.
    halo_px : float
        Of the rim on each side of it, light beside dark colours and dark beside light ones.
    dash_px, gap_px : float
        Length of dashes and of what lies between; no gap: a solid line.
    """

    width_px: float = 1.8
    halo_px: float = 1.1
    dash_px: float = 0.0
    gap_px: float = 0.0


#: A person's outlines are solid, a model's dashed: told apart without colour.
TRUTH = LineStyle()
PREDICTION = LineStyle(dash_px=6.0, gap_px=5.0)
#: What is pointed at has no class colour: black and white dashes in turn, the selection's as long at every zoom, those
#: of the frame around an error eight to a side.
SELECTION = LineStyle(width_px=2.0, halo_px=0.0, dash_px=6.0, gap_px=6.0)
ERROR = LineStyle(width_px=2.0, halo_px=0.0)
