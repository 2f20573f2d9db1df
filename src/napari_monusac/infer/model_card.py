"""What a reader must know of a model before using it, as Markdown: data, patients, split, recipe, scores, limits.

Source: Mitchell et al., "Model Cards for Model Reporting" (2019).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from napari_monusac.core.classes import SEMANTIC_NAMES
from napari_monusac.core.events import Scores
from napari_monusac.core.training_crops import SeenCrop, TrainingCrops
from napari_monusac.network.checkpoint import CheckpointMetadata, LoadedModel

#: Weights that learnt from the challenge's images are under their licence.
LICENCE = "CC-BY-NC-SA-4.0"
_MOST_PATIENTS = 40
_LIMITS = (
    "Research use, not diagnosis.",
    "Four classes of nuclei in H&E: epithelial, lymphocyte, neutrophil, macrophage. Any other nucleus gets one of them, or none.",
    "Stroma is not labelled in MoNuSAC: what the model says there was never scored.",
    "Scanners, stains, organs and magnifications that are not among the training patients were not tried.",
)


def model_card(model: LoadedModel) -> str:
    """Write the card of a model.

    Parameters
    ----------
    model : LoadedModel
        What `load_checkpoint` gives.

    Returns
    -------
    str
        Markdown.
    """
    about, recipe = model.metadata, model.recipe
    scale = "unknown" if about.um_per_px is None else f"{about.um_per_px:g} um per px"
    lines = [
        f"# {recipe.name}", "",
        f"Dual-head U-Net for nuclei in H&E: encoder {recipe.encoder}, decoder {', '.join(map(str, recipe.decoder_channels))}; a "
        f"semantic head ({', '.join(n.lower() for n in SEMANTIC_NAMES)}) and a ternary head (background, inside, boundary of "
        f"{about.boundary_width} px).", "",
        f"- **Input**: RGB, 0 to 255, at {scale}; heights and widths in multiples of {model.network.stride} px.",
        f"- **Stain normalisation**: {recipe.stain}.",
        f"- **Licence of the weights**: {LICENCE} (they learnt from MoNuSAC's images).",
        f"- **Recipe fingerprint**: `{about.fingerprint}`; weights `{about.digest}`.", "",
        "## Data", "", *_data(about.trained_on), "",
        "## Scores", "", *_scores(about), "",
        "## Recipe", "", "```toml", _toml(model), "```", "",
        "## Limits", "", *(f"- {line}" for line in _LIMITS), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _data(crops: TrainingCrops | None) -> list[str]:
    if crops is None:
        return ["The checkpoint does not say what it was trained on."]
    told = [
        f"- **Training**: {_counted(crops.training)}.",
        f"- **Validation** (chose the checkpoint): {_counted(crops.validation)}.",
    ]
    shared = {c.patient for c in crops.training if c.patient} & {c.patient for c in crops.validation}
    told.append(
        f"- **{len(shared)} patients are in both**: validation scores are too good."
        if shared
        else "- **Split**: no patient is in both."
    )
    if not crops.complete:
        told.append("- It went on from a model that does not say what it was trained on.")
    if crops.class_names:
        told.append(f"- Class names of the user: {', '.join(f'{n} = {m}' for n, m in crops.class_names)}.")
    return told


def _counted(crops: Iterable[SeenCrop]) -> str:
    by_patient = Counter(c.patient or "unknown patient" for c in crops)
    names = sorted(by_patient)
    shown = ", ".join(f"{n} ({by_patient[n]})" for n in names[:_MOST_PATIENTS])
    more = f" and {len(names) - _MOST_PATIENTS} more" if len(names) > _MOST_PATIENTS else ""
    return f"{by_patient.total()} crops of {len(names)} patients" + (f": {shown}{more}" if names else "")


def _scores(about: CheckpointMetadata) -> list[str]:
    scores: Scores = about.scores
    rows = [
        ("combo (0.7 Dice inside + 0.3 Dice boundary)", scores.combo), ("Dice inside", scores.dice_inside),
        ("Dice boundary", scores.dice_boundary), ("mean IoU of five classes", scores.miou_macro),
        *((f"IoU {name.lower()}", value) for name, value in scores.iou.items()),
    ]  # fmt: skip
    n = len(about.trained_on.validation) if about.trained_on is not None else None
    of = "validation crops" if n is None else f"{n} validation crops"
    return [
        f"On the {of}, pixels pooled, after epoch {about.epoch} (step {about.step}). The checkpoint was chosen by them, so they "
        "are a little too good; they have no interval. For a score of patients held out: `napari-monusac evaluate --truth FOLDER "
        "--pred MODEL --report report.html`.", "",
        "| score | value |", "|---|---|",
        *(f"| {name} | {'undefined' if value is None else f'{value:.3f}'} |" for name, value in rows),
    ]  # fmt: skip


def _toml(model: LoadedModel) -> str:
    from napari_monusac.infer.export import without_folders

    return without_folders(model).to_toml().strip()
