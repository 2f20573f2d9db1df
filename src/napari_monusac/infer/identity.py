"""What a prediction is of: these pixels, these weights, these options. A store of anything else is not taken for it."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from napari_monusac.core.boxes import Region
from napari_monusac.core.errors import StoreError
from napari_monusac.infer.engines.choose import state_of
from napari_monusac.infer.model import ModelLike
from napari_monusac.infer.tiling.source import Source, cropped
from napari_monusac.io.predictions.identity import ImageIdentity
from napari_monusac.io.predictions.prediction_store import PredictionStore
from napari_monusac.io.predictions.store_info import PredictionIdentity

_WEIGHTS: weakref.WeakKeyDictionary[Any, tuple[int, str]] = weakref.WeakKeyDictionary()


def identity_of(
    source: Source, model: ModelLike, *, region: Sequence[int] | None = None, flips: bool = False
) -> PredictionIdentity:
    """Say what a prediction is of, without predicting.

    Parameters
    ----------
    source : Source
        The image, whole; see `napari_monusac.io.predictions.identity.ImageIdentity`.
    model : ModelLike
        Whose weights are compared.
    region : (y, x, height, width), optional
        What of the image is predicted.
    flips : bool
        Whether flips and turns are averaged.

    Raises
    ------
    ShapeError
        The region does not lie within the image.
    """
    place = Region(0, 0, *source.shape) if region is None else Region(*(int(v) for v in region))
    cropped(source, place)  # refuses what lies outside
    image = ImageIdentity.of(source)
    return PredictionIdentity(
        image=image.sample,
        weights=weights_digest(model.network),
        region=(place.y, place.x, place.height, place.width),
        um_per_px=source.um_per_px,
        flips=flips,
        pixels=image.whole,
    )


def weights_digest(network: Any) -> str:
    """A short hash of a network's weights; taken once until they change."""
    state = state_of(network)
    known = _WEIGHTS.get(network)
    if known is None or known[0] != state:
        digest = hashlib.blake2b(digest_size=8)
        for value in network.state_dict().values():
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        known = _WEIGHTS[network] = (state, digest.hexdigest())
    return known[1]


def finished(out: Path, identity: PredictionIdentity, *, overwrite: bool = False) -> PredictionStore | None:
    """The finished store at `out`, if there is one of just this prediction and it is not to be made again.

    Raises
    ------
    StoreError
        There is one of something else, or a folder that is none of ours.
    """
    if overwrite or not out.exists():
        return None
    store = PredictionStore.open(out)
    found = store.info.identity
    if found is not None and found.same_prediction(identity):
        return store
    raise StoreError(
        out, _difference(store, identity), "choose another folder, or predict over it (in a terminal: --overwrite)"
    )


def _difference(store: PredictionStore, wanted: PredictionIdentity) -> str:
    """Say in words what a store holds that is not what was asked for."""
    info, found = store.info, store.info.identity
    if found is None:
        return "does not say of which pixels and weights it is"
    if not found.same_image(wanted):
        return f"holds the prediction of another image ({info.image or 'not a file'})"
    if found.weights != wanted.weights:
        return f"holds the prediction of another model ({info.checkpoint or 'not from a file'})"
    if found.region != wanted.region:
        return "holds the prediction of another region"
    if found.flips != wanted.flips:
        return f"was predicted with{'' if found.flips else 'out'} flips"
    return f"was predicted at {found.um_per_px} um/px, not at {wanted.um_per_px}"
