"""Torch room: prediction of images of any size, by training's validation and for the user alike.

Importing this package does not import torch; `network` is imported first because it closes the triton trap.
"""

import napari_monusac.network  # noqa: F401 - guards against Mesa and triton before torch is imported
