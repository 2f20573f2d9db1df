"""Every key and button of the Studio, once: what it is called, what it says, where it holds and what it does. No Qt.

Buttons, tooltips, the key map, napari's line at the foot of the window and the guide are views of this table. Keys are
written as Qt does (portable text); what each runs is a method of what the panel offers, as a protocol below says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from napari_monusac.core.classes import AMBIGUOUS, CLASSES, NucleusClass

if TYPE_CHECKING:
    from napari_monusac.editing.commands import Shaping


class Panel(StrEnum):
    """The panels, in the order of their tabs."""

    SLIDES = "Slides"
    ANNOTATE = "Annotate"
    MASKS = "Masks"
    TRAIN = "Train"
    PREDICT = "Predict"
    REVIEW = "Review"


class KeyGroup(StrEnum):
    """Titles of the key map, in its order."""

    CLASSES = "Class"
    ABOUT = "Getting about"
    MENDING = "Mending"
    TOOLS = "Tools"
    SEEING = "Seeing"
    MOUSE = "Mouse"
    REVIEW = "While Review is shown"


class StudioWindow(Protocol):
    """What the keys of the whole window act on."""

    def show_panel(self, name: str) -> object:
        """Bring a panel to the front."""

    def go(self, step: int) -> object:
        """Open the next (1) or the previous (-1) crop."""

    def show_keymap(self) -> object:
        """Open or close the key map."""

    def toggle_hidden(self) -> object:
        """Hide all but the tissue, or show it again."""

    def move_legend(self) -> object:
        """Put the legend into the other corner, away, and back."""

    def snapshot(self) -> object:
        """Write what is seen as a picture."""


class Edits(Protocol):
    """What the keys act on that hold wherever a crop is edited."""

    def undo(self) -> object:
        """Take the last edit back."""

    def redo(self) -> object:
        """Bring the last undone edit back."""

    def save_now(self) -> object:
        """Save the crop."""


class Annotating(Protocol):
    """What the keys and buttons of Annotate act on."""

    def set_class(self, key: int) -> object:
        """Set the class (0 to 5) of the nuclei meant; new ones get it too."""

    def choose_tool(self, tool: str) -> object:
        """Take a tool in hand."""

    def step(self, by: int) -> object:
        """Go to the next (1) or previous (-1) nucleus or audit finding."""

    def split(self) -> object:
        """Split the nucleus meant."""

    def merge(self) -> object:
        """Merge the selected nuclei."""

    def accept(self, *, replace: bool) -> object:
        """Accept the nucleus under the pointer as the model outlines it."""

    def delete(self) -> object:
        """Delete the nuclei meant."""

    def shape(self, how: Shaping) -> object:
        """Change the outline of the nuclei meant."""

    def mend(self) -> object:
        """Mend the audit finding."""

    def toggle_fill(self) -> object:
        """All classes as outlines, or filled."""

    def toggle_fill_of(self) -> object:
        """The class that is meant as outlines, or filled."""

    def select_all(self) -> object:
        """Select every nucleus that the list shows."""

    def note(self) -> object:
        """Write a note on the nuclei meant."""

    def menu(self) -> object:
        """Open the menu of the nuclei meant."""

    def done(self) -> object:
        """Save, and go to the next crop."""

    def end_polygon(self) -> object:
        """Draw the polygon under way."""

    def give_up(self) -> object:
        """Give up the stroke under way; without one, deselect."""

    def pan(self, *, on: bool) -> object:
        """Let the mouse move the slide, or the tool in hand work again."""


class Reviewing(Protocol):
    """What the keys and buttons of Review act on."""

    def step(self, by: int) -> object:
        """Go to the next (1) or previous (-1) error or item of the queue."""

    def set_class(self, number: int) -> object:
        """Give the labelled nucleus this class."""

    def accept(self) -> object:
        """Take the model's nucleus into the labels."""

    def reject(self) -> object:
        """Say that the truth is right."""

    def undo(self) -> object:
        """Take the last judgement or edit back."""

    def toggle_swipe(self) -> object:
        """Begin or end the swipe."""

    def toggle_fill(self) -> object:
        """Nuclei as outlines, or filled."""

    def blink(self, *, on: bool) -> object:
        """Blink truth and prediction."""


class FolderOpening(Protocol):
    """What the buttons act on that begin with a folder of slides."""

    def open_last(self) -> object:
        """Open the folder of the last time."""

    def open_sample(self) -> object:
        """Make synthetic tissue, and open it."""


class Scaling(Protocol):
    """What the button acts on that says how large a pixel is."""

    def use_scale(self) -> object:
        """Show the crop at the chosen scale."""


class PatientSetting(Protocol):
    """What the buttons act on that say whose crop is whose."""

    def begin(self) -> object:
        """Edit the column of patients."""

    def save_column(self) -> object:
        """Keep what stands in the column."""

    def choose_table(self) -> object:
        """Take the patients of a table."""

    def forget(self) -> object:
        """Find patients by name again."""

    def leave(self) -> object:
        """Leave the patients as they are."""


class NameSetting(Protocol):
    """What the button acts on that asks what names of classes mean."""

    def open_dialog(self) -> object:
        """Ask what the names mean."""


