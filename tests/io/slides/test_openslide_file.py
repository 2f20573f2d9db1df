"""Slides of other scanners: pixels against those that were written, scale, objective, the scanned area, damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import openslide
import pytest

from napari_monusac import open_slide
from napari_monusac.core.errors import SlideError
from napari_monusac.io.slides.openslide_file import OpenSlideLevel, open_with_openslide


def _write(made: ModuleType, name: str, folder: Path, image: np.ndarray) -> Path:
    if name == "vms":
        return made.vms(folder, image)
    path = folder / {"philips": "p.tiff", "trestle": "t.tif", "ndpi": "n.ndpi", "scn": "l.scn"}[name]
    getattr(made, name)(path, image)
    return path


@pytest.mark.parametrize(
    ("name", "shape", "um_per_px", "magnification", "levels", "difference"),
    [
        ("philips", (512, 768), 0.25, None, 2, 0),
        ("trestle", (464, 688), 0.5, 20, 1, 0),
        ("ndpi", (512, 768), 0.5, 20, 5, 5),
        ("scn", (512, 768), 0.5, 20, 2, 0),
        ("vms", (512, 768), 0.5, 20, 7, 5),
    ],
)
def test_pixels_scale_and_objective_are_those_that_were_written(
    made: ModuleType,
    image: np.ndarray,
    tmp_path: Path,
    name: str,
    shape: tuple[int, int],
    um_per_px: float,
    magnification: float,
    levels: int,
    difference: int,
) -> None:
    with open_slide(_write(made, name, tmp_path, image)) as slide:
        assert slide.reader == "openslide"
        assert (slide.shape, slide.um_per_px, slide.um_per_px_source) == (shape, um_per_px, "slide")
        assert (slide.magnification, len(slide.level_shapes)) == (magnification, levels)
        assert slide.channel_order == "rgb"
        pixels = slide.read(0, 0, *shape)
        assert np.abs(pixels.astype(int) - image[: shape[0], : shape[1]]).max() <= difference
        # tiles are cut and put together again at odd places
        part = slide.read(101, 333, 300, 350)
        np.testing.assert_array_equal(part, pixels[101:401, 333:683])
        np.testing.assert_array_equal(np.asarray(slide.levels[0][101:401, 333:683]), part)
        for k, level in enumerate(slide.level_shapes):
            assert slide.read(0, 0, *level, k).shape == (*level, 3)


def test_only_the_scanned_area_of_a_larger_slide_is_shown_and_its_place_is_told(
    made: ModuleType, image: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "l.scn"
    made.scn(path, image, place=(100, 200))
    whole = openslide.OpenSlide(path)
    assert whole.dimensions == (1268, 812)
    with open_slide(path) as slide:
        assert (slide.origin_px, slide.parent_shape) == ((100, 200), (812, 1268))
        assert slide.level_shapes == ((512, 768), (128, 192))
        assert any("scanned area" in note for note in slide.notes)
        reference = np.asarray(whole.read_region((200, 100), 0, (768, 512)).convert("RGB"))
        np.testing.assert_array_equal(slide.read(0, 0, 512, 768), reference)
        low = slide.read(0, 0, 128, 192, 1)
        assert np.abs(low.astype(int) - image[::4, ::4]).mean() < 3


def test_nothing_that_may_name_a_patient_is_told(made: ModuleType, image: np.ndarray, tmp_path: Path) -> None:
    for name in ("philips", "scn"):
        with open_slide(_write(made, name, tmp_path, image)) as slide:
            assert "SECRET" not in repr((slide.tags, slide.scale, slide.notes, repr(slide)))


@pytest.mark.parametrize("name", ["boxes.tiff", "small.svs"])
@pytest.mark.shared
def test_the_adapter_gives_what_openslide_itself_reads(shared_data: Path, name: str) -> None:
    path = shared_data / "slides" / name
    whole = openslide.OpenSlide(path)
    content = open_with_openslide(path)
    assert [level.shape for level in content.levels] == [(h, w) for w, h in whole.level_dimensions]
    for k, level in enumerate(content.levels):
        assert isinstance(level, OpenSlideLevel)
        reference = np.asarray(whole.read_region((0, 0), k, whole.level_dimensions[k]))
        assert reference[..., 3].min() == 255
        np.testing.assert_array_equal(level.read(0, 0, *level.shape), reference[..., :3])
    content.close()


def test_what_was_not_scanned_is_white(made: ModuleType, image: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "p.tiff"
    made.philips(path, image)
    whole = openslide.OpenSlide(path)
    content = open_with_openslide(path)
    # beyond the image OpenSlide gives clear pixels
    assert np.asarray(whole.read_region((768, 0), 0, (8, 8)))[..., 3].max() == 0
    source = content.levels[0]._source  # type: ignore[attr-defined]
    from napari_monusac.io.slides.depth import on_glass

    rgba = source.read(0, 764, 0, 8, 8)
    assert (on_glass(rgba[..., :3], rgba[..., 3])[:, 4:] == 255).all()


def test_a_missing_part_and_a_cut_off_file_are_one_line(made: ModuleType, image: np.ndarray, tmp_path: Path) -> None:
    vms = made.vms(tmp_path, image)
    (tmp_path / "a(1,0).jpg").unlink()
    with pytest.raises(SlideError, match=r"a\.vms: cannot be opened .*copy it again"):
        open_slide(vms)
    ndpi = tmp_path / "n.ndpi"
    made.ndpi(ndpi, image)
    ndpi.write_bytes(ndpi.read_bytes()[:2000])
    with pytest.raises(SlideError) as caught:
        open_slide(ndpi)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "content", "said"),
    [
        (".mrxs", b"\xff\xd8\xff\xe0 a label's picture", "no .mrxs slide"),
        (".vms", b"hello", "no .vms slide"),
        (".svslide", b"SQLite format 3\0", "no .svslide slide"),
        (".ndpi", b"", "empty"),
        (".bif", b"\0" * 200, "zeros only"),
        (".scn", b"PK\x03\x04", "ZIP archive"),
    ],
)
def test_foreign_files_with_the_suffix_of_a_slide_are_told(
    tmp_path: Path, suffix: str, content: bytes, said: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(SlideError, match=said):
        open_slide(path)


def test_a_tiff_that_names_a_scanner_but_is_no_slide_of_it_is_read_as_a_tiff(image: np.ndarray, tmp_path: Path) -> None:
    import tifffile

    text = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport"><Attribute Name="DICOM_PIXEL_SPACING" '
        'Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">"0.0002" "0.0002"</Attribute></DataObject>'
    )
    path = tmp_path / "exported.tiff"
    tifffile.imwrite(
        path, image[:300, :420], photometric="rgb", tile=(256, 256), description=text, software="Philips DP v1.0", metadata=None
    )  # fmt: skip
    assert openslide.OpenSlide.detect_format(path) == "philips"
    with pytest.raises(openslide.OpenSlideError):
        openslide.OpenSlide(path)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, *slide.shape), image[:300, :420])
        assert slide.um_per_px == pytest.approx(0.2)
        (note,) = [n for n in slide.notes if "names a scanner" in n]
    assert str(tmp_path) not in note


def test_after_a_damaged_tile_the_rest_is_still_read(made: ModuleType, image: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "p.tiff"
    made.philips(path, image)
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        offset, count = (values[5] for values in (tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts))
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = b"\x55" * count
    path.write_bytes(bytes(data))
    with open_slide(path) as slide:
        with pytest.raises(SlideError, match="cannot be read at"):
            slide.read(256, 512, 256, 256)
        np.testing.assert_array_equal(slide.read(0, 0, 256, 256), image[:256, :256])


@pytest.mark.parametrize("name", ["philips", "trestle", "ndpi", "scn", "vms"])
def test_mutated_files_give_one_line_or_pixels(
    made: ModuleType,
    image: np.ndarray,
    tmp_path: Path,
    name: str,
    mutated: Callable[..., bytes],
    outcome: Callable[..., str],
) -> None:
    path = _write(made, name, tmp_path, image)
    data = path.read_bytes()
    outcomes = []
    for k in range(100):
        path.write_bytes(mutated(data, np.random.default_rng((8, k))))
        outcomes.append(outcome(path))
    assert set(outcomes) == {"read", "SlideError"}
