"""The nine runs to the letter: the table of the source, as text, compared with the TOML files field by field."""

from __future__ import annotations

import pytest

from napari_monusac.core.errors import RecipeError
from napari_monusac.core.recipe import SPEAKING_NAMES, TrainingRecipe, load_recipe, recipe_names, speaking_names

# As in the source (seed) and in DOMAIN 4; "~" marks what the source marks so.
TABLE = """
1 | 1e-4 | 2 | 0.7 | 1e-4 | 1 | no  | no  | no  | plateau                   | 200 | 0.613  | 0.24
2 | 1e-4 | 1 | 0.3 | 3e-4 | 1 | no  | no  | no  | plateau                   | 200 | 0.618  | 0.25
3 | 1e-4 | 2 | 0.3 | 3e-4 | 1 | no  | no  | no  | plateau                   | 200 | 0.618  | 0.25
4 | 1e-4 | 2 | 0.3 | 3e-4 | 3 | no  | no  | no  | plateau                   | 200 | 0.682  | 0.44
5 | 1e-4 | 0 | 0.3 | 5e-4 | 3 | no  | no  | no  | plateau                   | 200 | 0.660  | 0.42
6 | 1e-4 | 1 | 0.3 | 5e-4 | 3 | no  | no  | no  | plateau                   | 200 | ~0.665 | ~0.42
7 | 1e-4 | 2 | 0.3 | 3e-4 | 3 | yes | 0.2 | yes | plateau                   | 200 | 0.67   | ~0.44
8 | 1e-4 | 2 | 0.3 | 3e-4 | 3 | yes | 0.2 | yes | cosine(120)               | 120 | 0.683  | 0.449
9 | 3e-4 | 2 | 0.3 | 3e-4 | 3 | yes | 0.2 | yes | warmup(5) + cosine(95)    | 100 | 0.678  | ~0.449
"""
REMARKS = {
    1: "Severe overfitting (train → 0.03, val → 1.2+)",
    2: "Shifted loss weight toward ternary. Marginal gain",
    3: "Added Dice loss component. 1px boundaries too thin",
    4: "BREAKTHROUGH: 3px boundary dilation (+76% bnd Dice)",
    5: "Disabled focal loss (γ=0 = plain CE). Worse",
    6: "Reduced γ. Still worse than Run 4. Overfitting persists",
    7: "Added aug+dropout+norm. Overfitting eliminated! LR collapsed too fast",
    8: "BEST MODEL. Stable cosine LR. Converged by epoch ~55",
    9: "Higher LR + warmup. Same ceiling as Run 8. Confirms ~0.68 limit",
}
ROWS = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]
SCHEDULES = {
    "plateau": ("plateau", 0),
    "cosine(120)": ("cosine", 0),
    "warmup(5) + cosine(95)": ("warmup-cosine", 5),
}


def _number(cell: str) -> float:
    return float(cell.strip("~"))


@pytest.mark.parametrize("row", ROWS, ids=[f"run-{r[0]}" for r in ROWS])
def test_a_run_is_as_the_source_says(row):
    run, lr, gamma, sem_w, wd, width, aug, drop, norm, schedule, epochs, combo, boundary = row
    r = load_recipe(f"run-{run}")
    assert r.name == f"run-{run}"
    assert (r.lr, r.focal_gamma, r.semantic_weight, r.weight_decay) == tuple(map(float, (lr, gamma, sem_w, wd)))
    assert r.boundary_width == int(width)
    assert r.augment == (aug == "yes")
    assert r.dropout == (0.0 if drop == "no" else float(drop))
    assert r.imagenet_norm == (norm == "yes")
    assert (r.schedule, r.warmup_epochs) == SCHEDULES[schedule]
    assert r.epochs == int(epochs)
    assert r.ternary_dice_weight == (0.0 if int(run) < 3 else 0.5)
    assert r.reported.combo == _number(combo)
    assert r.reported.boundary_dice == _number(boundary)
    marked = {f for f, cell in (("combo", combo), ("boundary_dice", boundary)) if cell.startswith("~")}
    assert marked == set(r.reported.approximate) & {"combo", "boundary_dice"}
    assert REMARKS[int(run)] in r.reported.remark


@pytest.mark.parametrize("run", range(1, 10))
def test_what_all_nine_share(run):
    r = load_recipe(f"run-{run}")
    assert (r.encoder, r.encoder_weights) == ("resnet34", "imagenet")
    assert r.decoder_channels == (256, 128, 64, 32, 16)
    assert r.decoder_attention == "none"
    assert (r.patch_size, r.batch_size, r.accumulate) == (256, 8, 1)
    assert r.semantic_ce_weight == 0
    assert (r.stain, r.sampling) == ("none", "uniform")
    assert r.steps_per_epoch is None
    assert r.max_steps is None
    assert "chosen by us" in r.note


