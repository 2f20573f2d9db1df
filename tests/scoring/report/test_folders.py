from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.io import loadmat, savemat

from napari_monusac import label_maps, read_annotation, write_annotation
from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import Cancelled, FileProblem, MonusacError, StoreError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.predictions.find import PredictionFolder
from napari_monusac.scoring.report.folders import evaluate_folders, folder_pairs
from napari_monusac.scoring.report.guard import guard_folders
from napari_monusac.scoring.report.pictures import Evidence

SHAPE = (90, 120)


def square(y, x, size=14, label="Epithelial"):
    corners = [(y, x), (y, x + size), (y + size, x + size), (y + size, x), (y, x)]
    return Nucleus(np.array(corners, np.float64), label, layer=-1)


def annotation(ambiguous=True):
    names = ["Epithelial", "Lymphocyte", "Neutrophil", "Macrophage"]
    regions = [square(5 + 28 * r, 5 + 28 * c, label=names[c]) for r in range(3) for c in range(4)]
    if ambiguous:
        regions.append(square(60, 88, 25, "Ambiguous"))
    return Annotation(tuple(regions), um_per_px=0.25)


@pytest.fixture
def truth(tmp_path):
    """Three crops of two patients, with images, in a folder with a blank and an umlaut in its name."""
    root = tmp_path / "Wahrheit ä 1"
    rng = np.random.default_rng(0)
    for patient, number in (
        ("TCGA-2Z-A9JG-01Z-00-DX1", 1),
        ("TCGA-2Z-A9JG-01Z-00-DX1", 2),
        ("TCGA-50-6591-01Z-00-DX1", 1),
    ):
        folder = root / patient
        folder.mkdir(parents=True, exist_ok=True)
        write_annotation(annotation(), folder / f"{patient}_{number}.xml")
        pixels = rng.integers(120, 250, (*SHAPE, 3), np.uint8)
        tifffile.imwrite(folder / f"{patient}_{number}.tif", pixels, photometric="rgb")
    return root


NAMES = ["TCGA-2Z-A9JG-01Z-00-DX1_1", "TCGA-2Z-A9JG-01Z-00-DX1_2", "TCGA-50-6591-01Z-00-DX1_1"]


def maps_of(truth, name):
    path = next(truth.rglob(f"{name}.xml"))
    read = read_annotation(path)
    maps = label_maps(read, SHAPE)
    return maps, {k: int(n.nucleus_class) for k, n in enumerate(read.nuclei, 1)}


def crop_of(truth, name):
    return open_collection(truth).crop(name)


def write_xml(truth, out, name):
    write_annotation(annotation(ambiguous=False), out / f"{name}.xml")


def write_geojson(truth, out, name):
    write_annotation(annotation(ambiguous=False), out / f"{name}.geojson")


def write_instances(truth, out, name):
    maps, _ = maps_of(truth, name)
    (out / "deep").mkdir(exist_ok=True)
    tifffile.imwrite(out / "deep" / f"{name}_instances.tif", maps.instances, compression="zlib")
    tifffile.imwrite(out / "deep" / f"{name}_semantic.tif", maps.semantic, compression="zlib")


def write_tif_csv(truth, out, name):
    maps, classes = maps_of(truth, name)
    tifffile.imwrite(out / f"{name}.tif", maps.instances.astype(np.uint16))
    rows = {"label": list(classes), "class": [NucleusClass(c).label for c in classes.values()]}
    pd.DataFrame({**rows, "confidence": 0.75}).to_csv(out / f"{name}.csv", index=False)


def write_mat(truth, out, name):
    maps, classes = maps_of(truth, name)
    for c in range(1, 5):
        folder = out / name[:23] / name / NucleusClass(c).label
        folder.mkdir(parents=True)
        mine = [i for i, k in classes.items() if k == c]
        mask = np.zeros(SHAPE)
        for number, i in enumerate(mine, 3):  # numbering with a gap, anew in each class
            mask[maps.instances == i] = number
        savemat(folder / "1_mask.mat", {"n_ary_mask": mask})
    folder = out / name[:23] / name / "Ambiguous"
    folder.mkdir()
    savemat(folder / "1_mask.mat", {"n_ary_mask": maps.ignore.astype(np.uint8)})


