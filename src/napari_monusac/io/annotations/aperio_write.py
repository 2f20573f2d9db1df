"""Writing Aperio ImageScope XML: what was not edited goes back to the letter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from napari_monusac.core.classes import AMBIGUOUS, CLASSES, LINE_COLORS
from napari_monusac.core.errors import AnnotationError
from napari_monusac.core.files import atomic_write_bytes
from napari_monusac.core.geometry import outline_area, outline_length
from napari_monusac.core.nuclei import Annotation, Attributes, Layer, Nucleus
from napari_monusac.io.annotations.aperio_shapes import is_plain_outline
from napari_monusac.io.annotations.markup import decimal, element, element_start, forbidden_character, with_confidence

_HEADERS: tuple[Attributes, ...] = tuple(
    (("Id", number), ("Name", name), ("ColumnWidth", "-1"))
    for number, name in (
        ("9999", "Region"), ("9997", "Length"), ("9996", "Area"), ("9998", "Text"), ("1", "Description"),
    )
)  # fmt: skip
_NEWLINE = b"\n\t\t\t\t\t"


@dataclass(slots=True)
class _Group:
    """A layer to be written, and its regions."""

    layer: Layer
    regions: list[tuple[Nucleus, bool]] = field(default_factory=list)
    """Each with whether it is new to this layer: then it gets an id of its own."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How the file is written.

    Attributes
    ----------
    path : Path
        For messages.
    um_per_px : float or None
        Scale, for lengths and areas in um.
    with_z : bool
        Whether new vertices get a Z.
    halo : bool
        Whether it is a file of HALO: vertices are called V, and layers and regions have no attributes of ImageScope.
    """

    path: Path
    um_per_px: float | None
    with_z: bool
    halo: bool

    @classmethod
    def of(cls, annotation: Annotation, path: Path) -> _Form:
        """Whether vertices are written with a Z, as the annotation's own file has it: MoNuSAC yes, MoNuSeg no; yes by default."""
        first = next((r.source.text for r in annotation.regions if r.source is not None and r.source.text), None)
        if first is not None:
            halo = first.lstrip().startswith(b"<V ")
        else:  # HALO's layers have no numbers
            layers = [dict(layer.attributes) for layer in annotation.layers if layer.attributes]
            halo = bool(layers) and not any("Id" in layer for layer in layers)
        return cls(path, annotation.um_per_px, first is None or b" Z=" in first, halo)


def write_aperio(annotation: Annotation, path: str | Path) -> tuple[Nucleus, ...]:
    """Write an Aperio ImageScope XML file, whole or not at all.

    Parameters
    ----------
    annotation : Annotation
        Regions that were read from XML and not edited keep their vertices, ids and attributes to the letter. Edited
        ones keep id and attributes, with ``Length`` and ``Area`` measured anew as ImageScope does (open length,
        shoelace area). New ones get the next free id of their layer. A region whose class was changed moves to the
        layer of that class, which is added where there is none. A file of HALO stays one (its elements and attributes).
        A rectangle or ellipse that was edited becomes a plain outline.
    path : str or Path
        The file; replaced if it exists.

    Returns
    -------
    tuple of Nucleus
        Objects of a JSON file that have no outline (a Point, a box alone): left out, ImageScope has no form for them.

    Raises
    ------
    AnnotationError
        A name holds a character that XML cannot hold, a coordinate is not finite, or the disk refuses.

    Notes
    -----
    ImageScope draws layer by layer. Regions of one layer keep their order; where nuclei of two classes overlap and came
    in mixed order (from GeoJSON), the later layer lies on top.
    """
    path = Path(path)
    left_out = tuple(r for r in annotation.regions if r.source_object is not None and not len(r.vertices))
    if left_out:
        without = {id(r) for r in left_out}
        annotation = replace(annotation, regions=tuple(r for r in annotation.regions if id(r) not in without))
    content = b"".join(_file(annotation, path))
    try:
        atomic_write_bytes(path, content)
    except OSError as error:
        raise AnnotationError(
            path, f"cannot be written: {error.strerror}", "choose a folder you may write to"
        ) from error
    return left_out


def _file(annotation: Annotation, path: Path) -> Iterator[bytes]:
    form = _Form.of(annotation, path)
    yield _encoded(element_start("Annotations", _root(annotation)) + "\n", path)
    for number, group in enumerate(_groups(annotation, form), 1):
        yield from _layer(group, number, form)
    yield _encoded(annotation.markup, path) + b"</Annotations>\n"


