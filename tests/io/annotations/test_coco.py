"""COCO, in and out; run lengths against NumPy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import draw

from napari_monusac.core.errors import AnnotationError, HostileFileError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.coco import CocoImage, read_coco, write_coco
from napari_monusac.io.annotations.files import read_annotation

SQUARE = np.array([[2, 1], [2, 5], [8, 5], [8, 1]], float)


def drawn(outline, shape):
    mask = np.zeros(shape, bool)
    mask[draw.polygon(outline[:, 0], outline[:, 1], shape)] = True
    return mask


def document(**changes):
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 12, "width": 10}],
        "categories": [{"id": 3, "name": "Neutrophil"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "segmentation": [[1, 2, 5, 2, 5, 8, 1, 8]]}],
    }
    return content | changes


def entry(**changes):
    return document(annotations=[document()["annotations"][0] | changes])


def read(tmp_path, content):
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    return read_coco(path)


def test_the_form_of_coco(tmp_path):
    nuclei = tuple(
        Nucleus(SQUARE, label, confidence=c)
        for label, c in [("Neutrophil", 0.5), ("Ambiguous", None), ("Mast cell", None), ("", None)]
    )
    left_out = write_coco(
        [CocoImage("a.png", (12, 10), Annotation((*nuclei, Nucleus(SQUARE[:2])), um_per_px=0.25))], tmp_path / "o.json"
    )
    assert len(left_out) == 1
    content = json.loads((tmp_path / "o.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "a.png", "height": 12, "width": 10, "um_per_px": 0.25}]
    names = {c["id"]: c["name"] for c in content["categories"]}
    assert [names[k] for k in range(1, 8)] == [
        "Epithelial",
        "Lymphocyte",
        "Neutrophil",
        "Macrophage",
        "Unclassified",
        "Ambiguous",
        "Mast cell",
    ]
    first = content["annotations"][0]
    assert first == {
        "id": 1,
        "image_id": 1,
        "category_id": 3,
        "segmentation": first["segmentation"],
        "area": 35.0,
        "bbox": [1.0, 2.0, 5.0, 7.0],
        "iscrowd": 0,
        "ignore": 0,
        "score": 0.5,
    }
    # 5 x 7 px along their sides
    assert sorted(zip(*[iter(first["segmentation"][0])] * 2, strict=True)) == [(1, 2), (1, 9), (6, 2), (6, 9)]
    assert [(a["id"], names[a["category_id"]], a["ignore"]) for a in content["annotations"]][1:] == [
        (2, "Ambiguous", 1),
        (3, "Mast cell", 0),
        (4, "Unclassified", 0),
    ]


outlines = st.lists(st.tuples(*[st.floats(-1e5, 1e5, allow_nan=False)] * 2), min_size=3, max_size=6).map(np.array)
labels = st.sampled_from(["Epithelial", "Macrophage", "Ambiguous", "Unclassified", "Mast cell"])


def opened(ring):
    """A ring without the vertices at its end that only close it: COCO has its rings open."""
    away = np.flatnonzero(np.abs(ring - ring[0]).max(axis=1) > 1e-9)
    return ring[: away[-1] + 1] if away.size else ring[:1]


@given(st.lists(st.lists(st.tuples(outlines, labels, st.none() | st.floats(0, 1)), max_size=4), max_size=3))
@settings(max_examples=100, deadline=None)
def test_any_values_come_back_exactly(tmp_path_factory, images):
    path = tmp_path_factory.mktemp("any") / "o.json"
    wanted = [
        CocoImage(f"{k}.png", (9 + k, 7), Annotation(tuple(Nucleus(v, n, confidence=c) for v, n, c in regions)))
        for k, regions in enumerate(images)
    ]
    write_coco(wanted, path)
    found = read_coco(path)
    assert [(i.file_name, i.shape) for i in found] == [(i.file_name, i.shape) for i in wanted]
    for one, other in zip(found, wanted, strict=True):
        for a, b in zip(one.annotation, other.annotation, strict=True):
            assert (a.label, a.confidence) == (b.label, b.confidence)
            if not (b.vertices == np.rint(b.vertices)).all():  # else its pixels are meant
                np.testing.assert_allclose(opened(a.vertices), opened(b.vertices), rtol=0, atol=1e-9)


def runs_of(mask):
    """COCO's runs by their definition: down the columns, zeros first."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]]))).tolist()
    return np.diff([0, *changes]).tolist() if changes else [len(flat)]