def write_zarr(truth, out, name):
    from napari_monusac.core.prediction import Prediction
    from napari_monusac.io.predictions.store import write_prediction
    from napari_monusac.masks.ternary import ternary_map

    maps, _ = maps_of(truth, name)
    eye5, eye3 = np.eye(5, dtype=np.float32), np.eye(3, dtype=np.float32)
    semantic = eye5[np.where(maps.semantic == 255, 0, maps.semantic)].transpose(2, 0, 1)
    ternary = eye3[ternary_map(maps.instances, 3)].transpose(2, 0, 1)
    prediction = Prediction(semantic, ternary, 0.25, fingerprint="abc", checkpoint="best.safetensors")
    write_prediction(prediction, out / f"{name}.zarr")


FORMS = [write_xml, write_geojson, write_instances, write_tif_csv, write_mat, write_zarr]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_perfect_prediction_scores_1(truth, tmp_path, form):
    out = tmp_path / "pred"
    out.mkdir()
    for name in NAMES:
        form(truth, out, name)
    result = evaluate_folders(truth, out, bootstrap=20)
    assert len(result.crops) == 3
    assert result.pq == pytest.approx(1.0, abs=0.005)
    assert {k: q.fp + q.fn for k, q in result.by_class.items()} == dict.fromkeys(result.by_class, 0)
    # a store written without saying of which image it is, of a model that does not say what it was trained on; every
    # other form cannot say either and is not asked
    told = [("not known" in n, "of which image" in n) for n in result.notes]
    assert sorted(told) == ([(False, True), (True, False)] if form is write_zarr else [])
    assert [o.name for o in result.organs] == ["kidney", "lung"]
    assert len(result.provenance.truth_sha256) == len(result.provenance.prediction_sha256) == 64
    assert "'" in result.provenance.command  # the blank in the folder's name is quoted
    if form is write_zarr:
        assert (result.provenance.recipe, result.provenance.checkpoint) == ("abc", "best.safetensors")
        assert result.pixels.combo == 1.0
    if form in (write_tif_csv, write_zarr):
        assert result.precision_recall[0].name == "All"


def test_crops_without_prediction_are_left_out_and_said(truth, tmp_path):
    out = tmp_path / "pred"
    out.mkdir()
    write_xml(truth, out, NAMES[0])
    result = evaluate_folders(truth, out)
    assert [c.name for c in result.crops] == NAMES[:1]
    assert result.notes == (f"2 of 3 crops have no prediction and are left out: {NAMES[1]}, {NAMES[2]}",)
    with pytest.raises(MonusacError, match="no crop"):
        evaluate_folders(truth, out, crops=NAMES[1:])


def test_progress_stop_and_each(truth, tmp_path):
    out = tmp_path / "pred"
    out.mkdir()
    for name in NAMES:
        write_xml(truth, out, name)
    steps, evidence = [], Evidence()
    evaluate_folders(truth, out, progress=lambda *a: steps.append(a), each=evidence.add, command="make it so")
    assert steps == [(0, 3, NAMES[0]), (1, 3, NAMES[1]), (2, 3, NAMES[2]), (3, 3, "")]
    assert evidence.findings == []
    with pytest.raises(Cancelled):
        evaluate_folders(truth, out, should_stop=lambda: True)