class Doctoring(Protocol):
    """What the buttons of the data doctor act on."""

    def examine(self) -> object:
        """Look at every file of the folder."""

    def write_mended(self) -> object:
        """Write copies with what can be put right."""


class MaskWriting(Protocol):
    """What the buttons act on that write masks."""

    def write_layer(self) -> object:
        """Put the map of the chosen width into its layer."""

    def write_crop(self) -> object:
        """Write masks of the open crop."""

    def write_all(self) -> object:
        """Write masks of every labelled crop."""


class MasksShowing(Protocol):
    """What the button acts on that shows the masks that were written."""

    def show_written(self) -> object:
        """Show their folder in the file manager."""


class TrainStarting(Protocol):
    """What the buttons act on that check and start a training."""

    def dry_run(self) -> object:
        """Try everything once."""

    def start_training(self) -> object:
        """Make a run, and train."""


class RunSteering(Protocol):
    """What the buttons of the run under way act on."""

    def toggle_pause(self) -> object:
        """Pause, or go on."""

    def end_run(self) -> object:
        """End, and keep the model."""

    def put_away(self) -> object:
        """Take what it says off the panel."""


class RecipeFiling(Protocol):
    """What the buttons of the form of a training act on."""

    def read_recipe(self) -> object:
        """Take a recipe from a file."""

    def write_recipe(self) -> object:
        """Write a recipe into a file."""

    def choose_weights_file(self) -> object:
        """Take the encoder's weights from a file."""

    def from_scratch(self) -> object:
        """Begin with random weights."""


class RunsListing(Protocol):
    """What the buttons under the table of runs act on: the selected ones."""

    def resume_run(self) -> object:
        """Go on from the last checkpoint."""

    def watch_run(self) -> object:
        """Follow a run of another process."""

    def compare_runs(self) -> object:
        """Lay curves over each other."""

    def toggle_timelapse(self) -> object:
        """Show the pinned crops after each epoch, or take that away."""

    def show_folder(self) -> object:
        """Show the folder in the file manager."""

    def rename_run(self) -> object:
        """Give the run a name."""

    def note_run(self) -> object:
        """Write a note on the run."""

    def remove_runs(self) -> object:
        """Take runs off the list."""

    def restore_runs(self) -> object:
        """Bring back those that were removed last."""


class CurvesKeeping(Protocol):
    """What the buttons under the curves act on."""

    def pop_out(self) -> object:
        """Show the curves in a window of their own."""

    def choose_picture(self) -> object:
        """Save them as a picture."""

    def choose_table(self) -> object:
        """Save their numbers."""


class RunsComparing(Protocol):
    """What the button acts on that ends a comparison of runs."""

    def close_comparison(self) -> object:
        """Show the curves of the training again."""


class ModelChoosing(Protocol):
    """What the buttons beside the list of models act on."""

    def browse_models(self) -> object:
        """Choose a checkpoint."""

    def train_one(self) -> object:
        """Go to Train."""


class RegionDrawing(Protocol):
    """What the button acts on that draws the region to be predicted."""

    def draw_region(self) -> object:
        """Let a rectangle be dragged."""


class Predicting(Protocol):
    """What the button acts on that predicts the open image."""

    def predict(self) -> object:
        """Predict the chosen region."""


class FolderPredicting(Protocol):
    """What the button acts on that predicts the folder."""

    def predict_folder(self) -> object:
        """Predict every crop."""

    def review_written(self) -> object:
        """Go to Review with what was written."""


class NucleiExporting(Protocol):
    """What the buttons act on that write nuclei for other programs."""

    def choose_and_export(self) -> object:
        """Ask for a folder, and write them into it."""

    def show_exported(self) -> object:
        """Show that folder in the file manager."""


class Segmenting(Protocol):
    """What the button acts on that segments a stored prediction again."""

    def segment(self) -> object:
        """Segment its nuclei with the present thresholds."""


class ThresholdFitting(Protocol):
    """What the button acts on that takes the thresholds that were fitted."""

    def take_fitted(self) -> object:
        """Take them."""


class CountSaving(Protocol):
    """What the button acts on that keeps counts."""

    def save_counts(self) -> object:
        """Write them as a table."""


T = TypeVar("T")

#: How a key is called where it is read; all others are called what they are.
_CALLED = {"Return": "Enter", "PgDown": "Page Down", "PgUp": "Page Up", "Del": "Delete", "Esc": "Escape"}
EVERYWHERE = frozenset(Panel)