def packed(runs):
    """Compressed runs, after ``rleToString`` of cocoapi's maskApi.c."""
    text = []
    for k, run in enumerate(runs):
        value = run - runs[k - 2] if k > 2 else run
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != -1 if bits & 0x10 else value != 0
            text.append(chr((bits | 0x20 if more else bits) + 48))
    return "".join(text)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))), st.booleans())
@settings(max_examples=250, deadline=None)
def test_run_lengths_come_back_as_outlines_of_the_same_pixels(tmp_path_factory, mask, compressed):
    path = tmp_path_factory.mktemp("rle")
    runs = runs_of(mask)
    assert sum(runs) == mask.size
    segmentation = {"size": list(mask.shape), "counts": packed(runs) if compressed else runs}
    content = entry(segmentation=segmentation) | {
        "images": [{"id": 1, "file_name": "a.png", "height": mask.shape[0], "width": mask.shape[1]}]
    }
    if not mask.any():
        with pytest.raises(AnnotationError, match="empty"):
            read(path, content)
        return
    outline = read(path, content)[0].annotation.regions[0].vertices
    np.testing.assert_array_equal(drawn(outline, mask.shape), mask)
    assert len(outline) >= 3


def test_polygons_of_one_object_are_a_union(tmp_path):
    """Of pixels whose centre any of them holds; overlapping ones too (even-odd would cut the overlap out)."""
    import shapely

    for parts in (
        [[1, 1, 3, 1, 3, 3, 1, 3], [6, 6, 8, 6, 8, 9, 6, 9]],
        [[1, 1, 6, 1, 6, 6, 1, 6], [4, 3, 9, 3, 9, 9, 4, 9]],
        [[1.2, 1, 6, 1.3, 6, 6, 1, 6.4], [4, 3, 9, 3.2, 9, 9, 4.1, 9]],
    ):
        outline = read(tmp_path, entry(segmentation=parts))[0].annotation.regions[0].vertices
        yy, xx = np.mgrid[:12, :10]
        shapes = [shapely.Polygon(np.reshape(p, (-1, 2))) for p in parts]
        expected = np.logical_or.reduce([shapely.contains_xy(s, xx + 0.5, yy + 0.5) for s in shapes])
        np.testing.assert_array_equal(drawn(outline, (12, 10)), expected)


def test_a_mask_with_a_hole_is_written_as_run_lengths(tmp_path):
    from napari_monusac.masks.polygons import polygons_from_instances

    mask = np.zeros((12, 10), bool)
    mask[2:9, 1:8] = True
    mask[4:6, 3:5] = False
    outline = polygons_from_instances(mask.astype(np.int32)).polygons[1]
    write_coco([CocoImage("a.png", (12, 10), Annotation((Nucleus(outline),)))], tmp_path / "o.json")
    (written,) = json.loads((tmp_path / "o.json").read_text())["annotations"]
    assert written["segmentation"] == {"size": [12, 10], "counts": runs_of(mask)}
    assert written["area"] == mask.sum()
    back = read_coco(tmp_path / "o.json")[0].annotation.regions[0].vertices
    np.testing.assert_array_equal(drawn(back, (12, 10)), mask)


def test_files_of_before_keep_their_pixels(tmp_path):
    old = entry(segmentation=[[1, 2, 5, 2, 5, 8, 1, 8]])
    square = np.array([[2, 1], [2, 5], [8, 5], [8, 1]], float)
    for info, pixels in (({"description": "napari-monusac", "version": "1.0"}, 35), ({"description": "other"}, 24)):
        found = read(tmp_path, old | {"info": info})[0].annotation
        assert drawn(found.regions[0].vertices, (12, 10)).sum() == pixels
        from napari_monusac.io.annotations.files import write_annotation

        write_annotation(found, tmp_path / "b.json")
        assert drawn(read_annotation(tmp_path / "b.json").regions[0].vertices, (12, 10)).sum() == pixels
    assert drawn(square, (12, 10)).sum() == 35


