"""A plain line figure as SVG: no plotting library needed on a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

#: Okabe-Ito, and a dash pattern for each: told apart in black and white too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("", "6 3", "2 2", "8 3 2 3", "12 3", "4 4", "1 3")
_WIDTH, _HEIGHT, _MARGIN = 460, 300, 48

Lines = Mapping[str, Sequence[tuple[float, float]]]


def curves_svg(panels: Mapping[str, Lines], x_label: str) -> str:
    """Draw panels of named lines side by side, y from 0 to 1.

    Parameters
    ----------
    panels : mapping of str to (mapping of str to points)
        Title of a panel -> name of a line -> (x, y) points.
    x_label : str
        What x is.

    Returns
    -------
    str
        An SVG document.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    right = max((x for lines in panels.values() for points in lines.values() for x, _ in points), default=1.0) or 1.0
    width = _WIDTH * len(panels)
    height = _HEIGHT + 24 + 18 * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for i, (title, lines) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({i * _WIDTH} 0)">')
        parts += _axes(title, x_label, right)
        parts += [_line(points, right, names.index(name)) for name, points in lines.items() if points]
        parts.append("</g>")
    for i, name in enumerate(names):
        y = _HEIGHT + 20 + 18 * i
        parts.append(
            f'<path d="M{_MARGIN} {y - 4} h40" {_style(i)}/><text x="{_MARGIN + 48}" y="{y}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _style(i: int) -> str:
    dash = _DASHES[i % len(_DASHES)]
    return f'fill="none" stroke="{_COLOURS[i % len(_COLOURS)]}" stroke-width="2" stroke-dasharray="{dash}"'


def _x(x: float, right: float) -> float:
    return _MARGIN + x / right * (_WIDTH - _MARGIN - 16)


def _y(y: float) -> float:
    return _HEIGHT - 40 - y * (_HEIGHT - 72)


def _axes(title: str, x_label: str, right: float) -> list[str]:
    out = [f'<text x="{_MARGIN}" y="20" font-weight="bold">{escape(title)}</text>']
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        out.append(f'<path d="M{_MARGIN} {y:.1f} H{_WIDTH - 16}" stroke="#ddd"/>')
        out.append(f'<text x="{_MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>')
    for quarter in range(5):
        x = quarter / 4 * right
        out.append(f'<text x="{_x(x, right):.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{x:.0f}</text>')
    out.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    return out


def _line(points: Sequence[tuple[float, float]], right: float, i: int) -> str:
    path = " L".join(f"{_x(x, right):.1f} {_y(y):.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{_x(x, right):.1f}" cy="{_y(y):.1f}" r="2.5" fill="{_COLOURS[i % len(_COLOURS)]}"/>'
        for x, y in points
    )
    return f'<path d="M{path}" {_style(i)}/>{dots}'