@dataclass(frozen=True, slots=True)
class Action(Generic[T]):
    """One thing that a key or a button does.

    Attributes
    ----------
    id : str
        Its name, of the panel and what it does.
    text : str
        What its button says.
    tip : str
        What it does, in a sentence without a full stop.
    run : callable
        Does it, on what the panel offers.
    keys : tuple of str
        Its keys, the first of which is told; none where it is a button only.
    when : frozenset of Panel
        The panels in which its keys hold.
    group : KeyGroup, optional
        Where it stands in the key map; nowhere without a key.
    more : str
        What a tooltip says besides.
    brief : str
        A word or two for the line at the foot of the window; empty where it does not stand there.
    end : callable, optional
        Called when the key is let go: `run` holds as long as it is pressed.
    """

    id: str
    text: str
    tip: str
    run: Callable[[T], object]
    keys: tuple[str, ...]
    when: frozenset[Panel]
    group: KeyGroup | None = None
    more: str = ""
    brief: str = ""
    end: Callable[[T], object] | None = None

    @property
    def key(self) -> str:
        """Its first key as it is read: "Ctrl+Z"; empty where it has none."""
        return called(self.keys[0]) if self.keys else ""

    @property
    def label(self) -> str:
        """What its button says, with its key: "Mend (F)"."""
        return f"{self.text} ({self.key})" if self.keys else self.text

    @property
    def line(self) -> str:
        """What the key map and the guide say."""
        return f"{self.text}: {self.tip[:1].lower()}{self.tip[1:]}" if self.group is KeyGroup.TOOLS else self.tip

    @property
    def words(self) -> str:
        """What it does, in whole sentences."""
        return f"{self.tip}. {self.more}" if self.more else f"{self.tip}."

    @property
    def tooltip(self) -> str:
        """What it does, its keys, and what else there is to say."""
        keys = f" ({' or '.join(called(k) for k in self.keys)})" if self.keys else ""
        return f"{self.tip}{keys}{f'. {self.more}' if self.more else ''}"


def called(key: str) -> str:
    """Return how a key is called where it is read: "Page Down"."""
    return _CALLED.get(key, key)


# -- the whole window


def _panel(panel: Panel, at: int) -> Action[StudioWindow]:
    return Action(
        f"window.{panel.lower()}", panel, f"Show {panel}", lambda on: on.show_panel(panel),
        (f"Alt+{at}",), EVERYWHERE, KeyGroup.ABOUT,
    )  # fmt: skip


PANELS: tuple[Action[StudioWindow], ...] = tuple(_panel(panel, at) for at, panel in enumerate(Panel, start=1))
NEXT_CROP: Action[StudioWindow] = Action(
    "window.next_crop", "\u25b6", "Next crop", lambda on: on.go(1), ("PgDown",), EVERYWHERE, KeyGroup.ABOUT
)
PREVIOUS_CROP: Action[StudioWindow] = Action(
    "window.previous_crop", "\u25c0", "Previous crop", lambda on: on.go(-1), ("PgUp",), EVERYWHERE, KeyGroup.ABOUT
)
HIDE: Action[StudioWindow] = Action(
    "window.hide", "Hide", "Hide all but the tissue; once more: show it again", lambda on: on.toggle_hidden(),
    ("H",), EVERYWHERE, KeyGroup.SEEING, brief="hide",
)  # fmt: skip
LEGEND: Action[StudioWindow] = Action(
    "window.legend", "Legend", "The legend in the other corner; once more: away; and back", lambda on: on.move_legend(),
    ("K",), EVERYWHERE, KeyGroup.SEEING,
)  # fmt: skip
SNAPSHOT: Action[StudioWindow] = Action(
    "window.snapshot", "Picture\u2026", "Write what the window shows as a picture (PNG or SVG), with scale bar and legend",
    lambda on: on.snapshot(), ("F9",), EVERYWHERE, KeyGroup.SEEING,
)  # fmt: skip
KEYS: Action[StudioWindow] = Action(
    "window.keys",
    "Keys",
    "This key map",
    lambda on: on.show_keymap(),
    ("?",),
    EVERYWHERE,
    KeyGroup.SEEING,
    brief="all keys",
)
WINDOW: tuple[Action[StudioWindow], ...] = (*PANELS, NEXT_CROP, PREVIOUS_CROP, HIDE, LEGEND, SNAPSHOT, KEYS)

# -- wherever a crop is edited

UNDO: Action[Edits] = Action(
    "edits.undo",
    "Undo",
    "Undo, without limit",
    lambda on: on.undo(),
    ("Ctrl+Z",),
    EVERYWHERE - {Panel.REVIEW},
    KeyGroup.MENDING,
)
REDO: Action[Edits] = Action(
    "edits.redo", "Redo", "Redo", lambda on: on.redo(), ("Ctrl+Shift+Z",), EVERYWHERE, KeyGroup.MENDING
)
SAVE: Action[Edits] = Action(
    "edits.save", "Save", "Save the crop, from each panel while there are unsaved edits", lambda on: on.save_now(),
    ("Ctrl+S",), EVERYWHERE, KeyGroup.MENDING,
    more="The annotation is written whole or not at all; the version before is kept in .monusac/history",
)  # fmt: skip
EDITS: tuple[Action[Edits], ...] = (UNDO, REDO, SAVE)

# -- Annotate

_ANNOTATE = frozenset([Panel.ANNOTATE])


def _class(key: int, name: str) -> Action[Annotating]:
    return Action(
        f"annotate.class_{key}", name, name, lambda on: on.set_class(key), (str(key),), _ANNOTATE, KeyGroup.CLASSES,
        more="The selected nuclei become this, else the one under the pointer; and so do new ones.",
    )  # fmt: skip


#: By the class's key: 1 to 4, then unclassified and regions.
CLASS: dict[int, Action[Annotating]] = {
    **{int(c): _class(int(c), c.label) for c in CLASSES},
    0: _class(0, NucleusClass.UNCLASSIFIED.label),
    5: _class(5, AMBIGUOUS),
}


