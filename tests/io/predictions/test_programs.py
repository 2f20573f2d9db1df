"""Files of other programs: the very masks that they were made from, classes as a mapping says, damage in one line."""

from __future__ import annotations

import gzip
import json
import os
import pickle

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as coco
from scipy.io import savemat
from skimage.draw import ellipse
from skimage.measure import regionprops

from napari_monusac import MonusacError, NucleusClass, read_prediction
from napari_monusac.core.class_mapping import BY_NAME, PRESETS, ClassMapping, describe
from napari_monusac.io.predictions.class_mapping import class_mapping_of, keep_class_mapping, mapping_beside
from napari_monusac.io.predictions.find import PredictionFolder
from napari_monusac.io.predictions.open import open_prediction

SHAPE = (90, 120)


def some_nuclei(seed=3, shape=SHAPE, count=14):
    """Ellipses of several sizes that may touch, one of a single pixel, one of a line."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for k in range(1, count + 1):
        at = ellipse(*rng.uniform(8, (shape[0] - 8, shape[1] - 8)), *rng.uniform(2, 9, 2), shape=shape)
        labels[at] = np.where(labels[at] == 0, k, labels[at])
    labels[1, 1], labels[3, 5:9] = count + 1, count + 2
    for region in regionprops(labels):  # what another one cut in two: the larger part stays, as in their files
        parts, found = cv2.connectedComponents((labels == region.label).astype(np.uint8))
        sizes = np.bincount(found.ravel(), minlength=parts)[1:]
        labels[(labels == region.label) & (found != 1 + sizes.argmax())] = 0
    return labels


def contour(mask):
    """As HoVer-Net and CellViT write it: OpenCV's outer contour, corners alone, [x, y]."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    return found[0][:, 0].tolist()


def ids(labels):
    return np.unique(labels[labels > 0]).tolist()


def hovernet(labels, types, mag=None):
    nuclei = {
        str(k): {"contour": contour(labels == k), "type": types[k], "type_prob": 0.75, "bbox": [], "centroid": [0, 0]}
        for k in ids(labels)
    }
    return {"mag": mag, "nuc": nuclei}


def in_order(labels):
    """Numbered 1 to n in the order of the numbers."""
    return np.searchsorted(np.r_[0, ids(labels)], labels).astype(np.int32)


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


# ------------------------------------------------------------------ pixels


@pytest.mark.parametrize("seed", range(5))
def test_outlines_of_hovernet_give_the_masks_that_they_were_made_from(tmp_path, seed):
    labels = some_nuclei(seed)
    path = write(tmp_path / "a.json", hovernet(labels, dict.fromkeys(ids(labels), 1)))
    found = open_prediction(path, shape=SHAPE, mapping=PRESETS["monusac"])
    assert np.array_equal(found.instances, in_order(labels))
    assert set(found.confidence.values()) == {0.75}


def test_cellvit_names_its_types(tmp_path):
    labels = some_nuclei()
    kinds = {k: 1 + k % 5 for k in ids(labels)}
    names = {
        "0": "Background",
        "1": "Neoplastic",
        "2": "Inflammatory",
        "3": "Connective",
        "4": "Dead",
        "5": "Epithelial",
    }
    cells = [{"contour": contour(labels == k), "type": kinds[k], "type_prob": 0.5} for k in ids(labels)]
    content = {"wsi_metadata": {}, "type_map": names, "cells": cells}
    found = open_prediction(write(tmp_path / "cells.json", content), shape=SHAPE, mapping=PRESETS["pannuke"])
    kept = [k for k in ids(labels) if kinds[k] not in (3, 4)]
    assert np.array_equal(found.instances > 0, np.isin(labels, kept))
    means = {1: NucleusClass.EPITHELIAL, 2: NucleusClass.LYMPHOCYTE, 5: NucleusClass.EPITHELIAL}
    assert list(found.classes.values()) == [means[kinds[k]] for k in kept]
    out = len(ids(labels)) - len(kept)
    assert any(f"{out} nuclei" in n and "left out" in n and "pannuke" in n for n in found.notes)


