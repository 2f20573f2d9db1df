"""What a stored prediction says about itself: where it lies, what made it, and of which pixels and weights it is."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from napari_monusac.core.fitted import FittedThresholds
from napari_monusac.core.training_crops import TrainingCrops
from napari_monusac.io.predictions.rescale import ImageFrame


class PredictionIdentity(BaseModel):
    """What a prediction is of; see `same_prediction`.

    Attributes
    ----------
    image : str
        Size and a hash of pixels.
    weights : str
        A hash of the network's weights.
    region : (y, x, height, width)
        What of the image was predicted, px.
    um_per_px : float or None
        Scale that the image was taken to have.
    flips : bool
        Whether flips and turns were averaged.
    pixels : str
        A hash of all pixels, where the image is small enough; empty in stores of before.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    weights: str
    region: tuple[int, int, int, int]
    um_per_px: float | None
    flips: bool
    pixels: str = ""

    def same_image(self, other: PredictionIdentity) -> bool:
        """Whether both are of the same pixels: by all of them where both know them, else by size and samples."""
        if self.pixels and other.pixels:
            return self.pixels == other.pixels
        return self.image == other.image

    def same_prediction(self, other: PredictionIdentity) -> bool:
        """Whether both are the same prediction."""
        mine, theirs = (i.model_dump(exclude={"image", "pixels"}) for i in (self, other))
        return mine == theirs and self.same_image(other)


class StoreInfo(BaseModel):
    """What a stored prediction says about itself.

    Attributes
    ----------
    um_per_px : float or None
        Scale of the stored maps.
    offset_px : (y, x)
        First pixel of the maps in the image, px of the maps.
    boundary_width : int
        Width of the boundary in px of the maps.
    fingerprint, checkpoint, image, engine : str
        Of the recipe; where weights and pixels came from; what ran the network.
    notes : tuple of str
        What the user should be told.
    settings : dict
        How the nuclei were segmented; empty while there are none.
    frame : ImageFrame or None
        How the maps lie on the image, where they have another scale than the image.
    identity : PredictionIdentity or None
        Of which pixels, by which weights; None where it was written without.
    trained_on : TrainingCrops or None
        The crops that the model was trained on; None where it does not say.
    fitted : FittedThresholds or None
        Thresholds that suit the model: what its nuclei are segmented with where nobody asks for others.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    um_per_px: float | None = None
    offset_px: tuple[int, int] = (0, 0)
    boundary_width: int = 3
    fingerprint: str = ""
    checkpoint: str = ""
    image: str = ""
    engine: str = ""
    notes: tuple[str, ...] = ()
    settings: dict[str, float] = {}
    frame: ImageFrame | None = None
    identity: PredictionIdentity | None = None
    trained_on: TrainingCrops | None = None
    fitted: FittedThresholds | None = None

    @property
    def first_px(self) -> tuple[float, float]:
        """Centre of the maps' first pixel from that of the image's first one, px of the maps."""
        if self.frame is None:
            return float(self.offset_px[0]), float(self.offset_px[1])
        f = self.frame
        y, x = ((o + (0.5 - s) / f.factor - 0.5) * f.factor for o, s in zip(f.offset_px, f.origin, strict=True))
        return y, x

    @property
    def image_um_per_px(self) -> float | None:
        """Scale of the image, to whose pixels `read_prediction` brings the maps."""
        return self.um_per_px if self.frame is None else self.frame.um_per_px


def model_name(checkpoint: str) -> str:
    """What people call a model: its run's name, or its file's where it lies in no run; empty where nothing is known."""
    path = Path(checkpoint)
    return path.parent.name if path.stem in ("best", "last") else path.stem
