"""Reading Aperio XML, against ElementTree."""

from __future__ import annotations

import dataclasses
import importlib.util
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import AnnotationError, HostileFileError
from napari_monusac.core.nuclei import Nucleus
from napari_monusac.io.annotations import aperio
from napari_monusac.io.annotations.files import Bounds, read_annotation, write_annotation
from napari_monusac.io.annotations.vertex_blocks import CutFile, cut_vertices

HEADERS = '<RegionAttributeHeaders><AttributeHeader Id="9999" Name="Region" ColumnWidth="-1"/></RegionAttributeHeaders>'


def layer(name, *regions, own=""):
    attributes = "" if name is None else f'<Attribute Name="{name}" Id="0" Value=""/>'
    return (
        f'<Annotation Id="1" Name="{own}" LineColor="255"><Attributes>{attributes}</Attributes>'
        f"<Regions>{HEADERS}{''.join(regions)}</Regions><Plots/></Annotation>"
    )


def region(*points, number=1, extra="", z=' Z="0"'):
    vertices = "".join(f'<Vertex X="{x}" Y="{y}"{z}/>' for x, y in points)
    return f'<Region Id="{number}" Type="0" {extra}><Attributes/><Vertices>{vertices}</Vertices></Region>'


def document(*layers, attributes='MicronsPerPixel="0.25"'):
    return f"<Annotations {attributes}>{''.join(layers)}</Annotations>"


def read(tmp_path, text, bounds=Bounds(), name="a.xml"):  # noqa: B008
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_annotation(path, bounds)


def reference(path):
    regions = []
    for annotation in ET.parse(path).getroot().iter("Annotation"):
        naming = annotation.find("Attributes/Attribute")
        label = "" if naming is None else naming.get("Name")
        for found in annotation.iter("Region"):
            points = [(float(v.get("Y")), float(v.get("X"))) for v in found.iter("Vertex")]
            regions.append((label, dict(found.attrib), points))
    return regions


SQUARE = [(1, 2), (1, 8), (9, 8), (9, 2)]


def test_layers_regions_and_units(tmp_path):
    found = read(
        tmp_path,
        document(
            layer("Epithelial", region(*SQUARE, number=7)), layer("Macrophage"), layer("Ambiguous", region(*SQUARE))
        ),
    )
    assert [x.label for x in found.layers] == ["Epithelial", "Macrophage", "Ambiguous"]
    assert found.um_per_px == 0.25
    assert found.source == tmp_path / "a.xml"
    first, second = found.regions
    np.testing.assert_array_equal(first.vertices, [(y, x) for x, y in SQUARE])
    assert first.vertices.dtype == np.float64
    assert (first.label, first.region_id, first.layer, first.nucleus_class) == (
        "Epithelial",
        "7",
        0,
        NucleusClass.EPITHELIAL,
    )
    assert second.is_ambiguous
    assert len(found.nuclei) == 1


def test_vertices_cannot_be_changed_in_place(tmp_path):
    found = read(tmp_path, document(layer("Epithelial", region(*SQUARE), region((1.5, 2), (3, 4), (5, 6), z=""))))
    for one in found:
        with pytest.raises(ValueError, match="read-only"):
            one.vertices[0, 0] = 5


def test_classes_missing_empty_described_unknown_and_in_the_layer_name(tmp_path):
    found = read(
        tmp_path,
        document(
            layer("Description", region(*SQUARE)),
            layer(None, region(*SQUARE)),
            layer("", region(*SQUARE), own="Layer 2"),
            layer("Mast cell", region(*SQUARE)),
            layer("Description", region(*SQUARE), own="Macrophage"),
        ),
    )
    assert [n.label for n in found] == ["Description", "", "", "Mast cell", "Macrophage"]
    assert [n.nucleus_class for n in found][:4] == [NucleusClass.UNCLASSIFIED] * 4
    assert found.unknown_labels == {"Mast cell": 1}


def test_odd_shapes_are_all_kept(tmp_path):
    regions = [
        region((-3, 5), (1e3, 5), (4, -7.5), z=""),
        region((1, 1), (1, 1), (1, 1)),
        region((1, 2), (3, 4)),
        region(),
        region(*SQUARE, SQUARE[0]),
        region(*SQUARE, extra='NegativeROA="1"'),
    ]
    found = read(tmp_path, document(layer("Epithelial", *regions)))
    assert [len(n.vertices) for n in found] == [3, 3, 2, 0, 5, 4]
    assert [len(n.vertices) for n in found.degenerate] == [2, 0]
    assert len(found.nuclei) == 4


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("", None),
        ('MicronsPerPixel=""', None),
        ('MicronsPerPixel="0"', None),
        ('MicronsPerPixel="nan"', None),
        ('MicronsPerPixel="-1"', None),
        ('MicronsPerPixel="0.194480"', 0.19448),
        ('MicronsPerPixel="1e999"', None),
    ],
)
def test_microns_per_pixel(tmp_path, attributes, expected):
    assert read(tmp_path, document(attributes=attributes)).um_per_px == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_encodings(tmp_path, encoding):
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    text = f'<?xml version="1.0" encoding="{declared}"?>\n' + document(layer("Épithélial", region(*SQUARE)))
    assert read(tmp_path, text.encode(encoding)).regions[0].label == "Épithélial"


