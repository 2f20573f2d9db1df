"""Crops read ahead of time are the crops that are read when they are asked for, or are not given at all."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from napari_monusac.app import reading
from napari_monusac.app.reading import CropReader
from napari_monusac.core.classes import NucleusClass, class_names_given, use_class_names
from napari_monusac.core.errors import AnnotationError
from napari_monusac.io.collection.collection import open_collection


@pytest.fixture
def collection(example_data, tmp_path):
    return open_collection(shutil.copytree(example_data, tmp_path / "data"))


@pytest.fixture
def reads(monkeypatch):
    """Names of the crops that were read from their files, in order."""
    names, plain = [], reading._read
    monkeypatch.setattr(reading, "_read", lambda c, crop: names.append(crop.name) or plain(c, crop))
    return names


def never():
    return False


def test_what_was_read_ahead_is_given_once(collection, reads):
    reader, (first, second, third, *_) = CropReader(), collection.crops
    assert reader.read_ahead(collection, [second, third], never) == 2
    assert reads == [second.name, third.name]
    layers = reader.read(collection, second)
    assert reads == [second.name, third.name]
    plain = reading._read(collection, second)
    assert [a["name"] for _, a, _ in layers] == [a["name"] for _, a, _ in plain]
    for (one, about, _), (other, expected, _) in zip(layers, plain, strict=True):
        np.testing.assert_array_equal(one, other)
        assert about["metadata"] == expected["metadata"]
    del reads[:]
    again = reader.read(collection, second)
    assert reads == [second.name], "layers are painted on: nobody gets those of somebody else"
    assert again[0][0] is not layers[0][0]
    del reads[:]
    assert reader.read_ahead(collection, [third, first], never) == 2
    assert reads == [first.name], "the third is still there"
    assert reader.read_ahead(collection, [], never) == 0, "of crops that are no neighbours nothing is kept"


@pytest.mark.parametrize("change", ["annotation", "image", "channels", "names", "collection"])
def test_what_has_changed_since_is_read_anew(collection, reads, change):
    reader, crop = CropReader(), collection.crops[1]
    reader.read_ahead(collection, [crop], never)
    del reads[:]
    before = class_names_given()
    try:
        match change:
            case "annotation":
                crop.annotation.write_text("<Annotations/>")
            case "image":
                Image.new("RGB", (50, 40), "white").save(crop.image, format="TIFF")
            case "channels":
                collection.overrule_channels(crop.patient, "bgr")
            case "names":
                use_class_names({"mast cell": NucleusClass.MACROPHAGE})
            case "collection":
                collection = open_collection(collection.root)
                crop = collection.find(crop.image)
        layers = reader.read(collection, crop)
    finally:
        use_class_names(before)
    assert reads == [crop.name]
    if change == "image":
        assert layers[0][0].shape == (40, 50, 3)


def test_a_damaged_neighbour_is_said_when_it_is_asked_for(collection):
    reader, (first, second, *_) = CropReader(), collection.crops
    first.annotation.write_text("<Annotations><Annotation>")
    assert reader.read_ahead(collection, [first, second], never) == 1
    with pytest.raises(AnnotationError):
        reader.read(collection, first)


def test_memory_is_bounded_and_a_stop_is_heeded(collection, reads):
    first, second, *_ = collection.crops
    size = sum(data.nbytes for data, _, _ in reading._read(collection, first) if isinstance(data, np.ndarray))
    del reads[:]
    assert CropReader(most_ahead=int(size * 1.5)).read_ahead(collection, [first, second], never) == 1
    assert CropReader(most_ahead=size - 1).read_ahead(collection, [first], never) == 0
    del reads[:]
    assert CropReader().read_ahead(collection, [first, second], lambda: True) == 0
    assert reads == []


def test_an_image_that_is_read_as_it_is_looked_at_is_not_kept(collection, monkeypatch):
    monkeypatch.setattr("napari_monusac.plugin.layers.EDITABLE_PX", 100)
    assert CropReader().read_ahead(collection, collection.crops[:1], never) == 0
