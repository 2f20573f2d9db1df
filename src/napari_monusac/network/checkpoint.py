"""Checkpoints: weights and metadata in safetensors; loading runs no code of the file's.

``best.safetensors`` and ``last.safetensors`` hold the weights, and as metadata one JSON document with a digest of them.
`napari_monusac.learn.resume` keeps what a resume needs besides.
"""

from __future__ import annotations

import errno
import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from napari_monusac.core.classes import SEMANTIC_NAMES, TERNARY_NAMES
from napari_monusac.core.errors import CheckpointError, TrainingError
from napari_monusac.core.events import Scores
from napari_monusac.core.files import atomic_write, sha256_of
from napari_monusac.core.fitted import FittedThresholds
from napari_monusac.core.recipe import TrainingRecipe
from napari_monusac.core.settings import user_folder
from napari_monusac.core.training_crops import TrainingCrops
from napari_monusac.io.runs.run_folder import RunFolder
from napari_monusac.io.training_crops import crops_of_checkpoint
from napari_monusac.network.unet import DualHeadUnet, memory_format_of

_KEY = "napari-monusac"
#: Our own checkpoint in a package of the BioImage Model Zoo.
CHECKPOINT_IN_PACKAGE = "checkpoint.safetensors"
#: Largest checkpoint that is taken out of a package, bytes.
_MOST_BYTES = 1 << 33
_INTACT = "use an intact copy"
_FOREIGN = "choose the best.safetensors or last.safetensors of a run, or the run folder"


class CheckpointMetadata(BaseModel):
    """What a checkpoint says about itself.

    Attributes
    ----------
    recipe : TrainingRecipe
    fingerprint : str
        Of the recipe.
    classes, ternary : tuple of str
        Names of the channels of both heads.
    um_per_px : float or None
        Scale that the network was trained at, and that images are brought to; None where its crops said none.
    scale_source : str
        Whose word that is (`napari_monusac.io.runs.run_folder.ScaleRecord.source`); empty in checkpoints of before crops were
        brought to one scale: then it is the recipe's, whatever the crops had.
    device, precision : str
        Kind of device, and precision, of the validation that chose it: `predict` prefers the same.
    boundary_width : int
        px.
    epoch, step : int
        Finished epochs and optimiser steps.
    scores : Scores
        On the validation crops.
    versions : dict
        Of the libraries that wrote it.
    stain : dict
        ``mean`` and ``std`` of the concentrations of haematoxylin and eosin over the training crops.
    digest : str
        SHA-256 of the weights: a damaged or changed file is refused.
    state : str
        Name of the resume state beside it, or an empty string.
    trained_on : TrainingCrops or None
        The training and validation crops, with fingerprints of their pixels; None in files of before.
    fitted : FittedThresholds or None
        Thresholds that were fitted on the validation crops once the training was over; None before, and in files of before.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    recipe: TrainingRecipe
    fingerprint: str
    classes: tuple[str, ...] = SEMANTIC_NAMES
    ternary: tuple[str, ...] = TERNARY_NAMES
    um_per_px: float | None
    scale_source: str = ""
    device: str = ""
    precision: str = ""
    boundary_width: int
    epoch: int = 0
    step: int = 0
    scores: Scores = Scores()
    versions: dict[str, str] = {}
    stain: dict[str, tuple[float, float]] = {}
    digest: str = ""
    state: str = ""
    trained_on: TrainingCrops | None = None
    fitted: FittedThresholds | None = None

    @classmethod
    def describe(
        cls, recipe: TrainingRecipe, epoch: int, step: int, scores: Scores, versions: dict[str, str]
    ) -> CheckpointMetadata:
        """Metadata of a checkpoint of this recipe."""
        return cls(
            recipe=recipe,
            fingerprint=recipe.fingerprint(),
            um_per_px=recipe.um_per_px,
            boundary_width=recipe.boundary_width,
            epoch=epoch,
            step=step,
            scores=scores,
            versions=versions,
        )


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network ready to predict.

    Attributes
    ----------
    network : DualHeadUnet
        In evaluation mode, on `device`, in the memory layout that suits it.
    recipe : TrainingRecipe
    metadata : CheckpointMetadata
    path : Path
        The file it came from.
    device : str
    """

    network: DualHeadUnet
    recipe: TrainingRecipe
    metadata: CheckpointMetadata
    path: Path
    device: str = "cpu"


def resolve_checkpoint(path_or_run: str | Path | RunFolder) -> Path:
    """Return the weights file that is meant: a file itself, or the best (else the last) checkpoint of a run folder.

    Of a package of ours (``export --to bioimageio``, a ``.zip``) it is the checkpoint in it, copied into the cache once.

    Raises
    ------
    CheckpointError
        There is none.
    """
    path = path_or_run.path if isinstance(path_or_run, RunFolder) else Path(path_or_run).expanduser()
    if path.is_dir():
        for name in ("best.safetensors", "last.safetensors"):
            if (path / name).is_file():
                return path / name
        raise CheckpointError(path, "this folder holds no checkpoint", "choose a run that has finished an epoch")
    if not path.is_file():
        raise CheckpointError(path, "there is no such file", _FOREIGN)
    return _of_package(path) if path.suffix.lower() == ".zip" else path