def test_a_region_that_was_predicted_alone_is_scored_in_its_place(truth, tmp_path):
    from napari_monusac.core.prediction import Prediction
    from napari_monusac.io.predictions.store import write_prediction
    from napari_monusac.masks.ternary import ternary_map

    out = tmp_path / "pred"
    maps, _ = maps_of(truth, NAMES[0])
    part = np.s_[30:90, 28:120]
    semantic = np.eye(5, dtype=np.float32)[maps.semantic[part]].transpose(2, 0, 1)
    ternary = np.eye(3, dtype=np.float32)[ternary_map(maps.instances, 3)[part]].transpose(2, 0, 1)
    write_prediction(Prediction(semantic, ternary, 0.25, (30, 28)), out / f"{NAMES[0]}.zarr")
    (pair,) = folder_pairs(truth, out)
    assert pair.offset_px == (30, 28)
    assert pair.truth.shape == pair.prediction.shape == (60, 92)
    assert evaluate_folders(truth, out).instances.pq == pytest.approx(1.0)
    assert pair.pixels().shape == (60, 92, 3)


def test_files_that_cannot_be_used_are_named(truth, tmp_path):
    out = tmp_path / "pred"
    with pytest.raises(FileProblem, match="is no folder"):
        PredictionFolder(out)
    out.mkdir()
    path = out / f"{NAMES[0]}_instances.tif"
    tifffile.imwrite(path, np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(FileProblem, match=r"instances\.tif.*\(8, 8, 3\)"):
        evaluate_folders(truth, out)
    tifffile.imwrite(path, np.zeros((8, 9), np.int32))
    with pytest.raises(
        FileProblem, match=r"_instances\.tif: does not fit this crop: it is 8 x 9 px, the crop 90 x 120"
    ):
        evaluate_folders(truth, out)
    path.write_bytes(b"nothing")
    with pytest.raises(FileProblem, match="cannot be read"):
        evaluate_folders(truth, out)
    path.unlink()
    write_tif_csv(truth, out, NAMES[0])
    (out / f"{NAMES[0]}.csv").write_text("label,class\n1,Purple\n")
    with pytest.raises(FileProblem, match="'Purple'"):
        evaluate_folders(truth, out)
    (out / f"{NAMES[0]}.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileProblem, match="has columns a, b"):
        evaluate_folders(truth, out)


def test_damaged_mat_files_are_named(truth, tmp_path):
    out = tmp_path / "pred"
    out.mkdir()
    write_mat(truth, out, NAMES[0])
    path = next(out.rglob("*.mat"))
    path.write_bytes(b"x" * 200)
    with pytest.raises(FileProblem, match="is no n-ary mask"):
        evaluate_folders(truth, out)
    savemat(path, {"n_ary_mask": np.zeros((3, 3))})
    with pytest.raises(FileProblem, match=r"\(90, 120\)|\(3, 3\)"):
        evaluate_folders(truth, out)


def write_zarr_of(slide_path, truth, out, name):
    """A store that says of which image it is: of the one at `slide_path`."""
    from napari_monusac.io.predictions.identity import ImageIdentity
    from napari_monusac.io.predictions.prediction_store import PredictionStore
    from napari_monusac.io.predictions.store_info import PredictionIdentity
    from napari_monusac.io.slides.slide import open_slide

    write_zarr(truth, out, name)
    with open_slide(slide_path) as slide:
        image = ImageIdentity.of(slide)
        identity = PredictionIdentity(
            image=image.sample,
            pixels=image.whole,
            weights="w",
            region=(0, 0, *slide.shape),
            um_per_px=0.25,
            flips=False,
        )
    store = PredictionStore.open(out / f"{name}.zarr", "r+")
    store.update(store.info.model_copy(update={"identity": identity, "image": str(slide_path)}))


def test_a_prediction_of_another_image_of_this_name_and_size_is_refused(truth, tmp_path):
    out, path = tmp_path / "pred", next(truth.rglob(f"{NAMES[0]}.tif"))
    write_zarr_of(path, truth, out, NAMES[0])
    result = evaluate_folders(truth, out)
    assert result.pq == 1.0
    assert not any("of which image" in n for n in result.notes)
    pixels = tifffile.imread(path)
    pixels[2, 3] += 1  # one pixel in a corner, the file's size stays
    tifffile.imwrite(path, pixels, photometric="rgb")
    for use in (lambda: evaluate_folders(truth, out), lambda: guard_folders(truth, out, out)):
        with pytest.raises(
            StoreError, match=r"_1\.zarr: was made of other pixels .* predict this image again"
        ) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_where_nothing_fits_it_says_what_is_looked_for(truth, tmp_path):
    out = tmp_path / "pred"
    out.mkdir()
    (out / "somebody.npy").write_bytes(b"")
    with pytest.raises(FileProblem, match=rf"pred: there is no crop .*{NAMES[0]}.*_instances\.tif.*NAME\.csv"):
        evaluate_folders(truth, out)
    with pytest.raises(FileProblem, match="there is no crop with truth"):
        evaluate_folders(truth, out, crops=["none"])


def test_label_maps_alone_score_without_classes_and_say_so(truth, tmp_path):
    out = tmp_path / "pred"
    out.mkdir()
    for name in NAMES:
        tifffile.imwrite(out / f"{name}.tif", maps_of(truth, name)[0].instances.astype(np.uint16))
    result = evaluate_folders(truth, out)
    assert (result.instances.pq, result.detection.f1) == (1.0, 1.0)
    assert f"{NAMES[0]}.tif has no classes" in result.notes[0]
    assert "csv" in result.notes[0]
    # an image of that name is none, nor is the crop's own
    tifffile.imwrite(out / f"{NAMES[0]}.tif", np.zeros((*SHAPE, 3), np.uint8), photometric="rgb")
    assert folder_pairs(truth, out).predictions.find(crop_of(truth, NAMES[0])) is None


@pytest.mark.parametrize(
    ("label", "said"), [(-3, "label -3"), (2**31, "label 2147483648"), (70_000_000_000, "label 70000000000")]
)
def test_label_maps_with_impossible_numbers_are_refused(truth, tmp_path, label, said):
    out = tmp_path / "pred"
    out.mkdir()
    labels = maps_of(truth, NAMES[0])[0].instances.astype(np.int64)
    labels[labels == 3] = label
    tifffile.imwrite(out / f"{NAMES[0]}_instances.tif", labels)
    with pytest.raises(FileProblem, match=rf"{NAMES[0]}_instances\.tif.*{said}.*number its nuclei"):
        evaluate_folders(truth, out)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2.5,Epithelial,", "label 2.5"), ("-3,Epithelial,", "label -3"), ("7e10,Epithelial,", "label 70000000000"),
        (",Epithelial,", "label nan"), ("x,Epithelial,", "label 'x'"), ("1,Epithelial,", "label 1 twice"),
        ("2,7,", "class '7'"), ("2,Lymphocyte,1.5", "confidence 1.5"), ("2,Lymphocyte,sure", "confidence 'sure'"),
    ],
)  # fmt: skip
def test_tables_of_classes_are_read_strictly(truth, tmp_path, row, said):
    out = tmp_path / "pred"
    out.mkdir()
    write_tif_csv(truth, out, NAMES[0])
    (out / f"{NAMES[0]}.csv").write_text(f"label,class,confidence\n1,Epithelial,0.5\n{row}\n")
    with pytest.raises(FileProblem, match=said):
        evaluate_folders(truth, out)


