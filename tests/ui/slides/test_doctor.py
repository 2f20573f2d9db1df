"""What the doctor says in the dock, in a few lines."""

from __future__ import annotations

from types import SimpleNamespace

from napari_monusac.ui.slides.doctor import verdict_words


def finding(code, severity):
    return SimpleNamespace(code=code, severity=severity)


def test_what_is_put_right_is_nothing_to_look_at():
    swapped = [finding("swapped-channels", "warning")] * 12
    words, kind = verdict_words([*swapped, finding("missing-annotation", "warning")])
    assert words.startswith("1 to look at: images without an annotation (1). 12 put right here, nothing to do: ")
    assert "red and blue swapped (12)" in words
    assert kind == "warning"
    words, kind = verdict_words(swapped)
    assert "to look at" not in words
    assert kind == "hint"


def test_what_costs_nothing_is_said_last():
    words, kind = verdict_words([finding("annotation-note", "info"), finding("size-mismatch", "error")])
    assert words.startswith("1 to look at: annotations that do not fit their image (1). 1 that costs nothing: ")
    assert kind == "warning"
    assert verdict_words([]) == ("Nothing wrong was found in this folder.", "good")
