"""DICOM whole slides: one slide a series, by any of its files, by both libraries; nothing of the patient."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_monusac import open_collection, open_slide
from napari_monusac.core.errors import SlideError
from napari_monusac.io.doctor.examine import examine
from napari_monusac.io.doctor.mend import fix
from napari_monusac.io.slides.dicom import DicomHeader, dicom_header, slide_of, slides_of
from napari_monusac.plugin.reader import get_reader


@pytest.mark.parametrize(("rle", "reader", "difference"), [(False, "openslide", 2), (True, "wsidicom", 0)])
def test_a_series_is_one_slide_by_any_of_its_files_or_its_folder(
    made: ModuleType, image: np.ndarray, tmp_path: Path, rle: bool, reader: str, difference: int
) -> None:
    paths = made.dicom(tmp_path / "s", image, rle=rle)
    for path in (*paths, tmp_path / "s"):
        with open_slide(path) as slide:
            assert slide.reader == reader
            assert (slide.um_per_px, slide.um_per_px_source, slide.magnification) == (0.5, "slide", 20)
            assert slide.level_shapes == ((512, 768), (256, 384), (128, 192))
            assert np.abs(slide.read(0, 0, 512, 768).astype(int) - image).max() <= difference
            assert np.abs(slide.read(30, 250, 100, 100).astype(int) - image[30:130, 250:350]).max() <= difference
            for k, step in ((1, 2), (2, 4)):
                low = slide.read(0, 0, 512 // step, 768 // step, k)
                assert np.abs(low.astype(int) - image[::step, ::step]).max() <= difference


def test_both_libraries_read_the_same_pixels(made: ModuleType, image: np.ndarray, tmp_path: Path) -> None:
    from wsidicom import WsiDicom

    paths = made.dicom(tmp_path, image)
    with open_slide(paths[0]) as slide, WsiDicom.open([paths[0], paths[2], paths[4]]) as other:
        reference = np.asarray(other.read_region((100, 50), 0, (400, 300)))
        np.testing.assert_array_equal(slide.read(50, 100, 300, 400), reference)


@pytest.mark.shared
def test_a_real_series_is_read_as_wsidicom_reads_it(shared_data: Path) -> None:
    from wsidicom import WsiDicom

    path = shared_data / "slides" / "boxes_0.dcm"
    with open_slide(shared_data / "slides" / "boxes_1.dcm") as slide, WsiDicom.open(path) as other:
        assert (slide.shape, slide.um_per_px, slide.magnification) == ((16, 16), 0.499, 20)
        np.testing.assert_array_equal(slide.read(0, 0, 16, 16), np.asarray(other.read_region((0, 0), 0, (16, 16))))


def test_of_a_header_only_four_fields_are_read_and_nothing_of_the_patient_is_told(
    made: ModuleType, image: np.ndarray, tmp_path: Path
) -> None:
    volume, label, *_ = made.dicom(tmp_path, image)
    assert dicom_header(volume) == DicomHeader("1.2.3.4", is_whole_slide=True, is_volume=True)
    assert dicom_header(label) == DicomHeader("1.2.3.4", is_whole_slide=True, is_volume=False)
    assert dicom_header(Path(__file__)) is None
    with open_slide(volume) as slide:
        assert "SECRET" not in repr((slide.tags, slide.scale, slide.notes, slide))
    layers = get_reader(str(volume))(str(volume))
    assert "SECRET" not in repr(layers[0][1])


def test_several_series_in_a_folder_are_several_crops(made: ModuleType, image: np.ndarray, tmp_path: Path) -> None:
    made.dicom(tmp_path, image, series="1.2.3.5")
    made.dicom(tmp_path, image[:256], series="1.2.3.6")
    collection = open_collection(tmp_path)
    assert [c.image.name for c in collection.crops] == ["I50.dcm", "I60.dcm"]
    assert collection.find(tmp_path / "I63.dcm") == collection.crops[1]
    with pytest.raises(SlideError, match="holds 2 DICOM slides"):
        open_slide(tmp_path)
    report = examine(collection)
    assert not [f for f in report.findings if f.severity == "error"]


def test_the_reader_claims_whole_slides_and_no_radiology(made: ModuleType, image: np.ndarray, tmp_path: Path) -> None:
    import pydicom

    paths = made.dicom(tmp_path, image)
    assert get_reader(str(paths[0])) is not None
    assert get_reader(str(tmp_path)) is not None
    data = pydicom.dcmread(paths[0])
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.save_as(tmp_path / "ct.dcm")
    assert get_reader(str(tmp_path / "ct.dcm")) is None
    assert tmp_path / "ct.dcm" not in slides_of(tmp_path.iterdir())
    with pytest.raises(SlideError, match="but no whole slide"):
        open_slide(tmp_path / "ct.dcm")


def test_a_label_alone_is_never_shown(made: ModuleType, image: np.ndarray, tmp_path: Path) -> None:
    paths = made.dicom(tmp_path, image)
    for path in paths:
        if path != paths[1]:
            path.unlink()
    with pytest.raises(SlideError, match="never shown"):
        slide_of(paths[1])


def test_a_mended_copy_is_a_plain_tiff_with_nothing_of_the_patient(
    made: ModuleType, image: np.ndarray, tmp_path: Path
) -> None:
    root = tmp_path / "in"
    path = made.dicom(root, image)[0]
    assert b"SECRET" in path.read_bytes()
    regions = "".join(
        f'<Region Id="{k}"><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in corners)
        + "</Vertices></Region>"
        for k, corners in enumerate(
            [[(10, 10), (40, 10), (40, 40), (10, 40)], [(-20, 60), (30, 60), (30, 90), (-20, 90)]]
        )
    )
    path.with_suffix(".xml").write_text(
        '<Annotations MicronsPerPixel="0.5"><Annotation><Attributes><Attribute Name="Epithelial" Value=""/></Attributes>'
        f"<Regions>{regions}</Regions></Annotation></Annotations>"
    )
    written = fix(examine(open_collection(root)), tmp_path / "out", everything=True)
    assert {m.target.name for m in written} == {"I40.tif", "I40.xml"}
    copy = tmp_path / "out" / "I40.tif"
    assert b"SECRET" not in copy.read_bytes()
    with open_slide(copy) as slide, open_slide(path) as first:
        assert slide.um_per_px == pytest.approx(0.5)
        np.testing.assert_array_equal(slide.read(0, 0, 512, 768), first.read(0, 0, 512, 768))


def test_without_the_extra_the_message_says_which(
    made: ModuleType, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made.dicom(tmp_path, image, rle=True)[0]
    real = builtins.__import__

    def missing(name: str, *rest: object, **more: object) -> object:
        if name == "wsidicom":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SlideError, match=r'pip install "napari-monusac\[dicom\]"'):
        open_slide(path)


@pytest.mark.parametrize("rle", [False, True])
def test_mutated_files_give_one_line_or_pixels(
    made: ModuleType,
    image: np.ndarray,
    tmp_path: Path,
    mutated: Callable[..., bytes],
    outcome: Callable[..., str],
    rle: bool,
) -> None:
    path = made.dicom(tmp_path, image[:300, :300], rle=rle)[0]
    data = path.read_bytes()
    outcomes = []
    for k in range(100):
        path.write_bytes(mutated(data, np.random.default_rng((8, k))))
        outcomes.append(outcome(path))
    assert set(outcomes) == {"read", "SlideError"}
