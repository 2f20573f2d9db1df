"""Micrometres per pixel: every form in which image files and annotations state it, read in one place; no file is opened."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from napari_monusac.core.errors import ShapeError, SlideError
from napari_monusac.io.ome import ome_pixels

#: Micrometres per pixel outside of this range are no microscope's.
PLAUSIBLE_UM_PER_PX = (0.05, 20.0)
#: Two scales that differ by less say the same.
SAME_SCALE = 0.02
#: An image is enlarged by no more than this for a network: beyond it a nucleus has a handful of pixels to be found by.
MOST_ENLARGED = 8.0
#: um/px at 1x: Aperio and most other scanners have 0.25 at 40x.
_UM_AT_1X = 10.0
_NUMBER = r"[-+]?(?:\d+(?:[.,]\d+)*|[.,]\d+)(?:[eE][-+]?\d+)?"
_UM: dict[str, float] = {
    "m": 1e6, "cm": 1e4, "mm": 1e3, "um": 1.0, "nm": 1e-3, "pm": 1e-6, "fm": 1e-9, "a": 1e-4, "dm": 1e5,
    "in": 25400.0, "ft": 304800.0, "mil": 25.4, "li": 25400 / 12, "pt": 25400 / 72,
}  # fmt: skip
_UNIT_NAMES = {
    "micron": "um", "microns": "um", "mkm": "um", "inch": "in", "inches": "in", "thou": "mil", "å": "a", "angstrom": "a",
    "ångström": "a", '"': "in",
}  # fmt: skip
#: MicronsPerPixel, "microns per pixel", um_per_px, um/px, µm/pixel ... as keys. A "pixel size" alone may be the camera's.
_UM_PER_PX = r"(?:um|µm|μm|microns?|micromet(?:er|re)s?)[ _-]?(?:/|per)[ _-]?(?:px|pixel)"
_PREFIXES = {"micro": "um", "nano": "nm", "milli": "mm", "centi": "cm", "pico": "pm", "": "m"}


@dataclass(frozen=True, slots=True)
class Resolution:
    """Pixels per unit as the resolution tags of TIFF, or the pHYs of PNG, give them.

    Attributes
    ----------
    y, x : float or None
        Pixels per unit; None where the tag is missing.
    unit_um : float or None
        Length of the unit in um; None where the file names none.
    """

    y: float | None = None
    x: float | None = None
    unit_um: float | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """Micrometres per pixel and how they were found.

    Attributes
    ----------
    y_um, x_um : float or None
        Height and width of a pixel in um.
    how : str
        What states it: ``"MPP"``, ``"OME PhysicalSize"``, ``"magnification"`` ...; empty where nothing does.
    guessed : bool
        Whether it was only derived from the magnification.
    notes : tuple of str
        What the user should be told.
    """

    y_um: float | None = None
    x_um: float | None = None
    how: str = ""
    guessed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def um_per_px(self) -> float | None:
        """Scale of both axes as one number: of unequal ones the geometric mean, so that areas come out right."""
        if self.y_um is None or self.x_um is None:
            return None
        return self.x_um if self.y_um == self.x_um else float((self.y_um * self.x_um) ** 0.5)

    @property
    def is_square(self) -> bool:
        """Whether height and width of a pixel agree within 2 %."""
        return self.y_um is None or self.x_um is None or same_scale(self.y_um, self.x_um)


def plausible(um_per_px: float | None) -> float | None:
    """Return the value where a microscope can have it, else None."""
    low, high = PLAUSIBLE_UM_PER_PX
    return um_per_px if um_per_px is not None and low <= um_per_px <= high else None


def unit_um(name: str) -> float | None:
    """Length of a unit in um: ``um``, ``µm``, ``\\u00B5m``, ``micron``, ``nm``, ``inch`` ...; None for pixels and others."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m.group(1), 16)), html.unescape(name)).strip().strip("\0")
    # both micro signs, also where UTF-8 was read as Latin-1
    text = text.replace("Âµ", "u").replace("Î¼", "u").replace("µ", "u").replace("μ", "u")
    text = text.casefold() if text != "Å" else "a"
    word = re.fullmatch(r"(micro|nano|milli|centi|pico|)met(?:er|re)s?", text)
    return _UM.get(_PREFIXES[word.group(1)] if word else _UNIT_NAMES.get(text, text))


