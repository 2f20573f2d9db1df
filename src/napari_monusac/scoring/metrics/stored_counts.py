"""Nuclei of predictions on disk: per class, per mm2 and as ratios, for each crop, each patient and all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_monusac.core.errors import StoreError
from napari_monusac.scoring.metrics.density import Counts, count_nuclei, density_table, write_density_table


def count_store(store: str | Path, *, name: str = "", patient: str = "") -> Counts:
    """Count the nuclei of a stored prediction.

    Parameters
    ----------
    store : str or Path
        The ``.zarr`` folder.
    name, patient : str
        Handed on.

    Raises
    ------
    StoreError
        It cannot be read, or its nuclei are not segmented yet.
    """
    from napari_monusac.io.predictions.prediction_store import PredictionStore

    opened = PredictionStore.open(store)
    table = opened.read_table()
    if table is None:
        raise StoreError(store, "its nuclei are not segmented yet", "predict the crop again: it goes on from there")
    return count_nuclei(table, opened.shape, opened.info.um_per_px, name=name, patient=patient)


def write_counts(counts: Iterable[Counts], path: str | Path) -> Path:
    """Write counts as CSV: a row a crop, then a row a patient, then all.

    Raises
    ------
    FileProblem
        It cannot be written.
    """
    return write_density_table(density_table(counts), path)
