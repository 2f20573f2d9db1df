"""Nuclei of a session -> Annotation: untouched outlines to the letter, changed ones from their pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from napari_monusac.core.classes import AMBIGUOUS, CLASSES, NucleusClass, meaning_of
from napari_monusac.core.geometry import Outline
from napari_monusac.core.nuclei import Annotation, Nucleus
from napari_monusac.editing.nuclei.crop import CropNuclei
from napari_monusac.editing.nuclei.frame import outline_beyond
from napari_monusac.editing.nuclei.rows import AMBIGUOUS_ID, NucleusRow, class_name
from napari_monusac.masks.polygons import polygons_from_instances
from napari_monusac.masks.scanline import fill_polygons

RegionRow = tuple[Nucleus, NucleusRow | None]


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """An annotation made from a session.

    Attributes
    ----------
    annotation : Annotation
        Regions layer by layer, as ImageScope draws them.
    pairs : tuple of (Nucleus, NucleusRow or None)
        Each region with its row; degenerate regions, and those outside the frame, have none.
    redrawn : frozenset of int
        Ids whose outline was made from pixels.
    trimmed : frozenset of int
        Those among them that nobody touched, but that would cover another nucleus in the order of the new file.
    hidden : frozenset of int
        Ids left out: trimmed like that, nothing of them would be seen.
    """

    annotation: Annotation
    pairs: tuple[RegionRow, ...]
    redrawn: frozenset[int]
    trimmed: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()


def build_annotation(nuclei: CropNuclei, *, layered: bool = True) -> Built:
    """Make the annotation that draws the session's maps.

    Intact outlines stay the file's own regions (vertices, ids, attributes), in its order; those of another class move
    to the layer of that class. All others are outlined from their pixels. Drawn in file order the result gives the
    session's instance map pixel for pixel: an intact outline that would cover somebody else is trimmed to its pixels.

    Parameters
    ----------
    nuclei : CropNuclei
        What to build from.
    layered : bool
        Order regions by layer, as Aperio files have them; else (GeoJSON) what is new comes last.
    """
    redraw = {k for k, row in nuclei.rows.items() if not row.intact}
    annotation, pairs = _assembled(nuclei, redraw, layered)
    trimmed: set[int] = set()
    while spilling := _spilling(nuclei, pairs, redraw | trimmed):
        trimmed |= spilling
    if trimmed:
        redraw |= trimmed
        annotation, pairs = _assembled(nuclei, redraw, layered)
    written = {row.id for _, row in pairs if row is not None}
    return Built(
        annotation, pairs, frozenset(redraw & written), frozenset(trimmed), frozenset(nuclei.rows.keys() - written)
    )


def _assembled(nuclei: CropNuclei, redraw: set[int], layered: bool) -> tuple[Annotation, tuple[RegionRow, ...]]:
    outlines = _outlines(nuclei, redraw)
    by_source = {row.source: row for row in nuclei.rows.values() if row.source is not None}
    own: list[RegionRow] = []
    come: list[RegionRow] = []
    for index, region in enumerate(nuclei.source.regions):
        if not region.is_drawn:
            own.append((region, None))
            continue
        row = by_source.get(index)
        if row is None:
            if index in nuclei.outside:
                own.append((region, None))
            continue
        made = _made(nuclei.source, region, row, outlines if row.id in redraw else None)
        if made is not None:
            (own if made.layer == region.layer and made.label == region.label else come).append((made, row))
    for row in nuclei.rows.values():
        if row.source is None and row.id in outlines:
            layer, label = _layer_of(nuclei.source, row.class_id)
            new = Nucleus(outlines[row.id], label, layer, integral=True, confidence=row.confidence)
            come.append((new, row))
    pairs = tuple(_layer_by_layer(nuclei.source, own + come) if layered else own + come)
    return replace(nuclei.source, regions=tuple(r for r, _ in pairs)), pairs


def _outlines(nuclei: CropNuclei, wanted: Iterable[int]) -> dict[int, Outline]:
    out: dict[int, Outline] = {}
    wanted, offset = list(wanted), np.array(nuclei.frame.offset_px)
    for plane in ("nuclei", "ambiguous"):
        labels = [k for k in wanted if nuclei.rows[k].plane == plane]
        if labels:
            whole = [k for k in labels if k not in nuclei.beyond]
            found = polygons_from_instances(nuclei.maps.plane(plane), labels=whole, fragments=True).polygons
            out.update({k: outline + offset for k, outline in found.items()} if offset.any() else found)
    for k in nuclei.beyond & set(wanted):
        row = nuclei.rows[k]
        if row.source is not None:
            seen = nuclei.maps.plane(row.plane) == k
            outline = outline_beyond(nuclei.source.regions[row.source].vertices, seen, nuclei.frame)
            if outline is not None:
                out[k] = outline
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
        ambiguous = meaning_of(layer.label) == AMBIGUOUS
        if class_id == AMBIGUOUS_ID:
            if ambiguous:
                return index, layer.label
        elif not ambiguous and NucleusClass.from_label(layer.label) == class_id:
            return index, layer.label
    return -1, class_name(class_id)


def _layer_by_layer(source: Annotation, placed: list[RegionRow]) -> list[RegionRow]:
    """Order regions as an Aperio file will have them: by the layer of their label, new layers last."""
    named = [layer.label for layer in source.layers] or [c.label for c in CLASSES]
    keys = [_key(label) for label in named]
    keys += [_key(region.label) for region, _ in placed]
    first = {key: index for index, key in reversed(list(enumerate(keys)))}

    def rank(each: RegionRow) -> int:
        region = each[0]
        own = source.own_layer(region)
        return own if own >= 0 else first[_key(region.label)]

    return sorted(placed, key=rank)


def _key(label: str) -> str:
    return label.strip().casefold()


def _spilling(nuclei: CropNuclei, pairs: tuple[RegionRow, ...], redrawn: set[int]) -> set[int]:
    """Return intact nuclei that would cover pixels of somebody else, or of nobody, when the regions are drawn in order.

    Outlines from pixels lie exactly on their pixels and cannot: it is enough to draw the intact ones.
    """
    order = [(region, row.id) for region, row in pairs if row is not None and not region.is_ambiguous]
    rank = np.zeros(nuclei.next_id, np.int64)
    rank[[k for _, k in order]] = np.arange(1, len(order) + 1)
    intact = [(region, k) for region, k in order if k not in redrawn]
    ids = np.array([k for _, k in intact], np.int32)
    top = np.zeros(nuclei.shape[0] * nuclei.shape[1], np.int32)
    offset = np.array(nuclei.frame.offset_px)
    for pixels, polygon in fill_polygons([region.vertices - offset for region, _ in intact], nuclei.shape):
        top[pixels] = ids[polygon]  # a later one lies over an earlier one
    owner = nuclei.maps.instances.reshape(-1)
    where = np.flatnonzero((top != 0) & (top != owner))
    over, under = top[where], owner[where]
    # an owner from pixels wins where it comes later; background and an intact owner (which is not on top) never do
    from_pixels = np.zeros(nuclei.next_id, bool)
    from_pixels[[k for _, k in order if k in redrawn]] = True
    wrong = ~from_pixels[under] | (rank[over] > rank[under])
    return set(np.unique(over[wrong]).tolist())