def _of_package(path: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as package:
            if CHECKPOINT_IN_PACKAGE not in package.namelist():
                raise CheckpointError(
                    path, f"holds no {CHECKPOINT_IN_PACKAGE}", "choose a package that `export` has written"
                )
            size = package.getinfo(CHECKPOINT_IN_PACKAGE).file_size
            if size > _MOST_BYTES:
                raise CheckpointError(path, f"states a checkpoint of {size >> 30} GiB", "use an intact package")
            kept = user_folder("cache") / "models" / sha256_of(path) / CHECKPOINT_IN_PACKAGE
            if not (kept.is_file() and kept.stat().st_size == size):
                kept.parent.mkdir(parents=True, exist_ok=True)
                with package.open(CHECKPOINT_IN_PACKAGE) as packed, atomic_write(kept) as temporary:
                    _copy_exactly(packed, temporary, size)
            return kept
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, zlib.error, EOFError) as error:
        raise CheckpointError(path, f"cannot be read as a package ({error})", "use an intact copy") from error


def _copy_exactly(packed: IO[bytes], target: Path, size: int) -> None:
    """Copy as many bytes as were stated: a packed file may hold far more."""
    with target.open("wb") as file:
        while size > 0 and (block := packed.read(min(size, 1 << 20))):
            size -= file.write(block)
        if size or packed.read(1):
            raise ValueError("its checkpoint has another size than stated")


def read_metadata(path_or_run: str | Path | RunFolder) -> CheckpointMetadata:
    """Read what a checkpoint says about itself, without its weights.

    Raises
    ------
    CheckpointError
        The file is missing, foreign or damaged.
    """
    path = resolve_checkpoint(path_or_run)
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(path, f"is not a model, or is damaged ({error})", _FOREIGN) from error
    if header is None:
        raise CheckpointError(path, "was not written by napari-monusac", _FOREIGN)
    try:
        metadata = CheckpointMetadata.model_validate_json(header)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(p) for p in problem["loc"])
        raise CheckpointError(path, f"damaged metadata ({where}: {problem['msg']})", _FOREIGN) from error
    if metadata.recipe.fingerprint() != metadata.fingerprint:
        raise CheckpointError(
            path,
            f"its recipe was changed after it was saved (fingerprint is not {metadata.fingerprint})",
            "use the original file",
        )
    return metadata


def crops_seen_by(path_or_run: str | Path | RunFolder) -> TrainingCrops | None:
    """Return the crops that a checkpoint was trained on; of one that does not say, those of the run it lies in.

    Returns
    -------
    TrainingCrops or None
        None where neither says.

    Raises
    ------
    CheckpointError
        The file is missing, foreign or damaged.
    """
    path = resolve_checkpoint(path_or_run)
    return read_metadata(path).trained_on or crops_of_checkpoint(path)


def load_checkpoint(path_or_run: str | Path | RunFolder, device: str | torch.device = "cpu") -> LoadedModel:
    """Load a network from a checkpoint file or a run folder.

    Parameters
    ----------
    path_or_run : str, Path or RunFolder
        A ``.safetensors`` file, or a run folder (its best checkpoint, else its last).
    device : str
        Where the network goes: ``"cpu"``, ``"cuda"``, ``"mps"``.

    Raises
    ------
    CheckpointError
        The file is missing, foreign, damaged, or does not fit the network that its recipe describes.
    """
    path = resolve_checkpoint(path_or_run)
    metadata = read_metadata(path)
    network = DualHeadUnet(metadata.recipe, encoder_weights="none")
    load_weights(network, path, metadata.digest)
    network.eval().to(device).to(memory_format=memory_format_of(device))
    return LoadedModel(network, metadata.recipe, metadata, path, str(device))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file into ordinary memory (not a map of the file).

    Raises
    ------
    CheckpointError
        The file cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            return {k: file.get_tensor(k).clone() for k in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(path, f"cannot be read ({error})", _INTACT) from error


def load_weights(network: DualHeadUnet, path: Path, digest: str) -> None:
    """Put the weights of a checkpoint into a network.

    Raises
    ------
    CheckpointError
        They are not those that `digest` was taken of; a tensor is missing, too many, of another shape, or not finite.
    """
    tensors = read_tensors(path)
    if digest_of(tensors) != digest:
        raise CheckpointError(path, "its weights were damaged or changed after they were saved", _INTACT)
    wanted = network.state_dict()
    for key, value in wanted.items():
        if key not in tensors:
            raise CheckpointError(path, f"tensor {key!r} is missing", _INTACT)
        if tensors[key].shape != value.shape:
            raise CheckpointError(
                path,
                f"tensor {key!r} has shape {tuple(tensors[key].shape)}, not {tuple(value.shape)}",
                _INTACT,
            )
    extra = sorted(tensors.keys() - wanted.keys())
    if extra:
        raise CheckpointError(path, f"holds {len(extra)} foreign tensors, for example {extra[0]!r}", _INTACT)
    broken = next((k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()), None)
    if broken is not None:
        raise CheckpointError(
            path, f"holds weights that are no numbers ({broken!r}): it can predict nothing", "use another checkpoint"
        )
    network.load_state_dict(tensors)


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_checkpoint(path: Path, network: DualHeadUnet, metadata: CheckpointMetadata) -> None:
    """Write weights and metadata, whole or not at all.

    Raises
    ------
    TrainingError
        The disk is full, or the folder cannot be written.
    """
    tensors = {k: v.detach().to("cpu").contiguous() for k, v in network.state_dict().items()}
    metadata = metadata.model_copy(update={"digest": digest_of(tensors)})
    try:
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata={_KEY: metadata.model_dump_json()})
    except (OSError, SafetensorError) as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> TrainingError:
    """Return what to raise when a checkpoint cannot be written."""
    code = error.errno if isinstance(error, OSError) else None
    full = code in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} or "No space left" in str(error)
    problem = "the disk is full" if full else str(error).split("\n")[0]
    return TrainingError(
        f"{path}: cannot be written, {problem}", "free some space or permit writing, then resume the run"
    )