def _tool(tool: str, key: str, tip: str, more: str = "", group: KeyGroup = KeyGroup.TOOLS) -> Action[Annotating]:
    keys = (key,) if key else ()
    return Action(
        f"annotate.tool_{tool}", tool.capitalize(), tip, lambda on: on.choose_tool(tool), keys, _ANNOTATE, group, more
    )


#: By the tool's name, in the order of the buttons.
TOOL: dict[str, Action[Annotating]] = {
    "pick": _tool(
        "pick", "V", "Click a nucleus to select it, with Shift one more", "Shift+drag: lasso, Ctrl+drag: box."
    ),
    "brush": _tool("brush", "B", "Paint a new nucleus; begin inside one to add to it"),
    "lasso": _tool(
        "lasso", "L", "Draw around a new nucleus", "With Shift: add to the selected one, or the one drawn last."
    ),
    "polygon": _tool(
        "polygon",
        "G",
        "Click corner after corner around a new nucleus",
        "A double click ends it, a right click takes the last corner back.",
    ),
    "wand": _tool(
        "wand",
        "W",
        "Press on a nucleus and drag outwards: it grows over stain like that under the press",
        "As far as the drag; a click grows as far as the last one. Begin inside a nucleus to add to it.",
    ),
    "rectangle": _tool("rectangle", "R", "Drag a rectangle from corner to corner"),
    "ellipse": _tool("ellipse", "Shift+R", "Drag an ellipse from corner to corner of the box around it"),
    "split": _tool("split", "Shift+S", "Draw a stroke across", "Or click a clump: it is split along the dashed line."),
    "merge": _tool("merge", "", "Draw a stroke through nuclei that are one", "Or click one, then the other."),
    "erase": _tool("erase", "E", "Rub out", "What lies below an erased nucleus of the file comes back."),
    "ruler": _tool(
        "ruler", "U", "Drag from one point to another: how far it is, in µm", "The line stays until the next."
    ),
    "accept": _tool(
        "accept",
        "",
        "Click a nucleus: the model's outline of it comes in",
        "Without a prediction of the crop the model looks at that place. Draw around many predicted ones: all above the "
        "confidence come in.",
    ),
}
NEXT: Action[Annotating] = Action(
    "annotate.next", "Next", "Next nucleus or audit finding", lambda on: on.step(1), ("N",), _ANNOTATE, KeyGroup.ABOUT,
    brief="next",
)  # fmt: skip
PREVIOUS: Action[Annotating] = Action(
    "annotate.previous", "Previous", "Previous nucleus or audit finding", lambda on: on.step(-1), ("P",), _ANNOTATE,
    KeyGroup.ABOUT,
)  # fmt: skip
DONE: Action[Annotating] = Action(
    "annotate.done", "Done", "Save, mark this crop as done, and open the next one that nobody has reviewed",
    lambda on: on.done(), ("D",), _ANNOTATE, KeyGroup.ABOUT,
)  # fmt: skip
PAN: Action[Annotating] = Action(
    "annotate.pan", "Move", "Held: move the slide with any tool; the wheel zooms", lambda on: on.pan(on=True), ("Space",),
    _ANNOTATE, KeyGroup.ABOUT, end=lambda on: on.pan(on=False), brief="(held) move",
)  # fmt: skip
GIVE_UP: Action[Annotating] = Action(
    "annotate.give_up", "Give up", "Give up the stroke under way, of any tool; without one: deselect",
    lambda on: on.give_up(), ("Esc",), _ANNOTATE, KeyGroup.ABOUT,
)  # fmt: skip
END_POLYGON: Action[Annotating] = Action(
    "annotate.end_polygon", "End", "End the polygon under way, as a double click does", lambda on: on.end_polygon(),
    ("Return",), _ANNOTATE, KeyGroup.ABOUT,
)  # fmt: skip
DELETE: Action[Annotating] = Action(
    "annotate.delete",
    "Delete",
    "Delete",
    lambda on: on.delete(),
    ("X", "Del"),
    _ANNOTATE,
    KeyGroup.MENDING,
    brief="delete",
)
SPLIT: Action[Annotating] = Action(
    "annotate.split", "Split", "Split where the shape suggests it; else the split tool", lambda on: on.split(), ("S",),
    _ANNOTATE, KeyGroup.MENDING, brief="split",
)  # fmt: skip
MERGE: Action[Annotating] = Action(
    "annotate.merge", "Merge", "Merge the selected; else the merge tool", lambda on: on.merge(), ("M",), _ANNOTATE,
    KeyGroup.MENDING, brief="merge",
)  # fmt: skip
ACCEPT: Action[Annotating] = Action(
    "annotate.accept", "Accept", "Accept the nucleus under the pointer as the model outlines it", lambda on: on.accept(replace=False),
    ("A",), _ANNOTATE, KeyGroup.MENDING,
)  # fmt: skip
ACCEPT_INSTEAD: Action[Annotating] = Action(
    "annotate.accept_instead", "Accept in its place", "Accept it in place of what is there",
    lambda on: on.accept(replace=True), ("Shift+A",), _ANNOTATE, KeyGroup.MENDING,
)  # fmt: skip
MEND_FINDING: Action[Annotating] = Action(
    "annotate.mend",
    "Mend",
    "Mend the audit finding as suggested",
    lambda on: on.mend(),
    ("F",),
    _ANNOTATE,
    KeyGroup.MENDING,
)
SELECT_ALL: Action[Annotating] = Action(
    "annotate.select_all", "Select all", "Select all nuclei that the list of nuclei shows (all of the crop, or what is searched)",
    lambda on: on.select_all(), ("Ctrl+A",), _ANNOTATE, KeyGroup.ABOUT,
)  # fmt: skip
NOTE: Action[Annotating] = Action(
    "annotate.note", "Note", "Write a note on the selected nuclei, else the one under the pointer", lambda on: on.note(),
    ("T",), _ANNOTATE, KeyGroup.MENDING,
)  # fmt: skip
MENU: Action[Annotating] = Action(
    "annotate.menu", "Menu", "The menu of the selected nuclei, else the one under the pointer, as a right click opens it",
    lambda on: on.menu(), ("Shift+F10",), _ANNOTATE, KeyGroup.MENDING,
)  # fmt: skip
FILL: Action[Annotating] = Action(
    "annotate.fill", "Filled", "All classes as outlines, or filled", lambda on: on.toggle_fill(), ("O",), _ANNOTATE,
    KeyGroup.SEEING,
)  # fmt: skip
FILL_OF: Action[Annotating] = Action(
    "annotate.fill_of", "Filled", "Only the class under the pointer, or the chosen one, as outlines or filled",
    lambda on: on.toggle_fill_of(), ("Shift+O",), _ANNOTATE, KeyGroup.SEEING,
)  # fmt: skip


