"""Nucleus segmentation on H&E slides: read, mask, train, predict, review, correct.

The public names are loaded when they are first used: importing this package, or opening a slide, never imports torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Annotation": "core.nuclei",
    "MonusacError": "core.errors",
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
    "write_annotation": "io.annotations.files",
    "RunFolder": "io.runs.run_folder",
    "LabelMaps": "masks.rasterize",
    "label_maps": "masks.rasterize",
    "ternary_map": "masks.ternary",
    "Nuclei": "masks.instances",
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
