from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.review.build import NucleusUncertainties, error_items, uncertain_items
from napari_monusac.review.queue import QueueFilter, QueueState, ReviewItem, ReviewQueue
from napari_monusac.scoring.errors.finding import Finding, FindingType


def item(k: int, uncertainty: float, **values) -> ReviewItem:
    facts = {
        "type": FindingType.MISSED,
        "truth_ids": (k,),
        "truth_id": k,
        "size_px": float(k),
        "centre": (1.0, float(-k)),
        "box": (0, 0, 2, 2),
        "crop": f"c{k % 2}",
        "patient": f"p{k % 2}",
        **values,
    }
    return ReviewItem(kind="error", finding=Finding(**facts), uncertainty=uncertainty)


@pytest.fixture
def items():
    return [
        item(1, 0.2, truth_class=NucleusClass.NEUTROPHIL),
        item(2, 0.9, type=FindingType.WRONG_CLASS, truth_class=1, predicted_class=2, confidence=0.3),
        item(3, 0.5, type=FindingType.SPURIOUS, predicted_class=2, confidence=0.8),
        item(4, 0.7, type=FindingType.SPLIT, truth_class=4, predicted_class=4, confidence=0.6),
    ]


def keys(queue):
    return [i.finding.truth_id for i in queue.shown]


def test_most_uncertain_first_and_other_orders(items):
    queue = ReviewQueue(items)
    assert keys(queue) == [2, 4, 3, 1]
    assert queue.current.finding.truth_id == 2
    queue.set_order("size")
    assert keys(queue) == [4, 3, 2, 1]
    queue.set_order("crop")
    assert keys(queue) == [4, 2, 3, 1]


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (QueueFilter(types={"wrong class", "split"}), [2, 4]),
        (QueueFilter(classes={2}), [2, 3]),
        (QueueFilter(classes={3}), [1]),
        (QueueFilter(patients={"p0"}), [2, 4]),
        (QueueFilter(crops={"c1"}), [3, 1]),
        (QueueFilter(highest_confidence=0.6), [2, 4]),
        (QueueFilter(lowest_confidence=0.5), [4, 3]),
        (QueueFilter(kinds={"uncertain"}), []),
        (QueueFilter(), [2, 4, 3, 1]),
    ],
)
def test_filters(items, wanted, left):
    queue = ReviewQueue(items)
    queue.set_filter(wanted)
    assert keys(queue) == left
    assert (queue.current is None) == (not left)
    assert len(queue.table()) == len(left)


def test_stepping_wraps_and_next_open_skips_what_is_done(items):
    queue = ReviewQueue(items)
    assert queue.step(-1).finding.truth_id == 1
    assert queue.step().finding.truth_id == 2
    queue.mark(queue.shown[1].key)
    assert queue.next_open().finding.truth_id == 3
    for i in items:
        queue.mark(i.key)
    assert queue.next_open() is None
    assert queue.progress == (4, 4)
    queue.mark(items[0].key, done=False)
    assert queue.progress == (3, 4)
    with pytest.raises(SessionError, match="not in the queue"):
        queue.go_to("elsewhere")


def test_with_open_items_only_the_next_one_becomes_current(items):
    queue = ReviewQueue(items)
    queue.set_filter(QueueFilter(open_only=True))
    queue.mark(queue.current.key)
    assert keys(queue) == [4, 3, 1]
    assert queue.current.finding.truth_id == 4
    queue.go_to(queue.shown[-1].key)
    queue.mark(queue.current.key)
    assert queue.current.finding.truth_id == 3


def test_progress_is_kept_and_a_second_reader_begins_blind(items, tmp_path):
    folder = tmp_path / "monusac-review"
    queue = ReviewQueue(items, folder, "A")
    queue.save_items()
    queue.set_filter(QueueFilter(types={"missed", "split"}))
    queue.mark(items[3].key)
    queue.go_to(items[0].key)
    again = ReviewQueue.open(folder, "A")
    assert again.state == queue.state
    assert again.current.key == items[0].key
    assert keys(again) == keys(queue)
    second = ReviewQueue.open(folder, "B")
    assert second.progress == (0, 4)
    assert keys(second) == [2, 4, 3, 1]
    assert second.current.finding.truth_id == 2


