"""One table of formats: the manifest, the guide and the collection are views of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import napari_monusac
from napari_monusac.io.slides.formats import FORMATS, IMAGE_SUFFIXES, colours_sure, is_image_name, is_slide_name

ROOT = Path(__file__).resolve().parents[3]


def test_the_manifest_claims_every_suffix_in_both_cases() -> None:
    manifest = yaml.safe_load((Path(napari_monusac.__file__).parent / "napari.yaml").read_text())
    patterns = manifest["contributions"]["readers"][0]["filename_patterns"]
    for suffix in IMAGE_SUFFIXES:
        assert {f"*{suffix}", f"*{suffix.upper()}"} <= set(patterns)


def test_the_guide_has_every_format_in_its_table() -> None:
    lines = [line for line in (ROOT / "docs" / "formats.md").read_text().splitlines() if line.startswith("|")]
    for known in FORMATS:
        assert any(all(f"`{s}`" in line for s in known.suffixes) for line in lines), known.name


@pytest.mark.parametrize(
    ("name", "image", "slide", "sure"),
    [
        ("a.svs", True, True, True),
        ("A.NDPI", True, True, True),
        ("a.ome.zarr", True, True, False),
        ("a.tif", True, False, False),
        ("a.jpeg", True, False, False),
        ("a.xml", False, False, False),
    ],
)
def test_what_a_suffix_says(name: str, image: bool, slide: bool, sure: bool) -> None:
    path = Path(name)
    assert (is_image_name(path), is_slide_name(path), colours_sure(path)) == (image, slide, sure)
