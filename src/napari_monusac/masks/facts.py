"""The facts of each nucleus, by counting over labels: no loop over nuclei."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.classes import CLASS_THRESHOLD, CLASSES, NucleusClass
from napari_monusac.masks.uncertainty import (
    Probabilities,
    channel,
    entropy_map,
    nucleus_probability,
    ternary_nucleus_probability,
)

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the class probabilities, in the order of `CLASSES`.
CLASS_COLUMNS: tuple[str, ...] = tuple(f"p_{c.label.lower()}" for c in CLASSES)
#: Numbers and names of the classes a nucleus can have, unclassified included.
_LABELS: dict[int, str] = {int(c): c.label for c in (*CLASSES, NucleusClass.UNCLASSIFIED)}


def nucleus_table(
    labels: NDArray[np.int32],
    semantic: Probabilities | None,
    ternary: Probabilities,
    boundary_width: int,
    um_per_px: float | None,
    *,
    smallest_px: float = 0.0,
    least_confidence: float = 0.0,
    least_peak: float = 0.0,
    least_agreement: float = 0.0,
    class_threshold: float = CLASS_THRESHOLD,
    temperature: float = 1.0,
) -> tuple[NDArray[np.int32], pd.DataFrame]:
    """Number the nuclei 1..n without gaps and measure them.

    Returns
    -------
    int32 (y, x), pandas.DataFrame
        The new map, and the table that `Nuclei` describes.
    """
    import pandas as pd

    facts = nucleus_facts(labels, semantic, ternary, boundary_width, class_threshold, temperature)
    keep = (facts["area_px"] >= max(smallest_px, 1)) & (facts["confidence"] >= least_confidence)
    keep &= (facts.pop("peak") >= least_peak) & (facts["p_semantic"] >= least_agreement)
    keep[0] = False
    number = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    table = pd.DataFrame({name: values[keep] for name, values in facts.items()})
    table.insert(0, "label", np.arange(1, len(table) + 1, dtype=np.int32))
    table.insert(1, "class", pd.Series([_LABELS[int(k)] for k in table["class_id"]], dtype=str))
    scale = np.nan if um_per_px is None else um_per_px**2
    table.insert(list(table.columns).index("area_px") + 1, "area_um2", table["area_px"] * scale)
    return number[labels], table


def nucleus_facts(
    labels: NDArray[np.int32],
    semantic: Probabilities | None,
    ternary: Probabilities,
    boundary_width: int,
    class_threshold: float = CLASS_THRESHOLD,
    temperature: float = 1.0,
) -> dict[str, NDArray[Any]]:
    """Facts of labels 0..max as arrays indexed by label; a number that does not occur has area 0.

    A nucleus whose mean `p_semantic` lies below `class_threshold` is unclassified; its class probabilities are what they are,
    brought to `temperature`.
    """
    ys, xs = np.nonzero(labels)
    label = labels[ys, xs]
    size = int(label.max(initial=0)) + 1
    area = np.bincount(label, minlength=size)
    safe = np.maximum(area, 1)

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(label, values, minlength=size) / safe)

    by_ternary = ternary_nucleus_probability(ternary, boundary_width)[ys, xs]
    if semantic is None:
        probabilities, entropy, disagreement = np.zeros((4, size)), mean(entropy_map(ternary)[ys, xs]), np.zeros(size)
        nucleus, surest, seen = mean(by_ternary), by_ternary, np.zeros(size)
    else:
        by_semantic = nucleus_probability(semantic)[ys, xs]
        probabilities = np.stack([mean(channel(semantic, int(c))[ys, xs]) for c in CLASSES])
        entropy = mean(entropy_map(np.stack([channel(semantic, k)[ys, xs] for k in range(5)])[:, None])[0])
        disagreement = mean(np.abs(by_semantic - by_ternary))
        seen = mean(by_semantic)
        nucleus = (seen + mean(by_ternary)) / 2
        surest = np.maximum((by_semantic + by_ternary) / 2, by_ternary)
    peak = np.zeros(size, np.float32)
    np.maximum.at(peak, label, surest)
    total = probabilities.sum(0)
    known = total > 1e-6
    probabilities = np.where(known, probabilities / np.maximum(total, 1e-6), 0.25)
    best = probabilities.argmax(0)
    if temperature != 1:
        probabilities = tempered(probabilities, temperature)
    classified = known & (seen >= class_threshold)
    class_id = np.where(classified, best + 1, int(NucleusClass.UNCLASSIFIED)).astype(np.uint8)
    certainty = np.where(classified, probabilities.max(0), 1.0)
    return {
        "class_id": class_id,
        "confidence": (nucleus * certainty).astype(np.float32),
        "p_nucleus": nucleus.astype(np.float32),
        "p_semantic": np.asarray(seen, np.float32),
        "centroid_y": mean(ys),
        "centroid_x": mean(xs),
        "area_px": area,
        **{name: p.astype(np.float32) for name, p in zip(CLASS_COLUMNS, probabilities, strict=True)},
        "disagreement": disagreement.astype(np.float32),
        "entropy": entropy.astype(np.float32),
        "peak": peak,
        "uncertainty": np.maximum(disagreement, entropy).astype(np.float32),
    }


def tempered(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Class probabilities (classes, n) at a temperature: p^(1/T), summing to 1 again (Guo et al. 2017, on log p)."""
    logits = np.log(np.maximum(probabilities, 1e-7)) / temperature
    odds = np.exp(logits - logits.max(0))
    return np.asarray(odds / odds.sum(0))
