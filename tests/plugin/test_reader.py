from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_monusac.core.classes import class_colors
from napari_monusac.core.errors import MonusacError
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.io.slides.slide import open_slide
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.masks.ternary import ternary_map
from napari_monusac.plugin.layers import crop_layers
from napari_monusac.plugin.reader import get_reader, read

SQUARES = {"Epithelial": (10, 10), "Macrophage": (40, 30), "": (60, 60), "Ambiguous": (5, 70)}


def xml(scale: str = ' MicronsPerPixel="0.25"') -> str:
    layers = []
    for k, (name, (y, x)) in enumerate(SQUARES.items(), start=1):
        points = ((x, y), (x + 12, y), (x + 12, y + 9), (x, y + 9))
        vertices = "".join(f'<Vertex X="{a}" Y="{b}" Z="0"/>' for a, b in points)
        layers.append(
            f'<Annotation Id="{k}" Name="" LineColor="255"><Attributes><Attribute Name="{name}" Id="0" Value=""/>'
            f'</Attributes><Regions><Region Id="7" Text="keep"><Vertices>{vertices}</Vertices></Region></Regions>'
            "</Annotation>"
        )
    return f"<Annotations{scale}>{''.join(layers)}</Annotations>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two patients in the official layout, right colours."""
    root = tmp_path / "MoNuSAC_images_and_annotations"
    rng = np.random.default_rng(0)
    for patient in ("TCGA-5P-A9K0-01Z-00-DX1", "TCGA-G9-6356-01Z-00-DX1"):
        (root / patient).mkdir(parents=True)
        for k in (1, 2):
            path = root / patient / f"{patient}_{k}.tif"
            tifffile.imwrite(path, rng.integers(200, 255, (90, 100, 3), np.uint8), photometric="rgb")
            path.with_suffix(".xml").write_text(xml())
    return root


def test_what_is_ours_and_what_is_not(folder: Path, tmp_path: Path) -> None:
    crop = next(folder.rglob("*_1.tif"))
    plain, other = tmp_path / "plain.tif", tmp_path / "other.tif"
    for path in (plain, other):
        tifffile.imwrite(path, np.zeros((8, 8), np.uint8))
    other.with_suffix(".xml").write_text("<OME/>")
    (tmp_path / "notes.xml").write_text(xml())
    stack = tmp_path / "stack"
    stack.mkdir()
    tifffile.imwrite(stack / "z0.tif", np.zeros((8, 8), np.uint8))
    for ours in (crop, crop.with_suffix(".xml"), crop.parent, folder, tmp_path / "missing.svs"):
        assert get_reader(str(ours)) is read, ours
        assert get_reader([str(ours)]) is read
    for foreign in (plain, other, tmp_path / "notes.xml", stack, tmp_path / "a.txt", tmp_path / "no such folder"):
        assert get_reader(str(foreign)) is None, foreign
    assert get_reader([str(crop), str(crop)]) is None


@pytest.mark.parametrize(("image", "annotation"), [
    ("a.png", "a.geojson"), ("a.PNG", "a.png.geojson"), ("Tissue Images/a.png", "Annotations/a.geojson"), ("A.png", "a.xml"),
])  # fmt: skip
def test_what_slides_takes_can_be_dropped(tmp_path: Path, image: str, annotation: str) -> None:
    from PIL import Image

    for name in (image, annotation):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((90, 100, 3), 220, np.uint8)).save(tmp_path / image, "png")
    ring = [[[10, 10], [30, 10], [30, 30], [10, 30], [10, 10]]]
    nucleus = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": ring},
               "properties": {"classification": {"name": "Epithelial"}}}  # fmt: skip
    geojson = json.dumps({"type": "FeatureCollection", "features": [nucleus]})
    (tmp_path / annotation).write_text(geojson if annotation.endswith("json") else xml())
    for dropped in (tmp_path, tmp_path / image, tmp_path / annotation):
        assert get_reader(str(dropped)) is read, dropped
        layers = {attributes["name"]: data for data, attributes, _ in read(str(dropped))}
        assert layers["nuclei"].max() >= 1
        assert layers["image"].shape == (90, 100, 3)


def test_the_manifest_offers_every_suffix_that_slides_takes() -> None:
    from importlib.resources import files

    import yaml

    from napari_monusac.io.collection.pairing import ANNOTATION_SUFFIXES
    from napari_monusac.io.slides.slide import IMAGE_SUFFIXES

    manifest = yaml.safe_load((files("napari_monusac") / "napari.yaml").read_text())
    patterns = manifest["contributions"]["readers"][0]["filename_patterns"]
    for suffix in (*IMAGE_SUFFIXES, *ANNOTATION_SUFFIXES):
        assert {f"*{suffix}", f"*{suffix.upper()}"} <= set(patterns)


