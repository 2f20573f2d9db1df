"""Opening editing sessions in the background, one after the other. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari_monusac.app.place import open_session
from napari_monusac.app.work import Report, Task, Work

if TYPE_CHECKING:
    from napari_monusac.app.place import Place
    from napari_monusac.editing.disk.restoring import RestorePolicy
    from napari_monusac.editing.session import EditingSession

P = TypeVar("P")


@dataclass(frozen=True, slots=True, eq=False)
class WantedSession(Generic[P]):
    """What is to be opened.

    Attributes
    ----------
    place : Place
    author : str
        Who edits.
    prepare : callable
        Makes what the view needs of the session, in the same thread.
    restore : {"auto", "base", "discard"}
        What becomes of unsaved edits.
    """

    place: Place
    author: str
    prepare: Callable[[EditingSession], P]
    restore: RestorePolicy = "auto"


class SessionOpener(Generic[P]):
    """Opens one session at a time: a journal is locked while it is read, so two openings must not cross.

    A session that nobody takes any more (another crop was asked for, the window or its panels went) is closed.

    Parameters
    ----------
    work : Work
        Of the window.
    owner : object
        Whose session it is: nothing is opened any more once it is gone.
    opened : callable
        Called in the window's thread with (place, session, what was prepared).
    failed : callable
        Called in the window's thread with (place, error).
    """

    def __init__(
        self,
        work: Work,
        owner: object,
        opened: Callable[[Place, EditingSession, P], None],
        failed: Callable[[Place, Exception], None],
    ) -> None:
        self._work, self._owner = work, owner
        self._opened, self._failed = opened, failed
        self._task: Task | None = None
        self._wanted: WantedSession[P] | None = None

    @property
    def busy(self) -> bool:
        """Whether a session is being opened."""
        return self._task is not None

    def ask(self, wanted: WantedSession[P] | None) -> None:
        """Open this session next; one that is being opened is given up. None: only give up."""
        self._wanted = wanted
        if self._task is None:
            self._next()

    def _next(self) -> None:
        wanted = self._wanted
        if wanted is None:
            return

        def work(_: Report) -> tuple[EditingSession, P]:
            session = open_session(wanted.place, wanted.author, wanted.restore)
            try:
                return session, wanted.prepare(session)
            except BaseException:
                session.close()
                raise

        task = self._task = self._work.task(work, self._owner, dropped=_close)
        task.done.connect(lambda made: self._done(wanted, made))
        task.failed.connect(lambda error: self._lost(wanted, error))
        task.finished.connect(self._finished)
        task.start()

    def _done(self, wanted: WantedSession[P], made: tuple[EditingSession, P]) -> None:
        if self._wanted is wanted:
            self._wanted = None
            self._opened(wanted.place, *made)
        else:
            _close(made)

    def _lost(self, wanted: WantedSession[P], error: Exception) -> None:
        if self._wanted is wanted:
            self._wanted = None
            self._failed(wanted.place, error)

    def _finished(self) -> None:
        self._task = None
        self._next()


def _close(made: tuple[EditingSession, Any]) -> None:
    """Let go of a session that nobody takes: another window may edit its crop."""
    made[0].close()
