from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_monusac.core.errors import SlideError
from napari_monusac.io.slides.slide import open_slide
from napari_monusac.io.slides.thumbnails import thumbnail, thumbnails_folder


@pytest.fixture
def slide_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MONUSAC_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.tif"
    left, right = np.full((200, 200, 3), (200, 60, 90), np.uint8), np.full((200, 200, 3), (90, 60, 200), np.uint8)
    tifffile.imwrite(
        path, np.concatenate([left, right], axis=1), photometric="rgb", tile=(64, 64), compression="deflate"
    )
    return path


def test_a_thumbnail_shows_the_slide_at_its_proportions(slide_path: Path) -> None:
    with open_slide(slide_path, channel_order="rgb") as slide:
        small = thumbnail(slide, 96)
    assert small.shape == (48, 96, 3)
    assert small.dtype == np.uint8
    assert small[24, 10].tolist() == [200, 60, 90]
    assert small[24, 80].tolist() == [90, 60, 200]


def test_it_comes_from_the_cache_until_the_file_changes(slide_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(slide_path, channel_order="rgb") as slide:
        first = thumbnail(slide)
        monkeypatch.setattr(type(slide), "read", lambda *a, **k: pytest.fail("read again"))
        assert np.array_equal(thumbnail(slide), first)
        monkeypatch.undo()
    monkeypatch.setenv("MONUSAC_CACHE", str(slide_path.parent / "cache"))
    with open_slide(slide_path, channel_order="bgr") as slide:
        assert thumbnail(slide)[24, 10].tolist() == [90, 60, 200]  # another order is another picture
    tifffile.imwrite(slide_path, np.full((50, 40, 3), 7, np.uint8), photometric="rgb")
    with open_slide(slide_path, channel_order="rgb") as slide:
        assert (thumbnail(slide) == 7).all()


def test_a_damaged_cache_or_none_at_all_only_costs_time(slide_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(slide_path, channel_order="rgb") as slide:
        first = thumbnail(slide)
        for file in thumbnails_folder().iterdir():
            file.write_bytes(b"no png")
        assert np.array_equal(thumbnail(slide), first)
        for file in thumbnails_folder().iterdir():
            file.write_bytes(b"")
        assert np.array_equal(thumbnail(slide), first)
        monkeypatch.setenv("MONUSAC_CACHE", os.devnull)
        assert np.array_equal(thumbnail(slide), first)


def test_a_damaged_slide_says_so(slide_path: Path) -> None:
    data = bytearray(slide_path.read_bytes())
    with tifffile.TiffFile(slide_path) as tiff:
        at = tiff.pages[0].dataoffsets[3]
    data[at : at + 20] = bytes(20)
    slide_path.write_bytes(bytes(data))
    with open_slide(slide_path, channel_order="rgb") as slide, pytest.raises(SlideError, match="tile or strip 3"):
        thumbnail(slide)


def test_one_variable_moves_thumbnails_and_sample_and_the_older_name_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_monusac.plugin import sample_data

    monkeypatch.delenv("MONUSAC_CACHE", raising=False)
    monkeypatch.setenv("NAPARI_MONUSAC_CACHE", str(tmp_path / "older"))
    assert thumbnails_folder() == tmp_path / "older" / "thumbnails"
    monkeypatch.setenv("MONUSAC_CACHE", str(tmp_path / "newer"))
    assert thumbnails_folder() == tmp_path / "newer" / "thumbnails"
    made: list[Path] = []
    monkeypatch.setattr(
        "napari_monusac.synth.collection.write_collection", lambda folder, *_a, **_k: made.append(folder)
    )
    assert sample_data.sample_collection().parent == made[0].parent == tmp_path / "newer"
