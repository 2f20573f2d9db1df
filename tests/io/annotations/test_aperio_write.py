"""Read -> write -> read: nothing that matters changes; one edit leaves all others to the letter."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_monusac.core.errors import AnnotationError
from napari_monusac.core.nuclei import Annotation, Layer, Nucleus
from napari_monusac.io.annotations.files import read_annotation, write_annotation

SIZES = 'Length="16.0" Area="16.0" LengthMicrons="3.1" AreaMicrons="0.6"'
TEXT = 'Text="5 &lt; 6 &amp; &quot;x&quot;"'
IMAGESCOPE = f"""<Annotations MicronsPerPixel="0.194480">
\t<Annotation Id="1" Name="" ReadOnly="0" Type="4" LineColor="255" Visible="1">
\t\t<Attributes>
\t\t\t<Attribute Name="Epithelial" Id="0" Value=""/>
\t\t</Attributes>
\t\t<Regions>
\t\t\t<RegionAttributeHeaders>
\t\t\t\t<AttributeHeader Id="9999" Name="Region" ColumnWidth="-1"/>
\t\t\t</RegionAttributeHeaders>
\t\t\t<Region Id="2" Type="0" Zoom="1.590375" {SIZES} {TEXT} DisplayId="2">
\t\t\t\t<Attributes/>
\t\t\t\t<Vertices>
\t\t\t\t\t<Vertex X="1" Y="1" Z="0"/>
\t\t\t\t\t<Vertex X="5" Y="1" Z="0"/>
\t\t\t\t\t<Vertex X="5.500000" Y="5" Z="0"/>
\t\t\t\t\t<Vertex X="1" Y="5" Z="3"/>
\t\t\t\t</Vertices>
\t\t\t</Region>
\t\t\t<Region Id="5" Type="0" NegativeROA="1" DisplayId="5">
\t\t\t\t<Attributes><Attribute Id="1" Name="" Value="odd"/></Attributes>
\t\t\t\t<Vertices>
\t\t\t\t\t<Vertex X="7" Y="7" Z="0"/>
\t\t\t\t\t<Vertex X="9" Y="7" Z="0"/>
\t\t\t\t\t<Vertex X="9" Y="9" Z="0"/>
\t\t\t\t</Vertices>
\t\t\t</Region>
\t\t</Regions>
\t\t<Plots/>
\t</Annotation>
\t<Annotation Id="2" Name="Layer 2" LineColor="65535">
\t\t<Attributes>
\t\t\t<Attribute Name="Lymphocyte" Id="0" Value=""/>
\t\t\t<Attribute Name="Second" Id="1" Value="kept"/>
\t\t</Attributes>
\t\t<Regions>
\t\t\t<RegionAttributeHeaders>
\t\t\t</RegionAttributeHeaders>
\t\t</Regions>
\t\t<Plots><Plot a="1">text &amp; more</Plot></Plots><Unknown/>
\t</Annotation>
</Annotations>
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.xml"
    path.write_text(IMAGESCOPE)
    return path


def regions_of(text):
    return re.findall(r"<Region .*?</Region>", text, re.DOTALL)


def test_an_unedited_file_comes_back_byte_for_byte(source, tmp_path):
    write_annotation(read_annotation(source), tmp_path / "out.xml")
    assert (tmp_path / "out.xml").read_text() == IMAGESCOPE


def test_also_after_pickling_to_another_process(source, tmp_path):
    write_annotation(pickle.loads(pickle.dumps(read_annotation(source))), tmp_path / "out.xml")
    assert (tmp_path / "out.xml").read_text() == IMAGESCOPE


def test_moving_one_outline_leaves_the_others_to_the_letter(source, tmp_path):
    found = read_annotation(source)
    square = np.array([[7, 7], [7, 11], [10, 11], [10, 7.25]])
    edited = replace(found.regions[1], vertices=square)
    write_annotation(replace(found, regions=(found.regions[0], edited)), tmp_path / "out.xml")
    before, after = regions_of(IMAGESCOPE), regions_of((tmp_path / "out.xml").read_text())
    assert after[0] == before[0]
    assert after[1].splitlines()[:2] == before[1].splitlines()[:2]
    back = read_annotation(tmp_path / "out.xml").regions[1]
    np.testing.assert_array_equal(back.vertices, square)
    assert back.attributes == found.regions[1].attributes


