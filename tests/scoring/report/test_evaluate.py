from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from napari_monusac import evaluate
from napari_monusac.core.classes import DIFFERENCE_COLORS
from napari_monusac.core.errors import FileProblem, MonusacError, ShapeError
from napari_monusac.scoring.errors.difference import DIFFERENCE_VALUES, difference_map
from napari_monusac.scoring.errors.findings import find_errors
from napari_monusac.scoring.matching.matching import match_instances
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.metrics.detection import count_pairs, detection_counts, detection_radius_px
from napari_monusac.scoring.metrics.evaluation import Evaluation
from napari_monusac.scoring.metrics.nuclei import nuclei_table
from napari_monusac.scoring.metrics.panoptic import panoptic_by_class, panoptic_quality
from napari_monusac.scoring.report.guard import ChangeKind, compare_predictions


def make_pair(tissue, crop="c1", patient="TCGA-2Z-A9JG", seed=0, **values):
    truth, classes = tissue
    rng = np.random.default_rng(seed)
    prediction = np.roll(truth, rng.integers(-1, 2, 2), (0, 1))
    gone = rng.choice(36, 5, replace=False) + 1
    prediction = np.where(np.isin(prediction, gone), 0, prediction)
    guessed = {i: (c if rng.random() < 0.8 else c % 4 + 1) for i, c in classes.items() if i not in gone}
    prediction[0:5, 0:5] = 90
    guessed[90] = 3
    facts = {
        "crop": crop, "patient": patient, "truth": truth, "truth_classes": classes, "prediction": prediction,
        "prediction_classes": guessed, "confidence": {i: float(rng.random()) for i in guessed}, "um_per_px": 0.25,
    }  # fmt: skip
    return CropPair(**{**facts, **values})


@pytest.fixture
def pairs(tissue):
    patients = ["TCGA-2Z-A9JG", "TCGA-2Z-A9JG", "TCGA-50-6591", "somebody"]
    return [make_pair(tissue, f"c{k}", p, k) for k, p in enumerate(patients)]


def test_crop_patient_organ_and_pooled_counts_agree_with_the_parts(pairs):
    result = evaluate(pairs, bootstrap=50)
    assert [c.name for c in result.crops] == ["c0", "c1", "c2", "c3"]
    assert [(p.name, p.crops) for p in result.patients] == [("TCGA-2Z-A9JG", 2), ("TCGA-50-6591", 1), ("somebody", 1)]
    assert [o.name for o in result.organs] == ["kidney", "lung", "unknown"]
    whole = sum(
        (panoptic_quality(p.truth, p.prediction) for p in pairs[1:]),
        panoptic_quality(pairs[0].truth, pairs[0].prediction),
    )
    assert (result.instances.tp, result.instances.fp, result.instances.fn) == (whole.tp, whole.fp, whole.fn)
    assert result.instances.pq == pytest.approx(whole.pq)
    by_class = [panoptic_by_class(p.truth, p.truth_classes, p.prediction, p.prediction_classes) for p in pairs]
    for cls in by_class[0]:
        pooled = by_class[0][cls] + by_class[1][cls] + by_class[2][cls] + by_class[3][cls]
        assert result.by_class[cls.label].pq == pytest.approx(pooled.pq)
        first_two = by_class[0][cls] + by_class[1][cls]
        assert result.patients[0].by_class[cls.label].pq == pytest.approx(first_two.pq)
    expected = np.mean([p.pq for p in result.patients])
    assert result.pq == result.scoring("per-patient").pq == pytest.approx(expected)
    assert result.scoring("mpq-plus").pq == pytest.approx(np.mean([q.pq for q in result.by_class.values()]))


def test_tolerance_levels_are_evaluations_of_their_own(pairs):
    result = evaluate(pairs, bootstrap=0)
    values = [result.scoring(tolerance_px=k).pq for k in (0, 1, 2, 3)]
    assert values == sorted(values)
    assert values[1] > values[0]
    with pytest.raises(KeyError):
        result.scoring(tolerance_px=9)
    assert evaluate(pairs, bootstrap=0, tolerances_px=()).tolerance == ()


