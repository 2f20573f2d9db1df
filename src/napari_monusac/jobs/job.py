"""A training job in a thread of this process or in a child process: same folder, same events, same controls.

Both are followed through ``events.jsonl``, so whoever opens the run folder later sees what the first follower saw.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Literal

import psutil

from napari_monusac.core.errors import RunError
from napari_monusac.core.events import RunEnded, TrainEvent
from napari_monusac.io.runs.history import parse_lines, without_superseded
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.jobs.follow import follow_events
from napari_monusac.jobs.sinks import played, tensorboard_of

Where = Literal["thread", "child"]
_LOG_LINES = 3


class Job(ABC):
    """A training run at work, or one that ended.

    Attributes
    ----------
    run : RunFolder
    """

    def __init__(self, run: RunFolder, *, history: bool = False) -> None:
        self.run = run
        self._history = history
        self._offset = run.events_file.stat().st_size if run.events_file.exists() else 0

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether the job is at work (or about to be)."""

    @abstractmethod
    def _silent_end(self) -> RunEnded:
        """What to tell of a job that ended without telling anything itself."""

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The process that trains, or None when there is none."""

    def events(self, should_stop: Callable[[], bool] | None = None) -> Iterator[TrainEvent]:
        """Follow the job; blocks between events.

        Parameters
        ----------
        should_stop : callable, optional
            At True following ends (not the job): use `stop` to stop the job.

        Yields
        ------
        TrainEvent
            An attached job begins with what happened before. The last one is a `RunEnded`, also where the process was
            killed and could not say so.
        """
        if self._history:
            ended = not self.is_running
            before, self._offset = self._past()
            yield from (e for e in before if ended or not isinstance(e, RunEnded))
            if ended and before and isinstance(before[-1], RunEnded):
                return
        for event in follow_events(self.run.events_file, self._offset, lambda: self.is_running, should_stop):
            yield event
            if isinstance(event, RunEnded):
                return
        if not (should_stop and should_stop()):
            yield self._silent_end()

    def _past(self) -> tuple[list[TrainEvent], int]:
        """What was written so far, and how many bytes that is."""
        try:
            content = self.run.events_file.read_bytes()
        except FileNotFoundError:
            return [], 0
        whole = content.rfind(b"\n") + 1
        return without_superseded(list(parse_lines(content[:whole]))), whole

    def stop(self) -> None:
        """Ask it to save and end; it does so within one batch."""
        self.run.request_stop()

    def pause(self) -> None:
        """Ask it to save and wait."""
        self.run.request_pause()

    def resume(self) -> None:
        """Let it go on after a pause."""
        self.run.request_resume()

    def memory_mib(self) -> float | None:
        """Memory of the process that trains, in MiB; None when there is none."""
        pid = self.pid
        if pid is None:
            return None
        try:
            return psutil.Process(pid).memory_info().rss / 2**20
        except psutil.Error:
            return None


class ThreadJob(Job):
    """Trains in a thread of this process; torch is left all cores but one.

    Parameters
    ----------
    run : RunFolder
    device : str
    threads : int, optional
        Threads of torch.
    tensorboard : bool
        Write curves for TensorBoard, too.
    """

    def __init__(
        self, run: RunFolder, device: str = "auto", threads: int | None = None, *, tensorboard: bool = False
    ) -> None:
        super().__init__(run)
        self._device, self._threads, self._tensorboard = device, threads, tensorboard
        self._end: RunEnded | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="monusac-training")
        self._thread.start()

    def _work(self) -> None:
        from napari_monusac.learn.loop import train

        events = train(self.run.recipe, self.run, self._stop.is_set, device=self._device, threads=self._threads)
        for event in played(events, *tensorboard_of(self.run, wanted=self._tensorboard)):
            if isinstance(event, RunEnded):
                self._end = event

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    @property
    def pid(self) -> int | None:
        """The process of the caller, while the thread lives."""
        return os.getpid() if self.is_running else None

    def stop(self) -> None:
        """Ask it to save and end; it does so within one batch (also where the disk is full)."""
        self._stop.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the thread; whether it has ended."""
        self._thread.join(timeout_s)
        return not self.is_running

    def _silent_end(self) -> RunEnded:
        return self._end or RunEnded(reason="failed", message="the training thread ended without a word")


class ChildJob(Job):
    """Trains in a process of its own, which goes on when this one ends.

    Parameters
    ----------
    run : RunFolder
    process : Popen, optional
        The child, where this process started it.
    history : bool
        Whether `events` begins with what happened before.
    """

    def __init__(
        self, run: RunFolder, process: subprocess.Popen[bytes] | None = None, *, history: bool = False
    ) -> None:
        super().__init__(run, history=history)
        self._process = process

    @classmethod
    def start(
        cls, run: RunFolder, device: str = "auto", threads: int | None = None, *, tensorboard: bool = False
    ) -> ChildJob:
        """Start ``python -m napari_monusac train`` on a run folder, detached from this process.

        Raises
        ------
        RunError
            The process cannot be started.
        """
        command = [sys.executable, "-m", "napari_monusac", "train", "--resume", "--run", str(run.path)]
        command += ["--device", device, *(["--threads", str(threads)] if threads else [])]
        command += ["--tensorboard"] if tensorboard else []
        job = cls(run)
        try:
            with (run.path / "child.log").open("ab") as log:
                job._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=run.path, **_detached()
                )
            run.record_child(job._process.pid)
        except (OSError, psutil.Error) as error:
            problem = f"the training process cannot be started ({error})"
            raise RunError(run.path, problem, "train in a thread") from error
        return job

    @property
    def is_running(self) -> bool:
        """Whether the process lives, whoever started it."""
        if self._process is not None:
            return self._process.poll() is None
        return self.run.status in {"starting", "running", "paused"}

    @property
    def pid(self) -> int | None:
        """The process that trains."""
        return self.run.writer_pid()

    def _silent_end(self) -> RunEnded:
        text = ""
        with suppress(OSError):
            text = (self.run.path / "child.log").read_text("utf-8", errors="replace")
        last = " / ".join(line.strip() for line in text.splitlines()[-_LOG_LINES:] if line.strip())
        code = self._process.returncode if self._process is not None else None
        how = f"with exit code {code}" if code is not None and code >= 0 else "suddenly"
        more = f": {last}" if last else ""
        return RunEnded(
            reason="failed",
            message=f"the training process ended {how}{more} — resume the run; it lost at most one epoch",
        )


def start_job(
    run: RunFolder,
    where: Where = "thread",
    device: str = "auto",
    threads: int | None = None,
    *,
    tensorboard: bool = False,
) -> Job:
    """Start (or go on with) the training of a run folder.

    Parameters
    ----------
    run : RunFolder
    where : {"thread", "child"}
        In a thread of this process, or in a child process that goes on when this one ends.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    threads : int, optional
        Threads of torch; by default one core less than there are in a thread, all of them in a child.
    tensorboard : bool
        Write curves for TensorBoard into the run folder, too.

    Raises
    ------
    RunError
        The child cannot be started.
    """
    if where == "thread":
        return ThreadJob(run, device, threads, tensorboard=tensorboard)
    return ChildJob.start(run, device, threads, tensorboard=tensorboard)


def attach_job(run: RunFolder) -> Job:
    """Follow a run that another process trains, or that has ended; `Job.events` begins with what happened before."""
    return ChildJob(run, history=True)


def _detached() -> dict[str, Any]:
    """How to start a process that neither dies nor is interrupted with this one."""
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        return {"creationflags": flags}
    return {"start_new_session": True}


__all__ = ["ChildJob", "Job", "ThreadJob", "attach_job", "start_job"]
