"""The Studio's state: the open collection and crop, the run, the prediction, what is edited. No Qt, no napari.

One model a viewer. Panels are views on it and hear of each other only through it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from psygnal import Signal

from napari_monusac.app.editing import Editing
from napari_monusac.app.facts import Fact, never
from napari_monusac.app.prediction import PredictionModel, Shown
from napari_monusac.app.prediction_jobs import PredictedImage
from napari_monusac.app.training import TrainingModel
from napari_monusac.app.work import Work

if TYPE_CHECKING:
    from napari_monusac.core.classes import PaletteName
    from napari_monusac.core.prediction import Nuclei, Prediction
    from napari_monusac.io.collection.collection import Collection, Crop

    #: The maps of a prediction, and the nuclei that were segmented in them.
    OpenPrediction: TypeAlias = tuple[Prediction, Nuclei]


class Editor(Protocol):
    """What shows the session of a viewer, as far as the Studio's state knows it."""

    closed: bool

    def bring_back(self) -> None:
        """Show again what the reader has deleted, hidden or moved of the crop."""

    def close(self) -> None:
        """End the session; what was not saved comes back next time."""


class Saver(Protocol):
    """What saves the edits of a viewer, as far as the Studio's state knows it."""

    def unsaved(self) -> str:
        """Name the crop that has edits which no file has; empty where there are none."""

    def save(self, then: Callable[[], object] | None = None) -> object:
        """Save them in the background; `then` is called once they are on disk."""


LegendCorner = Literal["top_left", "top_right", "off"]
LEGEND_CORNERS: tuple[LegendCorner, ...] = get_args(LegendCorner)