def test_notes_say_where_the_source_is_open_or_contradicts_itself():
    for run in (1, 2, 3):
        assert "contradicts itself" in load_recipe(f"run-{run}").note
    for run in range(1, 7):
        assert "pixels / 255" in load_recipe(f"run-{run}").note
    for run in (1, 2, 3, 4, 5, 6, 7):
        assert "names no metric" in load_recipe(f"run-{run}").note
    seven = load_recipe("run-7")
    assert "artefact" in seven.note
    assert seven.reported.combo == 0.67, "the early 0.80 is no target"
    eight = load_recipe("run-8")
    assert "0.679, reported 0.683" in eight.note
    assert (eight.reported.inside_dice, eight.reported.miou_macro, eight.reported.miou_micro) == (0.778, 0.760, 0.845)
    assert round(0.7 * 0.778 + 0.3 * 0.449, 3) == 0.679


def test_the_nine_differ_from_each_other_and_from_ours():
    recipes = {n: load_recipe(n) for n in recipe_names()}
    assert list(recipes)[:9] == [f"run-{k}" for k in range(1, 10)]
    assert {"ours", "quick"} <= set(recipes)
    assert len({r.fingerprint() for r in recipes.values()}) == len(recipes)
    assert load_recipe("run-8") == TrainingRecipe(**load_recipe("run-8").model_dump())


def test_each_recipe_of_a_run_has_a_name_that_says_what_it_is():
    assert load_recipe("resnet34-cosine") == load_recipe("run-8")
    assert sorted(SPEAKING_NAMES.values()) == sorted(f"run-{k}" for k in range(1, 10))
    for speaking, name in SPEAKING_NAMES.items():
        assert load_recipe(speaking) == load_recipe(name)
        assert speaking_names(name) == (speaking,)
        assert speaking not in recipe_names()
    assert speaking_names("quick") == ()
    with pytest.raises(RecipeError, match="resnet34-cosine"):
        load_recipe("resnet34-cosin")


#: Fields that came with the search for a better model, at the values that change nothing.
LATER = {
    "semantic_class_weights": (), "encoder_lr_scale": 1.0, "decay_norms": True, "clip_norm": 0.0, "ema_decay": 0.0,
    "validate_every": 1, "select_by": "combo", "centred_share": 0.5, "class_shares": (), "decoder": "unet",
    "semantic_focal_gamma": 0.0, "augment_scale": 0.1, "augment_rotation": 15.0, "augment_colour": 0.15, "stain_strength": 0.15,
}  # fmt: skip


@pytest.mark.parametrize("name", [*(f"run-{k}" for k in range(1, 10)), "ours", "quick"])
def test_later_fields_leave_the_recipes_of_before_to_the_letter(name):
    recipe = load_recipe(name)
    assert {k: getattr(recipe, k) for k in LATER} == LATER
    assert recipe.with_values(**LATER).fingerprint() == recipe.fingerprint()
    assert recipe.with_values(ema_decay=0.9).fingerprint() != recipe.fingerprint()
    assert recipe.with_values(semantic_class_weights=[1, 1, 1, 2, 2]).fingerprint() != recipe.fingerprint()


