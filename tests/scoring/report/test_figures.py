"""Figures: what is drawn stands where its numbers say, and is well-formed whatever the names are."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from napari_monusac.core.fitted import ReliabilityBin
from napari_monusac.scoring.report.figures import curves_plot, reliability_plot

SVG = "{http://www.w3.org/2000/svg}"


def drawn(panels, x_label="steps"):
    return ElementTree.fromstring(curves_plot(panels, x_label))


def test_curves_stand_where_their_numbers_say():
    root = drawn({"combo": {"a": [(0, 0.0), (50, 0.5), (100, 1.0)]}, "Dice": {"a": [(100, 0.25)], "b": []}})
    first, second = (
        [tuple(map(float, p.split(","))) for p in line.get("points").split()]
        for line in root.iter(f"{SVG}polyline")
        if line.get("points")
    )
    (x0, y0), (x1, y1), (x2, y2) = first
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y0 - y1 == pytest.approx(y1 - y2)
    assert y2 < y1 < y0, "1 is above 0"
    ticks = {t.text: float(t.get("y")) for t in root.iter(f"{SVG}text") if t.get("text-anchor") == "end"}
    assert ticks["0.0"] == pytest.approx(y0 + 4)
    assert ticks["1.0"] == pytest.approx(y2 + 4)
    width = float(root.get("width")) / 2
    assert second == [(pytest.approx(x2 + width), pytest.approx(y0 + (y2 - y0) / 4))]


def test_names_are_escaped_and_stand_once_in_the_legend():
    root = drawn({"<p>": {"a & b": [(1, 0.5)], '<script>"': [(2, 0.1)]}, "q": {"a & b": [(1, 0.2)]}}, "1 < 2")
    words = [t.text for t in root.iter(f"{SVG}text")]
    assert words.count("a & b") == words.count('<script>"') == words.count("<p>") == 1
    assert words.count("1 < 2") == 2
    assert not list(root.iter(f"{SVG}script"))
    colors = {c.get("fill") for c in root.iter(f"{SVG}circle")}
    assert len(colors) == 2, "a colour a name, in all panels"


def test_nothing_to_draw_is_an_empty_figure():
    assert not list(drawn({"combo": {}}).iter(f"{SVG}circle"))


def test_reliability_lies_on_the_dashed_line_where_a_confidence_is_honest():
    bins = tuple(ReliabilityBin(said=s, right=r, nuclei=n) for s, r, n in ((0.25, 0.25, 1), (0.5, 0.75, 4)))
    root = ElementTree.fromstring(reliability_plot(bins))
    (honest,) = [e for e in root.iter(f"{SVG}line") if e.get("stroke-dasharray")]
    x0, y0, x1, y1 = (float(honest.get(k)) for k in ("x1", "y1", "x2", "y2"))
    first, second = ((float(c.get("cx")), float(c.get("cy")), float(c.get("r"))) for c in root.iter(f"{SVG}circle"))
    assert first[:2] == (pytest.approx(x0 + (x1 - x0) / 4, abs=0.1), pytest.approx(y0 + (y1 - y0) / 4, abs=0.1))
    assert second[:2] == (pytest.approx((x0 + x1) / 2, abs=0.1), pytest.approx(y0 + (y1 - y0) * 0.75, abs=0.1))
    assert second[2] > first[2], "more nuclei, a larger dot"
    assert any("0.20" in (t.text or "") for t in root.iter(f"{SVG}text")), "4 of 5 are off by 0.25"
    assert reliability_plot(()) == ""