def test_a_mat_of_hovernet(tmp_path):
    labels = some_nuclei()
    types = np.array([[1 + k % 4] for k in ids(labels)], np.int32)
    savemat(tmp_path / "a.mat", {"inst_map": labels, "inst_type": types, "inst_uid": np.array(ids(labels))[:, None]})
    found = open_prediction(tmp_path / "a.mat", shape=SHAPE, mapping=PRESETS["monusac"])
    assert np.array_equal(found.instances, labels)
    order = (NucleusClass.EPITHELIAL, NucleusClass.LYMPHOCYTE, NucleusClass.MACROPHAGE, NucleusClass.NEUTROPHIL)
    assert found.classes == {k: order[k % 4] for k in ids(labels)}, "their neutrophils are 4, ours 3"


def test_outlines_of_histomics_run_between_pixels(tmp_path):
    square = [[10, 20, 0], [30, 20, 0], [30, 32, 0], [10, 32, 0]]
    elements = [
        {"type": "polyline", "closed": True, "points": square, "label": {"value": "lymphocyte"}},
        {"type": "rectangle", "center": [5, 5, 0], "width": 3, "height": 3},
    ]  # fmt: skip
    path = write(tmp_path / "a.json", [{"annotation": {"name": "cells", "elements": elements}}])
    found = open_prediction(path, shape=SHAPE)
    wanted = np.zeros(SHAPE, np.int32)
    wanted[20:32, 10:30] = 1
    assert np.array_equal(found.instances, wanted)
    assert found.classes == {1: NucleusClass.LYMPHOCYTE}
    assert any("1 elements are no closed outlines" in n for n in found.notes)


def test_results_of_coco_are_the_masks_that_pycocotools_encodes(tmp_path):
    labels = some_nuclei()
    results = []
    for k in ids(labels):
        packed = coco.encode(np.asfortranarray(labels == k, np.uint8))
        packed["counts"] = packed["counts"].decode()
        results.append({"image_id": 7, "category_id": 1 + k % 4, "segmentation": packed, "score": 0.25})
    found = open_prediction(write(tmp_path / "a.json", results), shape=SHAPE, mapping=PRESETS["monusac"])
    assert np.array_equal(found.instances, in_order(labels))
    assert set(found.confidence.values()) == {0.25}
    two = [*results, {**results[0], "image_id": 8}]
    with pytest.raises(MonusacError, match="results of 2 images"):
        open_prediction(write(tmp_path / "b.json", two), shape=SHAPE)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.uint8])
def test_masks_of_cellpose_and_stardist(tmp_path, kind):
    labels = some_nuclei().astype(kind)
    seg = {
        "masks": labels,
        "outlines": labels > 0,
        "chan_choose": [0, 0],
        "filename": "a.png",
        "flows": [labels] * 3,
        "est_diam": 12.5,
    }
    np.save(tmp_path / "a_seg.npy", seg, allow_pickle=True)
    np.save(tmp_path / "b.npy", labels)
    np.save(tmp_path / "f.npy", np.asfortranarray(labels))
    tifffile.imwrite(tmp_path / "c.tif", labels)
    Image.fromarray(labels.astype(np.uint16)).save(tmp_path / "d_cp_masks.png")
    for name in ("a_seg.npy", "b.npy", "f.npy", "c.tif", "d_cp_masks.png"):
        found = open_prediction(tmp_path / name, shape=SHAPE)
        assert np.array_equal(found.instances, labels), name
        assert set(found.classes.values()) == {NucleusClass.UNCLASSIFIED}, "nobody says their class"
        assert any("has no classes" in n for n in found.notes)


def test_outlines_for_another_magnification_come_to_the_pixels_of_the_crop(tmp_path):
    labels = np.zeros((45, 60), np.int32)
    labels[10:20, 30:42] = 1
    path = write(tmp_path / "a.json", hovernet(labels, {1: 2}, mag=20))
    found = open_prediction(path, shape=(90, 120), um_per_px=0.2524, mapping=PRESETS["monusac"])
    y, x = np.nonzero(found.instances)
    assert abs(y.min() - 20) <= 1
    assert abs(y.max() - 39) <= 1
    assert abs(x.min() - 60) <= 1
    assert abs(x.max() - 83) <= 1
    assert any("given for 20x" in n for n in found.notes)
    same = open_prediction(path, shape=(45, 60), um_per_px=0.46, mapping=PRESETS["monusac"])
    assert np.array_equal(same.instances, labels)


# ------------------------------------------------------------------ classes


def test_numbers_without_names_are_no_classes(tmp_path):
    labels = some_nuclei()
    path = write(tmp_path / "a.json", hovernet(labels, dict.fromkeys(ids(labels), 3)))
    found = open_prediction(path, shape=SHAPE)
    assert set(found.classes.values()) == {NucleusClass.UNCLASSIFIED}
    (note,) = [n for n in found.notes if "class mapping" in n]
    assert "type 3" in note
    assert "pannuke" in note