def test_objects_without_a_mask_are_kept_and_counted(tmp_path):
    from napari_monusac.io.annotations.files import write_annotation

    good = document()["annotations"][0] | {"attributes": {"occluded": False}, "iscrowd": 0}
    bare = {"id": 2, "image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2]}
    others = [bare, good | {"id": 3, "segmentation": [[1, 1, 2, 2]]}, good | {"id": 4, "category_id": 9}]
    content = document(
        annotations=[good, *others, good | {"id": 5, "image_id": 7}], licenses=[{"id": 1}], info={"year": 2}
    )
    found = read(tmp_path, content)[0].annotation
    assert [n.label for n in found.nuclei] == ["Neutrophil", ""]
    assert found.notes == (
        "2 objects are kept but are no nuclei: 1 without a mask (a box alone), 1 with a damaged polygon",
        "1 nuclei are of a category that is not there: without a class",
        "1 of 5 objects belong to images that are not there",
    )
    assert write_annotation(found, tmp_path / "b.json") == ()
    assert json.loads((tmp_path / "b.json").read_text()) == content


def test_read_annotation_takes_single_image_files(tmp_path):
    (tmp_path / "coco.json").write_text(json.dumps(document()))
    assert read_annotation(tmp_path / "coco.json").regions[0].label == "Neutrophil"
    two = document()["images"] + [{"id": 2, "file_name": "b.png", "height": 12, "width": 10}]
    (tmp_path / "coco.json").write_text(json.dumps(document(images=two)))
    with pytest.raises(AnnotationError, match="2 images"):
        read_annotation(tmp_path / "coco.json")


GARBAGE = [
    {},
    [],
    5,
    None,
    document(images=5),
    document(images=[5]),
    document(annotations=5),
    document(categories=[{"id": 1}]),
    document(categories=[]),
    document(images=[{"id": 1, "height": 4, "width": 4}]),
    document(images=[{"file_name": "a", "height": 4, "width": 4}]),
    document(images=[{"id": [1], "file_name": "a", "height": 4, "width": 4}]),
    document(images=[{"id": 1, "file_name": "a", "height": -4, "width": 4}]),
    entry(image_id=7),
    entry(category_id=7),
    entry(image_id=[1]),
    entry(segmentation=None),
    entry(segmentation=[]),
    entry(segmentation=[[1, 2]]),
    entry(segmentation=[[1, 2, 3, 4, 5]]),
    entry(segmentation=[["a"] * 6]),
    entry(segmentation=[[1, 2, 3, 4, 5, None]]),
    entry(segmentation=[[1e9] * 6]),
    entry(segmentation={"size": [3, 3], "counts": [9]}),
    entry(segmentation={"size": [12, 10], "counts": [5]}),
    entry(segmentation={"size": [12, 10], "counts": "~~~"}),
    entry(segmentation={"size": [12, 10], "counts": "PPPPPPPPPPPPPPPPPPPPP"}),
    entry(segmentation={"size": [12, 10], "counts": "o"}),
    entry(segmentation={"size": [12, 10], "counts": [130, -10]}),
    entry(segmentation={"counts": None}),
]


@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_garbage_is_refused_with_one_line(tmp_path, number):
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path, GARBAGE[number])
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/passwd", "a/../../b", r"C:\a.png", r"..\a", r"\\host\share", "", "a\0b"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(HostileFileError, match="leads out"):
        read(tmp_path, document(images=[{"id": 1, "file_name": name, "height": 12, "width": 10}]))


def test_names_in_folders_are_fine(tmp_path):
    image = {"id": 1, "file_name": "patient/a b.png", "height": 12, "width": 10}
    assert read(tmp_path, document(images=[image]))[0].file_name == "patient/a b.png"


def test_huge_masks_are_refused(tmp_path):
    image = {"id": 1, "file_name": "a", "height": 100_000, "width": 100_000}
    content = entry(segmentation={"size": [100_000, 100_000], "counts": [10**10]}) | {"images": [image]}
    with pytest.raises(HostileFileError, match="a mask of"):
        read(tmp_path, content)


