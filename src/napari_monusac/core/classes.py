"""Classes of nuclei and of the ternary map: numbers, names and colours. The only place that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

Rgb = tuple[int, int, int]
PaletteName = Literal["imagescope", "colour-blind"]


class NucleusClass(IntEnum):
    """Values of a semantic map (uint8).

    `UNCLASSIFIED` marks nuclei of unknown class: left out of the semantic loss and of mIoU, kept in the ternary map.
    """

    BACKGROUND = 0
    EPITHELIAL = 1
    LYMPHOCYTE = 2
    NEUTROPHIL = 3
    MACROPHAGE = 4
    UNCLASSIFIED = 255

    @property
    def label(self) -> str:
        """The name as ImageScope files and tables spell it, for example ``"Epithelial"``."""
        return self.name.capitalize()

    @classmethod
    def from_label(cls, label: str) -> NucleusClass | None:
        """Return the class that an annotation file means by `label`, or None for an unknown name.

        An empty name and MoNuSeg's ``Description`` are `UNCLASSIFIED`. Case, plural and blanks do not matter, and names
        that mean the same class are known (`CLASS_NAMES`); the user's own names (`use_class_names`) come first. Of
        QuPath's derived classes (``Lymphocyte: Positive``) the part that is a class counts.
        """
        meaning = meaning_of(label)
        return meaning if isinstance(meaning, NucleusClass) else None


class TernaryClass(IntEnum):
    """Values of a ternary map (uint8)."""

    BACKGROUND = 0
    INSIDE = 1
    BOUNDARY = 2


#: The four classes that a nucleus can have, in the order of the challenge.
CLASSES: tuple[NucleusClass, ...] = (
    NucleusClass.EPITHELIAL,
    NucleusClass.LYMPHOCYTE,
    NucleusClass.NEUTROPHIL,
    NucleusClass.MACROPHAGE,
)
#: Names of the five channels of the semantic head, background first.
SEMANTIC_NAMES: tuple[str, ...] = ("Background", *(c.label for c in CLASSES))
#: Names of the three channels of the ternary head.
TERNARY_NAMES: tuple[str, ...] = ("Background", "Inside", "Boundary")
#: The name of regions that are left out of training and of scores. Never a class.
AMBIGUOUS = "Ambiguous"
#: Value of pixels that a loss or a score must leave out, in semantic and in ternary targets.
IGNORE_INDEX = 255
#: A nucleus of which the semantic head sees less than this (mean probability of any class over it) is unclassified: what
#: it would be called is read off the noise beside a certain background.
CLASS_THRESHOLD = 0.05

#: The name of regions that the user wants left out of maps: kept in the file, neither a nucleus nor Ambiguous.
IGNORED = "Ignored"
#: What a name in a file can mean; None of an unknown one.
Meaning = NucleusClass | Literal["Ambiguous", "Ignored"]

#: Names that mean a class and nothing else, in lower case and in the singular, without "cell", "nucleus" and the like.
#: What is not the same class is not here, and is reported as unknown: tumour and neoplastic (not always epithelial),
#: inflammatory, immune, leukocyte and granulocyte (several classes), plasma cell, eosinophil, stroma; nor are tissues
#: (epithelium, carcinoma), which are drawn as regions around nuclei.
CLASS_NAMES: Mapping[NucleusClass, tuple[str, ...]] = MappingProxyType(
    {
        NucleusClass.EPITHELIAL: (
            "epithelial", "benign epithelial", "malignant epithelial", "normal epithelial",
            "non neoplastic epithelial", "tumor epithelial", "tumour epithelial", "neoplastic epithelial",
            "cancer epithelial",
        ),
        NucleusClass.LYMPHOCYTE: (
            "lymphocyte", "lymphocytic", "t lymphocyte", "b lymphocyte", "tumor infiltrating lymphocyte",
            "tumour infiltrating lymphocyte",
        ),
        NucleusClass.NEUTROPHIL: ("neutrophil", "neutrophilic", "neutrophil granulocyte", "neutrophilic granulocyte"),
        NucleusClass.MACROPHAGE: ("macrophage", "histiocyte", "histiocytic"),
        NucleusClass.UNCLASSIFIED: (
            "", "description", "unclassified", "unlabelled", "unlabeled", "none", "cell", "nucleu", "nuclei",
        ),
    }
)  # fmt: skip
#: Words behind a name that say only that it is of nuclei.
_OF_NUCLEI = ("cell", "nucleus", "nuclei", "region")


def meaning_of(label: str) -> Meaning | None:
    """Return what a class name in a file means: a class, Ambiguous, ignored; None of an unknown name.

    Parameters
    ----------
    label : str
        As the file spells it.
    """
    return _given.get(plain_name(label)) or _known(label)


def use_class_names(names: Mapping[str, Meaning]) -> None:
    """Take the user's own names, in the place of those that were given before, for all files of this process.

    Parameters
    ----------
    names : mapping of str to meaning
        What each name means; they come before `CLASS_NAMES`.
    """
    _given.clear()
    _known.cache_clear()
    _given.update({plain_name(name): meaning for name, meaning in names.items()})


def class_names_given() -> dict[str, Meaning]:
    """Return the user's own names (lower case) and what they mean."""
    return dict(_given)