def test_the_mapping_lies_beside_the_predictions(tmp_path):
    labels = some_nuclei()
    (tmp_path / "json").mkdir()
    path = write(tmp_path / "json" / "a.json", hovernet(labels, dict.fromkeys(ids(labels), 4)))
    for name, wanted in (("monusac", NucleusClass.NEUTROPHIL), ("consep", NucleusClass.EPITHELIAL)):
        keep_class_mapping(PRESETS[name], tmp_path)
        assert mapping_beside(path) is PRESETS[name], "a preset is known again"
        assert set(open_prediction(path, shape=SHAPE).classes.values()) == {wanted}
        assert PredictionFolder(tmp_path).mapping(path) is PRESETS[name]
    assert PredictionFolder(tmp_path, PRESETS["lizard"]).mapping(path) is PRESETS["lizard"]
    keep_class_mapping(BY_NAME, tmp_path)
    assert mapping_beside(path) is BY_NAME


def test_a_mapping_of_the_user(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("name,class\n1,Macrophage\nglia,Ignored\n")
    mapping = class_mapping_of(str(table))
    assert mapping.meaning("1") is NucleusClass.MACROPHAGE
    assert mapping.meaning("Glia") == "Ignored"
    assert mapping.meaning("lymphocytes") is NucleusClass.LYMPHOCYTE, "other names mean what they say"
    assert mapping.meaning("2") is None
    with pytest.raises(MonusacError, match=r"is no class mapping.*pannuke"):
        class_mapping_of("panuke")


@pytest.mark.parametrize("mapping", PRESETS.values(), ids=lambda m: m.name)
def test_every_preset_says_what_each_of_its_numbers_means(mapping: ClassMapping):
    for number in mapping.numbers:
        assert mapping.meaning(mapping.name_of(number)) is not None
    assert describe(mapping).count("=") == len(mapping.meanings)
    assert mapping.lost or mapping.name == "monusac"


def test_classes_of_a_table_by_a_mapping(tmp_path):
    labels = np.zeros(SHAPE, np.int32)
    labels[5:15, 5:15], labels[30:40, 30:40], labels[60:70, 60:70] = 1, 2, 3
    tifffile.imwrite(tmp_path / "a.tif", labels)
    (tmp_path / "a.csv").write_text("label,class\n1,Plasma\n2,3\n3,connective\n")
    found = open_prediction(tmp_path / "a.tif", shape=SHAPE, mapping=PRESETS["lizard"])
    assert ids(found.instances) == [1, 2]
    assert found.classes == {1: NucleusClass.UNCLASSIFIED, 2: NucleusClass.LYMPHOCYTE}
    with pytest.raises(MonusacError, match=r"Plasma.*class mapping"):
        open_prediction(tmp_path / "a.tif", shape=SHAPE)


# ------------------------------------------------------------------ where they lie


class Crop:
    def __init__(self, name, folder):
        self.name, self.image, self.annotation = name, folder / f"{name}.tif", None


@pytest.mark.parametrize(
    "name",
    [
        "a.json",
        "a.json.gz",
        "a/cells.json",
        "a_cells.json",
        "mat/a.mat",
        "a_seg.npy",
        "a_cp_masks.png",
        "a.png",
        "x/a.npy",
    ],
)
def test_each_form_is_found_by_the_name_of_its_crop(tmp_path, name):
    path = tmp_path / "pred" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("png"):
        Image.fromarray(some_nuclei().astype(np.uint16)).save(path)
    else:
        path.write_bytes(gzip.compress(b"{}") if name.endswith("gz") else b"{}")
    assert PredictionFolder(tmp_path / "pred").find(Crop("a", tmp_path)) == path


def test_an_overlay_is_no_prediction(tmp_path):
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(tmp_path / "a.png")
    assert PredictionFolder(tmp_path).find(Crop("a", tmp_path / "images")) is None


def test_the_public_reader_takes_them(tmp_path):
    labels = some_nuclei()
    path = write(tmp_path / "a.json", hovernet(labels, dict.fromkeys(ids(labels), 2)))
    found = read_prediction(path, SHAPE, PRESETS["monusac"])
    assert found.nuclei is not None
    assert np.array_equal(found.semantic_map == NucleusClass.LYMPHOCYTE, labels > 0)


# ------------------------------------------------------------------ what is wrong


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_that_a_seg_npy_names_is_run(tmp_path):
    target = tmp_path / "made by a file"
    np.save(tmp_path / "a_seg.npy", {"masks": some_nuclei(), "also": Evil(target)}, allow_pickle=True)
    assert np.array_equal(open_prediction(tmp_path / "a_seg.npy", shape=SHAPE).instances, some_nuclei())
    np.save(tmp_path / "b_seg.npy", {"masks": Evil(target)}, allow_pickle=True)
    with pytest.raises(MonusacError, match="no label map"):
        open_prediction(tmp_path / "b_seg.npy", shape=SHAPE)
    assert not target.exists()
    np.load(tmp_path / "a_seg.npy", allow_pickle=True)
    assert target.exists(), "NumPy runs it: the attack is one"


def test_a_pickle_that_would_fill_the_memory_is_refused(tmp_path):
    header = np.lib.format.magic(1, 0) + b"v\x00"
    text = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    (tmp_path / "a.npy").write_bytes(header + text + b"\x80\x04N" + b"r\xff\xff\xff\x7f" + b".")
    with pytest.raises(MonusacError, match="damaged pickle"):
        open_prediction(tmp_path / "a.npy", shape=SHAPE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"mag": 40, "nuc": {"1": {"contour": [[1, "a"]], "type": 1}}}, "no number|ragged"),
        ({"mag": 40, "nuc": {"1": {"contour": [[1, 2], [3]], "type": 1}}}, "ragged"),
        ({"nuc": {"1": {"contour": [], "type": 1}}}, "no list"),
        ({"nuc": {"1": {"contour": [[0, 0], [1e300, 0]], "type": 1}}}, "beyond"),
        ({"nuc": {"1": {"contour": [[0, 0]]}, "2": 5}}, "nucleus 2 is no object"),
        ({"type_map": {}, "cells": [{"centroid": [1, 2], "type": 1}]}, "choose cells.json"),
        ({"type_map": [], "cells": []}, "type_map is no object"),
        ([{"image_id": 1, "category_id": 1, "segmentation": {"counts": "a"}}], "no size"),
        ([{"image_id": 1, "category_id": 1, "segmentation": [[1, 2, 3]]}], "no list of x, y"),
        ({"elements": [{"type": "polyline", "closed": True, "points": "abc"}]}, "no number|no list"),
        ({"hello": "world"}, "json"),
    ],
)  # fmt: skip
def test_damage_is_told_in_one_line(tmp_path, content, said):
    path = write(tmp_path / "a.json", content)
    with pytest.raises(MonusacError, match=said) as told:
        open_prediction(path, shape=SHAPE)
    assert "\n" not in str(told.value)
    assert "a.json" in str(told.value)


