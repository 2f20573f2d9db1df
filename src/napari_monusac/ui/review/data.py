"""What Review knows of the open crop: truth and prediction out of the layers, and what a comparison says. No widgets.

`pair_of_layers` is called on the Qt thread and only takes references; everything else runs in a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_monusac.core.training_crops import SeenAs, TrainingCrops
from napari_monusac.ui.canvas import canvas, comparing

if TYPE_CHECKING:
    from napari_monusac.review.judgements import Judgement
    from napari_monusac.scoring.errors.finding import Findings
    from napari_monusac.scoring.matching.pairs import CropPair
    from napari_monusac.scoring.metrics.evaluation import Evaluation

#: Maps up to this many pixels are copied before the worker reads them (a few ms): edits go on meanwhile.
_COPIED_PX = 8 * 10**6


@dataclass(frozen=True, slots=True, eq=False)
class CropReview:
    """A comparison of the open crop.

    Attributes
    ----------
    pair : CropPair
        Truth and prediction.
    evaluation : Evaluation
        Its scores; one crop, so no intervals.
    findings : Findings
        One per error.
    difference : uint8 (y, x)
        The difference map.
    solid, dashed : uint8 (y, x)
        Outlines of truth and prediction.
    nuclei : pandas.DataFrame
        One row a nucleus, see `napari_monusac.scoring.metrics.nuclei.nuclei_table`.
    forgiving : Evaluation or None
        The scores with what is found in Ambiguous regions forgiven, instead of left out; None without such regions.
    judged : Evaluation or None
        Scores against the truth as the reader's judgements make it; None without a judgement that changes it.
    notes : tuple of str
        What should be said of the judgements.
    """

    pair: CropPair
    evaluation: Evaluation
    findings: Findings
    difference: Any
    solid: Any
    dashed: Any
    nuclei: Any
    forgiving: Evaluation | None = None
    judged: Evaluation | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def offset_px(self) -> tuple[int, int]:
        """(y, x) of the maps' first pixel in the image."""
        return self.pair.offset_px


def truth_layer(viewer: Any) -> Labels | None:
    """The layer *nuclei*, if it is there."""
    layer = canvas.find_layer(viewer, "nuclei")
    return layer if isinstance(layer, Labels) else None


def predicted_layer(viewer: Any) -> Labels | None:
    """The layer *predicted nuclei*, if it is there."""
    layer = canvas.find_layer(viewer, "predicted nuclei")
    return layer if isinstance(layer, Labels) else None


def pair_of_layers(viewer: Any) -> Callable[[], CropPair] | None:
    """Return a function that makes the pair of the open crop (for a worker); None without truth or prediction."""
    truth, predicted = truth_layer(viewer), predicted_layer(viewer)
    if truth is None or predicted is None:
        return None
    part, mine, theirs = _common_part(truth, predicted)
    image, ignore = canvas.image_layer(viewer), canvas.find_layer(viewer, "ambiguous")
    maps = {
        "truth": truth.data[mine],
        "prediction": predicted.data[theirs],
        "ignore": ignore.data[mine] if isinstance(ignore, Labels) else None,
    }
    for name in ("semantic", "ternary"):
        layer = canvas.find_layer(viewer, f"predicted {name}")
        maps[name] = None
        if isinstance(layer, Labels) and layer.data.shape == predicted.data.shape:
            maps[name] = layer.data[theirs]
    if maps["truth"].size <= _COPIED_PX:
        maps = {name: None if data is None else np.array(data) for name, data in maps.items()}
    about, tables, um = predicted.metadata["monusac"], (truth.features, predicted.features), canvas.um_per_px(predicted)

    whole = predicted.data

    def make() -> CropPair:
        from napari_monusac.io.predictions.identity import nuclei_digest
        from napari_monusac.scoring.matching.pairs import CropPair

        ignored = None if maps["ignore"] is None else np.asarray(maps["ignore"]) > 0
        return CropPair(
            crop=str(about.get("crop") or ""),
            patient=str(about.get("patient") or ""),
            truth=np.asarray(maps["truth"]),
            truth_classes=comparing.classes_in(tables[0]),
            prediction=np.asarray(maps["prediction"]),
            prediction_classes=comparing.classes_in(tables[1]),
            ignore=ignored if ignored is not None and ignored.any() else None,
            confidence=_confidence(tables[1]),
            um_per_px=um,
            semantic=maps["semantic"],
            ternary=maps["ternary"],
            offset_px=(part[0].start, part[1].start),
            seen_as=_seen_as(about, image),
            pixels=None if image is None else lambda: pixels_of(image, part),
            fingerprint=str(about.get("fingerprint") or ""),
            checkpoint=str(about.get("checkpoint") or ""),
            nuclei=nuclei_digest(whole),
        )

    return make


def _seen_as(about: Mapping[str, Any], image: Image | None) -> SeenAs:
    """What the open crop is to the model that predicted it (in a worker)."""
    from napari_monusac.io.predictions.identity import pixel_fingerprint

    trained_on = about.get("trained_on") or _trained_on(str(about.get("checkpoint") or ""))
    if trained_on is None:
        return SeenAs.UNKNOWN if about.get("checkpoint") else SeenAs.NOT_ASKED
    pixels = ""
    if image is not None and tuple(image.metadata.get("monusac", {}).get("offset_px", (0, 0))) == (0, 0):
        base = image.data[0] if image.multiscale else image.data
        pixels = pixel_fingerprint(base.shape[:2], lambda y, x, h, w: np.asarray(base[y : y + h, x : x + w])[..., :3])
    return trained_on.seen_as(str(about.get("crop") or ""), str(about.get("patient") or ""), pixels)


