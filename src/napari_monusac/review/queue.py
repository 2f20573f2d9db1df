"""The review queue: what a reader looks at next, most uncertain first, with filters, and with progress that is kept.

The items are found once and saved (``queue.json`` in the review folder), so that a second reader gets the very same
queue. Where each reader is, and what they have done, stands in a file of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import SessionError
from napari_monusac.core.files import atomic_write_text
from napari_monusac.scoring.errors.finding import Finding, FindingType, findings_table

if TYPE_CHECKING:
    import pandas as pd

#: Classes that the rare-class lens looks for among the second choices.
RARE_CLASSES = frozenset({NucleusClass.NEUTROPHIL, NucleusClass.MACROPHAGE})
#: Uncertainty of items of which the network says nothing (missed nuclei): between the sure and the uncertain ones.
UNKNOWN_UNCERTAINTY = 0.5
QUEUE_FILE = "queue.json"
#: What queues of before called an uncertain nucleus, and the order by uncertainty.
_OLD_WORDS = {"doubtful": "uncertain", "doubt": "uncertainty"}
_new_word = BeforeValidator(lambda word: _OLD_WORDS.get(word, word) if isinstance(word, str) else word)
Order = Annotated[Literal["uncertainty", "size", "crop"], _new_word]
ItemKind = Annotated[Literal["error", "uncertain"], _new_word]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReviewItem(_Part):
    """One item of the queue: a finding or an uncertain nucleus to look at."""

    kind: ItemKind = Field(
        description="A difference between truth and prediction, or a predicted nucleus to be looked at for its uncertainty"
    )
    finding: Finding = Field(description="Where it is. For an uncertain nucleus: the prediction alone, as if spurious")
    uncertainty: float = Field(
        UNKNOWN_UNCERTAINTY,
        validation_alias=AliasChoices("uncertainty", "doubt"),
        description="0 to 1: disagreement of the heads, entropy, or 1 - confidence",
    )
    second_class: NucleusClass | None = Field(None, description="The network's second choice")
    second_probability: float | None = None

    @property
    def key(self) -> str:
        """A name that stays the same when the queue is built again."""
        return self.finding.key

    @property
    def rare_second_choice(self) -> bool:
        """Whether a neutrophil or macrophage may hide here: the second choice, where the first is a common class."""
        return self.second_class in RARE_CLASSES and self.finding.predicted_class not in RARE_CLASSES


class QueueFilter(_Part):
    """Which items are shown; an empty set means all."""

    kinds: frozenset[ItemKind] = frozenset()
    types: frozenset[FindingType] = Field(frozenset(), description="Of errors; uncertain nuclei have no type")
    classes: frozenset[NucleusClass] = Field(frozenset(), description="True or predicted class")
    patients: frozenset[str] = frozenset()
    crops: frozenset[str] = frozenset()
    lowest_confidence: float = 0.0
    highest_confidence: float = 1.0
    rare_second_choice: bool = Field(False, description="The rare-class lens: second-choice neutrophils, macrophages")
    open_only: bool = Field(False, description="Leave out what this reader has done")

    def keeps(self, item: ReviewItem, done: bool = False) -> bool:
        """Whether an item passes. One without a confidence passes unless the range was narrowed."""
        if (self.open_only and done) or (self.kinds and item.kind not in self.kinds):
            return False
        if self.rare_second_choice and not item.rare_second_choice:
            return False
        return (item.kind == "error" or not self.types) and self.keeps_finding(item.finding)

    def keeps_finding(self, f: Finding) -> bool:
        """Whether an error passes by its type, classes, place and confidence."""
        if self.types and f.type not in self.types:
            return False
        if self.classes and not self.classes & {f.truth_class, f.predicted_class}:
            return False
        if (self.patients and f.patient not in self.patients) or (self.crops and f.crop not in self.crops):
            return False
        narrowed = (self.lowest_confidence, self.highest_confidence) != (0.0, 1.0)
        if f.confidence is None:
            return not narrowed
        return self.lowest_confidence <= f.confidence <= self.highest_confidence


class QueueState(_Part):
    """Where a reader is in the queue."""

    current: str | None = None
    done: frozenset[str] = frozenset()
    done_in: dict[str, str] = Field({}, description="In which prediction (`Finding.counted_in`) each of `done` was")
    filter: QueueFilter = QueueFilter()
    order: Order = "uncertainty"


class _Items(_Part):
    format: Literal[1] = 1
    items: tuple[ReviewItem, ...]


class ReviewQueue:
    """Items in order, with filter, position and what is done.

    Parameters
    ----------
    items : iterable of ReviewItem
        In any order; of two with the same key the first stays.
    folder : str or Path, optional
        Where progress is kept, after every step; without it nothing is written.
    reader : str
        Whose progress it is.

    Raises
    ------
    SessionError
        The progress of this reader is damaged.
    """

    def __init__(self, items: Iterable[ReviewItem], folder: str | Path | None = None, reader: str = "") -> None:
        self.items: dict[str, ReviewItem] = {}
        for item in items:
            self.items.setdefault(item.key, item)
        #: what should be said of it, once it is built
        self.notes: tuple[str, ...] = ()
        self.folder = Path(folder) if folder is not None else None
        self.reader = reader
        self.state = self._fitting(self._read_state())
        self._shown: list[ReviewItem] = []
        self._arrange()

    # ------------------------------------------------------------------ what is shown

    @property
    def shown(self) -> Sequence[ReviewItem]:
        """The items that pass the filter, in order."""
        return self._shown

    @property
    def current(self) -> ReviewItem | None:
        """The item to look at, or None where the filter leaves nothing."""
        index = self.index
        return self._shown[index] if index is not None else None

    @property
    def index(self) -> int | None:
        """The place of the current item among those shown."""
        return self._places.get(self.state.current or "", 0 if self._shown else None)

    @property
    def progress(self) -> tuple[int, int]:
        """How many of the whole queue are done, and how many there are."""
        return len(self.state.done & self.items.keys()), len(self.items)

    @property
    def uncounted(self) -> bool:
        """Whether it was made before queues said in which predictions their nuclei are counted."""
        return any(i.finding.prediction_ids and not i.finding.counted_in for i in self.items.values())

    def holds(self, finding: Finding) -> bool:
        """Whether a finding is one of its items: the same nuclei, counted in the same prediction."""
        return finding.key in self.items and self.items[finding.key].finding.same_as(finding)

    def is_done(self, key: str) -> bool:
        """Whether this reader is done with an item."""
        return key in self.state.done

    def table(self) -> pd.DataFrame:
        """The shown items as a table: the columns of `findings_table`, then kind, uncertainty, second_class, done, key."""
        table = findings_table([i.finding for i in self._shown])
        table.insert(0, "kind", [i.kind for i in self._shown])
        table["uncertainty"] = [i.uncertainty for i in self._shown]
        table["second_class"] = [i.second_class.label if i.second_class is not None else "" for i in self._shown]
        table["done"] = [self.is_done(i.key) for i in self._shown]
        table["key"] = [i.key for i in self._shown]
        return table

    # ------------------------------------------------------------------ moving about

    def step(self, by: int = 1) -> ReviewItem | None:
        """Go `by` items on (or back), around the ends; returns the item to look at."""
        index = self.index
        if index is None:
            return None
        return self.go_to(self._shown[(index + by) % len(self._shown)].key)

    def next_open(self) -> ReviewItem | None:
        """Go to the next shown item that is not done; None where all are."""
        index = self.index
        if index is None:
            return None
        turned = [*self._shown[index + 1 :], *self._shown[: index + 1]]
        following = next((i for i in turned if not self.is_done(i.key)), None)
        return None if following is None else self.go_to(following.key)

    def go_to(self, key: str) -> ReviewItem:
        """Make a shown item the current one.

        Raises
        ------
        SessionError
            It is not shown.
        """
        if key not in self._places:
            raise SessionError(f"{key!r} is not in the queue as it is filtered", "widen the filter")
        self._set(current=key)
        return self.items[key]

    def turn_to(self, finding: Finding) -> None:
        """Make a finding the current item, where it is one of those that are shown."""
        if finding.key in self._places and self.holds(finding):
            self.go_to(finding.key)

    def mark(self, key: str, done: bool = True) -> None:
        """Mark an item as done, or as open again. Where the filter then drops it, the next one becomes current."""
        current, index = self.state.current, self.index
        counted_in = {k: v for k, v in self.state.done_in.items() if k != key}
        if done and key in self.items:
            counted_in[key] = self.items[key].finding.counted_in
        self._set(done=self.state.done | {key} if done else self.state.done - {key}, done_in=counted_in)
        if self.state.filter.open_only:
            self._arrange()
            if current not in self._places and self._shown:
                self._set(current=self._shown[min(index or 0, len(self._shown) - 1)].key)

    def set_filter(self, wanted: QueueFilter) -> None:
        """Show only what passes; the current item stays where it still does."""
        self._set(filter=wanted)
        self._arrange()

    def set_order(self, order: Order) -> None:
        """Order by uncertainty (most uncertain first), by size of the fault (largest first), or crop by crop."""
        self._set(order=order)
        self._arrange()

    def _arrange(self) -> None:
        state = self.state
        kept = [i for i in self.items.values() if state.filter.keeps(i, i.key in state.done)]
        if state.order == "uncertainty":
            kept.sort(key=lambda i: -i.uncertainty)
        elif state.order == "size":
            kept.sort(key=lambda i: -i.finding.size_px)
        else:
            kept.sort(key=lambda i: (i.finding.patient, i.finding.crop, i.finding.centre))
        self._shown = kept
        self._places = {item.key: place for place, item in enumerate(kept)}

    # ------------------------------------------------------------------ files

    def save_items(self) -> None:
        """Write the items, so that the same queue can be opened again and by a second reader.

        Raises
        ------
        SessionError
            The queue has no folder, or it cannot be written.
        """
        if self.folder is None:
            raise SessionError("the queue has no folder", "make it with one")
        _write(self.folder / QUEUE_FILE, _Items(items=tuple(self.items.values())))

    @classmethod
    def open(cls, folder: str | Path, reader: str) -> ReviewQueue:
        """Open a saved queue with the progress of a reader; a new reader begins at its head and sees no one's marks.

        Raises
        ------
        SessionError
            There is no queue, or a file is damaged.
        """
        path = Path(folder) / QUEUE_FILE
        try:
            items = _Items.model_validate_json(path.read_bytes()).items
        except OSError as error:
            raise SessionError(f"{path}: there is no queue ({error.strerror})", "build it first") from error
        except ValidationError as error:
            raise SessionError(f"{path}: is no queue ({error.errors()[0]['msg']})", "build it again") from error
        return cls(items, folder, reader)

    @property
    def state_file(self) -> Path | None:
        """Where this reader's progress stands."""
        return None if self.folder is None else self.folder / f"progress-{quote(self.reader, safe=' ')}.json"

    def _read_state(self) -> QueueState:
        path = self.state_file
        if path is None or not path.exists():
            return QueueState()
        try:
            return QueueState.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise SessionError(
                f"{path}: the progress cannot be read ({str(error).splitlines()[0]})", "move this file away"
            ) from error

    def _fitting(self, state: QueueState) -> QueueState:
        """Progress without the marks on items of the same key that were found in another prediction since."""
        lost = {
            key
            for key in state.done & self.items.keys()
            if not self.items[key].finding.counts_in(state.done_in.get(key, ""))
        }
        if lost:
            were = "1 item was" if len(lost) == 1 else f"{len(lost)} items were"
            self.notes = (f"{were} looked at in another prediction: open again.",)
        kept = {k: v for k, v in state.done_in.items() if k not in lost}
        return state.model_copy(update={"done": state.done - lost, "done_in": kept})

    def _set(self, **values: object) -> None:
        self.state = self.state.model_copy(update=values)
        path = self.state_file
        if path is not None:
            _write(path, self.state)


def _write(path: Path, content: BaseModel) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, content.model_dump_json() + "\n")
    except OSError as error:
        raise SessionError(f"{path}: cannot be written ({error.strerror})", "choose another folder") from error
