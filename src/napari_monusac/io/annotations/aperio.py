"""Reading Aperio ImageScope XML, and HALO's like it: streaming, without entities, within bounds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import NucleusClass, classes_of_line_colors
from napari_monusac.core.errors import AnnotationError, HostileFileError
from napari_monusac.core.nuclei import (
    Annotation,
    Attributes,
    Layer,
    Nucleus,
    SourceText,
    is_numbered,
    label_of_region,
)
from napari_monusac.io.annotations.aperio_shapes import shape_of
from napari_monusac.io.annotations.bounds import DEFAULT_BOUNDS, Bounds, read_bounded, too_many
from napari_monusac.io.annotations.markup import confidence_of, element_start
from napari_monusac.io.annotations.vertex_blocks import CUT, CutFile, cut_vertices, has_more_vertices
from napari_monusac.io.scale import scale_number

__all__ = ["label_of_region", "read_aperio"]

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MEND = "save it again from ImageScope, or mend this line"
#: An element of a Region's markup that might hold its outline.
_UNREAD = re.compile(r"<(?!/|Attributes?\b|Comments?\b)")

#: Elements that are read, by parent; all others are kept as they are and written back.
_READ = {
    ("", "Annotations"),
    ("Annotations", "Annotation"),
    ("Annotation", "Attributes"),
    ("Attributes", "Attribute"),
    ("Annotation", "Regions"),
    ("Regions", "RegionAttributeHeaders"),
    ("RegionAttributeHeaders", "AttributeHeader"),
    ("Regions", "Region"),
    ("Region", "Vertices"),
    ("Vertices", "Vertex"),
    ("Vertices", "V"),
}
#: A vertex, as ImageScope and as HALO call it.
_VERTEX = {"Vertex", "V"}
#: Elements that must not stand elsewhere: a nucleus in an odd place would be missed in silence.
_STRUCTURE = {"Annotations", "Annotation", "Regions", "Region", "Vertices", "Vertex"}


def read_aperio(path: str | Path, bounds: Bounds = DEFAULT_BOUNDS) -> Annotation:
    """Read an Aperio ImageScope XML file, or HALO's ``.annotations``.

    Parameters
    ----------
    path : str or Path
        The file.
    bounds : Bounds
        What the file may ask for.

    Returns
    -------
    Annotation
        Regions in file order, degenerate ones and negative ones (``NegativeROA``: separate nuclei in MoNuSeg)
        included; coordinates in level-0 px as (y, x), open or closed, repeated or out of bounds as the file has them.
        Rectangles and ellipses of two vertices come as closed outlines (`io.aperio_shapes`), arrows, rulers and points
        as marks.

    Raises
    ------
    AnnotationError
        The file cannot be read, is no well-formed XML or no ImageScope file, or a coordinate is no number.
    HostileFileError
        It declares a document type or entities, or goes beyond `bounds`.
    """
    path = Path(path)
    content = read_bounded(path, bounds)
    if has_more_vertices(content, bounds.max_vertices):
        raise too_many(path, "vertices", bounds.max_vertices)
    encoding = _encoding(content)
    cut = cut_vertices(content)
    if cut.blocks:
        try:
            return _parsed(path, cut, bounds, encoding)
        except AnnotationError:
            # once more with the whole file: the message then names the right line
            pass
    return _parsed(path, CutFile(content, [], []), bounds, encoding)


def _encoding(content: bytes) -> str | None:
    """UTF-16 where the bytes are, whatever the XML declares (programs write ``encoding="UTF-8"`` into it); else None."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if content[1:2] == b"\0" or content[:1] == b"\0":
        return "utf-16le" if content[1:2] == b"\0" else "utf-16be"
    return None


def _parsed(path: Path, cut: CutFile, bounds: Bounds, encoding: str | None = None) -> Annotation:
    handler = _Handler(path, cut, bounds, encoding)
    try:
        handler.parser.Parse(cut.skeleton, True)
        handler.check_cut_vertices()
    except expat.ExpatError as error:
        raise AnnotationError(path, f"no well-formed XML: {error}", _MEND) from error
    except (LookupError, ValueError, TypeError) as error:
        # what pyexpat raises for encodings that Python does not know or that are no text
        raise AnnotationError(path, f"encoding cannot be read: {error}", "save it as UTF-8") from error
    return handler.annotation()


@dataclass(slots=True)
class _Region:
    layer: int
    attributes: Attributes
    vertices: NDArray[np.float64] | None = None
    text: bytes = b""
    markup: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Layer:
    attributes: Attributes
    naming: list[Attributes] = field(default_factory=list)
    headers: list[Attributes] = field(default_factory=list)
    markup: list[str] = field(default_factory=list)

    def finished(self) -> Layer:
        first = self.naming[0] if self.naming else None
        layer = Layer(
            "", self.attributes, first, tuple(self.headers), tuple(self.naming[1:]), "".join(self.markup)
        )  # fmt: skip
        return replace(layer, label=layer.label_of())


