"""Smaller levels of a large flat image: made once in the background, equal to means of its pixels, kept on disk."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_monusac import open_slide
from napari_monusac.core.errors import SlideError
from napari_monusac.io.slides import growing
from napari_monusac.io.slides.growing import GrowingPyramid, make_room, pyramids_folder, shrunken
from napari_monusac.io.slides.slide import channel_sample, growing_slide
from napari_monusac.io.slides.thumbnails import thumbnail


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("napari_monusac.io.slides.slide.LARGE_PX", 10_000)
    monkeypatch.setattr(growing, "_SMALLEST_PX", 60)
    monkeypatch.setattr(growing, "_BAND_ROWS", 32)
    monkeypatch.setenv("MONUSAC_CACHE", str(tmp_path / "cache"))


def picture(shape: tuple[int, int] = (203, 333)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def means(image: np.ndarray) -> np.ndarray:
    """Means of 4 x 4 px, in plain numpy; edges are repeated."""
    height, width = (-(-n // 4) * 4 for n in image.shape[:2])
    whole = np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="edge")
    return whole.reshape(height // 4, 4, width // 4, 4, 3).mean((1, 3))


def write(path: Path, image: np.ndarray) -> Path:
    if path.suffix == ".png":
        Image.fromarray(image).save(path)
    else:
        tifffile.imwrite(path, image, photometric="rgb", rowsperstrip=16, compression="deflate")
    return path


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("expensive", [False, True])
def test_levels_are_means_of_the_image_and_come_from_the_cache_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, expensive: bool
) -> None:
    image = picture()
    path = write(tmp_path / f"a{suffix}", image)
    if expensive:  # each tile is said to cost as much as the whole: the largest level is kept, too
        monkeypatch.setattr(growing, "_EXPENSIVE_PX", 10)
    first, second = shrunken(image), None
    assert np.abs(first - means(image)).max() <= 0.5
    second = shrunken(first)
    with open_slide(path) as slide:
        assert slide.level_shapes == ((203, 333), (51, 84), (13, 21))
        np.testing.assert_array_equal(slide.read(10, 20, 150, 200), image[10:160, 20:220])
        assert slide.growing.wait(60)
        for k, expected in enumerate((image, first, second)):
            np.testing.assert_array_equal(slide.read(0, 0, *slide.level_shapes[k], k), expected)
            np.testing.assert_array_equal(np.asarray(slide.levels[k]), expected)
        with open_slide(path):  # one that is only opened does not take its place
            pass
        assert growing_slide(path) is slide
    for _ in range(200):
        if list(pyramids_folder().glob("*/about.json")):
            break
        time.sleep(0.05)
    kept = [p.name for p in sorted(pyramids_folder().iterdir()) if not p.name.startswith(".")]
    assert len(kept) == 1
    monkeypatch.setattr(GrowingPyramid, "_grow", lambda *_: pytest.fail("made twice"))
    with open_slide(path) as slide:
        slide.growing.start()
        assert slide.growing.done
        np.testing.assert_array_equal(slide.read(0, 0, 51, 84, 1), first)


def test_another_image_of_the_same_name_is_made_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", picture())
    with open_slide(path) as slide:
        assert slide.growing.wait(60)
    other = 255 - picture()
    write(path, other)
    with open_slide(path) as slide:
        assert slide.growing.wait(60)
        np.testing.assert_array_equal(slide.read(0, 0, 51, 84, 1), shrunken(other))


class SlowLevel:
    """A level that gives a band once it may."""

    shape, segment_shape = (203, 333), (16, 333)

    def __init__(self, image: np.ndarray) -> None:
        self.image, self.may, self.read_rows = image, threading.Semaphore(0), 0

    def read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        assert self.may.acquire(timeout=60)
        self.read_rows += height
        return self.image[y : y + height, x : x + width]


def test_what_is_not_there_yet_is_white_and_nothing_is_read_before_it_is_looked_at(tmp_path: Path) -> None:
    image = picture()
    path = write(tmp_path / "a.tif", image)
    base = SlowLevel(image)
    pyramid = GrowingPyramid(path, base)
    assert pyramid.fraction == 0
    assert (pyramid.read(1, 0, 0, 51, 84) == 255).all()
    base.may.release()  # one band of 32 rows
    for _ in range(400):
        if pyramid.fraction > 0:
            break
        time.sleep(0.01)
    assert pyramid.fraction == 32 / 203
    level = pyramid.read(1, 0, 0, 51, 84)
    np.testing.assert_array_equal(level[:8], shrunken(image)[:8])
    assert (level[8:] == 255).all()
    pyramid.stop()
    base.may.release(10)
    assert not pyramid.wait(30)
    assert not list(pyramids_folder().glob("*/about.json"))


def test_a_damaged_strip_is_said_the_rest_is_shown_and_nothing_is_kept(tmp_path: Path) -> None:
    image = picture()
    path = write(tmp_path / "a.tif", image)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[6]
    data = bytearray(path.read_bytes())
    data[offset : offset + 30] = b"\x55" * 30
    path.write_bytes(bytes(data))
    with open_slide(path, channel_order="rgb") as slide:
        assert slide.growing.wait(60)
        assert "cannot be decoded" in slide.growing.problem
        level = slide.read(0, 0, 51, 84, 1)
        np.testing.assert_array_equal(level[:24], shrunken(image)[:24])
        assert (level[24:32] == 255).all()
        with pytest.raises(SlideError, match="cannot be decoded"):
            slide.read(96, 0, 16, 16)
    time.sleep(0.2)
    assert not list(pyramids_folder().glob("*/about.json"))


def test_without_a_cache_folder_the_levels_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MONUSAC_CACHE", str(tmp_path / "file"))
    image = picture()
    with open_slide(write(tmp_path / "a.tif", image)) as slide:
        assert slide.growing.wait(60)
        np.testing.assert_array_equal(slide.read(0, 0, 51, 84, 1), shrunken(image))


def test_stain_and_thumbnail_never_see_a_level_that_is_half_made(tmp_path: Path) -> None:
    image = picture((1500, 1400))
    with open_slide(write(tmp_path / "a.tif", image)) as slide:
        np.testing.assert_array_equal(channel_sample(slide), image[238:1262, 188:1212])
        small = thumbnail(slide)
        assert slide.growing.fraction == 0
        assert not list((tmp_path / "cache" / "thumbnails").glob("*.png"))
        assert slide.growing.wait(60)
        assert thumbnail(slide).shape == small.shape
        assert len(list((tmp_path / "cache" / "thumbnails").glob("*.png"))) == 1


def test_the_oldest_pyramids_go_where_the_limit_is_reached(tmp_path: Path) -> None:
    import os

    for k in range(4):
        (tmp_path / str(k)).mkdir()
        (tmp_path / str(k) / "0.npy").write_bytes(bytes(100))
        os.utime(tmp_path / str(k), (1000 + k, 1000 + k))
    make_room(tmp_path, 150, lambda: 400)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == ["2", "3"]
