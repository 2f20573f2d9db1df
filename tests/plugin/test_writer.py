from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from npe2 import PluginManifest

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import AnnotationError
from napari_monusac.io.annotations.files import read_annotation
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.plugin.reader import read
from napari_monusac.plugin.writer import write_csv, write_geojson, write_tif, write_xml

MANIFEST = Path(__file__).resolve().parents[2] / "src" / "napari_monusac" / "napari.yaml"
OUTLINES = {
    "Epithelial": [((10, 10), (30, 10), (30, 28), (10, 28)), ((40, 40), (60, 44), (52, 66))],
    "Lymphocyte": [((70, 20), (84, 22), (80, 40), (68, 36))],
    "Ambiguous": [((0, 70), (20, 70), (20, 88), (0, 88))],
}


@pytest.fixture
def crop(tmp_path: Path) -> Path:
    layers = []
    for k, (name, outlines) in enumerate(OUTLINES.items(), start=1):
        regions = "".join(
            f'<Region Id="{5 + r}" Text="by hand"><Vertices>'
            + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in outline)
            + "</Vertices></Region>"
            for r, outline in enumerate(outlines)
        )
        layers.append(
            f'<Annotation Id="{k}" Name="" LineColor="255"><Attributes><Attribute Name="{name}" Id="0" Value=""/>'
            f"</Attributes><Regions>{regions}</Regions></Annotation>"
        )
    image = np.random.default_rng(0).integers(120, 255, (90, 100, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a_1.tif", image, photometric="rgb")
    (tmp_path / "a_1.xml").write_text(f'<Annotations MicronsPerPixel="0.25">{"".join(layers)}</Annotations>')
    return tmp_path / "a_1.tif"


def nuclei_layer(crop: Path) -> tuple[np.ndarray, dict[str, Any]]:
    data, attributes, _ = read(str(crop))[-1]
    return data, attributes


def test_an_unedited_layer_comes_back_as_it_was(crop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.xml"
    assert write_xml(str(out), *nuclei_layer(crop)) == [str(out)]
    before, after = read_annotation(crop.with_suffix(".xml")), read_annotation(out)
    assert after.regions == before.regions
    assert after.um_per_px == 0.25


def test_only_the_edited_nucleus_changes(crop: Path, tmp_path: Path) -> None:
    data, attributes = nuclei_layer(crop)
    data = data.copy()
    data[10:14][data[10:14] == 1] = 0  # the first loses its top
    data[data == 3] = 0  # the third is deleted
    data[50:60, 5:15] = 9  # a new one
    attributes["features"] = pd.concat(
        [attributes["features"], pd.DataFrame({"index": [9], "class": ["Neutrophil"]})], ignore_index=True
    )
    write_xml(str(tmp_path / "out.xml"), data, attributes)
    before, after = read_annotation(crop.with_suffix(".xml")), read_annotation(tmp_path / "out.xml")
    assert [r.label for r in after.regions] == ["Epithelial", "Epithelial", "Ambiguous", "Neutrophil"]
    assert after.regions[1] == before.regions[1]
    assert after.regions[2].vertices.tolist() == before.regions[3].vertices.tolist()
    assert dict(after.regions[0].attributes)["Text"] == "by hand"
    drawn = label_maps(after, data.shape)
    assert np.array_equal(drawn.instances > 0, data > 0)
    assert (drawn.semantic[50:60, 5:15] == NucleusClass.NEUTROPHIL).all()


def test_a_changed_class_is_written(crop: Path, tmp_path: Path) -> None:
    data, attributes = nuclei_layer(crop)
    attributes["features"].loc[1, "class"] = "Macrophage"
    write_xml(str(tmp_path / "out.xml"), data, attributes)
    after = read_annotation(tmp_path / "out.xml")
    assert sorted(n.label for n in after.nuclei) == ["Epithelial", "Lymphocyte", "Macrophage"]
    assert np.array_equal(label_maps(after, data.shape).instances > 0, data > 0)


def test_geojson_csv_and_tif(crop: Path, tmp_path: Path) -> None:
    data, attributes = nuclei_layer(crop)
    write_geojson(str(tmp_path / "out.geojson"), data, attributes)
    features = json.loads((tmp_path / "out.geojson").read_text())["features"]
    assert [f["properties"]["classification"]["name"] for f in features[:3]] == [
        "Epithelial",
        "Epithelial",
        "Lymphocyte",
    ]
    write_csv(str(tmp_path / "out.csv"), data, attributes)
    table = pd.read_csv(tmp_path / "out.csv")
    assert len(table) == 3
    assert table["mean_haematoxylin_od"].notna().all()
    assert table["area_um2"].tolist() == pytest.approx([(data == k).sum() * 0.0625 for k in (1, 2, 3)])
    write_tif(str(tmp_path / "out.tif"), data, attributes)
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), data)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert tiff.pages[0].tags["XResolution"].value[0] / tiff.pages[0].tags["XResolution"].value[1] == pytest.approx(
            40000
        )


def test_a_layer_of_another_program_and_a_prediction(tmp_path: Path) -> None:
    data = np.zeros((40, 50), np.uint16)
    data[5:15, 5:20] = 4
    write_xml(str(tmp_path / "plain.xml"), data, {"name": "labels"})
    (nucleus,) = read_annotation(tmp_path / "plain.xml").nuclei
    assert nucleus.nucleus_class is NucleusClass.UNCLASSIFIED
    table = pd.DataFrame({"index": [4], "class": ["Lymphocyte"], "confidence": [0.75]})
    about = {"monusac": {"role": "predicted nuclei", "um_per_px": 0.25, "annotation": "x.xml", "offset_px": (100, 200)}}
    write_xml(str(tmp_path / "predicted.xml"), data, {"features": table, "metadata": about})
    (nucleus,) = read_annotation(tmp_path / "predicted.xml").nuclei
    assert nucleus.label == "Lymphocyte"
    assert nucleus.confidence == 0.75
    assert nucleus.vertices.min(0).tolist() == [105, 205]


def test_of_a_pyramid_the_largest_level_is_saved(tmp_path: Path) -> None:
    data = np.zeros((80, 80), np.int32)
    data[40:60, 20:50] = 3
    levels = [data, data[::2, ::2], data[::4, ::4]]
    write_geojson(str(tmp_path / "o.geojson"), levels, {"multiscale": True})
    (nucleus,) = read_annotation(tmp_path / "o.geojson").nuclei
    assert nucleus.vertices.min(0).tolist() == [40, 20]
    write_tif(str(tmp_path / "o.tif"), levels, {"multiscale": True})
    assert np.array_equal(tifffile.imread(tmp_path / "o.tif"), data)


@pytest.mark.parametrize(
    ("scale", "units", "um"),
    [
        ((0.00025, 0.00025), ("mm", "millimeter"), 0.25),
        ((250, 250), ("nanometer", "nm"), 0.25),
        ((0.5, 0.5), ("\u00b5m", "\u03bcm"), 0.5),
        ((0.25, 250), ("um", "nm"), 0.25),
        ((1, 1), ("pixel", "pixel"), None),
    ],
)
def test_scale_in_any_unit_of_length(tmp_path: Path, scale: Any, units: Any, um: float | None) -> None:
    data = np.zeros((20, 20), np.int32)
    data[5:9, 5:9] = 1
    write_xml(str(tmp_path / "o.xml"), data, {"scale": scale, "units": units})
    found = read_annotation(tmp_path / "o.xml").um_per_px
    assert found == (None if um is None else pytest.approx(um))


def test_unequal_sides_are_said(tmp_path: Path) -> None:
    data = np.zeros((20, 20), np.int32)
    data[5:9, 5:9] = 1
    with pytest.warns(UserWarning, match="0.25 x 0.5 µm have unequal sides"):
        write_xml(str(tmp_path / "o.xml"), data, {"scale": (0.25, 0.5), "units": ("um", "um")})
    assert read_annotation(tmp_path / "o.xml").um_per_px is None


def test_a_layer_of_another_program_keeps_its_place(tmp_path: Path) -> None:
    data = np.zeros((20, 20), np.int32)
    data[5:9, 6:9] = 1
    attributes = {"scale": (0.25, 0.25), "units": ("um", "um"), "translate": (25.0, 50.0)}
    write_geojson(str(tmp_path / "o.geojson"), data, attributes)
    (nucleus,) = read_annotation(tmp_path / "o.geojson").nuclei
    assert nucleus.vertices.min(0).tolist() == [105, 206]
    write_csv(str(tmp_path / "o.csv"), data, attributes)
    assert pd.read_csv(tmp_path / "o.csv")[["centroid_y", "centroid_x"]].to_numpy().tolist() == [[106.5, 207]]


def test_a_part_of_a_slide_keeps_what_lies_outside_it(crop: Path, tmp_path: Path) -> None:
    """The layer begins at (y 20, x 0): of the first nucleus the lower part, of the others all."""
    data, attributes = nuclei_layer(crop)
    part = data[20:].copy()
    part[2:8][part[2:8] == 1] = 0  # the first loses its lowest rows
    attributes["metadata"]["monusac"]["offset_px"] = (20, 0)
    write_xml(str(tmp_path / "out.xml"), part, attributes)
    before, after = read_annotation(crop.with_suffix(".xml")), read_annotation(tmp_path / "out.xml")
    assert len(after.regions) == len(before.regions)
    wanted = data.copy()
    wanted[22:28][wanted[22:28] == 1] = 0
    assert np.array_equal(label_maps(after, data.shape).instances, wanted)
    assert [r for r in after.regions if r in before.regions] == list(after.regions[1:])


def test_an_edited_nucleus_keeps_a_class_that_we_do_not_know(tmp_path: Path) -> None:
    data = np.zeros((20, 20), np.int32)
    data[5:9, 5:9] = 1
    table = pd.DataFrame({"index": [1], "class": ["Plasma cell"]})
    write_geojson(str(tmp_path / "o.geojson"), data, {"features": table})
    assert read_annotation(tmp_path / "o.geojson").unknown_labels == {"Plasma cell": 1}
    about = {"monusac": {"role": "nuclei", "annotation": str(tmp_path / "o.geojson")}}
    data[8] = 0
    table = pd.DataFrame({"index": [1], "class": ["Unclassified"]})  # as our own layer shows an unknown class
    write_geojson(str(tmp_path / "p.geojson"), data, {"features": table, "metadata": about})
    (nucleus,) = read_annotation(tmp_path / "p.geojson").nuclei
    assert nucleus.label == "Plasma cell"
    assert nucleus.vertices.max(0).tolist() == [7, 8]


def test_what_cannot_be_saved_says_so(crop: Path, tmp_path: Path) -> None:
    layers = {a["name"]: (d, a) for d, a, _ in read(str(crop))}
    for role in ("semantic", "ternary", "ambiguous"):
        for write in (write_xml, write_geojson, write_csv):
            with pytest.raises(AnnotationError, match="nuclei layer"):
                write(str(tmp_path / "out.xml"), *layers[role])
    write_tif(str(tmp_path / "semantic.tif"), *layers["semantic"])
    with pytest.raises(AnnotationError, match="dimensions"):
        write_xml(str(tmp_path / "out.xml"), np.zeros((2, 3, 4), int), {})


def test_the_manifest_has_what_we_think_it_has() -> None:
    """`npe2 validate` passes a misspelt key: count."""
    manifest = PluginManifest.from_file(MANIFEST)
    assert manifest.name == "napari-monusac"
    assert len(manifest.contributions.readers) == 1
    assert {e for w in manifest.contributions.writers for e in w.filename_extensions} == {
        ".xml",
        ".geojson",
        ".csv",
        ".tif",
    }
    commands = {c.id for c in manifest.contributions.commands}
    used = [*manifest.contributions.readers, *manifest.contributions.writers, *(manifest.contributions.widgets or [])]
    assert {c.command for c in used} <= commands
    for command in manifest.contributions.commands:
        module, _, name = str(command.python_name).partition(":")
        if ".plugin." in module:
            assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("um_per_px", [0.25, None])
def test_a_part_of_an_image_keeps_its_place_in_a_tif(tmp_path: Path, um_per_px: float | None) -> None:
    data = np.zeros((20, 30), np.int32)
    data[3:9, 4:11] = 1
    about = {"role": "nuclei", "um_per_px": um_per_px, "offset_px": (100, 2007)}
    with pytest.warns(UserWarning, match=r"begins at \(2007, 100\) px"):
        write_tif(str(tmp_path / "o.tif"), data, {"metadata": {"monusac": about}})
    with tifffile.TiffFile(tmp_path / "o.tif") as file:
        tags = file.pages[0].tags
        assert json.loads(tags["ImageDescription"].value)["offset_px"] == [100, 2007]
        unit = 1e4 / um_per_px if um_per_px else 1  # px in a cm, or px
        found = [tags[name].value[0] / tags[name].value[1] * unit for name in ("YPosition", "XPosition")]
        assert found == pytest.approx([100, 2007])
        assert np.array_equal(file.asarray(), data)


def test_a_whole_image_has_no_place_and_none_left_of_the_origin_is_lost(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    data = np.ones((4, 5), np.uint8)
    write_tif(str(tmp_path / "a.tif"), data, {})
    assert not recwarn
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert "XPosition" not in file.pages[0].tags
    with pytest.warns(UserWarning, match=r"begins at \(-3, 2\) px"):
        write_tif(str(tmp_path / "b.tif"), data, {"metadata": {"monusac": {"offset_px": (2, -3)}}})
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert json.loads(file.pages[0].tags["ImageDescription"].value)["offset_px"] == [2, -3]


def test_what_a_format_cannot_hold_is_said(crop: Path, tmp_path: Path) -> None:
    xml = crop.with_suffix(".xml")
    ruler = '<Region Id="9" Type="4"><Vertices><Vertex X="1" Y="1"/><Vertex X="9" Y="9"/></Vertices></Region></Regions>'
    xml.write_text(xml.read_text().replace("</Regions>", ruler, 1))
    layer = nuclei_layer(crop)
    with pytest.warns(UserWarning, match="1 shape without an area .* left out"):
        write_geojson(str(tmp_path / "o.geojson"), *layer)
    write_xml(str(tmp_path / "o.xml"), *layer)
    assert len(read_annotation(tmp_path / "o.xml").marks) == 1
