"""Whose crop is this: the patient of each crop of a folder, and what tells it.

In this order: what the user says; a TCGA barcode in the file's or a folder's name; the folder, where crops lie in
folders; the file's name without what numbers or places crops (``slide1 [x=0,y=0]``, ``H22-7_tile1``). Folders and names
are guesses, and are called so. Where two readings are possible the coarser one is taken: two patients read as one cost a
refused split, one patient read as two costs a score that is too good, and nobody sees it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from napari_monusac.io.collection.crop import PatientSource
from napari_monusac.io.collection.organs import patient_barcode

if TYPE_CHECKING:
    from napari_monusac.io.collection.crop import Crop


SOURCES: tuple[PatientSource, ...] = get_args(PatientSource)
#: Sources that nobody has vouched for.
GUESSES: tuple[PatientSource, ...] = ("folder", "name")
#: How the user says whose crop is whose.
MEND = "say which crop is whose: patients.csv (crop, patient) in the folder, --patients FILE, or Set patients in Slides"

_WORDS: dict[PatientSource, str] = {
    "given": "the given list", "barcode": "the TCGA barcodes", "folder": "the folders", "name": "the names",
}  # fmt: skip
_GAP = r"[\s_.\-]"
_END = rf"(?=$|{_GAP}|[\[({{;,])"
#: What an image shows of a slide, not whose it is.
_PIECE = (
    r"tiles?|patch(?:es)?|rois?|regions?|crops?|fields?|fovs?|hpfs?|areas?|parts?|pieces?|blocks?|sections?|scenes?|"
    r"series|images?|imgs?|pics?|photos?|pictures?|bild(?:er)?|snaps?|snapshots?|screenshots?|captures?|views?|nodes?|levels?|pages?|frames?|spots?|positions?|pos|thumbs?"
)
_STATE = (
    r"he|h&e|h\+e|hne|ihc|norm|normali[sz]ed|annotated|copy|kopie|orig(?:inal)?|rgb|final|tumou?rs?|edges?|margins?|"
    r"cent(?:er|re)|stroma|normal|necrosis|border|benign|malignant|invasive|left|right|top|bottom|upper|lower"
)
_SHELF = (
    r"train(?:ing)?|test(?:ing)?|val(?:id)?(?:ation)?|data(?:sets?)?|annotations?|annots?|labels?|xmls?|geojsons?|masks?|"
    r"outlines|raw|svs|tiff?s?|png|jpe?gs?|slides?|wsis?|patients|cases|samples|(?:tissue|he|raw|slide) ?images|"
    r"ground[ _]?truth|gt|truth|input|images ?and ?annotations|"
    r"(?:folds?|sets?|batch|sites?|cent(?:er|re)s?|hospitals?|cohorts?|groups?|scanners?|splits?|class)[ _\-]?(?:\d+|[a-z])?|"
    r"breast|kidney|lung|prostate|epithelial|lymphocytes?|neutrophils?|macrophages?|.*monusac.*"
)
_YEAR = r"(?:19[89]\d|20[0-3]\d)"
_PERSON = re.compile(
    rf"(?:patient(?:in|s|id)?|pat|pt|p|case(?:s|id)?|fall|subjects?|subj|sub|donor|specimen|患者|病例|症例|환자)"
    rf"[ _\-]?(?:\d+(?=[a-z]?{_END})|[a-z]{_END})|(?:GTEX-[a-z0-9]+|C3[LN]-\d{{5}}){_END}",
    re.IGNORECASE,
)
_SLIDE = re.compile(rf"(?:slide|wsi|sample|core)[ _\-]?(?:\d+[a-z]?|[a-z]){_END}", re.IGNORECASE)
# S23-1000 (its blocks S23-1000A1, S23-1000-B), SP-22-123456, 20-12345, 23S-1000, 2023:H1234, 23-H-1234, B2023.12345,
# 2021_1234; with few digits (H22-7) it may be a crop's number, and two numbers may be a place: see _counts_crops
_ACCESSION = re.compile(
    rf"(?!(?:{_PIECE})\d)(?:(?P<prefix>[a-z]{{1,4}}[ \-]?(?:19|20)?\d{{2}})-(?P<number>\d{{1,7}})|(?P<bare>(?:{_YEAR}|\d{{2}})-\d{{3,7}}|{_YEAR}_\d{{3,7}})|"
    rf"(?:{_YEAR}|\d{{2}})[\-:.]?(?![xy]\d)[a-z]{{1,3}}[\-.]?\d{{3,7}}|[a-z]{{1,4}}(?:{_YEAR}|\d{{2}})\.\d{{3,7}}|"
    rf"[a-z]{{1,4}}\d{{2}}_\d{{4,7}}(?!{_GAP}\d{{2,}}))(?=(?:[a-z]\d{{0,2}})?{_END})",
    re.IGNORECASE,
)
#: What ends a crop's name without telling the patient; the first that fits is taken off, again and again.
_TAILS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_GAP}*(?:\[[^\[\]]*\]|\([^()]*\)|\{{[^{{}}]*\}})$",
        rf"(?:(?:{_GAP}|,)+(?:(?:xy?|y|row|col|column|level|mag|size|ds)[=_]?|[whdztrc]=?)\d+(?:\.\d+)?)+$",
        rf"{_GAP}+r_\d+_c_\d+$",
        rf"{_GAP}+(?:\d+(?:\.\d+)?x|x\d+|\d+x\d+|\d+(?:um|µm|mpp|px))$",
        rf"{_GAP}+(?:(?:{_PIECE})(?:{_GAP}|#)*(?:\d+|[a-z])?|slides?(?:{_GAP}|#)*(?:\d+|[a-z]))$",
        rf"{_GAP}+(?:{_STATE})$",
    )
)
_PAIR = re.compile(r"[\s]?[_\-](\d+)[_\-,](\d+)$")
_NUMBER = re.compile(r"(?:[\s]?[_.]\d+|[\s]?#\d+|[\s]?-\d{1,3}|\s\d{1,3})$")
#: A block, a lymph node, a tumour or its border: Meier_A1, Meier_LN2, Meier_a, Meier_2B.
_BLOCK = re.compile(rf"{_GAP}+(?:[a-z]{{1,2}}\d{{1,2}}|\d{{0,2}}[a-z])$", re.IGNORECASE)
#: What may stand before the patient; a slide's number only before a person's or an accession number.
_SLIDE_HEAD = re.compile(rf"(?:slides?|wsis?|samples?|cores?)[ _\-]?(?:\d+|[a-z]){_GAP}+", re.IGNORECASE)
_HEAD = re.compile(
    rf"(?:{_YEAR}[\-_.]?\d\d[\-_.]?\d\d|(?:{_PIECE})(?:{_GAP}|#)*\d+(?:{_GAP}+\d+)*|{_PIECE}|{_STATE}|"
    rf"train(?:ing)?|test(?:ing)?|val(?:id)?(?:ation)?|\d{{1,3}}|\d{{1,2}}x){_GAP}+",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{3}|[^\x00-\x7f]")
_TWO_NUMBERS = re.compile(r"\d+[_\-]\d+")
_NO_NAME = re.compile(
    rf"(?:(?:{_PIECE}|{_STATE}|{_SHELF})(?:{_GAP}|#)*(?:\d+|[a-z])?|\d{{1,4}}|\d{{3,}}[_\-]\d{{3,}}|x=?_?\d+{_GAP}*y=?_?\d+.*|\W*)",
    re.IGNORECASE,
)
_NO_PATIENT_FOLDER = re.compile(rf"(?:(?:{_PIECE})(?:{_GAP}|#)*(?:\d+|[a-z])?|{_STATE}|{_SHELF})", re.IGNORECASE)
#: A slide, block or year of one patient, where it lies in the only folder there is.
_PIECE_FOLDER = re.compile(rf"(?:(?:{_PIECE}|slides?|wsis?)(?:{_GAP}|#)*)?(?:\d+|[a-z]\d{{0,2}})?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Grouping:
    """How the crops of a folder fall into patients, and what tells it.

    Attributes
    ----------
    crops, patients : int
        How many.
    sources : mapping
        Number of crops by what told their patient: ``given``, ``barcode``, ``folder``, ``name``.
    file : Path or None
        The list (crop, patient) that was heeded.
    notes : tuple of str
        What the user should know: rows of the list without a crop, spellings that were taken as one patient.
    """

    crops: int
    patients: int
    sources: Mapping[PatientSource, int] = field(default_factory=dict)
    file: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def guessed(self) -> tuple[PatientSource, ...]:
        """The sources among `GUESSES` that told some patients."""
        return tuple(s for s in GUESSES if self.sources.get(s))

    @property
    def taken_from(self) -> str:
        """Where the patients were taken from, for example ``the folders``."""
        words = {**_WORDS, "given": self.file.name if self.file is not None else _WORDS["given"]}
        found = [(words[s], n) for s in words if (n := self.sources.get(s))]
        if len(found) < 2:
            return "".join(w for w, _ in found)
        said = [f"{w} ({n} {'crop' if n == 1 else 'crops'})" for w, n in found]
        return f"{', '.join(said[:-1])} and {said[-1]}"

    def __str__(self) -> str:
        crops, patients = ("1 crop", "crops"), ("1 patient", "patients")
        said = [one if n == 1 else f"{n} {many}" for n, (one, many) in ((self.crops, crops), (self.patients, patients))]
        return f"{said[0]} of {said[1]}, taken from {self.taken_from}" if self.crops else "no crop"

    @property
    def warning(self) -> str:
        """What a guess may cost and how to end it; empty where nothing was guessed."""
        if not self.guessed:
            return ""
        guessed = Grouping(self.crops, self.patients, {s: self.sources[s] for s in self.guessed}).taken_from
        return f"patients taken from {guessed} are guesses: if two of them are one person, scores are too good — {MEND}"


def grouping_of(crops: Sequence[Crop], file: Path | None = None, notes: Iterable[str] = ()) -> Grouping:
    """Count crops, patients and what told them.

    Parameters
    ----------
    crops : sequence of Crop
    file : Path, optional
        The list that was heeded.
    notes : iterable of str
        What the user should know.
    """
    sources = Counter(c.patient_source for c in crops)
    return Grouping(len(crops), len({c.patient for c in crops}), dict(sources), file, tuple(notes))


def find_patients(root: Path, crops: Sequence[tuple[tuple[str, ...], str]]) -> list[tuple[str, PatientSource]]:
    """Find the patient of each crop by barcode, folder or name.

    Parameters
    ----------
    root : Path
        The folder that was opened.
    crops : sequence of (tuple of str, str)
        Folders below `root`, outermost first, and the image's name without suffix.

    Returns
    -------
    list of (str, PatientSource)
        The patient of each crop and what told it. Spellings that differ by case alone are one patient, and so are names
        of which one goes on where the other ends (``Meier``, ``Meier_biopsy``).
    """
    names = [unicodedata.normalize("NFC", stem) for _, stem in crops]
    counting = _counts_crops(names)
    told = [_told_by_name(name, counting) for name in names]
    folders = _told_by_folder([tuple(unicodedata.normalize("NFC", f) for f in parts) for parts, _ in crops])
    by_name = _folders_of_several(folders, told)
    above = _root_name(root)
    above_is_patient = bool(_person(above))
    found: list[tuple[str, PatientSource]] = []
    for (parts, stem), folder, (name, sure) in zip(crops, folders, told, strict=True):
        barcode = _barcode(root, parts, stem)
        if barcode:
            found.append((barcode, "barcode"))
        elif folder and not (sure and folder in by_name):
            found.append((folder, "folder"))
        elif name and (sure or not above_is_patient):
            found.append((name, "name"))
        else:
            found.append((_person(above) or above, "folder"))
    return _one_spelling(_one_beginning(found))


def folder_says_nothing(name: str) -> bool:
    """Tell whether a folder's name is that of a shelf (images, tiles, train, annotations), which no patient has."""
    return _NO_PATIENT_FOLDER.fullmatch(name.strip()) is not None


