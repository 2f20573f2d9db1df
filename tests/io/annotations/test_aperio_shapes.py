"""ImageScope's rectangles and ellipses of two vertices, HALO's files, marks: read as they look, written as they were."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from skimage import draw

from napari_monusac.core.errors import AnnotationError, HostileFileError
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.io.annotations.aperio_shapes import shape_of
from napari_monusac.io.annotations.bounds import Bounds
from napari_monusac.io.annotations.files import read_annotation, write_annotation
from napari_monusac.io.annotations.vertex_blocks import cut_vertices
from napari_monusac.masks.rasterize import label_maps


def vertices(points: list[tuple[float, float]], tag: str = "Vertex", tail: str = "/>") -> str:
    return "".join(f'\n\t\t\t\t\t<{tag} X="{x:g}" Y="{y:g}"{tail}' for y, x in points) + "\n\t\t\t\t"


def aperio(*regions: tuple[str, list[tuple[float, float]]], label: str = "Lymphocyte") -> str:
    body = "".join(
        f'\t\t\t<Region Id="{k}" Type="{kind}" Text="" Length="9" Area="9">\n\t\t\t\t<Attributes/>\n'
        f"\t\t\t\t<Vertices>{vertices(points)}</Vertices>\n\t\t\t</Region>\n"
        for k, (kind, points) in enumerate(regions, 1)
    )
    return (
        '<Annotations MicronsPerPixel="0.25">\n\t<Annotation Id="1" Name="" LineColor="65535">\n\t\t<Attributes>\n'
        f'\t\t\t<Attribute Name="{label}" Id="0" Value=""/>\n\t\t</Attributes>\n\t\t<Regions>\n'
        "\t\t\t<RegionAttributeHeaders>\n\t\t\t</RegionAttributeHeaders>\n"
        f"{body}\t\t</Regions>\n\t</Annotation>\n</Annotations>\n"
    )


def halo_region(kind: str, points: list[tuple[float, float]]) -> str:
    head = f'\t\t\t<Region Type="{kind}" HasEndcaps="0" NegativeROA="0">\n'
    return f"{head}\t\t\t\t<Vertices>{vertices(points, 'V', ' />')}</Vertices>\n\t\t\t\t<Comments/>\n\t\t\t</Region>\n"


SQUARE = [(10.0, 10.0), (10.0, 20.5), (20.0, 20.0), (20.0, 10.0)]
HALO = (
    '<Annotations>\n\t<Annotation LineColor="65535" Name="Lymphocyte" Visible="True">\n\t\t<Regions>\n'
    + halo_region("Polygon", SQUARE)
    + halo_region("Ellipse", [(30, 30), (50, 60)])
    + halo_region("Rectangle", [(60, 60), (80, 70)])
    + halo_region("Ruler", [(0, 0), (80, 70)])
    + '\t\t</Regions>\n\t</Annotation>\n\t<Annotation LineColor="255" Name="Layer 2" Visible="True">\n'
    "\t\t<Regions>\n\t\t</Regions>\n\t</Annotation>\n</Annotations>\n"
)


@pytest.fixture
def there_and_back(tmp_path: Path):
    def go(text: str, suffix: str = ".xml") -> tuple[Annotation, str]:
        (tmp_path / f"a{suffix}").write_text(text)
        annotation = read_annotation(tmp_path / f"a{suffix}")
        write_annotation(annotation, tmp_path / f"b{suffix}")
        return annotation, (tmp_path / f"b{suffix}").read_text()

    return go


@pytest.mark.parametrize("size", [(0.5, 0.5), (3, 5), (40, 40), (33.4, 17), (900, 20), (20_000, 9_000)])
@pytest.mark.parametrize("kind", ["2", "Ellipse"])
def test_an_ellipse_has_the_area_of_one(size: tuple[float, float], kind: str) -> None:
    (height, width), corner = size, np.array([7.0, -3.0])
    for corners in (
        [corner, corner + size],
        [corner + size, corner],
        [corner + np.array([0, width]), corner + np.array([height, 0])],
    ):
        outline, role = shape_of(kind, np.array(corners))
        assert role == "nucleus"
        area = np.pi * height * width / 4
        assert shapely.Polygon(outline).area == pytest.approx(area, rel=1e-9)
        assert (outline[0] == outline[-1]).all()
        # and lies on the curve: at most 0.02 px inside or outside of it, where 1024 vertices are enough
        distance = np.hypot(*((outline - corner - np.array(size) / 2) / (np.array(size) / 2)).T) - 1
        assert np.abs(distance).max() * max(size) / 2 < max(0.02, 1e-5 * max(size))


def test_an_ellipse_draws_what_scikit_image_draws(there_and_back) -> None:
    annotation, _ = there_and_back(aperio(("2", [(80.3, 60.2), (120.6, 130.9)])))
    want = np.zeros((200, 200), bool)
    want[draw.ellipse(100.45, 95.55, 20.15, 35.35, want.shape)] = True
    drawn = label_maps(annotation, want.shape).instances > 0
    assert (drawn ^ want).sum() <= 2  # pixel centres next to the curve itself
    assert annotation.nuclei[0].nucleus_class.label == "Lymphocyte"


def test_a_rectangle_has_its_four_corners(there_and_back) -> None:
    annotation, _ = there_and_back(aperio(("1", [(80, 60), (120, 130)]), ("1", SQUARE)))
    first, second = annotation.nuclei
    assert shapely.Polygon(first.vertices).equals(shapely.box(80, 60, 120, 130))
    assert first.vertices.shape == (5, 2)
    assert second.vertices.tolist() == [list(p) for p in SQUARE]


def test_an_ellipse_by_the_four_corners_of_its_box() -> None:
    corners = np.array([(0.0, 0.0), (0, 10), (20, 10), (20, 0)])
    for box in (corners, np.concatenate([corners, corners[:1]])):
        assert shapely.Polygon(shape_of("2", box)[0]).area == pytest.approx(np.pi * 50)
    assert shape_of("2", np.array(SQUARE))[0].tolist() == [list(p) for p in SQUARE]


@pytest.mark.parametrize("kind", ["0", "1", "2", ""])
def test_a_click_stays_degenerate(there_and_back, kind: str) -> None:
    annotation, back = there_and_back(aperio((kind, [(5, 5), (5, 5)]), (kind, [(5, 5)])))
    assert (len(annotation.nuclei), len(annotation.degenerate), len(annotation.marks)) == (0, 2, 0)
    assert back == aperio((kind, [(5, 5), (5, 5)]), (kind, [(5, 5)]))


@pytest.mark.parametrize("kind", ["3", "4", "5", "17", "Arrow", "Ruler", "Pin", "odd"])
@pytest.mark.parametrize("points", [[(5, 5)], [(5, 5), (50, 50)], [(5, 5), (50, 50), (5, 60)]])
def test_marks_are_kept_and_are_no_nuclei(there_and_back, kind: str, points) -> None:
    text = aperio(("0", SQUARE), (kind, points))
    annotation, back = there_and_back(text)
    assert back == text
    assert [r.role for r in annotation.regions] == ["nucleus", "mark"]
    assert (len(annotation.nuclei), len(annotation.marks)) == (1, 1)
    assert label_maps(annotation, (99, 99)).instances.max() == 1


def test_an_outline_that_returns_is_an_area_whatever_its_type() -> None:
    assert shape_of("4", np.array([*SQUARE, SQUARE[0]]))[1] == "nucleus"


def test_marks_stay_out_of_geojson(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(aperio(("0", SQUARE), ("4", [(5, 5), (50, 50), (5, 60)])))
    annotation = read_annotation(path)
    assert write_annotation(annotation, tmp_path / "b.geojson") == annotation.marks
    assert len(read_annotation(tmp_path / "b.geojson").regions) == 1


@pytest.mark.parametrize("text", [
    aperio(("2", [(80, 60), (120, 130)]), ("1", [(5, 5), (20, 20)]), ("0", SQUARE), ("3", [(1, 1), (9, 9)])),
    HALO,
], ids=["ImageScope", "HALO"])  # fmt: skip
def test_unedited_files_come_back_byte_for_byte(there_and_back, text: str) -> None:
    assert there_and_back(text)[1] == text


def test_an_edit_leaves_all_others_to_the_letter(there_and_back, tmp_path: Path) -> None:
    text = aperio(("2", [(80, 60), (120, 130)]), ("1", [(5, 5), (20, 20)]), ("3", [(1, 1), (9, 9)]))
    annotation, _ = there_and_back(text)
    edited = replace(annotation.regions[0], vertices=annotation.regions[0].vertices + 1)
    write_annotation(replace(annotation, regions=(edited, *annotation.regions[1:])), tmp_path / "c.xml")
    regions = re.findall(r"<Region .*?</Region>", (tmp_path / "c.xml").read_text(), re.DOTALL)
    assert regions[1:] == re.findall(r"<Region .*?</Region>", text, re.DOTALL)[1:]
    assert 'Id="1" Type="0"' in regions[0]
    again = read_annotation(tmp_path / "c.xml")
    assert np.allclose(again.nuclei[0].vertices, edited.vertices)
    assert f'Area="{np.pi * 20 * 35:.1f}"' in regions[0]


def test_halo_is_read(there_and_back) -> None:
    annotation, _ = there_and_back(HALO, ".annotations")
    assert [r.role for r in annotation.regions] == ["nucleus"] * 3 + ["mark"]
    assert {n.nucleus_class.label for n in annotation.nuclei} == {"Lymphocyte"}
    assert not annotation.unknown_labels
    areas = [shapely.Polygon(n.vertices).area for n in annotation.nuclei]
    assert areas == pytest.approx([shapely.Polygon(SQUARE).area, np.pi * 10 * 15, 200])


def test_halo_stays_halo_when_edited(there_and_back, tmp_path: Path) -> None:
    annotation, _ = there_and_back(HALO)
    edited = replace(annotation.regions[1], vertices=annotation.regions[1].vertices + 1)
    new = Nucleus(np.array(SQUARE) + 20, "Macrophage", layer=-1)
    kept = (annotation.regions[0], *annotation.regions[2:])
    write_annotation(replace(annotation, regions=(kept[0], edited, *kept[1:], new)), tmp_path / "c.annotations")
    text = (tmp_path / "c.annotations").read_text()
    assert "<Vertex" not in text
    assert "Attribute" not in text
    assert 'Name="Macrophage"' in text
    again = read_annotation(tmp_path / "c.annotations")
    assert [(r.label, r.role) for r in again.regions] == [
        *[("Lymphocyte", "nucleus")] * 3, ("Lymphocyte", "mark"), ("Macrophage", "nucleus"),
    ]  # fmt: skip
    assert np.allclose(again.regions[1].vertices, edited.vertices)
    assert dict(again.regions[1].attributes)["Type"] == "Polygon"
    written = re.findall(r"<Region .*?</Region>", text, re.DOTALL)
    was = re.findall(r"<Region .*?</Region>", HALO, re.DOTALL)
    assert (written[0], written[2], written[3]) == (was[0], was[2], was[3])


def test_halo_takes_the_fast_lane_and_the_slow_one_reads_the_same(tmp_path: Path) -> None:
    assert len(cut_vertices(HALO.encode()).blocks) == 4
    slow = tmp_path / "slow.annotations"
    slow.write_text(HALO.replace("<Annotations>", "<Annotations><!-- not plain -->"))
    fast = tmp_path / "fast.annotations"
    fast.write_text(HALO)
    a, b = read_annotation(fast), read_annotation(slow)
    assert all(np.array_equal(x.vertices, y.vertices) for x, y in zip(a.regions, b.regions, strict=True))
    with pytest.raises(HostileFileError, match="vertices"):
        read_annotation(fast, Bounds(max_vertices=9))


def test_vertices_that_nobody_knows_are_an_error_not_an_empty_outline(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(aperio(("0", SQUARE)).replace("<Vertex ", "<Point "))
    with pytest.raises(AnnotationError, match="line 12: <Point> stands inside <Vertices>"):
        read_annotation(path)


def test_an_outline_in_a_form_of_its_own_is_kept_as_a_mark(there_and_back) -> None:
    text = aperio(("0", [])).replace("<Attributes/>\n", '<Circle r="5"/>\n').replace("\n\t\t\t\t</Vert", "</Vert")
    annotation, back = there_and_back(text)
    assert back == text
    assert [r.role for r in annotation.regions] == ["mark"]


@pytest.mark.parametrize(("layer", "text", "label"), [
    ('<Attribute Name="Description" Id="0" Value="Neutrophil"/>', "", "Neutrophil"),
    ('<Attribute Name="Description" Id="0" Value=""/>', "Macrophage", "Macrophage"),
    ('<Attribute Name="Epithelial" Id="0" Value=""/>', "Macrophage", "Epithelial"),
    ('<Attribute Name="Cells" Id="0" Value=""/>', "Ambiguous", "Ambiguous"),
    # a layer of "cells" names no class: what stands at the region is reported as the unknown name that it is
    ('<Attribute Name="Cells" Id="0" Value=""/>', "Neoplastic", "Neoplastic"),
    ('<Attribute Name="Stroma" Id="0" Value=""/>', "nice", "Stroma"),
    ('<Attribute Name="Description" Id="0" Value="nest"/>', "12", "nest"),
    ('<Attribute Name="Description" Id="0" Value=""/>', "12", "Description"),
])  # fmt: skip
def test_the_class_wherever_it_stands(there_and_back, tmp_path: Path, layer: str, text: str, label: str) -> None:
    content = aperio(("0", SQUARE), ("0", SQUARE)).replace('<Attribute Name="Lymphocyte" Id="0" Value=""/>', layer)
    content = content.replace('Text=""', f'Text="{text}"')
    annotation, back = there_and_back(content)
    assert {r.label for r in annotation.regions} == {label}
    assert back == content, "nothing moves to another layer"
    # a class that is taken away or changed is not read back from the text
    for new in ("Lymphocyte", annotation.layers[0].label if label != annotation.layers[0].label else "Lymphocyte"):
        changed = replace(annotation.regions[0], label=new, layer=-1)
        write_annotation(replace(annotation, regions=(changed, annotation.regions[1])), tmp_path / "c.xml")
        assert sorted(r.label for r in read_annotation(tmp_path / "c.xml").regions) == sorted([new, label])