def test_intervals_need_patients_and_are_seeded(pairs):
    alone = evaluate(pairs)  # three patients
    assert [s.interval for s in alone.scorings] == [None] * 4
    assert [s.patients for s in alone.scorings] == [3] * 4
    assert set(alone.intervals.values()) == {None}
    assert (alone.detection.interval, alone.detection.patients) == (None, 3)
    assert alone.span("combo") == "n = 3, too few"
    six = [*pairs, *(dataclasses.replace(p, crop=f"d{k}", patient=f"d{k}") for k, p in enumerate(pairs[:3]))]
    one, two = evaluate(six, bootstrap=200, seed=5), evaluate(six, bootstrap=200, seed=5)
    assert one == two
    for scoring in one.scorings:
        assert scoring.interval.low < scoring.pq < scoring.interval.high
        assert scoring.interval.n == scoring.patients == 6
    assert one.intervals["combo"].low <= one.pixels.combo <= one.intervals["combo"].high
    assert one.detection.interval.low <= one.detection.f1 <= one.detection.interval.high
    assert one.span("combo").endswith("(n = 6)")
    none = evaluate(six, bootstrap=0)
    assert (none.intervals, none.interval_patients, none.bootstrap, none.scorings[0].patients) == ({}, {}, 0, 0)


def test_json_and_back_with_undefined_values_as_null(tissue, tmp_path):
    truth, classes = tissue
    only = dict.fromkeys(classes, 1)
    result = evaluate(CropPair("ä c", "p", truth, only, truth, only))
    assert result.by_class["Neutrophil"].pq is None
    assert result.scoring().by_class["Macrophage"] is None
    assert result.pixels.iou["Neutrophil"] is None
    assert "NaN" not in result.to_json()
    result.save(tmp_path / "e.json")
    assert Evaluation.load(tmp_path / "e.json") == result
    (tmp_path / "bad.json").write_text("{}}")
    with pytest.raises(FileProblem, match="is no evaluation"):
        Evaluation.load(tmp_path / "bad.json")
    with pytest.raises(FileProblem, match="cannot be read"):
        Evaluation.load(tmp_path / "none.json")


def test_an_empty_crop_is_undefined_everywhere():
    empty = np.zeros((20, 20), np.int32)
    result = evaluate(CropPair("c", "p", empty, {}, empty, {}))
    assert result.pq is None
    assert all(s.pq is None for s in result.scorings)
    assert result.detection.f1 is None
    assert result.crops[0].combo is None
    assert result.precision_recall == ()
    with pytest.raises(MonusacError, match="no crop"):
        evaluate([])


def test_a_pair_whose_parts_differ_in_size_names_both(tissue):
    truth, classes = tissue
    with pytest.raises(ShapeError, match=r"c: prediction \(3, 3\) does not fit truth \(156, 156\)"):
        CropPair("c", "p", truth, classes, np.zeros((3, 3), int), {})


def test_ambiguous_both_ways(tissue):
    truth, classes = tissue
    prediction, guessed = truth.copy(), dict(classes)
    prediction[22:30, 22:30] = 99
    guessed[99] = 1
    ignore = np.zeros(truth.shape, bool)
    ignore[20:32, 20:32] = True
    pair = CropPair("c", "p", truth, classes, prediction, guessed, ignore=ignore)
    assert evaluate(dataclasses.replace(pair, ignore=None)).instances.fp == 1
    for rule in ("mask", "discount"):
        result = evaluate(pair, ambiguous=rule)
        assert (result.instances.fp, result.instances.tp, result.pq, result.detection.fp) == (0, 36, 1.0, 0)
        assert result.pixels.dice_inside == 1.0
        assert sum(map(sum, result.confusion.counts)) == 36


def test_unclassified_truth_scores_instances_only(tissue):
    truth, classes = tissue
    result = evaluate(CropPair("c", "p", truth, {}, truth, classes))
    assert result.instances.pq == 1.0
    assert all(q.pq is None for q in result.by_class.values())
    assert result.confusion.rows[4:] == ("Unclassified", "Spurious")