#: What each of the source's ways past its ceiling changes of run 8.
WAYS = {
    "way-attention": {"decoder_attention": "scse"}, "way-resnet50": {"encoder": "resnet50"},
    "way-patches": {"patch_size": 512}, "way-fusion": {"decoder": "unetplusplus"}, "way-manet": {"decoder": "manet"},
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
def test_a_way_past_the_ceiling_differs_from_run_8_in_that_alone(name):
    way, run_8 = load_recipe(name), load_recipe("run-8")
    assert {k: mine for k, (mine, _) in way.changes(run_8).items()} == WAYS[name]
    assert "Not measured" in way.note
    assert way.reported.combo is None
    assert {n for n in recipe_names() if n.startswith("way-")} == set(WAYS)


def test_the_old_word_for_class_balanced_sampling_is_read_and_fingerprints_stay():
    old = load_recipe("run-8").with_settings(["sampling=rare-classes"])
    assert old.sampling == "class-balanced"
    assert old == load_recipe("run-8").with_values(sampling="class-balanced")


@pytest.mark.parametrize(("settings", "words"), [
    (["semantic_class_weights=[1, 2]"], "must be 5 numbers"), (["semantic_class_weights=[0,0,0,0,0]"], "one of them above 0"),
    (["semantic_class_weights=[1,1,1,1,-1]"], "semantic_class_weights"),
    (["sampling=class-balanced", "class_shares=[1, 1, 1]"], "must be 4 numbers"),
    (["class_shares=[1,1,1,1]"], "needs sampling = 'class-balanced'"), (["centred_share=0.7"], "needs sampling"),
    (["semantic_focal_gamma=2"], "needs semantic_ce_weight"),
    (["decoder=manet", "decoder_attention=scse"], "its own attention"), (["decoder=linknet"], "decoder = 'linknet'"),
    (["ema_decay=1"], "ema_decay = 1"), (["select_by=luck"], "select_by = 'luck'"), (["validate_every=0"], "validate_every"),
])  # fmt: skip
def test_weights_and_shares_that_nothing_would_heed_are_refused(settings, words):
    with pytest.raises(RecipeError) as found:
        load_recipe("run-8").with_settings(settings)
    assert words in str(found.value)
    assert "\n" not in str(found.value)


def test_ours_is_run_8_with_the_changes_of_the_probe():
    changed = load_recipe("ours").changes(load_recipe("run-8"))
    assert {"sampling", "semantic_ce_weight", "decoder_attention"} <= set(changed)
    assert load_recipe("ours").reported.combo is None


def test_toml_and_back(tmp_path):
    for name in recipe_names():
        recipe = load_recipe(name)
        file = tmp_path / f"{name}.toml"
        file.write_text(recipe.to_toml(), "utf-8")
        assert load_recipe(file) == recipe
        assert load_recipe(file).fingerprint() == recipe.fingerprint()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("nonsense=1", "unknown key 'nonsense'"),
        ("lr=fast", "lr = 'fast'"),
        ("boundary_width=4", "boundary_width = 4"),
        ("patch_size=250", "patch_size = 250"),
        ("accumulate=3", "must divide batch_size"),
        ("epochs=0", "epochs = 0"),
        ("epochs", "has no '='"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(RecipeError, match=message.replace("(", r"\(")):
        load_recipe("run-8").with_settings([setting])


def test_batch_norm_needs_more_than_one_pixel():
    with pytest.raises(RecipeError, match="batch norm"):
        load_recipe("run-8").with_values(patch_size=32, batch_size=1)


def test_names_and_notes_do_not_count_in_the_fingerprint():
    r = load_recipe("run-8")
    assert r.with_values(name="mine", note="x", title="y").fingerprint() == r.fingerprint()
    assert r.with_values(lr=2e-4).fingerprint() != r.fingerprint()


def test_a_warm_up_may_be_as_long_as_the_run():
    """The schedule itself keeps it to half of the run: one setting alone makes a run short."""
    assert load_recipe("quick").with_settings(["epochs=1"]).epochs == 1
    assert load_recipe("run-9").with_settings(["max_steps=10"]).warmup_epochs == 5


def test_values_that_contradict_each_other_are_told_in_our_words():
    with pytest.raises(RecipeError) as found:
        load_recipe("run-9").with_settings(["warmup_epochs=0"])
    assert str(found.value) == (
        "recipe run-9: schedule = 'warmup-cosine' needs warmup_epochs = 1 or more, or take schedule = 'cosine' "
        "— correct these values"
    )


@pytest.mark.parametrize("setting", [
    "patch_size=1000000000", "batch_size=1000000000", "steps_per_epoch=1000000000000000000", "max_steps=1000000000000000000",
    "epochs=1000000000000", f"seed={2**70}", "seed=-1", "weight_decay=inf", "focal_gamma=inf", "focal_gamma=nan",
    "semantic_weight=inf", "ternary_dice_weight=inf", "lr=inf", "lr=nan", "warmup_epochs=1000000000", "accumulate=1000000000",
    "decoder_channels=[1000000, 1000000, 1000000]", "um_per_px=1e-300", "um_per_px=inf", "um_per_px=1e6", "um_per_px=nan",
])  # fmt: skip
def test_what_no_machine_can_hold_is_refused_at_once(setting):
    with pytest.raises(RecipeError, match=setting.partition("=")[0]) as found:
        load_recipe("run-8").with_settings([setting])
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (["patch_size=8192", "batch_size=64"], "pixels a step"),
        (["steps_per_epoch=1000000", "batch_size=64"], "patches an epoch"),
    ],
)
def test_values_that_are_too_large_together_are_refused(settings, word):
    with pytest.raises(RecipeError, match=word):
        load_recipe("run-8").with_settings(settings)
    for one in settings:
        if one != "steps_per_epoch=1000000":
            assert load_recipe("run-8").with_settings([one, "batch_size=1"])


@pytest.mark.parametrize("word", ["um_per_px=median", "um_per_px=none", "um_per_px="])
def test_a_scale_left_to_the_crops_is_spelled_out_in_the_file(tmp_path, word):
    recipe = load_recipe("run-8").with_settings([word])
    assert recipe.um_per_px is None
    assert recipe.fingerprint() != load_recipe("run-8").fingerprint()
    file = tmp_path / "mine.toml"
    file.write_text(recipe.to_toml(), "utf-8")
    assert 'um_per_px = "median"' in file.read_text("utf-8")
    assert load_recipe(file) == recipe
    assert all(load_recipe(n).um_per_px == 0.25 for n in recipe_names()), "MoNuSAC's 40x, as before"