def test_windows_line_ends_blanks_and_spellings(tmp_path):
    spelled = ['"1"', '" 1 "', '"1.0"', '"+1"', '"1e0"', '"01"', "'1'", '"&#49;"']
    vertices = "\r\n".join(f"<Vertex  Y={s}\tX={s} />" for s in spelled)
    text = document(layer("Epithelial", f"<Region><Vertices>{vertices}</Vertices></Region>"))
    assert (read(tmp_path, text).regions[0].vertices == 1).all()


def test_comments_and_cdata_mean_nothing(tmp_path):
    inside = "<!-- <Vertices><Vertex X='1' Y='1'/></Vertices> --><![CDATA[<Vertices>]]>"
    found = read(tmp_path, document(layer("Epithelial", region(*SQUARE), inside)))
    assert len(found) == 1


MALFORMED = {
    "empty": "",
    "no xml": "hello",
    "other xml": "<svg/>",
    "cut off": document(layer("E", region(*SQUARE)))[:-30],
    "two roots": "<Annotations/><Annotations/>",
    "X missing": document(layer("E", '<Region><Vertices><Vertex Y="1"/></Vertices></Region>')),
    "words": document(layer("E", region(("one", 2), (3, 4), (5, 6)))),
    "comma": document(layer("E", region(("1,5", 2), (3, 4), (5, 6)))),
    "nan": document(layer("E", region(("nan", 2), (3, 4), (5, 6)))),
    "underscore": document(layer("E", region(("1_0", 2), (3, 4), (5, 6)))),
    "minus": document(layer("E", region(("1-2", 2), (3, 4), (5, 6)))),
    "two points": document(layer("E", region(("1.2.3", 2), (3, 4), (5, 6)))),
    "far": document(layer("E", region((1, 2), (3, 4), (10**8, 6)))),
    "other digits": document(layer("E", region(("٣", 2), (3, 4), (5, 6)))),
    "nested": document(layer("E", f"<Foo>{region(*SQUARE)}</Foo>")),
    "stray": document(region(*SQUARE)),
    "twice": document(layer("E", "<Region><Vertices/><Vertices/></Region>")),
    "encoding": '<?xml version="1.0" encoding="rot13"?>' + document(),
    "no codec": '<?xml version="1.0" encoding="zlib"?>' + document(),
    "undefined entity": document(layer("&foo;")),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_files_give_one_line_with_path_and_mend(tmp_path, what):
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path, MALFORMED[what])
    message = str(caught.value)
    assert str(tmp_path / "a.xml") in message
    assert "\n" not in message
    assert "—" in message


def test_errors_name_the_line_also_after_the_fast_lane(tmp_path):
    good = layer("E", "\n" + region(*SQUARE) + "\n" + region(*SQUARE) + "\n")
    with pytest.raises(AnnotationError, match="line 4: X='foo'"):
        read(tmp_path, document(good, layer("E", region(("foo", 1), (2, 3), (4, 5)))))