def _shape(how: Shaping, text: str) -> Action[Annotating]:
    tip = f"{text}: the selected nuclei, else the one under the pointer"
    return Action(
        f"annotate.{how.replace(' ', '_')}", text, tip, lambda on: on.shape(how), (), _ANNOTATE, KeyGroup.MENDING
    )


#: What changes the outline of a nucleus; buttons only.
SHAPES: tuple[Action[Annotating], ...] = (
    _shape("grow", "Grow"), _shape("shrink", "Shrink"), _shape("smooth", "Smooth"), _shape("fill holes", "Fill holes"),
)  # fmt: skip
ANNOTATE: tuple[Action[Annotating], ...] = (
    *CLASS.values(), NEXT, PREVIOUS, DELETE, SPLIT, MERGE, ACCEPT, ACCEPT_INSTEAD, MEND_FINDING, *SHAPES, NOTE, MENU, SELECT_ALL, DONE, PAN, GIVE_UP,
    END_POLYGON,
    *TOOL.values(), FILL, FILL_OF,
)  # fmt: skip

# -- Review

_REVIEW = frozenset([Panel.REVIEW])
_AT_ONCE = "Of this crop, at once, as in Annotate."


def _review_class(number: int, name: str) -> Action[Reviewing]:
    return Action(
        f"review.class_{number}", name, f"Make the labelled nucleus {name.lower()}", lambda on: on.set_class(number),
        (str(number),), _REVIEW, KeyGroup.REVIEW, _AT_ONCE,
    )  # fmt: skip


REVIEW_CLASS: dict[int, Action[Reviewing]] = {int(c): _review_class(int(c), c.label) for c in CLASSES}
REVIEW_NEXT: Action[Reviewing] = Action(
    "review.next", "Next", "Next error or item of the queue", lambda on: on.step(1), ("N",), _REVIEW, KeyGroup.REVIEW,
    brief="next",
)  # fmt: skip
REVIEW_PREVIOUS: Action[Reviewing] = Action(
    "review.previous", "Previous", "Previous error or item of the queue", lambda on: on.step(-1), ("P",), _REVIEW,
    KeyGroup.REVIEW, brief="previous",
)  # fmt: skip
REVIEW_ACCEPT: Action[Reviewing] = Action(
    "review.accept", "Accept", "Take the model's nucleus into the labels, in place of what is there",
    lambda on: on.accept(), ("A",), _REVIEW, KeyGroup.REVIEW, _AT_ONCE, brief="accept",
)  # fmt: skip
REVIEW_REJECT: Action[Reviewing] = Action(
    "review.reject", "Reject", "The model is wrong here: the labels stay, the next error comes", lambda on: on.reject(),
    ("X",), _REVIEW, KeyGroup.REVIEW, brief="reject",
)  # fmt: skip
BLINK: Action[Reviewing] = Action(
    "review.blink", "Blink", "Held: blink truth and prediction", lambda on: on.blink(on=True), ("B",), _REVIEW,
    KeyGroup.REVIEW, end=lambda on: on.blink(on=False), brief="(held) blink",
)  # fmt: skip
SWIPE: Action[Reviewing] = Action(
    "review.swipe", "Swipe", "A line that follows the mouse: truth left of it, prediction right of it",
    lambda on: on.toggle_swipe(), ("W",), _REVIEW, KeyGroup.REVIEW,
)  # fmt: skip
REVIEW_FILL: Action[Reviewing] = Action(
    "review.fill",
    "Filled",
    "Nuclei as outlines, or filled",
    lambda on: on.toggle_fill(),
    ("O",),
    _REVIEW,
    KeyGroup.REVIEW,
)
REVIEW_UNDO: Action[Reviewing] = Action(
    "review.undo",
    "Undo",
    "Undo the last judgement or edit",
    lambda on: on.undo(),
    ("Ctrl+Z",),
    _REVIEW,
    KeyGroup.REVIEW,
)
REVIEW: tuple[Action[Reviewing], ...] = (
    REVIEW_NEXT, REVIEW_PREVIOUS, *REVIEW_CLASS.values(), REVIEW_ACCEPT, REVIEW_REJECT, BLINK, SWIPE, REVIEW_FILL, REVIEW_UNDO,
)  # fmt: skip