def _root(annotation: Annotation) -> Attributes:
    """The root's attributes; MicronsPerPixel only rewritten where it says something else."""
    attributes = dict(annotation.attributes)
    spelled = attributes.get("MicronsPerPixel", "")
    try:
        same = float(spelled) == annotation.um_per_px
    except ValueError:
        same = False
    if annotation.um_per_px is not None and not same:
        attributes["MicronsPerPixel"] = f"{annotation.um_per_px:.6f}"
    return tuple(attributes.items())


def _groups(annotation: Annotation, form: _Form) -> list[_Group]:
    """Layers with their regions: those of the file, in order, then those that new labels need."""
    layers = annotation.layers or tuple(_new_layer(c.label, k + 1, form) for k, c in enumerate(CLASSES))
    groups = [_Group(layer) for layer in layers]
    by_label: dict[str, _Group] = {}
    for group in groups:
        by_label.setdefault(_key(group.layer.label), group)
    for region in annotation.regions:
        own = annotation.own_layer(region)
        if own >= 0:
            groups[own].regions.append((region, _is_new(region)))
            continue
        target = by_label.get(_key(region.label))
        if target is None:
            new = _new_layer(region.label, _next_id(g.layer for g in groups), form)
            target = by_label[_key(region.label)] = _Group(new)
            groups.append(target)
        target.regions.append((region, True))
    return groups


def _is_new(region: Nucleus) -> bool:
    """Whether a region needs an id in its layer: it has no attributes yet, or those of another layer."""
    was = region.source.layer if region.source is not None else -1
    return not region.attributes or (was >= 0 and was != region.layer)


def _key(label: str) -> str:
    return label.strip().casefold()


def _new_layer(label: str, number: int, form: _Form) -> Layer:
    known = next((name for name in (*(c.label for c in CLASSES), AMBIGUOUS) if _key(name) == _key(label)), "")
    if form.halo:
        return Layer(label, (("LineColor", str(LINE_COLORS[known])), ("Name", label), ("Visible", "True")))
    attributes = (
        ("Id", str(number)), ("Name", ""), ("ReadOnly", "0"), ("NameReadOnly", "0"), ("LineColorReadOnly", "0"),
        ("Incremental", "0"), ("Type", "4"), ("LineColor", str(LINE_COLORS[known])), ("Visible", "1"),
        ("Selected", "0"), ("MarkupImagePath", ""), ("MacroName", ""),
    )  # fmt: skip
    naming = (("Name", label), ("Id", "0"), ("Value", ""))
    return Layer(label, attributes, naming, _HEADERS, markup="<Plots/>")


def _next_id(holders: Iterable[Layer | Nucleus]) -> int:
    """One above the largest numeric Id."""
    ids = (value for holder in holders for name, value in holder.attributes if name == "Id")
    return 1 + max((int(i) for i in ids if i.isascii() and i.isdigit() and len(i) < 19), default=0)


def _layer(group: _Group, number: int, form: _Form) -> Iterator[bytes]:
    layer = group.layer
    if not layer.attributes:
        # a layer that never was in a file
        layer = _new_layer(layer.label, number, form)
    lines = ["\t" + element_start("Annotation", layer.attributes)]
    naming = ([layer.class_attributes] if layer.class_attributes is not None else []) + [*layer.more_attributes]
    if layer.label and not layer.label_of() and not form.halo:
        # a class that the line colours hinted at: with a new layer beside it the hint would be gone
        first = dict(naming[0]) if naming else {"Name": "", "Id": "0", "Value": ""}
        naming = [tuple((first | {"Name": layer.label}).items()), *naming[1:]]
    if naming:
        lines += ["\t\t<Attributes>", *("\t\t\t" + element("Attribute", a) for a in naming), "\t\t</Attributes>"]
    elif not form.halo:
        lines += ["\t\t<Attributes/>"]
    headers = ["\t\t\t\t" + element("AttributeHeader", h) for h in layer.region_headers]
    lines += ["\t\t<Regions>"]
    if headers or not form.halo:
        lines += ["\t\t\t<RegionAttributeHeaders>", *headers, "\t\t\t</RegionAttributeHeaders>"]
    yield _encoded("\n".join(lines) + "\n", form.path)
    free = _next_id(region for region, new in group.regions if not new)
    for region, new in group.regions:
        yield _region(region, layer, str(free) if new else "", form)
        free += new
    others = f"\t\t{layer.markup}\n" if layer.markup else ""
    yield _encoded(f"\t\t</Regions>\n{others}\t</Annotation>\n", form.path)


