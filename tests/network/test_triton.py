"""The triton trap, and what the rooms import by themselves."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.torch


def test_triton_is_refused_while_llvm_is_mapped(monkeypatch):
    """Asked at each import: torch may have been imported long before the viewer, and ask for triton after it."""
    from napari_monusac.network import _triton

    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, _triton._TritonGuard)])
    for name in [m for m in sys.modules if m.split(".")[0] == "triton"]:  # torch may have imported it
        monkeypatch.delitem(sys.modules, name)
    _triton.guard_triton()
    _triton.guard_triton()
    (guard,) = (f for f in sys.meta_path if isinstance(f, _triton._TritonGuard))
    assert guard is sys.meta_path[0]
    monkeypatch.setattr(_triton, "llvm_is_mapped", lambda: False)
    assert guard.find_spec("triton") is None, "without a viewer others look for it"
    monkeypatch.setattr(_triton, "llvm_is_mapped", lambda: True)
    for name in ("triton", "triton.language"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    assert guard.find_spec("json") is None


def test_llvm_is_looked_for_in_the_maps_of_this_process(tmp_path):
    from napari_monusac.network._triton import llvm_is_mapped

    file = tmp_path / "maps"
    file.write_text("7f00-7f01 r-xp 0 08:01 1 /usr/lib/libLLVM.so.19.1\n")
    assert llvm_is_mapped(file)
    file.write_text("7f00-7f01 r-xp 0 08:01 1 /usr/lib/libc.so.6\n")
    assert not llvm_is_mapped(file)
    assert not llvm_is_mapped(tmp_path / "nowhere")


def test_torch_works_with_triton_blocked():
    code = (
        "import napari_monusac.learn, napari_monusac.network._triton as guard\n"
        "import torch\n"  # before the viewer
        "guard.llvm_is_mapped = lambda: True\n"
        "import segmentation_models_pytorch, torch._dynamo, sys\n"
        "assert 'triton' not in sys.modules\n"
        "torch.optim.AdamW([torch.zeros(1, requires_grad=True)])\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_the_rooms_import_neither_torch_nor_qt_by_themselves():
    code = (
        "import sys, napari_monusac.learn, napari_monusac.jobs.job, napari_monusac.jobs.sinks, napari_monusac.io.runs.run_folder\n"
        "bad = {'torch', 'albumentations', 'qtpy', 'napari'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
