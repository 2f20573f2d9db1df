"""Files of class names."""

from __future__ import annotations

import pytest

from napari_monusac.core.classes import NucleusClass
from napari_monusac.core.errors import FileProblem
from napari_monusac.io.annotations.class_names import read_class_names, write_class_names

NAMES = {
    "Tumor": NucleusClass.EPITHELIAL,
    "Plasma, cell": NucleusClass.LYMPHOCYTE,
    "Blurred": "Ambiguous",
    "Artefact": "Ignored",
    "Other": NucleusClass.UNCLASSIFIED,
}


def test_what_is_written_is_read(tmp_path):
    write_class_names(NAMES, tmp_path / "new" / "names.csv")
    assert read_class_names(tmp_path / "new" / "names.csv") == NAMES


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "Tumor,epithelial cells\nArtefact,ignore\n"),
        ("a.csv", "\ufeffname;class\r\nTumor;Epithelial\r\n\r\nArtefact;Ignored\r\n"),
        ("a.toml", '[classes]\nTumor = "Epithelial"\nArtefact = "ignored"\n'),
        ("a.toml", 'Tumor = "Epithelial"\nArtefact = "ignored"\n'),
    ],
)
def test_forms_that_people_write(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_class_names(tmp_path / name) == {"Tumor": NucleusClass.EPITHELIAL, "Artefact": "Ignored"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "Tumor,Stroma\n", "no class"),
        ("a.csv", "Tumor\n", "no name and class"),
        ("a.csv", "Tumor,Epithelial\nTumor,Lymphocyte\n", "twice"),
        ("a.toml", "Tumor = ", "no TOML"),
        ("a.toml", "classes = 3", "no table"),
        ("a.toml", "Tumor = 3", "no class"),
    ],
)
def test_wrong_files_are_refused_with_one_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(FileProblem, match=said) as caught:
        read_class_names(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileProblem, match="cannot be read"):
        read_class_names(tmp_path / "none.csv")
