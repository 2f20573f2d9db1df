"""What the network says about an image, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.errors import ShapeError
from napari_monusac.core.fitted import FittedThresholds
from napari_monusac.core.training_crops import TrainingCrops

if TYPE_CHECKING:
    import pandas as pd

#: Larger images and regions, px, are predicted piece by piece, in constant memory, and kept at the network's scale.
WHOLE_PX = 4096 * 4096

#: Channels of the semantic and of the ternary head in maps of both, (8, y, x).
HEADS = (slice(0, 5), slice(5, 8))


def in_255ths(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round probabilities of both heads to uint8 in 255ths; the most probable class of a pixel stays the most probable.

    Off by half of 1/255; where rounding would make an earlier class as probable as the winner, by 1.5 of 1/255 at most: the
    winner has 1/255 more, or the others less, so that the score of a stored prediction is that of the network, to the pixel.

    Parameters
    ----------
    maps : float32 (8, y, x)
        0 to 1.
    """
    codes: NDArray[np.uint8] = np.rint(maps * np.float32(255)).astype(np.uint8)
    for head in HEADS:
        winner, coded = maps[head].argmax(0), codes[head]
        y, x = np.nonzero(coded.argmax(0) != winner)
        top = winner[y, x]
        full = coded[top, y, x] == 255  # no room above: probabilities that do not sum to 1
        coded[top, y, x] += ~full
        for k in range(len(coded)):
            coded[k, y, x] -= full & (top != k) & (coded[k, y, x] == 255)
    return codes


@dataclass(frozen=True, slots=True, eq=False)
class Nuclei:
    """Segment nuclei with a class, a confidence and a size each.

    Attributes
    ----------
    instances : int32 (y, x)
        0 = background, 1..n one nucleus each.
    table : pandas.DataFrame
        One row a nucleus, in the order of the labels: ``label, class, class_id, confidence, p_nucleus,
        p_semantic, centroid_y, centroid_x`` (px), ``area_px, area_um2`` (NaN where the scale is unknown), ``p_epithelial, p_lymphocyte,
        p_neutrophil, p_macrophage`` (sum to 1), ``disagreement, entropy, uncertainty`` (0 to 1).
    um_per_px : float or None
        Scale of the map.
    offset_px : tuple of int
        (y, x) of the map's first pixel in the image.
    """

    instances: NDArray[np.int32]
    table: pd.DataFrame
    um_per_px: float | None = None
    offset_px: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def class_map(self) -> NDArray[np.uint8]:
        """Class of the nucleus under each pixel, uint8 (y, x): 0 background, 255 unclassified."""
        labels = self.table["label"].to_numpy(np.intp)
        highest = max(int(self.instances.max(initial=0)), int(labels.max(initial=0)))
        lut = np.zeros(highest + 1, np.uint8)
        lut[labels] = self.table["class_id"].to_numpy(np.uint8)
        return lut[self.instances]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Probability maps of both heads over an image or a part of it.

    Attributes
    ----------
    semantic : float32 (5, y, x)
        Probabilities of background, epithelial, lymphocyte, neutrophil, macrophage.
    ternary : float32 (3, y, x)
        Probabilities of background, inside, boundary.
    um_per_px : float or None
        Micrometres per pixel of these maps (those of the image they were asked for).
    offset_px : tuple of int
        (y, x) of the maps' first pixel in the image.
    boundary_width : int
        Width of the boundary, in px, that the network was trained with.
    fingerprint : str
        Fingerprint of the recipe.
    checkpoint : str
        Where the weights came from.
    notes : tuple of str
        What the user should be told (resampled, unusual stain ...).
    engine : str
        What ran the network, where and how precisely; for people.
    trained_on : TrainingCrops or None
        The crops that the network was trained on; None where it does not say.
    fitted : FittedThresholds or None
        Thresholds that suit this model; None where nobody fitted any.
    nuclei : Nuclei or None
        Its nuclei, where they were separated (`napari_monusac.read_prediction`).
    """

    semantic: NDArray[np.float32]
    ternary: NDArray[np.float32]
    um_per_px: float | None = None
    offset_px: tuple[int, int] = (0, 0)
    boundary_width: int = 3
    fingerprint: str = ""
    checkpoint: str = ""
    notes: tuple[str, ...] = field(default=())
    engine: str = ""
    trained_on: TrainingCrops | None = None
    fitted: FittedThresholds | None = None
    nuclei: Nuclei | None = None
    _winners: dict[str, NDArray[np.uint8]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        s, t = self.semantic.shape, self.ternary.shape
        if len(s) != 3 or len(t) != 3 or s[0] != 5 or t[0] != 3 or s[1:] != t[1:]:
            raise ShapeError(
                f"semantic {s} and ternary {t} do not fit", "pass (5, y, x) and (3, y, x) of the same y and x"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return int(self.semantic.shape[1]), int(self.semantic.shape[2])

    @property
    def semantic_map(self) -> NDArray[np.uint8]:
        """The most probable class of each pixel, uint8 (y, x). Found once; it cannot be written to."""
        return self._winner("semantic", self.semantic)

    @property
    def ternary_map(self) -> NDArray[np.uint8]:
        """The most probable ternary class of each pixel, uint8 (y, x). Found once; it cannot be written to."""
        return self._winner("ternary", self.ternary)

    def _winner(self, name: str, maps: NDArray[np.float32]) -> NDArray[np.uint8]:
        if name not in self._winners:
            winner = maps.argmax(0).astype(np.uint8)
            winner.flags.writeable = False
            self._winners[name] = winner
        return self._winners[name]