def scale_number(text: str | None) -> float | None:
    """Read a number of um/px: decimal point or comma, exponent, thousands, with or without a unit behind it.

    ``0.25``, ``0,250000``, ``2.5e-01``, ``0.25 um``, ``1,250.5 nm`` (thousands: the last mark is the decimal one).

    Returns
    -------
    float or None
        None where it is no number, or not above 0. It need not be a microscope's: see `plausible`.
    """
    match = re.fullmatch(rf"\s*({_NUMBER})\s*(\D*?)\s*", text or "")
    if match is None:
        return None
    digits, exponent = re.fullmatch(r"([^eE]*)(.*)", match.group(1)).groups()  # type: ignore[union-attr]
    marks = re.findall(r"[.,]", digits)
    if len(set(marks)) == 2:
        thousands = marks[0]
        digits = digits.replace(thousands, "")
        marks = marks[marks.count(thousands) :]
    if len(marks) > 1:  # one kind of mark, several times: none of them is the decimal one
        digits = re.sub(r"[.,]", "", digits)
    unit = 1.0 if not match.group(2) else unit_um(re.sub(r"\s*(/|per)\s*(px|pixel)s?$", "", match.group(2)))
    try:
        value = float(digits.replace(",", ".") + exponent)
    except (ValueError, OverflowError):
        return None
    return value * unit if unit is not None and 0 < value < 1e12 else None


def scale_of(text: str, shape: tuple[int, int], resolution: Resolution | None = None, more: str = "") -> Scale:
    """Find the scale in what an image file says about itself.

    Parameters
    ----------
    text : str
        ImageDescription of the page.
    shape : tuple of int
        Height and width of the image: OME and Leica files describe several.
    resolution : Resolution, optional
        The resolution tags.
    more : str
        Other texts of the file (Ventana's XMP).

    Returns
    -------
    Scale
        The first that can be a microscope's, in the order of trust; others that contradict it are noted.
    """
    magnification = magnification_of(f"{text}\n{more}")
    return _chosen(list(_readings(text, shape, resolution, more)), magnification)


def scale_of_sides(y_um: float | None, x_um: float | None, how: str, magnification: float | None = None) -> Scale:
    """Make a scale of the sides of a pixel that a library has read from a file.

    Parameters
    ----------
    y_um, x_um : float or None
        Height and width, um; of one that is missing the other is taken.
    how : str
        What states them.
    magnification : float, optional
        Of the objective, for a guess where the sides are missing.
    """
    y, x = y_um or x_um, x_um or y_um
    return _chosen([(y, x, how)] if y is not None and x is not None else [], magnification)


def _chosen(readings: Sequence[tuple[float, float, str]], magnification: float | None) -> Scale:
    """Take the first of the readings (um in y, um in x, what says so) that can be a microscope's, else a guess."""
    usable = [(y, x, how) for y, x, how in readings if plausible(y) is not None and plausible(x) is not None]
    odd = [(x, how) for y, x, how in readings if (y, x, how) not in usable and how != "resolution tags"]
    notes = [f"{x:g} um/px ({how}) is no microscope's: left out" for x, how in odd]
    if not usable:
        if magnification is None:
            return Scale(notes=tuple(notes))
        um = _UM_AT_1X / magnification
        notes.append(
            f"the file gives no um/px: taken as about {um:g} from its magnification of {magnification:g}x "
            "(give um_per_px where you know it)"
        )
        return Scale(um, um, "magnification", guessed=True, notes=tuple(notes))
    y, x, how = usable[0]
    others = [f"{x2:g} ({how2})" for _, x2, how2 in usable[1:] if not same_scale(x, x2)]
    if others:
        notes.append(f"the file states more than one scale: {x:g} um/px ({how}) is taken, not {', '.join(others)}")
    scale = Scale(y, x, how)
    if not scale.is_square:
        notes.append(
            f"pixels are not square: {x:g} um wide, {y:g} um high ({how}); {scale.um_per_px:.4g} um/px is taken, so that "
            "areas are right and shapes are not"
        )
    return Scale(y, x, how, notes=tuple(notes))


