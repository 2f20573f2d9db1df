"""Encoder weights: from the hub, its cache, a local file, or none; each with a clear message. Offline never hangs."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_monusac.core.errors import WeightsError
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.core.settings import user_folder

HUB = "https://huggingface.co"
_REACH_S = 4.0
_OFFLINE_MEND = (
    "give the path of a local weights file as encoder_weights (or import it once: napari-monusac weights import FILE "
    '--encoder NAME), or "none" to train from scratch'
)
_PREFIX = re.compile(r"^(?:module\.|model\.|encoder\.|backbone\.|net\.|state_dict\.)+")


def load_encoder_weights(encoder: nn.Module, name: str, weights: str) -> int:
    """Load weights into an encoder.

    Parameters
    ----------
    encoder : Module
        An encoder of segmentation-models-pytorch.
    name : str
        Its name (``"resnet34"``, ``"tu-..."``).
    weights : str
        ``"none"``, ``"imagenet"``, or the path of a ``.safetensors`` or ``.pth`` file (timm, torchvision or smp keys).

    Returns
    -------
    int
        Number of tensors loaded.

    Raises
    ------
    WeightsError
        There is no network and nothing in the cache, the file cannot be read, or its tensors do not fit.
    """
    if weights == "none":
        return 0
    state = _from_hub(name) if weights == "imagenet" else read_weights(Path(weights).expanduser())
    source = f"ImageNet weights of {name}" if weights == "imagenet" else weights
    return fit_weights(encoder, state, source, name)


def fit_weights(encoder: nn.Module, state: Mapping[str, Tensor], source: str, name: str) -> int:
    """Load `state` into `encoder`, whatever prefix its keys carry; every tensor of the encoder must be found.

    Raises
    ------
    WeightsError
        A tensor is missing or has another shape; the message counts the ones that fit.
    """
    offered = {_canonical(k): v for k, v in state.items()}
    wanted = encoder.state_dict()
    found = {
        k: offered[_canonical(k)]
        for k, v in wanted.items()
        if _canonical(k) in offered and offered[_canonical(k)].shape == v.shape
    }
    needed = [k for k in wanted if not k.endswith("num_batches_tracked")]
    missing = [k for k in needed if k not in found]
    if missing:
        raise WeightsError(
            f"{source}: {len(needed) - len(missing)} of the {len(needed)} tensors of encoder {name} fit, "
            f"{missing[0]!r} does not",
            "choose the encoder that these weights belong to, or other weights",
        )
    nn.Module.load_state_dict(encoder, {**wanted, **found})
    return len(needed)


def _canonical(key: str) -> str:
    """Strip the prefixes that wrappers add, and undo timm's ``stages_0`` for ``stages.0``."""
    return re.sub(r"_(\d+)\.", r".\1.", _PREFIX.sub("", key))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights: tensors alone, no code of it is run.

    Raises
    ------
    WeightsError
        It is missing, damaged, or holds something else.
    """
    if path == Path():
        raise WeightsError("encoder_weights is empty", _OFFLINE_MEND)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such weights file", "check encoder_weights in the recipe")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise WeightsError(
            f"{path}: cannot be read as weights ({_first_line(error)})", "use a .safetensors or .pth file"
        ) from error
    except Exception as error:  # pickle.UnpicklingError and friends: the file holds something else than tensors
        if type(error).__name__ != "UnpicklingError":
            raise
        raise WeightsError(
            f"{path}: holds more than tensors, refused", "save its state_dict as .safetensors"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path}: holds no table of tensors", "save the encoder's state_dict as .safetensors")
    return dict(state)


def kept_weights(name: str) -> Path:
    """Where the weights of an encoder are kept that were imported; there may be none."""
    return user_folder("work") / "weights" / f"{name.replace('/', '_')}.safetensors"


def in_hub_cache(name: str) -> Path | None:
    """The file of an encoder's ImageNet weights in the cache of the hub's client; None where there is none.

    Asked without the client's download function: that looks its hub up even where it may only look here.
    """
    from huggingface_hub import try_to_load_from_cache

    try:
        repository, file, revision = hub_address(name)
    except (WeightsError, KeyError):  # there are none on the hub
        return None
    found = try_to_load_from_cache(repository, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _from_hub(name: str) -> Mapping[str, Tensor]:
    own = kept_weights(name)
    if own.is_file():
        return read_weights(own)
    try:
        return _fetch(name, local=True)
    except _NotCached:
        pass
    reason = why_offline()
    if reason:
        raise WeightsError(f"ImageNet weights of {name} are not in the cache and {reason}", _OFFLINE_MEND)
    try:
        return _fetch(name, local=False)
    except _NotCached as error:
        raise WeightsError(f"ImageNet weights of {name} cannot be downloaded ({error})", _OFFLINE_MEND) from error


def download_notice(recipe: TrainingRecipe) -> str:
    """What will be downloaded and how large it is, or an empty string where nothing will be (or can be)."""
    if recipe.encoder_weights != "imagenet":
        return ""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    if kept_weights(recipe.encoder).is_file() or in_hub_cache(recipe.encoder) is not None or why_offline():
        return ""
    try:
        repository, file, revision = hub_address(recipe.encoder)
        size = get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=_REACH_S).size or 0
    except Exception:  # noqa: BLE001 - a notice only: loading the weights says what is wrong
        return ""
    return f"downloading ImageNet weights of {recipe.encoder}: {size / 1e6:.0f} MB from huggingface.co/{repository}"


def have_weights(recipe: TrainingRecipe) -> None:
    """Have the weights that a recipe begins with at hand, downloaded where they must be: before a run is made.

    Raises
    ------
    WeightsError
        They cannot be had.
    """
    if recipe.start_from or recipe.encoder_weights == "none":
        return
    if recipe.encoder_weights == "imagenet":
        _from_hub(recipe.encoder)
    else:
        read_weights(Path(recipe.encoder_weights).expanduser())


class _NotCached(Exception):
    """The hub's cache does not hold the file, or the download failed."""