class _Handler:
    """Collects layers and regions while expat walks through the file."""

    def __init__(self, path: Path, cut: CutFile, bounds: Bounds, encoding: str | None = None) -> None:
        self.path, self.cut, self.bounds = path, cut, bounds
        self.root: Attributes | None = None
        self.layers: list[_Layer] = []
        self.regions: list[_Region] = []
        self.markup: list[str] = []
        self.vertex_count = 0
        self._open: list[str] = [""]
        self._kept: list[str] | None = None
        self._kept_depth = 0
        self._points: list[tuple[float, float]] = []
        self._texts: list[str] = []
        self.parser = parser = expat.ParserCreate(encoding)
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.EntityDeclHandler = self._refuse_doctype

    def annotation(self) -> Annotation:
        """What was read, once the file has ended."""
        layers = tuple(layer.finished() for layer in self.layers)
        notes: tuple[str, ...] = ()
        if not any(_named(layer) for layer in layers) and not any(_text_of(r) for r in self.regions):
            layers, notes = _classes_by_color(layers)
        root = self.root or ()
        size = next((v for n, v in root if n == "MicronsPerPixel"), "")
        regions = tuple(_nucleus(r, layers[r.layer]) for r in self.regions)
        return Annotation(regions, layers, scale_number(size), root, "".join(self.markup), self.path, notes=notes)

    def check_cut_vertices(self) -> None:
        """Hold the cut blocks against the bounds; `_vertex` does so for all other vertices."""
        if self.vertex_count > self.bounds.max_vertices:
            raise too_many(self.path, "vertices", self.bounds.max_vertices)
        if self.cut.largest > self.bounds.max_coordinate_px:
            self._fail(f"a coordinate is beyond {self.bounds.max_coordinate_px:.0f} px", _MEND)

    def _start(self, tag: str, attributes: list[str]) -> None:
        parent = self._open[-1]
        self._open.append(tag)
        if len(self._open) > self.bounds.max_depth:
            raise too_many(self.path, "levels of nested elements", self.bounds.max_depth)
        if self._kept is None and (parent, tag) in _READ:
            self._begin(tag, attributes)
        elif parent == "":
            self._fail(f"the root element is <{tag[:40]}>, not <Annotations>", "choose an Aperio ImageScope file")
        elif tag in _STRUCTURE or parent == "Vertices":
            self._fail(f"<{tag}> stands inside <{parent[:40]}>, where it does not belong", _MEND)
        elif self._kept is not None:
            self._kept.append(element_start(tag, _pairs(attributes)))
        else:
            self._keep(tag, attributes)

    def _begin(self, tag: str, attributes: list[str]) -> None:
        if tag in _VERTEX:
            self._vertex(tag, attributes)
        elif tag == "Vertices":
            self._vertices(attributes)
        elif tag == "Region":
            if len(self.regions) >= self.bounds.max_regions:
                raise too_many(self.path, "regions", self.bounds.max_regions)
            self.regions.append(_Region(len(self.layers) - 1, _pairs(attributes)))
        elif tag == "Annotation":
            if len(self.layers) >= self.bounds.max_layers:
                raise too_many(self.path, "layers", self.bounds.max_layers)
            self.layers.append(_Layer(_pairs(attributes)))
        elif tag == "Attribute":
            self.layers[-1].naming.append(_pairs(attributes))
        elif tag == "AttributeHeader":
            self.layers[-1].headers.append(_pairs(attributes))
        elif tag == "Annotations":
            self.root = _pairs(attributes)

    def _vertices(self, attributes: list[str]) -> None:
        region = self.regions[-1]
        if region.vertices is not None:
            self._fail("a Region has two Vertices elements", _MEND)
        self._points, self._texts = [], []
        region.vertices = np.empty((0, 2))
        if attributes and attributes[0] == CUT and self.cut.blocks:
            block = int(attributes[1])
            region.vertices, region.text = self.cut.vertices[block], self.cut.blocks[block]
            self.vertex_count += len(region.vertices)

    def _vertex(self, tag: str, attributes: list[str]) -> None:
        self.vertex_count += 1
        if self.vertex_count > self.bounds.max_vertices:
            raise too_many(self.path, "vertices", self.bounds.max_vertices)
        named = dict(_pairs(attributes))
        self._points.append((self._number(named, "Y"), self._number(named, "X")))
        self._texts.append(element_start(tag, _pairs(attributes))[:-1] + "/>")

    def _number(self, named: dict[str, str], name: str) -> float:
        text = named.get(name)
        if text is None:
            self._fail(f"a Vertex has no {name}", _MEND)
        text = text.strip()
        if not _NUMBER.fullmatch(text):
            self._fail(f"{name}={text[:40]!r} is no number", _MEND)
        value = float(text)
        if not abs(value) <= self.bounds.max_coordinate_px:
            self._fail(f"{name}={text[:40]!r} is beyond {self.bounds.max_coordinate_px:.0f} px", _MEND)
        return value

    def _end(self, tag: str) -> None:
        self._open.pop()
        if self._kept is not None:
            self._finish_kept(tag)
        elif tag == "Vertices" and self._points:
            region = self.regions[-1]
            region.vertices = np.array(self._points)
            region.vertices.setflags(write=False)
            region.text = "".join(f"\n\t\t\t\t\t{text}" for text in self._texts).encode() + b"\n\t\t\t\t"

    def _keep(self, tag: str, attributes: list[str]) -> None:
        """Keep an element that we do not read, whole, with the Region, layer or root that it stands in."""
        inside = self._open
        owner = self.regions[-1].markup if "Region" in inside else self.layers[-1].markup if len(inside) > 3 else None
        self._kept = self.markup if owner is None else owner
        self._kept_depth = len(self._open)
        self._kept.append(element_start(tag, _pairs(attributes)))
        self.parser.CharacterDataHandler = self._text

    def _text(self, text: str) -> None:
        if self._kept is not None:
            self._kept.append(text.replace("&", "&amp;").replace("<", "&lt;"))

    def _finish_kept(self, tag: str) -> None:
        kept = self._kept or []
        if kept[-1].startswith(f"<{tag}") and kept[-1].endswith(">") and not kept[-1].endswith("/>"):
            kept[-1] = kept[-1][:-1] + "/>"
        else:
            kept.append(f"</{tag}>")
        if len(self._open) < self._kept_depth:
            self._kept = None
            self.parser.CharacterDataHandler = None

    def _refuse_doctype(self, *_: object) -> NoReturn:
        raise HostileFileError(
            self.path, "declares a document type or entities", "an ImageScope file has none: remove the <!DOCTYPE ...>"
        )

    def _fail(self, problem: str, mend: str) -> NoReturn:
        raise AnnotationError(self.path, f"line {self.parser.CurrentLineNumber}: {problem}", mend)


