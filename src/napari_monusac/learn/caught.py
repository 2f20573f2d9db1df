"""Warnings of libraries, caught in the threads of a training run and nowhere else.

napari shows every Python warning in its window, and freezes when one comes from a worker: ours become events.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOADER_PREFIX = "monusac-loader"


@contextmanager
def caught_warnings() -> Iterator[deque[str]]:
    """Collect the warnings of this thread and the loader's threads while the block runs; others go where they went.

    Yields
    ------
    deque of str
        One line a warning, each once.
    """
    own = threading.get_ident()
    found: deque[str] = deque()
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
            found.append(text)

    warnings.showwarning = show
    try:
        yield found
    finally:
        if warnings.showwarning is show:
            warnings.showwarning = before
