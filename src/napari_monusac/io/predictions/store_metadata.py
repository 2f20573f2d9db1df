"""What the metadata of a stored prediction may say, looked at before zarr does: no codec runs that we do not write."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_monusac.core.errors import StoreError

#: What we write. Others may run code (pickle), need more software, or were put in by somebody else.
_CODECS = frozenset(("bytes", "crc32c", "sharding_indexed", "zstd"))
_TYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)
_VERSION_2 = frozenset((".zgroup", ".zarray", ".zattrs", ".zmetadata"))
#: Largest chunk or shard that is read at once, and largest array, in numbers.
_MAX_CHUNK, _MAX_ARRAY = 1 << 31, 1 << 44
_MAX_BYTES = 64 << 20
_MEND = "predict it again; open only stores that napari-monusac has written"


def check_metadata(path: Path) -> None:
    """Refuse a store whose metadata are not such as we write.

    Raises
    ------
    StoreError
        It has metadata of zarr version 2, a codec or a type of number that we do not write, an impossible shape, or
        its metadata cannot be read.
    """
    for folder, names, files in os.walk(path):
        here = Path(folder)
        old = sorted(_VERSION_2.intersection(files))
        if old:
            raise StoreError(path, f"has metadata of zarr version 2 ({_name(here / old[0], path)})", _MEND)
        if "zarr.json" not in files:
            continue
        node = _read(here / "zarr.json", path)
        where = _name(here, path)
        if node.get("zarr_format") != 3 or node.get("consolidated_metadata"):
            raise StoreError(path, f"{where}: is not of zarr version 3 as we write it", _MEND)
        if node.get("node_type") == "array":
            names.clear()  # chunks
            _check_array(node, path, where)


def _read(file: Path, path: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise StoreError(path, f"{_name(file, path)} has over {_MAX_BYTES >> 20} MiB", _MEND)
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        what = getattr(error, "strerror", None) or type(error).__name__
        raise StoreError(path, f"{_name(file, path)} is damaged ({what})", _MEND) from error
    if not isinstance(content, dict):
        raise StoreError(path, f"{_name(file, path)} is damaged (no object)", _MEND)
    return content


def _check_array(node: dict[str, Any], path: Path, where: str) -> None:
    kind = node.get("data_type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise StoreError(path, f"{where}: has numbers of the type {str(kind)[:40]!r}", _MEND)
    foreign = [name for name in _codecs(node.get("codecs")) if name not in _CODECS]
    if foreign or node.get("storage_transformers"):
        raise StoreError(path, f"{where}: is packed with {(foreign or ['a transformer'])[0][:40]!r}", _MEND)
    shape, grid = _sides(node.get("shape")), node.get("chunk_grid")
    configuration = grid.get("configuration") if isinstance(grid, dict) and grid.get("name") == "regular" else None
    chunk = _sides(configuration.get("chunk_shape")) if isinstance(configuration, dict) else None
    possible = shape is not None and chunk is not None and len(shape) == len(chunk) and 0 not in chunk
    if not possible or math.prod(shape or ()) > _MAX_ARRAY or math.prod(chunk or ()) > _MAX_CHUNK:
        raise StoreError(path, f"{where}: has an impossible shape or chunk", _MEND)


def _codecs(codecs: Any) -> Iterator[str]:
    """Names of codecs, those within shards too; what is no codec has a name that nobody knows."""
    if not isinstance(codecs, list):
        yield "nothing"
        return
    for codec in codecs:
        if not isinstance(codec, dict):
            yield str(codec)
            continue
        yield str(codec.get("name"))
        configuration = codec.get("configuration")
        if codec.get("name") == "sharding_indexed" and isinstance(configuration, dict):
            yield from _codecs(configuration.get("codecs"))
            yield from _codecs(configuration.get("index_codecs"))


def _sides(values: Any) -> tuple[int, ...] | None:
    good = isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)
    return tuple(values) if good else None


def _name(file: Path, path: Path) -> str:
    return file.relative_to(path).as_posix()
