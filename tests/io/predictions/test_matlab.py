"""Our reader of .mat arrays is held against SciPy's writer, and against files that end SciPy's reader with its process."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from napari_monusac.io.predictions.matlab import MatError, MatTooLarge, read_array

MAP = np.arange(12).reshape(3, 4)


def saved(path, content, packed=True):
    scipy.io.savemat(path, content, do_compression=packed)
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (1, 9), (40, 31), (2, 3, 4)])
def test_arrays_are_those_that_scipy_wrote(tmp_path, packed, dtype, shape):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 2 if dtype == "?" else 100, shape).astype(dtype)
    path = saved(tmp_path / "a.mat", {"before": MAP, "n": array, "after": "text"}, packed)
    assert np.array_equal(read_array(path, "n", 2000), array)
    assert read_array(path, "none", 2000) is None


def test_the_other_order_of_bytes(tmp_path):
    """Big-endian, as MATLAB wrote it on Sun and Power: made by hand from the format's description."""

    def element(kind, content):
        return struct.pack(">II", kind, len(content)) + content + b"\0" * (-len(content) % 8)

    values = MAP.astype(">f8").tobytes(order="F")
    body = (
        element(6, struct.pack(">II", 6, 0))
        + element(5, struct.pack(">ii", 3, 4))
        + element(1, b"n")
        + element(9, values)
    )
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + element(14, body))
    assert np.array_equal(scipy.io.loadmat(tmp_path / "a.mat")["n"], MAP)
    assert np.array_equal(read_array(tmp_path / "a.mat", "n", 12), MAP)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"a": MAP}, "a struct"), (np.array([MAP, "x"], object), "a cell"), ("text", "a char"),
        (scipy.sparse.csc_array(MAP), "a sparse"), (MAP + 1j, "complex"), (np.zeros((5, 4)), "20 values"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [True, False])
def test_what_is_no_array_of_numbers_or_too_large_is_said(tmp_path, content, says, packed):
    path = saved(tmp_path / "a.mat", {"n": content}, packed)
    with pytest.raises(MatError, match=says):
        read_array(path, "n", 19)


def test_what_stands_beside_is_not_unpacked(tmp_path, monkeypatch):
    zeros = np.zeros((4000, 4000), np.uint8)
    path = saved(tmp_path / "a.mat", {"bomb": zeros, "n": MAP})
    assert path.stat().st_size < 2**15
    unpacked = []
    true = zlib.decompressobj

    class Counted:
        def __init__(self):
            self.true = true()

        def decompress(self, content, most):
            unpacked.append(most)
            return self.true.decompress(content, most)

        unconsumed_tail = property(lambda self: self.true.unconsumed_tail)
        eof = property(lambda self: self.true.eof)

    monkeypatch.setattr(zlib, "decompressobj", Counted)
    assert np.array_equal(read_array(path, "n", 12), MAP)
    with pytest.raises(MatTooLarge, match="16000000 values"):
        read_array(path, "bomb", 12)
    assert sum(unpacked) < 2000


@pytest.mark.parametrize("dims", [(2**31 - 1, 2**31 - 1), (-1, 12), (3, 5), (0, 4)])
def test_a_shape_that_is_not_that_of_the_values(tmp_path, dims):
    path = saved(tmp_path / "a.mat", {"n": MAP}, packed=False)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(struct.pack("<ii", 3, 4), struct.pack("<ii", *dims), 1))
    with pytest.raises(MatError):
        read_array(path, "n", 1000)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_are_read_or_refused(tmp_path, seed):
    """Each of 1000 damaged files: some of them end SciPy's reader with a segmentation fault."""
    rng = np.random.default_rng(seed)
    path = tmp_path / "a.mat"
    wholes = [saved(path, {"x": {"a": MAP}, "n": MAP}, packed).read_bytes() for packed in (True, False)]
    refused = []
    for k in range(1000):
        damaged = bytearray(wholes[k % 2])
        for at in rng.integers(100, len(damaged), rng.integers(1, 5)):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(len(damaged))] if k % 7 == 0 else damaged)
        try:
            found = read_array(path, "n", 1000)
            assert found is None or found.size <= 1000
        except MatError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert not any("\n" in text for text in refused)


def test_other_files(tmp_path):
    path = tmp_path / "a.mat"
    for content, says in (
        (b"", "no MATLAB v5"),
        (b"hello" * 90, "no MATLAB v5"),
        (b"MATLAB 7.3".ljust(124) + b"\0\x02IM", r"v7\.3"),
    ):
        path.write_bytes(content)
        with pytest.raises(MatError, match=says):
            read_array(path, "n", 9)
    scipy.io.savemat(path, {"n": MAP}, format="4")
    with pytest.raises(MatError, match="no MATLAB v5"):
        read_array(path, "n", 99)