def test_an_edited_outline_is_measured_as_imagescope_does(source, tmp_path):
    found = read_annotation(source)
    edited = replace(found.regions[0], vertices=np.array([[0, 0], [0, 3], [4, 3]], float))
    write_annotation(replace(found, regions=(edited,)), tmp_path / "out.xml")
    attributes = dict(read_annotation(tmp_path / "out.xml").regions[0].attributes)
    # open length 3 + 4, triangle of 6 px
    assert (attributes["Length"], attributes["Area"], attributes["LengthMicrons"], attributes["AreaMicrons"]) == (
        "7.0",
        "6.0",
        "1.4",
        "0.2",
    )
    assert (attributes["Id"], attributes["Zoom"], attributes["Text"]) == ("2", "1.590375", '5 < 6 & "x"')


def test_a_new_nucleus_gets_the_next_id_and_all_attributes(source, tmp_path):
    found = read_annotation(source)
    new = Nucleus(np.array([[0, 0], [0, 3], [4, 3.5]]), "Epithelial", confidence=0.875)
    write_annotation(replace(found, regions=(*found.regions, new, new)), tmp_path / "out.xml")
    back = read_annotation(tmp_path / "out.xml")
    assert [r.region_id for r in back] == ["2", "5", "6", "7"]
    assert [name for name, _ in back.regions[2].attributes] == [
        "Id",
        "Type",
        "Zoom",
        "Selected",
        "ImageLocation",
        "ImageFocus",
        "Length",
        "Area",
        "LengthMicrons",
        "AreaMicrons",
        "Text",
        "NegativeROA",
        "InputRegionId",
        "Analyze",
        "DisplayId",
    ]
    assert back.regions[2].confidence == 0.875
    assert regions_of((tmp_path / "out.xml").read_text())[:2] == regions_of(IMAGESCOPE)


def test_a_changed_class_moves_the_region_and_its_spelling_stays(source, tmp_path):
    found = read_annotation(source)
    moved = replace(found.regions[0], label="Lymphocyte")
    write_annotation(replace(found, regions=(moved, found.regions[1])), tmp_path / "out.xml")
    back = read_annotation(tmp_path / "out.xml")
    assert [(r.label, r.region_id) for r in back] == [("Epithelial", "5"), ("Lymphocyte", "1")]
    assert back.regions[1].source_text == found.regions[0].source_text
    assert dict(back.regions[1].attributes)["Zoom"] == "1.590375"


def test_a_region_put_into_another_layer_never_shares_an_id_there(source, tmp_path):
    found = read_annotation(source)
    write_annotation(replace(found, regions=tuple(replace(r, label="Lymphocyte") for r in found.regions)), source)
    found = read_annotation(source)
    back_again = replace(found.regions[0], label="Epithelial", layer=0)
    new = Nucleus(found.regions[0].vertices, "Epithelial", 0)
    write_annotation(replace(found, regions=(new, back_again, found.regions[1])), tmp_path / "out.xml")
    back = read_annotation(tmp_path / "out.xml")
    assert [(r.label, r.region_id) for r in back] == [("Epithelial", "1"), ("Epithelial", "2"), ("Lymphocyte", "2")]


def test_a_label_in_other_letters_is_the_same_layer(source, tmp_path):
    found = read_annotation(source)
    shouted = tuple(replace(r, label=r.label.upper()) for r in found.regions)
    write_annotation(replace(found, regions=shouted), tmp_path / "out.xml")
    assert (tmp_path / "out.xml").read_text() == IMAGESCOPE


def test_a_class_without_layer_gets_one(source, tmp_path):
    found = read_annotation(source)
    triangle = np.array([[0, 0], [0, 3], [4, 3]], float)
    extra = [Nucleus(triangle, label) for label in ("Macrophage", "Ambiguous", "Mast cell", "macrophage")]
    write_annotation(replace(found, regions=(*found.regions, *extra)), tmp_path / "out.xml")
    back = read_annotation(tmp_path / "out.xml")
    assert [x.label for x in back.layers] == ["Epithelial", "Lymphocyte", "Macrophage", "Ambiguous", "Mast cell"]
    assert [dict(x.attributes)["Id"] for x in back.layers] == ["1", "2", "3", "4", "5"]
    assert [dict(x.attributes)["LineColor"] for x in back.layers][2] == "65280"
    assert [r.label for r in back][2:] == ["Macrophage", "Macrophage", "Ambiguous", "Mast cell"]


