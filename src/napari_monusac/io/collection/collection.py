"""A folder of crops: patients, pairs of image and annotation, channel order by patient."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from napari_monusac.core.classes import Meaning, NucleusClass, class_names_given
from napari_monusac.core.errors import CollectionError, SlideError
from napari_monusac.core.nuclei import Annotation
from napari_monusac.io.collection.crop import Crop, OfficialPart, Problem
from napari_monusac.io.collection.folders import DEEPEST, in_order, scan, uniquely_named
from napari_monusac.io.collection.patient_list import find_list, read_list, with_given
from napari_monusac.io.collection.patients import Grouping, grouping_of
from napari_monusac.io.outputs import MENDING
from napari_monusac.io.scale import plausible
from napari_monusac.io.slides.channels import ChannelOrder, ChannelVerdict, channel_verdict, decide_swapped
from napari_monusac.io.slides.dicom import slide_of
from napari_monusac.io.slides.formats import IMAGE_SUFFIXES, colours_sure
from napari_monusac.io.slides.slide import Slide, channel_sample, open_slide

__all__ = ["Collection", "Crop", "OfficialPart", "Problem", "open_collection"]


class Collection:
    """Crops of a folder. Use `open_collection` to get one.

    Attributes
    ----------
    root : Path
        The folder that was opened.
    crops : tuple of Crop
        All images, by patient and number.
    unpaired : tuple of Path
        Annotations without an image.
    problems : tuple of Problem
        What is not as it should be.
    wrong_list : CollectionError or None
        Why the list of patients that lies in the folder is not heeded.
    """

    def __init__(
        self,
        root: Path,
        crops: tuple[Crop, ...],
        unpaired: tuple[Path, ...] = (),
        problems: tuple[Problem, ...] = (),
        channel_order: ChannelOrder = "auto",
        um_per_px: float | None = None,
        patient_file: Path | None = None,
        patient_notes: tuple[str, ...] = (),
        wrong_list: CollectionError | None = None,
    ) -> None:
        self.root, self.crops, self.unpaired, self.problems = root, crops, unpaired, problems
        self._order = channel_order
        self._orders: dict[str, ChannelOrder] = {}
        self._um_per_px = um_per_px
        self._patient_file, self._patient_notes = patient_file, patient_notes
        self.wrong_list = wrong_list
        self._by_name = {c.name: c for c in crops}
        self._verdicts: dict[Path, ChannelVerdict] = {}
        self._counts: dict[Path, _Counted] = {}
        self._lock = threading.Lock()

    @property
    def patients(self) -> tuple[str, ...]:
        """Names of the patients, in order."""
        return tuple(dict.fromkeys(c.patient for c in self.crops))

    @property
    def grouping(self) -> Grouping:
        """How many crops of how many patients, and what told the patients."""
        return self.grouping_of(self.crops)

    def grouping_of(self, crops: Sequence[Crop]) -> Grouping:
        """How some of the crops fall into patients; see `grouping`."""
        return grouping_of(crops, self._patient_file, self._patient_notes)

    @property
    def labelled(self) -> tuple[Crop, ...]:
        """Crops with an annotation."""
        return tuple(c for c in self.crops if c.annotation is not None)

    def __len__(self) -> int:
        return len(self.crops)

    def __iter__(self) -> Iterator[Crop]:
        return iter(self.crops)

    def __repr__(self) -> str:
        return f"<Collection {self.root}: {len(self.crops)} crops of {len(self.patients)} patients>"

    def of_patient(self, patient: str) -> tuple[Crop, ...]:
        """Crops of one patient."""
        return tuple(c for c in self.crops if c.patient == patient)

    def crop(self, name: str) -> Crop:
        """Find a crop by its name.

        Raises
        ------
        CollectionError
            There is no such crop.
        """
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(list(self._by_name)[:3])
            raise CollectionError(self.root, f"has no crop {name!r}", f"its crops are {known} ...") from None

    def find(self, path: str | Path) -> Crop | None:
        """Find the crop that an image or annotation file belongs to, or None; of DICOM any file of the series will do."""
        path = Path(path)
        with suppress(SlideError):
            path = slide_of(path) if path.suffix.lower() == ".dcm" and path.is_file() else path
        wanted = path.resolve()
        for crop in self.crops:
            if wanted in {p.resolve() for p in (crop.image, crop.annotation, *crop.others) if p is not None}:
                return crop
        return None

    def with_image(self, crop: Crop, image: Path) -> Crop:
        """Return the crop with another one of its images (the .tif beside the .svs, for example)."""
        images = [p for p in (crop.image, *crop.others) if p != image]
        return replace(crop, image=image, others=tuple(images))

    def open(self, crop: Crop) -> Slide:
        """Open a crop's image with its patient's channel order.

        Raises
        ------
        SlideError
            The image is missing or damaged.
        """
        swapped = self.channels_swapped(crop)
        slide = open_slide(crop.image, channel_order="bgr" if swapped else "rgb", annotation=crop.annotation)
        if self._um_per_px is not None:
            slide.take_scale(self._um_per_px)
        if swapped:
            slide.notes = (*slide.notes, "red and blue are swapped in the file: put right")
        return slide

    def annotation(self, crop: Crop) -> Annotation:
        """Read a crop's annotation; an empty one where there is none.

        Raises
        ------
        AnnotationError
            The file is damaged or hostile.
        """
        from napari_monusac.io.annotations.files import read_annotation

        return read_annotation(crop.annotation) if crop.annotation is not None else Annotation()

    def counts(self, crop: Crop) -> dict[NucleusClass, int]:
        """Number of nuclei of each class in a crop (kept until its file or the names of classes change)."""
        return dict(self._counted(crop.annotation).classes) if crop.annotation is not None else {}

    def unknown_names(self, crop: Crop) -> dict[str, int]:
        """Class names in a crop that nobody knows, with their number of nuclei (kept as the counts are)."""
        return dict(self._counted(crop.annotation).unknown) if crop.annotation is not None else {}

    def _counted(self, path: Path) -> _Counted:
        from napari_monusac.io.annotations.files import read_annotation

        # the file may be saved anew while the folder is open: its time is taken before it is read
        version, names = _version(path), class_names_given()
        with self._lock:
            known = self._counts.get(path)
        if known is None or (known.version, known.names) != (version, names):
            annotation = read_annotation(path)
            known = _Counted(version, names, annotation.counts(), annotation.unknown_labels)
            with self._lock:
                self._counts[path] = known
        return known

    def verdict(self, crop: Crop) -> ChannelVerdict:
        """Say what the crop's own pixels tell about its channels (kept after the first reading).

        Raises
        ------
        SlideError
            The image is missing or damaged.
        """
        with self._lock:
            known = self._verdicts.get(crop.image)
        if known is None:
            with open_slide(crop.image, channel_order="rgb") as slide:
                known = channel_verdict(channel_sample(slide))
            with self._lock:
                self._verdicts[crop.image] = known
        return known

    def keep_verdict(self, crop: Crop, verdict: ChannelVerdict) -> None:
        """Take over a verdict from who has read the pixels already."""
        with self._lock:
            self._verdicts.setdefault(crop.image, verdict)

    def overrule_channels(self, patient: str, order: ChannelOrder) -> None:
        """Take the user's word for one patient's images; ``"auto"`` takes it back."""
        if patient not in self.patients or order not in ("auto", "rgb", "bgr"):
            problem = f"cannot take {patient!r} as {order!r}"
            raise CollectionError(self.root, problem, "give one of its patients, and auto, rgb or bgr")
        self._orders[patient] = order

    def channels_swapped(self, crop: Crop) -> bool:
        """Decide whether red and blue are swapped.

        The user's word comes first; a scanner's own file is never swapped, and has no vote; else the image's own pixels decide where
        they are sure, and the majority of the patient's crops where they are not.

        Raises
        ------
        SlideError
            The crop's own image is missing or damaged (another crop of the patient that is has no vote).
        """
        order = self._orders.get(crop.patient, self._order)
        if order != "auto":
            return order == "bgr"
        if colours_sure(crop.image):
            return False
        return decide_swapped(self.verdict(crop), self._verdicts_beside(crop))

    def _verdicts_beside(self, crop: Crop) -> Iterator[ChannelVerdict]:
        for other in self.of_patient(crop.patient):
            if other != crop and not colours_sure(other.image) and other.part == crop.part:
                try:
                    yield self.verdict(other)
                except SlideError:
                    continue  # the doctor reports it; it cannot vote


@dataclass(frozen=True, slots=True)
class _Counted:
    """What was counted in an annotation file, of which version of it, and under which names of classes."""

    version: tuple[int, int] | None
    names: dict[str, Meaning]
    classes: dict[NucleusClass, int]
    unknown: dict[str, int]


def _version(path: Path) -> tuple[int, int] | None:
    """Time and size of a file; None where it cannot be seen."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def open_collection(
    folder: str | Path,
    *,
    channel_order: ChannelOrder = "auto",
    um_per_px: float | None = None,
    deepest: int = DEEPEST,
    patients: str | Path | None = None,
) -> Collection:
    """Open a folder: an official root, the folder that holds both, one patient, or a flat folder of crops.

    No image is opened; that comes with `Collection.open`.

    Parameters
    ----------
    folder : str or Path
        The folder. Names with spaces and umlauts are fine.
    channel_order : {"auto", "rgb", "bgr"}
        The user's word about the channels of the images; ``"auto"`` decides by patient.
    um_per_px : float, optional
        Micrometres per pixel of images that do not say it themselves.
    deepest : int
        How many folders deep to look; 0 looks at the folder itself only.
    patients : str or Path, optional
        A table (crop, patient) that says whose crop is whose; by default ``patients.csv`` in the folder, where there is
        one, or the list that was made for it in Slides. See `napari_monusac.io.collection.patient_list`.

    Raises
    ------
    CollectionError
        The folder does not exist or holds no image, or the list in `patients` is wrong.
    """
    root = Path(folder)
    if not root.is_dir():
        what = "is a file" if root.is_file() else "does not exist"
        raise CollectionError(root, what, "give the folder that holds the crops")
    if (root / MENDING).is_file():
        problem, mend = "holds mended copies of a part of a folder", "run doctor --fix into it once more: it goes on"
        raise CollectionError(root, problem, mend)
    if um_per_px is not None and plausible(um_per_px) is None:
        raise CollectionError(root, f"um_per_px {um_per_px:g} is no microscope's", "give a value like 0.25")
    found, unpaired, problems = scan(root, deepest)
    if not found and not unpaired:
        raise CollectionError(root, *_holds_nothing(problems))
    crops = list(uniquely_named(root, found))
    listed = Path(patients) if patients is not None else find_list(root)
    notes: list[str] = []
    wrong: CollectionError | None = None
    if listed is not None and crops:
        try:
            crops, notes = with_given(crops, read_list(listed), listed, root)
        except CollectionError as error:
            if patients is not None:
                raise
            # images can be looked at all the same; a split refuses
            notes, wrong = [f"{listed.name} is not heeded: {error}"], error
        crops.sort(key=in_order)
    heeded = listed if wrong is None else None
    return Collection(
        root, tuple(crops), tuple(unpaired), tuple(problems), channel_order, um_per_px, heeded, tuple(notes), wrong
    )


def _holds_nothing(problems: Sequence[Problem]) -> tuple[str, str]:
    """What is wrong with a folder without images, and the mend: what was left out may be the reason."""
    known = ", ".join(IMAGE_SUFFIXES)
    if problems:
        return f"holds no crop; {problems[0].path}: {problems[0].message}", "give the folder that holds the crops"
    return f"holds no image ({known})", "give the folder that holds the crops"