def test_layers_of_a_crop(folder: Path) -> None:
    path = next(folder.rglob("*_1.tif"))
    layers = {attributes["name"]: (data, attributes, kind) for data, attributes, kind in read(str(path))}
    assert list(layers) == ["image", "semantic", "ternary", "ambiguous", "nuclei"]
    annotation = read_annotation(path.with_suffix(".xml"))
    maps = label_maps(annotation, (90, 100))
    assert np.array_equal(layers["image"][0], tifffile.imread(path))
    assert np.array_equal(layers["nuclei"][0], maps.instances)
    assert layers["nuclei"][0].dtype == np.int32
    assert np.array_equal(layers["semantic"][0], maps.semantic)
    assert np.array_equal(layers["ternary"][0], ternary_map(maps.instances))
    assert np.array_equal(layers["ambiguous"][0], maps.ignore)
    for _, attributes, kind in layers.values():
        assert attributes["scale"] == (0.25, 0.25)
        assert attributes["units"] == ("um", "um")
        about = attributes["metadata"]["monusac"]
        assert about["role"] == attributes["name"]
        assert about["crop"] == path.stem
        assert about["patient"] == path.stem[:12]
        assert about["image"] == str(path)
        assert about["annotation"] == str(path.with_suffix(".xml"))
        assert kind == ("image" if about["role"] == "image" else "labels")


def test_nuclei_have_a_row_and_their_class_colour(folder: Path) -> None:
    attributes = next(a for _, a, _ in read(str(next(folder.rglob("*_1.xml")))) if a["name"] == "nuclei")
    features = attributes["features"]
    assert features["index"].tolist() == [1, 2, 3]
    assert features["class"].tolist() == ["Epithelial", "Macrophage", "Unclassified"]
    assert features["region_id"].tolist() == ["7", "7", "7"]
    assert (features["area_px"] > 90).all()
    colors = attributes["colormap"]
    assert colors[1] == class_colors()[1] == (1, 0, 0, 1)
    assert colors[2] == class_colors()[4] == (0, 1, 0, 1)
    assert colors[0][3] == 0


def test_a_folder_opens_its_first_crop_and_says_where_it_stands(folder: Path) -> None:
    data, attributes, _ = read(str(folder))[0]
    assert attributes["metadata"]["monusac"]["collection"] == str(folder)
    assert attributes["metadata"]["monusac"]["crop"] == "TCGA-5P-A9K0-01Z-00-DX1_1"
    assert data.shape == (90, 100, 3)


def test_without_annotation_only_the_image_and_without_scale_pixels(folder: Path) -> None:
    path = next(folder.rglob("*_1.tif"))
    path.with_suffix(".xml").unlink()
    ((_, attributes, kind),) = read(str(path))
    assert kind == "image"
    assert attributes["units"] == ("pixel", "pixel")
    assert attributes["scale"] == (1, 1)