def test_given_maps_are_used_for_pixels_and_made_ones_otherwise(pairs, tissue):
    from napari_monusac import ternary_map

    truth, classes = tissue
    made = evaluate(pairs[0], bootstrap=0).pixels
    true_ternary = ternary_map(truth, 3)
    semantic = np.zeros(truth.shape, np.uint8)
    for i, c in classes.items():
        semantic[truth == i] = c
    given = dataclasses.replace(pairs[0], ternary=true_ternary, semantic=semantic)
    perfect = evaluate(given, bootstrap=0).pixels
    assert (perfect.combo, perfect.miou_macro) == (1.0, 1.0)
    assert made.combo < 1.0
    predicted = ternary_map(pairs[0].prediction, 3)
    for name, k in (("dice_inside", 1), ("dice_boundary", 2)):
        a, b = predicted == k, true_ternary == k
        assert getattr(made, name) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_average_precision_equals_scikit_learn(pairs):
    result = evaluate(pairs, bootstrap=0)
    scores, hits, n_truth = [], [], 0
    for p in pairs:
        matching = match_instances(p.truth, p.prediction)
        partner = matching.partner_of_prediction
        scores += [p.confidence[i] for i in matching.prediction.ids.tolist()]
        hits += (partner >= 0).tolist()
        n_truth += len(matching.truth)
    curve = result.precision_recall[0]
    assert curve.name == "All"
    # scikit-learn knows only what was predicted: recall is rescaled to all true nuclei
    expected = average_precision_score(hits, scores) * sum(hits) / n_truth
    assert curve.average_precision == pytest.approx(expected)
    assert curve.recall[0] == pytest.approx(sum(hits) / n_truth)
    for confidence, precision, recall in zip(curve.confidence, curve.precision, curve.recall, strict=True):
        kept = [h for s, h in zip(scores, hits, strict=True) if s >= confidence]
        assert precision == pytest.approx(sum(kept) / len(kept))
        assert recall == pytest.approx(sum(kept) / n_truth)


def test_reliability_is_counted_over_the_nuclei_table(pairs):
    bins = evaluate(pairs, bootstrap=0).reliability
    tables = [nuclei_table(p) for p in pairs]
    confidence = np.concatenate([t["confidence"].to_numpy() for t in tables])
    same = np.concatenate([(t["class"] == t["predicted_class"]).to_numpy() for t in tables])
    known = np.concatenate([(t["class"] != "Unclassified").to_numpy() for t in tables]) & ~np.isnan(confidence)
    assert sum(b.nuclei for b in bins) == known.sum() > 0
    for b in bins:
        low = np.floor(b.said * 10) / 10
        here = known & (confidence >= low) & (confidence < low + 0.1)
        assert b.right == pytest.approx(same[here].mean())
        assert b.nuclei == here.sum()


def test_confusion_cells_are_rows_of_the_nuclei_table(pairs):
    for pair in pairs:
        confusion, table = evaluate(pair, bootstrap=0).confusion, nuclei_table(pair)
        for row, counts in zip(confusion.rows, confusion.counts, strict=True):
            for column, n in zip(confusion.columns, counts, strict=True):
                cell = table[(table["class"] == row) & (table["predicted_class"] == column)]
                assert len(cell) == n
        assert len(table) == sum(map(sum, confusion.counts))
        spurious = table[table["class"] == "Spurious"]
        assert spurious["truth_id"].isna().all()
        assert 90 in spurious["prediction_id"].tolist()
        found = table[table["truth_id"] == 7].iloc[0]
        ys, xs = np.nonzero(pair.truth == 7)
        assert (found["y"], found["x"]) == pytest.approx((ys.mean(), xs.mean()))
        assert (found["y0"], found["x1"]) == (ys.min(), xs.max() + 1)


def test_detection_pairs_are_as_many_as_possible():
    one = np.array([[0.0, 0.0], [0.0, 10.0], [50.0, 50.0]])
    other = np.array([[0.0, 5.0], [0.0, 16.0], [90.0, 90.0]])
    assert count_pairs(one, other, 12) == 2  # greedy by distance finds two only where the first choice allows it
    assert count_pairs(one, other[:0], 12) == 0
    assert count_pairs(one, other + 500, 12) == 0
    assert detection_radius_px(0.25) == 12
    assert detection_radius_px(None) == 12
    assert detection_radius_px(0.5) == 6


def test_detection_counts_do_not_count_discounted_predictions(tissue):
    truth, _ = tissue
    prediction, ignore = truth.copy(), np.zeros(truth.shape, bool)
    prediction[22:30, 22:30] = 99
    ignore[20:32, 20:32] = True
    matching = match_instances(truth, prediction, ignore=ignore, ambiguous="discount")
    assert detection_counts(matching) == (36, 0, 0)


