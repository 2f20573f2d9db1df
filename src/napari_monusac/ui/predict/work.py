"""What the worker does when an image is predicted from the panel: in memory, or piece by piece to disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_monusac.app.prediction import nuclei_of
from napari_monusac.app.work import Report
from napari_monusac.core.boxes import Region
from napari_monusac.core.prediction import WHOLE_PX
from napari_monusac.ui.canvas.predicted_layers import Stored
from napari_monusac.ui.predict.slide import check_stored, read_stored

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_monusac.core.prediction import Nuclei, Prediction
    from napari_monusac.ui.canvas.predicted_layers import LivePrediction


def needs_store(region: Region) -> bool:
    """Whether a region is predicted to disk."""
    return region[2] * region[3] > WHOLE_PX


def image_file(image: Image) -> Path | None:
    """The file that an image layer shows, where it says so and it is there."""
    name = image.metadata.get("monusac", {}).get("image")
    return Path(name) if name and Path(name).exists() else None


class _Tiles:
    """Reports a tile and how far it brings the work as one: of two reports at a time the second would be left out."""

    def __init__(self, report: Report, live: LivePrediction) -> None:
        self._report, self._live = report, live
        self._small: Any = None

    def add(self, box: tuple[int, int, int, int], _: Any, ternary: Any) -> None:
        """Take a finished tile."""
        self._small = self._live.small(box, ternary)

    def report(self, fraction: float, message: str) -> None:
        """Tell of it."""
        self._report(fraction, message, self._small)
        self._small = None


def predict_in_memory(
    report: Report,
    image: Any,
    loaded: Any,
    live: LivePrediction,
    options: dict[str, Any],
    thresholds: dict[str, float],
) -> tuple[Prediction, Nuclei]:
    """Predict a region and its nuclei, in a worker.

    Returns
    -------
    Prediction, Nuclei
    """
    from napari_monusac.infer.predict import predict

    tiles = _Tiles(report, live)
    prediction = predict(
        image, loaded, **options,
        progress=lambda done: tiles.report(float(done), "Predicting"), on_tile=tiles.add,
        should_stop=lambda: report.stopping,
    )  # fmt: skip
    report(None, "Outlining nuclei")
    prediction.semantic_map, prediction.ternary_map  # noqa: B018 - found here, not while the window waits
    return prediction, nuclei_of(prediction, thresholds)


def predict_to_store(
    report: Report,
    image: Any,
    path: Path | None,
    loaded: Any,
    out: Path,
    live: LivePrediction,
    options: dict[str, Any],
    thresholds: dict[str, float],
) -> Stored:
    """Predict into a store in constant memory, in a worker; what was begun there before is gone on with.

    Parameters
    ----------
    report : Report
        Hears of every tile, with what it looks like.
    image : array
        Level 0, uint8 (y, x, 3).
    path : Path or None
        Its file, for the store's own record.
    loaded : LoadedModel
    out : Path
        The store.
    live : LivePrediction
        Makes the small picture of a tile.
    options : dict
        um_per_px, region, flips.
    thresholds : dict
        By the names that `instances_from_maps` has for them.

    Raises
    ------
    Cancelled
        The user stopped it; what is done stays.
    StoreError
        There is a prediction of something else or a damaged one, or the disk is full.
    """
    from napari_monusac.infer.slide import predict_slide
    from napari_monusac.infer.tiling.source import as_source

    if out.exists():
        check_stored(out)
    tiles, first = _Tiles(report, live), list[int]()

    def tell(progress: Any) -> None:
        first[:] = first or [progress.done - 1]
        if progress.done == progress.total:
            tiles.report(float(progress), "Separating the nuclei")
            return
        # of this start alone: time left is told from it
        part = (progress.done - first[0]) / max(1, progress.total - first[0])
        tiles.report(part, f"Predicting, tile {progress.done} of {progress.total}")

    source = replace(as_source(image, options["um_per_px"]), path=path)
    predict_slide(
        source, loaded, out, region=options["region"], flips=options["flips"], settings=thresholds, progress=tell,
        on_tile=tiles.add, should_stop=lambda: report.stopping,
    )  # fmt: skip
    return read_stored(out)
