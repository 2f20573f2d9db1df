"""The triton trap, and what the rooms import by themselves."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("mapped", [True, False])
def test_triton_is_blocked_where_llvm_is_mapped(monkeypatch, mapped):
    from napari_monusac.network import _triton

    monkeypatch.setattr(_triton, "llvm_is_mapped", lambda: mapped)
    modules = {k: v for k, v in sys.modules.items() if k != "triton"}
    monkeypatch.setattr(_triton, "sys", SimpleNamespace(modules=modules, platform="linux"))
    assert _triton.guard_triton() is mapped
    assert ("triton" in modules) is mapped
    assert _triton.guard_triton() is mapped, "asked twice, the same answer"
    modules["triton"] = object()
    assert _triton.guard_triton() is False, "imported before the viewer: nothing to block"


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
        "import sys; sys.modules['triton'] = None\n"
        "import napari_monusac.learn, torch, segmentation_models_pytorch\n"
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