def classes_of_line_colors(colors: Sequence[int]) -> tuple[NucleusClass | None, ...]:
    """Return the classes that ImageScope's line colours (BGR integers) of layers without a name hint at.

    MoNuSAC gives each class its colour. A colour alone says nothing: 65280 (macrophages) is what ImageScope draws with
    unless told otherwise. The hint is taken where the layers have two colours or more and all are MoNuSAC's.
    """
    found = tuple(_BY_LINE_COLOR.get(color) for color in colors)
    return found if len(set(found)) > 1 and None not in found else (None,) * len(found)


@lru_cache(maxsize=4096)
def _known(label: str) -> Meaning | None:
    found = _BY_NAME.get(_singular(label))
    if found is None and ":" in label:
        parts = {meaning_of(part) for part in label.split(":")} - {None, NucleusClass.UNCLASSIFIED}
        found = parts.pop() if len(parts) == 1 else None
    return found


def plain_name(label: str) -> str:
    """Return a class name as names are compared: lower case, blanks for hyphens and underscores."""
    return " ".join(label.replace("_", " ").replace("-", " ").casefold().split())


def _singular(label: str) -> str:
    words = plain_name(label).split()
    if len(words) > 1 and words[-1].removesuffix("s") in _OF_NUCLEI:
        words.pop()
    return " ".join([*words[:-1], words[-1].removesuffix("s")]) if words else ""


_given: dict[str, Meaning] = {}
_BY_NAME: Mapping[str, Meaning] = MappingProxyType(
    {name: number for number, names in CLASS_NAMES.items() for name in names} | {"ambiguou": "Ambiguous"}
)

#: ImageScope's ``LineColor`` (a BGR integer) of each layer in MoNuSAC files.
LINE_COLORS: Mapping[str, int] = MappingProxyType(
    {"Epithelial": 255, "Lymphocyte": 65535, "Neutrophil": 16711680, "Macrophage": 65280, AMBIGUOUS: 8421504, "": 65280}
)

_BY_LINE_COLOR: Mapping[int, NucleusClass] = MappingProxyType({LINE_COLORS[c.label]: c for c in CLASSES})

#: Class colours as ImageScope shows MoNuSAC, and an Okabe-Ito palette for colour-blind eyes (RGB, 0 to 255).
PALETTES: Mapping[PaletteName, Mapping[NucleusClass, Rgb]] = MappingProxyType(
    {
        "imagescope": MappingProxyType(
            {
                NucleusClass.EPITHELIAL: (255, 0, 0),
                NucleusClass.LYMPHOCYTE: (255, 255, 0),
                NucleusClass.NEUTROPHIL: (0, 0, 255),
                NucleusClass.MACROPHAGE: (0, 255, 0),
                NucleusClass.UNCLASSIFIED: (200, 200, 200),
            }
        ),
        "colour-blind": MappingProxyType(
            {
                NucleusClass.EPITHELIAL: (213, 94, 0),
                NucleusClass.LYMPHOCYTE: (240, 228, 66),
                NucleusClass.NEUTROPHIL: (0, 114, 178),
                NucleusClass.MACROPHAGE: (0, 158, 115),
                NucleusClass.UNCLASSIFIED: (220, 220, 220),
            }
        ),
    }
)

#: Ternary map: inside calm, boundary bright.
TERNARY_COLORS: Mapping[TernaryClass, Rgb] = MappingProxyType(
    {TernaryClass.INSIDE: (70, 130, 180), TernaryClass.BOUNDARY: (255, 176, 0)}
)
AMBIGUOUS_COLOR: Rgb = (128, 128, 128)
#: Colours that nuclei take turns with where each is to be told from its neighbours.
N_NUCLEUS_COLORS = 12
#: Difference map: five colours that stay apart for colour-blind eyes (Okabe-Ito, Wong 2011).
DIFFERENCE_COLORS: Mapping[str, Rgb] = MappingProxyType(
    {
        "right": (0, 158, 115),
        "missed": (213, 94, 0),
        "spurious": (86, 180, 233),
        "wrong class": (240, 228, 66),
        "loose edge": (204, 121, 167),
    }
)


def class_colors(palette: PaletteName = "imagescope") -> dict[int, tuple[float, float, float, float]]:
    """Colours of a semantic map as RGBA in 0 to 1, keyed by class number; background is transparent.

    Parameters
    ----------
    palette : {"imagescope", "colour-blind"}
        ImageScope's own colours or the Okabe-Ito palette.
    """
    colors = {0: (0.0, 0.0, 0.0, 0.0)}
    for number, (r, g, b) in PALETTES[palette].items():
        colors[int(number)] = (r / 255, g / 255, b / 255, 1.0)
    return colors
