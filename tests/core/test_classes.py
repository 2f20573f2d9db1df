"""What names in annotation files mean."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_monusac.core.classes import (
    CLASSES,
    LINE_COLORS,
    NucleusClass,
    classes_of_line_colors,
    meaning_of,
    use_class_names,
)
from napari_monusac.core.nuclei import Annotation, Nucleus

E, L, N, M, U = (*CLASSES, NucleusClass.UNCLASSIFIED)


@pytest.mark.parametrize(
    ("label", "meaning"),
    [
        ("Epithelial", E),
        (" epithelial cells ", E),
        ("EPITHELIAL_CELL", E),
        ("Non-neoplastic epithelial", E),
        ("Lymphocytes", L),
        ("Lymphocyte nuclei", L),
        ("Lymphocyte: Positive", L),
        ("Tumor: Lymphocyte", L),
        ("neutrophil granulocytes", N),
        ("Histiocytes", M),
        ("macrophage", M),
        ("Ambiguous regions", "Ambiguous"),
        ("", U),
        ("Description", U),
        ("Nucleus", U),
        ("Cells", U),
        # not the same class, or a tissue
        ("Tumor", None),
        ("Neoplastic", None),
        ("Inflammatory", None),
        ("Immune cells", None),
        ("Epithelium", None),
        ("Plasma cells", None),
        ("Eosinophil", None),
        ("Epithelial: Lymphocyte", None),
    ],
)
def test_names_that_mean_a_class_and_nothing_else(label, meaning):
    assert meaning_of(label) == meaning
    assert NucleusClass.from_label(label) is (meaning if isinstance(meaning, NucleusClass) else None)


def test_names_of_the_user_come_first():
    square = np.array([[0, 0], [0, 5], [5, 5.0]])
    labels = ("Tumor", "Lymphocyte", "Artefact", "Blurred", "Stroma")
    found = Annotation(tuple(Nucleus(square, label) for label in labels))
    try:
        use_class_names({"tumor": E, "Lymphocyte": M, "artefact": "Ignored", "blurred": "Ambiguous"})
        assert [n.nucleus_class for n in found.nuclei] == [E, M, U]
        assert [r.label for r in found.ambiguous] == ["Blurred"]
        assert found.unknown_labels == {"Stroma": 1}
        use_class_names({})
        assert found.unknown_labels == {"Tumor": 1, "Artefact": 1, "Blurred": 1, "Stroma": 1}
    finally:
        use_class_names({})


def test_line_colors_are_a_hint_only_where_they_differ():
    colors = [LINE_COLORS[c.label] for c in CLASSES]
    assert classes_of_line_colors(colors) == CLASSES
    assert classes_of_line_colors([65280]) == (None,)  # what ImageScope draws with unless told otherwise
    assert classes_of_line_colors([65280, 65280]) == (None, None)
    assert classes_of_line_colors([255, 12345]) == (None, None)


def test_commands_take_a_file_of_names(tmp_path: Path):
    """In a process of its own: the names are those of a process."""
    from PIL import Image

    Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(tmp_path / "a.png")
    ring = [[5, 5], [20, 5], [20, 20], [5, 20], [5, 5]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": "Tumor"},
    }
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    (tmp_path / "names.csv").write_text("name,class\nTumor,epithelial\n")

    def codes(*options: str) -> set[str]:
        command = [sys.executable, "-m", "napari_monusac", "doctor", str(tmp_path), "--json", *options]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return {f["code"] for f in found["findings"]}

    assert "unknown-class" in codes()
    assert "unknown-class" not in codes("--classes", str(tmp_path / "names.csv"))
