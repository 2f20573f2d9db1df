"""Figures as SVG, of reports and of studies. Text is escaped; class colours are darkened where white would swallow them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from napari_monusac.core.classes import PALETTES, NucleusClass, Rgb
from napari_monusac.core.fitted import ReliabilityBin
from napari_monusac.scoring.metrics.calibration import calibration_error
from napari_monusac.scoring.metrics.evaluation import Evaluation, GroupScore, PrecisionRecall, Scoring

INK, MUTED, LINE, ACCENT = "#1d2433", "#5b6472", "#e3e7ee", "#2f5bd0"
#: Darkest relative luminance that still tells a line from white paper (contrast 3:1, WCAG 2).
_HIGHEST_LUMINANCE = 0.3
_MARKS = ("", "5 3", "2 3", "8 3 2 3")
#: Okabe-Ito; with a dash pattern of another number, lines are told apart in black and white too.
_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

Lines = Mapping[str, Sequence[tuple[float, float]]]


def class_color(name: str) -> str:
    """Colour of a class on white, as CSS; the text colour for any other name."""
    cls = NucleusClass.from_label(name)
    if not name or cls is None:
        return INK
    return _on_white(PALETTES["colour-blind"][cls])


def _on_white(rgb: Rgb) -> str:
    while _luminance(rgb) > _HIGHEST_LUMINANCE:
        rgb = (int(rgb[0] * 0.95), int(rgb[1] * 0.95), int(rgb[2] * 0.95))
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _luminance(rgb: Rgb) -> float:
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def number(value: float | None, digits: int = 2) -> str:
    """A score with the precision that it has; a dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def _text(x: float, y: float, words: str, anchor: str = "start", css: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, color: str = LINE, width: float = 1, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def _polyline(points: Sequence[tuple[float, float]], color: str, dash: str) -> str:
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2" stroke-dasharray="{dash}"/>'


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _axis(left: float, right: float, top: float, bottom: float) -> tuple[list[str], Callable[[float], float]]:
    """Vertical grid lines for 0 to 1, and where a value lies."""

    def place(value: float) -> float:
        return left + (right - left) * value

    parts = []
    for k in range(6):
        x = place(k / 5)
        parts += [_line(x, top, x, bottom), _text(x, bottom + 16, f"{k / 5:.1f}", "middle", "tick")]
    return parts, place


def forest_plot(scorings: Sequence[Scoring], headline: str) -> str:
    """Draw the scorings as dots with their intervals."""
    width, row, left = 640.0, 34.0, 132.0
    bottom = 8 + row * len(scorings)
    parts, place = _axis(left, width - 110, 0, bottom)
    for k, scoring in enumerate(scorings):
        y = 8 + row * (k + 0.5)
        color = ACCENT if scoring.key == headline else MUTED
        parts.append(_text(left - 14, y + 4, scoring.label, "end", "strong" if scoring.key == headline else ""))
        if scoring.interval is not None:
            parts.append(_line(place(scoring.interval.low), y, place(scoring.interval.high), y, color, 3))
        if scoring.pq is not None:
            parts.append(f'<circle cx="{place(scoring.pq):.1f}" cy="{y:.1f}" r="6" fill="{color}"/>')
        n = f"n = {scoring.patients}" if scoring.patients else ""
        parts.append(_text(width - 94, y + 4, number(scoring.pq), "start", "strong"))
        parts.append(_text(width - 50, y + 4, n, "start", "tick"))
    return _svg(width, bottom + 24, parts, "PQ of the four scorings with 95 % intervals over n patients")


def tolerance_plot(evaluation: Evaluation) -> str:
    """Draw PQ of each scoring as edges are forgiven by 0, 1, 2, 3 px."""
    levels = [(0, evaluation.scorings), *((t.tolerance_px, t.scorings) for t in evaluation.tolerance)]
    width, height, left, right, top, bottom = 470.0, 310.0, 34.0, 370.0, 10.0, 260.0
    values = [s.pq for _, scorings in levels for s in scorings if s.pq is not None]
    if not values:
        return ""
    first, last = int(min(values) * 10), min(10, int(max(values) * 10) + 1)
    low, high, steps = first / 10, last / 10, [k / 10 for k in range(first, last + 1)]
    span = max(t for t, _ in levels) or 1

    def x_of(tolerance: float) -> float:
        return left + 14 + (right - left - 28) * tolerance / span

    def y_of(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    parts = [
        _line(left, y_of(v), right, y_of(v)) + _text(left - 6, y_of(v) + 4, f"{v:.1f}", "end", "tick") for v in steps
    ]
    parts += [_text(x_of(t), bottom + 18, f"{t} px", "middle", "tick") for t, _ in levels]
    ends: list[tuple[float, str, str]] = []
    for k, rule in enumerate(evaluation.scorings):
        points = [(t, s.pq) for t, scorings in levels for s in scorings if s.key == rule.key and s.pq is not None]
        if not points:
            continue
        color = ACCENT if rule.key == evaluation.headline else MUTED
        parts.append(_polyline([(x_of(t), y_of(v)) for t, v in points], color, _MARKS[k % 4]))
        parts += [f'<circle cx="{x_of(t):.1f}" cy="{y_of(v):.1f}" r="3.5" fill="{color}"/>' for t, v in points]
        ends.append((y_of(points[-1][1]), rule.label, color))
    return _svg(width, height, [*parts, *_end_labels(ends, right + 2)], "PQ as edges are forgiven by some px")


def _end_labels(ends: list[tuple[float, str, str]], x: float) -> list[str]:
    """Names at the ends of lines, moved apart so that none covers another."""
    parts, last = [], -1e9
    for y, label, color in sorted(ends):
        last = max(y, last + 15)
        parts.append(f'<text x="{x:.1f}" y="{last + 4:.1f}" style="fill:{color}" class="label">{escape(label)}</text>')
    return parts


def patient_plot(patients: Sequence[GroupScore]) -> str:
    """Draw each patient's PQ: mean over classes, and each class."""
    rows = sorted(patients, key=lambda p: (p.organ, -(p.pq if p.pq is not None else -1)))
    organs = list(dict.fromkeys(p.organ for p in rows))
    width, row, gap, left = 820.0, 20.0, 26.0, 250.0
    height = 10 + row * len(rows) + gap * len(organs)
    parts, place = _axis(left, width - 140, 6, height)
    y, organ = 6.0, None
    for patient in rows:
        if patient.organ != organ:
            organ, y = patient.organ, y + gap
            parts.append(_text(4, y - 7, organ, "start", "strong"))
        nuclei = patient.instances.tp + patient.instances.fn
        middle = y + row / 2
        parts.append(_text(left - 12, middle + 4, _short(patient.name), "end"))
        parts.append(_text(width - 128, middle + 4, number(patient.pq)))
        parts.append(_text(width - 12, middle + 4, f"{nuclei} nuclei", "end", "tick"))
        for name, quality in patient.by_class.items():
            if quality.pq is not None:
                parts.append(
                    f'<circle cx="{place(quality.pq):.1f}" cy="{middle:.1f}" r="4" fill="{class_color(name)}" '
                    f'fill-opacity="0.85"><title>{escape(name)} {number(quality.pq)}</title></circle>'
                )
        if patient.pq is not None:
            x = place(patient.pq)
            parts.append(_line(x, middle - 7, x, middle + 7, INK, 3))
        y += row
    return _svg(width, height + 22, parts, "PQ of each patient, mean of classes and each class")


def _short(name: str, longest: int = 30) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 300.0, 10.0, 260.0


def _square(x_label: str, y_label: str) -> tuple[list[str], Callable[[float], float], Callable[[float], float]]:
    """A square of 0 to 1 both ways with its labels, and where a value lies across and up."""
    parts, x_of = _axis(_LEFT, _RIGHT, _TOP, _BOTTOM)

    def y_of(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * value

    for k in range(6):
        parts.append(_line(_LEFT, y_of(k / 5), _RIGHT, y_of(k / 5)))
        parts.append(_text(_LEFT - 6, y_of(k / 5) + 4, f"{k / 5:.1f}", "end", "tick"))
    parts += [_text((_LEFT + _RIGHT) / 2, _BOTTOM + 38, x_label, "middle", "tick")]
    name = _text(0, 0, y_label, "middle", "tick")
    parts.append(f'<g transform="translate(10 {(_TOP + _BOTTOM) / 2:.0f}) rotate(-90)">{name}</g>')
    return parts, x_of, y_of


def precision_recall_plot(curves: Sequence[PrecisionRecall]) -> str:
    """Draw precision over recall as the confidence that a nucleus needs falls from 1 to 0."""
    if not curves:
        return ""
    parts, x_of, y_of = _square("recall", "precision")
    for k, curve in enumerate(curves):
        color = class_color(curve.name)
        points = [(x_of(r), y_of(p)) for r, p in zip(curve.recall, curve.precision, strict=True)]
        dash = "" if curve.name == "All" else _MARKS[k % 4]
        parts.append(_polyline(points, color, dash))
        y = _TOP + 16 + 20 * k
        parts.append(_line(_RIGHT + 14, y - 4, _RIGHT + 34, y - 4, color, 3, dash))
        parts.append(_text(_RIGHT + 40, y, f"{curve.name} {number(curve.average_precision)}"))
    return _svg(470.0, 310.0, parts, "Precision and recall by confidence")


def reliability_plot(bins: Sequence[ReliabilityBin]) -> str:
    """Draw how many nuclei are right of those with about each confidence; on the dashed line a confidence is honest."""
    if not bins:
        return ""
    parts, x_of, y_of = _square("confidence", "share that is right")
    parts.append(_line(x_of(0), y_of(0), x_of(1), y_of(1), LINE, 2, "5 4"))
    points = [(x_of(b.said), y_of(b.right)) for b in bins]
    parts.append(_polyline(points, class_color("All"), ""))
    most = max(b.nuclei for b in bins)
    for (x, y), b in zip(points, bins, strict=True):
        radius = 2 + 5 * (b.nuclei / most) ** 0.5
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{class_color("All")}">'
            f"<title>{b.nuclei} nuclei: confidence {b.said:.2f}, right {b.right:.2f}</title></circle>"
        )
    parts.append(_text(_RIGHT + 14, _TOP + 16, f"off by {number(calibration_error(tuple(bins)))} on average"))
    return _svg(470.0, 310.0, parts, "Share of right nuclei by confidence")


def curves_plot(panels: Mapping[str, Lines], x_label: str) -> str:
    """Draw panels of named lines side by side, y from 0 to 1, as an SVG document of its own.

    Parameters
    ----------
    panels : mapping of str to (mapping of str to points)
        Title of a panel -> name of a line -> (x, y) points.
    x_label : str
        What x is.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    most = max((x for lines in panels.values() for points in lines.values() for x, _ in points), default=1.0) or 1.0
    wide, top, bottom = 460.0, 32.0, 260.0
    styles = {name: (_LINES[k % len(_LINES)], _MARKS[k % len(_MARKS)]) for k, name in enumerate(names)}
    size = (wide * len(panels), bottom + 64 + 18 * len(names))
    parts = ['<style>text { font: 12px sans-serif }</style><rect width="100%" height="100%" fill="white"/>']
    for k, (title, lines) in enumerate(panels.items()):
        left, right = k * wide + 48, (k + 1) * wide - 16
        parts.append(f'<g font-weight="bold">{_text(left, 20, title)}</g>')
        for step in range(6):
            y = bottom - (bottom - top) * step / 5
            parts += [_line(left, y, right, y), _text(left - 6, y + 4, f"{step / 5:.1f}", "end")]
        for step in range(5):
            parts.append(_text(left + (right - left) * step / 4, bottom + 18, f"{most * step / 4:.0f}", "middle"))
        parts.append(_text((left + right) / 2, bottom + 34, x_label, "middle"))
        for name, points in lines.items():
            placed = [(left + (right - left) * x / most, bottom - (bottom - top) * y) for x, y in points]
            color, dash = styles[name]
            parts.append(_polyline(placed, color, dash))
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>' for x, y in placed]
    for k, (name, (color, dash)) in enumerate(styles.items()):
        y = bottom + 60 + 18 * k
        parts += [_line(48, y - 4, 88, y - 4, color, 2, dash), _text(96, y, name)]
    return _svg(*size, parts, f"{', '.join(panels)} over {x_label}") + "\n"
