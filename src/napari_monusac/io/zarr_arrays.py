"""What the metadata of an array of a zarr store may say, looked at before zarr does, so that no codec runs by surprise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from napari_monusac.core.errors import FileProblem

Refuse = Callable[[str], FileProblem]
_TYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)
#: Largest chunk or shard that is read at once, and largest array, in numbers; largest file of metadata.
_MAX_CHUNK, _MAX_ARRAY = 1 << 31, 1 << 44
_MAX_BYTES = 64 << 20


def read_metadata(file: Path, name: str, refuse: Refuse) -> dict[str, Any]:
    """Read a file of metadata, called `name` in what is said of it.

    Raises
    ------
    FileProblem
        What `refuse` makes of it: it is missing, too large or damaged.
    """
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise refuse(f"{name} has over {_MAX_BYTES >> 20} MiB")
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        what = getattr(error, "strerror", None) or type(error).__name__
        raise refuse(f"{name} is damaged ({what})") from error
    if not isinstance(content, dict):
        raise refuse(f"{name} is damaged (no object)")
    return content


def check_array(node: dict[str, Any], where: str, codecs: frozenset[str], refuse: Refuse) -> None:
    """Refuse an array of zarr version 3 that is packed with other codecs than these, or has an impossible shape.

    Raises
    ------
    FileProblem
        What `refuse` makes of it.
    """
    kind = node.get("data_type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise refuse(f"{where}: has numbers of the type {str(kind)[:40]!r}")
    foreign = [name for name in _codecs(node.get("codecs")) if name not in codecs]
    if foreign or node.get("storage_transformers"):
        raise refuse(f"{where}: is packed with {(foreign or ['a transformer'])[0][:40]!r}")
    grid = node.get("chunk_grid")
    configuration = grid.get("configuration") if isinstance(grid, dict) and grid.get("name") == "regular" else None
    chunk = configuration.get("chunk_shape") if isinstance(configuration, dict) else None
    _check_shape(node.get("shape"), chunk, where, refuse)


def check_old_array(node: dict[str, Any], where: str, codecs: frozenset[str], refuse: Refuse) -> None:
    """Refuse an array of zarr version 2 as `check_array` does; filters, of which some run code, are none of ours.

    Raises
    ------
    FileProblem
        What `refuse` makes of it.
    """
    if str(node.get("dtype")) not in ("|u1", "<u2", ">u2"):
        raise refuse(f"{where}: has numbers of the type {str(node.get('dtype'))[:40]!r}")
    if node.get("filters"):
        raise refuse(f"{where}: is packed with filters")
    compressor = node.get("compressor")
    name = compressor.get("id") if isinstance(compressor, dict) else compressor
    if compressor is not None and name not in codecs:
        raise refuse(f"{where}: is packed with {str(name)[:40]!r}")
    _check_shape(node.get("shape"), node.get("chunks"), where, refuse)


def _check_shape(shape: Any, chunk: Any, where: str, refuse: Refuse) -> None:
    sides, pieces = _sides(shape), _sides(chunk)
    possible = sides is not None and pieces is not None and len(sides) == len(pieces) and 0 not in pieces
    if not possible or math.prod(sides or ()) > _MAX_ARRAY or math.prod(pieces or ()) > _MAX_CHUNK:
        raise refuse(f"{where}: has an impossible shape or chunk")


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