def _barcode(root: Path, parts: tuple[str, ...], stem: str) -> str | None:
    resolved = root.resolve()
    for name in (stem, *reversed(parts), resolved.name, resolved.parent.name):
        if barcode := patient_barcode(name):
            return barcode
    return None


def _person(name: str) -> str:
    """The patient's or the accession's number that a name begins with; empty where it begins with none."""
    strong = _ACCESSION.match(name)
    if strong and _is_long(strong):
        return strong.group(0)
    match = _PERSON.match(name) or strong
    return match.group(0) if match else ""


def _is_long(accession: re.Match[str]) -> bool:
    """Whether its last number is too long to count crops."""
    number = accession["number"]
    return number is None or len(number) > 3 or (len(number) == 3 and number[0] != "0")


def _counts_crops(names: Sequence[str]) -> set[str]:
    """Prefixes like ``A12-`` whose numbers run 1, 2, 3 ...: they count crops, and are no accession numbers.

    Among them the empty one, where some names are two numbers that can be no accession number (``512-1024``): then all
    such names are places.
    """
    numbers: dict[str, set[int]] = defaultdict(set)
    for name in names:
        match = _ACCESSION.fullmatch(name)
        if match and match["prefix"] and not _is_long(match):
            numbers[match["prefix"].casefold()].add(int(match["number"]))
    runs = {p: sorted(n) for p, n in numbers.items() if len(n) > 1}
    counting = {p for p, n in runs.items() if n[0] in (0, 1) and n == list(range(n[0], n[0] + len(n)))}
    two = [n for n in names if _TWO_NUMBERS.fullmatch(n)]
    return counting | {""} if any(not _ACCESSION.fullmatch(n) for n in two) else counting


