"""Several processes that train together (``torchrun``): each takes its share of every batch, rank 0 alone writes."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those that train together. One process alone is rank 0 of 1.

    Attributes
    ----------
    rank, count : int
    local : int
        Rank on this machine: the number of its GPU.
    owns_group : bool
        Whether this object started the process group and must end it.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    owns_group: bool = False

    @classmethod
    def connect(cls, device: str) -> Ranks:
        """Join the processes that ``torchrun`` started; alone, nothing happens."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count < 2 or not dist.is_available():
            return cls()
        owns = not dist.is_initialized()
        if owns:
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return cls(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")), owns)

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return the network, wrapped in `DistributedDataParallel` where there are several processes."""
        if self.count == 1:
            return network
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

    def any(self, flag: bool, device: str) -> bool:
        """Whether any process says so; all learn the same answer."""
        if self.count == 1:
            return flag
        value = torch.tensor(float(flag), device=device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value.item())

    def share_buffers(self, network: nn.Module) -> None:
        """Give every process the running statistics of rank 0."""
        if self.count > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)

    def wait(self) -> None:
        """Wait for the others."""
        if self.count > 1:
            dist.barrier()

    def leave(self) -> None:
        """End the process group, if this object started it."""
        if self.owns_group and dist.is_initialized():
            dist.destroy_process_group()
