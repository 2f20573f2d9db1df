"""What the Studio knows, without widgets: the open collection and crop, the running job. One per viewer.

Panels are views on this model and hear of each other only through its signals.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

if TYPE_CHECKING:
    from napari_monusac.core.classes import PaletteName
    from napari_monusac.io.collection.collection import Collection, Crop
    from napari_monusac.io.runs.run_folder import RunFolder


class StudioModel:
    """The state that the panels of one viewer share.

    Attributes
    ----------
    collection : Collection or None
        The open folder of crops.
    crop : Crop or None
        The crop whose layers are in the viewer.
    run : RunFolder or None
        The run that is being trained, or was trained last.
    runs_folder : Path
        Where runs are kept and looked for.
    palette : str
        Class colours: ImageScope's or colour-blind ones.
    """

    collection_changed = Signal(object)
    crop_asked = Signal(object)
    #: the layers of the open crop are about to show another one: what works on them ends its work first
    crop_leaving = Signal()
    crop_changed = Signal(object)
    layers_changed = Signal()
    run_changed = Signal(object)
    run_progressed = Signal(object)
    run_ended = Signal(object)
    predicted = Signal(object)
    unsaved_changed = Signal(bool)
    palette_changed = Signal(str)
    panel_asked = Signal(str)
    told = Signal(str, str)
    #: (folder to train on, checkpoint to start from or None): corrected crops go back into training
    train_asked = Signal(object, object)

    def __init__(self) -> None:
        self.collection: Collection | None = None
        self.crop: Crop | None = None
        self.run: RunFolder | None = None
        self.runs_folder: Path = Path.home() / "napari-monusac-runs"
        self.palette: PaletteName = "imagescope"
        self.unsaved = False
        self.last_prediction: Any = None
        self._counted: tuple[Any, str] = (None, "")
        #: asked before another crop takes the place of the open one, with what is to come then: False keeps the crop,
        #: and what was to come is called once the reader has decided about unsaved edits
        self.may_leave_crop: Callable[[Callable[[], object]], bool] = lambda _: True
        #: what comes once a crop is open: the crop, and what to call
        self._then: tuple[Crop, Callable[[], object]] | None = None
        #: dropped layers wait for the reader's decision: what is in the viewer is not what is open
        self.holding = False
        #: the `EditingController` of this viewer, made by `controller_of`
        self.editing: Any = None

    def set_collection(self, collection: Collection | None) -> None:
        """Take another folder of crops."""
        self.collection = collection
        self.collection_changed.emit(collection)

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

    def tell_leaving(self) -> None:
        """Say that the layers of the open crop are about to show another one."""
        self.crop_leaving.emit()

    def ask_for_crop(self, crop: Crop, then: Callable[[], object] | None = None) -> bool:
        """Ask that a crop is opened; False where unsaved edits are asked about first. `then`: called once it is open."""
        return self.leave_crop(lambda: self.open_crop(crop, then))

    def open_crop(self, crop: Crop, then: Callable[[], object] | None = None) -> None:
        """Open a crop without asking: for what `leave_crop` calls."""
        self._then = (crop, then) if then is not None else None
        self.crop_asked.emit(crop)

    def set_crop(self, crop: Crop | None) -> None:
        """Say which crop's layers are in the viewer now."""
        self.crop = crop
        self.last_prediction = None
        self._counted = None, ""
        self.crop_changed.emit(crop)

    def crop_shown(self, crop: Crop) -> None:
        """Say that all layers of a crop are in the viewer: what was to come then comes now."""
        waiting, self._then = self._then, None
        if waiting is not None and waiting[0].name == crop.name:
            waiting[1]()

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
        crops = [c for c in self.collection.crops if c.image is not None]
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
        names = [c.name for c in self.collection.crops if c.image is not None]
        return (names.index(self.crop.name) + 1 if self.crop is not None and self.crop.name in names else 0), len(names)

    def set_unsaved(self, unsaved: bool) -> None:
        """Say whether there are edits that no file has yet."""
        if unsaved != self.unsaved:
            self.unsaved = unsaved
            self.unsaved_changed.emit(unsaved)

    def tell(self, text: str, kind: str = "hint") -> None:
        """Show one line in the Studio: a "hint", "good", "warning" or "error"."""
        self.told.emit(text, kind)


_MODELS: dict[int, StudioModel] = {}


def studio_model(viewer: Any) -> StudioModel:
    """Return the model that all panels of this viewer share, made on first use.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer, or npe2's proxy of it.
    """
    key = id(getattr(viewer, "__wrapped__", viewer))
    if key not in _MODELS:
        _MODELS[key] = StudioModel()
    return _MODELS[key]


def forget(viewer: Any) -> None:
    """Drop the model of a viewer that is closed."""
    model = _MODELS.pop(id(getattr(viewer, "__wrapped__", viewer)), None)
    if model is not None and model.editing is not None:
        model.editing.close()
