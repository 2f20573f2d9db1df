"""The door to stored predictions: any form, at the crop's scale and place; what does not fit is told in one line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.io import savemat
from skimage.draw import polygon2mask
from skimage.measure import regionprops

from napari_monusac import MonusacError, Nucleus, NucleusClass, read_prediction, ternary_map, write_annotation
from napari_monusac.core.errors import FileProblem, StoreError
from napari_monusac.core.nuclei import Annotation
from napari_monusac.core.prediction import Prediction
from napari_monusac.io.predictions.identity import ArrayPixels, ImageIdentity, nuclei_digest
from napari_monusac.io.predictions.open import open_prediction
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.rescale import ImageFrame
from napari_monusac.io.predictions.store import write_prediction
from napari_monusac.io.predictions.store_info import PredictionIdentity


def read(path, shape, um_per_px=None, part=None):
    return open_prediction(path, shape=shape, um_per_px=um_per_px, part=part)


def two_nuclei(shape):
    """A wide one of 40 x 20 px and a small one of 10 x 10 px, numbered 2 and 5."""
    labels = np.zeros(shape, np.int32)
    labels[10:50, 30:50] = 2
    labels[60:70, 60:70] = 5
    return labels


def stored(path, labels, *, um=0.25, offset=(0, 0), nuclei=True, checkpoint="runs/run-8/best.safetensors"):
    semantic, ternary = np.zeros((5, *labels.shape), np.float32), np.zeros((3, *labels.shape), np.float32)
    semantic[1], semantic[2], semantic[0] = labels == 2, labels == 5, labels == 0
    ternary[1], ternary[0] = labels > 0, labels == 0
    table = pd.DataFrame(
        {
            "label": [2, 5], "class": ["Epithelial", "Lymphocyte"], "class_id": [1, 2], "confidence": [0.9, 0.4],
            "centroid_y": [29.5, 64.5], "centroid_x": [39.5, 64.5], "area_px": [800, 100], "area_um2": [50.0, 6.25],
        }
    )  # fmt: skip
    extra = {"instances": labels, "table": table} if nuclei else {}
    write_prediction(Prediction(semantic, ternary, um, offset, checkpoint=checkpoint), path, **extra)
    return path


def boxes(nuclei):
    found = {}
    for k, name in zip(nuclei.table["label"], nuclei.table["class"], strict=True):
        y, x = np.nonzero(nuclei.instances == k)
        found[name] = (int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 1)
    return found


def test_the_same_scale_and_place(tmp_path):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)))
    found = read(path, (100, 90), 0.25)
    prediction, nuclei = found.maps, found.nuclei
    assert boxes(nuclei) == {"Epithelial": (10, 30, 50, 50), "Lymphocyte": (60, 60, 70, 70)}
    assert nuclei.table["label"].tolist() == [2, 5], "the numbers of the file: findings are told by them"
    assert (nuclei.class_map == prediction.semantic_map).all()
    assert prediction.offset_px == nuclei.offset_px == (0, 0)


@pytest.mark.parametrize(("um", "factor"), [(0.5, 2.0), (0.125, 0.5), (0.375, 1.5)])
def test_another_scale_lands_on_the_same_micrometres(tmp_path, um, factor):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)), um=um)
    shape = round(100 * factor), round(90 * factor)
    found = read(path, shape, 0.25)
    prediction, nuclei = found.maps, found.nuclei
    assert prediction.shape == nuclei.instances.shape == shape
    assert prediction.um_per_px == 0.25
    for name, box in {"Epithelial": (10, 30, 50, 50), "Lymphocyte": (60, 60, 70, 70)}.items():
        assert boxes(nuclei)[name] == pytest.approx([v * factor for v in box], abs=1)
    assert nuclei.table["area_um2"].tolist() == pytest.approx([800 * um**2, 100 * um**2], rel=0.05)
    assert nuclei.table["centroid_y"].tolist() == pytest.approx([30 * factor - 0.5, 65 * factor - 0.5], abs=0.5)
    assert nuclei.table["confidence"].tolist() == [0.9, 0.4]


def test_a_region_predicted_at_another_scale_lands_where_it_was_predicted(tmp_path):
    """A store that knows how its maps lie: 100 x 90 px of the maps are 200 x 180 px of the slide from (500, 301)."""
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)), um=0.5, offset=(250, 150))
    store = PredictionStore.open(path, "r+")
    frame = ImageFrame(shape=(200, 180), offset_px=(500, 301), um_per_px=0.25, factor=0.5)
    store.update(store.info.model_copy(update={"frame": frame}))
    found = read(path, (5000, 6000), 0.25)
    prediction, nuclei = found.maps, found.nuclei
    assert prediction.offset_px == nuclei.offset_px == (500, 301)
    assert boxes(nuclei) == {"Epithelial": (20, 60, 100, 100), "Lymphocyte": (120, 120, 140, 140)}
    found = read(path, (5000, 6000), 0.25, part=(540, 300, 1000, 90))
    prediction, part = found.maps, found.nuclei
    assert part.offset_px == (540, 301)
    np.testing.assert_array_equal(part.instances > 0, (nuclei.instances > 0)[40:, :89])
    assert part.table["class"].tolist() == ["Epithelial"]
    np.testing.assert_allclose(prediction.semantic, read(path, (5000, 6000)).maps.semantic[:, 40:, :89], atol=1e-6)


def test_resampled_maps_that_end_a_pixel_early_or_late_are_those_of_the_whole_crop(tmp_path):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)), um=0.5)
    for shape in ((199, 181), (201, 179)):
        assert read(path, shape, 0.25).instances.shape == shape


def test_a_region_keeps_its_place_and_a_part_of_it_can_be_read(tmp_path):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)), offset=(1000, 2000))
    found = read(path, (5000, 6000), 0.25)
    prediction, nuclei = found.maps, found.nuclei
    assert prediction.offset_px == nuclei.offset_px == (1000, 2000)
    found = read(path, (5000, 6000), 0.25, part=(1030, 1900, 500, 145))
    prediction, nuclei = found.maps, found.nuclei
    assert prediction.offset_px == (1030, 2000)
    assert nuclei.instances.shape == (70, 45)
    assert boxes(nuclei) == {"Epithelial": (0, 30, 20, 45)}
    assert nuclei.table["label"].tolist() == [2]
    assert nuclei.table[["area_px", "centroid_y", "centroid_x"]].to_numpy().tolist() == [[20 * 15, 9.5, 37.0]]
    with pytest.raises(StoreError, match="another part"):
        read(path, (5000, 6000), 0.25, part=(0, 0, 500, 500))


def test_what_does_not_fit_is_said_in_one_line(tmp_path):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)))
    with pytest.raises(
        StoreError, match=r"does not fit this crop: it covers 100 x 90 px, the crop has 80 x 90"
    ) as told:
        read(path, (80, 90), 0.25)
    assert "\n" not in str(told.value)
    with pytest.raises(StoreError, match=r"each 2\.00 px of the crop"):
        read(stored(tmp_path / "b.zarr", two_nuclei((100, 90)), um=0.5), (100, 90), 0.25)
    with pytest.raises(StoreError, match=r"at \(10, 0\)"):
        read(stored(tmp_path / "c.zarr", two_nuclei((100, 90)), offset=(10, 0)), (100, 90), 0.25)


def test_nuclei_that_were_not_separated_yet_are_separated(tmp_path):
    path = stored(tmp_path / "a.zarr", two_nuclei((100, 90)), nuclei=False)
    nuclei = read(path, (100, 90), 0.25).nuclei
    assert sorted(nuclei.table["class"]) == ["Epithelial", "Lymphocyte"]


def test_a_store_without_a_nucleus_stays_without(tmp_path):
    """Thresholds that left none are an answer: the maps are not separated again."""
    labels = two_nuclei((100, 90))
    path = stored(tmp_path / "a.zarr", labels, nuclei=False)
    store = PredictionStore.open(path, "r+")
    store.create_labels()
    store.take_labels(pd.DataFrame({"label": np.zeros(0, np.int32), "class_id": np.zeros(0, np.uint8)}))
    found = read(path, (100, 90), 0.25)
    assert len(found.nuclei) == 0
    assert not found.instances.any()
    assert found.maps.semantic_map.any()


# ------------------------------------------------------------------ every form

SHAPE = (64, 80)
#: number in the file: (class, confidence, first pixel, size)
NUCLEI = {3: (1, 0.9, (4, 6), (12, 9)), 7: (2, 0.5, (30, 20), (8, 8)), 40: (4, 0.25, (45, 60), (10, 14))}


def instance_map():
    labels = np.zeros(SHAPE, np.int32)
    for k, (_, _, (y, x), (height, width)) in NUCLEI.items():
        labels[y : y + height, x : x + width] = k
    return labels


def semantic_map(labels):
    return np.select([labels == k for k in NUCLEI], [c for c, *_ in NUCLEI.values()], 0).astype(np.uint8)


def as_store(folder):
    labels = instance_map()
    eye5, eye3 = np.eye(5, dtype=np.float32), np.eye(3, dtype=np.float32)
    maps = eye5[semantic_map(labels)].transpose(2, 0, 1), eye3[ternary_map(labels)].transpose(2, 0, 1)
    table = pd.DataFrame(
        [(k, c, sure, y + (h - 1) / 2, x + (w - 1) / 2, h * w) for k, (c, sure, (y, x), (h, w)) in NUCLEI.items()],
        columns=["label", "class_id", "confidence", "centroid_y", "centroid_x", "area_px"],
    )
    return write_prediction(Prediction(*maps, 0.25), folder / "c.zarr", instances=labels, table=table)


def as_label_map_with_table(folder):
    tifffile.imwrite(folder / "c.tif", instance_map().astype(np.uint16))
    rows = [(k, NucleusClass(c).label, sure) for k, (c, sure, *_) in NUCLEI.items()]
    pd.DataFrame(rows, columns=["label", "class", "confidence"]).to_csv(folder / "c.csv", index=False)
    return folder / "c.tif"


def as_label_map_with_semantic_map(folder):
    tifffile.imwrite(folder / "c_instances.tif", instance_map())
    tifffile.imwrite(folder / "c_semantic.tif", semantic_map(instance_map()))
    return folder / "c_instances.tif"


def as_nary_masks(folder):
    labels = instance_map()
    for k, (c, *_) in NUCLEI.items():
        mask = folder / "c" / NucleusClass(c).label / f"{c}_mask.mat"
        mask.parent.mkdir(parents=True)
        savemat(mask, {"n_ary_mask": np.where(labels == k, 5, 0)})
    return folder / "c"


def as_outlines(suffix):
    def write(folder):
        regions = [
            Nucleus(
                np.array([(y, x), (y, x + w - 1), (y + h - 1, x + w - 1), (y + h - 1, x)], float), NucleusClass(c).label,
                confidence=sure,
            )
            for c, sure, (y, x), (h, w) in NUCLEI.values()
        ]  # fmt: skip
        write_annotation(Annotation(tuple(regions), um_per_px=0.25), folder / f"c{suffix}")
        return folder / f"c{suffix}"

    return write


#: form: (how it is written, whether its numbers stay, whether it says how sure it is)
FORMS = {
    "store": (as_store, True, True),
    "label map and table": (as_label_map_with_table, True, True),
    "label map and semantic map": (as_label_map_with_semantic_map, True, False),
    "n-ary masks": (as_nary_masks, False, False),
    "Aperio": (as_outlines(".xml"), False, True),
    "GeoJSON": (as_outlines(".geojson"), False, True),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(tmp_path, form):
    """Against the nuclei that were written, measured by scikit-image."""
    write, numbers_stay, says_how_sure = FORMS[form]
    found = open_prediction(write(tmp_path), shape=SHAPE, um_per_px=0.25)
    labels = instance_map()
    numbers = {k: k if numbers_stay else n for n, k in enumerate(NUCLEI, 1)}
    expected = np.zeros_like(labels)
    for k, n in numbers.items():
        expected[labels == k] = n
    np.testing.assert_array_equal(found.instances, expected)
    assert found.instances.dtype == np.int32
    assert found.classes == {numbers[k]: c for k, (c, *_) in NUCLEI.items()}
    assert found.confidence == ({numbers[k]: sure for k, (_, sure, *_) in NUCLEI.items()} if says_how_sure else {})
    table = found.nuclei.table.set_index("label")
    for region in regionprops(expected):
        row = table.loc[region.label]
        assert (row["area_px"], row["centroid_y"], row["centroid_x"]) == (region.area, *region.centroid)
        assert form == "store" or row["area_um2"] == region.area * 0.25**2
    assert found.counted_in() == nuclei_digest(expected)
    assert found.region == (0, 0, 64, 80)
    assert (found.semantic is None, found.ternary is None, found.boundary_width) == (
        (False, False, 3) if form == "store" else (True, True, None)
    )
    assert found.notes == ()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_a_prediction_with_its_nuclei(tmp_path, form):
    """`read_prediction`: maps of 0 and 1 where the form has none, drawn from the nuclei."""
    prediction = read_prediction(FORMS[form][0](tmp_path), SHAPE)
    labels = instance_map()
    np.testing.assert_array_equal(prediction.semantic.argmax(0), semantic_map(labels))
    np.testing.assert_array_equal(prediction.ternary.argmax(0), ternary_map(labels))
    np.testing.assert_array_equal(prediction.semantic.sum(0), 1)
    np.testing.assert_array_equal(prediction.nuclei.instances > 0, labels > 0)
    np.testing.assert_array_equal(prediction.nuclei.class_map, semantic_map(labels))
    assert len(prediction.nuclei) == 3


@pytest.mark.parametrize("form", [f for f in FORMS if f not in ("Aperio", "GeoJSON")])
def test_maps_of_another_size_are_refused_in_one_line(tmp_path, form):
    path = FORMS[form][0](tmp_path)
    for shape in ((64, 79), (70, 80)):
        with pytest.raises(
            MonusacError, match=rf"{path.name}: does not fit this crop: .*{shape[0]} x {shape[1]}"
        ) as told:
            open_prediction(path, shape=shape)
        assert "\n" not in str(told.value)


def test_a_part_of_a_form_without_maps(tmp_path):
    found = open_prediction(as_label_map_with_table(tmp_path), shape=SHAPE, part=(8, 10, 40, 20))
    np.testing.assert_array_equal(found.instances, instance_map()[8:48, 10:30])
    assert found.region == (8, 10, 40, 20)
    assert found.classes == {3: 1, 7: 2}
    assert found.nuclei.table["area_px"].tolist() == [8 * 5, 64]


def test_outlines_without_a_crop_are_drawn_into_what_they_need(tmp_path):
    corners = np.array([(3.5, 2.0), (3.5, 30.25), (20.75, 30.25), (20.75, 2.0)])
    write_annotation(Annotation((Nucleus(corners, "Lymphocyte"),)), tmp_path / "c.xml")
    nuclei = read_prediction(tmp_path / "c.xml").nuclei
    height, width = nuclei.instances.shape
    assert height >= 21
    assert width >= 31
    np.testing.assert_array_equal(nuclei.instances > 0, polygon2mask((height, width), corners))


def test_what_is_missing_or_no_prediction_is_one_line(tmp_path):
    (tmp_path / "c.npy").touch()
    (tmp_path / "c.abc").touch()
    for name, said in (
        ("gone.tif", "does not exist"),
        ("gone.zarr", "no such folder"),
        ("c.npy", "no label map"),
        ("c.abc", "no annotation format"),
    ):
        with pytest.raises(FileProblem, match=rf"{name}: .*{said}"):
            read_prediction(tmp_path / name)


# ------------------------------------------------------------------ of which image


def pixels_of(seed, shape=SHAPE):
    return ArrayPixels(np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8))


def say_image(path, image, region=None, um_per_px=0.25):
    found = ImageIdentity.of(image)
    store = PredictionStore.open(path, "r+")
    identity = PredictionIdentity(
        image=found.sample, pixels=found.whole, weights="w", region=region or (0, 0, *image.shape), um_per_px=um_per_px,
        flips=False,
    )  # fmt: skip
    store.update(store.info.model_copy(update={"identity": identity}))
    return path


def test_the_prediction_of_another_image_is_never_opened(tmp_path):
    mine, other = pixels_of(0), pixels_of(1)
    path = say_image(as_store(tmp_path), mine)
    found = open_prediction(path, mine)
    assert (found.same_image, found.image_unknown, found.info.identity.weights) == (True, False, "w")
    assert open_prediction(path, other, mine).same_image is True, "what is shown may be a part; its file is asked too"
    with pytest.raises(StoreError, match=r"c\.zarr: was made of other pixels"):
        open_prediction(path, other)


def test_a_store_that_does_not_say_its_image_is_opened_only_where_that_is_allowed(tmp_path):
    path = as_store(tmp_path)
    assert open_prediction(path, pixels_of(0)).image_unknown
    with pytest.raises(StoreError, match="does not say of which image"):
        open_prediction(path, pixels_of(0), unknown=False)
    assert not open_prediction(as_label_map_with_table(tmp_path), pixels_of(0), unknown=False).image_unknown


def test_a_scale_that_was_mended_since_moves_nothing(tmp_path):
    """The store says that it has the pixels of its image: what scale the image states today is that of the nuclei."""
    image = pixels_of(0)
    found = open_prediction(say_image(as_store(tmp_path), image), image, um_per_px=0.5)
    np.testing.assert_array_equal(found.instances, instance_map())
    assert found.nuclei.um_per_px == found.maps.um_per_px == 0.5
    assert found.nuclei.table["area_um2"].tolist() == [h * w * 0.25 for *_, (h, w) in NUCLEI.values()]


def test_a_region_in_the_corner_is_one_where_the_store_says_so(tmp_path):
    image = pixels_of(0, (200, 200))
    path = as_store(tmp_path)
    with pytest.raises(StoreError, match="does not fit this crop: it covers 64 x 80 px, the crop has 200 x 200"):
        open_prediction(path, image)
    found = open_prediction(say_image(path, image, region=(0, 0, *SHAPE)), image)
    assert found.region == (0, 0, 64, 80)


def test_a_prediction_seen_from_another_corner(tmp_path):
    moved = open_prediction(as_store(tmp_path)).moved(-5, 7)
    assert moved.nuclei.offset_px == moved.maps.offset_px == moved.prediction().nuclei.offset_px == (-5, 7)


def test_numbers_that_would_fill_the_memory_of_a_window(tmp_path):
    labels = instance_map()
    tifffile.imwrite(tmp_path / "c.tif", labels)
    open_prediction(tmp_path / "c.tif").check_numbers()
    labels[labels == 40] = 2_000_000_000
    tifffile.imwrite(tmp_path / "c.tif", labels)
    found = open_prediction(tmp_path / "c.tif")
    assert found.nuclei.table["label"].tolist() == [3, 7, 2_000_000_000]
    assert found.notes == ("c.tif has no classes: they would stand in c.csv (label, class) or c_semantic.tif",)
    with pytest.raises(FileProblem, match=r"c\.tif: numbers a nucleus 2000000000"):
        found.check_numbers()
