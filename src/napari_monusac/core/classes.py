"""Classes of nuclei and of the ternary map: numbers, names and colours. The only place that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
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

        An empty name and MoNuSeg's ``Description`` are `UNCLASSIFIED`. Case and surrounding blanks do not matter.
        """
        return _BY_LABEL.get(label.strip().casefold())


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

_BY_LABEL: Mapping[str, NucleusClass] = MappingProxyType(
    {c.label.casefold(): c for c in CLASSES}
    | dict.fromkeys(("", "description", "unclassified"), NucleusClass.UNCLASSIFIED)
)

#: ImageScope's ``LineColor`` (a BGR integer) of each layer in MoNuSAC files.
LINE_COLORS: Mapping[str, int] = MappingProxyType(
    {"Epithelial": 255, "Lymphocyte": 65535, "Neutrophil": 16711680, "Macrophage": 65280, AMBIGUOUS: 8421504, "": 65280}
)

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