def test_marks_hold_for_the_prediction_that_they_were_made_in(items, tmp_path):
    """The folder is predicted anew: items of the same key are other nuclei, those of the same prediction stay done."""

    def counted(of):
        return [
            i.model_copy(update={"finding": i.finding.model_copy(update={"counted_in": of.get(k, "")})})
            for k, i in enumerate(items)
        ]

    queue = ReviewQueue(counted({0: "old", 1: "same"}), tmp_path, "A")
    first, second, third = (i.key for i in items[:3])
    for key in (first, second, third):
        queue.mark(key)
    again = ReviewQueue(counted({0: "new", 1: "same", 2: "new"}), tmp_path, "A")
    assert [again.is_done(k) for k in (first, second, third)] == [False, True, True]
    again.mark(first)
    assert ReviewQueue(counted({0: "new"}), tmp_path, "A").is_done(first)
    assert not ReviewQueue(counted({0: "old"}), tmp_path, "A").is_done(first)
    # progress of earlier versions says of no mark where it was made
    state = again.state.model_dump(mode="json")
    del state["done_in"]
    again.state_file.write_text(json.dumps(state))
    assert ReviewQueue(counted({0: "other"}), tmp_path, "A").is_done(first)


def test_damaged_and_missing_files(items, tmp_path):
    with pytest.raises(SessionError, match="there is no queue"):
        ReviewQueue.open(tmp_path, "A")
    queue = ReviewQueue(items, tmp_path, "A")
    queue.save_items()
    queue.step()
    queue.state_file.write_text("{")
    with pytest.raises(SessionError, match="progress cannot be read"):
        ReviewQueue.open(tmp_path, "A")
    (tmp_path / "queue.json").write_text('{"items": 3}')
    with pytest.raises(SessionError, match="is no queue"):
        ReviewQueue.open(tmp_path, "C")
    with pytest.raises(SessionError, match="no folder"):
        ReviewQueue(items).save_items()


def test_an_empty_queue_says_so():
    queue = ReviewQueue([])
    assert queue.current is None
    assert queue.step() is None
    assert queue.next_open() is None
    assert queue.progress == (0, 0)


TABLE = pd.DataFrame(
    {
        "label": [1, 2, 3, 4],
        "class_id": [1, 2, 1, 3],
        "confidence": [0.95, 0.9, 0.97, 0.96],
        "uncertainty": [0.02, 0.6, 0.05, 0.1],
        "p_epithelial": [0.9, 0.2, 0.8, 0.1],
        "p_lymphocyte": [0.1, 0.7, 0.0, 0.2],
        "p_neutrophil": [0.0, 0.1, 0.0, 0.7],
        "p_macrophage": [0.0, 0.0, 0.2, 0.0],
    }
)


def test_uncertain_nuclei_without_truth_and_the_rare_class_lens():
    instances = np.zeros((8, 40), np.int32)
    for k in range(1, 5):
        instances[2:6, 9 * k - 6 : 9 * k - 2] = k
    found = uncertain_items(instances, TABLE, crop="c", patient="p", um_per_px=0.5)
    assert [i.finding.prediction_id for i in found] == [2, 3]  # 2 for its uncertainty, 3 for its second choice
    assert found[0].kind == "uncertain"
    assert found[0].finding.box == (2, 12, 6, 16)
    assert (found[0].finding.size_px, found[0].finding.size_um2) == (16, 4)
    queue = ReviewQueue(found)
    queue.set_filter(QueueFilter(rare_second_choice=True))
    assert [i.finding.prediction_id for i in queue.shown] == [3]
    assert queue.shown[0].second_class is NucleusClass.MACROPHAGE
    assert queue.shown[0].second_probability == pytest.approx(0.2)
    assert not uncertain_items(instances, TABLE, leave_out=[2, 3])


def test_errors_take_the_uncertainty_of_their_prediction():
    facts = {"size_px": 1, "centre": (0, 0), "box": (0, 0, 1, 1)}
    missed = Finding(type="missed", truth_ids=(1,), **facts)
    split = Finding(type="split", truth_ids=(2,), prediction_ids=(1, 2), confidence=0.95, **facts)
    other = Finding(type="spurious", prediction_ids=(9,), confidence=0.75, **facts)
    found = error_items([missed, split, other], TABLE)
    assert [i.uncertainty for i in found] == pytest.approx([0.5, 0.6, 0.25])
    assert error_items([other])[0].uncertainty == pytest.approx(0.25)


def test_a_queue_of_before_is_read():
    """Older queues say doubt and doubtful."""
    known = item(1, 0.4)
    old = known.model_dump(mode="json")
    old["doubt"] = old.pop("uncertainty")
    old["kind"] = "doubtful"
    assert ReviewItem.model_validate(old) == known.model_copy(update={"kind": "uncertain"})
    state = QueueState.model_validate({"order": "doubt", "filter": {"kinds": ["doubtful", "error"]}})
    assert (state.order, state.filter.kinds) == ("uncertainty", {"uncertain", "error"})
    table = pd.DataFrame({"label": [1], "doubt": [0.7], "confidence": [0.9]})
    assert (
        NucleusUncertainties(table).item(known.finding.model_copy(update={"prediction_ids": (1,)})).uncertainty == 0.7
    )