def test_nuclei_without_a_row_are_counted(truth, tmp_path):
    out = tmp_path / "pred"
    out.mkdir()
    write_tif_csv(truth, out, NAMES[0])
    (out / f"{NAMES[0]}.csv").write_text("label,class,confidence\n1,1,\n2,Lymphocyte,0.5\n")
    notes = evaluate_folders(truth, out).notes
    assert f"{NAMES[0]}.csv: 10 nuclei have no row: they are unclassified" in notes


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.full(SHAPE, 2.5), "value 2.5"), (np.full(SHAPE, -3.0), "value -3"), (np.full(SHAPE, np.nan), "value nan"),
        (np.array([[1, "a"]], object), "a cell"), ({"n": 1}, "a struct"), (np.ones((2, *SHAPE)), "no map"),
    ],
)  # fmt: skip
def test_masks_of_the_challenge_with_impossible_numbers_are_refused(truth, tmp_path, mask, said):
    out = tmp_path / "pred"
    out.mkdir()
    write_mat(truth, out, NAMES[0])
    path = next(p for p in out.rglob("*.mat") if p.parent.name == "Lymphocyte")
    savemat(path, {"n_ary_mask": mask})
    with pytest.raises(FileProblem, match=rf"Lymphocyte.1_mask\.mat.*{said}"):
        evaluate_folders(truth, out)


