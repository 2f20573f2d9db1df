"""The Mesa and triton trap: importing triton after a viewer that draws with llvmpipe exists kills Python.

Mesa's software renderer maps its own ``libLLVM``; triton brings another one, and their constructors collide.
``torch.optim`` pulls triton in through ``torch._dynamo``. Importing triton *before* the viewer is fine, and so is
telling Python that it does not exist.
"""

from __future__ import annotations

import sys
from pathlib import Path

_MAPS = Path("/proc/self/maps")


def llvm_is_mapped(maps: Path = _MAPS) -> bool:
    """Whether a ``libLLVM`` is mapped into this process (False where ``/proc`` does not exist)."""
    try:
        with maps.open("rb") as file:
            return any(b"libLLVM" in line for line in file)
    except OSError:
        return False


def guard_triton() -> bool:
    """Block triton where importing it would crash; call this before the first import of torch.

    Returns
    -------
    bool
        True where triton is blocked (no ``torch.compile`` in this process; nothing of ours needs it).
    """
    if "triton" in sys.modules:
        return sys.modules["triton"] is None
    if sys.platform.startswith("linux") and llvm_is_mapped():
        sys.modules["triton"] = None  # type: ignore[assignment]
        return True
    return False