def test_real_files_draw_the_same_through_coco(shared_data, tmp_path):
    from napari_monusac.masks.rasterize import label_maps

    images = [CocoImage(p.stem, (800, 1000), read_annotation(p)) for p in sorted(shared_data.rglob("*.xml"))[::8]]
    write_coco(images, tmp_path / "o.json")
    for one, other in zip(images, read_coco(tmp_path / "o.json"), strict=True):
        a, b = label_maps(one.annotation, one.shape), label_maps(other.annotation, other.shape)
        np.testing.assert_array_equal(a.instances, b.instances)
        np.testing.assert_array_equal(a.semantic, b.semantic)
        np.testing.assert_array_equal(a.ignore, b.ignore)


def test_ids_and_polygons_as_programs_spell_them(tmp_path):
    square = [1, 1, 6, 1, 6, 8, 1, 8]
    content = document(
        images=[{"id": "1", "file_name": "a.png", "height": 12.0, "width": 10}],
        categories=[{"id": 3, "name": "Macrophage"}],
        annotations=[
            {"id": 1, "image_id": 1.0, "category_id": "3", "segmentation": square},
            {"id": 2, "image_id": 1, "category_id": 3.0, "segmentation": [square]},
        ],
    )
    ((_, shape, annotation),) = [(i.file_name, i.shape, i.annotation) for i in read(tmp_path, content)]
    assert shape == (12, 10)
    assert [n.label for n in annotation.nuclei] == ["Macrophage"] * 2
    assert (drawn(annotation.nuclei[0].vertices, shape) == drawn(annotation.nuclei[1].vertices, shape)).all()
    assert drawn(annotation.nuclei[0].vertices, shape).sum() == 35  # 5 x 7 px


def test_several_images_know_regions_of_interest_and_categories(tmp_path):
    """Two images with categories of their own: numbers are those of the file that is written."""
    cell = [[x, y, x + 8, y, x + 8, y + 8, x, y + 8] for x in (10, 30, 50) for y in (10, 30, 50)]
    around = [5, 5, 65, 5, 65, 65, 5, 65]
    names = ["lymphocyte", "roi", "neutrophil"]
    content = document(
        images=[{"id": k, "file_name": f"{k}.png", "height": 80, "width": 80} for k in (1, 2)],
        categories=[{"id": 7 + k, "name": name} for k, name in enumerate(names)],
        annotations=[
            *({"id": k, "image_id": 1, "category_id": 7, "segmentation": [c]} for k, c in enumerate(cell)),
            {"id": 20, "image_id": 1, "category_id": 8, "segmentation": [around]},
            {"id": 21, "image_id": 2, "category_id": 9, "bbox": [1, 1, 4, 4]},
        ],
    )
    images = read(tmp_path, content)
    assert [len(i.annotation.nuclei) for i in images] == [9, 0]
    assert [r.label for r in images[0].annotation.regions_of_interest] == ["roi"]
    assert write_coco(images, tmp_path / "b.json") == ()
    written = json.loads((tmp_path / "b.json").read_text())
    called = {c["id"]: c["name"].casefold() for c in written["categories"]}
    assert [called[a["category_id"]] for a in written["annotations"]] == ["lymphocyte"] * 9 + ["roi", "neutrophil"]
    back = read_coco(tmp_path / "b.json")
    assert [[r.role for r in i.annotation.regions] for i in back] == [
        [r.role for r in i.annotation.regions] for i in images
    ]


# ---------------------------------------------------------------------- against the format's own library


@pytest.fixture
def reference(tmp_path, capsys):
    """Load a file as pycocotools does: its entries, each with the mask that it decodes."""
    coco = pytest.importorskip("pycocotools.coco")

    def load(path):
        found = coco.COCO(str(path))
        entries = found.loadAnns(found.getAnnIds())
        return [(e, found.annToRLE(e), found.annToMask(e).astype(bool)) for e in entries]

    return load


def blobs(count, side=40):
    """Blobs of noise as outlines: with holes, in parts that touch in corners, at the edge; and their pixels."""
    from scipy.ndimage import gaussian_filter

    from napari_monusac.masks.polygons import polygons_from_instances

    rng = np.random.default_rng(0)
    for _ in range(count):
        noise = gaussian_filter(rng.normal(size=(side, side)), rng.uniform(0.8, 2.5))
        mask = noise > np.quantile(noise, rng.uniform(0.6, 0.95))
        outline = polygons_from_instances(mask.astype(np.int32)).polygons[1]
        yield outline, drawn(outline, mask.shape)