def _told_by_name(name: str, counting: set[str]) -> tuple[str, bool]:
    """The patient that a crop's name tells (empty: none), and whether it names a person or an accession number."""
    match = _ACCESSION.match(name)
    if match and match["bare"] and "" in counting:
        match = None
    if match and (_is_long(match) or not (_PERSON.match(name) or (match["prefix"] or "").casefold() in counting)):
        return match.group(0), True
    if person := _PERSON.match(name):
        return person.group(0), True
    for head in (_SLIDE_HEAD, _HEAD):
        if before := head.match(name):
            told, sure = _told_by_name(name[before.end() :], counting)
            if sure or (head is _HEAD and _WORD.search(told)):
                return told, sure
    if slide := _SLIDE.match(name):
        return slide.group(0), False
    rest = _without_tails(name)
    return ("" if _NO_NAME.fullmatch(rest) and not (rest.isdigit() and rest != name) else rest), False


def _without_tails(name: str, *, numbers: bool = True) -> str:
    """Take off what numbers or places a crop, and leave what is left of the name."""
    if _NO_NAME.fullmatch(name):
        return name
    rest = name.strip(" _-.")
    while True:
        shorter, ended = _shorter(rest, numbers=numbers)
        shorter = shorter.strip(" _-.")
        if not shorter or shorter == rest:
            return rest
        if ended:
            return _BLOCK.sub("", shorter) or shorter
        rest = shorter


