"""State of a session -> Annotation: untouched outlines to the letter, changed ones from their pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import AMBIGUOUS, CLASSES, NucleusClass
from napari_monusac.core.geometry import Outline
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.masks.polygons import polygons_from_instances
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.session.rows import AMBIGUOUS_ID, NucleusRow, class_name
from napari_monusac.session.state import SessionState

Placed = tuple[Nucleus, NucleusRow | None]


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """An annotation made from a session.

    Attributes
    ----------
    annotation : Annotation
        Regions layer by layer, as ImageScope draws them.
    pairs : tuple of (Nucleus, NucleusRow or None)
        Each region with its row; degenerate regions have none.
    redrawn : frozenset of int
        Ids whose outline was made from pixels.
    trimmed : frozenset of int
        Those among them that nobody touched, but that would cover another nucleus in the order of the new file.
    hidden : frozenset of int
        Ids left out: trimmed like that, nothing of them would be seen.
    """

    annotation: Annotation
    pairs: tuple[Placed, ...]
    redrawn: frozenset[int]
    trimmed: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()


def build_annotation(state: SessionState) -> Built:
    """Make the annotation that draws the session's maps.

    Intact outlines stay the file's own regions (vertices, ids, attributes), in its order; those of another class move
    to the layer of that class. All others are outlined from their pixels. Drawn in file order the result gives the
    session's instance map pixel for pixel: an intact outline that would cover somebody else is trimmed to its pixels.
    """
    redraw = {k for k, row in state.rows.items() if not row.intact}
    trimmed: set[int] = set()
    while True:
        annotation, pairs = _assembled(state, redraw)
        spilling = _spilling(state, annotation, pairs) - redraw
        if not spilling:
            break
        redraw |= spilling
        trimmed |= spilling
    written = {row.id for _, row in pairs if row is not None}
    return Built(
        annotation, pairs, frozenset(redraw & written), frozenset(trimmed), frozenset(state.rows.keys() - written)
    )


def _assembled(state: SessionState, redraw: set[int]) -> tuple[Annotation, tuple[Placed, ...]]:
    outlines = _outlines(state, redraw)
    by_source = {row.source: row for row in state.rows.values() if row.source is not None}
    own: list[Placed] = []
    come: list[Placed] = []
    for index, region in enumerate(state.source.regions):
        if len(region.vertices) < 3:
            own.append((region, None))
            continue
        row = by_source.get(index)
        if row is None:
            continue
        made = _made(state.source, region, row, outlines if row.id in redraw else None)
        if made is not None:
            (own if made.layer == region.layer and made.label == region.label else come).append((made, row))
    for row in state.rows.values():
        if row.source is None and row.id in outlines:
            layer, label = _layer_of(state.source, row.class_id)
            new = Nucleus(outlines[row.id], label, layer, integral=True, confidence=row.confidence)
            come.append((new, row))
    pairs = tuple(_in_file_order(state.source, own, come))
    return replace(state.source, regions=tuple(r for r, _ in pairs)), pairs


def _outlines(state: SessionState, wanted: Iterable[int]) -> dict[int, Outline]:
    out: dict[int, Outline] = {}
    for plane in ("nuclei", "ambiguous"):
        labels = [k for k in wanted if state.rows[k].plane == plane]
        if labels:
            frame = state.maps.instances if plane == "nuclei" else state.maps.ambiguous
            out.update(polygons_from_instances(frame, labels=labels, fragments=True).polygons)
    return out


def _made(source: Annotation, region: Nucleus, row: NucleusRow, outlines: dict[int, Outline] | None) -> Nucleus | None:
    """Return the region as it is now; None where nothing of it is left to see."""
    was = AMBIGUOUS_ID if region.is_ambiguous else int(region.nucleus_class)
    if row.class_id != was:
        layer, label = _layer_of(source, row.class_id)
        region = replace(region, layer=layer, label=label)
    if outlines is None:
        return region
    if row.id not in outlines:
        return None
    return replace(region, vertices=outlines[row.id], z=None, integral=True)


def _layer_of(source: Annotation, class_id: int) -> tuple[int, str]:
    """Return the layer that a class has in the file, and its name there; -1 where it has none."""
    for index, layer in enumerate(source.layers):
        ambiguous = layer.label.strip().casefold() == AMBIGUOUS.casefold()
        if class_id == AMBIGUOUS_ID:
            if ambiguous:
                return index, layer.label
        elif not ambiguous and NucleusClass.from_label(layer.label) == class_id:
            return index, layer.label
    return -1, class_name(class_id)


def _in_file_order(source: Annotation, own: list[Placed], come: list[Placed]) -> list[Placed]:
    """Put regions that came into a layer behind its own ones, layer by layer, as the file will have them."""
    layers = [region.layer for region, _ in own]
    if layers != sorted(layers):
        return own + come  # GeoJSON: one list in mixed order
    known = [c.label for c in CLASSES] if not source.layers else []
    fresh = list(dict.fromkeys([*known, *(region.label for region, _ in come if region.layer < 0)]))

    def rank(placed: Placed) -> int:
        region = placed[0]
        return region.layer if region.layer >= 0 else len(source.layers) + fresh.index(region.label)

    return sorted(own + come, key=rank)


def _spilling(state: SessionState, annotation: Annotation, pairs: tuple[Placed, ...]) -> set[int]:
    """Return the nuclei that cover pixels of somebody else when the annotation is drawn."""
    drawn = label_maps(annotation, state.shape).instances
    ids = [row.id for region, row in pairs if row is not None and not region.is_ambiguous]
    seen: NDArray[np.int32] = np.array([0, *ids], np.int32)[drawn]
    wrong = seen != state.maps.instances
    return set(np.unique(seen[wrong]).tolist()) - {0}
