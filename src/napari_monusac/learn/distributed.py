"""Several processes that train together (``torchrun``): each takes its share of every batch, rank 0 alone writes."""

from __future__ import annotations

import copy
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from napari_monusac.core.errors import TrainingError
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.learn.meeting import Meeting

_LOST = (
    "Connection closed by peer", "Connection reset", "Broken pipe", "Timed out", "timed out", "NCCL", "gloo", "Gloo",
    "aborted", "Socket closed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those that train together. A process alone is rank 0 of 1.

    Attributes
    ----------
    rank, count : int
    local : int
        Rank on this machine: the number of its GPU.
    owns_group : bool
        Whether this object started the process group and must end it.
    meeting : Meeting or None
        Where the processes hear of each other's failures.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    owns_group: bool = False
    meeting: Meeting | None = field(default=None, compare=False)

    @classmethod
    def from_environment(cls) -> Ranks:
        """What ``torchrun`` put into the environment; nothing is started yet."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count < 2 or not dist.is_available():
            return cls()
        rank = int(os.environ.get("RANK", "0"))
        return cls(rank, count, int(os.environ.get("LOCAL_RANK", "0")), meeting=Meeting(rank, count))

    def check_shares(self, recipe: TrainingRecipe) -> None:
        """Check that each process has enough patches of a batch.

        Raises
        ------
        TrainingError
            A process would have none, or too few for batch norm.
        """
        if self.count > recipe.batch_size:
            raise TrainingError(
                f"{self.count} processes cannot share a batch of {recipe.batch_size} patches: some would have none",
                f"start {recipe.batch_size} processes at most, or set batch_size = {self.count} or more",
            )
        smallest = recipe.batch_size // self.count // recipe.accumulate
        if recipe.patch_size == 2 ** len(recipe.decoder_channels) and smallest < 2 and self.count > 1:
            raise TrainingError(
                f"{self.count} processes leave a micro-batch of one patch of {recipe.patch_size} px: batch norm needs more",
                "start fewer processes, or set a larger patch_size or batch_size",
            )

    def connected(self, device: str) -> Ranks:
        """Join the other processes; alone, nothing happens.

        Raises
        ------
        RankFailedError
            One of them has failed before it came, or did not come.
        """
        if self.count == 1 or dist.is_initialized():
            return self
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        backend = "nccl" if device.startswith("cuda") else "gloo"
        if self.meeting is None:
            dist.init_process_group(backend)
            return replace(self, owns_group=True)
        self.meeting.meet()
        dist.init_process_group(backend, store=self.meeting.store(), rank=self.rank, world_size=self.count)
        self.meeting.watch()
        return replace(self, owns_group=True)

    def tell_failure(self, message: str) -> None:
        """Tell the other processes that this one has failed."""
        if self.meeting is not None:
            self.meeting.tell(message)

    def failure(self) -> str:
        """Which other process has failed and why; empty where none has said so."""
        return "" if self.meeting is None else self.meeting.failure()

    def device(self, chosen: str) -> str:
        """The device of this process: with several processes on a machine, each its own GPU."""
        return f"cuda:{self.local}" if self.count > 1 and chosen == "cuda" else chosen

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return the network, wrapped in `DistributedDataParallel` where there are several processes."""
        if self.count == 1:
            return network
        _freeze_unused(network)
        return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False)

    def synchronised(self, model: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients are averaged over the processes in the last micro-batch of a step only."""
        if self.count == 1 or last:
            return nullcontext()
        return model.no_sync()  # type: ignore[operator,no-any-return]

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        return self.sum(values) / self.count if self.count > 1 else values

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the processes."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def highest(self, value: int, device: str) -> int:
        """The highest value of any process; all learn the same answer."""
        if self.count == 1:
            return value
        tensor = torch.tensor(float(value), device=device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor.item())

    def of_first(self, value: int, device: str) -> int:
        """The value of rank 0, in every process."""
        return self.highest(value if self.rank == 0 else -1, device)

    def share_buffers(self, network: nn.Module) -> None:
        """Give every process the running statistics of rank 0."""
        if self.count > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)

    def leave(self) -> None:
        """End the process group, if this object started it."""
        if self.meeting is not None:
            self.meeting.end()
        if self.owns_group and dist.is_initialized():
            dist.destroy_process_group()


def is_lost_rank(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(s in str(error) for s in _LOST)
    )


def _freeze_unused(network: nn.Module) -> None:
    """Parameters without a gradient (stages of an encoder that a U-Net does not use) would make DDP wait for ever."""
    probe = copy.deepcopy(network).train()  # never the running statistics of the real network
    device = next(probe.parameters()).device
    outputs = probe(torch.rand(2, 3, 64, 64, device=device))
    torch.autograd.backward(sum(o.sum() for o in outputs))
    for ours, tried in zip(network.parameters(), probe.parameters(), strict=True):
        ours.requires_grad_(tried.grad is not None)
