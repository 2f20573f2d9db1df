"""Crops, patches, augmentation, stain, batches."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_monusac.core.errors import TrainingError
from napari_monusac.core.recipe import load_recipe

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def store(collection_folder, tiny_recipe):
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.learn.data.crops import CropStore

    return CropStore(open_collection(collection_folder), tiny_recipe)


@pytest.fixture
def names(store):
    return [c.name for c in store.collection.labelled]


def test_targets_of_a_crop(store, names):
    from napari_monusac.masks.rasterize import label_maps
    from napari_monusac.masks.ternary import ternary_map

    name = next(n for n in names if "-CC-" in n)
    crop = store.get(name)
    maps = label_maps(store.collection.annotation(store.collection.crop(name)), crop.shape)
    assert maps.ignore.any()
    np.testing.assert_array_equal(crop.semantic, np.where(maps.ignore, 255, maps.semantic))
    ternary = ternary_map(maps.instances, boundary_width=3)
    np.testing.assert_array_equal(crop.ternary, np.where(maps.ignore, 255, ternary))
    assert crop.image.shape == (*crop.shape, 3)


def test_unclassified_nuclei_leave_the_semantic_target_only(tmp_path, tiny_recipe, make_collection):
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.learn.data.crops import CropStore

    data = make_collection(tmp_path / "d")
    file = sorted(data.rglob("*.xml"))[0]
    file.write_text(file.read_text().replace('Name="Epithelial"', 'Name="Description"'))
    store = CropStore(open_collection(data), tiny_recipe)
    crop = store.get(file.stem)
    assert (crop.semantic == 255).any()
    assert not (crop.ternary == 255).any()
    assert (crop.ternary[crop.semantic == 255] > 0).any()


def test_the_budget_is_kept_and_reading_is_shared(collection_folder, tiny_recipe, monkeypatch, names):
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.learn.data import crops

    reads = []
    true = crops.load_crop
    monkeypatch.setattr(crops, "load_crop", lambda c, n, r, um: (reads.append(n), true(c, n, r, um))[1])
    small = crops.CropStore(open_collection(collection_folder), tiny_recipe, budget_bytes=100_000)
    for name in names * 2:
        small.get(name)
        assert small.nbytes <= 100_000
    assert len(reads) > len(names)
    reads.clear()
    large = crops.CropStore(open_collection(collection_folder), tiny_recipe)
    threads = [threading.Thread(target=large.get, args=(names[0],)) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert reads == [names[0]]
    large.clear()
    assert large.nbytes == 0


def test_patches_beyond_the_edge_are_padded_and_ignored(store, names):
    from napari_monusac.learn.data.patches import cut_patch

    crop = store.get(names[0])
    h, w = crop.shape
    inner = cut_patch(crop, 5, 7, 64)
    np.testing.assert_array_equal(inner.image, crop.image[5:69, 7:71])
    np.testing.assert_array_equal(inner.ternary, crop.ternary[5:69, 7:71])
    size = 256
    y, x = (h - size) // 2, (w - size) // 2
    padded = cut_patch(crop, y, x, size)
    assert padded.image.shape == (size, size, 3)
    inside = np.zeros((size, size), bool)
    inside[-y : -y + h, -x : -x + w] = True
    assert (padded.semantic[~inside] == 255).all()
    assert (padded.ternary[~inside] == 255).all()
    np.testing.assert_array_equal(padded.ternary[inside].reshape(h, w), crop.ternary)
    np.testing.assert_array_equal(padded.image[inside].reshape(h, w, 3), crop.image)


def test_steps_per_epoch_is_area_over_batch():
    from napari_monusac.learn.data.patches import steps_per_epoch

    r = load_recipe("run-8")
    assert steps_per_epoch(r, {"a": (1000, 2000), "b": (35, 33)}) == -(-(2_000_000 + 35 * 33) // (8 * 256 * 256))
    assert steps_per_epoch(r, {"a": (10, 10)}) == 1
    assert steps_per_epoch(r.with_values(steps_per_epoch=7), {"a": (1000, 2000)}) == 7


def test_every_crop_gets_its_share_and_patches_lie_inside():
    from napari_monusac.learn.data.patches import PatchSampler

    shapes = {"big": (1000, 1000), "half": (500, 1000), "tiny": (35, 33)}
    r = load_recipe("run-8").with_values(steps_per_epoch=50, patch_size=64)
    sampler = PatchSampler(r, shapes)
    refs = sampler.epoch(1)
    assert [x.index for x in refs] == list(range(400))
    share = {n: sum(x.crop == n for x in refs) for n in shapes}
    assert abs(share["big"] - 400 * 2 / 3) <= 2
    assert abs(share["half"] - 400 / 3) <= 2
    for ref in refs:
        h, w = shapes[ref.crop]
        assert 0 <= ref.y <= h - 64 or h < 64
        assert 0 <= ref.x <= w - 64 or w < 64
    assert refs == PatchSampler(r, shapes).epoch(1), "the same again"
    assert refs != sampler.epoch(2)
    assert refs != PatchSampler(r.with_values(seed=1), shapes).epoch(1)
    ys = np.array([x.y for x in refs if x.crop == "big"])
    assert ys.min() < 60
    assert ys.max() > 870, "patches reach the edges"
    with pytest.raises(TrainingError, match="no training crop"):
        PatchSampler(r, {})


def test_half_of_the_patches_lie_on_nuclei_and_classes_take_turns():
    from napari_monusac.learn.data.patches import PatchSampler

    rng = np.random.default_rng(0)
    shapes = {"a": (2000, 2000), "b": (1500, 1500)}
    common = rng.uniform(0, 1500, (400, 2))
    one, two, none = np.array([[50.0, 1990.0]]), np.array([[700.0, 700.0], [800.0, 100.0]]), np.empty((0, 2))
    rare = {"a": {1: common, 2: common, 3: one, 4: none}, "b": {1: common, 2: common, 3: none, 4: two}}
    r = load_recipe("run-8").with_values(steps_per_epoch=100, patch_size=64, sampling="class-balanced")
    seen = {3: 0, 4: 0}
    refs = PatchSampler(r, shapes, rare).epoch(1)
    for ref in refs:
        assert 0 <= ref.y <= shapes[ref.crop][0] - 64
        for k in seen:
            for y, x in rare[ref.crop][k]:
                seen[k] += ref.y <= y < ref.y + 64 and ref.x <= x < ref.x + 64
    assert seen[3] / len(refs) == pytest.approx(1 / 8, rel=0.2), "a quarter of the half that is centred"
    assert seen[4] / len(refs) == pytest.approx(1 / 8, rel=0.2)
    uniform = PatchSampler(r.with_values(sampling="uniform"), shapes, rare).epoch(1)
    # many small nuclei in a small crop, which patches by area hardly show
    crowd = {"a": {1: common, 2: none, 3: none, 4: none}, "b": {1: none, 2: common, 3: none, 4: none}}
    small = {"a": (2000, 2000), "b": (200, 200)}
    of_b = [
        sum(x.crop == "b" for x in PatchSampler(q, small, crowd).epoch(1))
        for q in (r, r.with_values(sampling="uniform"))
    ]
    assert of_b[0] == pytest.approx(len(refs) / 4, rel=0.2)
    assert of_b[1] < len(refs) / 50
    assert sum(x.crop == "a" for x in uniform) == pytest.approx(800 * 4 / (4 + 2.25), abs=2)


def test_classes_are_centred_on_as_often_as_their_shares_say():
    from napari_monusac.core.recipe import load_recipe
    from napari_monusac.learn.data.patches import PatchSampler

    # one nucleus a class, far apart: a patch of 64 px shows one of them at most
    places = {1: (100, 100), 2: (100, 900), 3: (900, 100), 4: (900, 900)}
    centres = {"a": {k: np.array([p], float) for k, p in places.items()}}
    r = load_recipe("run-8").with_values(
        steps_per_epoch=100, patch_size=64, sampling="class-balanced", centred_share=1.0, class_shares=[1, 0, 5, 2]
    )

    def shown(recipe, of=centres):
        refs = PatchSampler(recipe, {"a": (1000, 1000)}, of).epoch(1)
        assert len(refs) == 800
        return [sum(ref.y <= y < ref.y + 64 and ref.x <= x < ref.x + 64 for ref in refs) for y, x in places.values()]

    assert shown(r) == [100, 0, 500, 200]
    assert shown(r.with_values(class_shares=[])) == [200, 200, 200, 200]
    some = shown(r.with_values(centred_share=0.25, class_shares=[0, 0, 1, 0]))
    assert some[2] == pytest.approx(200, abs=40)
    assert max(some[0], some[1], some[3]) < 20
    without = {"a": {**centres["a"], 3: np.empty((0, 2))}}
    with pytest.raises(TrainingError, match="classes that no training crop holds"):
        PatchSampler(r.with_values(class_shares=[0, 0, 1, 0]), {"a": (1000, 1000)}, without)


def test_batches_are_the_same_in_any_number_of_threads_and_from_any_start(store, names, tiny_recipe):
    from napari_monusac.learn.data.loader import PatchLoader
    from napari_monusac.learn.data.patches import PatchSampler

    recipe = tiny_recipe.with_values(stain="augment", steps_per_epoch=5, batch_size=3)
    sampler = PatchSampler(recipe, {n: store.shape(n) for n in names})
    runs = []
    for threads in (1, 4):
        loader = PatchLoader(store, sampler, threads)
        runs.append(list(loader.batches(2)))
        loader.close()
    late = PatchLoader(store, sampler, 3)
    tail = list(late.batches(2, first=3))
    other = list(late.batches(3))
    late.close()
    assert len(runs[0]) == 5
    for a, b in zip(runs[0], runs[1], strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.semantic, b.semantic)
        np.testing.assert_array_equal(a.ternary, b.ternary)
    for a, b in zip(runs[0][3:], tail, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
    assert not np.array_equal(runs[0][0].images, other[0].images)
    assert runs[0][0].images.shape == (3, 64, 64, 3)


def test_ranks_share_a_batch_without_overlap(store, names, tiny_recipe):
    from napari_monusac.learn.data.loader import PatchLoader, share_of
    from napari_monusac.learn.data.patches import PatchSampler

    recipe = tiny_recipe.with_values(steps_per_epoch=2, batch_size=5)
    sampler = PatchSampler(recipe, {n: store.shape(n) for n in names})
    whole = PatchLoader(store, sampler, 1)
    parts = [PatchLoader(store, sampler, 1, part=k, parts=2) for k in range(2)]
    for full, *shares in zip(whole.batches(1), *(p.batches(1) for p in parts), strict=True):
        np.testing.assert_array_equal(np.concatenate([s.images for s in shares]), full.images)
    for loader in (whole, *parts):
        loader.close()
    for size, count in ((8, 3), (5, 2), (2, 4)):
        covered = [i for k in range(count) for i in range(size)[share_of(size, k, count)]]
        assert covered == list(range(size))


# ---------------------------------------------------------------------- augmentation and stain


def test_the_six_augmentations_and_no_other(tiny_recipe):
    from napari_monusac.learn.data.augment import build_transforms

    transforms = build_transforms(tiny_recipe).transforms
    names = [type(t).__name__ for t in transforms]
    assert names == ["HorizontalFlip", "VerticalFlip", "RandomRotate90", "ColorJitter", "GaussianBlur", "Affine"]
    assert (transforms[3].brightness, transforms[3].hue) == ((0.85, 1.15), (-0.03, 0.03)), "as before there were fields"
    assert (transforms[5].scale["x"], transforms[5].rotate) == ((0.9, 1.1), (-15, 15))
    strong = tiny_recipe.with_values(augment_scale=0.3, augment_rotation=45, augment_colour=0.25)
    transforms = build_transforms(strong).transforms
    assert transforms[3].saturation == (0.75, 1.25)
    assert transforms[3].hue == (-0.05, 0.05)
    assert (transforms[5].scale["y"], transforms[5].rotate) == ((0.7, 1.3), (-45, 45))


def test_the_strength_of_the_stain_is_the_recipe_s(tiny_recipe):
    from napari_monusac.infer.tiling.stain import augment_stain
    from napari_monusac.learn.data.augment import Augmenter

    image = np.random.default_rng(0).integers(60, 220, (32, 32, 3), np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    recipe = tiny_recipe.with_values(augment=False, stain="augment", stain_strength=0.4)
    found, _, _ = Augmenter(recipe)(image, mask, mask, 2, 5)
    expected = augment_stain(image, np.random.default_rng((recipe.seed, 2, 5, 1)), 0.4)
    np.testing.assert_array_equal(found, expected)


def test_image_and_masks_move_together_and_masks_keep_their_values(tiny_recipe):
    from napari_monusac.learn.data.augment import Augmenter

    rng = np.random.default_rng(0)
    semantic = rng.choice(np.array([0, 1, 4, 255], np.uint8), (64, 64)).repeat(1, 0)
    semantic[:20, :30] = 3
    image = np.repeat(semantic[..., None], 3, 2)
    augment = Augmenter(tiny_recipe)
    plain = Augmenter(tiny_recipe.with_values(augment=False))
    changed = 0
    for index in range(30):
        out = augment(image, semantic, semantic, 1, index)
        assert set(np.unique(out[1])) <= {0, 1, 3, 4, 255}
        np.testing.assert_array_equal(out[1], out[2])
        corner = out[1] == 3
        if corner.sum() > 100:
            assert np.median(out[0][corner]) < 90, "the image followed the mask"
        changed += not np.array_equal(out[0], image)
        np.testing.assert_array_equal(plain(image, semantic, semantic, 1, index)[0], image)
    assert changed > 25
    a, b = (augment(image, semantic, semantic, 1, 7)[0] for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_the_six_act_independently_of_each_other(tiny_recipe):
    """A seed for every transform (albumentations' set_random_seed) would flip both ways or not at all."""
    from napari_monusac.learn.data.augment import Augmenter, build_transforms

    recipe = tiny_recipe
    augment = Augmenter(recipe)
    transforms = build_transforms(recipe)
    augment._local.transforms = transforms
    acted = []
    for t in transforms.transforms:

        def decided(*args, _t=t, _true=t.should_apply, **kwargs):
            acts = _true(*args, **kwargs)
            if acts:
                acted[-1].add(type(_t).__name__)
            return acts

        t.should_apply = decided
    image, mask = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    for index in range(300):
        acted.append(set())
        augment(image, mask, mask, 1, index)
    flips = [("HorizontalFlip" in a, "VerticalFlip" in a) for a in acted]
    for both in ((False, False), (False, True), (True, False), (True, True)):
        assert 45 < flips.count(both) < 110
    assert 30 < sum("GaussianBlur" in a for a in acted) < 95


def _stained(matrix: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two regions, mostly haematoxylin and mostly eosin, of known stain vectors."""
    rng = np.random.default_rng(seed)
    c = np.zeros((80, 80, 2))
    c[:40] = rng.uniform(0.6, 1.8, (40, 80, 1)) * [1, 0.05]
    c[40:70] = rng.uniform(0.4, 1.0, (30, 80, 1)) * [0.05, 1]
    return np.clip(240 * np.exp(-c @ matrix) - 1, 0, 255).round().astype(np.uint8)


def test_stain_vectors_are_found_again():
    from napari_monusac.infer.tiling.stain import estimate_stains

    matrix = np.array([[0.65, 0.70, 0.29], [0.27, 0.85, 0.45]])
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    stains, strongest = estimate_stains(_stained(matrix))
    assert (np.abs((stains * matrix).sum(1)) > 0.99).all()
    assert (strongest > 0.5).all()
    assert estimate_stains(np.full((50, 50, 3), 250, np.uint8)) is None
    assert estimate_stains(np.full((50, 50, 3), 100, np.uint8)) is None


def test_normalisation_brings_two_stains_together():
    from napari_monusac.infer.tiling.stain import stain_change, with_stain_changed

    one = np.array([[0.65, 0.70, 0.29], [0.27, 0.85, 0.45]])
    two = np.array([[0.55, 0.75, 0.37], [0.15, 0.95, 0.27]])
    one, two = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (one, two))
    a, b = _stained(one), _stained(two)
    before = np.abs(a.astype(float) - b).mean()
    after = np.abs(with_stain_changed(a, stain_change(a)).astype(float) - with_stain_changed(b, stain_change(b))).mean()
    assert after < before / 2
    blank = np.full((20, 20, 3), 250, np.uint8)
    assert stain_change(blank) is None


def test_stain_augmentation_is_gentle_and_repeatable():
    from napari_monusac.infer.tiling.stain import augment_stain

    image = _stained(np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]]))
    a, b = (augment_stain(image, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    difference = np.abs(a.astype(float) - image).mean()
    assert 0.5 < difference < 40
    same = augment_stain(image, np.random.default_rng(5), strength=0.0)
    assert np.abs(same.astype(int) - image).max() <= 1


def test_within_regions_the_rest_is_ignored_and_no_patch_looks_for_it(make_collection, tiny_recipe, tmp_path):
    import re

    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.learn.data.crops import CropStore

    root = make_collection(tmp_path / "data")
    path = next(root.rglob("*AA*_1.xml"))
    name = path.stem
    corners = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((2, 2), (60, 2), (60, 90), (2, 90)))
    roi = f'<Annotation Id="9" Name="ROI"><Regions><Region Id="1"><Vertices>{corners}</Vertices></Region></Regions></Annotation>'
    path.write_text(re.sub("</Annotations>", f"{roi}</Annotations>", path.read_text()))
    stores = [CropStore(open_collection(root), tiny_recipe.with_values(within_regions=w)) for w in (False, True)]
    plain, within = (store.get(name) for store in stores)
    inside = np.zeros(plain.shape, bool)
    inside[2:91, 2:61] = True
    for a, b in ((plain.semantic, within.semantic), (plain.ternary, within.ternary)):
        np.testing.assert_array_equal(b, np.where(inside, a, 255))
    assert plain.left_out.counts() == within.left_out.counts() == {"regions": 1}
    found = np.concatenate(list(stores[1].centres(name).values()))
    every = np.concatenate(list(stores[0].centres(name).values()))
    want = every[(every[:, 1] < 60) & (every[:, 0] < 90)]
    assert 0 < len(want) < len(every)
    assert sorted(map(tuple, found)) == sorted(map(tuple, want))
    # a crop without a region was annotated everywhere
    other = next(n for n in (c.name for c in stores[1].collection.labelled) if "-BB-" in n)
    np.testing.assert_array_equal(stores[0].get(other).ternary, stores[1].get(other).ternary)
