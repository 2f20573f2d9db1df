"""Torch room: what a model is: network, losses, weights, checkpoint, device.

Importing this package does not import torch; it closes the triton trap and keeps albumentations from calling home.
"""

import os

from napari_monusac.network._triton import guard_triton

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
guard_triton()
