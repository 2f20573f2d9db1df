"""What a run refuses for want of labels, and what it says there is none of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_monusac.core.errors import TrainingError

pytestmark = pytest.mark.torch

ALL = ("Epithelial", "Lymphocyte", "Neutrophil", "Macrophage")
SQUARE = [(20, 20), (20, 40), (40, 40), (40, 20)]
BEYOND = [(x + 500, y) for x, y in SQUARE]
SPECK = [(20.2, 20.2), (20.4, 20.2), (20.4, 20.4), (20.2, 20.4)]
BESIDE = [(-6, 4), (4, -6), (-6, -6)]  # its box meets the image, itself it does not
WHOLE = [(-1, -1), (-1, 64), (64, 64), (64, -1)]


def _crop(root: Path, patient: str, regions: list[tuple[str, list[tuple[float, float]]]]) -> None:
    """One crop of 64 px with regions of a name and (x, y) vertices."""
    name = f"TCGA-{patient}-0001-01Z-00-DX1"
    folder = root / name
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(150, 250, (64, 64, 3)).astype(np.uint8)
    tifffile.imwrite(folder / f"{name}_1.tif", noise, photometric="rgb")
    layers = ""
    for k, (label, vertices) in enumerate(regions, 1):
        outline = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in vertices)
        layers += (
            f'<Annotation Id="{k}"><Attributes><Attribute Name="{label}" Id="0" Value=""/></Attributes>'
            f'<Regions><Region Id="1"><Vertices>{outline}</Vertices></Region></Regions></Annotation>'
        )
    (folder / f"{name}_1.xml").write_text(f'<Annotations MicronsPerPixel="0.25">{layers}</Annotations>')


def _checked(tmp_path, training, validation, **options):
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.splits import Split
    from napari_monusac.learn.data.labels import check_labels

    for patient, regions in {"AA": training, "BB": validation}.items():
        _crop(tmp_path / "data", patient, regions)
    collection = open_collection(tmp_path / "data")
    names = [c.name for c in collection.crops]
    split = Split(kind="patient", training=(names[0],), validation=(names[1],))
    return check_labels(collection, split, **options)


@pytest.mark.parametrize(
    ("regions", "instead"),
    [
        ([], ""),
        ([("Ambiguous", SQUARE)], " (but 1 Ambiguous region)"),
        ([("Epithelial", BEYOND), ("Lymphocyte", BEYOND)], " (but 2 outlines beyond the image)"),
        ([("Epithelial", SQUARE), ("Ambiguous", WHOLE)], " (but 1 Ambiguous region)"),
        ([("Epithelial", SQUARE[:2])], ""),
        ([("Epithelial", SPECK), ("Epithelial", BESIDE)], " (but 2 outlines too small for a pixel)"),
    ],
    ids=["nothing", "Ambiguous alone", "beyond the image", "under Ambiguous", "two vertices", "no pixel"],
)
def test_training_without_a_nucleus_is_refused(tmp_path, regions, instead):
    with pytest.raises(TrainingError) as found:
        _checked(tmp_path, regions, [(c, SQUARE) for c in ALL])
    assert str(found.value) == (
        f"{tmp_path / 'data'}: no nucleus to learn from in the one training crop{instead} "
        "— label nuclei (an Ambiguous region is none), or choose another folder"
    )


def test_nothing_is_said_where_all_classes_stand_on_both_sides(tmp_path):
    assert _checked(tmp_path, [(c, SQUARE) for c in ALL], [(c, SQUARE) for c in reversed(ALL)]) == []


def test_classes_that_are_wanting_are_named(tmp_path):
    notes = _checked(tmp_path, [("Epithelial", SQUARE), ("Lymphocyte", SQUARE)], [(c, SQUARE) for c in ALL[1:]])
    assert notes == [
        "no neutrophil or macrophage among the nuclei to learn from: the model cannot learn it",
        "no epithelial among the validation nuclei: its score cannot be given",
    ]


def test_nuclei_without_a_class_are_learnt_and_told(tmp_path):
    notes = _checked(tmp_path, [("", SQUARE), ("Description", SQUARE)], [("Ambiguous", SQUARE)])
    assert notes == [
        "none of the 2 nuclei to learn from has a class: the model will tell none apart",
        "no nucleus in the one validation crop (but 1 Ambiguous region): the scores of this run say nothing",
    ]


@pytest.fixture
def bare_run(tiny_recipe, tmp_path):
    """A run on two patients, neither with a nucleus."""
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.io.splits import make_split

    _crop(tmp_path / "bare", "AA", [])
    _crop(tmp_path / "bare", "BB", [("Ambiguous", SQUARE)])
    split = make_split(open_collection(tmp_path / "bare"))
    return RunFolder.create(tmp_path / "run", data=tmp_path / "bare", split=split, recipe=tiny_recipe)


def test_train_and_its_dry_run_refuse_before_a_network_is_made(bare_run, tiny_recipe, monkeypatch):
    from napari_monusac.learn import setup
    from napari_monusac.learn.dryrun import dry_run
    from napari_monusac.learn.loop import train

    monkeypatch.setattr(setup, "DualHeadUnet", None)
    (end,) = train(tiny_recipe, bare_run, device="cpu")
    assert end.reason == "failed"
    assert "no nucleus to learn from in the one training crop" in end.message
    report = dry_run(tiny_recipe, bare_run, device="cpu")
    assert report.problems == (end.message,)
    assert report.summary() == f"Problem: {end.message}"


def test_a_run_that_lacks_a_class_says_so_and_trains(tiny_recipe, tmp_path):
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.io.splits import make_split
    from napari_monusac.learn.dryrun import dry_run
    from napari_monusac.learn.loop import train

    for patient in ("AA", "BB"):
        _crop(tmp_path / "data", patient, [(c, SQUARE) for c in ALL[:3]])
    split = make_split(open_collection(tmp_path / "data"))
    recipe = tiny_recipe.with_values(max_steps=1)
    run = RunFolder.create(tmp_path / "run", data=tmp_path / "data", split=split, recipe=recipe)
    said = "no macrophage among the nuclei to learn from: the model cannot learn it"
    assert said in dry_run(recipe, run, device="cpu").notes
    events = list(train(recipe, run, device="cpu", loader_threads=1, threads=1))
    assert events[-1].reason == "completed", events[-1].message
    assert said in [e.message for e in events if e.kind == "warned"]


def test_nuclei_beyond_the_regions_of_interest_are_none_where_those_are_the_border(tmp_path):
    aside = [(x + 40, y + 40) for x, y in [(0, 0), (0, 20), (20, 20), (20, 0)]]
    regions = [("Region of interest", aside), ("Epithelial", [(4, 4), (4, 12), (12, 12), (12, 4)])]
    assert _checked(tmp_path, regions, regions)  # scored everywhere: one nucleus each
    with pytest.raises(TrainingError, match=r"\(but 1 outline beyond the regions of interest\)"):
        _checked(tmp_path / "border", regions, regions, within_regions=True)
