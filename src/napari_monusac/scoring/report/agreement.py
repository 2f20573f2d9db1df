"""Models, or people, against each other without truth: how far they agree, crop by crop, and what most of them see.

A folder is a rater: predictions of a model, or the annotations of a reader (XML by the names of the crops).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_monusac.core.class_mapping import ClassMapping
from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import Cancelled, FileProblem
from napari_monusac.io.collection.collection import open_collection
from napari_monusac.io.predictions.find import FORMS_IN_WORDS, PredictionFolder
from napari_monusac.io.predictions.open import PredictedCrop, open_prediction
from napari_monusac.scoring.matching.matching import match_instances
from napari_monusac.scoring.metrics.evaluation import Interval
from napari_monusac.scoring.metrics.kappa import fleiss_kappa, jackknife_interval, kappa_of_table
from napari_monusac.scoring.metrics.panoptic import PanopticQuality
from napari_monusac.scoring.metrics.scorings import Floats

if TYPE_CHECKING:
    from napari_monusac.io.collection.collection import Crop

#: Classes that a nucleus can be given, one column each.
_KINDS = (*(int(c) for c in NucleusClass if c not in (NucleusClass.BACKGROUND, NucleusClass.UNCLASSIFIED)), 255)
_COLUMN = {k: i for i, k in enumerate(_KINDS)}


class PairOfRaters(BaseModel):
    """How two raters compare over all crops that both have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: str
    second: str
    crops: int
    nuclei_first: int
    nuclei_second: int
    matched: int = Field(description="Nuclei that both outline, IoU over 0.5")
    pq: float | None = Field(
        description="Panoptic quality of all nuclei, either taken for the truth; None where both are empty"
    )
    pq_interval: Interval | None = Field(None, description="95 %, over patients")
    f1: float | None = Field(description="Detection F1, either taken for the truth")
    kappa: float | None = Field(
        description="Cohen's kappa of the classes of matched nuclei; None where it is undefined"
    )
    kappa_interval: Interval | None = Field(None, description="95 %, over patients")
    classes: tuple[str, ...] = Field((), description="Names of the rows and columns of `table`")
    table: tuple[tuple[int, ...], ...] = Field(
        (), description="Matched nuclei, class of the first by class of the second"
    )


