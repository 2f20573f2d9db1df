"""A picture of what is seen, with scale bar and legend, as SVG. No Qt, no napari."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import Rgb

#: Steps of a scale bar, times a power of ten.
_STEPS = (1, 2, 5)
_DARK, _LIGHT = "#14141a", "#ffffff"


@dataclass(frozen=True, slots=True)
class LegendLine:
    """One line of the legend: its words and the colour that they stand for (None: a title)."""

    text: str
    rgb: Rgb | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CanvasPicture:
    """What a picture shows.

    Attributes
    ----------
    pixels : uint8 (y, x, 3)
        What the window shows, without its legend and scale bar.
    um_per_px : float or None
        Of these pixels, not of the slide's; None where the scale is unknown: there is no scale bar then.
    legend : tuple of LegendLine
    title : str
        Of which image it is.
    """

    pixels: NDArray[np.uint8]
    um_per_px: float | None
    legend: tuple[LegendLine, ...] = ()
    title: str = ""


def bar_length_um(most_um: float) -> float:
    """Return the longest round length (1, 2 or 5 times a power of ten), µm, that is no longer than this."""
    power = 10.0 ** np.floor(np.log10(most_um))
    return float(max(step * power for step in _STEPS if step * power <= most_um * (1 + 1e-9)))


def length_text(um: float) -> str:
    """Return a round length as it stands at a scale bar: "50 µm", "2 mm", "200 nm"."""
    if um >= 1000:
        return f"{um / 1000:g} mm"
    return f"{um:g} µm" if um >= 1 else f"{um * 1000:g} nm"


def svg_of(snapshot: CanvasPicture) -> str:
    """Return the picture as SVG: the pixels embedded as PNG, scale bar and legend as lines and letters."""
    height, width = snapshot.pixels.shape[:2]
    font = max(11.0, width / 75)
    encoded = cv2.imencode(".png", np.ascontiguousarray(snapshot.pixels[..., ::-1]))[1].tobytes()
    parts = [
        f"<title>{escape(snapshot.title)}</title>",
        f'<image x="0" y="0" width="{width}" height="{height}" xlink:href="data:image/png;base64,'
        f'{base64.b64encode(encoded).decode("ascii")}"/>',
        *_legend(snapshot.legend, font),
        *_bar(snapshot.um_per_px, width, height, font),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="{font:.1f}">{"".join(parts)}</svg>\n'
    )


def _box(x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4" fill="{_DARK}" '
        'fill-opacity="0.75"/>'
    )


def _legend(lines: tuple[LegendLine, ...], font: float) -> list[str]:
    if not lines:
        return []
    step, edge = 1.5 * font, 0.6 * font
    wide = 0.62 * font * max(len(line.text) for line in lines) + 2 * step
    parts = [_box(edge, edge, wide, step * len(lines) + edge)]
    for at, line in enumerate(lines):
        base = edge + step * (at + 1)
        if line.rgb is not None:
            color = "#{:02x}{:02x}{:02x}".format(*line.rgb)
            parts.append(
                f'<rect x="{2 * edge:.1f}" y="{base - 0.85 * font:.1f}" width="{font:.1f}" height="{font:.1f}" '
                f'fill="{color}" stroke="{_LIGHT}" stroke-width="0.5"/>'
            )
        x = 2 * edge + (0.0 if line.rgb is None else 1.6 * font)
        parts.append(f'<text x="{x:.1f}" y="{base:.1f}" fill="{_LIGHT}">{escape(line.text)}</text>')
    return parts


def _bar(um_per_px: float | None, width: int, height: int, font: float) -> list[str]:
    if um_per_px is None:
        return []
    um = bar_length_um(width / 5 * um_per_px)
    long, edge = um / um_per_px, 0.6 * font
    wide, high = max(long, 5 * font) + 2 * edge, 2.6 * font
    left, top = width - wide - edge, height - high - edge
    middle = left + wide / 2
    return [
        _box(left, top, wide, high),
        f'<text x="{middle:.1f}" y="{top + 1.3 * font:.1f}" text-anchor="middle" fill="{_LIGHT}">{length_text(um)}</text>',
        f'<rect class="scale" x="{middle - long / 2:.3f}" y="{top + 1.75 * font:.1f}" width="{long:.3f}" '
        f'height="{max(2.0, 0.25 * font):.1f}" fill="{_LIGHT}"/>',
    ]
