"""What Review knows: who reads, what is compared, which error is looked at, how. No Qt, no napari.

`ReviewSession` is the only judge, the Studio's state says which crop and which prediction are open; this model has the rest.
Work that takes long is handed out as a job, for whoever has a worker to run it in; its result is a field that is set.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal

from napari_monusac.app import review_jobs as jobs
from napari_monusac.app.facts import Fact, never
from napari_monusac.core.errors import MonusacError
from napari_monusac.core.files import folder_key
from napari_monusac.review.listing import Listing

if TYPE_CHECKING:
    from napari_monusac.app.prediction_jobs import FolderOutcome
    from napari_monusac.app.review_jobs import ReviewJob, ScoredFolder
    from napari_monusac.app.studio import OpenPrediction, StudioModel
    from napari_monusac.core.prediction import Prediction
    from napari_monusac.core.training_crops import SeenAs
    from napari_monusac.editing.session import EditingSession
    from napari_monusac.io.collection.collection import Crop
    from napari_monusac.io.predictions.open import PredictedCrop
    from napari_monusac.review.comparison import Comparison
    from napari_monusac.review.judgements import Judgement
    from napari_monusac.review.live import LiveTruth
    from napari_monusac.review.places import FindingPlace
    from napari_monusac.review.queue import Order, QueueFilter, ReviewQueue
    from napari_monusac.review.readers import ReaderAgreement
    from napari_monusac.review.session import ReviewSession
    from napari_monusac.scoring.errors.finding import Finding
    from napari_monusac.scoring.matching.matching import AmbiguousRule
    from napari_monusac.scoring.matching.pairs import CropPair
    from napari_monusac.scoring.report.guard import Guard

#: Where reviews go whose predictions lie in no folder, beside the folder of runs.
REVIEWS = "napari-monusac-reviews"
#: The pages of Review.
PAGES = SCORES, ERRORS, TABLES, QUEUE, COMPARE = ("Scores", "Errors", "Tables", "Queue", "Compare")
OTHER_PREDICTION = (
    "This nucleus was found in another prediction than the one that is open. Choose the folder of predictions again, or "
    "build the queue anew."
)
_NO_NAME = "Give your name first: it stands on every judgement."


class ReviewModel:
    """The state of Review in one viewer.

    Setting a field is its event: each has one signal, which is emitted with the new value.

    Attributes
    ----------
    studio : StudioModel
        The open crop and its prediction, which is what is compared.
    shown : bool
        Whether Review is in front: layers of its own are on the canvas only then (`shown_changed`).
    reader : str
        Who judges, empty while nobody gave a name (`reader_changed`).
    predictions : Path or None
        The folder of predictions that is reviewed (`predictions_changed`).
    session : ReviewSession or None
        The judge. It is opened at the first judgement, or with the queue (`session_changed`).
    comparison : Comparison or None
        What comparing the open crop has said last (`compared`).
    finding : Finding or None
        The error that is looked at, and judged (`finding_changed`).
    listing : Listing
        Which errors of the open crop are listed, and in which order (`listing_changed`).
    page : str
        Which of `PAGES` is shown (`page_changed`).
    way, map : str
        The way of looking at truth and prediction, and the maps that are compared (`way_changed`, `map_changed`).
    awaited : FindingPlace, Finding or None
        The nucleus of another crop that is shown once that crop is open (`awaited_changed`).
    missing : bool
        The folder was looked through, and has no prediction of the open crop (`missing_changed`).
    asked_about : Path or None
        A prediction that does not say of which image it is: the reader is asked (`asked_about_changed`).
    trusted : frozenset of Path
        Folders whose predictions are taken by the name of their crop all the same (`trusted_changed`).
    scored : ScoredFolder or None
        The scores of the whole folder (`folder_scored`).
    guard : Guard or None
        What another model fixed and broke (`guarded`).
    guard_pair : (Path, Path) or None
        Two models that are to be compared now: before, after (`guard_asked`).
    agreement : (ReaderAgreement, float or None) or None
        How far two readers agree, and the PQ of one's truth against the other's (`readers_compared`).

    Notes
    -----
    Messages that are no state: `judged` (a judgement was made or taken back, or another reader reads), `outdated` (truth,
    prediction or judgements are others now: compare again), `queue_arranged` (other items of the queue are shown), `went` (a place: the camera goes there), `cell_chosen` (a table
    of nuclei to be framed), `said` (a line for the reader, its kind).
    """

    shown_changed = Signal(bool)
    reader_changed = Signal(str)
    predictions_changed = Signal(object)
    session_changed = Signal(object)
    compared = Signal(object)
    finding_changed = Signal(object)
    listing_changed = Signal(object)
    page_changed = Signal(str)
    way_changed = Signal(str)
    map_changed = Signal(str)
    awaited_changed = Signal(object)
    missing_changed = Signal(bool)
    asked_about_changed = Signal(object)
    trusted_changed = Signal(object)
    folder_scored = Signal(object)
    guarded = Signal(object)
    guard_asked = Signal(object)
    readers_compared = Signal(object)

    judged = Signal()
    outdated = Signal()
    queue_arranged = Signal()
    went = Signal(object)
    cell_chosen = Signal(object)
    said = Signal(str, str)

    shown: Fact[bool] = Fact("shown_changed", False, operator.eq)
    reader: Fact[str] = Fact("reader_changed", "", operator.eq)
    predictions: Fact[Path | None] = Fact("predictions_changed", None, operator.eq)
    session: Fact[ReviewSession | None] = Fact("session_changed", None)
    comparison: Fact[Comparison | None] = Fact("compared", None, never)
    finding: Fact[Finding | None] = Fact("finding_changed", None, never)
    listing: Fact[Listing] = Fact("listing_changed", Listing(), operator.eq)
    page: Fact[str] = Fact("page_changed", SCORES, operator.eq)
    way: Fact[str] = Fact("way_changed", "layers", never)
    map: Fact[str] = Fact("map_changed", "outlines", operator.eq)
    awaited: Fact[FindingPlace | Finding | None] = Fact("awaited_changed", None)
    missing: Fact[bool] = Fact("missing_changed", False, operator.eq)
    asked_about: Fact[Path | None] = Fact("asked_about_changed", None, operator.eq)
    trusted: Fact[frozenset[Path]] = Fact("trusted_changed", frozenset(), operator.eq)
    scored: Fact[ScoredFolder | None] = Fact("folder_scored", None)
    guard: Fact[Guard | None] = Fact("guarded", None)
    guard_pair: Fact[tuple[Path, Path] | None] = Fact("guard_asked", None, never)
    agreement: Fact[tuple[ReaderAgreement, float | None] | None] = Fact("readers_compared", None)

    def __init__(self, studio: StudioModel) -> None:
        self.studio = studio
        #: what Undo takes back, the last one last
        self.undoable: list[Literal["edit", "judgement"]] = []
        self._listed: tuple[Finding, ...] | None = None
        self._at, self._before_swipe = -1, "outlines"
        #: how the reader wants to look, at this crop and the next: without a comparison there are only the layers
        self._wanted_way = "layers"
        self._said: dict[str, list[Judgement]] | None = None
        self._seen: tuple[Prediction, SeenAs] | None = None
        # ours first: views that hear of a fact find what follows from it done
        self.compared.connect(self._list_anew)
        self.compared.connect(self._look_as_wanted)
        self.listing_changed.connect(self._list_anew)
        self.judged.connect(self._judged)
        self.reader_changed.connect(self._forget_session)
        self.predictions_changed.connect(self._other_predictions)
        studio.prediction.outcome_changed.connect(self._folder_written)
        self._folder_written(studio.prediction.outcome)
        studio.crop_changed.connect(self._crop_changed)
        studio.collection_changed.connect(self._other_predictions)
        studio.predicted.connect(self._outdate)
        studio.layers_changed.connect(self._outdate)

    # ------------------------------------------------------------------ another crop, folder, reader

    def _crop_changed(self, _: Crop | None) -> None:
        wanted = self._wanted_way
        self.comparison = None
        self.finding = None
        self.missing, self.asked_about, self._at, self._seen = False, None, -1, None
        self.way, self._wanted_way = "layers", wanted
        self.undoable = [d for d in self.undoable if d == "judgement"]  # it does not reach into the last one's labels
        if self.predictions is None:
            self.arrive()

    def _other_predictions(self, _: object = None) -> None:
        self.scored = None
        self.missing, self.asked_about = False, None
        self._forget_session()

    def _folder_written(self, outcome: FolderOutcome | None) -> None:
        """Take the folder that was predicted, where none was chosen."""
        if outcome is None or not outcome.number:
            return
        if self.predictions is None:
            self.predictions = outcome.out
        elif self.predictions == outcome.out:  # crops that were missing may be there now
            self.missing = False
            self._outdate()

    def review_folder(self, predictions: Path) -> None:
        """Review a folder of predictions: come to the front with it."""
        self.predictions = predictions
        self.studio.panel_asked.emit("Review")

    def _forget_session(self, _: object = None) -> None:
        self.session = None
        self.undoable = [d for d in self.undoable if d == "edit"]  # it does not reach into another reader's log
        self.judged.emit()

    def _judged(self) -> None:
        self._said = None
        self.outdated.emit()

    def _outdate(self, _: object = None) -> None:
        self.outdated.emit()

    # ------------------------------------------------------------------ comparing

    @property
    def labelled(self) -> bool:
        """Whether the open crop has labels to compare with."""
        crop = self.studio.crop
        return self._edits() is not None or (crop is not None and crop.annotation is not None)

    @property
    def offset_px(self) -> tuple[int, int]:
        """Where the pixels of errors begin in the image: those of a predicted region are counted from its corner."""
        if self.comparison is not None:
            return self.comparison.offset_px
        latest = self.studio.last_prediction
        return (0, 0) if latest is None else (int(latest[0].offset_px[0]), int(latest[0].offset_px[1]))

    def comparing(self) -> Callable[[], Comparison] | None:
        """Compare truth and prediction as they are now (for a worker); None where one of them is missing."""
        make, latest = self.pair(), self.studio.last_prediction
        if make is None or latest is None:
            return None
        width, judgements = latest[0].boundary_width, self.judgements_of(self._crop_name())

        def work() -> Comparison:
            from napari_monusac.review.comparison import compare

            return compare(make(), judgements, width)

        return work

    def pair(self) -> Callable[[], CropPair] | None:
        """Make the pair of the open crop (for a worker); None without truth or prediction, or while it is being opened."""
        from napari_monusac.review.live import live_pair, seen_by_model

        latest, truth, crop = self.studio.last_prediction, self._truth(), self.studio.crop
        if latest is None or truth is None:
            return None
        collection, prediction = self.studio.collection, latest[0]

        def seen_as() -> SeenAs:
            # its pixels are read once, not at each comparison
            if self._seen is None or self._seen[0] is not prediction:
                self._seen = prediction, seen_by_model(prediction, collection, crop)
            return self._seen[1]

        name, patient = self._crop_name(), crop.patient if crop is not None else ""
        slide = partial(collection.open, crop) if collection is not None and crop is not None else None
        return lambda: live_pair(truth(), *latest, crop=name, patient=patient, slide=slide, seen_as=seen_as())

    def _edits(self) -> EditingSession | None:
        return self.studio.editing.session

    def _crop_name(self) -> str:
        if self.studio.crop is not None:
            return str(self.studio.crop.name)
        session = self._edits()
        return session.file.path.stem if session is not None and session.file.path is not None else ""

    def _truth(self) -> Callable[[], LiveTruth] | None:
        """The labels as they are edited; those of the file where no session could be opened."""
        from napari_monusac.review.live import LiveTruth, truth_of_file

        session = self._edits()
        if session is not None:
            found = LiveTruth.of(session, self.studio.editing.in_slide((0, 0)))
            return lambda: found
        collection, crop = self.studio.collection, self.studio.crop
        if collection is None or crop is None or crop.annotation is None or self.studio.editing.opening:
            return None
        return partial(truth_of_file, collection, crop)

    # ------------------------------------------------------------------ looking

    def look(self, way: str) -> bool:
        """Look another way, at this crop and the next; False without a comparison: then there are only the layers."""
        if self.comparison is None and way != "layers":
            return False
        self.way = self._wanted_way = way
        return True

    def _look_as_wanted(self, comparison: Comparison | None) -> None:
        if comparison is not None and self.way != self._wanted_way:
            self.way = self._wanted_way

    def toggle_swipe(self) -> None:
        """Draw the swipe between truth and prediction, or put it away."""
        if self.way == "swipe":
            self.look(self._before_swipe)
        else:
            self._before_swipe = self.way
            self.look("swipe")

    # ------------------------------------------------------------------ the errors of the crop

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The errors of the open crop that are listed, in their order."""
        if self._listed is None:
            self._listed = self.listing.of(self.comparison.findings if self.comparison is not None else ())
        return self._listed

    def _list_anew(self, _: object = None) -> None:
        self._listed = None

    def place_of(self, finding: Finding | None) -> int | None:
        """The place of an error among those listed, from 0; None where it is not."""
        if finding is None:
            return None
        return next((at for at, f in enumerate(self.errors) if f.same_as(finding)), None)

    # ------------------------------------------------------------------ getting about

    def step(self, by: int) -> None:
        """Go to the next (1) or previous (-1) error; on the page of the queue, to its next item."""
        if self.page == QUEUE:
            self._step_queue(by)
            return
        errors, at = self.errors, self.place_of(self.finding)
        if not errors:
            return
        if at is not None:
            at += by
        elif self._at >= 0:  # it was mended: the next one has come to its place
            at = self._at + (by if by < 0 else 0)
        else:
            at = 0 if by > 0 else -1
        self.go_to(errors[at % len(errors)])

    def _step_queue(self, by: int) -> None:
        queue = self.queue
        if queue is None or queue.current is None:
            return
        current = queue.current
        if self.finding is not None and self.finding.same_as(current.finding):
            queue.step(by)
        elif by > 0 and queue.is_done(current.key):
            queue.next_open()
        if queue.current is not None:
            self.go_to(queue.current.finding)

    def go_to(self, place: FindingPlace | Finding) -> bool:
        """Show a nucleus; one of another crop once that crop is open.

        Returns
        -------
        bool
            False where it is not shown yet (unsaved edits are asked about, its crop is being opened), or cannot be (that
            is said).
        """
        from napari_monusac.review.places import FindingPlace, error_at

        queue, comparison = self.queue, self.comparison
        if queue is not None and self.page == QUEUE and not isinstance(place, FindingPlace):
            queue.turn_to(place)
        if self._is_elsewhere(place):
            return False
        if not isinstance(place, FindingPlace):
            self.finding = place
        else:
            self.finding = None if comparison is None else error_at(place, comparison.findings, comparison.pair.nuclei)
        at = self.place_of(self.finding)
        self._at = self._at if at is None else at
        self.went.emit(place)
        return True

    def _is_elsewhere(self, place: FindingPlace | Finding) -> bool:
        """Whether a nucleus lies in another crop; that one is opened then, and the nucleus shown after."""
        here, collection = self.studio.crop, self.studio.collection
        if not place.crop or place.crop == self._crop_name():
            return False
        if collection is None:
            open_ = f"{here.name} is open" if here is not None else "its folder is not open"
            self.said.emit(f"This nucleus lies in {place.crop}, {open_}: open its folder first (Slides).", "warning")
            return True
        try:
            crop = collection.crop(place.crop)
        except MonusacError as error:
            self.said.emit(str(error), "warning")
            return True

        def go() -> None:
            self.awaited = place
            if not self.studio.open_crop(crop):
                self.awaited = None
                self.said.emit(f"{crop.name} cannot be opened from here: open it in Slides.", "warning")

        self.awaited = None
        self.studio.leave_crop(go)
        return True

    def arrive(self) -> None:
        """Show the nucleus that was waited for, if its crop is the open one: its prediction is there, or there is none."""
        place, here = self.awaited, self.studio.crop
        if place is not None and here is not None and place.crop == here.name:
            self.awaited = None
            self.go_to(place)

    def finding_prediction(
        self, pixels: Any, first_px: tuple[int, int], um_per_px: float | None
    ) -> ReviewJob[PredictedCrop | None] | None:
        """Look for the prediction of the open crop, and open it (a job); None where no crop or no folder is open.

        Parameters
        ----------
        pixels : uint8 (y, x, 3)
            What the window shows of the crop, from `first_px` (y, x) on.
        """
        crop, folder = self.studio.crop, self.predictions
        if crop is None or folder is None:
            return None
        return partial(jobs.predicted_of, crop, folder, pixels, first_px, um_per_px)

    def looked(self, found: OpenPrediction | Path | None) -> None:
        """Take what the folder has of the open crop: a prediction, one that does not say of which image it is, or none."""
        self.missing = found is None
        self.asked_about = found if isinstance(found, Path) else None
        if isinstance(found, tuple):
            self.studio.last_prediction = found
        self.arrive()

    def trust(self) -> None:
        """Take the predictions of the folder by the name of their crop, until napari is closed."""
        if self.predictions is not None:
            self.asked_about = None
            self.trusted = self.trusted | {self.predictions}

    # ------------------------------------------------------------------ judging

    @property
    def folder(self) -> Path:
        """The review folder: among the predictions, else one for the open collection."""
        from napari_monusac.io.outputs import REVIEW_FOLDER

        if self.predictions is not None:
            return self.predictions / REVIEW_FOLDER
        base = Path(self.studio.training.runs_folder).parent / REVIEWS
        if self.studio.collection is None:
            return base / "crops"
        return base / folder_key(Path(self.studio.collection.root))

    @property
    def queue(self) -> ReviewQueue | None:
        """What to look at over the whole folder; None while no queue is open."""
        return self.session.queue if self.session is not None and self.session.pairs is not None else None

    def opening_queue(self, *, anew: bool = False) -> ReviewJob[ReviewSession] | None:
        """Open the queue of the folder, or build it (a job; what it gives goes to `take_session`); None without a name or folder."""
        collection, predictions, reader = self.studio.collection, self.predictions, self.reader
        if collection is None or predictions is None or not reader:
            return None

        return partial(jobs.open_queue, collection.root, predictions, reader, anew=anew)

    def arrange_queue(self, wanted: QueueFilter, order: Order) -> None:
        """Show other items of the queue, in another order."""
        if self.queue is not None:
            self.queue.set_filter(wanted)
            self.queue.set_order(order)
            self.queue_arranged.emit()

    def take_session(self, session: ReviewSession) -> None:
        """Take a session that was opened, unless another folder or reader has come meanwhile."""
        if session.folder == self.folder and session.reader == self.reader:
            self.session = session
            self.judged.emit()
            self._say(" ".join(session.notes), "hint")

    def judge_of(self) -> ReviewSession | None:
        """The session, opened on first use; None without a name, or where the folder refuses (that is said)."""
        if self.session is None and self.reader:
            from napari_monusac.review.session import ReviewSession

            try:
                self._take_over()
                self.session = ReviewSession.judging(self.folder, self.reader, self.studio.collection)
            except MonusacError as error:
                self._say(str(error), "error")
                return None
            self._say(" ".join(self.session.notes), "warning")
        return self.session

    def _take_over(self) -> None:
        """Move the review that an earlier version kept by the collection's name, where it is of this one."""
        from napari_monusac.review.judgements import take_over

        collection, folder = self.studio.collection, self.folder
        if self.predictions is None and collection is not None:
            truths = {c.name: c.annotation for c in collection.crops if c.annotation is not None}
            self._say(take_over(folder.parent / Path(collection.root).name, folder, truths), "warning")

    def judgements_of(self, crop: str) -> list[Judgement]:
        """The reader's last words on a crop; nothing is made on disk for asking."""
        from napari_monusac.review.judgements import log_path

        if self.session is None and not (self.reader and log_path(self.folder, self.reader).exists()):
            return []
        session = self.judge_of()
        return session.log.of_crop(crop, self.studio.counted_in()) if session is not None else []

    def verdict_of(self, finding: Finding) -> str | None:
        """The reader's verdict on an error; None where there is none."""
        judgement = self.judgement_of(finding)
        return None if judgement is None else judgement.verdict.value

    def judgement_of(self, finding: Finding) -> Judgement | None:
        """What the reader said of an error; of the same numbers in another prediction nothing was said."""
        return next((j for j in self._words().get(finding.key, ()) if j.finding.same_as(finding)), None)

    def count_judged(self, findings: Iterable[Finding]) -> tuple[int, int]:
        """How many of some errors the reader has judged; and how many bear numbers that were judged elsewhere alone.

        Elsewhere is another prediction, or other labels: that verdict is not shown.
        """
        said = [(f.key in self._words(), self.judgement_of(f) is not None) for f in findings]
        here = sum(here for _, here in said)
        return here, sum(any_ for any_, _ in said) - here

    def _words(self) -> Mapping[str, Sequence[Judgement]]:
        """The reader's last words by the key of their finding; looked up once for each row of a table."""
        if self._said is None:
            self.judgements_of("")  # an earlier review is opened
            said: dict[str, list[Judgement]] = {}
            for judgement in self.session.log.judgements if self.session is not None else ():
                said.setdefault(judgement.key, []).append(judgement)
            self._said = said
        return self._said

    def other_prediction(self, finding: Finding) -> str:
        """Why an error is not one of the prediction that is open: found in another one, or crop. Empty where it is."""
        crop = self.studio.crop
        if crop is not None and finding.crop not in ("", crop.name):
            return f"This nucleus lies in {finding.crop}, {crop.name} is open: go to it first."
        here = self.studio.counted_in()
        return "" if finding.counts_in(here) else OTHER_PREDICTION

    def judge(self, verdict: str, *, chosen_class: int | None = None, note: str = "") -> bool:
        """Judge the error that is looked at, and go to the next; False where that cannot be (it is said why)."""
        finding = self.finding
        if finding is None:
            return False
        why = self.other_prediction(finding) if self.reader else _NO_NAME
        session = None if why else self.judge_of()
        if session is None:
            self._say(why, "warning")
            return False
        try:
            session.judge(
                verdict, finding, chosen_class=chosen_class, note=note, counted_in=self.studio.counted_in(),
                crop=self.studio.crop,
            )  # fmt: skip
        except MonusacError as error:
            self._say(str(error), "error")
            return False
        self.undoable.append("judgement")
        self.judged.emit()
        self.step(1)
        return True

    def edited(self) -> None:
        """The labels of the error were mended: that can be taken back, and the next one comes."""
        self.undoable.append("edit")
        self.step(1)

    def undo(self) -> Literal["edit", "judgement"] | None:
        """Take back what was done last; an edit is left to whoever edits. None where there is nothing, or it is refused."""
        if not self.undoable:
            return None
        what = self.undoable.pop()
        if what == "judgement":
            session = self.judge_of()
            try:
                judgement = session.undo() if session is not None else None
            except MonusacError as error:
                self._say(str(error), "error")
                return None
            if judgement is None:
                return None
            self.judged.emit()
            self._say(f"Taken back: {judgement.verdict.value}.", "hint")
        return what

    def writing_corrected(self) -> ReviewJob[Path] | None:
        """Write the truth of the open crop as the reader judged it (a job); None where no judgement changes it."""
        comparison, session = self.comparison, self.session
        if comparison is None or comparison.judged is None or session is None:
            return None
        pair = comparison.pair
        return lambda _: session.write_corrected(pair.crop, pair)

    def _say(self, text: str, kind: str) -> None:
        if text:
            self.said.emit(text, kind)

    # ------------------------------------------------------------------ the whole folder

    def scoring(self, rule: AmbiguousRule = "mask", *, training: bool = False) -> ReviewJob[ScoredFolder] | None:
        """Score the crops of the folder that have truth and prediction (a job); None where a folder is missing."""
        collection, predictions = self.studio.collection, self.predictions
        if collection is None or predictions is None:
            return None

        return partial(jobs.score_folder, collection.root, predictions, rule=rule, training=training)

    def guarding(self, before: Path, after: Path, *, training: bool = False) -> ReviewJob[Guard] | None:
        """Compare two models nucleus by nucleus (a job); a checkpoint predicts the labelled crops first."""
        collection = self.studio.collection
        if collection is None:
            return None
        cache = self.folder / "guard" if self.predictions is not None else self.folder.parent / "napari-monusac-guard"

        return partial(jobs.guard_models, collection, before, after, cache, training=training)

    def readers(self) -> tuple[str, ...]:
        """Who has judged here."""
        from napari_monusac.review.judgements import readers_of

        return readers_of(self.folder)

    def comparing_readers(self, first: str, second: str) -> ReviewJob[tuple[ReaderAgreement, float | None]]:
        """See how far two readers agree (a job)."""
        where = self.folder, self.studio.collection, self.predictions
        return partial(jobs.compare_two_readers, *where, (first, second))

    def writing_report(self) -> ReviewJob[Path] | None:
        """Write the report of the folder's scores, or of the open crop while there are none (a job)."""
        crop, latest = self.studio.crop, self.studio.last_prediction
        if self.scored is not None:
            return partial(jobs.report_of_folder, self.scored, self.folder)
        if self.comparison is None:
            return None
        annotation, prediction = (
            crop.annotation if crop is not None else None,
            latest[0] if latest is not None else None,
        )
        return partial(jobs.report_of_crop, self.comparison, annotation, prediction, self.folder)
