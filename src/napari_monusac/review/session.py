"""A review as the panel needs it: queue, judgements and live score of one reader over a folder of crops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.core.nuclei import Annotation
from napari_monusac.editing.disk.workplace import content_of, sha256
from napari_monusac.io.collection.collection import Crop, open_collection
from napari_monusac.review.annotation import write_corrected
from napari_monusac.review.build import build_queue
from napari_monusac.review.judgements import Judgement, JudgementLog, Verdict
from napari_monusac.review.queue import QUEUE_FILE, ReviewItem, ReviewQueue
from napari_monusac.review.truth import CorrectedTruth, correct_truth
from napari_monusac.scoring.matching.pairs import CropPair
from napari_monusac.scoring.metrics.evaluation import Evaluation
from napari_monusac.scoring.report.evaluate import evaluate
from napari_monusac.scoring.report.folders import FolderPairs, TellCrop
from napari_monusac.scoring.report.predictions import REVIEW_FOLDER, PredictionFolder

#: Why an item of a queue cannot be judged or accepted.
OTHER_PREDICTION = "this nucleus was found in another prediction than the one that is there now"


class ReviewSession:
    """One reader's review of a folder. Use `open`.

    Attributes
    ----------
    pairs : FolderPairs
        Crops and predictions.
    folder : Path
        The review folder.
    queue : ReviewQueue
        What to look at.
    log : JudgementLog
        What the reader said.
    notes : tuple of str
        What was found when it was opened, for the user.
    """

    def __init__(self, pairs: FolderPairs, folder: Path, queue: ReviewQueue, log: JudgementLog) -> None:
        self.pairs, self.folder, self.queue, self.log = pairs, folder, queue, log
        self.notes: tuple[str, ...] = ()
        self._pair: CropPair | None = None

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
        session = cls(pairs, where, queue, log)
        session.notes = (*notes, *queue.notes)
        return session

    # ------------------------------------------------------------------ judging

    def judge(
        self, verdict: Verdict | str, *, chosen_class: NucleusClass | int | None = None, note: str = ""
    ) -> Judgement:
        """Judge the current item, and go to the next that is open.

        Raises
        ------
        SessionError
            The queue shows nothing, its item was found in another prediction than the one that is there now, or the
            disk refuses.
        """
        item = self.queue.current
        if item is None:
            raise SessionError("there is nothing to judge", "widen the filter")
        crop, pair = self.crop_of(item), self.pair_of(item.finding.crop)
        if item.finding.counted_in not in ("", pair.nuclei):
            raise SessionError(f"{crop.name}: {OTHER_PREDICTION}", "build the queue anew")
        judgement = self.log.judge(
            item.finding,
            verdict,
            chosen_class=chosen_class,
            note=note,
            truth_sha256=sha256(content_of(crop.annotation)) if crop.annotation is not None else "",
            fingerprint=pair.fingerprint,
        )
        shown = self.queue.is_done(item.key)
        self.queue.mark(item.key)
        if not shown and self.queue.current is not None and self.queue.is_done(self.queue.current.key):
            self.queue.next_open()
        return judgement

    def undo(self) -> Judgement | None:
        """Take the last judgement back and return to its item; None where there is none."""
        judgement = self.log.undo()
        if judgement is not None and judgement.key in self.queue.items:
            self.queue.mark(judgement.key, done=judgement.key in self.log.judgements)
            self._return_to(judgement.key)
        return judgement

    def redo(self) -> Judgement | None:
        """Put the judgement back that was taken back last; None where there is none."""
        judgement = self.log.redo()
        if judgement is not None and judgement.key in self.queue.items:
            self.queue.mark(judgement.key)
        return judgement

    def _return_to(self, key: str) -> None:
        if any(item.key == key for item in self.queue.shown):
            self.queue.go_to(key)

    # ------------------------------------------------------------------ scores and truth

    def crop_of(self, item: ReviewItem) -> Crop:
        """The crop that an item lies in.

        Raises
        ------
        CollectionError
            The collection has it no more.
        """
        return self.pairs.collection.crop(item.finding.crop)

    def pair_of(self, crop: str) -> CropPair:
        """Truth and prediction of a crop, as they were before any judgement; the last one asked for is kept.

        Raises
        ------
        MonusacError
            A file is damaged or gone.
        """
        if self._pair is None or self._pair.crop != crop:
            found = self.pairs.collection.crop(crop)
            path = self.pairs.prediction_of(found)
            if path is None:
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
        return correct_truth(self.pair_of(crop), self.log.of_crop(crop))

    def scores(self, crop: str) -> tuple[Evaluation, Evaluation]:
        """Scores of a crop before any judgement, and as the reader's judgements stand; no intervals, no tolerances."""
        pair = self.pair_of(crop)
        now = self.corrected(crop)
        before = evaluate(pair, bootstrap=0, tolerances_px=(), include_training=True)
        if not now.changed:
            return before, before
        return before, evaluate(now.as_truth_of(pair), bootstrap=0, tolerances_px=(), include_training=True)

    def write_corrected(self, crop: str) -> Path:
        """Write the corrected truth of a crop into ``corrected/<patient>/`` of the review folder; returns the file.

        Raises
        ------
        AnnotationError
            It cannot be written.
        """
        found = self.pairs.collection.crop(crop)
        annotation = self.pairs.collection.annotation(found)
        if found.annotation is None:
            annotation = replace(Annotation(), um_per_px=self.pair_of(crop).um_per_px)
        path = self.folder / "corrected" / found.patient / f"{crop.replace('/', '_')}.xml"
        write_corrected(annotation, self.corrected(crop), path, self.log.reader)
        return path
