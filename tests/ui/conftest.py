"""A real napari window, a small synthetic folder, and a small trained model for the tests of the panels."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

#: Fixtures that need a display, also through others.
_NEED_A_DISPLAY = {"make_napari_viewer", "make_napari_viewer_proxy", "qtbot", "qapp"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives a window, or has a widget, in this folder; layers and words need none."""
    for item in items:
        here = Path(str(item.fspath)).is_relative_to(Path(__file__).parent)
        if here and _NEED_A_DISPLAY & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.gui)


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remembered folders go to a file of the test's own."""
    monkeypatch.setenv("MONUSAC_SETTINGS", str(tmp_path / "settings.ini"))


@pytest.fixture(autouse=True)
def closed_windows_are_not_walked(own_settings: None) -> Iterator[None]:
    """What a test leaves is frozen: napari's theme keeps closed windows, and its many ``gc.collect`` would walk them all.

    It ends after ``make_napari_viewer``, whose own check for leaked viewers is thus as strict as ever.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tissue_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic patients in MoNuSAC's layout, with a blank and an umlaut in the name."""
    from napari_monusac.synth import write_collection

    folder = tmp_path_factory.mktemp("Gewebe für Tests")
    write_collection(folder, 3, 2, seed=3, shape=(160, 192), test_patients=1)
    return folder


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    """A napari window."""
    return make_napari_viewer(show=True)


@pytest.fixture
def studio(viewer: Any, qtbot: Any, tmp_path: Path) -> Iterator[Any]:
    """The Studio in its dock, with an empty folder of runs."""
    from napari_monusac.ui import model
    from napari_monusac.ui.studio import Studio

    state = model.studio_model(viewer)
    state.training.runs_folder = tmp_path / "runs"
    dock = viewer.window.add_plugin_dock_widget("napari-monusac", "MoNuSAC Studio")[1]
    assert isinstance(dock, Studio)
    yield dock
    state.work.stop()
    wait_for_tasks(qtbot)
    if state.editing.session is not None:
        # edits of a test must not come back in the next one: the folder is shared
        state.editing.session.close(discard=True)
    model.forget(viewer)


def wait_for_tasks(qtbot: Any, timeout_s: float = 60) -> None:
    """Wait until no background task is running."""
    end = time.monotonic() + timeout_s
    while running_tasks() and time.monotonic() < end:
        qtbot.wait(20)
    assert not running_tasks(), "a background task did not end"
    qtbot.wait(20)


def running_tasks() -> list[Any]:
    """The tasks of every window whose end was not told yet."""
    from napari_monusac.ui.model import works

    return [task for work in works() for task in work.running]


@pytest.fixture
def opened(studio: Any, qtbot: Any, tissue_folder: Path) -> Any:
    """The Studio with the synthetic folder listed and its first crop open."""
    studio.panels["Slides"].open_folder(tissue_folder)
    qtbot.waitUntil(lambda: studio.model.crop is not None, timeout=60_000)
    wait_for_tasks(qtbot)
    return studio


@pytest.fixture(scope="session")
def tiny_recipe() -> Any:
    """A recipe that trains in seconds."""
    from napari_monusac.core.recipe import load_recipe

    return load_recipe("quick").with_values(
        name="tiny",
        patch_size=64,
        batch_size=2,
        epochs=3,
        steps_per_epoch=4,
        decoder_channels=(32, 16, 16, 8, 8),
        precision="float32",
    )


@pytest.fixture(scope="session")
def tiny_run(tissue_folder: Path, tiny_recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished small run."""
    from napari_monusac.io.collection.collection import open_collection
    from napari_monusac.io.runs.run_folder import RunFolder
    from napari_monusac.io.splits import make_split
    from napari_monusac.learn.loop import train

    split = make_split(open_collection(tissue_folder), kind="patient", seed=0)
    run = RunFolder.create(
        tmp_path_factory.mktemp("runs") / "tiny", data=tissue_folder, split=split, recipe=tiny_recipe
    )
    events = list(train(tiny_recipe, run, should_stop=lambda: False, device="cpu"))
    assert events[-1].kind == "run-ended"
    assert events[-1].reason == "completed"
    return run.path


@pytest.fixture
def settle(qtbot: Any) -> Callable[[], None]:
    """A function that waits until no background task is running."""
    return lambda: wait_for_tasks(qtbot)