def magnification_of(text: str) -> float | None:
    """Magnification of the objective: Aperio's AppMag, Ventana's mag, OME's NominalMagnification, openslide's power.

    Also Trestle's ``Objective Power``, Leica's and PerkinElmer's ``<objective>``, and ``20x`` in an objective's name.
    """
    keys = r"AppMag|NominalMagnification|openslide\.objective-power|ObjectiveMagnification|Magnification|mag|Objective Power"
    for value in _stated(keys, text):
        number = scale_number(re.sub(r"(?i)\s*x$", "", value.split()[0] if value.split() else ""))
        if number is not None and 1 <= number <= 150:
            return number
    # <objective>20</objective>; but ID="Objective:1" is only a number
    element = re.search(r"(?i)<objective>\s*(\d{1,3}(?:\.\d+)?)\s*x?\s*<", text)
    names = (
        re.search(r"(?i)(?<![\d.])(\d{1,3}(?:\.\d+)?) ?x(?![a-z])", v)
        for v in _stated("Objective(?:[ _-]?Lens)?", text)
    )
    for found in (element, *names):
        if found is not None and 1 <= float(found.group(1)) <= 150:
            return float(found.group(1))
    return None


def check_enlargement(path: object, um_per_px: float | None, wanted_um_per_px: float | None) -> None:
    """Refuse an image that is too coarse for a network's scale, instead of enlarging it out of nothing.

    Parameters
    ----------
    path : Path or None
        The image, for the message.
    um_per_px, wanted_um_per_px : float or None
        Scale of the image and of the network; unknown ones are not refused.

    Raises
    ------
    SlideError, ShapeError
        The image would be enlarged by more than `MOST_ENLARGED`.
    """
    if not um_per_px or not wanted_um_per_px or um_per_px <= MOST_ENLARGED * wanted_um_per_px * (1 + 1e-6):
        return
    problem = (
        f"{um_per_px:g} um/px is too coarse for a network of {wanted_um_per_px:.4g} um/px: it would be enlarged "
        f"{um_per_px / wanted_um_per_px:.3g} times"
    )
    mend = "take the image at a higher magnification, or give um_per_px if the file is wrong"
    raise SlideError(str(path), problem, mend) if path is not None else ShapeError(f"an image of {problem}", mend)


def same_scale(a: float, b: float) -> bool:
    """Whether two scales say the same, within 2 %."""
    return abs(a - b) <= SAME_SCALE * min(a, b)


def _readings(
    text: str, shape: tuple[int, int], resolution: Resolution | None, more: str
) -> Iterator[tuple[float, float, str]]:
    """Yield (um in y, um in x, what says so), the most trusted first.

    Properties that converters carry over (``aperio.MPP`` in OME or libvips) come last: they speak of the file that the
    image was made from, which may have been larger.
    """
    is_markup = text.lstrip()[:1] in ("<", "{")
    if not is_markup:
        yield from _pairs(("MPP",), ("MPP",), text, "MPP")
    yield from _ome(text, shape)
    yield from _philips(text)
    yield from _leica(text, shape)
    yield from _pairs(("ScanRes",), ("ScanRes",), f"{text}\n{more}", "ScanRes")
    imagej = list(_imagej(text, resolution))
    yield from imagej
    if not imagej and resolution is not None:
        yield from _resolution(resolution)
    carried = f"{text}\n{more}" if is_markup else more
    yield from _pairs((r"openslide\.mpp-y",), (r"openslide\.mpp-x",), carried, "openslide.mpp-x")
    yield from _pairs((r"(?:aperio\.)?MPP",), (r"(?:aperio\.)?MPP",), carried, "MPP")
    yield from _pairs((r"mpp[ _-]?y",), (r"mpp[ _-]?x",), f"{text}\n{more}", "mpp_x")
    for key, how in (("PixelSizeMicrons", "PixelSizeMicrons"), (_UM_PER_PX, "um per px")):
        yield from _pairs((key,), (key,), f"{text}\n{more}", how)


def _stated(keys: str, text: str) -> Iterator[str]:
    """Values of a key as ``key = v|``, ``key="v"``, ``"key": v``, ``<key>v<``, ``<K>key</K><V>v<`` and ``K="key">v<``."""
    joint = r"[\"']?\s*(?:=|:|>|</[\w:]+>\s*<[^<>]*>)\s*[\"']?"
    for match in re.finditer(rf"(?i)(?<![\w.-])(?:{keys}){joint}([^\"'<|;\r\n}}]{{0,80}})", text):
        yield match.group(1).strip(" ,")