def _pairs(attributes: Sequence[str]) -> Attributes:
    return tuple(zip(attributes[::2], attributes[1::2], strict=True))


def _text_of(region: _Region) -> str:
    return next((value.strip() for name, value in region.attributes if name == "Text"), "")


def _named(layer: Layer) -> bool:
    """Whether anything names a layer; MoNuSeg's "Description" is a name too, one that says "no class"."""
    own = dict(layer.attributes)
    naming = [dict(a) for a in (layer.class_attributes, *layer.more_attributes) if a is not None]
    said = (own.get("Name", ""), own.get("Description", ""), *(a.get(n, "") for a in naming for n in ("Name", "Value")))
    return not all(is_numbered(name) for name in said)


def _classes_by_color(layers: tuple[Layer, ...]) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """Take MoNuSAC's line colours as the last hint at the classes of layers of which none has a name."""
    colors = [dict(layer.attributes).get("LineColor", "").strip() for layer in layers]
    hints = classes_of_line_colors([int(c) if c.isascii() and c.isdecimal() and len(c) < 19 else -1 for c in colors])
    found = [kind for kind in hints if kind is not None]
    if not found:
        return layers, ()
    names = ", ".join(kind.label for kind in dict.fromkeys(found))
    note = f"no layer has a name: classes are taken from MoNuSAC's line colours ({names})"
    return tuple(_called(layer, kind) for layer, kind in zip(layers, hints, strict=True)), (note,)


def _called(layer: Layer, kind: NucleusClass | None) -> Layer:
    return layer if kind is None else replace(layer, label=kind.label)


def _nucleus(region: _Region, layer: Layer) -> Nucleus:
    markup, own = "".join(region.markup), dict(region.attributes)
    written = np.empty((0, 2)) if region.vertices is None else region.vertices
    vertices, role = shape_of(own.get("Type", ""), written)
    if not len(written) and _UNREAD.search(markup):
        role = "mark"  # an outline in a form of its own
    return Nucleus(
        vertices, layer.label_of(region.attributes) if own.get("Text") else layer.label, region.layer,
        region.attributes, source=SourceText(region.text, vertices, region.layer),
        markup="" if markup == "<Attributes/>" else markup, confidence=confidence_of(markup), role=role,
    )  # fmt: skip