class CropAgreement(BaseModel):
    """How far the raters agree in one crop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop: str
    patient: str
    nuclei: int = Field(description="Different nuclei that anybody outlines")
    by_all: int = Field(description="Outlined by all")
    by_some: int = Field(description="Outlined by some only: to look at")
    other_class: int = Field(description="Outlined by all, but not of one class: to look at")
    pq: float | None = Field(description="Mean panoptic quality of all pairs of raters; None where all are empty")

    @property
    def disputed(self) -> int:
        """Nuclei that are worth a look."""
        return self.by_some + self.other_class


class Agreement(BaseModel):
    """How raters compare; crops by the number of disputed nuclei, the most first: there labelling pays most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    raters: tuple[str, ...]
    pairs: tuple[PairOfRaters, ...]
    fleiss_kappa: float | None = Field(
        None, description="Of the classes of nuclei that all outline; three raters or more"
    )
    crops: tuple[CropAgreement, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """What the raters see together in one crop.

    Attributes
    ----------
    instances : int32 (y, x)
        Nuclei that more than half of the raters outline: pixels that more than half of those who outline it share.
    classes : mapping of int to int
        The class that most of them give; unclassified where two are given as often.
    votes : mapping of int to int
        How many outline it.
    groups : sequence of mapping
        Every nucleus that anybody outlines: its number by rater.
    """

    instances: NDArray[np.int32]
    classes: Mapping[int, int]
    votes: Mapping[int, int]
    groups: Sequence[Mapping[int, int]] = field(default_factory=tuple)


def consensus_of(maps: Sequence[NDArray[np.integer]], classes: Sequence[Mapping[int, int]]) -> Consensus:
    """Find what most raters see in a crop.

    Parameters
    ----------
    maps : sequence of integers (y, x)
        The instance map of each rater.
    classes : sequence of mapping
        Class number by nucleus, of each.

    Returns
    -------
    Consensus

    Raises
    ------
    ShapeError
        The maps differ in shape.
    """
    groups, boxes = _groups(maps), _boxes(maps)
    instances = np.zeros(maps[0].shape, np.int32)
    kinds: dict[int, int] = {}
    votes: dict[int, int] = {}
    for group in groups:
        if 2 * len(group) <= len(maps):
            continue
        number = len(kinds) + 1
        rows, columns, shared = _shared(maps, group, boxes)
        instances[rows, columns][shared & (instances[rows, columns] == 0)] = number
        kinds[number] = _most_given([classes[r].get(k, int(NucleusClass.UNCLASSIFIED)) for r, k in group.items()])
        votes[number] = len(group)
    return Consensus(instances, kinds, votes, groups)


def _groups(maps: Sequence[NDArray[np.integer]]) -> list[dict[int, int]]:
    """Nuclei of different raters that are one: pairs of IoU over 0.5, best first, one of each rater at the most."""
    pairs = []
    nuclei = [(r, int(k)) for r, labels in enumerate(maps) for k in np.unique(labels[labels > 0])]
    for a, b in combinations(range(len(maps)), 2):
        found = match_instances(maps[a], maps[b])
        for m in found.matches:
            one, other = found.truth.ids[found.pair_truth[m]], found.prediction.ids[found.pair_prediction[m]]
            pairs.append((-float(found.iou[m]), (a, int(one)), (b, int(other))))
    group = {nucleus: {nucleus[0]: nucleus[1]} for nucleus in nuclei}
    for _, one, other in sorted(pairs):
        first, second = group[one], group[other]
        if first is not second and not first.keys() & second.keys():
            first.update(second)
            for nucleus in second.items():
                group[nucleus] = first
    return list({id(g): g for g in group.values()}.values())


def _boxes(maps: Sequence[NDArray[np.integer]]) -> list[dict[int, tuple[int, int, int, int]]]:
    """The bounding box (y0, x0, y1, x1) of each nucleus, by rater."""
    held = (match_instances(labels, labels).truth for labels in maps)
    return [dict(zip(o.ids.tolist(), map(tuple, o.boxes.tolist()), strict=True)) for o in held]


def _shared(
    maps: Sequence[NDArray[np.integer]],
    group: Mapping[int, int],
    boxes: Sequence[Mapping[int, tuple[int, int, int, int]]],
) -> tuple[slice, slice, NDArray[np.bool_]]:
    """Where a nucleus lies, and the pixels there that more than half of those who outline it share."""
    corners = np.array([boxes[r][k] for r, k in group.items()])
    (y0, x0), (y1, x1) = corners[:, :2].min(0).tolist(), corners[:, 2:].max(0).tolist()
    rows, columns = slice(y0, y1), slice(x0, x1)
    count = sum((maps[r][rows, columns] == k).astype(np.int32) for r, k in group.items())
    return rows, columns, np.asarray(2 * count > len(group))


def _most_given(kinds: list[int]) -> int:
    counts = Counter(kinds).most_common(2)
    tied = len(counts) > 1 and counts[0][1] == counts[1][1]
    return int(NucleusClass.UNCLASSIFIED) if tied else counts[0][0]


class _Tally:
    """Counts of each pair of raters by patient, and of each crop."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.tables: dict[tuple[int, int], dict[str, Floats]] = {p: {} for p in combinations(range(len(names)), 2)}
        self.quality: dict[tuple[int, int], dict[str, Floats]] = {p: {} for p in self.tables}
        self.given: list[list[int]] = []
        self.crops: list[CropAgreement] = []

    def add(self, crop: Crop, maps: Sequence[NDArray[np.integer]], classes: Sequence[Mapping[int, int]]) -> Consensus:
        qualities = [self._pair(pair, crop.patient, maps, classes) for pair in self.tables]
        known = [q for q in qualities if not np.isnan(q)]
        found = consensus_of(maps, classes)
        by_all = [g for g in found.groups if len(g) == len(maps)]
        given = [[classes[r].get(k, 255) for r, k in sorted(g.items())] for g in by_all]
        self.given += [[row.count(k) for k in _KINDS] for row in given]
        self.crops.append(
            CropAgreement(
                crop=crop.name,
                patient=crop.patient,
                nuclei=len(found.groups),
                by_all=len(by_all),
                by_some=len(found.groups) - len(by_all),
                other_class=sum(len(set(row)) > 1 for row in given),
                pq=float(np.mean(known)) if known else None,
            )
        )
        return found

    def _pair(
        self,
        pair: tuple[int, int],
        patient: str,
        maps: Sequence[NDArray[np.integer]],
        classes: Sequence[Mapping[int, int]],
    ) -> float:
        a, b = pair
        found = match_instances(maps[a], maps[b])
        matches = found.matches
        table = np.zeros((len(_KINDS), len(_KINDS)))
        for m in matches:
            one = classes[a].get(int(found.truth.ids[found.pair_truth[m]]), 255)
            other = classes[b].get(int(found.prediction.ids[found.pair_prediction[m]]), 255)
            table[_COLUMN[one], _COLUMN[other]] += 1
        n = len(matches)
        counts = np.array([n, len(found.prediction) - n, len(found.truth) - n, float(found.iou[matches].sum())])
        for held, more in ((self.tables[pair], table), (self.quality[pair], counts)):
            held[patient] = held.get(patient, np.zeros_like(more)) + more
        return _pq(counts)

    def pair_of(self, pair: tuple[int, int]) -> PairOfRaters:
        tables, counts = (np.array(list(held[pair].values())) for held in (self.tables, self.quality))
        table, total = tables.sum(0), counts.sum(0)
        n, more, fewer = (int(v) for v in total[:3])
        used = np.flatnonzero(table.sum(0) + table.sum(1))
        return PairOfRaters(
            first=self.names[pair[0]],
            second=self.names[pair[1]],
            crops=len(self.crops),
            nuclei_first=n + fewer,
            nuclei_second=n + more,
            matched=n,
            pq=_known(_pq(total)),
            pq_interval=jackknife_interval(_pq, counts, 0.0, 1.0),
            f1=_known(PanopticQuality(n, more, fewer, float(total[3])).dq),
            kappa=_known(kappa_of_table(table)),
            kappa_interval=jackknife_interval(kappa_of_table, tables, -1.0, 1.0),
            classes=tuple(NucleusClass(_KINDS[k]).label for k in used),
            table=tuple(tuple(int(v) for v in row) for row in table[np.ix_(used, used)]),
        )

    def result(self, notes: Sequence[str]) -> Agreement:
        several = len(self.names) > 2
        return Agreement(
            raters=tuple(self.names),
            pairs=tuple(self.pair_of(pair) for pair in self.tables),
            fleiss_kappa=_known(fleiss_kappa(np.array(self.given))) if several and self.given else None,
            crops=tuple(sorted(self.crops, key=lambda c: (-c.disputed, c.crop))),
            notes=tuple(notes),
        )


def _pq(counts: Floats) -> float:
    n, more, fewer, iou = counts
    return PanopticQuality(int(n), int(more), int(fewer), float(iou)).pq


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def compare_raters(
    images: str | Path,
    folders: Mapping[str, str | Path],
    *,
    crops: Collection[str] | None = None,
    patients: str | Path | None = None,
    mapping: ClassMapping | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    each: Callable[[Crop, Consensus, float | None], None] | None = None,
) -> Agreement:
    """Compare models, or people, on the crops that all of them have, without truth.

    Parameters
    ----------
    images : str or Path
        A folder of crops; their annotations are not used.
    folders : mapping of name to folder
        Predictions, or annotations under the names of the crops, of each rater; two or more.
    crops : collection of str, optional
        Names of the crops to take.
    patients : str or Path, optional
        A table (crop, patient).
    mapping : ClassMapping, optional
        What the classes of other programs mean; by default what lies beside each folder's files.
    progress, should_stop
        As of `napari_monusac.scoring.report.folders.evaluate_folders`.
    each : callable, optional
        Called with each crop, its consensus and its scale.

    Returns
    -------
    Agreement
        Of each pair PQ and F1 of all nuclei, Cohen's kappa of the classes of matched nuclei, with intervals over patients;
        Fleiss' kappa of three or more; the crops, the most disputed first.

    Raises
    ------
    CollectionError, FileProblem
        A folder is missing, or no crop is in all of them.
    MonusacError
        A file is damaged, of another size, or of another image.
    Cancelled
        `should_stop` said so.
    """
    if len(folders) < 2:
        raise FileProblem(images, "one rater cannot be compared", "give two folders or more")
    collection = open_collection(images, patients=patients)
    found = {name: PredictionFolder(folder, mapping) for name, folder in folders.items()}
    chosen = [c for c in collection.crops if crops is None or c.name in crops]
    held = [(c, [f.find(c) for f in found.values()]) for c in chosen]
    both = [(c, [p for p in paths if p is not None]) for c, paths in held if None not in paths]
    if not both:
        raise FileProblem(Path(images), "no crop is in all of these folders", f"expected {FORMS_IN_WORDS}")
    tally, said = _Tally(tuple(folders)), []
    for done, (crop, paths) in enumerate(both):
        if should_stop is not None and should_stop():
            raise Cancelled("the comparison was stopped", "start it again")
        if progress is not None:
            progress(done, len(both), crop.name)
        with collection.open(crop) as slide:
            read = [
                open_prediction(p, slide, um_per_px=slide.um_per_px, mapping=f.mapping(p))
                for p, f in zip(paths, found.values(), strict=True)
            ]
            um_per_px = slide.um_per_px
        said += [note for r in read for note in r.notes if note not in said]
        together = tally.add(crop, *_on_the_same_part(read))
        if each is not None:
            each(crop, together, um_per_px)
    left = len(chosen) - len(both)
    notes = [f"{left} of {len(chosen)} crops are not in all folders and are left out"] if left else []
    return tally.result([*notes, *said])


def _on_the_same_part(
    read: Sequence[PredictedCrop],
) -> tuple[list[NDArray[np.int32]], list[Mapping[int, int]]]:
    """The maps on the part of the crop that all of them cover."""
    low = np.max([r.region[:2] for r in read], 0)
    high = np.min([np.add(r.region[:2], r.region[2:]) for r in read], 0)
    if (high <= low).any():
        raise FileProblem(read[0].path, "covers another part of the crop than the others", "predict the same region")

    def cut(one: PredictedCrop) -> NDArray[np.int32]:
        (y, x), (y0, x0), (y1, x1) = one.region[:2], low, high
        return np.ascontiguousarray(one.instances[y0 - y : y1 - y, x0 - x : x1 - x])

    return [cut(r) for r in read], [r.classes for r in read]