# -- buttons without a key


def _button(panel: Panel, name: str, text: str, tip: str, run: Callable[[T], object], more: str = "") -> Action[T]:
    return Action(f"{panel.lower()}.{name}", text, tip, run, (), frozenset([panel]), more=more)


OPEN_LAST: Action[FolderOpening] = _button(
    Panel.SLIDES, "open_last", "Open again", "Open the folder of the last time", lambda on: on.open_last()
)
OPEN_SAMPLE: Action[FolderOpening] = _button(
    Panel.SLIDES, "open_sample", "Try it on synthetic tissue", "Four made-up patients with exact outlines",
    lambda on: on.open_sample(), "Nothing is downloaded",
)  # fmt: skip
USE_SCALE: Action[Scaling] = _button(
    Panel.SLIDES, "use_scale", "Use this scale", "Show this crop at this scale until it is closed; its files stay as they are",
    lambda on: on.use_scale(),
)  # fmt: skip
SET_PATIENTS: Action[PatientSetting] = _button(
    Panel.SLIDES, "set_patients", "Set patients…",
    "Say whose crop is whose: no patient stands in training and in validation", lambda on: on.begin(),
)  # fmt: skip
SAVE_PATIENTS: Action[PatientSetting] = _button(
    Panel.SLIDES, "save_patients", "Save patients",
    "Keep these as your word: patients.csv in the folder, or in your own files if it is read-only",
    lambda on: on.save_column(),
)  # fmt: skip
TAKE_PATIENTS: Action[PatientSetting] = _button(
    Panel.SLIDES, "take_patients", "From a table…", "Take a table (.csv) with the columns crop and patient",
    lambda on: on.choose_table(),
)  # fmt: skip
FORGET_PATIENTS: Action[PatientSetting] = _button(
    Panel.SLIDES, "forget_patients", "As found", "Forget the list: patients are found by barcode, folder or name again",
    lambda on: on.forget(),
)  # fmt: skip
LEAVE_PATIENTS: Action[PatientSetting] = _button(
    Panel.SLIDES, "leave_patients", "Cancel", "Leave the patients as they are", lambda on: on.leave()
)
NAME_CLASSES: Action[NameSetting] = _button(
    Panel.SLIDES, "name_classes", "Say what they mean…",
    "Give each name one of the four classes, or Unclassified, Ambiguous, Ignored", lambda on: on.open_dialog(),
)  # fmt: skip
EXAMINE: Action[Doctoring] = _button(
    Panel.SLIDES, "examine", "Check this folder",
    "The data doctor looks at every file of the folder and says what would cost training", lambda on: on.examine(),
)  # fmt: skip
WRITE_MENDED: Action[Doctoring] = _button(
    Panel.SLIDES, "write_mended", "Write mended copies…",
    "Copies with what can be put right; the originals are never touched", lambda on: on.write_mended(),
)  # fmt: skip
WRITE_TERNARY: Action[MaskWriting] = _button(
    Panel.MASKS, "write_layer", "Write ternary layer",
    "Put background, inside and boundary at this width into the layer 'ternary'", lambda on: on.write_layer(),
)  # fmt: skip
WRITE_CROP_MASKS: Action[MaskWriting] = _button(
    Panel.MASKS, "write_crop", "Write this crop's files",
    "Instances, semantic and ternary map of the open crop as .tif, at the width that is chosen above",
    lambda on: on.write_crop(),
)  # fmt: skip
WRITE_MASKS: Action[MaskWriting] = _button(
    Panel.MASKS, "write_folder", "Write masks of the whole folder",
    "Masks of every labelled crop, at the width of the boundary that is chosen above", lambda on: on.write_all(),
)  # fmt: skip
SHOW_MASKS: Action[MasksShowing] = _button(
    Panel.MASKS, "show_written", "Open the folder", "Show the masks that were written, in the file manager",
    lambda on: on.show_written(),
)  # fmt: skip
CHECK: Action[TrainStarting] = _button(
    Panel.TRAIN, "check", "Check", "Open every crop, do one training and one validation step, say how long it will take",
    lambda on: on.dry_run(),
)  # fmt: skip
START: Action[TrainStarting] = _button(
    Panel.TRAIN, "start", "Start training", "Make a new folder for the run and train; the window stays usable",
    lambda on: on.start_training(),
)  # fmt: skip
PAUSE: Action[RunSteering] = _button(
    Panel.TRAIN, "pause", "Pause", "Wait after this batch of patches; what was learned stays, and Go on continues",
    lambda on: on.toggle_pause(),
)  # fmt: skip
STOP: Action[RunSteering] = _button(
    Panel.TRAIN, "stop", "Stop", "End after this batch and keep the model; Resume in the table of runs goes on from there",
    lambda on: on.end_run(),
)  # fmt: skip
PUT_AWAY: Action[RunSteering] = _button(
    Panel.TRAIN, "put_away", "Put this run away",
    "Take its message and its curves off the panel; it stays in the table of runs", lambda on: on.put_away(),
)  # fmt: skip
OPEN_RECIPE: Action[RecipeFiling] = _button(
    Panel.TRAIN, "open_recipe", "Open…", "A recipe of your own (.toml)", lambda on: on.read_recipe()
)
SAVE_RECIPE: Action[RecipeFiling] = _button(
    Panel.TRAIN, "save_recipe", "Save as a new recipe…", "Write these values into a file (.toml) that Open… takes",
    lambda on: on.write_recipe(),
)  # fmt: skip
WEIGHTS_FILE: Action[RecipeFiling] = _button(
    Panel.TRAIN, "weights_file", "From a file…", "Choose a file of this encoder's weights (.safetensors, .pth)",
    lambda on: on.choose_weights_file(),
)  # fmt: skip
FROM_SCRATCH: Action[RecipeFiling] = _button(
    Panel.TRAIN, "from_scratch", "From scratch", "Begin with random weights: it takes more epochs to learn the same",
    lambda on: on.from_scratch(),
)  # fmt: skip
RESUME: Action[RunsListing] = _button(
    Panel.TRAIN, "resume", "Resume", "Go on with a stopped or interrupted run from its last checkpoint",
    lambda on: on.resume_run(),
)  # fmt: skip
WATCH: Action[RunsListing] = _button(
    Panel.TRAIN, "watch", "Watch", "Follow a run that another process is training, and stop it from here",
    lambda on: on.watch_run(),
)  # fmt: skip
COMPARE: Action[RunsListing] = _button(
    Panel.TRAIN, "compare", "Compare",
    "Lay the curves of the selected runs over each other, and see where their recipes differ", lambda on: on.compare_runs(),
)  # fmt: skip
TIMELAPSE: Action[RunsListing] = _button(
    Panel.TRAIN, "timelapse", "Time-lapse",
    "See how the pinned crops were predicted after each epoch, with napari's slider", lambda on: on.toggle_timelapse(),
)  # fmt: skip
SHOW_RUN: Action[RunsListing] = _button(
    Panel.TRAIN, "show_folder", "Folder", "Show the run's folder in the file manager", lambda on: on.show_folder()
)
RENAME_RUN: Action[RunsListing] = _button(
    Panel.TRAIN, "rename_run", "Rename…", "Give the run a name of yours; its folder stays as it is",
    lambda on: on.rename_run(),
)  # fmt: skip
NOTE_RUN: Action[RunsListing] = _button(
    Panel.TRAIN, "note_run", "Note…", "Write down what to remember of the run: it is seen when you point at it",
    lambda on: on.note_run(),
)  # fmt: skip
REMOVE_RUNS: Action[RunsListing] = _button(
    Panel.TRAIN, "remove_runs", "Remove", "Take the selected runs off the list; they are kept aside and can be brought back",
    lambda on: on.remove_runs(),
)  # fmt: skip
RESTORE_RUNS: Action[RunsListing] = _button(
    Panel.TRAIN, "restore_runs", "Bring back", "Put the runs that were removed last into the list again",
    lambda on: on.restore_runs(),
)  # fmt: skip
POP_CURVES: Action[CurvesKeeping] = _button(
    Panel.TRAIN, "pop_curves", "Own window", "Show the curves in a window of their own; closing it brings them back",
    lambda on: on.pop_out(),
)  # fmt: skip
SAVE_PICTURE: Action[CurvesKeeping] = _button(
    Panel.TRAIN, "save_picture", "PNG…", "Save the curves as a picture", lambda on: on.choose_picture()
)
SAVE_CURVES: Action[CurvesKeeping] = _button(
    Panel.TRAIN, "save_curves", "CSV…", "Save the numbers behind the curves: curve, epoch, value",
    lambda on: on.choose_table(),
)  # fmt: skip
CLOSE_COMPARISON: Action[RunsComparing] = _button(
    Panel.TRAIN, "close_comparison", "Close comparison", "Show the curves of the training again",
    lambda on: on.close_comparison(),
)  # fmt: skip
BROWSE_MODELS: Action[ModelChoosing] = _button(
    Panel.PREDICT,
    "browse",
    "Browse…",
    "Choose a checkpoint file (.safetensors) or a packed model (.zip)",
    lambda on: on.browse_models(),
)
TRAIN_ONE: Action[ModelChoosing] = _button(
    Panel.PREDICT, "train_one", "Train one", "There is no trained model yet: the panel Train makes one",
    lambda on: on.train_one(),
)  # fmt: skip
DRAW_REGION: Action[RegionDrawing] = _button(
    Panel.PREDICT, "draw_region", "Draw it", "Then drag a rectangle over the image", lambda on: on.draw_region()
)
PREDICT: Action[Predicting] = _button(
    Panel.PREDICT, "predict", "Predict", "Run the model over the region; its nuclei are shown over the image",
    lambda on: on.predict(),
)  # fmt: skip
PREDICT_FOLDER: Action[FolderPredicting] = _button(
    Panel.PREDICT, "predict_folder", "Predict every crop of the folder",
    "In the background, crop by crop; what is predicted already is skipped", lambda on: on.predict_folder(),
)  # fmt: skip
REVIEW_WRITTEN: Action[FolderPredicting] = _button(
    Panel.PREDICT, "review_written", "Review them",
    "Goes to Review with this folder chosen: scores, errors, and a queue of what is uncertain",
    lambda on: on.review_written(),
)  # fmt: skip
EXPORT_NUCLEI: Action[NucleiExporting] = _button(
    Panel.PREDICT, "export", "Export…", "Choose a folder; the nuclei of every predicted crop are written into it",
    lambda on: on.choose_and_export(),
)  # fmt: skip
SHOW_EXPORTED: Action[NucleiExporting] = _button(
    Panel.PREDICT, "show_exported", "Open the folder", "Show what was written, in the file manager",
    lambda on: on.show_exported(),
)  # fmt: skip
SEGMENT_AGAIN: Action[Segmenting] = _button(
    Panel.PREDICT, "segment", "Segment the nuclei again with these thresholds",
    "Block by block on disk; the network is not asked again", lambda on: on.segment(),
)  # fmt: skip
TAKE_FITTED: Action[ThresholdFitting] = _button(
    Panel.PREDICT, "take_fitted", "Use the fitted thresholds", "Those that scored best on the model's own validation crops",
    lambda on: on.take_fitted(),
)  # fmt: skip
SAVE_COUNTS: Action[CountSaving] = _button(
    Panel.PREDICT, "save_counts", "Save counts as CSV…", "Write this table, with densities and shares, into a file",
    lambda on: on.save_counts(),
)  # fmt: skip
#: What each part of a panel offers as buttons alone.
BUTTONS: tuple[Action[Any], ...] = (
    OPEN_LAST, OPEN_SAMPLE, USE_SCALE, SET_PATIENTS, SAVE_PATIENTS, TAKE_PATIENTS, FORGET_PATIENTS, LEAVE_PATIENTS,
    NAME_CLASSES, EXAMINE, WRITE_MENDED, WRITE_TERNARY, WRITE_CROP_MASKS, WRITE_MASKS, SHOW_MASKS, CHECK, START, PAUSE, STOP, PUT_AWAY, OPEN_RECIPE,
    SAVE_RECIPE, WEIGHTS_FILE, FROM_SCRATCH, RESUME, WATCH, COMPARE, TIMELAPSE, SHOW_RUN, RENAME_RUN, NOTE_RUN, REMOVE_RUNS, RESTORE_RUNS, POP_CURVES,
    SAVE_PICTURE, SAVE_CURVES, CLOSE_COMPARISON,
    BROWSE_MODELS, TRAIN_ONE, DRAW_REGION, PREDICT, PREDICT_FOLDER, REVIEW_WRITTEN, EXPORT_NUCLEI, SHOW_EXPORTED,
    SEGMENT_AGAIN, TAKE_FITTED, SAVE_COUNTS,
)  # fmt: skip

