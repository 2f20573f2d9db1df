"""A folder of predictions to compare: the folder itself, or what a checkpoint predicts on the labelled crops."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection as Names
from pathlib import Path

from napari_monusac.core.errors import Cancelled
from napari_monusac.core.files import sha256_of
from napari_monusac.core.training_crops import SeenAs
from napari_monusac.io.collection.collection import Collection, Crop
from napari_monusac.io.predictions.identity import match_image
from napari_monusac.io.predictions.open import info_of

#: Called with (fraction or None, what is being done).
TellPart = Callable[[float | None, str], None]


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a checkpoint file or a run folder, not a folder of predictions."""
    return path.is_file() or any((path / n).is_file() for n in ("best.safetensors", "last.safetensors"))


def predictions_of(
    path: str | Path,
    collection: Collection,
    cache: str | Path,
    *,
    crops: Names[str] | None = None,
    include_training: bool = False,
    report: TellPart | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Path:
    """Return a folder of predictions: the path itself, or of a checkpoint what it predicts.

    Parameters
    ----------
    path : str or Path
        A folder of predictions, a run folder or a checkpoint file.
    collection : Collection
        Whose labelled crops a checkpoint predicts.
    cache : str or Path
        Where a checkpoint's predictions are kept, by the checkpoint's hash; those that are there are not made again.
    crops : collection of str, optional
        Names of the crops to predict; all that have labels by default.
    include_training : bool
        Predict crops too that the checkpoint was trained on: by default they are not scored, so not predicted either.
    report : callable, optional
        Called before each crop.
    should_stop : callable, optional
        Asked before each crop and between tiles.

    Raises
    ------
    MonusacError
        The checkpoint cannot be read or was trained on all of the crops, or a crop cannot be predicted.
    Cancelled
        `should_stop` said so.
    """
    path, stop = Path(path), should_stop or (lambda: False)
    if not is_checkpoint(path) and path.is_dir():
        return path
    from napari_monusac.infer.crop import predict_crop
    from napari_monusac.io.predictions.store import crop_store
    from napari_monusac.network.checkpoint import load_checkpoint, resolve_checkpoint
    from napari_monusac.network.device import choose_device

    if report is not None:
        report(None, f"Loading {path.name}")
    weights = resolve_checkpoint(path)
    folder = Path(cache) / sha256_of(weights)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [c for c in collection.crops if c.annotation is not None and (crops is None or c.name in crops)]
    wanted = wanted if include_training else _not_trained_on(weights, collection, wanted)
    missing = [c for c in wanted if not _is_of(crop_store(folder, c.name), collection, c)]
    loaded = load_checkpoint(weights, device=choose_device("auto")[0]) if missing else None
    for done, crop in enumerate(missing):
        if stop():
            raise Cancelled("the prediction was stopped", "start it again: what is predicted is kept")
        if report is not None:
            report(done / len(missing), f"{path.name} predicts {crop.name}")
        with collection.open(crop) as slide:
            predict_crop(slide, loaded, crop_store(folder, crop.name), should_stop=stop, overwrite=True)
    return folder


def _not_trained_on(weights: Path, collection: Collection, crops: list[Crop]) -> list[Crop]:
    """The crops that a checkpoint was not trained on; all where that is not known."""
    from napari_monusac.io.training_crops import seen_as
    from napari_monusac.network.checkpoint import crops_seen_by
    from napari_monusac.scoring.report.training_use import TrainingCount

    trained_on = crops_seen_by(weights)
    training = TrainingCount()
    kept = [
        crop
        for crop in crops
        if training.takes(
            crop.name, crop.patient, SeenAs.UNKNOWN if trained_on is None else seen_as(collection, crop, trained_on)
        )
    ]
    training.check()
    return kept


def _is_of(store: Path, collection: Collection, crop: Crop) -> bool:
    """Whether a kept prediction is there and of the crop's image as that is now."""
    info = info_of(store) if store.exists() else None
    if info is None:
        return False
    with collection.open(crop) as slide:
        return match_image(info, slide).same is not False