def test_swapped_channels_are_put_right_and_said(tmp_path: Path) -> None:
    yy, xx = np.mgrid[:120, :120]
    stain = ((yy % 30 - 15) ** 2 + (xx % 30 - 15) ** 2 < 60)[..., None] * [0.65, 0.70, 0.29] + np.array(
        [0.05, 0.6, 0.1]
    )
    right = np.rint(255 * np.exp(-stain)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a_1.tif", right[..., ::-1], photometric="rgb")
    (tmp_path / "a_1.xml").write_text(xml())
    data, attributes, _ = read(str(tmp_path / "a_1.tif"))[0]
    assert np.array_equal(data, right)
    assert attributes["metadata"]["monusac"]["channels_swapped"]
    assert any("put right" in note for note in attributes["metadata"]["monusac"]["notes"])


def test_a_pyramid_stays_lazy_and_of_a_large_single_level_all_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_monusac.plugin.layers.EDITABLE_PX", 5000)
    monkeypatch.setattr("napari_monusac.io.slides.slide.LARGE_PX", 5000)
    monkeypatch.setattr("napari_monusac.io.slides.growing._SMALLEST_PX", 40)
    monkeypatch.setenv("MONUSAC_CACHE", str(tmp_path / "cache"))
    image = np.random.default_rng(0).integers(0, 255, (100, 120, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.svs") as writer:
        for k, pixels in enumerate((image, image[::4, ::4])):
            writer.write(pixels, tile=(16, 16), photometric="rgb", subfiletype=int(k > 0), metadata=None,
                         description="Aperio Image Library|MPP = 0.5")  # fmt: skip
    with open_slide(tmp_path / "a.svs") as slide:
        data, attributes, _ = crop_layers(slide)[0]
        assert attributes["multiscale"]
        assert [d.shape for d in data] == [(100, 120, 3), (25, 30, 3)]
        assert np.array_equal(np.asarray(data[0][5:9, 6:7]), image[5:9, 6:7])
    tifffile.imwrite(tmp_path / "b.svs", image, tile=(16, 16), photometric="rgb", metadata=None,
                     description="Aperio Image Library|MPP = 0.5")  # fmt: skip
    (tmp_path / "b.xml").write_text(xml())
    with open_slide(tmp_path / "b.svs") as slide:
        layers = crop_layers(slide, read_annotation(tmp_path / "b.xml"))
        data, attributes, _ = layers[0]
        assert attributes["multiscale"]
        assert not attributes["cache"]
        assert attributes["translate"] == (0, 0)
        assert [d.shape for d in data] == [(100, 120, 3), (25, 30, 3)]
        assert np.array_equal(np.asarray(data[0]), image)
        assert slide.growing.wait(60)
        means = image.reshape(25, 4, 30, 4, 3).mean((1, 3))
        assert np.abs(np.asarray(data[1]) - means).max() <= 0.5
        nuclei, placed, _ = layers[-1]
        top, left = placed["metadata"]["monusac"]["offset_px"]
        whole = label_maps(read_annotation(tmp_path / "b.xml"), (100, 120)).instances
        assert np.array_equal(whole[top : top + nuclei.shape[0], left : left + nuclei.shape[1]], nuclei)
        assert nuclei.size < whole.size


def test_damaged_files_give_our_error(folder: Path) -> None:
    path = next(folder.rglob("*_1.tif"))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(MonusacError, match=path.name):
        read(str(path))
    with pytest.raises(MonusacError):
        read(str(folder / "missing.svs"))
    with pytest.raises(MonusacError):
        read([str(path), str(path)])


CODE = """
import sys
from npe2 import PluginManager
PluginManager.instance().discover()
from npe2.io_utils import read
layers = read([sys.argv[1]], stack=False, plugin_name="napari-monusac")
bad = [m for m in ("torch", "albumentations", "qtpy", "napari", "segmentation_models_pytorch") if m in sys.modules]
assert not bad, bad
assert len(layers) == 5
"""


def test_a_fresh_process_reads_without_torch_qt_or_napari(folder: Path) -> None:
    path = next(folder.rglob("*_1.tif"))
    done = subprocess.run([sys.executable, "-c", CODE, path], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_napari_takes_the_layers(folder: Path) -> None:
    from napari.layers import Layer

    for data, attributes, kind in read(str(next(folder.rglob("*_1.tif")))):
        layer = Layer.create(data, attributes, kind)
        assert layer.name == attributes["name"]
        assert tuple(str(u) for u in layer.units) == ("micrometer", "micrometer")
    colors = layer.colormap.map(np.array([0, 1, 2, 3], np.int32))
    assert np.allclose(colors, [(0, 0, 0, 0), (1, 0, 0, 1), (0, 1, 0, 1), class_colors()[255]])


@pytest.mark.shared
def test_the_real_crop_has_321_nuclei(shared_data: Path) -> None:
    layers = read(str(next(shared_data.rglob("TCGA-5P-A9K0-01Z-00-DX1_1.svs"))))
    assert int(layers[-1][0].max()) == 321


def test_regions_of_interest_are_shown_as_outlines_and_not_drawn(folder: Path) -> None:
    crop = next(folder.rglob("*_1.tif"))
    plain = read(str(crop))
    assert not [a for _, a, kind in plain if kind == "shapes"]
    corners = ((2, 3), (95, 3), (95, 80), (2, 80))
    vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in corners)
    roi = (
        '<Annotation Id="9" Name="ROI"><Attributes/><Regions><Region Id="4" Type="1">'
        f"<Vertices>{vertices}</Vertices></Region></Regions></Annotation>"
    )
    crop.with_suffix(".xml").write_text(xml().replace("</Annotations>", f"{roi}</Annotations>"))
    layers = read(str(crop))
    (found,) = [(data, a) for data, a, kind in layers if kind == "shapes"]
    assert [a["name"] for _, a, _ in layers][1] == "regions of interest"
    assert [np.asarray(v).tolist() for v in found[0]] == [[[y, x] for x, y in corners]]
    assert found[1]["metadata"]["monusac"]["role"] == "regions of interest"
    for (before, a, kind), (after, b, _) in zip(plain, [layers[0], *layers[2:]], strict=True):
        assert a["name"] == b["name"]
        assert np.array_equal(before, after), kind
