"""Torch room: tiled prediction.

Importing this package does not import torch; `learn` is imported first because it closes the triton trap.
"""

import napari_monusac.learn  # noqa: F401 - guards against Mesa and triton before torch is imported
