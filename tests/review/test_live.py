"""The pair of the open crop, made of labels as they are edited and a prediction in memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_monusac.core.prediction import Nuclei, Prediction
from napari_monusac.core.training_crops import SeenAs, SeenCrop, TrainingCrops
from napari_monusac.editing.commands import Delete
from napari_monusac.editing.session import EditingSession
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.predictions.identity import nuclei_digest
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.review.comparison import compare, difference_counts, maps_of, uncertainty_of
from napari_monusac.review.live import LiveTruth, common_part, live_pair, seen_by_model, truth_of_file
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.synth import write_collection


def prediction_of(instances, classes, offset_px=(0, 0), **about):
    semantic = np.zeros((5, *instances.shape), np.float32)
    for label, number in classes.items():
        semantic[number][instances == label] = 1
    semantic[0][instances == 0] = 1
    ternary = np.stack([instances == 0, instances > 0, instances < 0]).astype(np.float32)
    table = pd.DataFrame({"label": list(classes), "class_id": list(classes.values()), "confidence": 0.75})
    return (
        Prediction(semantic, ternary, um_per_px=0.25, offset_px=offset_px, **about),
        Nuclei(instances.astype(np.int32), table, 0.25, offset_px),
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_common_part_is_what_both_maps_cover(seed):
    rng = np.random.default_rng(seed)
    (y, x, h, w), (b, a, k, m) = rng.integers(1, 40, 4), rng.integers(1, 40, 4)
    image = np.arange(100 * 100).reshape(100, 100)
    first, second = image[y : y + h, x : x + w], image[b : b + k, a : a + m]
    part, mine, theirs = common_part((y, x), (h, w), (b, a), (k, m))
    assert np.array_equal(image[part], first[mine])
    assert np.array_equal(image[part], second[theirs])
    assert set(image[part].ravel()) == set(first.ravel()) & set(second.ravel())


def test_labels_are_those_of_the_session_and_stay_as_they_were_taken(tmp_path):
    write_collection(tmp_path, 1, 1, seed=1, shape=(64, 64), test_patients=0)
    collection = open_collection(tmp_path)
    (crop,) = collection.crops
    annotation = collection.annotation(crop)
    session = EditingSession(annotation, (64, 64))
    truth = LiveTruth.of(session)
    expected = label_maps(annotation, (64, 64)).instances
    assert np.array_equal(truth.instances, expected)
    assert truth.classes == {
        k: int(n.nucleus_class) for k, n in enumerate(annotation.nuclei, 1) if (expected == k).any()
    }
    gone = next(iter(truth.classes))
    session.do(Delete([gone]))
    assert (truth.instances == gone).any(), "an edit while a worker compares changes nothing of what it reads"
    assert gone not in LiveTruth.of(session).classes
    read = truth_of_file(collection, crop)
    assert np.array_equal(read.instances, expected)
    assert read.offset_px == (0, 0)


def test_a_region_of_a_slide_is_compared_where_the_prediction_lies():
    instances = np.zeros((40, 50), np.int32)
    instances[10:20, 10:20], instances[25:35, 30:40] = 1, 2
    ambiguous = np.zeros_like(instances)
    ambiguous[0:5, 0:5] = 7
    # the image that is shown begins at (100, 200) of its slide, the labels at (110, 220): at (10, 20) of the image
    truth = LiveTruth(instances, ambiguous, {1: 1, 2: 2}, (10, 20), (100, 200))
    predicted = np.zeros((30, 30), np.int32)
    predicted[5:15, 0:10] = 4  # at (25, 40) of the image: there the labels have background
    latest = prediction_of(predicted, {4: 3}, (20, 40), fingerprint="recipe", checkpoint="somewhere")
    pair = live_pair(truth, *latest, crop="a_1", patient="a")
    assert pair.offset_px == (20, 40)
    assert np.array_equal(pair.truth, instances[10:40, 20:50])
    assert np.array_equal(pair.prediction, predicted)
    assert pair.prediction_classes == {4: 3}
    assert pair.confidence == {4: 0.75}
    assert pair.ignore is None, "the Ambiguous region lies outside"
    assert (pair.fingerprint, pair.checkpoint, pair.um_per_px) == ("recipe", "somewhere", 0.25)
    assert pair.nuclei == nuclei_digest(predicted)
    assert np.array_equal(pair.semantic == 3, predicted == 4)

    class Slide:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def read(self, *asked):
            self.asked = asked
            return np.zeros((asked[2], asked[3], 4), np.uint8)

    slide = Slide()
    assert live_pair(truth, *latest, slide=lambda: slide).pixels().shape == (30, 30, 3)
    assert slide.asked == (120, 240, 30, 30), "in px of the slide"


def test_what_the_crop_is_to_the_model_that_predicted_it(tmp_path):
    write_collection(tmp_path, 1, 2, seed=1, shape=(64, 64), test_patients=0)
    first, second = open_collection(tmp_path).crops
    empty = np.zeros((4, 4), np.int32)
    known = TrainingCrops(training=(SeenCrop(first.name, first.patient, ""),))
    trained, _ = prediction_of(empty, {}, trained_on=known, checkpoint="best.safetensors")
    assert [seen_by_model(trained, None, c) for c in (first, second)] == [SeenAs.TRAINING, SeenAs.SAME_PATIENT]
    assert seen_by_model(trained, open_collection(tmp_path), first) is SeenAs.TRAINING
    nowhere, _ = prediction_of(empty, {}, checkpoint="nowhere/best.safetensors")
    assert seen_by_model(nowhere, None, first) is SeenAs.UNKNOWN
    assert seen_by_model(prediction_of(empty, {})[0], None, first) is SeenAs.NOT_ASKED
    nuclei = np.zeros((40, 40), np.int32)
    nuclei[5:20, 5:20] = 1
    found = compare(CropPair("a_1", "a", nuclei, {1: 1}, nuclei, {1: 1}, seen_as=SeenAs.TRAINING), [])
    assert found.evaluation.pq == 1.0
    assert found.evaluation.notes == ("the model was trained on this crop: the scores are too good",)


def test_maps_that_are_compared():
    from napari_monusac.masks.ternary import ternary_map

    truth, predicted = np.zeros((40, 60), np.int32), np.zeros((40, 60), np.int32)
    truth[5:15, 5:15] = predicted[5:15, 5:15] = 1
    predicted[predicted == 1] = 30  # the same nucleus under another number
    truth[20:30, 5:15] = 2  # missed
    predicted[20:30, 40:50] = 31  # spurious
    pair = CropPair("a_1", "a", truth, {1: 1, 2: 2}, predicted, {30: 1, 31: 4}, confidence={30: 0.9, 31: 0.25})
    found = compare(pair, [], 5)
    semantic, theirs = maps_of(found, "semantic")
    assert np.array_equal(semantic, np.choose(truth, [0, 1, 2]))
    assert np.array_equal(theirs, np.select([predicted == 30, predicted == 31], [1, 4]))
    assert np.array_equal(maps_of(found, "ternary")[0], ternary_map(truth, 5)), "as wide as the model has it"
    mine, theirs = maps_of(found, "nuclei")
    assert np.array_equal(mine[truth == 1], theirs[predicted == 30]), "matched nuclei have one number"
    assert ((mine > 0) == (truth > 0)).all()
    counts = difference_counts(found)
    assert (counts["right"], counts["missed"], counts["spurious"]) == (1, 1, 1)
    unsure = uncertainty_of(found, None)
    assert unsure[predicted == 31] == pytest.approx(0.75)
    assert unsure[predicted == 30] == pytest.approx(0.1)
    assert not unsure[predicted == 0].any()
