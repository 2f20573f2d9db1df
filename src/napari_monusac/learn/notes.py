"""What a run tells besides its events: notes of ours, crops that are left out, warnings of libraries; from any thread.

napari shows every Python warning in its window, and freezes when one comes from a worker: those of a run become notes.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOADER_PREFIX = "monusac-loader"


class Notes:
    """Notes that wait to be told.

    Attributes
    ----------
    left_out : dict of str
        Crops that the run goes on without, and why; each is told once.
    """

    def __init__(self) -> None:
        self.left_out: dict[str, str] = {}
        self._waiting: deque[str] = deque()

    def add(self, *messages: str) -> None:
        """Add notes, one line each."""
        self._waiting.extend(messages)

    def leave_out(self, crop: str, reason: object) -> None:
        """Note that the run goes on without a crop."""
        if crop not in self.left_out:
            self.left_out[crop] = str(reason)
            self.add(left_out_note(crop, reason))

    def take(self) -> Iterator[str]:
        """What waits; each note is given out once."""
        while self._waiting:
            yield self._waiting.popleft()

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Note each warning of this thread and of the loader's, once, while the block runs; others go where they went."""
        own = threading.get_ident()
        seen: set[str] = set()
        before = warnings.showwarning

        def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
            if threading.get_ident() != own and not threading.current_thread().name.startswith(_LOADER_PREFIX):
                before(message, category, filename, lineno, file, line)
                return
            if issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning):
                return  # about code, for its developers
            text = f"{category.__name__}: {str(message).splitlines()[0]}" if str(message) else category.__name__
            if text not in seen:
                seen.add(text)
                self.add(text)

        warnings.showwarning = show
        try:
            yield
        finally:
            if warnings.showwarning is show:
                warnings.showwarning = before


def left_out_note(crop: str, reason: object) -> str:
    """What is said of a crop that the run goes on without."""
    return f"crop {crop} is left out: {reason}"
