"""A review of one reader: what they said, and where predictions of a folder are reviewed, what to look at next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation
from napari_monusac.editing.disk.workplace import content_of, sha256
from napari_monusac.io.collection.collection import Collection, Crop, open_collection
from napari_monusac.io.outputs import REVIEW_FOLDER
from napari_monusac.io.predictions.find import PredictionFolder
from napari_monusac.masks.rasterize import label_maps
from napari_monusac.review.annotation import write_corrected
from napari_monusac.review.build import build_queue
from napari_monusac.review.comparison import applicable
from napari_monusac.review.judgements import Judgement, JudgementLog, Verdict
from napari_monusac.review.queue import QUEUE_FILE, ReviewQueue
from napari_monusac.review.truth import CorrectedTruth, correct_truth
from napari_monusac.scoring.errors.finding import Finding
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.metrics.evaluation import Evaluation
from napari_monusac.scoring.report.evaluate import evaluate
from napari_monusac.scoring.report.folders import FolderPairs, TellCrop

#: Why an item of a queue cannot be judged or accepted.
_OTHER_PREDICTION = "this nucleus was found in another prediction than the one that is there now"


class ReviewSession:
    """One reader's review. `open` has the queue of a folder; `judging` is for a prediction that lies in no folder.

    Attributes
    ----------
    folder : Path
        The review folder.
    log : JudgementLog
        What the reader said.
    collection : Collection or None
        The crops.
    queue : ReviewQueue
        What to look at; empty where no folder of predictions is reviewed.
    pairs : FolderPairs or None
        Crops with their predictions in a folder.
    notes : tuple of str
        What was found when it was opened, for the user.
    """

    def __init__(
        self, folder: Path, log: JudgementLog, collection: Collection | None,
        queue: ReviewQueue | None = None, pairs: FolderPairs | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.log, self.collection, self.pairs = folder, log, collection, pairs
        self.queue = ReviewQueue((), None, log.reader) if queue is None else queue
        self.notes: tuple[str, ...] = log.notes
        self._pair: CropPair | None = None

    @classmethod
    def judging(cls, folder: str | Path, reader: str, collection: Collection | None = None) -> ReviewSession:
        """Open a reader's judgements alone, without a queue.

        Raises
        ------
        SessionError
            The log is damaged, or cannot be kept there.
        """
        return cls(Path(folder), JudgementLog.open(folder, reader), collection)

    @classmethod
    def open(
        cls,
        collection: str | Path,
        predictions: str | Path,
        reader: str,
        *,
        folder: str | Path | None = None,
        anew: bool = False,
        progress: TellCrop | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> ReviewSession:
        """Open the review of a folder; its queue is built when there is none yet.

        Parameters
        ----------
        collection, predictions : str or Path
            The crops and their predictions.
        reader : str
            Who judges. A reader sees no judgement of another.
        folder : str or Path, optional
            The review folder; ``monusac-review`` among the predictions by default.
        anew : bool
            Build the queue again although there is one. What was looked at stays so where the same nuclei come again.
        progress, should_stop : callable, optional
            See `build_queue`.

        Raises
        ------
        MonusacError
            A folder is missing, or a file of the review is damaged.
        """
        where = Path(predictions) / REVIEW_FOLDER if folder is None else Path(folder)
        pairs = FolderPairs(open_collection(collection), PredictionFolder(predictions))
        log = JudgementLog.open(where, reader)
        queue = ReviewQueue.open(where, log.reader) if (where / QUEUE_FILE).is_file() and not anew else None
        notes: tuple[str, ...] = ()
        if queue is not None and queue.uncounted:
            queue, notes = (
                None,
                ("The queue of an earlier version did not say in which predictions: it is built anew.",),
            )
        if queue is None:
            queue = build_queue(
                collection, predictions, folder=where, reader=log.reader, progress=progress, should_stop=should_stop
            )
        session = cls(where, log, pairs.collection, queue, pairs)
        session.notes = (*session.notes, *notes, *queue.notes)
        return session

    @property
    def reader(self) -> str:
        """Who judges."""
        return self.log.reader

    # ------------------------------------------------------------------ judging

    def judge(
        self,
        verdict: Verdict | str,
        finding: Finding | None = None,
        *,
        chosen_class: NucleusClass | int | None = None,
        note: str = "",
        counted_in: str | None = None,
        crop: Crop | None = None,
    ) -> Judgement:
        """Judge an error; by default the current item of the queue, which then goes on to the next that is open.

        Parameters
        ----------
        verdict : Verdict or str
            Who is right.
        finding : Finding, optional
            The error.
        chosen_class : int, optional
            The class that the nucleus should have.
        note : str
            Kept with the judgement.
        counted_in : str, optional
            Hash of the instance map of the prediction that is there now (`nuclei_digest`), empty where that is not known.
            By default the crop's prediction is read from the folder.
        crop : Crop, optional
            The crop that the error lies in; by default it is looked up.

        Raises
        ------
        SessionError
            There is nothing to judge, it was found in another prediction than the one that is there now, or the disk
            refuses.
        """
        current = self.queue.current
        if finding is None:
            if current is None:
                raise SessionError("there is nothing to judge", "widen the filter")
            finding = current.finding
        if crop is None and self.collection is not None:
            crop = self.collection.crop(finding.crop)
        if counted_in is None:
            counted_in = self.pair_of(finding.crop).nuclei if self.pairs is not None else ""
        if not finding.counts_in(counted_in):
            raise SessionError(f"{finding.crop}: {_OTHER_PREDICTION}", "build the queue anew")
        truth = crop.annotation if crop is not None else None
        judgement = self.log.judge(
            finding,
            verdict,
            chosen_class=chosen_class,
            note=note,
            truth_sha256=sha256(content_of(truth)) if truth is not None and truth.exists() else "",
            fingerprint=finding.fingerprint,
        )
        self._looked_at(finding)
        return judgement

    def _looked_at(self, finding: Finding) -> None:
        """Mark an item of the queue; the next one that is open becomes the current one, if it was not looked at before."""
        queue = self.queue
        if not queue.holds(finding):
            return
        before = queue.is_done(finding.key)
        queue.mark(finding.key)
        if not before and queue.current is not None and queue.is_done(queue.current.key):
            queue.next_open()

    def undo(self) -> Judgement | None:
        """Take the last judgement back and return to its item; None where there is none."""
        judgement = self.log.undo()
        if judgement is not None and self.queue.holds(judgement.finding):
            stands = any(j.finding.same_as(judgement.finding) for j in self.log.judgements)
            self.queue.mark(judgement.key, done=stands)
            self.queue.turn_to(judgement.finding)
        return judgement

    def redo(self) -> Judgement | None:
        """Put the judgement back that was taken back last; None where there is none."""
        judgement = self.log.redo()
        if judgement is not None and self.queue.holds(judgement.finding):
            self.queue.mark(judgement.key)
        return judgement

    # ------------------------------------------------------------------ scores and truth

    def _crops(self) -> Collection:
        if self.collection is None:
            raise SessionError("no folder of crops is open", "open it first")
        return self.collection

    def pair_of(self, crop: str) -> CropPair:
        """Truth and prediction of a crop, as they were before any judgement; the last one asked for is kept.

        Raises
        ------
        MonusacError
            A file is damaged or gone.
        """
        if self._pair is None or self._pair.crop != crop:
            found = self._crops().crop(crop)
            path = self.pairs.predictions.find(found) if self.pairs is not None else None
            if self.pairs is None or path is None:
                raise SessionError(f"{crop}: its prediction is gone", "predict it again")
            self._pair = self.pairs.pair(found, path)
        return self._pair

    def corrected(self, crop: str) -> CorrectedTruth:
        """The truth of a crop with this reader's judgements carried out.

        Raises
        ------
        SessionError
            Truth or prediction changed since they were judged.
        """
        pair = self.pair_of(crop)
        return correct_truth(pair, self.log.of_crop(crop, pair.nuclei))

    def scores(self, crop: str) -> tuple[Evaluation, Evaluation]:
        """Scores of a crop before any judgement, and as the reader's judgements stand; no intervals, no tolerances."""
        pair = self.pair_of(crop)
        now = self.corrected(crop)
        before = evaluate(pair, bootstrap=0, tolerances_px=(), include_training=True)
        if not now.changed:
            return before, before
        return before, evaluate(now.as_truth_of(pair), bootstrap=0, tolerances_px=(), include_training=True)

    def write_corrected(self, crop: str, pair: CropPair | None = None) -> Path:
        """Write the corrected truth of a crop into ``corrected/<patient>/`` of the review folder; returns the file.

        Parameters
        ----------
        crop : str
            Its name.
        pair : CropPair, optional
            Truth and prediction as they stand in the window; by default those of the folders. Judgements that do not
            fit it are left aside.

        Raises
        ------
        SessionError
            Truth or prediction changed since they were judged, or the window's labels are not those of the file.
        AnnotationError
            It cannot be written.
        """
        found = self._crops().crop(crop)
        annotation = self._crops().annotation(found)
        if pair is None:
            truth = self.corrected(crop)
            if found.annotation is None:
                annotation = replace(Annotation(), um_per_px=self.pair_of(crop).um_per_px)
        else:
            self._see_that_it_is_saved(found, annotation, pair)
            truth = correct_truth(pair, applicable(pair, self.log.of_crop(crop, pair.nuclei)))
        path = self.folder / "corrected" / found.patient / f"{crop.replace('/', '_')}.xml"
        write_corrected(annotation, truth, path, self.log.reader)
        return path

    def _see_that_it_is_saved(self, crop: Crop, annotation: Annotation, pair: CropPair) -> None:
        """Refuse labels of a window that are not those of the file: their numbers would name other nuclei."""
        if crop.annotation is None:
            raise SessionError(f"{crop.name}: has no annotation file", "save its labels first (Annotate)")
        (y, x), (height, width) = pair.offset_px, pair.truth.shape
        with self._crops().open(crop) as slide:
            saved = label_maps(annotation, slide.shape).instances[y : y + height, x : x + width]
        if not np.array_equal(saved, pair.truth):
            raise SessionError(
                f"{crop.annotation}: the labels in the window are not those of the file",
                "save them (Annotate), open the crop again, and judge what is left",
            )
