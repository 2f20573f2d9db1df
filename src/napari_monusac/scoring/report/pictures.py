"""The worst nuclei as pictures, and how often each fault occurs: gathered crop by crop while scores are counted."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_monusac.scoring.errors.finding import Finding, FindingType
from napari_monusac.scoring.errors.findings import errors_of
from napari_monusac.scoring.matching.matching import AmbiguousRule
from napari_monusac.scoring.matching.pairs import CropPair

#: Pictures of each type of fault.
PICTURES_PER_TYPE = 6
#: Smallest and largest side of a picture, px of the slide.
_SMALLEST_PX, _LARGEST_PX = 72, 240


@dataclass(frozen=True, slots=True)
class Picture:
    """Picture of an error: the tissue around it, with outlines.

    Attributes
    ----------
    finding : Finding
        The fault.
    png : str
        The tissue as a ``data:image/png`` address.
    side_px : int
        Side of the square picture, px of the slide.
    truth, prediction : tuple of str
        Outlines as SVG paths, px from the picture's corner.
    scale_um : float or None
        Side of the picture in um.
    """

    finding: Finding
    png: str
    side_px: int
    truth: tuple[str, ...]
    prediction: tuple[str, ...]
    scale_um: float | None = None


@dataclass(slots=True)
class Evidence:
    """Faults by type and class, all findings, and pictures of the worst. Pass `add` to `evaluate_folders`.

    Attributes
    ----------
    ambiguous : {"mask", "discount"}
        What Ambiguous regions do.
    per_type : int
        Pictures kept of each type of fault.
    findings : list of Finding
        All of them.
    """

    ambiguous: AmbiguousRule = "mask"
    per_type: int = PICTURES_PER_TYPE
    findings: list[Finding] = field(default_factory=list)
    _pictures: dict[FindingType, list[Picture]] = field(default_factory=dict)

    def add(self, pair: CropPair) -> None:
        """Find the errors of a crop and take pictures of those that are among the worst so far.

        Raises
        ------
        SlideError
            The image cannot be read.
        """
        found = errors_of(pair, ambiguous=self.ambiguous)
        self.findings += found
        if pair.pixels is None or self.per_type == 0:
            return
        pixels: NDArray[np.uint8] | None = None
        for finding in found:
            best = self._pictures.setdefault(finding.type, [])
            if len(best) == self.per_type and _size(finding) <= _size(best[-1].finding):
                continue
            if pixels is None:
                pixels = pair.pixels()
            best.append(take_picture(finding, pixels, pair.truth, pair.prediction, pair.um_per_px))
            best.sort(key=lambda p: -_size(p.finding))
            del best[self.per_type :]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures, by type of fault, the worst first."""
        return tuple(p for kind in FindingType for p in self._pictures.get(kind, ()))

    def counts(self) -> dict[FindingType, Counter[str]]:
        """How often each fault occurs, by class name (of the true nucleus, or of the prediction where it is alone)."""
        table: dict[FindingType, Counter[str]] = {kind: Counter() for kind in FindingType}
        for f in self.findings:
            cls = f.truth_class if f.truth_class is not None else f.predicted_class
            table[f.type][cls.label if cls is not None else ""] += 1
        return table


def _size(finding: Finding) -> float:
    """The area at fault: in um2 where the scale is known, so that crops of different scales compare."""
    return finding.size_px / 16 if finding.size_um2 is None else finding.size_um2


def take_picture(
    finding: Finding,
    pixels: NDArray[np.uint8],
    truth: NDArray[Any],
    prediction: NDArray[Any],
    um_per_px: float | None = None,
) -> Picture:
    """Cut the tissue around a fault and outline the nuclei that it is about.

    Parameters
    ----------
    finding : Finding
        The fault.
    pixels : uint8 (y, x, 3)
        The crop.
    truth, prediction : integers (y, x)
        Instance maps of the crop.
    um_per_px : float, optional
        Scale of the crop.
    """
    import cv2

    y0, x0, y1, x1 = finding.box
    side = int(np.clip(1.5 * max(y1 - y0, x1 - x0), _SMALLEST_PX, _LARGEST_PX))
    side = max(1, min(side, *pixels.shape[:2]))
    top = int(np.clip((y0 + y1 - side) // 2, 0, pixels.shape[0] - side))
    left = int(np.clip((x0 + x1 - side) // 2, 0, pixels.shape[1] - side))
    part = slice(top, top + side), slice(left, left + side)
    encoded = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(pixels[part]), cv2.COLOR_RGB2BGR))[1]
    return Picture(
        finding=finding,
        png="data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode("ascii"),
        side_px=side,
        truth=_paths(truth[part], finding.truth_ids),
        prediction=_paths(prediction[part], finding.prediction_ids),
        scale_um=None if um_per_px is None else side * um_per_px,
    )


def _paths(instances: NDArray[Any], ids: Sequence[int]) -> tuple[str, ...]:
    """Outlines along the outer edges of the nuclei's pixels, as SVG paths."""
    import cv2

    paths = []
    for k in ids:
        # twice the size, so that contours run along the pixels' edges and not through their centres
        mask = cv2.resize((instances == k).astype(np.uint8), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_KCOS)
        rings = [(c.reshape(-1, 2) + 0.5) / 4 for c in contours if len(c) > 2]
        path = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ring) + "Z" for ring in rings)
        if path:
            paths.append(path)
    return tuple(paths)
