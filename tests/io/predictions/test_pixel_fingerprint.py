"""Which image it is: the same for a copy of its pixels, another for any other image; and that it costs a few parts."""

from __future__ import annotations

import numpy as np
import pytest

from napari_monusac.io.predictions.identity import ArrayPixels, ImageIdentity, pixel_fingerprint


def reader(image, read=None):
    def part(y, x, height, width):
        if read is not None:
            read.append((y, x, height, width))
        return image[y : y + height, x : x + width]

    return part


@pytest.mark.parametrize("shape", [(35, 33), (160, 192), (700, 900)])
def test_a_copy_has_the_same_fingerprint_and_another_image_another(shape):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*shape, 3), np.uint8)
    mine = pixel_fingerprint(shape, reader(image))
    assert mine.startswith(f"{shape[0]}x{shape[1]}-")
    assert mine == pixel_fingerprint(shape, reader(image.copy()))
    assert mine == pixel_fingerprint(shape, reader(image[..., ::-1])), "red and blue exchanged"
    changed = image.copy()
    changed[shape[0] // 2, shape[1] // 2] ^= 1
    assert mine != pixel_fingerprint(shape, reader(changed))
    assert mine != pixel_fingerprint(shape, reader(image[..., [1, 0, 2]]))
    assert mine != pixel_fingerprint(shape[::-1], reader(image.swapaxes(0, 1)))


def test_small_images_are_told_apart_by_any_pixel_and_those_of_one_colour_not_at_all():
    image = np.full((200, 200, 3), 240, np.uint8)
    assert pixel_fingerprint((200, 200), reader(image)) == ""
    found = {""}
    for corner in ((0, 0), (199, 199), (100, 3)):
        one = image.copy()
        one[corner] = (10, 20, 30)
        found.add(pixel_fingerprint((200, 200), reader(one)))
    assert len(found) == 4


def test_a_slide_is_read_at_five_places():
    image, read = np.random.default_rng(1).integers(0, 255, (3000, 2000, 3), np.uint8), []
    pixel_fingerprint((3000, 2000), reader(image, read))
    assert [part[2:] for part in read] == [(64, 64)] * 5


def test_the_identity_of_stored_predictions_is_what_it_was(tmp_path):
    """Written out as it stood in the prediction's own code: stores of before must be known again."""
    import hashlib

    image = np.random.default_rng(2).integers(0, 255, (300, 50, 3), np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(b"x" * 77)
    digest = hashlib.blake2b(digest_size=8)
    for y, x in ((118, 0), (43, 0), (43, 0), (193, 0), (193, 0)):
        digest.update(image[y : y + 64, x : x + 50].tobytes())
    digest.update(b"77")
    assert ImageIdentity.of(ArrayPixels(image, path)).sample == f"300x50-{digest.hexdigest()}"