def test_from_nothing_the_four_layers_of_the_challenge(tmp_path):
    triangle = np.array([[0, 0], [0, 3], [4, 3]], float)
    write_annotation(
        Annotation((Nucleus(triangle, "Neutrophil"), Nucleus(triangle, "")), um_per_px=0.5), tmp_path / "o.xml"
    )
    back = read_annotation(tmp_path / "o.xml")
    assert [x.label for x in back.layers] == ["Epithelial", "Lymphocyte", "Neutrophil", "Macrophage", ""]
    assert [dict(x.attributes)["LineColor"] for x in back.layers][:4] == ["255", "65535", "16711680", "65280"]
    assert back.um_per_px == 0.5
    assert ' Z="0"' in (tmp_path / "o.xml").read_text()


def test_new_vertices_are_spelled_like_the_files_own(tmp_path):
    (tmp_path / "a.xml").write_text(IMAGESCOPE.replace(' Z="0"', "").replace(' Z="3"', ""))
    found = read_annotation(tmp_path / "a.xml")
    edited = replace(found.regions[1], vertices=np.array([[1, 2], [3, 4], [5, 6.125]]))
    write_annotation(replace(found, regions=(found.regions[0], edited)), tmp_path / "o.xml")
    assert '<Vertex X="6.125" Y="5"/>' in (tmp_path / "o.xml").read_text()


def test_confidence_is_changed_and_taken_away(source, tmp_path):
    found = read_annotation(source)
    for value in (0.25, 1.0, 1e-7, None):
        found = replace(found, regions=tuple(replace(r, confidence=value) for r in found.regions))
        write_annotation(found, tmp_path / "o.xml")
        found = read_annotation(tmp_path / "o.xml")
        assert [r.confidence for r in found] == [value, value]
    assert 'Value="odd"' in (tmp_path / "o.xml").read_text()


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(*[st.floats(-1e6, 1e6, allow_nan=False)] * 2), max_size=6),
            st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=8),
            st.none() | st.floats(0, 1, width=32),
        ),
        max_size=6,
    )
)
@settings(max_examples=150, deadline=None)
def test_any_values_come_back_exactly(tmp_path_factory, regions):
    path = tmp_path_factory.mktemp("any") / "o.xml"
    nuclei = tuple(Nucleus(np.array(v, float).reshape(-1, 2), label.strip(), confidence=c) for v, label, c in regions)
    write_annotation(Annotation(nuclei, um_per_px=0.25), path)
    back = read_annotation(path)

    def content(annotation):
        key = lambda n: (n.label.casefold(), n.vertices.tolist(), n.confidence or -1)  # noqa: E731
        return sorted(map(key, annotation))

    assert content(back) == content(Annotation(nuclei))
    write_annotation(back, path.with_name("again.xml"))
    assert path.with_name("again.xml").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("region", "what"),
    [
        (Nucleus(np.array([[0, np.nan], [1, 1], [2, 2]])), "no number"),
        (Nucleus(np.zeros((3, 2)), "a\x00b"), "character"),
        (Nucleus(np.zeros((3, 2)), "\ud800"), "character"),
        (Nucleus(np.zeros((3, 2)), confidence=1.5), "confidence"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(tmp_path, region, what):
    path = tmp_path / "o.xml"
    path.write_text("old")
    with pytest.raises(AnnotationError, match=what):
        write_annotation(Annotation((region,)), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_overwriting_and_folders(tmp_path, source):
    with pytest.raises(AnnotationError, match="exists already"):
        write_annotation(Annotation(), source, overwrite=False)
    with pytest.raises(AnnotationError, match="cannot be written"):
        write_annotation(Annotation(), tmp_path / "none" / "o.xml")
    with pytest.raises(AnnotationError, match="no annotation format"):
        write_annotation(Annotation(), tmp_path / "o.csv")


def test_a_layer_that_never_was_in_a_file(tmp_path):
    write_annotation(Annotation((Nucleus(np.zeros((3, 2)), "Mast cell"),), (Layer("Mast cell"),)), tmp_path / "o.xml")
    back = read_annotation(tmp_path / "o.xml")
    assert [x.label for x in back.layers] == ["Mast cell"]
    assert [n.label for n in back] == ["Mast cell"]


def test_real_files_come_back(shared_data, tmp_path):
    blank = lambda path: b"".join(path.read_bytes().split())  # noqa: E731
    for path in sorted(shared_data.rglob("*.xml"))[::4]:
        found = read_annotation(path)
        write_annotation(found, tmp_path / "o.xml")
        assert read_annotation(tmp_path / "o.xml") == found
        assert blank(tmp_path / "o.xml") == blank(path)
