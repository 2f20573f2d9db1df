"""Pages that are the slide and pages that are not; the pictures are made here, tifffile writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from skimage.filters import gaussian
from skimage.transform import downscale_local_mean

from napari_monusac.core.errors import SlideError
from napari_monusac.io.slides.slide import Slide, open_slide
from napari_monusac.io.slides.slide_copy import copy_without_label, impersonal

TILES = {"tile": (64, 64), "metadata": None, "photometric": "rgb"}
STRIPS = {"rowsperstrip": 16, "metadata": None, "photometric": "rgb"}
SECRET = 7


def field(seed: int, height: int = 256, width: int = 384) -> np.ndarray:
    """A picture with structure at the size of nuclei, different for each seed."""
    noise = np.random.default_rng(seed).normal(0, 1, (height, width))
    smooth = gaussian(noise, 3)
    value = np.clip(170 + 60 * smooth / smooth.std(), 20, 250)
    return np.stack([value, value * 0.7, value * 0.9], -1).astype(np.uint8)


def half(image: np.ndarray, times: int = 2) -> np.ndarray:
    return np.rint(downscale_local_mean(image, (times, times, 1))).astype(np.uint8)


def label(height: int = 60, width: int = 40) -> np.ndarray:
    return np.full((height, width, 3), SECRET, np.uint8)


def write(path: Path, pages: Sequence[tuple[np.ndarray, dict[str, Any]]]) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for pixels, options in pages:
            writer.write(pixels, **options)
    return path


def opened(path: Path) -> Slide:
    return open_slide(path, channel_order="rgb")


FIRST_PAGES = {
    "Label Image": label(), "Label_Image": label(), "label 40x60": label(), "Label": label(), "Macro": label(80, 90),
    "Thumbnail": label(64, 96), "Probability_Image": label(64, 96), "Overview image": label(64, 96),
    "Aperio Image Library v12 \nlabel 40x60": label(), "Aperio Image Library v12 \nmacro 90x80": label(80, 90),
    "slide label": label(),
}  # fmt: skip


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("description", FIRST_PAGES)
def test_a_first_page_that_is_no_slide_is_passed_over(tmp_path: Path, description: str, tiled: bool) -> None:
    image = field(0)
    first = FIRST_PAGES[description], {**(TILES if tiled else STRIPS), "description": description}
    aperio = description.startswith("Aperio")
    names = ("Aperio Image Library v12\n384x256|MPP = 0.25",) * 2 if aperio else ("level=0 mag=20", "level=1 mag=10")
    path = write(
        tmp_path / "a.tif",
        [first, (image, {**TILES, "description": names[0]}), (half(image), {**TILES, "description": names[1]})],
    )
    with opened(path) as slide:
        assert slide.level_shapes == ((256, 384), (128, 192))
        assert np.array_equal(slide.read(0, 0, 256, 384), image)
        assert any("first page" in note and "page 2" in note for note in slide.notes)


def test_tags_alone_name_a_label_a_macro_and_a_reduced_page(tmp_path: Path) -> None:
    image = field(0)
    named = [(285, "s", 0, "Label", True)]
    for k, first in enumerate(
        ({**STRIPS, "extratags": named}, {**STRIPS, "subfiletype": 9}, {**STRIPS, "subfiletype": 1})
    ):
        path = write(tmp_path / f"{k}.tif", [(label(250, 380), first), (image, TILES)])
        with opened(path) as slide:
            assert np.array_equal(slide.read(0, 0, *slide.shape), image)


def test_a_label_without_any_mark_is_known_by_its_size(tmp_path: Path) -> None:
    image = field(0)
    path = write(tmp_path / "a.tif", [(label(), STRIPS), (image, STRIPS)])
    with opened(path) as slide:
        assert slide.shape == (256, 384)


@pytest.mark.parametrize("description", ["Label Image", "Macro", "Aperio Image Library v12 \nlabel 40x60"])
def test_a_file_of_a_label_alone_is_refused(tmp_path: Path, description: str) -> None:
    path = write(tmp_path / "a.tif", [(label(), {**STRIPS, "description": description})])
    with pytest.raises(SlideError, match=r"may identify a patient and is never shown — open the slide itself"):
        opened(path)


@pytest.mark.parametrize(
    "description",
    ["napari-monusac: red and blue of label_1.tif put right", "macrophages, labelled by two people", "label-free"],
)
def test_a_text_that_only_mentions_a_label_hides_no_image(tmp_path: Path, description: str) -> None:
    path = write(tmp_path / "a.tif", [(field(0), {**STRIPS, "description": description})])
    with opened(path) as slide:
        assert slide.shape == (256, 384)


def test_an_ome_label_is_known_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(label(200, 380), photometric="rgb", metadata={"Name": "slide.svs [label]"})
        writer.write(field(0), photometric="rgb", metadata={"Name": "slide.svs", "PhysicalSizeX": 0.25})
    with opened(path) as slide:
        assert slide.shape == (256, 384)
        assert slide.um_per_px == 0.25


@pytest.mark.parametrize("order", ["falling", "rising"])
def test_unmarked_pages_are_a_pyramid_where_their_pixels_agree(tmp_path: Path, order: str) -> None:
    image = field(0, 512, 768)
    levels = [image, half(image), half(image, 4)]
    pages = [(p, TILES) for p in (levels if order == "falling" else levels[::-1])]
    with opened(write(tmp_path / "a.tif", pages)) as slide:
        assert slide.level_shapes == ((512, 768), (256, 384), (128, 192))
        assert np.array_equal(slide.read(0, 0, 512, 768), image)
        assert np.array_equal(slide.read(0, 0, 256, 384, level=1), levels[1])


@pytest.mark.parametrize("times", [1.5, 2, 4])
def test_two_fields_of_one_aspect_are_no_pyramid(tmp_path: Path, times: float) -> None:
    one, other = field(1, 384, 576), field(2, int(384 / times), int(576 / times))
    with opened(write(tmp_path / "a.tif", [(one, TILES), (other, TILES)])) as slide:
        assert slide.level_shapes == ((384, 576),)
        assert any("holds 2 images" in note for note in slide.notes)
    if times < 2:  # a much smaller first page is no slide
        with opened(write(tmp_path / "b.tif", [(other, TILES), (one, TILES)])) as slide:
            assert np.array_equal(slide.read(0, 0, *slide.shape), other)


def test_a_pyramid_of_glass_stays_one(tmp_path: Path) -> None:
    image = np.full((256, 384, 3), 240, np.uint8)
    with opened(write(tmp_path / "a.tif", [(image, TILES), (half(image), TILES)])) as slide:
        assert len(slide.level_shapes) == 2


def test_a_copy_holds_neither_label_nor_what_names_people(tmp_path: Path) -> None:
    image = field(0)
    words = '<iScan Barcode="MUELLER 1950" ScanRes="0.25"/>'
    pages = [(label(), {**STRIPS, "description": "Label Image"}), (image, {**TILES, "description": words})]
    source, target = write(tmp_path / "a.svs", pages), tmp_path / "b.svs"
    copy_without_label(source, target)
    assert b"MUELLER" not in target.read_bytes()
    with tifffile.TiffFile(target) as tiff:
        assert len(tiff.pages) == 1
    with opened(target) as slide:
        assert np.array_equal(slide.read(0, 0, 256, 384), image)
        assert slide.um_per_px == pytest.approx(0.25)


def test_a_decimal_comma_survives_the_copy() -> None:
    text = "Aperio Image Library\n420x300|AppMag = 20|MPP = 0,500000|User = X|OriginalWidth = 420"
    assert impersonal(text) == "Aperio Image Library\n420x300|AppMag = 20|MPP = 0,500000|OriginalWidth = 420"


# --- red, green and blue in pages of their own ---


def planes_file(path: Path, planes: np.ndarray, form: str) -> Path:
    if form == "ome":
        tifffile.imwrite(path, planes, ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    elif form == "ome tiled":
        tifffile.imwrite(path, planes, ome=True, photometric="minisblack", tile=(64, 64), metadata={"axes": "CYX"})
    elif form == "imagej":
        tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "CYX", "mode": "composite"})
    elif form == "pages":
        write(path, [(p, {"photometric": "minisblack", "metadata": None}) for p in planes])
    elif form == "shaped":
        tifffile.imwrite(path, planes, photometric="minisblack", metadata={"axes": "CYX"})
    else:
        tifffile.imwrite(path, planes, photometric="minisblack", planarconfig="separate", metadata=None)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("form", ["ome", "ome tiled", "imagej", "pages", "shaped", "one page"])
def test_three_planes_are_colour(tmp_path: Path, form: str, dtype: type) -> None:
    image = field(0)
    image[0, 0] = 255
    planes = np.ascontiguousarray(np.moveaxis(image, -1, 0)).astype(dtype) * (257 if dtype is np.uint16 else 1)
    with opened(planes_file(tmp_path / "a.tif", planes, form)) as slide:
        assert np.array_equal(slide.read(0, 0, 256, 384), image)
        assert np.array_equal(slide.read(50, 60, 70, 80), image[50:120, 60:140])
        assert any("red, green and blue" in note for note in slide.notes)


def test_planes_are_ordered_by_their_names(tmp_path: Path) -> None:
    image = field(0)
    planes = np.moveaxis(image[..., ::-1], -1, 0)
    meta = {"axes": "CYX", "Channel": {"Name": ["Blue", "Green", "Red"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, ome=True, photometric="minisblack", metadata=meta)
    with opened(tmp_path / "a.ome.tif") as slide:
        assert np.array_equal(slide.read(0, 0, 256, 384), image)


def test_planes_have_levels_where_each_has_sub_ifds(tmp_path: Path) -> None:
    image = field(0)
    planes, small = np.moveaxis(image, -1, 0), np.moveaxis(half(image), -1, 0)
    options = {"tile": (64, 64), "photometric": "minisblack"}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        writer.write(planes, subifds=1, metadata={"axes": "CYX"}, **options)
        writer.write(small, subfiletype=1, **options)
    with opened(tmp_path / "a.ome.tif") as slide:
        assert slide.level_shapes == ((256, 384), (128, 192))
        assert np.array_equal(slide.read(0, 0, 128, 192, level=1), half(image))


@pytest.mark.parametrize(
    ("shape", "axes", "channels"),
    [((4, 64, 64), "CYX", None), ((2, 64, 64), "CYX", None), ((3, 64, 64), "CYX", ["DAPI", "FITC", "Cy5"])],
)
def test_fluorescence_is_refused_with_the_true_reason(
    tmp_path: Path, shape: tuple, axes: str, channels: list | None
) -> None:
    meta = {"axes": axes, **({"Channel": {"Name": channels}} if channels else {})}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", np.zeros(shape, np.uint8), ome=True, photometric="minisblack", metadata=meta
    )
    with pytest.raises(SlideError, match=rf"{shape[0]} .*channels.*fluorescence.*— export the H&E image as RGB"):
        opened(tmp_path / "a.ome.tif")


def test_more_channels_and_unnamed_stacks_are_refused(tmp_path: Path) -> None:
    five = np.zeros((64, 64, 5), np.uint8)
    tifffile.imwrite(tmp_path / "five.tif", five, photometric="rgb", metadata=None)
    tifffile.imwrite(tmp_path / "ij.tif", np.zeros((4, 64, 64), np.uint8), imagej=True, metadata={"axes": "CYX"})
    write(tmp_path / "pages.tif", [(np.zeros((64, 64), np.uint8), {"photometric": "minisblack", "metadata": None})] * 5)
    for name in ("five", "ij", "pages"):
        with pytest.raises(SlideError, match="fluorescence"):
            opened(tmp_path / f"{name}.tif")


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_three_grey_depths_or_times_are_no_colours(tmp_path: Path, axes: str) -> None:
    stack = np.stack([field(k)[..., 0] for k in range(3)])
    for name, options in (("a.ome.tif", {"ome": True}), ("b.tif", {"imagej": True}), ("c.tif", {})):
        path = tmp_path / name
        photometric = {} if name == "b.tif" else {"photometric": "minisblack"}
        tifffile.imwrite(path, stack, metadata={"axes": axes}, **photometric, **options)
        with opened(path) as slide:
            assert np.array_equal(slide.read(0, 0, 256, 384), np.repeat(stack[0][..., None], 3, -1))
            assert any("stack of 3" in note for note in slide.notes)


def test_the_channels_of_a_deep_file_are_found_by_its_order_of_planes(tmp_path: Path) -> None:
    """CZYX: the three colours of the first depth lie two pages apart."""
    one, other = field(1), field(2)
    planes = np.stack([np.moveaxis(one, -1, 0), np.moveaxis(other, -1, 0)], 1)
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, ome=True, photometric="minisblack", metadata={"axes": "CZYX"})
    with opened(tmp_path / "a.ome.tif") as slide:
        assert np.array_equal(slide.read(0, 0, 256, 384), one)


# --- bits, inks, transparency ---


@pytest.mark.parametrize("how", ["pixels", "MaxSampleValue", "OME", "ImageJ"])
def test_twelve_bits_in_sixteen(tmp_path: Path, how: str) -> None:
    image = field(0)
    image[0, 0] = 255
    deep = (image.astype(np.uint32) * 4095 // 255).astype(np.uint16)
    path = tmp_path / "a.tif"
    if how == "OME":
        tifffile.imwrite(path, deep, ome=True, photometric="rgb", metadata={"SignificantBits": 12})
    elif how == "ImageJ":
        planes = np.ascontiguousarray(np.moveaxis(deep, -1, 0))
        tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "CYX", "min": 0.0, "max": 3800.0})
    else:
        tags = [(281, "H", 3, (4095,) * 3, True)] if how == "MaxSampleValue" else []
        tifffile.imwrite(path, deep, photometric="rgb", metadata=None, extratags=tags)
    with opened(path) as slide:
        assert np.abs(slide.read(0, 0, 256, 384).astype(int) - image).max() <= 1
        assert any("read as 12 bits" in note for note in slide.notes) == (how == "pixels")


def test_what_the_file_says_goes_before_its_pixels(tmp_path: Path) -> None:
    """A dark crop of a 12-bit camera: its brightest pixel would be taken for 10 bits."""
    dark = np.full((64, 64, 3), 900, np.uint16)
    tags = [(281, "H", 3, (4095,) * 3, True)]
    tifffile.imwrite(tmp_path / "a.tif", dark, photometric="rgb", metadata=None, extratags=tags)
    with opened(tmp_path / "a.tif") as slide:
        assert (slide.read(0, 0, 64, 64) == round(900 * 255 / 4095)).all()


def test_transparent_tiff_is_glass(tmp_path: Path) -> None:
    image = field(0)
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[:, :100] = 0
    dark, want = image.copy(), image.copy()
    dark[:, :100], want[:, :100] = 0, 255
    for kind in ("unassalpha", "assocalpha"):
        path = tmp_path / f"{kind}.tif"
        tifffile.imwrite(path, np.dstack([dark, alpha]), photometric="rgb", extrasamples=[kind], metadata=None)
        with opened(path) as slide:
            assert np.array_equal(slide.read(0, 0, 256, 384), want)
            assert any("glass" in note for note in slide.notes)
    tifffile.imwrite(
        tmp_path / "b.tif", np.dstack([image, alpha * 0]), photometric="rgb", extrasamples=["unassalpha"], metadata=None
    )
    with opened(tmp_path / "b.tif") as slide:  # nowhere opaque: written wrongly
        assert np.array_equal(slide.read(0, 0, 256, 384), image)


def test_inks_and_ycbcr(tmp_path: Path) -> None:
    from PIL import Image

    image = field(0)
    cmyk = np.asarray(Image.fromarray(image).convert("CMYK"))
    tifffile.imwrite(tmp_path / "cmyk.tif", cmyk, photometric="separated", metadata=None)
    ycbcr = np.asarray(Image.fromarray(image).convert("YCbCr"))
    tifffile.imwrite(tmp_path / "ycbcr.tif", ycbcr, photometric="ycbcr", metadata=None)
    for name in ("cmyk", "ycbcr"):
        with opened(tmp_path / f"{name}.tif") as slide:
            assert np.abs(slide.read(0, 0, 256, 384).astype(int) - image).max() <= 3  # of 8-bit YCbCr


def test_a_palette_of_8_bits_is_not_black(tmp_path: Path) -> None:
    colors = np.zeros((3, 256), np.uint16)
    colors[:, 7] = (200, 100, 150)
    tifffile.imwrite(tmp_path / "a.tif", np.full((8, 8), 7, np.uint8), photometric="palette", colormap=colors)
    with opened(tmp_path / "a.tif") as slide:
        assert slide.read(0, 0, 1, 1).ravel().tolist() == [200, 100, 150]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["TL Blue", "TL Green", "TL Red"], "BGR"), (["Brightfield_R", "Brightfield_G", "Brightfield_B"], "RGB"),
        (["Red", "Green", "Blue", "Alpha"], "RGBA"), (["A", "B", "G", "R"], "ABGR"), (["mask", "r", "g", "b"], "-RGB"),
    ],
)  # fmt: skip
def test_names_of_channels_tell_colours_among_others(tmp_path: Path, names: list[str], order: str) -> None:
    image, clear = field(0), np.zeros((256, 384), bool)
    clear[:40] = "A" in order
    dark = np.where(clear[..., None], 0, image).astype(np.uint8)
    of = {"R": dark[..., 0], "G": dark[..., 1], "B": dark[..., 2], "A": np.where(clear, 0, 255), "-": clear * 9}
    planes = np.stack([of[c] for c in order]).astype(np.uint8)
    meta = {"axes": "CYX", "Channel": {"Name": names}, "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "um"}
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, ome=True, photometric="minisblack", metadata=meta)
    with opened(tmp_path / "a.ome.tif") as slide:
        want = np.where(clear[..., None], 255, image)
        assert np.array_equal(slide.read(0, 0, 256, 384), want)
        assert slide.um_per_px == 0.25
        assert any("left out: mask" in note for note in slide.notes) == ("mask" in names)
        assert any("glass" in note for note in slide.notes) == ("A" in order)


def test_twelve_bits_of_colour_and_alpha_in_planes_and_in_rgba(tmp_path: Path) -> None:
    image = field(0)
    image[0] = 255
    alpha = np.full(image.shape[:2], 4095)
    alpha[:40] = 0
    deep = np.dstack([np.rint(image / 255 * 4095), alpha]).astype(np.uint16)
    meta = {"axes": "CYX", "Channel": {"Name": ["Red", "Green", "Blue", "Alpha"]}}
    planes = np.moveaxis(deep, -1, 0)
    tifffile.imwrite(tmp_path / "p.ome.tif", planes, ome=True, photometric="minisblack", metadata=meta)
    write(tmp_path / "c.tif", [(deep, {"photometric": "rgb", "extrasamples": ["unassalpha"], "metadata": None})])
    want = image.copy()
    want[:40] = 255
    for name in ("p.ome.tif", "c.tif"):
        with opened(tmp_path / name) as slide:
            assert np.abs(slide.read(0, 0, 256, 384).astype(int) - want).max() <= 1


@pytest.mark.parametrize(("orientation", "word"), [(1, ""), (3, "turned"), (6, "turned"), (2, "mirrored")])
def test_an_image_that_asks_to_be_turned_is_said(tmp_path: Path, orientation: int, word: str) -> None:
    image = field(0)
    tag = (274, "H", 1, orientation, True)
    write(tmp_path / "a.tif", [(image, {"photometric": "rgb", "metadata": None, "extratags": [tag]})])
    with opened(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(0, 0, 256, 384), image)
        assert any(f"shown {word}" in note for note in slide.notes) == bool(word)
        assert word or not slide.notes


@pytest.mark.parametrize(("unit", "per"), [("MILLIMETER", 4000), ("MICROMETER", 4), ("CENTIMETER", 40000)])
def test_every_unit_of_the_resolution_tags(tmp_path: Path, unit: str, per: float) -> None:
    tifffile.imwrite(tmp_path / "a.tif", field(0), photometric="rgb", resolution=(per, per), resolutionunit=unit)
    with opened(tmp_path / "a.tif") as slide:
        assert slide.um_per_px == pytest.approx(0.25)


def test_hamamatsus_lens_is_a_magnification(tmp_path: Path) -> None:
    tag = (65421, "f", 1, 20.0, True)
    tifffile.imwrite(tmp_path / "a.tif", field(0), photometric="rgb", metadata=None, extratags=[tag])
    with opened(tmp_path / "a.tif") as slide:
        assert (slide.magnification, slide.um_per_px, slide.um_per_px_source) == (20, 0.5, "magnification")