def hub_address(name: str) -> tuple[str, str, str | None]:
    """Where the hub keeps the ImageNet weights of an encoder: (repository, file, revision).

    Raises
    ------
    WeightsError
        There are no ImageNet weights for this encoder.
    """
    import segmentation_models_pytorch as smp
    import timm

    if name.startswith("tu-"):
        config = timm.get_pretrained_cfg(name.removeprefix("tu-"))
        if config is None or not config.hf_hub_id:
            raise WeightsError(f"there are no ImageNet weights for encoder {name}", _OFFLINE_MEND)
        return str(config.hf_hub_id), "model.safetensors", None
    settings = smp.encoders.encoders[name]["pretrained_settings"].get("imagenet")
    if settings is None:
        raise WeightsError(f"there are no ImageNet weights for encoder {name}", _OFFLINE_MEND)
    return settings["repo_id"], "model.safetensors", settings["revision"]


def _fetch(name: str, *, local: bool) -> Mapping[str, Tensor]:
    from huggingface_hub import hf_hub_download

    repository, file, revision = hub_address(name)
    if local:
        cached = in_hub_cache(name)
        if cached is None:
            raise _NotCached(f"{file} of {repository} is not in the cache")
        return load_file(cached)
    try:
        path = hf_hub_download(repository, file, revision=revision)
    except Exception as error:  # the hub's client raises errors of several libraries; each means "not to be had"
        raise _NotCached(_first_line(error)) from error
    return load_file(path)


def why_offline() -> str:
    """Why the hub cannot be reached, in words, or an empty string; answers within seconds, whatever happens."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        return "HF_HUB_OFFLINE forbids to download them"
    endpoint = urlparse(os.environ.get("HF_ENDPOINT", HUB))
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    target = urlparse(proxy) if proxy else endpoint
    host, port = target.hostname or "", target.port or (443 if target.scheme == "https" else 80)
    answer: list[str] = []

    def reach() -> None:
        try:
            socket.create_connection((host, port), timeout=_REACH_S).close()
            answer.append("")
        except OSError as error:
            answer.append(f"{endpoint.hostname} cannot be reached ({error.strerror or error})")

    # Looking a name up has no time limit of its own, so a thread does it and is left behind if it hangs.
    thread = threading.Thread(target=reach, daemon=True)
    thread.start()
    thread.join(_REACH_S + 1)
    return answer[0] if answer else f"{endpoint.hostname} did not answer within {_REACH_S + 1:.0f} s"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0]
