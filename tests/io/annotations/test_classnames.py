"""Files of class names."""

from __future__ import annotations

import numpy as np
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


def test_a_name_that_means_something_in_the_window_alone_is_said_once(tmp_path, monkeypatch):
    from napari_monusac.core.nuclei import Annotation, Nucleus
    from napari_monusac.io.annotations.class_names import kept_names_file, tell_of_kept_names
    from napari_monusac.io.annotations.files import read_annotation, write_annotation

    monkeypatch.setenv("MONUSAC_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("MONUSAC_CLASSES", raising=False)
    square = np.array([[2, 1], [2, 5], [8, 5], [8, 1]], float)

    def said(*labels, times=1):
        told = []
        write_annotation(Annotation(tuple(Nucleus(square, n) for n in labels)), tmp_path / "a.xml")
        tell_of_kept_names(told.append)
        try:
            for _ in range(times):
                read_annotation(tmp_path / "a.xml")
        finally:
            tell_of_kept_names(None)
        return told

    assert said("TUMOUR") == [], "the window was given no names"
    write_class_names({"tumour": NucleusClass.EPITHELIAL, "benign epithelial": "Ignored"}, kept_names_file())
    assert said("Lymphocyte", "Plasma cell", "Epithelial") == [], "none of them is in the table"
    assert said("Lymphocyte", "TUMOUR", times=3) == [
        f"note: 'TUMOUR' means Epithelial in the window, but not here: to take the names given there, add --classes "
        f"{kept_names_file()}"
    ]
    assert "means Ignored in the window" in said("benign epithelial")[0], "a name that is known here otherwise, too"
    told = []
    read_annotation(tmp_path / "a.xml")
    assert told == [], "nobody asked"
    kept_names_file().write_text("tumour")
    with pytest.raises(FileProblem, match="no name and class"):
        tell_of_kept_names(told.append)
    monkeypatch.setenv("MONUSAC_CLASSES", str(tmp_path / "mine.csv"))
    tell_of_kept_names(told.append)  # the user has said which names hold: the window's are not asked
