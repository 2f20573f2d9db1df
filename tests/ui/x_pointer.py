"""A pointer that draws a circle by real X events (XTEST), from a process of its own: `python x_pointer.py x y radius seconds moves`.

The window is not asked whether it is ready for the next move: moves come as a hand makes them.
"""

from __future__ import annotations

import ctypes
import math
import sys
import time


def draw_circle(x: float, y: float, radius: float, seconds: float, moves: int) -> None:
    """Press at the right of a circle, go round with as many moves, and release; px of the screen."""
    x11, xtest = ctypes.CDLL("libX11.so.6"), ctypes.CDLL("libXtst.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    display = ctypes.c_void_p(x11.XOpenDisplay(None))
    if not display:
        raise SystemExit("no X display")

    def flush() -> None:
        x11.XFlush(display)

    def move(at: float) -> None:
        angle = 2 * math.pi * at
        px, py = round(x + radius * math.cos(angle)), round(y + radius * math.sin(angle))
        xtest.XTestFakeMotionEvent(display, -1, px, py, ctypes.c_ulong(0))
        flush()

    move(0)
    time.sleep(0.3)
    xtest.XTestFakeButtonEvent(display, 1, 1, ctypes.c_ulong(0))
    flush()
    begun = time.perf_counter()
    for at in range(1, moves + 1):
        move(at / moves)
        time.sleep(max(0.0, begun + seconds * at / moves - time.perf_counter()))
    xtest.XTestFakeButtonEvent(display, 1, 0, ctypes.c_ulong(0))
    flush()
    x11.XCloseDisplay(display)


if __name__ == "__main__":
    draw_circle(*map(float, sys.argv[1:5]), int(sys.argv[5]))
