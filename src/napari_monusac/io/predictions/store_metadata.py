"""What the metadata of a stored prediction may say, looked at before zarr does: no codec runs that we do not write."""

from __future__ import annotations

import os
from pathlib import Path

from napari_monusac.core.errors import StoreError
from napari_monusac.io.zarr_arrays import check_array, read_metadata

#: What we write. Others may run code (pickle), need more software, or were put in by somebody else.
_CODECS = frozenset(("bytes", "crc32c", "sharding_indexed", "zstd"))
_VERSION_2 = frozenset((".zgroup", ".zarray", ".zattrs", ".zmetadata"))
_MEND = "predict it again; open only stores that napari-monusac has written"


def check_metadata(path: Path) -> None:
    """Refuse a store whose metadata are not such as we write.

    Raises
    ------
    StoreError
        It has metadata of zarr version 2, a codec or a type of number that we do not write, an impossible shape, or
        its metadata cannot be read.
    """

    def refuse(problem: str) -> StoreError:
        return StoreError(path, problem, _MEND)

    for folder, names, files in os.walk(path):
        here = Path(folder)
        old = sorted(_VERSION_2.intersection(files))
        if old:
            raise refuse(f"has metadata of zarr version 2 ({_name(here / old[0], path)})")
        if "zarr.json" not in files:
            continue
        node = read_metadata(here / "zarr.json", _name(here / "zarr.json", path), refuse)
        where = _name(here, path)
        if node.get("zarr_format") != 3 or node.get("consolidated_metadata"):
            raise refuse(f"{where}: is not of zarr version 3 as we write it")
        if node.get("node_type") == "array":
            names.clear()  # chunks
            check_array(node, where, _CODECS, refuse)


def _name(file: Path, path: Path) -> str:
    return file.relative_to(path).as_posix()
