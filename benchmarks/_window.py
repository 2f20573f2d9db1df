"""What the benchmarks of a real window share. No benchmark itself."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(true: Callable[[], bool], seconds: float = 300) -> float:
    """Turn the event loop until something is true; the seconds it took."""
    from qtpy.QtWidgets import QApplication

    start = time.perf_counter()
    while not true():
        if time.perf_counter() - start > seconds:
            raise SystemExit("the window did not get there")
        QApplication.processEvents()
        time.sleep(0.001)
    return time.perf_counter() - start
