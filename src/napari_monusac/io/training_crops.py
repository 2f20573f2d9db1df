"""The crops that a run trains and validates on, with fingerprints of their pixels; also of runs that kept none."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from napari_monusac.core.errors import MonusacError
from napari_monusac.core.training_crops import SeenAs, SeenCrop, TrainingCrops
from napari_monusac.io.collection.collection import Collection, Crop, open_collection
from napari_monusac.io.predictions.identity import pixel_fingerprint
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.io.splits import Split


def crop_fingerprint(collection: Collection, crop: Crop) -> str:
    """Fingerprint of a crop's pixels; empty where the image cannot be read (who scores it meets the error again)."""
    with suppress(MonusacError, OSError), collection.open(crop) as slide:
        return pixel_fingerprint(slide.shape, slide.read)
    return ""


def seen_as(collection: Collection, crop: Crop, trained_on: TrainingCrops) -> SeenAs:
    """Say what a crop is to a model that was trained on those; its pixels are read where they can decide."""
    known = any(c.pixels for c in (*trained_on.training, *trained_on.validation))
    return trained_on.seen_as(crop.name, crop.patient, crop_fingerprint(collection, crop) if known else "")


def crops_of_split(collection: Collection, split: Split) -> TrainingCrops:
    """Return the crops of a split, with patient and fingerprint as far as the collection has them.

    Parameters
    ----------
    collection : Collection
        Where the crops lie.
    split : Split
        Their names.
    """
    known = {c.name: c for c in collection.crops}

    def seen(names: Iterable[str]) -> tuple[SeenCrop, ...]:
        return tuple(
            SeenCrop(n, known[n].patient, crop_fingerprint(collection, known[n])) if n in known else SeenCrop(n)
            for n in names
        )

    patients = () if all(n in known for n in split.training) else split.training_patients
    return TrainingCrops(training=seen(split.training), validation=seen(split.validation), patients=patients)


def crops_of_run(run: RunFolder) -> TrainingCrops:
    """Return the crops of a run as its split has them; without its data by name only."""
    try:
        collection = open_collection(run.data)
    except (MonusacError, OSError):
        collection = Collection(run.data, ())
    crops = crops_of_split(collection, run.split)
    return crops.model_copy(update={"class_names": tuple(sorted(run.info.class_names.items()))})


def crops_of_checkpoint(checkpoint: str | Path) -> TrainingCrops | None:
    """Return the crops of the run folder that a checkpoint lies in; None where it lies in none.

    Parameters
    ----------
    checkpoint : str or Path
        A run folder, or a file in one. It need not be there any more.
    """
    path = Path(checkpoint).expanduser()
    for folder in (path, path.parent):
        with suppress(MonusacError, OSError):
            return crops_of_run(RunFolder.open(folder))
    return None
