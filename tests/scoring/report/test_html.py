from __future__ import annotations

import base64
import csv
import dataclasses
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from napari_monusac.core.errors import FileProblem
from napari_monusac.scoring.errors.finding import FindingType
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.metrics.evaluation import ComparedWith
from napari_monusac.scoring.report.evaluate import evaluate
from napari_monusac.scoring.report.figures import class_color, number, patient_plot, tolerance_plot
from napari_monusac.scoring.report.html import ReviewLine, render_report, scores_csv, write_report
from napari_monusac.scoring.report.pictures import Evidence, take_picture

NASTY = '<script>alert("ä & ö")</script>'
VOID = {"meta", "br"}


class Strict(HTMLParser):
    """Every element that opens closes, in order; what points elsewhere is collected."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.outside, self.text, self.images = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                (self.images if (value or "").startswith("data:image/png;base64,") else self.outside).append(value)
            assert not name.startswith("on")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def pairs(tissue):
    truth, classes = tissue
    rng = np.random.default_rng(0)
    found = []
    for k in range(3):
        prediction = np.where(np.isin(truth, [k + 1, k + 7]), 0, truth)
        prediction[22:30, 22:30] = 99
        guessed = {**classes, 99: 2, 20 + k: 3}
        found.append(
            CropPair(
                f"crop {k} {NASTY}", f"patient {k} {NASTY}", truth, classes, prediction, guessed, um_per_px=0.25,
                confidence={i: float(rng.random()) for i in guessed},
                pixels=lambda: rng.integers(0, 255, (*truth.shape, 3), np.uint8),
            )
        )  # fmt: skip
    return found


@pytest.fixture
def evidence(pairs):
    gathered = Evidence(per_type=2)
    for pair in pairs:
        gathered.add(pair)
    return gathered


@pytest.fixture
def evaluation(pairs):
    provenance = ComparedWith(
        truth=NASTY, prediction="/p", truth_sha256="a" * 64, prediction_sha256="b" * 64, recipe="fp-" + NASTY,
        checkpoint="best.safetensors", checkpoint_sha256="c" * 64, command="napari-monusac evaluate --truth 'x y'",
        version="napari-monusac 0", created="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    result = evaluate(pairs, bootstrap=30)
    return result.model_copy(update={"provenance": provenance, "notes": (f"left out: {NASTY}",)})


LINES = [ReviewLine(time="2026", reader=NASTY, crop="c", what=NASTY, verdict="model right", note=NASTY)]


def test_the_report_is_one_whole_html_file_without_anything_from_outside(evaluation, evidence, tmp_path):
    path, table = write_report(
        evaluation, tmp_path / "new" / "r.html", evidence=evidence, review=LINES, agreement=NASTY, title=NASTY
    )
    html = path.read_text("utf-8")
    page = Strict()
    page.feed(html)
    page.close()
    assert page.open == []
    assert page.outside == []
    assert "script" not in page.tags
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", html)
    text = " ".join(page.text)
    for words in (
        "Model output, research use", "Legacy 2020", "Per patient", "mPQ+", "2026-01-02 03:04 UTC", "a" * 64, "b" * 64,
        "c" * 64, "napari-monusac evaluate --truth 'x y'", "The worst nuclei", "Review log", "Two readers",
        "Which class is taken for which", "Edges forgiven", "Precision and recall", "not for diagnosis", NASTY,
    ):  # fmt: skip
        assert words in text, words
    assert html.count("<svg") >= 4 + len(evidence.pictures)
    assert len(page.images) == len(evidence.pictures) > 0
    assert table.name == "r.csv"
    assert sorted(p.name for p in path.parent.iterdir()) == ["r.csv", "r.html"]


def test_without_evidence_and_intervals_the_report_leaves_those_parts_out(pairs):
    result = evaluate(pairs[:1], tolerances_px=())
    html = render_report(result, title="t")
    page = Strict()
    page.feed(html)
    assert page.open == []
    text = " ".join(page.text)
    assert "n = 1, too few" in text
    assert "No intervals were asked for" in render_report(evaluate(pairs[:1], bootstrap=0), title="t")
    for words in ("The worst nuclei", "Review log", "Errors by type"):
        assert words not in text


def test_an_empty_evaluation_shows_dashes_not_zeros():
    empty = np.zeros((9, 9), np.int32)
    result = evaluate(CropPair("c", "p", empty, {}, empty, {}))
    html = render_report(result, title="t")
    assert "nan" not in html.lower().replace("nanum", "")
    assert "–" in html
    assert tolerance_plot(result) == ""
    assert patient_plot(result.patients)


def test_csv_holds_every_score_with_full_precision(evaluation, tmp_path):
    rows = list(csv.DictReader(scores_csv(evaluation).splitlines()))
    headline = next(
        r for r in rows if (r["kind"], r["name"], r["class"], r["metric"]) == ("scoring", "per-patient", "", "pq")
    )
    assert float(headline["value"]) == evaluation.pq
    assert (headline["low"], headline["n"]) == ("", "3")
    crops = [r for r in rows if r["kind"] == "crop" and r["metric"] == "tp" and not r["class"]]
    assert [int(r["value"]) for r in crops] == [c.instances.tp for c in evaluation.crops]
    assert {r["kind"] for r in rows} >= {"patient", "organ", "scoring, 2 px forgiven", "pooled"}
    assert crops[0]["name"] == f"crop 0 {NASTY}"


def test_an_interval_stands_with_its_patients_everywhere(pairs):
    many = [dataclasses.replace(p, crop=f"c{k}", patient=f"p{k}") for k, p in enumerate([*pairs, *pairs])]
    result = evaluate(many, bootstrap=100)
    html = render_report(result, title="t")
    interval = result.scoring().interval
    assert f"{interval.low:.2f} to {interval.high:.2f} (n = 6)" in html
    assert html.count("(n = 6)") >= 4 + 6 + 5
    rows = [r for r in csv.DictReader(scores_csv(result).splitlines()) if r["low"]]
    assert {r["n"] for r in rows} == {"6"}
    headline = next(r for r in rows if (r["kind"], r["name"], r["metric"]) == ("scoring", "per-patient", "pq"))
    assert float(headline["low"]) == interval.low


def test_training_crops_that_are_scored_are_said_at_the_top_and_marked(pairs):
    seen = [dataclasses.replace(p, seen_as=s) for p, s in zip(pairs, ("training", "unseen", "unseen"), strict=True)]
    html = render_report(evaluate(seen, bootstrap=0, include_training=True), title="t")
    assert "3 crops of 3 patients, 1 of them used to train the model" in html
    assert html.index("1 of these crops were used to train the model") < html.index('class="cards"')
    assert html.count("· training</span>") == 1
    assert "used to train" not in render_report(evaluate(seen, bootstrap=0), title="t")


def test_evidence_keeps_the_worst_of_each_type(pairs, evidence):
    assert evidence.counts()[FindingType.MISSED].total() == 6
    kinds = [p.finding.type for p in evidence.pictures]
    assert kinds == sorted(kinds, key=list(FindingType).index)
    assert all(kinds.count(k) <= 2 for k in kinds)
    for picture in evidence.pictures:
        raw = base64.b64decode(picture.png.partition(",")[2])
        image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (picture.side_px, picture.side_px, 3)
        assert bool(picture.truth) == bool(picture.finding.truth_ids)
        assert bool(picture.prediction) == bool(picture.finding.prediction_ids)
        assert picture.scale_um == picture.side_px / 4


def test_a_picture_shows_the_tissue_of_the_finding_in_rgb(tissue):
    from napari_monusac.scoring.errors.findings import find_errors

    truth, _ = tissue
    pixels = np.zeros((*truth.shape, 3), np.uint8)
    pixels[truth == 36] = (200, 10, 20)
    (finding,) = find_errors(truth, np.where(truth == 36, 0, truth))
    picture = take_picture(finding, pixels, truth, truth * 0)
    image = cv2.imdecode(np.frombuffer(base64.b64decode(picture.png.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    assert (image[..., ::-1] == (200, 10, 20)).all(2).sum() == (truth == 36).sum()
    ys, xs = zip(*[(float(y), float(x)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", picture.truth[0])], strict=True)
    rows, columns = np.nonzero(image[..., 2] == 200)
    assert min(ys) == pytest.approx(rows.min(), abs=0.5)
    assert max(xs) == pytest.approx(columns.max() + 1, abs=0.5)


def test_a_crop_smaller_than_a_picture(tissue):
    from napari_monusac.scoring.errors.findings import find_errors

    truth = np.zeros((20, 31), np.int32)
    truth[3:9, 3:9] = 1
    (finding,) = find_errors(truth, truth * 0)
    assert take_picture(finding, np.zeros((20, 31, 3), np.uint8), truth, truth * 0).side_px == 20


def test_a_folder_that_cannot_be_written_is_named(evaluation, evidence, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileProblem, match="cannot be written"):
        write_report(evaluation, tmp_path / "file" / "r.html", evidence=evidence)


def test_colours_stand_out_on_white_and_numbers_keep_their_precision():
    for name in ("Epithelial", "Lymphocyte", "Neutrophil", "Macrophage"):
        r, g, b = (int(class_color(name)[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in (r, g, b)]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 2.9
    assert class_color("All") == class_color("Purple")
    assert number(None) == "–"
    assert number(0.68312) == "0.68"
