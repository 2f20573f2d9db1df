"""Raters against each other without truth: counts by hand, kappa by scikit-learn, what most of them see."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from napari_monusac import MonusacError, NucleusClass, open_collection, read_annotation, write_annotation
from napari_monusac.cli.app import app
from napari_monusac.jobs.exports import annotation_of
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.scoring.report.agreement import compare_raters, consensus_of
from napari_monusac.synth import write_collection

E, L, N, M, U = (int(NucleusClass[n]) for n in ("EPITHELIAL", "LYMPHOCYTE", "NEUTROPHIL", "MACROPHAGE", "UNCLASSIFIED"))


def squares(*boxes, shape=(60, 80)):
    labels = np.zeros(shape, np.int32)
    for k, (y, x, size) in enumerate(boxes, 1):
        labels[y : y + size, x : x + size] = k
    return labels


def test_most_raters_decide_on_nucleus_pixels_and_class():
    one = squares((10, 10, 10), (30, 30, 10))
    two = squares((10, 12, 10), (30, 60, 10))
    three = squares((11, 10, 10), (30, 30, 10))
    found = consensus_of([one, two, three], [{1: E, 2: L}, {1: E, 2: M}, {1: L, 2: N}])
    assert found.votes == {1: 3, 2: 2}
    assert found.classes == {1: E, 2: U}, "two classes as often as each other are none"
    wanted = ((one == 1).astype(int) + (two == 1) + (three == 1)) >= 2
    assert np.array_equal(found.instances == 1, wanted)
    assert np.array_equal(found.instances == 2, one == 2)
    assert sorted(map(len, found.groups)) == [1, 2, 3]
    both = consensus_of([one, two], [{1: E, 2: L}, {1: E, 2: M}])
    assert np.array_equal(both.instances > 0, (one == 1) & (two == 1)), "of two, what both see"


def test_no_rater_has_two_nuclei_in_one_group():
    # the second's large nucleus overlaps both of the first and of the third: the better pairs win
    one, two, three = squares((10, 10, 10), (10, 21, 10)), squares((10, 10, 12)), squares((10, 10, 11), (10, 21, 10))
    found = consensus_of([one, two, three], [{1: E, 2: E}, {1: E}, {1: E, 2: E}])
    assert found.votes == {1: 3, 2: 2}
    assert found.instances.max() == 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Synthetic crops; three readers who see the truth, most of it, and most of it with other classes."""
    root = tmp_path_factory.mktemp("raters")
    write_collection(root / "images", 6, 1, seed=3, shape=(160, 160), test_patients=1)
    collection = open_collection(root / "images")
    rng = np.random.default_rng(1)
    said = []
    for crop in collection.crops:
        annotation = collection.annotation(crop)
        with collection.open(crop) as slide:
            labels = label_maps(annotation, slide.shape).instances
        kinds = {k: int(n.nucleus_class) for k, n in enumerate(annotation.nuclei, 1)}
        some = [k for k in kinds if rng.random() < 0.8 and (labels == k).any()]
        fewer = np.where(np.isin(labels, some), labels, 0).astype(np.int32)
        others = {k: int(rng.choice([E, L])) if rng.random() < 0.3 else kinds[k] for k in some}
        for name, maps, classes in (("all", labels, kinds), ("most", fewer, kinds), ("other", fewer, others)):
            (root / name).mkdir(exist_ok=True)
            write_annotation(annotation_of(maps, classes), root / name / f"{crop.name.replace('/', '_')}.xml")
        said += [(kinds[k], others[k]) for k in some]
    return root, said


def test_pairs_of_raters_by_hand_and_by_scikit_learn(folders):
    root, said = folders
    found = compare_raters(root / "images", {n: root / n for n in ("all", "most", "other")})
    by = {(p.first, p.second): p for p in found.pairs}
    most = by["most", "other"]
    assert (most.pq, most.f1, most.matched) == (1.0, 1.0, len(said))
    assert most.kappa == pytest.approx(cohen_kappa_score(*zip(*said, strict=True)))
    assert most.kappa_interval.low <= most.kappa <= most.kappa_interval.high
    assert sum(map(sum, most.table)) == len(said)
    first = by["all", "most"]
    assert first.kappa == 1.0
    assert first.f1 == pytest.approx(2 * len(said) / (first.nuclei_first + first.nuclei_second))
    assert sum(c.by_some for c in found.crops) == first.nuclei_first - len(said)
    assert [c.disputed for c in found.crops] == sorted((c.disputed for c in found.crops), reverse=True)
    assert -1 <= found.fleiss_kappa < 1


def test_the_command_answers_and_writes_what_most_see(folders, tmp_path):
    root, _ = folders
    names = [str(root / n) for n in ("all", "most", "other")]
    run = ["compare", *names, "--images", str(root / "images")]
    done = CliRunner().invoke(app, [*run, "--consensus", str(tmp_path / "xml"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["raters"] == ["all", "most", "other"]
    files = sorted((tmp_path / "xml").glob("*.xml"))
    assert len(files) == len(told["crops"])
    seen = sum(len(read_annotation(f).nuclei) for f in files)
    assert seen == next(p for p in told["pairs"] if p["first"] == "most")["matched"]
    plain = CliRunner().invoke(app, run)
    assert "most disputed" in plain.stdout
    assert "Fleiss" in plain.stdout


def test_what_cannot_be_compared_is_one_line(folders, tmp_path):
    root, _ = folders
    (tmp_path / "none").mkdir()
    with pytest.raises(MonusacError, match="no crop is in all"):
        compare_raters(root / "images", {"a": root / "all", "b": tmp_path / "none"})
    with pytest.raises(MonusacError, match="two folders or more"):
        compare_raters(root / "images", {"a": root / "all"})
    assert CliRunner().invoke(app, ["compare", str(root / "all"), "--images", str(root / "images")]).exit_code == 2


def test_crops_that_one_has_not_are_left_out_and_said(folders, tmp_path):
    root, _ = folders
    (tmp_path / "few").mkdir()
    kept = sorted((root / "most").glob("*.xml"))[:2]
    for file in kept:
        (tmp_path / "few" / file.name).write_bytes(file.read_bytes())
    found = compare_raters(root / "images", {"a": root / "all", "b": tmp_path / "few"})
    assert len(found.crops) == 2
    assert any("are not in all folders" in n for n in found.notes)


def test_label_maps_and_outlines_meet(tmp_path):
    labels = squares((10, 10, 12), (30, 40, 8))
    for name in ("images", "a", "b"):
        (tmp_path / name / "P-1").mkdir(parents=True)
    image = np.full((60, 80, 3), 200, np.uint8)
    tifffile.imwrite(tmp_path / "images/P-1/P-1_1.tif", image, photometric="rgb")
    write_annotation(annotation_of(labels, {1: E, 2: L}), tmp_path / "a/P-1_1.xml")
    tifffile.imwrite(tmp_path / "b/P-1_1_instances.tif", labels)
    (tmp_path / "b/P-1_1.csv").write_text("label,class\n1,Epithelial\n2,Neutrophil\n")
    (pair,) = compare_raters(tmp_path / "images", {"a": tmp_path / "a", "b": tmp_path / "b"}).pairs
    assert (pair.pq, pair.matched) == (1.0, 2)
    assert pair.classes == ("Epithelial", "Lymphocyte", "Neutrophil")
    assert pair.table == ((1, 0, 0), (0, 0, 1), (0, 0, 0))
