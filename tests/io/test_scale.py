"""Scales as files state them; the right values were worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_monusac.core.errors import ShapeError, SlideError
from napari_monusac.io.scale import (
    Resolution,
    check_enlargement,
    magnification_of,
    plausible,
    scale_number,
    scale_of,
    unit_um,
)

INCH, CM = 25400.0, 10000.0
APERIO = "Aperio Image Library v12.0.15 \r\n420x300 [0,0 420x300] (240x240) JPEG/RGB Q=30"


def ome(attributes: str, size: str = 'SizeX="420" SizeY="300"') -> str:
    pixels = f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" {size} {attributes}/>'
    return f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>{pixels}</Image></OME>'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.25", 0.25), ("0,250000", 0.25), ("2.5e-01", 0.25), ("2,5E-1", 0.25), (" .25 ", 0.25), ("+0.25", 0.25),
        ("0.25 um", 0.25), ("0,25 µm/px", 0.25), ("250 nm", 0.25), ("0.00025 mm/pixel", 0.25), ("1,250.5 nm", 1.2505),
        ("1.250,5 nm", 1.2505), ("1.234.567", 1234567), ("1,000", 1.0), ("9..9", None), ("", None), (None, None),
        ("0", None), ("-0.25", None), ("a few", None), ("0.25 px", None), ("0.25 0.5", None), ("nan", None), ("1e999", None),
    ],
)  # fmt: skip
def test_numbers_of_all_spellings(text: str | None, value: float | None) -> None:
    assert scale_number(text) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("name", "um"),
    [
        ("um", 1), ("µm", 1), ("μm", 1), ("Âµm", 1), ("\\u00B5m", 1), ("&#181;m", 1), ("micron", 1), ("microns", 1),
        ("Micrometer", 1), ("micrometres", 1), ("nm", 1e-3), ("nanometer", 1e-3), ("mm", 1e3), ("millimeters", 1e3),
        ("cm", 1e4), ("inch", 25400), ("inches", 25400), ("m", 1e6), ("Å", 1e-4), ("pixel", None), ("pixels", None),
        ("", None), ("reference frame", None), ("sec", None),
    ],
)  # fmt: skip
def test_units(name: str, um: float | None) -> None:
    assert unit_um(name) == um


@pytest.mark.parametrize(
    ("text", "resolution", "um"),
    [
        (f"{APERIO}|AppMag = 20|MPP = 0,500000|Left = 23,6", None, 0.5),
        (f"{APERIO}|AppMag = 40|MPP = 2.5e-01|Left = 23.6", None, 0.25),
        (f"{APERIO}|MPP=0.2525", None, 0.2525),
        ("some scanner; MPP = 0.3\nother = 1", None, 0.3),
        (ome('PhysicalSizeX="0.25" PhysicalSizeXUnit="µm" PhysicalSizeY="0.25"'), None, 0.25),
        (ome('PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="250" PhysicalSizeYUnit="nm"'), None, 0.25),
        (ome('PhysicalSizeX="2.5E-4" PhysicalSizeXUnit="mm"'), None, 0.25),
        (ome('PhysicalSizeX="0,25"'), None, 0.25),
        (ome('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1" PhysicalSizeYUnit="pixel"'), None, None),
        (ome('PhysicalSizeX="1" PhysicalSizeXUnit="pixel"'), Resolution(40000, 40000, CM), 0.25),
        ('{"shape": [300, 420, 3], "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm"}', None, 0.25),
        ("ImageJ=1.53t\nunit=um\n", Resolution(4, 4), 0.25),
        ("ImageJ=1.53t\nunit=micron\nmin=0.0\n", Resolution(4, 4), 0.25),
        ("ImageJ=1.53t\nunit=\\u00B5m\n", Resolution(4, 4), 0.25),
        ("ImageJ=1.53t\nunit=µm\n", Resolution(4, 4), 0.25),
        ("ImageJ=1.53t\nunit=nm\n", Resolution(0.004, 0.004), 0.25),
        ("ImageJ=1.53t\nunit=mm\n", Resolution(4000, 4000), 0.25),
        ("ImageJ=1.53t\nunit=cm\n", Resolution(40000, 40000, CM), 0.25),
        ("ImageJ=1.53t\nunit=inch\n", Resolution(101600, 101600, INCH), 0.25),
        ("ImageJ=1.53t\nunit=pixel\n", Resolution(1, 1), None),
        ("ImageJ=1.53t\n", Resolution(4, 4), None),
        ('<DataObject><Attribute Name="DICOM_PIXEL_SPACING" PMSVR="IDoubleArray">"0.000227273" "0.000227273"</Attribute>'
         '<Attribute Name="DICOM_PIXEL_SPACING">"0.00045" "0.00045"</Attribute></DataObject>', None, 0.227273),
        ('<DataObject><Attribute Name="DICOM_PIXEL_SPACING">&quot;0.00025&quot; &quot;0.00025&quot;</Attribute></DataObject>',
         None, 0.25),
        ('<scn><image><pixels sizeX="9" sizeY="9"/><view sizeX="9000000" sizeY="9000000"/></image>'
         '<image><pixels sizeX="420" sizeY="300"><dimension/></pixels><view sizeX="105000" sizeY="75000"/></image></scn>',
         None, 0.25),
        ('<iScan Magnification="40" ScanRes="0.25" />', None, 0.25),
        ("ScanRes = 0.25", None, 0.25),
        ("<OME><OriginalMetadata><Key>aperio.MPP</Key><Value>0.25</Value></OriginalMetadata></OME>", None, 0.25),
        ('<OME><MapAnnotation><Value><M K="aperio.MPP">0.25</M></Value></MapAnnotation></OME>', None, 0.25),
        ('<image><property><name>openslide.mpp-x</name><value type="VipsRefString">0.25</value></property></image>', None, 0.25),
        ("<ScanProfile><PixelSizeMicrons>0.25</PixelSizeMicrons></ScanProfile>", None, 0.25),
        ('{"um_per_pixel": 0.25}', None, 0.25),
        ("microns per pixel: 0,25", None, 0.25),
        ("µm/px = 0.25", None, 0.25),
        ("MPPX=0.25;MPPY=0.25", None, 0.25),
        ("Camera pixel size: 6.5 um", None, None),
        (ome('PhysicalSizeX="2.5E-6" PhysicalSizeXUnit="dm"'), None, 0.25),
        ("", Resolution(10160, 10160, INCH), 2.5),
        ("", Resolution(40000, 40000, CM), 0.25),
        ("", Resolution(101600, 101600, INCH), 0.25),
        ("", Resolution(40000, None, CM), 0.25),
        ("", Resolution(1000, 1000, CM), 10.0),
        ("", Resolution(4, 4), None),
        *(("", Resolution(dpi, dpi, INCH), None) for dpi in (72, 96, 300, 1440, 2400, 4800, 9600)),
        ("", Resolution(2400 / 2.54, 2400 / 2.54, CM), None),
        ("", Resolution(300 / 2.54, 300 / 2.54, CM), None),
        (f"{APERIO}|MPP = 0.25", Resolution(72, 72, INCH), 0.25),
    ],
)  # fmt: skip
def test_every_form_of_a_scale(text: str, resolution: Resolution | None, um: float | None) -> None:
    scale = scale_of(text, (300, 420), resolution)
    assert scale.um_per_px == (None if um is None else pytest.approx(um))
    assert not scale.guessed
    assert not any("square" in note for note in scale.notes)


@pytest.mark.parametrize(
    "text",
    [
        f"{APERIO}|AppMag = 20",
        "level=0 mag=20 quality=90",
        "AppMag = 20x",
        ome('NominalMagnification="20"'),
        "Background Color=e6e6e6;Objective Power=20;JPEG Quality=60",
        "<scn><objective>20</objective></scn>",
        "<PerkinElmer-QPI><Objective>20x</Objective></PerkinElmer-QPI>",
        "Objective = UPlanSApo 20x/0.75",
    ],
)
def test_the_magnification_alone_gives_about_the_scale_and_says_so(text: str) -> None:
    scale = scale_of(text, (300, 420))
    assert scale.um_per_px == 0.5
    assert scale.guessed
    assert any("about 0.5" in note and "20x" in note for note in scale.notes)


def test_the_number_of_an_objective_is_no_magnification() -> None:
    assert magnification_of('<ObjectiveSettings ID="Objective:20"/><Objective ID="Objective:1"/>') is None


def test_a_scale_that_no_microscope_has_is_left_out_and_said() -> None:
    scale = scale_of(f"{APERIO}|AppMag = 40|MPP = 900", (300, 420))
    assert scale.um_per_px == 0.25
    assert scale.guessed
    assert any("900" in note for note in scale.notes)
    assert magnification_of(f"{APERIO}|AppMag = 0") is None
    assert plausible(0.01) is None


def test_unequal_sides_are_said_and_areas_kept() -> None:
    text = ome('PhysicalSizeX="0.2" PhysicalSizeY="0.45"')
    scale = scale_of(text, (300, 420))
    assert (scale.y_um, scale.x_um) == (0.45, 0.2)
    assert scale.um_per_px == pytest.approx(0.3)
    assert any("0.2 um wide, 0.45 um high" in note for note in scale.notes)
    assert scale_of("", (1, 1), Resolution(40000, 20000, CM)).um_per_px == pytest.approx((0.25 * 0.5) ** 0.5)
    nearly = scale_of("", (1, 1), Resolution(40000, 40200, CM))
    assert nearly.is_square
    assert not nearly.notes


def test_of_two_scales_the_first_is_taken_and_both_are_named() -> None:
    scale = scale_of(ome('PhysicalSizeX="0.5"'), (300, 420), Resolution(40000, 40000, CM))
    assert scale.um_per_px == 0.5
    assert any("0.5 um/px (OME PhysicalSize) is taken, not 0.25 (resolution tags)" in note for note in scale.notes)


def test_of_several_ome_images_the_one_of_the_pages_size_speaks() -> None:
    label = '<Image Name="label"><Pixels SizeX="9" SizeY="9" PhysicalSizeX="9"/></Image>'
    text = ome('PhysicalSizeX="0.25"').replace("<Image>", f"{label}<Image>", 1)
    assert scale_of(text, (300, 420)).um_per_px == 0.25


def test_carried_over_properties_come_after_the_image_s_own() -> None:
    """A converter halved the image: OME says 0.5, and the slide that it was made from had 0.25."""
    text = ome('PhysicalSizeX="0.5"').replace("</OME>", "<Key>aperio.MPP</Key><Value>0.25</Value></OME>")
    assert scale_of(text, (300, 420)).um_per_px == 0.5


def test_a_coarse_image_is_refused_with_its_mend() -> None:
    check_enlargement(Path("a.tif"), 2.0, 0.25)
    check_enlargement(Path("a.tif"), 10.0, 5.0)
    check_enlargement(Path("a.tif"), None, 0.25)
    check_enlargement(Path("a.tif"), 0.05, 0.25)
    with pytest.raises(SlideError, match=r"a.tif: 10 um/px is too coarse .* 40 times — take the image at a higher"):
        check_enlargement(Path("a.tif"), 10.0, 0.25)
    with pytest.raises(ShapeError, match="too coarse"):
        check_enlargement(None, 4.0, 0.25)