def _shorter(name: str, *, numbers: bool) -> tuple[str, bool]:
    """Take off the last part, and say whether what is left is whole."""
    for tail in _TAILS:
        if (match := tail.search(name)) and match.start():
            return name[: match.start()], False
    if not numbers:
        return name, True
    if (pair := _PAIR.search(name)) and pair.start():
        first, second = pair.groups()
        # MSK_012_3 is a patient's number and a crop's; slide_3_4, slide_0001_0002 and slide_10240_512 are a place
        whose = len(first) > len(second) and first.startswith("0") and not second.startswith("0")
        return (name[: pair.start(2) - 1], True) if whose else (name[: pair.start()], False)
    match = _NUMBER.search(name) or _BLOCK.search(name)
    return (name[: match.start()], False) if match and match.start() else (name, True)


def _told_by_folder(chains: Sequence[tuple[str, ...]]) -> list[str]:
    """The patient that the folders of each crop tell; empty where none does."""
    telling = [[p for p in parts if not folder_says_nothing(p)] for parts in chains]
    while True:  # a folder around all is no patient, where below it lie several that may be
        outer = {c[0] for c in telling if c}
        below = {c[1] for c in telling if len(c) > 1}
        whole = all(len(c) > 1 for c in telling)
        if not (whole and len(outer) == 1 and len(below) > 1) or _person(next(iter(outer))):
            break
        if all(_PIECE_FOLDER.fullmatch(b) for b in below):
            break
        telling = [c[1:] for c in telling]
    return [_of_chain(c) for c in telling]


def _of_chain(folders: Sequence[str]) -> str:
    """The folder that names a person or an accession number, else the outermost one, without its slide's number."""
    if not folders:
        return ""
    return next((p for f in folders if (p := _person(f))), "") or _without_tails(folders[0], numbers=False)


def _folders_of_several(folders: Sequence[str], told: Sequence[tuple[str, bool]]) -> set[str]:
    """Folders that hold crops of several people by name, each of whom lies in that folder alone."""
    people: dict[str, set[str]] = defaultdict(set)
    places: dict[str, set[str]] = defaultdict(set)
    for folder, (name, sure) in zip(folders, told, strict=True):
        if folder and sure:
            people[folder].add(name.casefold())
            places[name.casefold()].add(folder)
    return {
        folder for folder, names in people.items()
        if len(names) > 1 and not _person(folder) and all(len(places[n]) == 1 for n in names)
    }  # fmt: skip


def _root_name(root: Path) -> str:
    """Name of the opened folder; of the one above where that is a shelf (``P001/images``)."""
    resolved = root.resolve()
    own, above = resolved.name, resolved.parent.name
    return unicodedata.normalize("NFC", above if folder_says_nothing(own) and above else own) or "the folder"


def _one_beginning(found: list[tuple[str, PatientSource]]) -> list[tuple[str, PatientSource]]:
    """Take a name that goes on where another one ends as that one: some words on crops are in no list of ours."""
    known = {name.casefold() for name, source in found if source == "name"}

    def shortest(name: str) -> str:
        ends = (m.start() for m in re.finditer(_GAP, name))
        return next((name[:end] for end in ends if name[:end].casefold() in known), name)

    return [(shortest(name) if source == "name" else name, source) for name, source in found]


def _one_spelling(found: list[tuple[str, PatientSource]]) -> list[tuple[str, PatientSource]]:
    """Take spellings that differ by case alone as one patient: the first that is met."""
    first: dict[str, str] = {}
    return [(first.setdefault(name.casefold(), name), source) for name, source in found]
