"""Starting napari with the Studio as a child process: the command line itself never imports Qt."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from napari_monusac.cli.shell import tell
from napari_monusac.core.settings import Environment

#: A child that lives this long has found its libraries and its display.
_SETTLED_S = 4.0


def display_is_there() -> bool:
    """Whether a window can be opened: always on macOS and Windows, with DISPLAY or WAYLAND_DISPLAY elsewhere."""
    if sys.platform in {"darwin", "win32"}:
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def studio_command(paths: Sequence[Path]) -> list[str]:
    """Build the command that opens paths in napari with the Studio beside them."""
    opened = [str(p) for p in paths]
    return [
        sys.executable,
        "-m",
        "napari",
        *opened,
        "--plugin",
        "napari-monusac",
        "-w",
        "napari-monusac",
        "MoNuSAC Studio",
    ]


def open_studio(paths: Sequence[Path], hints: Environment, *, wait: bool) -> int:
    """Start napari and either wait for its window to close or let it go on by itself.

    Parameters
    ----------
    paths : sequence of Path
        What to open.
    hints : Environment
        Settings that the Studio begins with.
    wait : bool
        Wait until napari closes; else only until it has started.

    Returns
    -------
    int
        Exit code of napari, 0 while it still runs.
    """
    environment = {**os.environ, **hints.variables()}
    # A session of its own: Ctrl-C in this terminal must not close a window in which somebody works.
    child = subprocess.Popen(studio_command(paths), env=environment, start_new_session=not wait)
    try:
        if wait:
            return child.wait()
        until = time.monotonic() + _SETTLED_S
        while child.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise
    if child.returncode:
        tell(f"napari ended at once with code {child.returncode}: try `{sys.executable} -m napari --info`")
    return child.returncode or 0