BOMB = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
HOSTILE = {
    "bomb": f'<!DOCTYPE a [<!ENTITY l0 "lol">{BOMB}]><Annotations>&l9;</Annotations>',
    "quadratic": f'<!DOCTYPE a [<!ENTITY l0 "{"a" * 100_000}">]><Annotations A="{"&l0;" * 1000}"/>',
    "external entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Annotations>&x;</Annotations>',
    "external dtd": '<!DOCTYPE a SYSTEM "http://192.0.2.1/x.dtd"><Annotations/>',
    "parameter entity": '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://192.0.2.1/x">%x;]><Annotations/>',
    "depth": "<Annotations>" + "<a>" * 100_000,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_at_once(tmp_path, what):
    started = time.perf_counter()
    with pytest.raises(HostileFileError):
        read(tmp_path, HOSTILE[what])
    assert time.perf_counter() - started < 10


def test_ten_million_vertices_are_refused(tmp_path):
    with (tmp_path / "a.xml").open("wb") as file:
        file.write(b'<Annotations><Annotation><Regions><Region Id="1"><Vertices>')
        for _ in range(100):
            file.write(b'<Vertex X="1" Y="1"/>' * 100_000)
        file.write(b"</Vertices></Region></Regions></Annotation></Annotations>")
    with pytest.raises(HostileFileError, match="more than 8000000 vertices"):
        read_annotation(tmp_path / "a.xml")


@pytest.mark.parametrize("spelled", ['<Vertex X="1" Y="1"/>', "<Vertex X='1' Y='1'/>"])
def test_bounds_hold_in_both_lanes(tmp_path, spelled):
    one = f"<Region><Vertices>{spelled * 6}</Vertices></Region>"
    text = document(layer("E", one, one), layer("E"))
    assert len(read(tmp_path, text)) == 2
    for bounds, what in [
        (Bounds(max_vertices=11), "vertices"),
        (Bounds(max_regions=1), "regions"),
        (Bounds(max_layers=1), "layers"),
        (Bounds(max_bytes=100), "bytes"),
        (Bounds(max_depth=5), "levels"),
    ]:
        with pytest.raises(HostileFileError, match=what):
            read(tmp_path, text, bounds)


def test_missing_files_folders_and_other_suffixes(tmp_path):
    with pytest.raises(AnnotationError, match="No such file"):
        read_annotation(tmp_path / "none.xml")
    (tmp_path / "folder.xml").mkdir()
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_annotation(tmp_path / "folder.xml")
    with pytest.raises(AnnotationError, match="no annotation format"):
        read_annotation(tmp_path / "a.txt")


coordinates = st.one_of(
    st.integers(-99, 99_999).map(str),
    st.floats(-1e5, 1e5, allow_nan=False).map(lambda v: f"{v:.6f}"),
    st.sampled_from(["", "-", "1.", ".5", "-.5", "1e3", "12345678901234567890"]),
)
vertex_lists = st.lists(st.tuples(coordinates, coordinates), max_size=5)
blanks = st.sampled_from(["", "\n\t\t\t\t\t", " "])


@given(
    st.lists(
        st.tuples(vertex_lists, blanks, st.sampled_from(["", ' Z="0"', ' Z="-1.5"', " Z='0'", ' Z=""'])), max_size=5
    )
)
@settings(max_examples=300, deadline=None)
def test_the_fast_lane_gives_what_the_parser_gives(blocks):
    regions = []
    for points, blank, z in blocks:
        vertices = "".join(f'{blank}<Vertex X="{x}" Y="{y}"{z}/>' for x, y in points)
        regions.append(f'<Region Id="1"><Vertices>{vertices}{blank}</Vertices></Region>')
    content = document(layer("Epithelial", *regions)).encode()

    def outcome(cut):
        try:
            return [r.vertices.tolist() for r in aperio._parsed(Path("a.xml"), cut, Bounds())]
        except AnnotationError:
            return "refused"

    assert outcome(cut_vertices(content)) == outcome(CutFile(content, [], []))


def test_all_real_files_equal_elementtree(shared_data):
    files = sorted(shared_data.rglob("*.xml"))
    assert len(files) >= 50
    for path in files[::4]:
        found = read_annotation(path)
        expected = reference(path)
        assert [(n.label, dict(n.attributes), list(map(tuple, n.vertices.tolist()))) for n in found] == expected


def test_fuzzing_300_mutants():
    path = Path(__file__).parents[3] / "benchmarks" / "fuzz_annotations.py"
    spec = importlib.util.spec_from_file_location("fuzz_annotations", path)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    result = fuzz.run(300, seed=11)
    assert result["failed"] == 0
    assert result["read"] > 30
    assert result["slowest_s"] < 10


def colored(name, color, *regions):
    return layer(name, *regions).replace('LineColor="255"', f'LineColor="{color}"', 1)


SQUARE = ((0, 0), (0, 9), (9, 9), (9, 0))
MONUSAC = {"Epithelial": 255, "Lymphocyte": 65535, "Neutrophil": 16711680, "Macrophage": 65280}


def test_line_colors_are_the_last_hint_at_classes(tmp_path):
    text = document(*(colored("", color, region(*SQUARE)) for color in MONUSAC.values()))
    found = read(tmp_path, text)
    assert [n.nucleus_class.label for n in found.nuclei] == list(MONUSAC)
    assert found.notes == (
        "no layer has a name: classes are taken from MoNuSAC's line colours (Epithelial, Lymphocyte, Neutrophil, "
        "Macrophage)",
    )
    # once saved the classes stand there by name: a layer that is added does not take the hint away
    new = dataclasses.replace(found, regions=(*found.regions, Nucleus(np.array(SQUARE, float), "Ambiguous", -1)))
    write_annotation(new, tmp_path / "b.xml")
    back = read_annotation(tmp_path / "b.xml")
    assert [n.nucleus_class.label for n in back.nuclei] == list(MONUSAC)
    assert len(back.ambiguous) == 1
    assert back.notes == ()


@pytest.mark.parametrize(
    "layers",
    [
        [("", 65280)],  # what ImageScope draws with unless told otherwise
        [("", 65280), ("", 65280)],
        [("", 255), ("", 12345)],
        [("Description", 255), ("", 65280)],  # MoNuSeg says: no class
        [("Epithelial", 65280), ("", 255)],  # names say more than colours
        [("Stroma", 65280), ("", 255)],
        [("", "red"), ("", 255)],
    ],
)
def test_line_colors_say_nothing_beside_names_or_alone(tmp_path, layers):
    found = read(tmp_path, document(*(colored(n, c, region(*SQUARE)) for n, c in layers)))
    named = {n for n, _ in layers} & set(MONUSAC)
    assert {n.nucleus_class.label for n in found.nuclei} <= {"Unclassified", *named}
    assert found.notes == ()


def test_real_monuseg_files_stay_unclassified(shared_data):
    for path in sorted((shared_data / "monuseg").glob("*.xml")):
        found = read_annotation(path)
        assert {n.nucleus_class.label for n in found.nuclei} == {"Unclassified"}
        assert found.notes == ()
