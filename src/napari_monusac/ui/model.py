"""Which viewer has which model. The model dies with its viewer, and no panel hears of it after its own end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psygnal import SignalInstance
from qtpy.QtCore import QObject

from napari_monusac.app.review import ReviewModel
from napari_monusac.app.studio import StudioModel

__all__ = ["ReviewModel", "StudioModel", "forget", "hear", "review_model", "studio_model"]

#: The attribute of a viewer's list of layers that holds its model. A table of ours, even a weak one, would keep both for
#: ever: the model knows the panels, the panels know the viewer. (The viewer itself, a pydantic model, takes no attribute.)
_HERE, _REVIEW = "_monusac_studio", "_monusac_review"


def studio_model(viewer: Any) -> StudioModel:
    """Return the model that all panels of this viewer share, made on first use.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer, or npe2's proxy of it.
    """
    kept = vars(getattr(viewer, "__wrapped__", viewer).layers)
    if _HERE not in kept:
        kept[_HERE] = StudioModel()
    model: StudioModel = kept[_HERE]
    return model


def review_model(viewer: Any) -> ReviewModel:
    """Return Review's state in this viewer, made on first use."""
    studio = studio_model(viewer)
    kept = vars(getattr(viewer, "__wrapped__", viewer).layers)
    if _REVIEW not in kept:
        kept[_REVIEW] = ReviewModel(studio)
    model: ReviewModel = kept[_REVIEW]
    return model


def forget(viewer: Any) -> None:
    """Drop the model of a viewer before its end; its session is closed."""
    kept = vars(getattr(viewer, "__wrapped__", viewer).layers)
    kept.pop(_REVIEW, None)
    model = kept.pop(_HERE, None)
    if model is not None and model.editing is not None:
        model.editing.close()


def hear(owner: QObject, signal: SignalInstance, call: Callable[..., object]) -> None:
    """Call a function at each event of a model, until the widget or object that it is for comes to its end.

    The model may outlive a panel (a dock that is closed, and opened again): without this it would call what Qt has taken
    away.

    Parameters
    ----------
    owner : QObject
        Whose end is the end of hearing.
    signal : SignalInstance
        A signal of the model.
    call : callable
        Gets as many of the event's values as it takes.
    """
    signal.connect(call)
    owner.destroyed.connect(lambda: signal.disconnect(call, missing_ok=True))
