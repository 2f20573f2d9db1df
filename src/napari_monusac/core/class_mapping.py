"""What the classes of other data sets mean among the four: presets, each with what is lost.

A mapping is for predictions alone. What a name means in the user's own files is said by `core.classes`.

Sources: PanNuke (Gamper et al. 2020), CoNSeP and HoVer-Net (Graham et al. 2019), Lizard and CoNIC (Graham et al. 2021, 2024),
NuCLS (Amgad et al. 2022), MoNuSAC (Verma et al. 2021). Numbers are those of the files that HoVer-Net and CellViT write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from napari_monusac.core.classes import IGNORED, Meaning, NucleusClass, meaning_of, plain_name

_E, _L, _N, _M = NucleusClass.EPITHELIAL, NucleusClass.LYMPHOCYTE, NucleusClass.NEUTROPHIL, NucleusClass.MACROPHAGE
_NOT: Final = "Ignored"


@dataclass(frozen=True, slots=True)
class ClassMapping:
    """What each class of a model means here.

    Attributes
    ----------
    name : str
        Of the mapping: a preset's, or a file's.
    meanings : mapping of str to meaning
        By name, in lower case, or by number as text. What means ``Ignored`` is left out of the prediction, and counted.
    numbers : mapping of int to str
        Names of the numbers of files that have no names.
    lost : str
        What the four classes cannot tell apart any more, for people.
    """

    name: str
    meanings: Mapping[str, Meaning] = field(default_factory=dict)
    numbers: Mapping[int, str] = field(default_factory=dict)
    lost: str = ""

    def name_of(self, number: int) -> str:
        """Return what a number is called; the number where nobody says."""
        return self.numbers.get(number, str(number))

    def meaning(self, said: str) -> Meaning | None:
        """Return what a class means: by this mapping, else by its name (`core.classes.meaning_of`); None where unknown.

        Parameters
        ----------
        said : str
            The name in the file, or its number as text.
        """
        found = self.meanings.get(plain_name(said))
        return found if found is not None else meaning_of(said)


def class_mapping(name: str, rows: Mapping[str, Meaning], lost: str = "", first: int = 1) -> ClassMapping:
    """Make a mapping of classes that are numbered in their order.

    Parameters
    ----------
    name : str
        Of the mapping.
    rows : mapping of str to meaning
        Names as the data set spells them, in the order of their numbers.
    lost : str
        What is lost.
    first : int
        Number of the first one.
    """
    meanings = {plain_name(n): m for n, m in rows.items()}
    return ClassMapping(name, MappingProxyType(meanings), MappingProxyType(dict(enumerate(rows, first))), lost)


#: Without any: names that mean one of the four classes do so, all others are unclassified.
BY_NAME: Final = ClassMapping("by name")

#: In MoNuSAC stroma, vessels and dead cells have no outlines: what a model finds there is no error, it is left out.
PRESETS: Final[Mapping[str, ClassMapping]] = MappingProxyType(
    {
        m.name: m
        for m in (
            class_mapping("monusac", {"Epithelial": _E, "Lymphocyte": _L, "Macrophage": _M, "Neutrophil": _N}),
            class_mapping(
                "pannuke",
                {"Neoplastic": _E, "Inflammatory": _L, "Connective": _NOT, "Dead": _NOT, "Epithelial": _E},
                "neutrophils, macrophages, plasma cells and eosinophils count as lymphocytes; tumour cells that are not "
                "epithelial count as epithelial; connective and dead cells are left out",
            ),
            class_mapping(
                "consep",
                {
                    "Other": _NOT, "Inflammatory": _L, "Healthy epithelial": _E, "Malignant epithelial": _E,
                    "Fibroblast": _NOT, "Muscle": _NOT, "Endothelial": _NOT,
                },
                "all inflammatory cells count as lymphocytes; other, fibroblasts, muscle and endothelial cells are left out",
            ),
            class_mapping(
                "consep-merged",
                {"Miscellaneous": _NOT, "Inflammatory": _L, "Epithelial": _E, "Spindle": _NOT},
                "all inflammatory cells count as lymphocytes; spindle-shaped and miscellaneous cells are left out",
            ),
            class_mapping(
                "lizard",
                {
                    "Neutrophil": _N, "Epithelial": _E, "Lymphocyte": _L, "Plasma": NucleusClass.UNCLASSIFIED,
                    "Eosinophil": NucleusClass.UNCLASSIFIED, "Connective": _NOT,
                },
                "plasma cells and eosinophils are nuclei without a class; there are no macrophages; connective cells are "
                "left out",
            ),
            class_mapping(
                "nucls",
                {
                    "Tumor": _E, "Fibroblast": _NOT, "Lymphocyte": _L, "Plasma_cell": NucleusClass.UNCLASSIFIED,
                    "Macrophage": _M, "Mitotic_figure": _E, "Vascular_endothelium": _NOT, "Myoepithelium": _E,
                    "Apoptotic_body": _NOT, "Neutrophil": _N, "Ductal_epithelium": _E,
                    "Eosinophil": NucleusClass.UNCLASSIFIED,
                },
                "mitoses and myoepithelium count as epithelial; plasma cells and eosinophils are nuclei without a class; "
                "fibroblasts, endothelium and apoptotic bodies are left out",
            ),
        )
    }
)  # fmt: skip


def describe(mapping: ClassMapping) -> str:
    """Say in one line what each class of a mapping means."""
    named = {plain_name(n): n for n in mapping.numbers.values()}
    said = (f"{named.get(n, n)} = {m if m == IGNORED else _word(m)}" for n, m in mapping.meanings.items())
    return ", ".join(said)


def _word(meaning: Meaning) -> str:
    return meaning.label if isinstance(meaning, NucleusClass) else meaning