def test_two_files_of_a_class_and_folders_of_no_class(truth, tmp_path):
    out = tmp_path / "pred"
    out.mkdir()
    write_mat(truth, out, NAMES[0])
    folder = next(p.parent for p in out.rglob("*.mat") if p.parent.name == "Lymphocyte")
    whole = loadmat(folder / "1_mask.mat")["n_ary_mask"]
    first = np.where(whole == 3, 1, 0)
    savemat(folder / "1_mask.mat", {"n_ary_mask": first})
    savemat(folder / "2_mask.mat", {"n_ary_mask": np.where(whole == 3, 0, whole)})
    assert evaluate_folders(truth, out).pq == pytest.approx(1.0)
    savemat(folder / "3_mask.mat", {"n_ary_mask": first})
    content = bytearray((folder / "3_mask.mat").read_bytes())
    content[20:100] = b"written at another time".ljust(80)  # the header's text, which says when
    (folder / "3_mask.mat").write_bytes(content)
    with pytest.raises(FileProblem, match=r"Lymphocyte: holds 3 masks, some of them the same"):
        evaluate_folders(truth, out)
    (folder / "3_mask.mat").unlink()
    folder.rename(folder.with_name("Zebra cells"))
    with pytest.raises(FileProblem, match=r"Zebra cells: .* no class"):
        evaluate_folders(truth, out)


def test_the_truth_is_never_taken_for_its_own_prediction(truth):
    assert len(folder_pairs(truth, truth)) == 0
    assert len(folder_pairs(truth, truth).without_prediction) == 3


def test_an_image_beside_outlines_and_a_review_folder_are_no_predictions(truth, tmp_path):
    out = tmp_path / "pred"
    (out / "monusac-review" / "corrected").mkdir(parents=True)
    write_xml(truth, out / "monusac-review" / "corrected", NAMES[0])
    assert folder_pairs(truth, out).predictions.find(crop_of(truth, NAMES[0])) is None
    tifffile.imwrite(out / f"{NAMES[0]}.tif", np.zeros((*SHAPE, 3), np.uint8), photometric="rgb")
    write_xml(truth, out, NAMES[0])
    assert folder_pairs(truth, out).predictions.find(crop_of(truth, NAMES[0])).suffix == ".xml"
    assert evaluate_folders(truth, out).pq == 1.0


def test_crops_of_the_same_name_are_never_confused(truth, tmp_path):
    import shutil

    other = tmp_path / "beide" / "TCGA-AA-0001-01Z-00-DX1"
    shutil.copytree(truth, tmp_path / "beide", dirs_exist_ok=True)
    shutil.copytree(truth / "TCGA-50-6591-01Z-00-DX1", other)
    out = tmp_path / "pred"
    out.mkdir()
    write_xml(truth, out, NAMES[2])
    names = [c.name for c in folder_pairs(tmp_path / "beide", out).crops]
    twice = [n for n in names if n.endswith(NAMES[2])]
    assert len(names) == 4
    assert all("/" in n for n in twice)
    assert len(folder_pairs(tmp_path / "beide", out)) == 0
    write_xml(truth, out, twice[0].replace("/", "_"))
    assert [p.crop for p in folder_pairs(tmp_path / "beide", out)] == twice[:1]
    (out / twice[1]).parent.mkdir()
    write_xml(truth, out, twice[1])
    assert len(folder_pairs(tmp_path / "beide", out)) == 2
    for path in out.rglob("*.xml"):
        path.unlink()
    write_xml(truth, out, f"{other.name}__{NAMES[2]}.tif")
    assert [p.crop for p in folder_pairs(tmp_path / "beide", out)] == twice[1:]


