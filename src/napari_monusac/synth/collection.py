"""A whole synthetic MoNuSAC folder on disk, laid out, named and encoded like the real one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_monusac.core.errors import CollectionError
from napari_monusac.synth.slides import write_svs, write_swapped_tif
from napari_monusac.synth.tissue import SyntheticTissue, synthesize

#: The official names of the two roots, blanks and all.
TRAINING_ROOT = "MoNuSAC_images_and_annotations"
TESTING_ROOT = "MoNuSAC Testing Data and Annotations"
#: Where a crop lies in its (imagined) parent slide: columns of crops, px.
_GRID = 4096


@dataclass(frozen=True, slots=True)
class _Plan:
    folder: Path
    patient: int
    crop: int
    testing: bool

    @property
    def patient_name(self) -> str:
        return f"TCGA-SY-{self.patient:04d}-01Z-00-DX1"

    @property
    def stem(self) -> Path:
        return self.folder / self.patient_name / f"{self.patient_name}_{self.crop}"


def write_collection(
    folder: str | Path,
    n_patients: int = 4,
    crops_per_patient: int = 2,
    seed: int = 0,
    *,
    shape: tuple[int, int] = (512, 512),
    test_patients: int = 0,
    um_per_px: float = 0.25,
    density: float = 1.0,
    first_patient: int = 1,
) -> Path:
    """Write synthetic tissue in MoNuSAC's layout.

    Parameters
    ----------
    folder : str or Path
        Made when missing. The patients' folders stand right in it; with `test_patients`, in the two official roots
        under it.
    n_patients, crops_per_patient : int
        How many; each patient has one stain.
    seed : int
        The same seed gives the same pixels and outlines.
    shape : tuple of int
        (y, x) of each crop, px.
    test_patients : int
        Patients of the official test part: red/blue swapped .tif and an Ambiguous layer, like the real ones.
    um_per_px : float
        Micrometres per pixel.
    density : float
        Nuclei relative to the usual number.
    first_patient : int
        Number of the first patient: another collection has other patients only if it begins elsewhere.

    Returns
    -------
    Path
        `folder`, to be given to `open_collection`.

    Raises
    ------
    CollectionError
        A count is below one (`test_patients`: below zero).
    OSError
        The folder cannot be written.
    """
    root = Path(folder)
    if n_patients < 1 or crops_per_patient < 1 or test_patients < 0:
        asked = f"{n_patients} patients x {crops_per_patient} crops, {test_patients} for testing"
        raise CollectionError(root, asked, "ask for at least one patient and one crop")
    for plan in _plans(root, n_patients, test_patients, crops_per_patient, first_patient):
        plan.stem.parent.mkdir(parents=True, exist_ok=True)
        tissue = synthesize(
            shape,
            seed * 1_000_003 + plan.patient * 1009 + plan.crop,
            patient_seed=seed * 1_000_003 + plan.patient,
            um_per_px=um_per_px,
            density=density,
            ambiguous=2 if plan.testing else 0,
        )
        write_crop(tissue, plan.stem, origin_px=(_GRID * plan.patient, _GRID * plan.crop), swapped_tif=plan.testing)
    return root


def _plans(root: Path, training: int, testing: int, crops: int, first: int) -> list[_Plan]:
    where = [root / TRAINING_ROOT] * training + [root / TESTING_ROOT] * testing if testing else [root] * training
    return [_Plan(f, p, c, p >= first + training) for p, f in enumerate(where, first) for c in range(1, crops + 1)]


def write_crop(
    tissue: SyntheticTissue, stem: Path, *, origin_px: tuple[int, int] = (0, 0), swapped_tif: bool = False
) -> Path:
    """Write one crop and its annotation beside each other.

    Parameters
    ----------
    tissue : SyntheticTissue
        What to write.
    stem : Path
        Path without a suffix; its folder must exist.
    origin_px : tuple of int
        (y, x) of the crop in its parent slide, level-0 px.
    swapped_tif : bool
        An RGBA .tif with red and blue swapped, as in the official test set, in place of the .svs.

    Returns
    -------
    Path
        The image.
    """
    from napari_monusac.io.annotations.files import write_annotation

    image = stem.with_name(stem.name + (".tif" if swapped_tif else ".svs"))
    if swapped_tif:
        write_swapped_tif(tissue.image, image)
    else:
        write_svs(tissue.image, image, um_per_px=tissue.um_per_px, origin_px=origin_px)
    write_annotation(tissue.annotation, stem.with_name(stem.name + ".xml"))
    return image