def problem_of(path):
    try:
        open_prediction(path, shape=SHAPE)
    except MonusacError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", ["a.json", "a.mat", "a_seg.npy", "a.png", "b.npy"])
def test_files_cut_off_or_changed_never_raise_anything_else(tmp_path, name):
    labels = some_nuclei()
    path = tmp_path / name
    if name == "a.json":
        write(path, hovernet(labels, dict.fromkeys(ids(labels), 2)))
    elif name == "a.mat":
        savemat(path, {"inst_map": labels, "inst_type": np.ones((len(ids(labels)), 1))}, do_compression=True)
    elif name == "a.png":
        Image.fromarray(labels.astype(np.uint16)).save(path)
    else:
        np.save(path, {"masks": labels} if "seg" in name else labels, allow_pickle=True)
    whole, rng = path.read_bytes(), np.random.default_rng(5)
    refused = 0
    for k in range(120):
        damaged = bytearray(whole[: rng.integers(0, len(whole))] if k % 2 else whole)
        for at in rng.integers(0, max(1, len(damaged)), 0 if k % 2 else 3):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        told = problem_of(path)
        refused += told is not None
        assert "\n" not in (told or "")
    assert refused >= 40, "the files were damaged"


def test_protocols_of_pickle(tmp_path):
    labels = some_nuclei()
    for protocol in (3, 4, 5):
        held = np.array({"masks": labels}, dtype=object)
        with (tmp_path / "a_seg.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(held))
            pickle.dump(held, file, protocol=protocol)
        assert np.array_equal(open_prediction(tmp_path / "a_seg.npy", shape=SHAPE).instances, labels), protocol