def _region(region: Nucleus, layer: Layer, new_id: str, form: _Form) -> bytes:
    path, text, attributes = form.path, region.source_text, region.attributes
    if new_id or text is None:
        attributes = _region_attributes(region, new_id, form, edited=text is None)
    attributes = _agreeing(attributes, layer, region)
    if text is None:
        text = _vertex_text(region, form)
    start = element_start("Region", attributes)
    if region.confidence is not None and not 0 <= region.confidence <= 1:
        raise AnnotationError(path, f"not written: confidence {region.confidence} is not within 0 to 1", "correct it")
    markup = with_confidence(region.markup or ("" if form.halo else "<Attributes/>"), region.confidence)
    others = f"\t\t\t\t{markup}\n" if markup else ""
    # HALO has a region's comments behind its vertices, ImageScope its attributes before them
    before, behind = ("", others) if form.halo else (others, "")
    head = _encoded(f"\t\t\t{start}\n{before}\t\t\t\t<Vertices>", path)
    return head + text + _encoded(f"</Vertices>\n{behind}\t\t\t</Region>\n", path)


def _agreeing(attributes: Attributes, layer: Layer, region: Nucleus) -> Attributes:
    """A region's attributes, without a ``Text`` that names another class than the one that it has now."""
    if region.role != "nucleus" or not dict(attributes).get("Text"):
        return attributes
    if _key(layer.label_of(attributes)) == _key(region.label):
        return attributes
    return tuple((name, "" if name == "Text" else value) for name, value in attributes)


def _region_attributes(region: Nucleus, new_id: str, form: _Form, *, edited: bool) -> Attributes:
    """Attributes of a region that is new to its layer or edited: those that it has are kept, in their order."""
    length, area = outline_length(region.vertices), outline_area(region.vertices)
    um = form.um_per_px or 0.0
    measures = {
        "Length": f"{length:.1f}", "Area": f"{area:.1f}",
        "LengthMicrons": f"{length * um:.1f}", "AreaMicrons": f"{area * um * um:.1f}",
    }  # fmt: skip
    own = dict(region.attributes)
    if edited:
        own.update((name, value) for name, value in measures.items() if name in own)
        kind = own.get("Type", "")
        if region.is_drawn and not is_plain_outline(kind):
            own["Type"] = "0" if kind.strip().isdecimal() else "Polygon"
    if form.halo:
        return tuple(({"Type": "Polygon", "HasEndcaps": "0", "NegativeROA": "0"} | own).items())
    if not new_id:
        return tuple(own.items())
    defaults = {
        "Id": "", "Type": "0", "Zoom": "1", "Selected": "0", "ImageLocation": "", "ImageFocus": "-1", **measures,
        "Text": "", "NegativeROA": "0", "InputRegionId": "0", "Analyze": "1", "DisplayId": "",
    }  # fmt: skip
    return tuple((defaults | own | {"Id": new_id, "DisplayId": new_id}).items())


def _vertex_text(region: Nucleus, form: _Form) -> bytes:
    if not np.isfinite(region.vertices).all():
        problem = "not written: an outline has a coordinate that is no number"
        raise AnnotationError(form.path, problem, "draw it again")
    tag = "V" if form.halo else "Vertex"
    z = region.z if region.z is not None and len(region.z) == len(region.vertices) else None
    lines = []
    for k, (y, x) in enumerate(region.vertices.tolist()):
        depth = f' Z="{z[k] if z else 0}"' if z or form.with_z else ""
        lines.append(f'<{tag} X="{decimal(x)}" Y="{decimal(y)}"{depth}/>'.encode())
    return b"".join([_NEWLINE + line for line in lines] + [b"\n\t\t\t\t"]) if lines else b""


def _encoded(text: str, path: Path) -> bytes:
    wrong = forbidden_character(text)
    if wrong is not None:
        raise AnnotationError(
            path, f"not written: a name holds the character {wrong!r}", "take it out of the class name"
        )
    return text.encode()