#: All of them.
ACTIONS: tuple[Action[Any], ...] = (*WINDOW, *EDITS, *ANNOTATE, *REVIEW, *BUTTONS)

# -- what is no action: gestures, and keys of napari's that stay as they are

CLICK_ONE_MORE, DRAG_LASSO, DRAG_BOX, CLICK_INSTEAD = "Shift+click", "Shift+drag", "Ctrl+drag", "Shift+click"
SELECT_ROWS = "Ctrl+click"
GESTURES: tuple[tuple[str, str], ...] = (
    ("Click", "Pick: select; with Shift or Ctrl one more"),
    (DRAG_LASSO, "Pick: select with a lasso"),
    (DRAG_BOX, "Pick: select with a box"),
    ("Drag", "Pick: move the slide; begun on a selected nucleus: move that nucleus (all selected ones with it)"),
    ("Right click", "The menu of the nucleus there, or of the selected ones; Polygon: take the last corner back"),
    ("[   ]", "Brush: smaller, larger (napari's own)"),
)

#: What the key map and the guide say of the rule.
RULE = (
    "Keys act on the selected nuclei if they are in view; with none selected, on the nucleus under the pointer. One that was "
    "just drawn is not meant until the pointer has left it. What a key meant flashes."
)


def help_line(panel: Panel) -> str:
    """Return the keys of a panel for one line: "keys: 1-4 class, N next ..."."""
    first, last = CLASSES[0], CLASSES[-1]
    actions: tuple[Action[Any], ...] = (*ANNOTATE, *REVIEW, *WINDOW)
    told = [f"{a.key} {a.brief}" for a in actions if a.brief and panel in a.when]
    return f"keys: {', '.join([f'{int(first)}-{int(last)} class', *told])}"


def keymap() -> list[tuple[KeyGroup, list[tuple[str, str]]]]:
    """Return the key map: title, then (keys as they are read, what they do)."""
    found: list[tuple[KeyGroup, list[tuple[str, str]]]] = []
    for group in KeyGroup:
        lines = [("   ".join(map(called, a.keys)), a.line) for a in ACTIONS if a.keys and a.group is group]
        found.append((group, [*lines, *(GESTURES if group is KeyGroup.MOUSE else ())]))
    return found
