"""What the user wants to train, taken from the form before it changes again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_monusac.core.recipe import TrainingRecipe

if TYPE_CHECKING:
    from napari_monusac.io.runs import RunFolder


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What the user wants to run, taken from the form on the Qt thread and used in a worker.

    Attributes
    ----------
    recipe : TrainingRecipe
    data, runs_folder : Path
    split : str
        "patient" or "official".
    where : str
        "thread" or "child".
    device : str
    """

    recipe: TrainingRecipe
    data: Path
    runs_folder: Path
    split: Any
    where: str
    device: str

    def make_run(self, folder: Path | None = None) -> RunFolder:
        """Make the run folder: recipe, data, split.

        Parameters
        ----------
        folder : Path, optional
            Where; by default a new folder named after the time and the recipe.

        Raises
        ------
        MonusacError
            The data cannot be split, or the folder cannot be made.
        """
        from napari_monusac.io.collection import open_collection
        from napari_monusac.io.runs import RunFolder
        from napari_monusac.io.splits import make_split

        split = make_split(open_collection(self.data), kind=self.split, seed=self.recipe.seed)
        if folder is None:
            folder = self.runs_folder / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{self.recipe.name}"
        return RunFolder.create(folder, data=self.data, split=split, recipe=self.recipe)
