"""The model's outline at a point, with a network that the test can foresee: stain is nucleus. No window."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.app.answers import Refused
from napari_monusac.app.editing import Editing
from napari_monusac.app.outlining import AROUND_PX, CELL_PX, Outliner, tile_of
from napari_monusac.app.prediction import PredictionModel, Thresholds, nuclei_of
from napari_monusac.app.training import TrainingModel
from napari_monusac.app.work import Work
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.core.prediction import Prediction
from napari_monusac.editing.session import EditingSession

SHAPE = (400, 500)
#: centre and radius of the nuclei in the picture, (y, x) px.
DISCS = ((60, 70, 12), (130, 125, 10), (300, 400, 14))


def disc(cy, cx, r, shape=SHAPE):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - cy) ** 2 + (x - cx) ** 2 <= r * r


def whole(place):
    """The nucleus at a place as it is outlined where the whole image is predicted at once."""
    prediction = Network()(Level(), None, um_per_px=0.25, region=(0, 0, *SHAPE))
    instances = nuclei_of(prediction, Thresholds().values(0.25)).instances
    mask = instances == instances[place[:2]]
    assert (mask & disc(*place)).sum() / (mask | disc(*place)).sum() > 0.97
    return mask


class Level:
    """An image that notes what is read of it."""

    def __init__(self):
        self.pixels = np.full((*SHAPE, 3), 230, np.uint8)
        for place in DISCS:
            self.pixels[disc(*place)] = (90, 60, 150)
        self.shape, self.read = self.pixels.shape, []

    def __getitem__(self, key):
        self.read.append(key)
        return self.pixels[key]


class Network:
    """Stands for `predict`: dark is inside a lymphocyte."""

    def __init__(self):
        self.regions = []

    def __call__(self, level, loaded, *, um_per_px, region, **_):
        y, x, height, width = region
        self.regions.append(region)
        dark = (level[y : y + height, x : x + width][..., 0] < 150).astype(np.float32)
        semantic, ternary = np.zeros((5, *dark.shape), np.float32), np.zeros((3, *dark.shape), np.float32)
        semantic[0], semantic[2], ternary[0], ternary[1] = 1 - dark, dark, 1 - dark, 0.9 * dark
        return Prediction(semantic, ternary, um_per_px=um_per_px, offset_px=(y, x))


@pytest.fixture
def network(monkeypatch):
    import napari_monusac.infer.predict as place

    made = Network()
    monkeypatch.setattr(place, "predict", made)
    return made


@pytest.fixture
def bench(tmp_path):
    work = Work()
    training = TrainingModel(work)
    prediction = PredictionModel(work, training)
    training.runs_folder = tmp_path / "runs"
    work.wait()
    editing = Editing(work)
    editing.take(EditingSession(Annotation((), um_per_px=0.25), SHAPE, author="anna"))
    heard = []
    editing.said.connect(lambda *line: heard.append(line))
    return work, editing, prediction, Outliner(work, editing, prediction), heard


def ready(prediction):
    prediction.offer("/a/model.safetensors")
    loaded = object()
    prediction.load = lambda _: loaded


def test_without_a_model_it_says_so(bench):
    _, editing, _, outliner, _ = bench
    answer = outliner.outline((60, 70), Level(), (0, 0))
    assert isinstance(answer, Refused)
    assert "no model" in answer.why
    editing.leave()
    assert outliner.outline((60, 70), Level(), (0, 0)) == Refused("Open a crop first (Slides).")


def test_the_nucleus_at_the_click_comes_in_and_nothing_else_is_predicted(bench, network):
    work, editing, prediction, outliner, heard = bench
    ready(prediction)
    level = Level()
    assert outliner.outline((64.2, 72.0), level, (0, 0), image="a.tif")
    work.wait()
    (row,) = editing.session.rows.values()
    assert np.array_equal(editing.session.maps.instances == row.id, whole(DISCS[0]))
    assert (row.class_name, row.provenance, row.confidence) == ("Lymphocyte", "model", pytest.approx(0.9, abs=0.1))
    assert network.regions == [(0, 0, CELL_PX + AROUND_PX, CELL_PX + AROUND_PX)]
    # the same tile is not predicted twice; a nucleus across the cell's edge is whole
    assert outliner.outline((126.0, 126.0), level, (0, 0), image="a.tif")
    work.wait()
    assert len(network.regions) == 1
    assert np.array_equal(editing.session.maps.instances == 2, whole(DISCS[1]))
    # the same place once more: it is there already
    before = editing.session.history.state
    assert outliner.outline((60.0, 70.0), level, (0, 0), image="a.tif")
    work.wait()
    assert editing.session.history.state == before
    assert heard[-1][1] == "warning"
    assert outliner.outline((20.0, 20.0), level, (0, 0), image="a.tif")
    work.wait()
    assert heard[-1] == ("The model sees no nucleus here.", "hint")
    editing.session.undo()
    editing.session.undo()
    assert not editing.session.rows


def test_another_model_threshold_or_image_is_predicted_anew(bench, network):
    work, _, prediction, outliner, _ = bench
    ready(prediction)

    def look(image="a.tif"):
        outliner.outline((20.0, 20.0), Level(), (0, 0), image=image)
        work.wait()
        return len(network.regions)

    assert [look(), look(), look("b.tif"), look("b.tif")] == [1, 1, 2, 2]
    prediction.thresholds = Thresholds(inside=0.7)
    assert [look("b.tif"), look("b.tif")] == [3, 3]
    ready(prediction)  # trained on: the file is another
    assert [look("b.tif"), look("b.tif")] == [4, 4]


def test_in_a_region_of_a_slide_pixels_are_those_of_the_slide_and_the_edge_cuts(bench, network):
    work, editing, prediction, outliner, _ = bench
    ready(prediction)
    editing.take(EditingSession(Annotation((), um_per_px=0.25), (60, 100), offset_px=(300, 380)))
    assert outliner.outline((5.0, 20.0), Level(), (300, 380), image="a.tif")
    work.wait()
    assert network.regions == [(256 - AROUND_PX, 384 - AROUND_PX, 400 - 256 + AROUND_PX, 500 - 384 + AROUND_PX)]
    assert np.array_equal(editing.session.maps.instances > 0, whole(DISCS[2])[300:360, 380:480])


def test_in_place_takes_what_is_there_away(bench, network):
    work, editing, prediction, outliner, _ = bench
    ready(prediction)
    square = Nucleus(np.array([(50, 60), (50, 80), (70, 80), (70, 60)], float), "Epithelial", 0)
    editing.take(EditingSession(Annotation((square,), um_per_px=0.25), SHAPE))
    assert outliner.outline((60.0, 70.0), Level(), (0, 0), in_place=True)
    work.wait()
    (row,) = editing.session.rows.values()
    assert row.class_name == "Lymphocyte"
    assert np.array_equal(editing.session.maps.instances > 0, whole(DISCS[0]))


def test_another_crop_that_is_open_meanwhile_is_left_alone(bench, network):
    work, editing, prediction, outliner, _ = bench
    ready(prediction)
    outliner.outline((60.0, 70.0), Level(), (0, 0))
    editing.leave()
    other = EditingSession(Annotation((), um_per_px=0.25), SHAPE)
    editing.take(other)
    work.wait()
    assert not other.rows


@pytest.mark.parametrize("at", [(0, 0), (130, 130), (399, 499), (255.9, 256.2), (-3, 600)])
def test_a_tile_holds_its_point_lies_in_the_image_and_reaches_beyond(at):
    y, x, height, width = tile_of(at, SHAPE)
    assert y >= 0
    assert x >= 0
    assert y + height <= SHAPE[0]
    assert x + width <= SHAPE[1]
    inside = np.clip(at, 0, np.subtract(SHAPE, 1))
    for low, size, position, limit in zip((y, x), (height, width), inside, SHAPE, strict=True):
        assert low == 0 or position - low >= AROUND_PX - 1 or low + size == limit
        assert low + size == limit or low + size - position >= AROUND_PX


@pytest.mark.torch
def test_with_a_real_network_the_tile_is_what_predict_gives(bench, example_run, example_data):
    from napari_monusac import open_collection
    from napari_monusac.infer.predict import predict
    from napari_monusac.network.checkpoint import load_checkpoint

    work, editing, prediction, outliner, heard = bench
    crop = open_collection(example_data).labelled[0]
    with (
        crop.collection.open(crop) if hasattr(crop, "collection") else open_collection(example_data).open(crop) as slide
    ):
        pixels = slide.read(0, 0, *slide.shape)
    editing.take(EditingSession(Annotation((), um_per_px=0.25), pixels.shape[:2]))
    prediction.offer(example_run)
    shown = predict(
        pixels, load_checkpoint(example_run), um_per_px=0.25, region=tile_of((10, 10), pixels.shape[:2]),
        precision="float32", skip_glass=False,
    )  # fmt: skip
    nuclei = nuclei_of(shown, Thresholds().values(0.25))
    assert outliner.outline((10.0, 10.0), pixels, (0, 0))
    work.wait(120)
    label = int(nuclei.instances[10, 10])
    expected = nuclei.instances == label if label else np.zeros_like(nuclei.instances, bool)
    drawn = editing.session.maps.instances[: expected.shape[0], : expected.shape[1]] > 0
    assert np.array_equal(drawn, expected)
    assert label or heard[-1][0] == "The model sees no nucleus here."
