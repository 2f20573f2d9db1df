"""One optimiser step: forward, backward, update, average; split into micro-batches where memory is short."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from napari_monusac.core.errors import TrainingError
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.learn.data.augment import sample_seed
from napari_monusac.learn.data.loader import Batch, share_of
from napari_monusac.learn.distributed import Ranks
from napari_monusac.learn.notes import Notes
from napari_monusac.network.device import autocast, cudnn_tries, free_gpu_memory
from napari_monusac.network.losses import dual_head_loss
from napari_monusac.network.unet import DualHeadUnet

_DROPOUT_STREAM = 1 << 20


@dataclass(frozen=True, slots=True)
class StepLosses:
    """Losses of a step, means over its micro-batches."""

    total: float
    semantic: float
    ternary: float


class PendingLosses:
    """Losses of a step that a GPU may still be at work on.

    Parameters
    ----------
    means : float32 (3,)
        Total, semantic and ternary loss, where they are computed.
    step : int
        Number of the step in the run.
    advice : str
        What to do where the loss is no number.
    """

    __slots__ = ("_advice", "_means", "_ready", "_step")

    def __init__(self, means: Tensor, step: int, advice: str) -> None:
        self._step, self._advice, self._ready = step, advice, None
        self._means = means
        if means.is_cuda:  # copied behind the step, so that reading waits for no later one
            self._means = torch.empty(means.shape, dtype=means.dtype, pin_memory=True)
            self._means.copy_(means, non_blocking=True)
            self._ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._ready.record(torch.cuda.current_stream(means.device))

    def read(self) -> StepLosses:
        """Wait for the step, and return its losses.

        Raises
        ------
        TrainingError
            The loss is no number; the step has changed no weight.
        """
        if self._ready is not None:
            self._ready.synchronize()
        total, semantic, ternary = self._means.tolist()
        if not math.isfinite(total):
            raise TrainingError(f"the loss became {total} in step {self._step}", self._advice)
        return StepLosses(total, semantic, ternary)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the GPU or on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        s in text for s in ("out of memory", "not enough memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    )


class Stepper:
    """Takes optimiser steps.

    Parameters
    ----------
    network : DualHeadUnet
    recipe : TrainingRecipe
    device, precision : str
    accumulate : int
        Micro-batches a step is split into.
    ranks : Ranks
        The processes that train together.
    notes : Notes, optional
        Where to say that memory ran out.
    """

    def __init__(
        self,
        network: DualHeadUnet,
        recipe: TrainingRecipe,
        device: str,
        precision: str,
        accumulate: int,
        ranks: Ranks,
        notes: Notes | None = None,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.device, self.precision = device, precision
        self.accumulate = accumulate
        self.ranks = ranks
        self.notes = notes or Notes()
        self._model = ranks.wrapped(network)
        #: Whether a step is still computed when `step` returns: its losses are best read once the next is on its way.
        self.runs_ahead = device.startswith("cuda")
        self._fused = device.startswith(("cpu", "cuda"))
        groups = parameter_groups(network, recipe)
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=self._fused)
        self._averaged: AveragedModel | None = None
        if recipe.ema_decay:
            self._averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))  # type: ignore[no-untyped-call]

    @property
    def judged(self) -> DualHeadUnet:
        """The network that is validated and saved: the average over the steps, where the recipe has one."""
        if self._averaged is None:
            return self.network
        return cast("DualHeadUnet", self._averaged.module)

    def state_dict(self) -> dict[str, Any]:
        """Optimiser, micro-batches, and the network beside the average that is saved."""
        state: dict[str, Any] = {"optimizer": self.optimizer.state_dict()}
        if self._averaged is not None:
            state |= {"network": self.network.state_dict(), "averaged_steps": int(self._averaged.n_averaged)}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; the network holds what was saved then (`judged`)."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self._averaged is not None:
            self._averaged.n_averaged.fill_(state["averaged_steps"])
            self.network.load_state_dict(state["network"])

    def step(self, batch: Batch, lr: float, step: int) -> PendingLosses:
        """Train on one batch; out of memory halves the micro-batch and tries again.

        A loss that is no number changes no weight: the optimiser skips the step, and reading the losses raises.

        Parameters
        ----------
        batch : Batch
            This process's share.
        lr : float
        step : int
            Number of the step in the run; with the seed it decides what dropout drops.

        Raises
        ------
        TrainingError
            There is no memory for a single patch.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
        while True:
            torch.manual_seed(sample_seed(self.recipe.seed, _DROPOUT_STREAM, step) + self.ranks.rank)
            try:
                with cudnn_tries(self.runs_ahead and not self.recipe.deterministic):
                    return self._try(batch, step)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                message = f"{error}".split("\n")[0]
            # Outside of `except`: the traceback would hold the tensors that must go.
            self._halve(message, len(batch))

    def _try(self, batch: Batch, step: int) -> PendingLosses:
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(3, device=self.device)
        parts = min(self.accumulate, len(batch))
        for k in range(parts):
            micro = share_of(len(batch), k, parts)
            with self.ranks.synchronised(self._model, last=k == parts - 1):
                sums += self._micro(batch, micro)
        sums = self.ranks.mean(sums)
        losses = PendingLosses(sums, step, self._advice())
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        if self._fused:  # as torch's GradScaler tells it: the step is skipped where it is computed, nobody waits
            self.optimizer.found_inf = (~torch.isfinite(sums[0])).float()  # type: ignore[attr-defined]
        else:
            losses.read()
        self.optimizer.step()
        if self._averaged is not None:
            self._averaged.update_parameters(self.network)
        return losses

    def _advice(self) -> str:
        return (
            f'lower lr ({self.recipe.lr:g}) or set precision = "float32" (now {self.precision}), then start again; '
            "the last checkpoint is sound"
        )

    def _micro(self, batch: Batch, part: slice) -> Tensor:
        """Forward and backward of one micro-batch, weighted by its share; returns its losses, weighted likewise."""
        images = self.network.prepare(batch.images[part])
        semantic = batch.semantic[part].to(self.device, non_blocking=True)
        ternary = batch.ternary[part].to(self.device, non_blocking=True)
        with autocast(self.device, self.precision):
            logits: tuple[Tensor, Tensor] = self._model(images)
        loss = dual_head_loss(logits[0], logits[1], semantic, ternary, self.recipe)
        weight = len(images) / len(batch)
        torch.autograd.backward(loss.total * weight)
        return torch.stack([loss.total, loss.semantic, loss.ternary]).detach() * weight

    def _halve(self, reason: str, size: int) -> None:
        if self.ranks.count > 1:
            raise TrainingError(
                f"out of memory with several processes ({reason})", "set a larger accumulate or a smaller batch_size"
            )
        if self.accumulate >= size:
            raise TrainingError(
                f"there is no memory for a single patch ({reason})", "set a smaller patch_size or a smaller encoder"
            )
        self.optimizer.zero_grad(set_to_none=True)
        free_gpu_memory()
        self.accumulate = min(size, 2 * self.accumulate)
        patches = math.ceil(size / self.accumulate)
        self.notes.add(f"out of memory: each step is now made of {self.accumulate} micro-batches of {patches} patches")


def parameter_groups(network: DualHeadUnet, recipe: TrainingRecipe) -> list[dict[str, Any]]:
    """Parameters as the optimiser takes them: one group, or one for each learning rate and weight decay.

    Norms and biases are the parameters of one dimension.
    """
    if recipe.encoder_lr_scale == 1 and recipe.decay_norms:
        return [{"params": list(network.parameters())}]
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        scale = recipe.encoder_lr_scale if name.startswith("encoder.") else 1.0
        decay = recipe.weight_decay if recipe.decay_norms or parameter.ndim > 1 else 0.0
        groups.setdefault((scale, decay), []).append(parameter)
    return [{"params": found, "lr_scale": scale, "weight_decay": decay} for (scale, decay), found in groups.items()]
