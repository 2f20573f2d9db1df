"""Text from elsewhere where others show it: terminals, lists, spreadsheets."""

from __future__ import annotations

import re

#: Controls (a terminal obeys them), line ends of other kinds, marks that turn the direction of text, lone surrogates.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def visible(text: str, *, keep: str = "") -> str:
    """Return text with what cannot be seen in it spelled out (``\\x1b``), so that a file's name is only a name.

    Parameters
    ----------
    text : str
        Any text.
    keep : str
        Characters to leave as they are: line ends where the text has lines of its own.
    """
    return _UNSEEN.sub(lambda m: m[0] if m[0] in keep else m[0].encode("unicode_escape").decode("ascii"), text)


def cell(value: object) -> object:
    """Return a table's cell: text that a spreadsheet would take for a formula gets an apostrophe before it.

    Numbers, also those written as text, stay as they are.
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
