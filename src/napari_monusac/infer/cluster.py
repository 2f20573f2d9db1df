"""A Dask cluster as an executor for many slides. Needs the extra ``[cluster]``."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from napari_monusac.core.errors import MonusacError


def dask_executor(address: str | None = None, client: Any = None) -> Executor:
    """Executor of a Dask cluster; it restarts by itself what a dead worker was at.

    Parameters
    ----------
    address : str
        Of the scheduler, for example ``"tcp://node1:8786"``.
    client : distributed.Client, optional
        A client that exists already.

    Raises
    ------
    MonusacError
        Dask's `distributed` is not installed, or the scheduler does not answer.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MonusacError("distributed is not installed", "pip install 'napari-monusac[cluster]'") from error
    try:
        client = client or Client(address, timeout="15s")  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError) as error:
        raise MonusacError(f"scheduler {address} does not answer", "check the address, and that it runs") from error
    executor: Executor = client.get_executor(pure=False)
    return executor


def cluster_workers(executor: Executor) -> int:
    """How many slides a Dask cluster takes at the same time: its threads, all workers together; at least 1."""
    client = getattr(executor, "_client", None)
    return max(1, sum(client.nthreads().values())) if client is not None else 1
