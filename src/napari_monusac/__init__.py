"""Nucleus segmentation on H&E slides: read, mask, train, predict, review, correct.

The public names are loaded when they are first used: importing this package, or opening a slide, never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and mypy see; a test holds it against `_PUBLIC`
    from napari_monusac.core.classes import NucleusClass as NucleusClass
    from napari_monusac.core.classes import TernaryClass as TernaryClass
    from napari_monusac.core.errors import AnnotationError as AnnotationError
    from napari_monusac.core.errors import Cancelled as Cancelled
    from napari_monusac.core.errors import CheckpointError as CheckpointError
    from napari_monusac.core.errors import CollectionError as CollectionError
    from napari_monusac.core.errors import FileProblem as FileProblem
    from napari_monusac.core.errors import HostileFileError as HostileFileError
    from napari_monusac.core.errors import MonusacError as MonusacError
    from napari_monusac.core.errors import RecipeError as RecipeError
    from napari_monusac.core.errors import RunError as RunError
    from napari_monusac.core.errors import RunLockedError as RunLockedError
    from napari_monusac.core.errors import SessionError as SessionError
    from napari_monusac.core.errors import ShapeError as ShapeError
    from napari_monusac.core.errors import SlideError as SlideError
    from napari_monusac.core.errors import StoreError as StoreError
    from napari_monusac.core.errors import TrainingError as TrainingError
    from napari_monusac.core.errors import WeightsError as WeightsError
    from napari_monusac.core.events import TrainEvent as TrainEvent
    from napari_monusac.core.nuclei import Annotation as Annotation
    from napari_monusac.core.nuclei import Nucleus as Nucleus
    from napari_monusac.core.prediction import Nuclei as Nuclei
    from napari_monusac.core.prediction import Prediction as Prediction
    from napari_monusac.core.recipe import TrainingRecipe as TrainingRecipe
    from napari_monusac.core.recipe import load_recipe as load_recipe
    from napari_monusac.core.recipe import recipe_names as recipe_names
    from napari_monusac.infer.predict import predict as predict
    from napari_monusac.io.annotations.files import read_annotation as read_annotation
    from napari_monusac.io.annotations.files import write_annotation as write_annotation
    from napari_monusac.io.collection.collection import open_collection as open_collection
    from napari_monusac.io.predictions.open import read_prediction as read_prediction
    from napari_monusac.io.runs.run_folder import RunFolder as RunFolder
    from napari_monusac.io.slides.slide import open_slide as open_slide
    from napari_monusac.learn.loop import train as train
    from napari_monusac.masks.instances import instances_from_maps as instances_from_maps
    from napari_monusac.masks.rasterize import LabelMaps as LabelMaps
    from napari_monusac.masks.rasterize import label_maps as label_maps
    from napari_monusac.masks.ternary import ternary_map as ternary_map
    from napari_monusac.network.losses import focal_cross_entropy as focal_cross_entropy
    from napari_monusac.network.losses import soft_dice_loss as soft_dice_loss
    from napari_monusac.network.unet import DualHeadUnet as DualHeadUnet
    from napari_monusac.scoring.errors.findings import find_errors as find_errors
    from napari_monusac.scoring.metrics.panoptic import PanopticQuality as PanopticQuality
    from napari_monusac.scoring.metrics.panoptic import panoptic_quality as panoptic_quality
    from napari_monusac.scoring.report.evaluate import evaluate as evaluate

__version__ = "0.1.0"

_PUBLIC = {
    "MonusacError": "core.errors",
    "FileProblem": "core.errors",
    "AnnotationError": "core.errors",
    "HostileFileError": "core.errors",
    "SlideError": "core.errors",
    "CollectionError": "core.errors",
    "StoreError": "core.errors",
    "CheckpointError": "core.errors",
    "ShapeError": "core.errors",
    "RecipeError": "core.errors",
    "RunError": "core.errors",
    "RunLockedError": "core.errors",
    "TrainingError": "core.errors",
    "WeightsError": "core.errors",
    "SessionError": "core.errors",
    "Cancelled": "core.errors",
    "Annotation": "core.nuclei",
    "Nucleus": "core.nuclei",
    "NucleusClass": "core.classes",
    "Prediction": "core.prediction",
    "TernaryClass": "core.classes",
    "TrainEvent": "core.events",
    "TrainingRecipe": "core.recipe",
    "load_recipe": "core.recipe",
    "recipe_names": "core.recipe",
    "open_collection": "io.collection.collection",
    "open_slide": "io.slides.slide",
    "read_annotation": "io.annotations.files",
    "read_prediction": "io.predictions.open",
    "write_annotation": "io.annotations.files",
    "RunFolder": "io.runs.run_folder",
    "LabelMaps": "masks.rasterize",
    "label_maps": "masks.rasterize",
    "ternary_map": "masks.ternary",
    "Nuclei": "core.prediction",
    "instances_from_maps": "masks.instances",
    "PanopticQuality": "scoring.metrics.panoptic",
    "panoptic_quality": "scoring.metrics.panoptic",
    "evaluate": "scoring.report.evaluate",
    "find_errors": "scoring.errors.findings",
    "DualHeadUnet": "network.unet",
    "focal_cross_entropy": "network.losses",
    "soft_dice_loss": "network.losses",
    "train": "learn.loop",
    "predict": "infer.predict",
}

__all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
