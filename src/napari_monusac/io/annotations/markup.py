"""Writing XML elements: escaped, and refusing what XML cannot hold."""

from __future__ import annotations

import re

import numpy as np

from napari_monusac.core.nuclei import Attributes

#: Characters that no XML 1.0 file can hold (https://www.w3.org/TR/xml/#charsets), not even escaped.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SPECIAL = re.compile('[&<"\t\n\r]')
#: Where we keep the confidence of a predicted nucleus: a region attribute, in the form of ImageScope's for layers.
_CONFIDENCE = re.compile(r'<Attribute Name="confidence" Id="0" Value="((?:0|1)(?:\.\d{1,400})?)"/>')
_ESCAPES = {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}


def escaped(value: str) -> str:
    """Return `value` as it stands between the quotes of an attribute."""
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], value) if _SPECIAL.search(value) else value


def decimal(value: float) -> str:
    """Spell a number: whole ones without a point, others with as many digits as give them back exactly; never an exponent."""
    return str(int(value)) if float(value).is_integer() else np.format_float_positional(value, trim="-")


def element_start(tag: str, attributes: Attributes) -> str:
    """``<tag name="value" ...>``."""
    return "".join([f"<{tag}", *(f' {name}="{escaped(value)}"' for name, value in attributes), ">"])


def element(tag: str, attributes: Attributes) -> str:
    """``<tag name="value" .../>``."""
    return element_start(tag, attributes)[:-1] + "/>"


def forbidden_character(text: str) -> str | None:
    """The first character of `text` that XML cannot hold, or None."""
    found = _FORBIDDEN.search(text)
    return found[0] if found else None


def confidence_of(markup: str) -> float | None:
    """The confidence that a Region's markup states, or None."""
    found = _CONFIDENCE.search(markup) if "confidence" in markup else None
    return float(found[1]) if found else None


def with_confidence(markup: str, confidence: float | None) -> str:
    """A Region's markup with this confidence; unchanged where it states it already."""
    if confidence_of(markup) == confidence:
        return markup
    markup = _CONFIDENCE.sub("", markup)
    if confidence is None:
        return markup
    attribute = element("Attribute", (("Name", "confidence"), ("Id", "0"), ("Value", decimal(confidence))))
    if "</Attributes>" in markup:
        return markup.replace("</Attributes>", f"{attribute}</Attributes>", 1)
    return f"<Attributes>{attribute}</Attributes>{markup.replace('<Attributes/>', '', 1)}"