def test_pycocotools_reads_the_pixels_areas_and_boxes_that_we_write(reference, tmp_path):
    from pycocotools import mask as rle

    outlines, masks = zip(*blobs(60), strict=True)
    regions = tuple(Nucleus(o, "Epithelial") for o in outlines)
    write_coco([CocoImage("a.png", masks[0].shape, Annotation(regions))], tmp_path / "o.json")
    kinds = set()
    for (entry, runs, found), mask in zip(reference(tmp_path / "o.json"), masks, strict=True):
        np.testing.assert_array_equal(found, mask)
        assert entry["area"] == rle.area(runs) == mask.sum()
        assert entry["bbox"] == rle.toBbox(runs).tolist()
        kinds.add(type(entry["segmentation"]))
    assert kinds == {list, dict}, "polygons, and run lengths where there are holes"


@pytest.mark.parametrize("compressed", [True, False])
def test_we_read_the_pixels_that_pycocotools_encodes(reference, tmp_path, compressed):
    from pycocotools import mask as rle

    masks = [m for _, m in blobs(60)]
    entries = []
    for k, mask in enumerate(masks):
        runs = rle.encode(np.asfortranarray(mask, np.uint8))
        counts = runs["counts"].decode() if compressed else runs_of(mask)
        assert rle.frPyObjects({"size": list(mask.shape), "counts": runs_of(mask)}, *mask.shape) == runs
        assert packed(runs_of(mask)) == runs["counts"].decode()
        segmentation = {"size": list(mask.shape), "counts": counts}
        entries.append({"id": k, "image_id": 1, "category_id": 3, "segmentation": segmentation})
    side = masks[0].shape[0]
    images = [{"id": 1, "file_name": "a.png", "height": side, "width": side}]
    (image,) = read(tmp_path, document(images=images, annotations=entries))
    for region, mask in zip(image.annotation.regions, masks, strict=True):
        np.testing.assert_array_equal(drawn(region.vertices, mask.shape), mask)


def test_polygons_of_one_object_cover_what_pycocotools_merges(tmp_path, reference):
    rng, side = np.random.default_rng(1), 40
    entries = []
    for k in range(40):
        corners, sides = rng.integers(2, 24, (3, 2)), rng.integers(3, 14, (3, 2))
        parts = [
            [int(v) for v in (x, y, x + w, y, x + w, y + h, x, y + h)]
            for (y, x), (h, w) in zip(corners, sides, strict=True)
        ]
        entries.append({"id": k, "image_id": 1, "category_id": 3, "segmentation": parts, "iscrowd": 0})
    images = [{"id": 1, "file_name": "a.png", "height": side, "width": side}]
    (image,) = read(tmp_path, document(images=images, annotations=entries))
    for region, (_, _, mask) in zip(image.annotation.regions, reference(tmp_path / "coco.json"), strict=True):
        np.testing.assert_array_equal(drawn(region.vertices, mask.shape), mask)


def test_outlines_between_the_pixels_lie_where_pycocotools_draws_them(reference, tmp_path):
    """Its lines are a fifth of a pixel coarse: not the same pixels, but no shift; half a pixel would cost 0.07 of IoU."""
    angle, rng, side = np.linspace(0, 2 * np.pi, 32, endpoint=False), np.random.default_rng(2), 48
    outlines = []
    for _ in range(100):
        radius = rng.uniform(5, 15) * (1 + 0.15 * np.sin(3 * angle + rng.uniform(0, 6)))
        outlines.append(rng.uniform(20, 28, 2) + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1))
    regions = tuple(Nucleus(o, "Epithelial") for o in outlines)
    write_coco([CocoImage("a.png", (side, side), Annotation(regions))], tmp_path / "o.json")
    entries = reference(tmp_path / "o.json")

    def iou(shift):
        masks = [drawn(o + shift, (side, side)) for o in outlines]
        return np.mean([(a & b).sum() / (a | b).sum() for a, (_, _, b) in zip(masks, entries, strict=True)])

    assert iou(0) > 0.98
    assert max(iou(0.5), iou(-0.5)) < 0.94
    ours, theirs = (
        sum(m.sum() for m in masks)
        for masks in ([drawn(o, (side, side)) for o in outlines], [m for _, _, m in entries])
    )
    assert ours / theirs == pytest.approx(1, abs=0.003)
