"""What an OME-TIFF says about the image in one of its pages: size, bits, channels; read from its start tags only."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_ATTRIBUTE = re.compile(r"""([\w.:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


@dataclass(frozen=True, slots=True)
class OmePixels:
    """One ``Pixels`` element.

    Attributes
    ----------
    name : str
        Name of the ``Image`` that it belongs to.
    attributes : mapping of str to str
        Its attributes.
    channels : tuple of mapping
        Attributes of its ``Channel`` elements.
    """

    name: str
    attributes: Mapping[str, str]
    channels: tuple[Mapping[str, str], ...]

    def number(self, key: str, otherwise: int) -> int:
        """A whole number above 0 among the attributes."""
        text = self.attributes.get(key, "").strip()
        return int(text) if re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII) else otherwise

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.number("SizeY", 0), self.number("SizeX", 0)

    @property
    def pages(self) -> int:
        """Number of pages that hold the image: planes of all channels, depths and times."""
        samples = max(1, max((_whole(c.get("SamplesPerPixel", "1")) for c in self.channels), default=1))
        planes = -(-self.number("SizeC", 1) // samples)
        return planes * self.number("SizeZ", 1) * self.number("SizeT", 1)


def ome_images(text: str) -> list[OmePixels]:
    """All images of an OME-XML, in order; none where it is no OME-XML."""
    if "Pixels" not in text or not text.lstrip().startswith("<"):
        return []
    found: list[OmePixels] = []
    name = ""
    channels: list[Mapping[str, str]] = []
    for tag, attributes in _start_tags(text):
        if tag == "Image":
            name = attributes.get("Name", "")
        elif tag == "Pixels":
            channels = []
            found.append(OmePixels(name, attributes, ()))
        elif tag == "Channel" and found:
            channels.append(attributes)
            found[-1] = OmePixels(found[-1].name, found[-1].attributes, tuple(channels))
    return found


def ome_pixels(text: str, shape: tuple[int, int]) -> OmePixels | None:
    """The image of this height and width; the first where none has it; None where the text is no OME-XML."""
    images = ome_images(text)
    return next((i for i in images if i.shape == shape), images[0] if images else None)


def _start_tags(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    for match in re.finditer(r"<(?:[\w.-]+:)?(Image|Pixels|Channel)\b([^<>]*)>", text):
        attributes = {k.split(":")[-1]: html.unescape(a or b) for k, a, b in _ATTRIBUTE.findall(match.group(2))}
        yield match.group(1), attributes


def _whole(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,6}", text, re.ASCII) else 1
