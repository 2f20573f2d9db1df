"""What the keys of Review do, bound on our layers while it is shown; those of another panel that they cover come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_monusac.app.actions import REVIEW, Panel
from napari_monusac.ui.canvas.keys import LayerKeys, keys_of
from napari_monusac.ui.review.looking import toggle_fill

if TYPE_CHECKING:
    from napari_monusac.app.review import ReviewModel
    from napari_monusac.ui.review.judging import Judging
    from napari_monusac.ui.review.looking import Looking


class ReviewActions:
    """What the actions of Review act on (`app.actions.Reviewing`): each goes to the part that knows how.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose nuclei are filled.
    model : ReviewModel
        Steps from error to error, and has the way of looking.
    judging, looking : Judging, Looking
        The other parts.
    """

    def __init__(self, viewer: Any, model: ReviewModel, judging: Judging, looking: Looking) -> None:
        self._viewer, self.step = viewer, model.step
        self.set_class, self.accept, self.reject = judging.set_class, judging.accept, judging.reject
        self.undo, self.toggle_swipe, self.blink = judging.undo, model.toggle_swipe, looking.blink

    def toggle_fill(self) -> None:
        """Nuclei as outlines, or filled."""
        toggle_fill(self._viewer)


def review_keys(viewer: Any, actions: ReviewActions) -> LayerKeys:
    """Return the keys of Review for the layers of a viewer; not bound yet."""
    return LayerKeys(viewer, keys_of(REVIEW, actions), Panel.REVIEW, gives_back=True)
