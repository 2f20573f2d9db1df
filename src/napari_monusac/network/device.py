"""Where to compute, in which precision, and why; memory that is in use."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache

import numpy as np
import psutil
import torch
from torch import Tensor

from napari_monusac.core.errors import TrainingError
from napari_monusac.core.recipe import TrainingRecipe, load_recipe
from napari_monusac.network.losses import dual_head_loss
from napari_monusac.network.unet import DualHeadUnet, memory_format_of

_MIN_GAIN = 1.05
_PROBE_PATCHES = 2
#: Gradients of one step may differ by this share of their norm. Measured on a CPU: another memory layout 0.01, weights
#: that are off by a millionth 0.06 (run 8), batch norm's gradients in the wrong places 1 or more.
_GRADIENT_TOLERANCE = 0.25
_NO_GRADIENT = 1e-3
#: cuBLAS reads it when it is first used; with this value its sums are the same each time (NVIDIA's cuBLAS guide, 2.1.4).
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


def choose_device(wanted: str = "auto", recipe: TrainingRecipe | None = None) -> tuple[str, str]:
    """Choose where to compute.

    An Apple GPU is chosen by itself only where its gradients are those of the CPU (see `wrong_gradients`).

    Parameters
    ----------
    wanted : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` (or ``"cuda:1"``), ``"mps"``.
    recipe : TrainingRecipe, optional
        Whose network is to be trained.

    Returns
    -------
    device, reason : str
        The reason is for people.

    Raises
    ------
    TrainingError
        The wanted device is not there.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "auto":
        if cuda:
            return "cuda", card_sentence("cuda")
        fault = wrong_gradients("mps", recipe) if mps else f"no GPU found ({_why_no_cuda()})"
        if not fault:
            return "mps", "Apple GPU found, its gradients are those of the CPU"
        return "cpu", f"{fault}; {torch.get_num_threads()} threads"
    kind = wanted.split(":")[0]
    if kind == "cuda" and not cuda:
        raise TrainingError(f"device {wanted!r} is not there ({_why_no_cuda()})", "use auto or cpu")
    if kind == "cuda":
        count, number = torch.cuda.device_count(), wanted.partition(":")[2] or "0"
        if not number.isdecimal() or int(number) >= count:
            raise TrainingError(f"device {wanted!r} is not there", f"use cuda:0 to cuda:{count - 1}, auto or cpu")
    if kind == "mps" and not mps:
        raise TrainingError("device 'mps' is not there", "use auto or cpu")
    if kind not in {"cpu", "cuda", "mps"}:
        raise TrainingError(f"unknown device {wanted!r}", "use auto, cpu, cuda or mps")
    return wanted, "asked for"


def card_sentence(device: str) -> str:
    """Name of a GPU, and how much of its memory is free, for people."""
    free, total = torch.cuda.mem_get_info(device)
    return f"{torch.cuda.get_device_name(device)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def has_bfloat16(device: str) -> bool:
    """Whether a device computes in bfloat16 by itself; torch also imitates it where it would be slow."""
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return not device.startswith("mps")


def _why_no_cuda() -> str:
    return "this torch has no CUDA" if torch.version.cuda is None else "no NVIDIA driver or device"


def wrong_gradients(device: str, recipe: TrainingRecipe | None = None) -> str:
    """Compare the gradients of one training step on a device with those on the CPU.

    Parameters
    ----------
    device : str
    recipe : TrainingRecipe, optional
        Whose network takes the step, with random weights and without dropout; by default a small one.

    Returns
    -------
    str
        What is wrong, for people; empty where they agree. Asked once for each device and network.
    """
    probe = (recipe or load_recipe("quick")).with_values(dropout=0.0, encoder_weights="none", start_from="")
    return _wrong_gradients(device, probe)


@lru_cache(maxsize=8)
def _wrong_gradients(device: str, recipe: TrainingRecipe) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = DualHeadUnet(recipe)
    try:
        there = step_gradients(copy.deepcopy(network), recipe, device)
    except (RuntimeError, NotImplementedError) as error:
        return f"a training step fails on {device} ({str(error).splitlines()[0]})"
    here = step_gradients(network, recipe, "cpu")
    largest = max(float(g.norm()) for g in here.values())
    for name, right in here.items():
        # gradients that ought to be 0 (a bias before batch norm) are rounding on either side
        scale = max(float(right.norm()), _NO_GRADIENT * largest)
        off = float((there[name] - right).norm()) / scale
        if not off < _GRADIENT_TOLERANCE:
            return f"{device} computes wrong gradients ({name} is off by {off:.0%} of the CPU's)"
    return ""


def step_gradients(network: DualHeadUnet, recipe: TrainingRecipe, device: str) -> dict[str, Tensor]:
    """Gradients of the loss of one small batch on a device, by parameter; on the CPU, float64."""
    network = network.to(device).to(memory_format=memory_format_of(device)).train()
    side = 2 * network.stride
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, side, side, 3), np.uint8)
    semantic = torch.from_numpy(rng.integers(0, 5, (2, side, side), np.uint8)).to(device)
    ternary = torch.from_numpy(rng.integers(0, 3, (2, side, side), np.uint8)).to(device)
    logits = network(network.prepare(images))
    torch.autograd.backward(dual_head_loss(logits[0], logits[1], semantic, ternary, recipe).total)
    return {k: p.grad.detach().cpu().double() for k, p in network.named_parameters() if p.grad is not None}


def autocast(device: str, precision: str) -> AbstractContextManager[object]:
    """Return the context in which forward passes run."""
    if precision == "bfloat16":
        return torch.autocast(device.split(":")[0], torch.bfloat16)
    return nullcontext()


def choose_precision(recipe: TrainingRecipe, network: DualHeadUnet, device: str) -> tuple[str, str]:
    """Choose bfloat16 or float32: what the recipe says; bfloat16 on a GPU that has it; on a CPU the faster, timed.

    A GPU is not timed: two patches keep it too little at work to tell, and its bfloat16 is the faster one.

    Returns
    -------
    precision, reason : str
    """
    if recipe.precision != "auto":
        return recipe.precision, f"the recipe says so{_tf32_note(recipe.precision, device)}"
    if device.startswith("mps"):
        return "float32", "Apple GPU"
    if device.startswith("cuda"):
        if has_bfloat16(device):
            return "bfloat16", "this GPU computes in it"
        return "float32", f"this GPU has no bfloat16{_tf32_note('float32', device)}"
    if recipe.deterministic:  # what a clock decides is not the same each time
        return "float32", "not timed, as the recipe is deterministic"
    probe = copy.deepcopy(network).train()  # a step changes running statistics: never those of the real network
    seconds = {p: _step_seconds(probe, recipe, device, p) for p in ("float32", "bfloat16")}
    gain = seconds["float32"] / seconds["bfloat16"]
    chosen = "bfloat16" if gain > _MIN_GAIN else "float32"
    return chosen, f"bfloat16 is {gain:.1f} x as fast as float32 here"


def _tf32_note(precision: str, device: str) -> str:
    """What torch makes of float32 on a GPU, where that is less than it says."""
    if precision != "float32" or not device.startswith("cuda") or torch.cuda.get_device_capability(device)[0] < 8:
        return ""
    return ", its convolutions in TF32 (10 bits)" if torch.backends.cudnn.allow_tf32 else ""


def _step_seconds(network: DualHeadUnet, recipe: TrainingRecipe, device: str, precision: str) -> float:
    """Seconds of the faster of two training steps after one to warm up."""
    size, count = recipe.patch_size, min(_PROBE_PATCHES, recipe.batch_size)
    images = np.random.default_rng(0).integers(0, 255, (count, size, size, 3), np.uint8)
    target = torch.zeros((count, size, size), dtype=torch.uint8, device=device)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with autocast(device, precision):
            semantic, ternary = network(network.prepare(images))
        torch.autograd.backward(dual_head_loss(semantic, ternary, target, target, recipe).total)
        network.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def use_deterministic_algorithms() -> list[str]:
    """Let torch give the same bits each time; `torch_kept` puts it back. To be asked before anything is computed.

    An operation that has no such algorithm is computed all the same; torch warns of it, and the run tells that.

    Returns
    -------
    list of str
        What stands against it.
    """
    late = torch.cuda.is_initialized() and _CUBLAS not in os.environ  # type: ignore[no-untyped-call]
    os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if not late:
        return []
    return ["deterministic: this process has used the GPU before, so sums may still differ: train in its own process"]


@contextmanager
def torch_kept() -> Iterator[None]:
    """Put torch's settings back when the block ends, as they belong to the whole process.

    Its random state, number of threads, and whether its algorithms are deterministic.
    """
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    try:
        yield
    finally:
        torch.set_rng_state(state)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn


@contextmanager
def cudnn_tries(wanted: bool) -> Iterator[None]:
    """Let cuDNN try its ways to compute a convolution and keep the fastest, in the block, where `wanted`.

    It pays where shapes stay the same, as in training: for each new shape it costs as much as some hundred passes.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted or before
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def memory_in_use(device: str = "cpu") -> tuple[float, float | None]:
    """Memory of this process, and what torch holds of the GPU (None without one), in MiB."""
    gpu = torch.cuda.memory_reserved(device) / 2**20 if device.startswith("cuda") else None
    return psutil.Process().memory_info().rss / 2**20, gpu


def has_room(device: str, nbytes: int) -> bool:
    """Whether so many bytes take no more than half of what a device has free."""
    free = torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else psutil.virtual_memory().available
    return 2 * nbytes <= int(free)


def free_gpu_memory() -> None:
    """Give the GPU's cached memory back to other programs, cuBLAS's work space with it."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch._C._cuda_clearCublasWorkspaces()  # so documented in torch's notes on CUDA
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