def _first(keys: tuple[str, ...], text: str) -> float | None:
    values = (scale_number(v) for v in _stated("|".join(keys), text))
    return next((v for v in values if v is not None), None)


def _pairs(y_keys: tuple[str, ...], x_keys: tuple[str, ...], text: str, how: str) -> Iterator[tuple[float, float, str]]:
    y, x = _first(y_keys, text), _first(x_keys, text)
    if y is not None or x is not None:
        yield y or x or 0.0, x or y or 0.0, how


def _ome(text: str, shape: tuple[int, int]) -> Iterator[tuple[float, float, str]]:
    pixels = ome_pixels(text, shape)
    if pixels is not None:
        found = [
            (pixels.attributes.get(f"PhysicalSize{a}"), pixels.attributes.get(f"PhysicalSize{a}Unit")) for a in "YX"
        ]
    else:  # tifffile's own JSON
        found = [
            (next(_stated(f"PhysicalSize{a}", text), None), next(_stated(f"PhysicalSize{a}Unit", text), None))
            for a in "YX"
        ]
    values = []
    for number, unit in found:
        value, length = scale_number(number), 1.0 if unit is None else unit_um(unit)
        values.append(value * length if value is not None and length is not None else None)
    y, x = values
    if y is not None or x is not None:
        yield y or x or 0.0, x or y or 0.0, "OME PhysicalSize"


def _philips(text: str) -> Iterator[tuple[float, float, str]]:
    """DICOM_PIXEL_SPACING in mm, as "rows" "columns"; each level has one: the smallest is level 0's."""
    if "DICOM_PIXEL_SPACING" not in text:
        return
    found = []
    for match in re.finditer(r"DICOM_PIXEL_SPACING[^>]{0,200}>([^<]{1,80})<", html.unescape(text)):
        values = [scale_number(v) for v in re.findall(_NUMBER, match.group(1))]
        numbers = [1000 * v for v in values if v is not None]
        if numbers:
            found.append((numbers[0], numbers[-1]))
    if found:
        yield *min(found), "DICOM_PIXEL_SPACING"


def _leica(text: str, shape: tuple[int, int]) -> Iterator[tuple[float, float, str]]:
    """Leica SCN: ``<pixels sizeX sizeY>`` in px and the ``<view sizeX sizeY>`` of the same image in nm."""
    if "<scn" not in text:
        return
    sizes = r'[^>]*?\bsizeX="(\d+)"[^>]*?\bsizeY="(\d+)"'
    for match in re.finditer(rf"<pixels\b{sizes}.*?<view\b{sizes}", text, re.DOTALL):
        width, height, wide_nm, high_nm = (int(v) for v in match.groups())
        if (height, width) == shape and wide_nm and high_nm:
            yield high_nm / height / 1000, wide_nm / width / 1000, "Leica view"


def _imagej(text: str, resolution: Resolution | None) -> Iterator[tuple[float, float, str]]:
    """ImageJ: pixels per ``unit=`` in the resolution tags."""
    if not text.startswith("ImageJ=") or resolution is None:
        return
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    x_unit = unit_um(lines.get("unit", ""))
    y_unit = unit_um(lines["yunit"]) if "yunit" in lines else x_unit
    if x_unit and y_unit and (resolution.x or resolution.y):
        x, y = resolution.x or resolution.y or 0.0, resolution.y or resolution.x or 0.0
        yield y_unit / y, x_unit / x, "ImageJ unit"


def _resolution(resolution: Resolution) -> Iterator[tuple[float, float, str]]:
    """Pixels per cm or inch, unless they are a printer's or a flatbed scanner's (72, 300, 2400 dpi ...)."""
    x, y = resolution.x or resolution.y, resolution.y or resolution.x
    if not resolution.unit_um or not x or not y or _is_print(x * 25400 / resolution.unit_um):
        return
    yield resolution.unit_um / y, resolution.unit_um / x, "resolution tags"


def _is_print(dpi: float) -> bool:
    """Whether it is a round number of dots per inch, coarser than 2 um: no microscope's."""
    nearest = round(dpi)
    if nearest >= 2540 and nearest % 254 == 0:  # 10160 dpi are 4000 px/cm
        return False
    return dpi < 12_600 and abs(dpi - nearest) <= 2e-4 * dpi and any(nearest % n == 0 for n in (100, 72, 80))