class StudioModel:
    """The state that the panels of one viewer share.

    Setting a field is its event: each has one signal, which is emitted with the new value.

    Attributes
    ----------
    collection : Collection or None
        The open folder of crops (`collection_changed`; also where the same is set again).
    crop : Crop or None
        The crop whose layers are in the viewer (`crop_changed`; also where the same is shown anew). Another crop has no
        prediction yet: `last_prediction` is None before anybody hears of the crop.
    palette : str
        Class colours: ImageScope's or colour-blind ones (`palette_changed`).
    last_prediction : tuple of (Prediction, Nuclei), or None
        The prediction of the open crop that was made or opened last (`predicted`).
    hidden : bool
        All but the tissue is hidden for a look at it (`hidden_changed`).
    legend : {"top_left", "top_right", "off"}
        In which corner of the canvas the legend stands (`legend_changed`).
    holding : bool
        Dropped layers wait for the reader's decision: what is in the viewer is not what is open (`holding_changed`).
    editing : Editing
        Editing of the open crop: its session, the tool in hand, what is selected, what is unsaved.
    editor : Editor or None
        What shows that session.
    work : Work
        What is done in the background for this window.
    training : TrainingModel
        What is trained.
    prediction : PredictionModel
        What predicts, and what was predicted.
    may_leave_crop : callable
        Asked before another crop takes the place of the open one, with what is to come then: False keeps the crop, and
        what was to come is called once the reader has decided about unsaved edits.
    saver : Saver or None
        What saves that session.
    opens_crops : callable or None
        What reads a crop and shows it; without it no crop can be opened.

    Notes
    -----
    Messages that are no state: `crop_asked` (a crop is being read), `crop_leaving` (the layers of the open crop are about
    to show another one: what works on them ends its work first), `layers_changed`,
    `panel_asked` (its name), `told` (a line, its kind).
    """

    collection_changed = Signal(object)
    crop_changed = Signal(object)
    palette_changed = Signal(str)
    predicted = Signal(object)
    hidden_changed = Signal(bool)
    holding_changed = Signal(bool)
    legend_changed = Signal(str)

    crop_asked = Signal(object)
    crop_leaving = Signal()
    layers_changed = Signal()
    panel_asked = Signal(str)
    told = Signal(str, str)

    collection: Fact[Collection | None] = Fact("collection_changed", None, never)
    crop: Fact[Crop | None] = Fact("crop_changed", None, never)
    palette: Fact[PaletteName] = Fact("palette_changed", "imagescope", operator.eq)
    last_prediction: Fact[OpenPrediction | None] = Fact("predicted", None)
    hidden: Fact[bool] = Fact("hidden_changed", False, operator.eq)
    holding: Fact[bool] = Fact("holding_changed", False, operator.eq)
    legend: Fact[LegendCorner] = Fact("legend_changed", "top_left", operator.eq)

    def move_legend(self) -> None:
        """Put the legend into the other corner, then away, then back."""
        self.legend = LEGEND_CORNERS[(LEGEND_CORNERS.index(self.legend) + 1) % len(LEGEND_CORNERS)]

    def __init__(self) -> None:
        self.work = Work()
        self.training = TrainingModel(self.work)
        self.prediction = PredictionModel(self.work, self.training)
        self.editing = Editing(self.work)
        self.editor: Editor | None = None
        self.may_leave_crop: Callable[[Callable[[], object]], bool] = lambda _: True
        self.saver: Saver | None = None
        self.opens_crops: Callable[[Crop], object] | None = None
        self._counted: tuple[Nuclei | None, str] = (None, "")
        #: what comes once a crop is open: the crop, and what to call
        self._then: tuple[Crop, Callable[[], object]] | None = None
        # connected first: nobody hears of a crop while the prediction of the former one is still there
        self.crop_changed.connect(self._drop_prediction)
        self.collection_changed.connect(self.training.take_collection)
        # last: who looks at the prediction of the crop finds its layers drawn
        self.prediction.shown_changed.connect(self._take_prediction, priority=-1)

    # -- the one gate to another crop

    def leave_crop(self, go: Callable[[], object]) -> bool:
        """Leave the open crop for what `go` opens: the one gate that every way to another crop goes through.

        Returns
        -------
        bool
            False where unsaved edits are asked about first; `go` is called later then, or never.
        """
        if not self.may_leave_crop(go):
            return False
        go()
        return True

    def ask_for_crop(self, crop: Crop, then: Callable[[], object] | None = None) -> bool:
        """Ask that a crop is opened; False where unsaved edits are asked about first. `then`: called once it is open."""
        return self.leave_crop(lambda: self.open_crop(crop, then))

    def open_crop(self, crop: Crop, then: Callable[[], object] | None = None) -> bool:
        """Open a crop without asking: for what `leave_crop` calls.

        Returns
        -------
        bool
            False where no folder is open to read it from, or nothing is there that reads crops.
        """
        if self.collection is None or self.opens_crops is None:
            return False
        self._then = (crop, then) if then is not None else None
        self.crop_asked.emit(crop)
        self.opens_crops(crop)
        return True

    def tell_leaving(self) -> None:
        """Say that the layers of the open crop are about to show another one."""
        self.crop_leaving.emit()

    def show_crop(self, crop: Crop) -> None:
        """Take over a crop whose layers are all in the viewer: it is the open one, and what was to come then comes now."""
        self.crop = crop
        waiting, self._then = self._then, None
        if waiting is not None and waiting[0].name == crop.name:
            waiting[1]()

    def list_anew(self, collection: Collection) -> None:
        """Take the folder of the open crop as it was read anew: the crop stays open, perhaps as one of another patient.

        Its layers and its prediction are the same: `collection_changed` tells of it, `crop_changed` does not.
        """
        same = collection.find(self.crop.image) if self.crop is not None else None
        if same is not None:
            with self.crop_changed.blocked():
                self.crop = same
        self.collection = collection

    # -- what follows from the facts

    def _take_prediction(self, shown: Shown | None) -> None:
        """What was predicted in memory is the prediction of the open crop, where it is of the crop's image."""
        if shown is not None and isinstance(shown.found, PredictedImage):
            found = shown.found
            self.last_prediction = (found.prediction, found.nuclei) if shown.image.of_crop else None

    def _drop_prediction(self, _: Crop | None) -> None:
        self.prediction.forget()
        self.last_prediction = None
        self._counted = None, ""

    def counted_in(self) -> str:
        """Hash of the instance map of the prediction that is open (`nuclei_digest`); empty where none is."""
        nuclei = self.last_prediction[1] if self.last_prediction is not None else None
        if nuclei is None:
            return ""
        if self._counted[0] is not nuclei:
            from napari_monusac.io.predictions.identity import nuclei_digest

            self._counted = nuclei, nuclei_digest(nuclei.instances)
        return self._counted[1]

    def neighbour(self, step: int) -> Crop | None:
        """The crop `step` places after the open one (negative: before); None past the ends or without a collection."""
        if self.collection is None or not self.collection.crops:
            return None
        crops = self.collection.crops
        if self.crop is None:
            return crops[0] if crops else None
        names = [c.name for c in crops]
        if self.crop.name not in names:
            return None
        at = names.index(self.crop.name) + step
        return crops[at] if 0 <= at < len(crops) else None

    def position(self) -> tuple[int, int]:
        """1-based place of the open crop among those with an image, and their number; (0, n) when not among them."""
        if self.collection is None:
            return 0, 0
        names = [c.name for c in self.collection.crops]
        return (names.index(self.crop.name) + 1 if self.crop is not None and self.crop.name in names else 0), len(names)

    def tell(self, text: str, kind: str = "hint") -> None:
        """Show one line in the Studio: a "hint", "good", "warning" or "error"."""
        self.told.emit(text, kind)
