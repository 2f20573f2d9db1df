"""The dual-head U-Net: one encoder, one shared decoder, spatial dropout once, two heads."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.base.initialization import initialize_head
from torch import Tensor, nn

from napari_monusac.core.errors import RecipeError, ShapeError
from napari_monusac.core.recipe import Decoder, TrainingRecipe
from napari_monusac.network.normalisation import IMAGENET_MEAN, IMAGENET_STD, prepare
from napari_monusac.network.weights import load_encoder_weights

#: Channels of the semantic head: background, epithelial, lymphocyte, neutrophil, macrophage.
SEMANTIC_CHANNELS = 5
#: Channels of the ternary head: background, inside, boundary.
TERNARY_CHANNELS = 3
_DECODERS: dict[Decoder, Any] = {"unet": smp.Unet, "unetplusplus": smp.UnetPlusPlus, "manet": smp.MAnet}


def memory_format_of(device: str | torch.device) -> torch.memory_format:
    """Memory layout of weights and images on a device: channels last, but never on an Apple GPU.

    There batch norm gives wrong gradients in silence for channels-last input (pytorch issue 175189).
    """
    return torch.contiguous_format if str(device).startswith("mps") else torch.channels_last


class DualHeadUnet(nn.Module):
    """A U-Net whose decoder feeds a semantic head (5 classes) and a ternary head (3 classes).

    Parameters
    ----------
    recipe : TrainingRecipe
        `encoder`, `encoder_weights`, `decoder`, `decoder_channels`, `decoder_attention`, `dropout` and `imagenet_norm` are used.
    encoder_weights : str, optional
        Overrides the recipe's: ``"imagenet"``, ``"none"`` or the path of a local file.

    Raises
    ------
    RecipeError
        The encoder is unknown, or cannot be cut to the number of decoder blocks.
    WeightsError
        The encoder's weights cannot be had or do not fit.

    Notes
    -----
    Spatial dropout (`torch.nn.Dropout2d`) acts once, on the decoder's output: both heads miss the same channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, recipe: TrainingRecipe, *, encoder_weights: str | None = None) -> None:
        super().__init__()
        self.encoder, self.decoder = _bare_unet(recipe)
        self.dropout: nn.Module = nn.Dropout2d(recipe.dropout) if recipe.dropout > 0 else nn.Identity()
        width = recipe.decoder_channels[-1]
        self.semantic_head = SegmentationHead(width, SEMANTIC_CHANNELS)
        self.ternary_head = SegmentationHead(width, TERNARY_CHANNELS)
        initialize_head(self.semantic_head)
        initialize_head(self.ternary_head)
        #: Heights and widths must be multiples of this many px.
        self.stride = 2 ** len(recipe.decoder_channels)
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if recipe.imagenet_norm else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", 255.0 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255.0 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        load_encoder_weights(self.encoder, recipe.encoder, encoder_weights or recipe.encoder_weights)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of both heads.

        Parameters
        ----------
        images : float (b, 3, y, x)
            Normalised images, as `prepare` gives them; y and x multiples of `stride` (32 for five decoder blocks).

        Returns
        -------
        semantic : float (b, 5, y, x)
        ternary : float (b, 3, y, x)

        Raises
        ------
        ShapeError
            The images do not have that shape.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % self.stride or images.shape[3] % self.stride:
            raise ShapeError(
                f"images of shape {tuple(images.shape)}",
                f"pass (b, 3, y, x) with y and x multiples of {self.stride}; predict() pads by itself",
            )
        shared = self.dropout(self.decoder(self.encoder(images)))
        return self.semantic_head(shared), self.ternary_head(shared)

    def prepare(self, images: np.ndarray | Tensor) -> Tensor:
        """Normalise a batch on the network's device, in the memory layout that suits it.

        Parameters
        ----------
        images : uint8 (b, y, x, 3)
            RGB.

        Returns
        -------
        float32 (b, 3, y, x)
            ``(pixel - mean) / deviation`` of ImageNet, or ``pixel / 255``.
        """
        batch = prepare(images, self.mean.flatten(), self.std.flatten())
        return batch.contiguous(memory_format=memory_format_of(batch.device))


def _bare_unet(recipe: TrainingRecipe) -> tuple[nn.Module, nn.Module]:
    if ":" in recipe.encoder or "/" in recipe.encoder:  # timm would ask a hub for a description of the network
        raise RecipeError(f"encoder = {recipe.encoder!r}: names a place, no network", _suggestion(""))
    options: dict[str, Any] = {}
    if recipe.decoder_attention != "none":
        options["decoder_attention_type"] = recipe.decoder_attention
    try:
        unet = _DECODERS[recipe.decoder](
            recipe.encoder,
            encoder_depth=len(recipe.decoder_channels),
            encoder_weights=None,
            decoder_channels=recipe.decoder_channels,
            classes=1,
            **options,
        )
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise RecipeError(f"encoder = {recipe.encoder!r}: {_reason(error)}", _suggestion(recipe.encoder)) from error
    return unet.encoder, unet.decoder


def _reason(error: Exception) -> str:
    return "is not known" if isinstance(error, KeyError) or "Unknown model" in str(error) else str(error).split("\n")[0]


def _suggestion(name: str) -> str:
    known = smp.encoders.get_encoder_names()
    if name.startswith("tu-"):
        import timm

        known = [f"tu-{n}" for n in timm.list_models()]
    close = difflib.get_close_matches(name, known, n=3)
    return (
        f"did you mean {', '.join(close)}?"
        if close
        else "use an encoder of segmentation-models-pytorch, for example resnet34"
    )