@lru_cache(maxsize=8)
def _trained_on(checkpoint: str) -> TrainingCrops | None:
    """The crops of the run that a checkpoint lies in: its crops are read once, not at each comparison."""
    from napari_monusac.io.training_crops import crops_of_checkpoint

    return crops_of_checkpoint(checkpoint) if checkpoint else None


def _common_part(truth: Labels, predicted: Labels) -> list[tuple[slice, slice]]:
    """The part of the image that both cover: in px of the image, of the truth's map, of the prediction's map."""
    places = [(layer.metadata["monusac"].get("offset_px", (0, 0)), layer.data.shape) for layer in (truth, predicted)]
    low = [max(at[k] for at, _ in places) for k in (0, 1)]
    high = [max(low[k], min(at[k] + shape[k] for at, shape in places)) for k in (0, 1)]
    moves = [(0, 0), *(at for at, _ in places)]
    return [(slice(low[0] - y, high[0] - y), slice(low[1] - x, high[1] - x)) for y, x in moves]


def pixels_of(image: Image, part: tuple[slice, slice]) -> Any:
    """Pixels of a part of an image layer, uint8 (y, x, 3)."""
    base = image.data[0] if image.multiscale else image.data
    y, x = image.metadata.get("monusac", {}).get("offset_px", (0, 0))
    moved = tuple(slice(max(0, s.start - o), max(0, s.stop - o)) for s, o in zip(part, (y, x), strict=True))
    return np.asarray(base[moved])[..., :3]


def _confidence(table: Any) -> Mapping[int, float]:
    if "confidence" not in table or "index" not in table:
        return {}
    return dict(zip(table["index"].astype(int).tolist(), table["confidence"].astype(float).tolist(), strict=True))


def compare(pair: CropPair, judgements: list[Judgement], boundary_width: int = 3) -> CropReview:
    """Compare a crop's truth with its prediction (in a worker).

    Parameters
    ----------
    pair : CropPair
        The two.
    judgements : list of Judgement
        The reader's last words on this crop.
    boundary_width : int
        Width of the boundary that the network was trained with, px.
    """
    from napari_monusac.masks.outlines import outline_map
    from napari_monusac.scoring.errors.difference import difference_map
    from napari_monusac.scoring.errors.findings import find_errors
    from napari_monusac.scoring.metrics.nuclei import nuclei_table
    from napari_monusac.scoring.report.evaluate import evaluate

    findings = find_errors(
        pair.truth, pair.prediction, pair.truth_classes, pair.prediction_classes, ignore=pair.ignore,
        confidence=pair.confidence, um_per_px=pair.um_per_px, crop=pair.crop, patient=pair.patient,
        counted_in=pair.nuclei, fingerprint=pair.fingerprint,
    )  # fmt: skip
    judged, notes = judged_scores(pair, judgements, boundary_width)
    forgiving = None
    if pair.ignore is not None:
        forgiving = evaluate(
            pair, ambiguous="discount", bootstrap=0, boundary_width=boundary_width, include_training=True
        )
    return CropReview(
        pair=pair,
        evaluation=evaluate(pair, bootstrap=0, boundary_width=boundary_width, include_training=True),
        forgiving=forgiving,
        findings=findings,
        difference=difference_map(pair.truth, pair.prediction, findings, ignore=pair.ignore),
        solid=outline_map(pair.truth, pair.truth_classes, style="solid"),
        dashed=outline_map(pair.prediction, pair.prediction_classes, style="dashed"),
        nuclei=nuclei_table(pair).assign(counted_in=pair.nuclei),
        judged=judged,
        notes=notes,
    )


def judged_scores(
    pair: CropPair, judgements: list[Judgement], boundary_width: int = 3
) -> tuple[Evaluation | None, tuple[str, ...]]:
    """Scores with the judgements carried out, and what is to be said of them."""
    from napari_monusac.review.truth import correct_truth
    from napari_monusac.scoring.report.evaluate import evaluate

    fitting = applicable(pair, judgements)
    lost = len(judgements) - len(fitting)
    were = "judgement was" if lost == 1 else "judgements were"
    notes = (f"{lost} {were} made on another prediction or truth: left aside.",) if lost else ()
    truth = correct_truth(pair, fitting)
    if truth.to_redraw:
        n = len(truth.to_redraw)
        words = "1 nucleus is" if n == 1 else f"{n} nuclei are"
        notes = (*notes, f"{words} to be drawn anew (Annotate): both were wrong.")
    if not truth.changed:
        return None, notes
    corrected = truth.as_truth_of(pair)
    scores = evaluate(corrected, bootstrap=0, tolerances_px=(), boundary_width=boundary_width, include_training=True)
    return scores, notes


def applicable(pair: CropPair, judgements: list[Judgement]) -> list[Judgement]:
    """The judgements whose nuclei are still there as they were judged: truth and prediction may have changed since."""
    if _fits(pair, judgements):
        return judgements
    return [j for j in judgements if _fits(pair, [j])]


def _fits(pair: CropPair, judgements: list[Judgement]) -> bool:
    from napari_monusac.core.errors import SessionError
    from napari_monusac.review.truth import correct_truth

    try:
        correct_truth(pair, judgements)
    except SessionError:
        return False
    return True