def test_difference_map_pixel_by_pixel(tissue):
    assert list(DIFFERENCE_VALUES) == list(DIFFERENCE_COLORS)
    truth, classes = tissue
    prediction, guessed = truth.copy(), dict(classes)
    prediction[truth == 1] = 0  # missed
    prediction[24:29, 24:29] = 99  # spurious
    guessed[99], guessed[2] = 1, 4  # wrong class
    grown = np.zeros_like(truth, bool)
    grown[13 - 9 : 13 + 10, 65 - 9 : 65 + 12] = True
    prediction[grown & (prediction == 0)] = 3  # edge too far out
    found = find_errors(truth, prediction, classes, guessed)
    result = difference_map(truth, prediction, found)
    value = DIFFERENCE_VALUES
    assert result.dtype == np.uint8
    assert (result[truth == 1] == value["missed"]).all()
    assert (result[prediction == 99] == value["spurious"]).all()
    assert (result[truth == 2] == value["wrong class"]).all()
    assert (result[truth == 3] == value["right"]).all()
    assert (result[(prediction == 3) & (truth == 0)] == value["loose edge"]).all()
    assert (result[(truth > 3) & (truth < 37)] == value["right"]).all()
    assert (result[(truth == 0) & (prediction == 0)] == 0).all()
    ignore = np.zeros(truth.shape, bool)
    ignore[:30] = True
    assert not difference_map(truth, prediction, found, ignore=ignore)[:30].any()


def test_difference_map_of_splits_and_merges(tissue):
    truth, classes = tissue
    prediction = truth.copy()
    prediction[:, 13][truth[:, 13] == 1] = 0
    prediction[(truth == 1) & (np.arange(156) > 13)] = 50  # split in two
    prediction[truth == 3] = 2  # merged with its neighbour
    found = find_errors(truth, prediction, classes, {**classes, 50: 1})
    result = difference_map(truth, prediction, found)
    seen = {k: set(np.unique(result[truth == k]).tolist()) for k in (1, 2, 3)}
    assert seen[1] == {DIFFERENCE_VALUES[n] for n in ("right", "spurious", "loose edge")}
    assert seen[2] | seen[3] == {DIFFERENCE_VALUES[n] for n in ("right", "missed")}


def test_guard_lists_what_is_fixed_and_newly_broken(tissue):
    truth, classes = tissue

    def predicted(crop, patient, *, gone=(), wrong=(), extra=()):
        maps = np.where(np.isin(truth, gone), 0, truth)
        guessed = {i: (c % 4 + 1 if i in wrong else c) for i, c in classes.items()}
        for k, y in enumerate(extra):
            maps[y : y + 4, 24:28] = 100 + k
            guessed[100 + k] = 4
        return CropPair(crop, patient, truth, classes, maps, guessed)

    before = [predicted(f"c{k}", f"p{k}", gone=(1, 2, 5, 9), wrong=(6,), extra=(24, 50)) for k in range(6)]
    after = [predicted(f"c{k}", f"p{k}", gone=(3,), wrong=(6, 7), extra=(50, 76)) for k in range(6)]
    guard = compare_predictions(before, after, bootstrap=200)
    one = [c for c in guard.changes if c.crop == "c0"]
    assert {c.truth_id for c in one if c.kind is ChangeKind.FIXED} == {1, 2, 5, 9}
    assert {c.truth_id for c in one if c.kind is ChangeKind.BROKEN} == {3, 7}
    assert [c.box[0] for c in one if c.kind is ChangeKind.SPURIOUS_GONE] == [24]
    assert [c.box[0] for c in one if c.kind is ChangeKind.SPURIOUS_NEW] == [76]
    broken = next(c for c in one if c.truth_id == 7)
    assert (broken.before, broken.after, broken.nucleus_class.label) == ("Neutrophil", "Macrophage", "Neutrophil")
    assert next(c for c in one if c.truth_id == 3).after == "Missed"
    assert guard.by_class["Epithelial"].fixed == 6 * 3
    assert guard.by_class["Macrophage"].spurious_new == 6
    assert guard.verdict == "better"
    assert guard.interval.low > 0
    assert guard.interval.n == guard.patients == guard.by_class["Neutrophil"].interval.n == 6
    assert "n = 6 patients" in guard.reason
    assert compare_predictions(after, before, bootstrap=200).verdict == "worse"
    same = compare_predictions(before, before, bootstrap=200)
    assert (same.verdict, same.changes) == ("no clear difference", ())
    few = compare_predictions(before[:5], after[:5])
    assert (few.verdict, few.interval, few.by_class["Epithelial"].interval) == ("too few patients to tell", None, None)
    assert "n = 5 patients, and a verdict needs 6 or more" in few.reason


def test_guard_refuses_other_crops(pairs):
    with pytest.raises(ShapeError, match="c0 stands against c1"):
        compare_predictions(pairs[:1], pairs[1:2])
    with pytest.raises(ShapeError, match="against nothing"):
        compare_predictions(pairs[:2], pairs[:1])
    with pytest.raises(MonusacError, match="no crop"):
        compare_predictions([], [])
    assert math.isclose(compare_predictions(pairs, pairs, bootstrap=10).pq_before, evaluate(pairs, bootstrap=0).pq)
