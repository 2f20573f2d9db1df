"""What the Train panel says: of a device, a check, a run. No Qt."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from napari_monusac.app.answers import NoteKind
from napari_monusac.app.work import spoken_duration

if TYPE_CHECKING:
    from napari_monusac.app.training import RunProgress
    from napari_monusac.core.events import RunEnded, RunStarted

_SLOW = "long runs take hours: Check says how many, and the recipe quick is a first try."
#: Before anything was asked of the machine.
UNKNOWN_DEVICE = f"Without a GPU, {_SLOW}"
#: From here on a start says how long it will take.
LONG_S = 3600.0


def device_words(device: str, reason: str, *, threads: int = 0) -> str:
    """Say on what a run computes, from what `choose_device` answers."""
    if device.startswith("cuda"):
        name = re.match(r"(.+?), ([\d.]+) of ([\d.]+) GiB free", reason)
        about = f" ({name[1]}, {name[2]} of {name[3]} GiB free)" if name else ""
        return f"Training uses the GPU{about}."
    if device.startswith("mps"):
        return "Training uses the Apple GPU."
    found = re.search(r"(\d+) threads", reason)
    number = threads or (int(found[1]) if found else 0)
    how = f" ({number} thread{'s' if number != 1 else ''})" if number else ""
    first = "No GPU found: training" if "no GPU found" in reason else "Training"
    return f"{first} uses the processor{how}."


def device_answer(device: str, reason: str) -> str:
    """The same before a run: with what to expect where there is no GPU."""
    words = device_words(device, reason)
    return f"{words} There {_SLOW}" if device == "cpu" else words


def run_device_words(event: RunStarted) -> str:
    """Say on what a run that has started computes."""
    return device_words(event.device, event.device_reason, threads=event.threads)


def place_of(device: str) -> str:
    """A device in a word or two."""
    return {"cpu": "on the processor", "mps": "on the Apple GPU"}.get(device.split(":")[0], "on the GPU")


def run_place(progress: RunProgress) -> str:
    """Say on what a `RunProgress` computes, as a sentence; empty before it is known."""
    words = place_of(progress.device.partition(",")[0]) if progress.device else ""
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def check_words(report: Any) -> str:
    """Say what a `DryRunReport` found."""
    lines = []
    if report.device:  # else nothing was read: the network could not be built
        number = "All" if report.crops_opened == report.crops else f"{report.crops_opened} of"
        lines.append(f"{number} {report.crops} crops can be read.")
    if report.seconds_per_epoch is not None and report.seconds_total is not None:
        epochs = (
            f"{report.epochs} epochs of {spoken_duration(report.seconds_per_epoch)}"
            if report.epochs != 1
            else "One epoch"
        )
        lines.append(
            f"{epochs} take{'s' if report.epochs == 1 else ''} about {spoken_duration(report.seconds_total)} "
            f"{place_of(report.device)}, with {report.memory_mib / 1024:.1f} GiB of memory."
        )
    lines += [f"Note: {n}." for n in report.notes]
    lines += [f"Left out: {c}." for c in report.left_out]
    lines += [f"Problem: {p}" for p in report.problems]
    return "\n".join(lines)


def long_start(report: Any) -> str:
    """What stands beside Start where the last check found a long run; empty for a short one."""
    seconds = report.seconds_total
    if seconds is None or seconds <= LONG_S:
        return ""
    return f"Will take about {spoken_duration(seconds)}"


def progress_words(progress: RunProgress) -> str:
    """Say where a run is, from a `RunProgress`."""
    left = "" if progress.paused else spoken_duration(progress.seconds_left)
    best = f", best combo {progress.best_combo:.2f}" if progress.best_combo is not None else ""
    where = "validating" if progress.validating else f"step {progress.step_in_epoch} of {progress.steps_per_epoch}"
    return (
        f"{'Paused. ' if progress.paused else ''}Epoch {progress.epoch} of {progress.epochs}, "
        f"{where}{best}{f', {left} left' if left else ''}."
    )


def end_words(end: RunEnded) -> tuple[str, NoteKind]:
    """Say how a run ended (a `RunEnded`), and the kind of the note."""
    best = f" Best combo {end.best_combo:.2f} (epoch {end.best_epoch})." if end.best_combo is not None else ""
    words = {
        "completed": "Training is done.",
        "stopped": "Stopped; the model is kept and can be resumed.",
        "failed": f"Failed: {end.message}",
    }
    kinds: dict[str, NoteKind] = {"completed": "good", "stopped": "hint", "failed": "error"}
    following = " Next: Predict." if end.best_combo is not None else ""
    return f"{words[end.reason]}{best}{following}", kinds[end.reason]
