from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_monusac.core.errors import SlideError
from napari_monusac.io.slides.slide import open_slide
from napari_monusac.io.slides.tags import aperio_tags

CROP = (
    "Aperio Image Library v12.4.0 \r\n86272x162560 [73856,47413 96x80] (32x32) J2K/KDU Q=30;"
    "Aperio Image Library v12.1.3 \r\n86272x162560 (256x256) J2K/KDU Q=70;Mirax|AppMag = 40|MPP = 0.19448"
)
WHOLE = "Aperio Image Library v10 \r\n46000x32914 [0,100 46000x32814] (256x256) JPEG/RGB Q=30|AppMag = 20|MPP = 0.499"


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 255, (10, 12, 3), np.uint8), np.ones((8, 8, 1), np.uint8))


def write(path: Path, pixels: np.ndarray, **options: object) -> Path:
    options.setdefault("photometric", "rgb")
    tifffile.imwrite(path, pixels, **options)
    return path


LOSSLESS = {
    "tiled deflate": {"tile": (32, 32), "compression": "deflate"},
    "tiled LZW with predictor": {"tile": (32, 32), "compression": "lzw", "predictor": True},
    "striped LZW": {"rowsperstrip": 7, "compression": "lzw"},
    "one strip": {"rowsperstrip": 80},
    "PackBits": {"rowsperstrip": 16, "compression": "packbits"},
    "zstd, big endian, BigTIFF": {"tile": (16, 48), "compression": "zstd", "byteorder": ">", "bigtiff": True},
    "JPEG 2000, reversible": {"tile": (32, 32), "compression": "jpeg2000", "compressionargs": {"reversible": True}},
}


@pytest.mark.parametrize("options", LOSSLESS.values(), ids=LOSSLESS.keys())
def test_every_form_equals_tifffile(tmp_path: Path, image: np.ndarray, options: dict) -> None:
    path = write(tmp_path / "a.tif", image, **options)
    with open_slide(path, channel_order="rgb") as slide:
        assert slide.shape == (80, 96)
        assert np.array_equal(slide.read(0, 0, 80, 96), image)
        assert np.array_equal(slide.read(13, 17, 29, 41), image[13:42, 17:58])
        assert np.array_equal(np.asarray(slide.levels[0]), image)


@pytest.mark.parametrize("compression", ["jpeg", "aperio_jp2000_rgb"])
def test_lossy_tiles_equal_tifffile(tmp_path: Path, image: np.ndarray, compression: str) -> None:
    path = write(tmp_path / "a.tif", image, tile=(32, 32), compression=compression)
    with open_slide(path, channel_order="rgb") as slide:
        assert np.array_equal(slide.read(0, 0, 80, 96), tifffile.imread(path))


def test_aperio_ycbcr_comes_back_as_rgb(tmp_path: Path, image: np.ndarray) -> None:
    """33003 holds YCbCr in the stream; the reference conversion is Pillow's."""
    ycbcr = np.asarray(Image.fromarray(image).convert("YCbCr"))
    path = write(tmp_path / "a.tif", ycbcr, tile=(96, 96), compression="jpeg2000",
                 compressionargs={"reversible": True, "mct": False})  # fmt: skip
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(33003)
    with open_slide(path, channel_order="rgb") as slide:
        assert np.abs(slide.read(0, 0, 80, 96).astype(int) - image).max() <= 2