def test_guard_on_folders_takes_what_both_hold(truth, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    fewer = dataclasses.replace(annotation(ambiguous=False), regions=annotation(ambiguous=False).regions[4:])
    for name in NAMES:
        write_annotation(fewer, one / f"{name}.xml")
    for name in NAMES[1:]:
        write_xml(truth, two, name)
    guard = guard_folders(truth, one, two, bootstrap=100)
    assert (guard.crops, guard.patients, guard.verdict) == (2, 2, "too few patients to tell")
    assert guard.by_class["Epithelial"].fixed == 2
    assert "1 crops stand in one folder only" in guard.notes[0]


def test_review_queue_of_a_folder_with_and_without_truth(truth, tmp_path):
    from napari_monusac.review.build import build_queue
    from napari_monusac.review.queue import ReviewQueue

    out, folder = tmp_path / "pred", tmp_path / "pred" / "monusac-review"
    out.mkdir()
    for name in NAMES:
        write_zarr(truth, out, name)
    next(truth.rglob(f"{NAMES[2]}.xml")).unlink()
    steps = []
    queue = build_queue(
        truth, out, folder=folder, reader="A", least_uncertainty=0.0, progress=lambda *a: steps.append(a[0])
    )
    assert steps == [0, 1, 2, 3]
    kinds = [(i.kind, i.finding.crop) for i in queue.shown]
    assert kinds.count(("uncertain", NAMES[2])) == 12
    assert ReviewQueue.open(folder, "B").items == queue.items
    with pytest.raises(Cancelled):
        build_queue(truth, out, should_stop=lambda: True)


def test_within_regions_only_what_lies_in_them_is_scored(truth, tmp_path):
    """The first column of nuclei stands in a region; the prediction is wrong everywhere else."""
    border = Nucleus(np.array([(1.0, 1), (1, 26), (88, 26), (88, 1)]), "ROI", layer=-1)
    for path in truth.rglob("*.xml"):
        read = read_annotation(path)
        write_annotation(dataclasses.replace(read, regions=(*read.regions, border)), path)
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    for name in NAMES:
        kept = [r for r in annotation(ambiguous=False).regions if r.vertices[0, 1] < 26]
        write_annotation(Annotation((*kept, square(40, 95, 14, "Neutrophil"))), predictions / f"{name}.xml")
    everywhere = evaluate_folders(truth, predictions, bootstrap=0)
    within = evaluate_folders(truth, predictions, bootstrap=0, within_regions=True)
    assert (within.instances.tp, within.instances.fp, within.instances.fn) == (9, 0, 0)
    assert everywhere.instances.fn > 0
    assert everywhere.instances.fp > 0
    assert within.within_regions
    assert not everywhere.within_regions
    assert "3 of 3 crops have regions of interest: what lies outside of them is left out" in within.notes
    assert any("they are scored outside of them too" in note for note in everywhere.notes)
    assert "--within-regions" in within.provenance.command
    guard = guard_folders(truth, predictions, predictions, within_regions=True, bootstrap=0)
    assert guard.notes is not None


def test_what_the_truth_leaves_open_and_the_names_of_the_user_stand_in_the_notes(truth, tmp_path):
    import json

    from napari_monusac.core.classes import use_class_names

    out = tmp_path / "pred"
    out.mkdir()
    for name in NAMES:
        write_xml(truth, out, name)
    old = next(truth.rglob(f"{NAMES[0]}.xml"))
    new = old.with_suffix(".geojson")
    write_annotation(read_annotation(old), new)
    content = json.loads(new.read_text())
    content["features"].append({"type": "Feature", "geometry": None, "properties": {}})
    new.write_text(json.dumps(content))
    old.unlink()
    use_class_names({"tumor": NucleusClass.EPITHELIAL})
    try:
        notes = evaluate_folders(truth, out, bootstrap=10).notes
    finally:
        use_class_names({})
    assert f"{NAMES[0]}: 1 of 14 objects are kept but are no nuclei: 1 without a geometry" in notes
    assert "class names of the user: tumor = Epithelial" in notes
