"""Nuclei and annotations as values: polygons as (y, x) pixels of level 0."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import AMBIGUOUS, IGNORED, NucleusClass, meaning_of

Attributes = tuple[tuple[str, str], ...]
#: What an outline of a file is: a nucleus (or an Ambiguous region), a region of interest around nuclei, or a mark
#: without an area (arrow, ruler, point, a shape that no one can read). The latter two are kept and written, not drawn.
Role = Literal["nucleus", "region", "mark"]

#: Names that programs give to what nobody named.
_NUMBERED = re.compile(r"(?:(?:layer|annotation|region)\s*)?\d*", re.IGNORECASE)


def is_numbered(name: str) -> bool:
    """Whether a name is empty or one that programs give to what nobody named ("Layer 2")."""
    return _NUMBERED.fullmatch(name.strip()) is not None


def label_of_region(names: Sequence[str]) -> str:
    """Choose the class name among all that a file says of a region.

    Parameters
    ----------
    names : sequence of str
        What the file says, the likeliest place first; the first is where ImageScope has the class.

    Returns
    -------
    str
        The first name that means something (a class, Ambiguous, ignored); else the first that says anything, so that it
        is reported as unknown; else the first.
    """
    for name in names:
        if meaning_of(name) not in (None, NucleusClass.UNCLASSIFIED):
            return name
    said = (n for n in names if not is_numbered(n) and NucleusClass.from_label(n) is None)
    return next(said, names[0] if names else "")


@dataclass(frozen=True, slots=True, eq=False)
class SourceText:
    """How the file spells the vertices of a region, and the very array that was read from it.

    A region whose `vertices` are still that array is written back to the letter; any other array (an edit) makes the
    text void, so that a stale text can never be written.

    Attributes
    ----------
    text : bytes
        What stands between ``<Vertices>`` and ``</Vertices>``, UTF-8.
    of : float64 (n, 2)
        The array that was read from `text`.
    layer : int
        The layer that it stood in: a region that is in another one now needs a new id there.
    """

    text: bytes
    of: NDArray[np.float64]
    layer: int = -1


@dataclass(frozen=True, slots=True, eq=False)
class SourceObject:
    """The JSON object that a region was read from, and the very array that was read from its geometry.

    While the region's `vertices` are still that array, the geometry is written back to the letter; after an edit only
    the geometry is made anew, and all other members stay.

    Attributes
    ----------
    text : bytes
        The object (a Feature without its child objects, an annotation of a COCO file), JSON in UTF-8.
    of : float64 (n, 2)
        The array that was read from it; an empty one where its geometry must not be written again.
    place : tuple of int
        Where it stood: number of the Feature, then of the child object in it, and so on.
    part, parts : int
        Which nucleus it is of the several that one object holds, and of how many.
    kind : {"geojson", "coco"}
        Of which format it is.
    """

    text: bytes
    of: NDArray[np.float64]
    place: tuple[int, ...] = (0,)
    part: int = 0
    parts: int = 1
    kind: Literal["geojson", "coco"] = "geojson"


@dataclass(frozen=True, slots=True, eq=False)
class Nucleus:
    """One outlined region of an annotation file: a nucleus, or an Ambiguous region.

    Attributes
    ----------
    vertices : float64 (n, 2)
        Outline in level-0 pixels, (y, x), as the file has it (open or closed, repeated, out of bounds).
    label : str
        Class name as the file spells it; empty when it has none.
    layer : int
        Index into `Annotation.layers`.
    attributes : tuple of (name, value)
        The Region's own attributes in file order, kept so that writing gives them back.
    z : tuple of str or None
        Z values to write for the vertices; None leaves that to the writer.
    integral : bool
        True where the coordinates are known to be integers.
    source : SourceText or None
        How the file spells the vertices, for regions that were read from Aperio XML.
    markup : str
        The Region's other children as the file has them (XML), kept so that writing gives them back.
    confidence : float or None
        0 to 1, for predicted nuclei.
    role : {"nucleus", "region", "mark"}
        What it is; "nucleus" includes Ambiguous regions.
    object_type : str
        What the program that drew it calls such an object (QuPath: "annotation", "detection", "cell", "tma core" ...).
    source_object : SourceObject or None
        The JSON object it was read from, for regions of GeoJSON and COCO files.
    """

    vertices: NDArray[np.float64]
    label: str = ""
    layer: int = 0
    attributes: Attributes = ()
    z: tuple[str, ...] | None = None
    integral: bool = False
    source: SourceText | None = None
    markup: str = ""
    confidence: float | None = None
    role: Role = "nucleus"
    object_type: str = ""
    source_object: SourceObject | None = None

    @property
    def is_drawn(self) -> bool:
        """Whether the maps show it: a nucleus or an Ambiguous region of three vertices or more, not ignored by name."""
        return self.role == "nucleus" and len(self.vertices) >= 3 and meaning_of(self.label) != IGNORED

    @property
    def source_text(self) -> bytes | None:
        """The file's own spelling of the vertices, or None where they were edited or never read from XML."""
        return self.source.text if self.source is not None and self.source.of is self.vertices else None

    @property
    def is_ambiguous(self) -> bool:
        """Whether this is an Ambiguous region: left out of training and of scores, never a nucleus."""
        return meaning_of(self.label) == AMBIGUOUS

    @property
    def nucleus_class(self) -> NucleusClass:
        """The class; `UNCLASSIFIED` for empty and for unknown names (which `Annotation.unknown_labels` reports)."""
        return NucleusClass.from_label(self.label) or NucleusClass.UNCLASSIFIED

    @property
    def region_id(self) -> str:
        """The file's ``Region@Id`` (restarts in each layer), or an empty string."""
        return dict(self.attributes).get("Id", "")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Nucleus):
            return NotImplemented
        return (
            np.array_equal(self.vertices, other.vertices)
            and (self.label, self.layer, self.attributes, self.z, self.markup, self.confidence, self.role)
            == (other.label, other.layer, other.attributes, other.z, other.markup, other.confidence, other.role)
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash((self.vertices.tobytes(), self.label, self.layer, self.attributes))

    def moved(self, dy_px: float, dx_px: float) -> Nucleus:
        """Return a copy shifted by (dy, dx) level-0 pixels."""
        return replace(self, vertices=self.vertices + np.array([dy_px, dx_px]), source=None, integral=False)


@dataclass(frozen=True, slots=True)
class Layer:
    """One ``Annotation`` element of an ImageScope file.

    Attributes
    ----------
    label : str
        Class name (``Annotation/Attributes/Attribute@Name``), empty when there is none.
    attributes : tuple of (name, value)
        The element's own attributes in file order (``Id``, ``Name``, ``LineColor`` ...).
    class_attributes : tuple of (name, value) or None
        Attributes of the ``Attribute`` element that names the class, or None where there is none.
    region_headers : tuple of tuples
        The ``AttributeHeader`` elements of ``RegionAttributeHeaders``, each as (name, value) pairs.
    more_attributes : tuple of tuples
        ``Attribute`` elements after the first.
    markup : str
        Children that this project does not know (XML), written back as they were.
    """

    label: str = ""
    attributes: Attributes = ()
    class_attributes: Attributes | None = None
    region_headers: tuple[Attributes, ...] = ()
    more_attributes: tuple[Attributes, ...] = ()
    markup: str = ""

    def label_of(self, region: Attributes = ()) -> str:
        """Choose the class name for a region of this layer (its attributes), or for the layer itself."""
        naming = [dict(a) for a in (self.class_attributes, *self.more_attributes) if a is not None]
        own = dict(self.attributes)
        return label_of_region(
            (
                naming[0].get("Name", "") if naming else "",
                *(a.get("Value", "") for a in naming),
                dict(region).get("Text", ""),
                own.get("Name", ""),
                own.get("Description", ""),
            )
        )


@dataclass(frozen=True, slots=True)
class Annotation:
    """All regions of one annotation file, in file order.

    Attributes
    ----------
    regions : tuple of Nucleus
        Nuclei and Ambiguous regions, degenerate ones (fewer than three vertices) included; also what is neither
        (regions of interest, marks), kept so that writing gives it back.
    layers : tuple of Layer
        The file's layers, those without a region included.
    um_per_px : float or None
        Micrometres per level-0 pixel, where the file says so.
    attributes : tuple of (name, value)
        Attributes of the root element.
    markup : str
        Children of the root that this project does not know (XML), written back as they were.
    source : Path or None
        Where it was read from.
    members : bytes
        What else a GeoJSON or COCO file holds beside its objects (JSON), kept so that writing gives it back.
    notes : tuple of str
        What a reader of the file should be told: objects that were kept but are no nuclei, and why.
    """

    regions: tuple[Nucleus, ...] = ()
    layers: tuple[Layer, ...] = ()
    um_per_px: float | None = None
    attributes: Attributes = ()
    markup: str = ""
    source: Path | None = field(default=None, compare=False)
    members: bytes = field(default=b"", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def nuclei(self) -> tuple[Nucleus, ...]:
        """Nuclei of three vertices or more, in file order: instance k is ``nuclei[k - 1]``."""
        return tuple(r for r in self.regions if r.is_drawn and not r.is_ambiguous)

    @property
    def ambiguous(self) -> tuple[Nucleus, ...]:
        """Ambiguous regions with three vertices or more, in file order."""
        return tuple(r for r in self.regions if r.is_drawn and r.is_ambiguous)

    @property
    def degenerate(self) -> tuple[Nucleus, ...]:
        """Regions of fewer than three vertices, marks among them: kept for writing, never drawn."""
        return tuple(r for r in self.regions if len(r.vertices) < 3)

    @property
    def regions_of_interest(self) -> tuple[Nucleus, ...]:
        """Outlines around nuclei, in file order: kept for writing and for looking, never drawn into a map."""
        return tuple(r for r in self.regions if r.role == "region")

    @property
    def marks(self) -> tuple[Nucleus, ...]:
        """Arrows, rulers, points and shapes that cannot be read as an area: kept for writing, never drawn."""
        return tuple(r for r in self.regions if r.role == "mark")

    @property
    def unknown_labels(self) -> dict[str, int]:
        """Class names that this project does not know, with their number of regions."""
        nuclei = (r for r in self.regions if r.role == "nucleus" and not r.is_ambiguous)
        return dict(Counter(r.label for r in nuclei if meaning_of(r.label) is None))

    def counts(self) -> dict[NucleusClass, int]:
        """Number of drawable nuclei of each class that occurs."""
        return dict(Counter(n.nucleus_class for n in self.nuclei))

    def own_layer(self, region: Nucleus) -> int:
        """Return the index of the layer that a region stands in and whose class it has; -1 where it belongs elsewhere.

        What is no nucleus stays where it stands. A region's own ``Text`` may name its class beside the layer's name.
        """
        if not 0 <= region.layer < len(self.layers):
            return -1
        layer, label = self.layers[region.layer], region.label.strip().casefold()
        stays = region.role != "nucleus" or label in (
            layer.label.strip().casefold(), layer.label_of(region.attributes).strip().casefold()
        )  # fmt: skip
        return region.layer if stays else -1

    def __iter__(self) -> Iterator[Nucleus]:
        return iter(self.regions)

    def __len__(self) -> int:
        return len(self.regions)