def test_alpha_grey_palette_planar_and_16_bit(tmp_path: Path, image: np.ndarray) -> None:
    rgba = np.dstack([image, np.full((80, 96), 255, np.uint8)])
    with open_slide(write(tmp_path / "a.tif", rgba, compression="lzw", extrasamples=["unassalpha"])) as slide:
        assert slide.read(0, 0, 80, 96).shape == (80, 96, 3)
        assert any("fourth channel" in note for note in slide.notes)
    planar = write(tmp_path / "p.tif", np.moveaxis(image, -1, 0), planarconfig="separate", tile=(32, 32))
    grey = write(tmp_path / "g.tif", image[..., 0], photometric="minisblack")
    colors = np.zeros((3, 256), np.uint16)
    colors[:, 7] = (65535, 0, 256 * 9)
    palette = write(tmp_path / "c.tif", np.full((8, 8), 7, np.uint8), photometric="palette", colormap=colors)
    deep = write(tmp_path / "d.tif", image.astype(np.uint16) * 257)
    with open_slide(planar, channel_order="rgb") as slide:
        assert np.array_equal(slide.read(0, 0, 80, 96), image)
    with open_slide(grey, channel_order="rgb") as slide:
        assert np.array_equal(slide.read(0, 0, 80, 96), np.repeat(image[..., :1], 3, -1))
    with open_slide(palette, channel_order="rgb") as slide:
        assert slide.read(0, 0, 1, 1).ravel().tolist() == [255, 0, 9]
    with open_slide(deep, channel_order="rgb") as slide:
        assert np.array_equal(slide.read(0, 0, 80, 96), image)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_png_and_jpeg(tmp_path: Path, image: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(image).save(path)
    with open_slide(path, channel_order="rgb") as slide:
        assert np.array_equal(slide.read(8, 8, 30, 40), np.asarray(Image.open(path))[8:38, 8:48])
        assert slide.um_per_px is None
        assert slide.um_per_px_source == ""


def write_aperio_pyramid(path: Path, image: np.ndarray, description: str = CROP) -> None:
    """As Aperio does: base, thumbnail (striped), reduced level (tiled), label, macro (striped)."""
    with tifffile.TiffWriter(path) as writer:
        tiles = {"tile": (16, 16), "compression": "aperio_jp2000_rgb", "photometric": "rgb", "metadata": None}
        strips = {"rowsperstrip": 16, "compression": "jpeg", "photometric": "rgb", "metadata": None}
        writer.write(image, description=description, **tiles)
        writer.write(image[::2, ::2], description="Aperio Image Library \n96x80 -> 48x40 - ", **strips)
        writer.write(image[::4, ::4], description="Aperio Image Library \n96x80 -> 24x20 (16x16)", **tiles)
        writer.write(np.full((40, 48, 3), 1, np.uint8), description="Aperio Image Library \nlabel 48x40", **strips)
        writer.write(np.full((20, 24, 3), 2, np.uint8), description="Aperio Image Library \nmacro 24x20", **tiles)


def test_a_pyramid_has_its_levels_and_never_label_or_macro(tmp_path: Path, image: np.ndarray) -> None:
    path = tmp_path / "a.svs"
    write_aperio_pyramid(path, image)
    with open_slide(path) as slide:
        assert slide.level_shapes == ((80, 96), (20, 24))
        pages = tifffile.TiffFile(path).pages
        assert np.array_equal(np.asarray(slide.levels[1]), pages[2].asarray())
        assert slide.um_per_px == pytest.approx(0.19448)
        assert slide.um_per_px_source == "tiff"
        assert slide.magnification == 40
        assert slide.origin_px == (47413, 73856)
        assert slide.parent_shape == (162560, 86272)


def test_sub_ifds_make_a_pyramid(tmp_path: Path, image: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, subifds=2, tile=(16, 16), photometric="rgb")
        writer.write(image[::2, ::2], subfiletype=1, tile=(16, 16), photometric="rgb")
        writer.write(image[::4, ::4], subfiletype=1, tile=(16, 16), photometric="rgb")
    with open_slide(path, channel_order="rgb") as slide:
        assert slide.level_shapes == ((80, 96), (40, 48), (20, 24))
        assert np.array_equal(slide.read(3, 4, 10, 11, level=1), image[::2, ::2][3:13, 4:15])
        with pytest.raises(SlideError, match="no level 3"):
            slide.read(0, 0, 1, 1, level=3)


def test_the_bracket_of_a_whole_slide_is_no_origin() -> None:
    tags = aperio_tags(WHOLE, (32814, 46000))
    assert tags.origin_px is None
    assert tags.um_per_px == 0.499
    assert aperio_tags(CROP, (80, 96)).origin_px == (47413, 73856)
    assert aperio_tags(CROP, (81, 96)).origin_px is None
    assert aperio_tags("Aperio 1x1 [a,b cxd]|MPP = 9..9|AppMag = ", (1, 1)).um_per_px is None


def test_scale_from_tags_xml_and_user(tmp_path: Path, image: np.ndarray) -> None:
    tagged = write(tmp_path / "tagged.tif", image, resolution=(40000, 40000), resolutionunit="centimeter")
    silly = write(tmp_path / "silly.tif", image, resolution=(72, 72), resolutionunit="inch")
    for path in (tagged, silly):
        path.with_suffix(".xml").write_text('<Annotations MicronsPerPixel="0.252"/>')
    with open_slide(tagged) as slide:
        assert (slide.um_per_px, slide.um_per_px_source) == (pytest.approx(0.25), "tiff")
    with open_slide(silly) as slide:
        assert (slide.um_per_px, slide.um_per_px_source) == (0.252, "xml")
    with open_slide(silly, um_per_px=0.5) as slide:
        assert (slide.um_per_px, slide.um_per_px_source) == (0.5, "given")
    with pytest.raises(SlideError, match="um_per_px 900"):
        open_slide(silly, um_per_px=900)


def test_outside_is_white_and_sizes_are_checked(tmp_path: Path, image: np.ndarray) -> None:
    with open_slide(write(tmp_path / "a.tif", image), channel_order="bgr") as slide:
        out = slide.read(-5, 90, 20, 20)
        assert np.array_equal(out[5:, :6], image[:15, 90:, ::-1])
        assert (out[:5] == 255).all()
        assert (out[:, 6:] == 255).all()
        assert (slide.read(500, 500, 3, 4) == 255).all()
        with pytest.raises(SlideError, match="positive"):
            slide.read(0, 0, -1, 4)
        with pytest.raises(SlideError, match="GiB"):
            slide.read(0, 0, 200_000, 200_000)


def test_a_huge_slide_opens_without_being_read(tmp_path: Path) -> None:
    """100,000 x 80,000 px, all tiles the same few bytes: only the tags are read, and only what is asked for."""
    path = tmp_path / "huge.svs"
    tile = imagecodecs.jpeg8_encode(np.full((256, 256, 3), 200, np.uint8))
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(
            (tile for _ in range(391 * 313)), shape=(80000, 100000, 3), dtype=np.uint8, tile=(256, 256),
            compression="jpeg", photometric="rgb", description=WHOLE, metadata=None,
        )  # fmt: skip
    code = (
        "import sys, psutil\nfrom napari_monusac.io.slides.slide import open_slide\n"
        "with open_slide(sys.argv[1]) as s:\n"
        "    a = s.read(40000, 50000, 300, 300)\n"
        "    b = s.levels[0][79990:, 99000:].compute()\n"
        "    assert a.shape == (300, 300, 3) and b.shape == (10, 1000, 3) and abs(int(a[0, 0, 0]) - 200) < 3\n"
        # not ru_maxrss: a child's begins with what its parent had
        "print(psutil.Process().memory_info().rss / 2**20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 700  # MiB; the pixels would take 24,000
    with open_slide(path) as slide, pytest.raises(SlideError, match="GiB"):
        slide.read(0, 0, *slide.shape)


def test_many_threads_read_the_same(tmp_path: Path, image: np.ndarray) -> None:
    path = write(tmp_path / "a.tif", np.tile(image, (4, 4, 1)), tile=(16, 16), compression="deflate")
    with open_slide(path, channel_order="rgb") as slide, ThreadPoolExecutor(8) as pool:
        want = np.tile(image, (4, 4, 1))
        spots = [(y, x) for y in range(0, 250, 13) for x in range(0, 300, 29)]
        for (y, x), got in zip(spots, pool.map(lambda s: slide.read(*s, 60, 70), spots), strict=True):
            assert np.array_equal(got, want[y : y + 60, x : x + 70])


def test_dask_chunks_are_whole_tiles(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((3000, 2500, 3), np.uint8), tile=(240, 240), compression="deflate")
    with open_slide(path, channel_order="rgb") as slide:
        array = slide.levels[0]
        assert array.chunks[0][0] % 240 == 0
        assert array.chunks[2] == (3,)
        assert array.dtype == np.uint8


def test_errors_name_file_and_mend_in_one_line(tmp_path: Path, image: np.ndarray) -> None:
    whole = write(tmp_path / "a.tif", image, compression="deflate", tile=(32, 32)).read_bytes()
    cut, text, floats = tmp_path / "cut.tif", tmp_path / "text.tif", tmp_path / "floats.tif"
    cut.write_bytes(whole[: len(whole) // 2])
    text.write_text("no image")
    write(floats, image.astype(np.float32))
    empty = tmp_path / "empty.svs"
    empty.touch()
    half_png = tmp_path / "half.png"
    Image.fromarray(image).save(half_png)
    half_png.write_bytes(half_png.read_bytes()[:200])
    for path in (cut, text, floats, empty, tmp_path / "missing.svs", tmp_path, half_png):
        with pytest.raises(SlideError) as caught, open_slide(path, channel_order="rgb") as slide:
            slide.read(0, 0, 80, 96)
        assert str(path) in str(caught.value)
        assert " — " in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(SlideError, match="auto, rgb or bgr"):
        open_slide(tmp_path / "a.tif", channel_order="gbr")  # type: ignore[arg-type]


def test_a_stream_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    """The JPEG 2000 header of a tile says 60,000 x 60,000 px: refused before memory is given to it."""
    path = write(tmp_path / "a.tif", np.full((32, 32, 3), 9, np.uint8), tile=(32, 32), compression="aperio_jp2000_rgb")
    data = bytearray(path.read_bytes())
    at = data.find(b"\xff\x4f\xff\x51")
    data[at + 8 : at + 16] = (60000).to_bytes(4, "big") * 2
    path.write_bytes(bytes(data))
    with pytest.raises(SlideError, match="claims 60000 x 60000 px"):
        open_slide(path, channel_order="rgb").read(0, 0, 32, 32)


def test_closed_slides_say_so(tmp_path: Path, image: np.ndarray) -> None:
    slide = open_slide(write(tmp_path / "ä ö.tif", image), channel_order="rgb")
    slide.close()
    with pytest.raises(SlideError, match="closed"):
        slide.read(0, 0, 3, 3)


@pytest.mark.shared
def test_real_crops(shared_data: Path) -> None:
    path = next(shared_data.rglob("TCGA-5P-A9K0-01Z-00-DX1_1.svs"))
    with open_slide(path) as slide:
        assert slide.shape == (1153, 1307)
        assert slide.origin_px == (47413, 73856)
        assert slide.um_per_px == 0.19448
        assert len(slide.levels) == 1
        assert np.array_equal(slide.read(0, 0, *slide.shape), tifffile.imread(path, key=0))
    for path in sorted(shared_data.rglob("*.tif"))[::6]:
        with open_slide(path) as slide:
            want = tifffile.imread(path)[..., :3]
            want = want[..., ::-1] if "Testing" in str(path) else want
            assert np.array_equal(slide.read(0, 0, *slide.shape), want)
            assert slide.channels_swapped == ("Testing" in str(path))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"), (bytes(4000), "zeros"), (b"BM\xc6\xc4\x05\0\0\0", "BMP"), (b"RIFF\xa4_\0\0WEBPVP8 ", "WebP"),
        (b"GIF89a\xa4\x01", "GIF"), (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"), (bytes(128) + b"DICM", "DICOM"), (b"ZISRAWFILE", "CZI"),
        (b"<!DOCTYPE html><html>", "web page"), (b"version https://git-lfs.github.com/spec/v1", "LFS"),
        (b"PK\x03\x04\x14\0", "ZIP"), (b"%PDF-1.7", "PDF"), (b"\0\0\0\x18ftypheic", "HEIC"), (b"no image", "starts with b'no image'"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    for suffix in (".tif", ".png"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        with pytest.raises(SlideError, match=what) as caught:
            open_slide(path)
        assert str(path) in str(caught.value)
