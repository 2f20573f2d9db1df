"""Annotate: outline and classify nuclei with keys and clicks; nothing is ever lost."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_monusac.app.actions import DELETE, DONE, KEYS, REDO, SAVE, SHAPES, UNDO
from napari_monusac.app.editing import AstrayLayer
from napari_monusac.app.improving import RoundStep
from napari_monusac.ui.annotate.accepting import Accepting
from napari_monusac.ui.annotate.density import Densities
from napari_monusac.ui.annotate.keymap import KeyMap
from napari_monusac.ui.annotate.keys import AnnotateActions, Keys
from napari_monusac.ui.annotate.listing import NucleusTable
from napari_monusac.ui.annotate.noting import Noting
from napari_monusac.ui.annotate.parts import ClassButtons, QuestionBar, ToolButtons
from napari_monusac.ui.annotate.region import EditedRegion
from napari_monusac.ui.annotate.saving import Saving, WindowWatch
from napari_monusac.ui.annotate.seeing import Seeing
from napari_monusac.ui.annotate.stepping import Stepping
from napari_monusac.ui.annotate.tools import Toolbox
from napari_monusac.ui.editing.commands import Commands
from napari_monusac.ui.editing.controller import controller_of
from napari_monusac.ui.model import Placed, hear, improving_model
from napari_monusac.ui.widgets import settings as annotate_settings
from napari_monusac.ui.widgets.basic import Section, button_of, calm, column, row
from napari_monusac.ui.widgets.note import Note
from napari_monusac.ui.widgets.settings import ReaderName

_NOTHING = "Open a crop (Slides): its nuclei can then be outlined, classified and mended here."
_POINT = "Point at a nucleus."
_BARE = "Nobody has outlined nuclei in this crop yet."


class AnnotatePanel(QWidget):
    """Outline, classify and mend the nuclei of the open crop.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that shows the crop.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.controller = controller_of(napari_viewer)
        self.model = self.controller.model
        Placed(self, self.model)
        self.commands = Commands(self.controller)
        self.toolbox = Toolbox(self.controller, self.commands, self)
        self.saving = Saving(self.controller, self)
        self._keymap: KeyMap | None = None
        self.watch = WindowWatch(self, self.saving)
        self._has_key = False
        self._build()
        self.actions = AnnotateActions(
            self.commands, self.toolbox, self.stepping, self.seeing, self.saving, self.listing, self.noting
        )
        self.keys = Keys(napari_viewer, self.actions)
        self._connect()
        self._session_changed()

    # -- the form

    def _build(self) -> None:
        self.reader = ReaderName()
        self.reader.setVisible(not annotate_settings.reader())
        self.hint = Note()
        self.begin = calm(QPushButton("Start outlining nuclei"))
        self.astray = Note(kind="warning")
        self.show_again = calm(QPushButton("Show again"))
        self.show_again.setToolTip("The layers come back as they were; edits are kept in any case")
        self.question = QuestionBar()
        self.message = Note()
        self.pointer = Note(_POINT)
        # two lines, always: the buttons below must not move while the pointer does
        self.pointer.setFixedHeight(2 * self.pointer.fontMetrics().lineSpacing() + 10)
        self.classes = ClassButtons()
        self.tools = ToolButtons()
        self.shapes: dict[str, QPushButton] = {a.id: button_of(a) for a in (DELETE, *SHAPES)}
        self.undo, self.redo = calm(QPushButton(UNDO.text)), calm(QPushButton(REDO.text))
        self.save, self.done = button_of(SAVE), button_of(DONE)
        self.train = calm(QPushButton("Train on what I corrected"))
        self.train.setToolTip("Goes on from the last model, with the corrected crops and the other labelled ones")
        self.help = button_of(KEYS)
        self.progress = Note()
        self.accepting = Accepting(self.controller, self.commands)
        self.seeing = Seeing(self.controller)
        self.stepping = Stepping(self.controller, self.commands)
        self.listing = NucleusTable(self.controller, self.commands)
        self.densities = Densities(self.controller)
        self.noting = Noting(self.controller, self.commands, self.listing, self)
        self.region = EditedRegion(self.controller, self.saving)
        self.form = column(
            self.pointer, self.classes, self.tools,
            row(*self.shapes.values()), row(self.undo, self.redo, self.save, self.done), spacing=5,
        )  # fmt: skip
        self.more = column(
            Section("From the prediction", self.accepting),
            Section("Nuclei", self.listing, opened=False), Section("Step through", self.stepping), Section("Density", self.densities, opened=False),
            Section("Seeing", self.seeing),
            row(self.train, self.help), self.progress, spacing=5,
        )  # fmt: skip
        box = QVBoxLayout(self)
        box.setContentsMargins(4, 4, 4, 4)
        # messages stand below the buttons: what is being clicked must not move
        for widget in (
            self.reader, self.hint, self.begin, self.region, self.astray, self.show_again, self.question, self.form, self.message,
            self.noting.line, self.more,
        ):  # fmt: skip
            box.addWidget(widget)
        box.addStretch(1)

    def _connect(self) -> None:
        controller, commands = self.controller, self.commands
        self.reader.given.connect(self._reader_given)
        self.begin.clicked.connect(controller.begin)
        self.show_again.clicked.connect(controller.bring_back)
        self.classes.chosen.connect(self._class_chosen)
        self.tools.chosen.connect(self.toolbox.set_tool)
        self.tools.size_changed.connect(self.toolbox.set_brush_size)
        self.tools.tolerance_changed.connect(self.toolbox.strokes.wand.set_tolerance)
        self.tools.over_changed.connect(self.toolbox.set_over)
        self.toolbox.tool_changed.connect(self.tools.set_current)
        self.toolbox.described.connect(self._describe)
        for action in (DELETE, *SHAPES):
            self.shapes[action.id].clicked.connect(lambda _=False, a=action: a.run(self.actions))
        self.undo.clicked.connect(commands.undo)
        self.redo.clicked.connect(commands.redo)
        self.save.clicked.connect(lambda: self.saving.save())
        self.done.clicked.connect(self.saving.done)
        self.train.clicked.connect(lambda: improving_model(self.viewer).go(RoundStep.RETRAIN))
        self.help.clicked.connect(self.show_keymap)
        self.stepping.stepped.connect(self._describe)
        self.listing.gone_to.connect(self._gone_to)
        self.toolbox.menu_asked.connect(self.noting.right_clicked)
        self.saving.progressed.connect(self.progress.say)
        self.saving.shown = self.isVisible
        self.classes.fill_asked.connect(self.seeing.toggle_fill_of)
        controller.look_changed.connect(self._show_look)
        controller.session_changed.connect(self._session_changed)
        hear(self, self.model.crop_asked, self._crop_asked)
        editing = controller.editing
        hear(self, editing.current_class_changed, self._show_class)
        controller.settled.connect(self._settled)
        hear(self, editing.changed, self._buttons)
        hear(self, editing.said, self.message.say)
        hear(self, editing.astray_changed, self._show_astray)
        hear(self, editing.question_changed, self.question.ask)
        self.question.answered.connect(lambda: setattr(editing, "question", None))
        hear(self, editing.busy_changed, self._buttons)
        hear(self, self.model.palette_changed, self.classes.set_palette)
        self.viewer.layers.events.inserted.connect(self._layers_changed)
        controller.users += 1
        self.destroyed.connect(controller.release)
        self.classes.set_palette(self.model.palette)
        self.tools.set_current(self.toolbox.tool)
        self._show_look()

    def _show_look(self) -> None:
        self.classes.set_filled(self.controller.look.filled)

    # -- shown and hidden

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Mouse and keys are ours while the panel is shown."""
        super().showEvent(event)
        self.toolbox.open()
        self.keys.bind(shown=True)
        self.watch.watch()
        if not self._has_key:
            self.open_keymap_from(self)  # a panel of its own, not in the Studio
        self._layers_changed()

    def open_keymap_from(self, widget: QWidget) -> None:
        """Let its key open the key map wherever in the window the keyboard is, while `widget` is shown."""
        self._has_key = True
        shortcut = QShortcut(QKeySequence(KEYS.keys[0]), widget)
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
        # the Studio and a panel of its own in one window both hear the key
        for heard in (shortcut.activated, shortcut.activatedAmbiguously):
            heard.connect(self.show_keymap)

    def hideEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Give napari its mouse and keys back; undo stays ours."""
        super().hideEvent(event)
        self.toolbox.close()
        self.keys.bind(shown=False)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Keys work while the dock has the focus, too."""
        if not self.keys.pressed(event):
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """The end of a held key."""
        if not self.keys.released(event):
            super().keyReleaseEvent(event)

    def show_keymap(self) -> None:
        """Open or close the key map."""
        if self._keymap is None:
            self._keymap = KeyMap(self)
        self._keymap.toggle()

    def _layers_changed(self, _: object = None) -> None:
        self.keys.bind(shown=self.isVisible())

    # -- the session

    def _session_changed(self) -> None:
        session = self.controller.session
        self.form.setVisible(session is not None)
        self.more.setVisible(session is not None)
        place = self.controller.editing.place
        large = place is not None and place.large
        bare = session is None and place is not None and not self.controller.editing.opening and not large
        opening = place is not None and self.controller.editing.opening
        self.hint.say(
            ""
            if session is not None or large
            else f"Opening the nuclei of {place.name}…"
            if opening and place is not None
            else _BARE
            if bare
            else _NOTHING
        )
        self.begin.setVisible(bare and not self.question.buttons)
        self._show_astray(self.controller.editing.astray)
        self._describe("")
        if self.controller.editing.place is None:
            self.controller.editing.question = None
            self.message.say("")
        self.keys.bind(shown=self.isVisible())
        self.watch.watch()
        self._show_class()
        self._settled()
        self._buttons()

    def _crop_asked(self, crop: Any) -> None:
        """Another crop is being read; its layers, and then its session, come in a moment."""
        if self.controller.session is None:
            self.hint.say(f"Opening {crop.name}…")

    def _show_class(self, _: object = None) -> None:
        if self.controller.session is not None:
            self.classes.set_current(self.controller.editing.current_class)

    def _show_astray(self, astray: tuple[AstrayLayer, ...]) -> None:
        """Say which layers do not show the crop as it is."""
        self.astray.say(f"{', '.join(map(str, astray))}." if astray else "", "warning")
        self.show_again.setVisible(bool(astray))

    def _settled(self) -> None:
        session = self.controller.session
        self.classes.set_counts(session.nuclei.counts() if session is not None else {})

    def _buttons(self, _: object = None) -> None:
        session, busy = self.controller.session, self.controller.busy
        self.undo.setEnabled(session is not None and session.history.can_undo and not busy)
        self.redo.setEnabled(session is not None and session.history.can_redo and not busy)
        self.save.setEnabled(session is not None and session.unsaved and not busy)
        self.done.setEnabled(session is not None and not busy)
        if session is not None:
            self.undo.setToolTip(
                f"Take back: {session.history.undo_name} ({UNDO.key})"
                if session.history.can_undo
                else "Nothing to undo"
            )
            self.redo.setToolTip(
                f"Bring back: {session.history.redo_name} ({REDO.key})" if session.history.can_redo else "Nothing"
            )

    def _reader_given(self, name: str) -> None:
        annotate_settings.set_reader(name)
        if self.controller.session is not None:
            self.controller.session.author = name
        self.reader.hide()
        self.model.tell(f"{name} stands on every edit from now on.", "good")

    def _class_chosen(self, key: int) -> None:
        session = self.controller.session
        if session is not None:
            self.commands.set_class(key, self.commands.selected_in_view())

    def _gone_to(self, label: int) -> None:
        """The reader went to a nucleus of the table: it is shown; the pointer means nothing until it moves."""
        session = self.controller.session
        if session is not None and label in session.maps.boxes:
            self.commands.stepped()
            self.stepping.show_box(session.maps.boxes[label])

    def _describe(self, words: str) -> None:
        self.pointer.say(words or _POINT)
