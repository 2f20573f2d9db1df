"""The Mesa and triton trap: importing triton after a viewer that draws with llvmpipe exists kills Python.

Mesa's software renderer maps its own ``libLLVM``; triton brings another one, and their constructors collide.
torch and torchvision import triton when they first need ``torch._dynamo``, which may be long after torch itself.
Importing triton *before* the viewer is fine, and so is telling Python that it does not exist.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

_MAPS = Path("/proc/self/maps")


def llvm_is_mapped(maps: Path = _MAPS) -> bool:
    """Tell whether a ``libLLVM`` is mapped into this process (False where ``/proc`` does not exist)."""
    try:
        with maps.open("rb") as file:
            return any(b"libLLVM" in line for line in file)
    except OSError:
        return False


class _TritonGuard(MetaPathFinder):
    """Answers for triton that there is none, where importing it would crash; asked at each first import of it."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname == "triton" and llvm_is_mapped():
            raise ModuleNotFoundError("triton is not imported beside a viewer that Mesa draws", name="triton")
        return None  # the finders after this one look for it


def guard_triton() -> None:
    """Let triton be imported only where that does not crash; called before the first import of torch.

    Where it is refused there is no ``torch.compile`` in this process; nothing of ours needs it.
    """
    if sys.platform.startswith("linux") and not any(isinstance(finder, _TritonGuard) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TritonGuard())
