"""Torch room: training.

Importing this package does not import torch; `network` is imported first because it closes the triton trap.
"""

import napari_monusac.network  # noqa: F401 - guards against Mesa and triton before torch is imported
