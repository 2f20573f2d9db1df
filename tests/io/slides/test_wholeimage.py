from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from napari_monusac.core.errors import SlideError
from napari_monusac.io.slides import whole_image as wholeimage
from napari_monusac.io.slides.slide import open_slide


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 256, (5, 6, 3), np.uint8), np.ones((8, 8, 1), np.uint8))


def pixels_of(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    with open_slide(path, channel_order="rgb") as slide:
        return slide.read(0, 0, *slide.shape), slide.notes


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("grey", [True, False])
def test_png_of_16_bits(tmp_path: Path, image: np.ndarray, bits: int, grey: bool) -> None:
    """OpenCV writes what Pillow cannot: 16 bits of colour."""
    image[:2] = 255  # glass
    deep = (image.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep[..., 0] if grey else deep[..., ::-1])
    pixels, notes = pixels_of(tmp_path / "a.png")
    want = np.repeat(image[..., :1], 3, -1) if grey else image
    assert np.abs(pixels.astype(int) - want).max() <= 1
    assert any(f"read as {bits} bits" in note for note in notes) == (bits < 16)
    assert any("grey" in note for note in notes) == grey


def test_transparent_png_is_glass(tmp_path: Path, image: np.ndarray) -> None:
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[:, :20] = 0
    dark = image.copy()
    dark[:, :20] = 0
    want = image.copy()
    want[:, :20] = 255
    Image.fromarray(np.dstack([dark, alpha])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([dark[..., 0], alpha]), "LA").save(tmp_path / "la.png")
    cv2.imwrite(str(tmp_path / "deep.png"), np.dstack([dark[..., ::-1], alpha]).astype(np.uint16) * 257)
    pixels, notes = pixels_of(tmp_path / "rgba.png")
    assert np.array_equal(pixels, want)
    assert any("glass" in note for note in notes)
    assert np.array_equal(pixels_of(tmp_path / "la.png")[0], np.repeat(want[..., :1], 3, -1))
    assert np.array_equal(pixels_of(tmp_path / "deep.png")[0], want)


def test_alpha_that_is_nowhere_opaque_is_left_out(tmp_path: Path, image: np.ndarray) -> None:
    Image.fromarray(np.dstack([image, np.zeros(image.shape[:2], np.uint8)])).save(tmp_path / "a.png")
    assert np.array_equal(pixels_of(tmp_path / "a.png")[0], image)


def test_palette_with_and_without_a_clear_entry(tmp_path: Path) -> None:
    index = np.zeros((8, 8), np.uint8)
    index[:, 4:] = 1
    picture = Image.fromarray(index, "P")
    picture.putpalette([0, 0, 0, 200, 100, 150])
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "clear.png", transparency=0)
    assert pixels_of(tmp_path / "plain.png")[0][0, [0, 7]].tolist() == [[0, 0, 0], [200, 100, 150]]
    assert pixels_of(tmp_path / "clear.png")[0][0, [0, 7]].tolist() == [[255, 255, 255], [200, 100, 150]]


def test_a_clear_colour_of_an_rgb_png(tmp_path: Path, image: np.ndarray) -> None:
    image[:, :20] = (1, 2, 3)
    Image.fromarray(image).save(tmp_path / "a.png", transparency=(1, 2, 3))
    pixels, _ = pixels_of(tmp_path / "a.png")
    assert (pixels[:, :20] == 255).all()
    assert np.array_equal(pixels[:, 24:], image[:, 24:])


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L"])
def test_jpeg_of_other_colours(tmp_path: Path, image: np.ndarray, mode: str) -> None:
    """The reference is the picture that was saved: JPEG of flat 8 px blocks loses little."""
    picture = Image.fromarray(image).convert(mode)
    picture.save(tmp_path / "a.jpg", quality=100, subsampling=0)
    pixels, notes = pixels_of(tmp_path / "a.jpg")
    want = np.repeat(np.asarray(picture)[..., None], 3, -1) if mode == "L" else image
    assert np.abs(pixels.astype(int) - want).max() <= 6
    assert any("grey" in note for note in notes) == (mode == "L")


def write_huge_png(path: Path, side: int) -> None:
    """A grey PNG of one bit, all white, made without its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    packer = zlib.compressobj(9)
    row = b"\0" + b"\xff" * (-(-side // 8))
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def test_more_than_179_megapixels_open(tmp_path: Path) -> None:
    write_huge_png(tmp_path / "a.png", 13_500)
    with open_slide(tmp_path / "a.png", channel_order="rgb") as slide:
        assert slide.shape == (13_500, 13_500)
        assert (slide.read(13_000, 13_000, 20, 20) == 255).all()


def test_more_than_memory_holds_is_refused_with_the_true_reason(
    tmp_path: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(image).save(tmp_path / "a.png")
    monkeypatch.setattr(wholeimage, "budget_bytes", lambda: 1000)
    with pytest.raises(SlideError, match=r"48 x 40 px must be decoded whole.*— save it as a tiled TIFF") as caught:
        open_slide(tmp_path / "a.png")
    assert "damaged" not in str(caught.value)


def test_png_states_a_microscopes_scale_but_no_printers(tmp_path: Path, image: np.ndarray) -> None:
    picture = Image.fromarray(image)
    picture.save(tmp_path / "micro.png", dpi=(101600, 101600))
    picture.save(tmp_path / "print.png", dpi=(300, 300))
    picture.save(tmp_path / "scan.png", dpi=(2400, 2400))
    picture.save(tmp_path / "a.jpg", dpi=(50800, 50800))
    found = {}
    for name in ("micro.png", "print.png", "scan.png", "a.jpg"):
        with open_slide(tmp_path / name) as slide:
            found[name] = (slide.um_per_px and round(slide.um_per_px, 6), slide.um_per_px_source)
    assert found == {"micro.png": (0.25, "png"), "print.png": (None, ""), "scan.png": (None, ""), "a.jpg": (None, "")}


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_that_asks_to_be_turned_is_said(tmp_path: Path, image: np.ndarray, suffix: str) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        path = tmp_path / f"{orientation}{suffix}"
        Image.fromarray(image).save(path, exif=exif, quality=100)
        pixels, notes = pixels_of(path)
        assert pixels.shape == image.shape
        assert any(f"orientation {orientation}" in note for note in notes) == (orientation > 1)


def test_twelve_bits_of_colour_and_of_alpha(tmp_path: Path, image: np.ndarray) -> None:
    alpha = np.full(image.shape[:2], 4095)
    alpha[:, :20] = 0
    image[:2] = 255
    deep = np.dstack([np.rint(image[..., ::-1] / 255 * 4095), alpha]).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    want = image.copy()
    want[:, :20] = 255
    assert np.abs(pixels_of(tmp_path / "a.png")[0].astype(int) - want).max() <= 1
