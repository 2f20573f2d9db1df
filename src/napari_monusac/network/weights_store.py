"""Encoder weights of this user: fetched once from the hub, a mirror or a file, checked, and kept where no network is needed."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from safetensors.torch import save_file

from napari_monusac.core.errors import WeightsError
from napari_monusac.core.files import atomic_write
from napari_monusac.network.weights import HUB, fit_weights, hub_address, in_hub_cache, kept_weights, read_weights

_TIMEOUT_S = 30.0
_CHUNK = 1 << 20

#: imported: kept here; cache: in the cache of the hub's own client; missing: neither.
WeightsPlace = Literal["imported", "cache", "missing"]


@dataclass(frozen=True, slots=True)
class KeptWeights:
    """Where the ImageNet weights of an encoder are.

    Attributes
    ----------
    encoder : str
    where : {"imported", "cache", "missing"}
    path : Path or None
    """

    encoder: str
    where: WeightsPlace
    path: Path | None

    @property
    def bytes(self) -> int:
        """Size of the file; 0 where there is none."""
        return self.path.stat().st_size if self.path is not None else 0


def find_weights(encoder: str) -> KeptWeights:
    """Look for the ImageNet weights of an encoder on this machine; nothing is downloaded."""
    own = kept_weights(encoder)
    if own.is_file():
        return KeptWeights(encoder, "imported", own)
    cached = in_hub_cache(encoder)
    return KeptWeights(encoder, "cache" if cached is not None else "missing", cached)


def import_weights(file: str | Path, encoder: str) -> KeptWeights:
    """Keep a file of weights as the ImageNet weights of an encoder, if they fit it.

    Parameters
    ----------
    file : str or Path
        ``.safetensors`` or ``.pth``, with the keys of timm, torchvision or smp. Code in it is never run.
    encoder : str
        A name that segmentation-models-pytorch knows.

    Raises
    ------
    WeightsError
        The encoder is not known, the file cannot be read or does not fit, or it cannot be kept.
    """
    path = Path(file).expanduser()
    network = _encoder(encoder)
    fit_weights(network, read_weights(path), str(path), encoder)
    target = kept_weights(encoder)
    tensors = {name: value.contiguous().clone() for name, value in network.state_dict().items()}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as draft:
            save_file(tensors, draft, metadata={"encoder": encoder, "from": path.name})
    except OSError as error:
        raise WeightsError(
            f"{target}: cannot be written ({error.strerror or error})", "check the disk and its rights"
        ) from error
    return KeptWeights(encoder, "imported", target)


def get_weights(
    encoder: str,
    source: str = "",
    *,
    progress: Callable[[int, int], object] = lambda _, __: None,
) -> KeptWeights:
    """Fetch the ImageNet weights of an encoder and keep them.

    Parameters
    ----------
    encoder : str
    source : str
        Empty: the hub (or ``HF_ENDPOINT``). The address of a mirror that is laid out as the hub is
        (``http://mirror/<repository>/resolve/<revision>/<file>``), the address of a weights file, or a file on disk.
    progress : callable
        Called with the bytes that have come, and how many there will be (0 where that is not known).

    Raises
    ------
    WeightsError
        There are none for this encoder, they cannot be reached, or what came does not fit.
    """
    if source and urlparse(source).scheme not in ("http", "https"):
        return import_weights(source, encoder)
    _encoder(encoder)  # before anything is downloaded
    url = _address(encoder, source)
    with tempfile.TemporaryDirectory(prefix="monusac-weights-") as folder:
        file = Path(folder) / Path(urlparse(url).path).name
        _download(url, file, progress)
        return import_weights(file, encoder)


def write_weights(kept: KeptWeights, out: str | Path) -> Path:
    """Copy weights that are here into a file, to carry them to a machine without a network.

    Raises
    ------
    WeightsError
        There are none, or the file cannot be written.
    """
    if kept.path is None:
        raise WeightsError(f"ImageNet weights of {kept.encoder} are not here", "get them first")
    target = Path(out).expanduser()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as draft:
            shutil.copyfile(kept.path, draft)
    except OSError as error:
        raise WeightsError(f"{target}: cannot be written ({error.strerror or error})", "choose another file") from error
    return target


def _encoder(name: str) -> Any:
    """An encoder with random weights.

    Raises
    ------
    WeightsError
        Nobody knows it.
    """
    import segmentation_models_pytorch as smp

    try:
        return smp.encoders.get_encoder(name, weights=None)
    except (KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(f"there is no encoder {name!r}", "see: napari-monusac weights list") from error


def _address(encoder: str, source: str) -> str:
    if Path(urlparse(source).path).suffix in (".safetensors", ".pth", ".pt"):
        return source
    repository, file, revision = hub_address(encoder)
    base = (source or os.environ.get("HF_ENDPOINT", HUB)).rstrip("/")
    return f"{base}/{repository}/resolve/{revision or 'main'}/{file}"


def _download(url: str, target: Path, progress: Callable[[int, int], object]) -> None:
    if urlparse(url).scheme not in ("http", "https"):
        raise WeightsError(f"{url}: is no address of the web", "check HF_ENDPOINT")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, target.open("wb") as file:  # noqa: S310 - see above
            total, done = int(answer.headers.get("Content-Length") or 0), 0
            while chunk := answer.read(_CHUNK):
                done += file.write(chunk)
                progress(done, total)
    except urllib.error.HTTPError as error:
        raise WeightsError(f"{url}: {error.code} {error.reason}", "check the address, or give a file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise WeightsError(
            f"{url}: cannot be reached ({reason})",
            "get them on a machine with a network (weights get ENCODER --out FILE), and import that file here",
        ) from error
    if total and done != total:
        raise WeightsError(f"{url}: broke off after {done} of {total} bytes", "try again")
