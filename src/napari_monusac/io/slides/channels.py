"""Are red and blue swapped? A statistic of haematoxylin and eosin, per image and per patient.

The .tif crops of MoNuSAC were written through a BGR writer: red cells look blue, nuclei brown, and no file says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_monusac.core.optical_density import density_of_levels

ChannelOrder = Literal["auto", "rgb", "bgr"]

#: Pixels with a smaller sum of optical densities are glass.
_STAINED_OD_SUM = 0.45
#: Fewer stained pixels than this say nothing.
_FEWEST_STAINED = 200
#: Of larger images every n-th pixel is looked at.
_ENOUGH_PX = 200_000
#: Scores nearer to 0 than this, or than chance over so few pixels, say nothing: a file is then taken as it is.
_UNSURE_SCORE = 0.1
_UNSURE_SPREAD = 10.0
#: From this absolute score on, an image is believed against the majority of its patient.
SURE_SCORE = 0.25
#: Weight of the third term; see `channel_verdict`.
_GREEN_WEIGHT = 3.0
#: Of the light that haematoxylin and eosin take, green is at least this share (43 % or more in 49 real crops; 33 % in DAB,
#: ink and most photographs), and hardly a stained pixel takes less green than red and than blue (none there).
_LEAST_GREEN, _MOST_GREENISH, _GREENISH_OD = 0.39, 0.05, 0.05


@dataclass(frozen=True, slots=True)
class ChannelVerdict:
    """What the pixels say about the order of their channels.

    Attributes
    ----------
    score : float
        Above 0: red first, as it should be. Below 0: red and blue are swapped. Near 0: nothing can be said.
    stained : int
        Number of stained pixels behind the score.
    is_he : bool
        Whether the colours can be those of haematoxylin and eosin, in either order; of others the score says nothing.
    """

    score: float
    stained: int
    is_he: bool = True

    @property
    def told(self) -> bool:
        """Whether the score says anything. Chance alone spreads it by about 4 / sqrt(stained pixels)."""
        enough = abs(self.score) >= max(_UNSURE_SCORE, _UNSURE_SPREAD / max(1, self.stained) ** 0.5)
        return self.is_he and bool(enough)

    @property
    def sure(self) -> bool:
        """Whether the image is believed against the majority of its patient."""
        return self.told and abs(self.score) >= SURE_SCORE

    @property
    def swapped(self) -> bool:
        """Whether red and blue are taken to be swapped."""
        return self.told and self.score < 0.0


def channel_verdict(image: NDArray[np.uint8]) -> ChannelVerdict:
    """Decide whether an H&E image has its red and blue channels swapped.

    With d = (OD_red - OD_blue) / OD_sum over the stained pixels (OD_sum > 0.45), the score is ::

        corr(d, OD_sum)  -  mean(d)  -  3 (corr(OD_red, OD_green) - corr(OD_blue, OD_green))

    Each term changes its sign when the channels are swapped. In a right image the dark pixels are nuclei (haematoxylin
    takes more red than blue light) and the light ones eosin, so the first is positive; eosin and blood take blue light
    and let red pass, and mostly outweigh haematoxylin, so mean(d) is seldom above 0; and both stains take green and
    blue, but only haematoxylin takes red, so blue goes with green more than red does. The weights are round on purpose:
    1.5 and 2 do as well.

    None of this holds for other stains and pictures. What tells them is blind to a swap: both stains take more green than
    any other light.

    Parameters
    ----------
    image : uint8 (y, x, 3 or more)
        Pixels in the order of the file; a fourth channel is left out.

    Returns
    -------
    ChannelVerdict
    """
    pixels = image[..., :3].reshape(-1, 3)
    pixels = pixels[:: max(1, len(pixels) // _ENOUGH_PX)]
    density = density_of_levels(256.0).astype(np.float32)[pixels]
    total = density.sum(1)
    stained = total > _STAINED_OD_SUM
    count = int(stained.sum())
    if count < _FEWEST_STAINED:
        return ChannelVerdict(0.0, count)
    density, total = density[stained].astype(np.float64), total[stained].astype(np.float64)
    red, green, blue = density.T
    tint = (red - blue) / total
    score = _correlation(tint, total) - float(tint.mean())
    score -= _GREEN_WEIGHT * (_correlation(red, green) - _correlation(blue, green))
    greenish = green < np.minimum(red, blue) - _GREENISH_OD
    is_he = float((green / total).mean()) >= _LEAST_GREEN and float(greenish.mean()) <= _MOST_GREENISH
    return ChannelVerdict(score, count, is_he)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's r; 0 where one of the two does not vary."""
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread > 1e-9 else 0.0


def majority_swapped(verdicts: Iterable[ChannelVerdict]) -> bool:
    """Decide for all images of one patient: most votes, and the sum of the scores where votes are equal."""
    told = [v for v in verdicts if v.told]
    votes = sum(1 if v.swapped else -1 for v in told)
    return votes > 0 or (votes == 0 and sum(v.score for v in told) < 0.0)


def decide_swapped(own: ChannelVerdict, others: Iterable[ChannelVerdict]) -> bool:
    """Decide for one image: its own pixels where they are sure, else the majority of its patient's images.

    Parameters
    ----------
    own : ChannelVerdict
        Of the image itself.
    others : iterable of ChannelVerdict
        Of the patient's other images, read in the same way. Not looked at where `own` is sure.
    """
    return own.swapped if own.sure else majority_swapped([own, *others])
