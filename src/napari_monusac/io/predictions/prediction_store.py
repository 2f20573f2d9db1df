"""The folder that holds a prediction: OME-Zarr 0.5, read and written part by part.

::

    NAME.zarr/                  attributes: "ome" (multiscales), "napari-monusac" (StoreInfo)
        data/0, data/1 ...      probabilities (8, y, x): five semantic, three ternary; uint8 in 255ths, or float16
        labels/instances/0 ...  int32 (y, x)
        labels/classes/0 ...    uint8 (y, x): class of the nucleus under each pixel
        table/COLUMN            one row a nucleus

``data`` stands first in the alphabet, so napari's own reader opens the probabilities.
"""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_monusac.core.classes import CLASSES, PALETTES, SEMANTIC_NAMES, TERNARY_NAMES, NucleusClass
from napari_monusac.core.errors import StoreError
from napari_monusac.core.files import replace_file
from napari_monusac.core.prediction import in_255ths
from napari_monusac.io.predictions.pyramid import add_levels
from napari_monusac.io.predictions.store_info import StoreInfo
from napari_monusac.io.predictions.store_metadata import check_metadata

if TYPE_CHECKING:
    import pandas as pd

_KEY = "napari-monusac"
_CHANNELS = (*(f"semantic: {n}" for n in SEMANTIC_NAMES), *(f"ternary: {n}" for n in TERNARY_NAMES))
_CHUNK_PX = 512
#: Nuclei that are being segmented, until they are whole.
_FRESH_LABELS, _FRESH_TABLE = ".labels.new", ".table.new"
_FOREIGN = "choose a .zarr folder that napari-monusac has written"
_AGAIN = "predict it again over it (--overwrite)"
#: What zarr and its codecs raise for damaged stores.
_DAMAGE = (
    OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, MemoryError, EOFError,
    struct.error, zlib.error,
)  # fmt: skip


def is_store(path: Path) -> bool:
    """Whether a folder is a prediction of ours; nothing but its attributes is read."""
    try:
        return _KEY in json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


class PredictionStore:
    """A stored prediction, read and written part by part. Use `create` or `open`."""

    def __init__(self, path: Path, group: Any, info: StoreInfo) -> None:
        self.path, self.info = path, info
        self._group = group
        self.maps = group["data/0"]

    @classmethod
    def create(
        cls,
        path: str | Path,
        shape: tuple[int, int],
        info: StoreInfo,
        *,
        chunk: tuple[int, int] | None = None,
        quantise: bool = True,
    ) -> PredictionStore:
        """Make an empty store; an existing one at `path` is replaced.

        Parameters
        ----------
        path : str or Path
            The ``.zarr`` folder.
        shape : (height, width)
            Of the maps, px.
        info : StoreInfo
            Written into its attributes.
        chunk : (height, width), optional
            What is written at once without touching its neighbours.
        quantise : bool
            Probabilities as uint8 in 255ths (`napari_monusac.core.prediction.in_255ths`), else as float16.

        Raises
        ------
        StoreError
            The folder cannot be written.
        """
        import zarr

        path = Path(path)
        part = tuple(min(n, s) for n, s in zip(chunk or (_CHUNK_PX, _CHUNK_PX), shape, strict=True))
        try:
            group = zarr.create_group(path, zarr_format=3, overwrite=True)
            group.create_array(
                "data/0", shape=(8, *shape), chunks=(1, *part), shards=(8, *part),
                dtype="uint8" if quantise else "float16", dimension_names=("c", "y", "x"),
            )  # fmt: skip
        except OSError as error:
            raise StoreError(path, f"cannot be written ({error.strerror or error})", "choose another folder") from error
        store = cls(path, group, info)
        store.update(info)
        return store

    @classmethod
    def open(cls, path: str | Path, mode: str = "r") -> PredictionStore:
        """Open a store for reading (``"r"``) or for changes (``"r+"``).

        Raises
        ------
        StoreError
            It is missing, foreign or damaged.
        """
        import zarr

        path = Path(path)
        if not path.is_dir():
            raise StoreError(path, "there is no such folder", _FOREIGN)
        if not (path / "zarr.json").is_file() and not any((path / n).exists() for n in (".zgroup", ".zarray")):
            raise StoreError(path, "is no stored prediction (no zarr.json)", _FOREIGN)
        check_metadata(path)
        try:
            group = zarr.open_group(
                path, mode="r+" if mode == "r+" else "r", zarr_format=3, use_consolidated=False
            )  # fmt: skip
            info = StoreInfo.model_validate(group.attrs[_KEY])
            store = cls(path, group, info)
        except ValidationError as error:
            raise StoreError(path, f"damaged attributes ({error.errors()[0]['msg']})", _FOREIGN) from error
        except _DAMAGE as error:
            raise StoreError(path, f"is no stored prediction ({type(error).__name__})", _FOREIGN) from error
        store._check_shapes()
        return store

    def _check_shapes(self) -> None:
        """Refuse maps that are none, and nuclei of another size."""
        maps = self.maps
        if getattr(maps, "ndim", 0) != 3 or maps.shape[0] != 8 or maps.dtype not in (np.uint8, np.float16):
            raise StoreError(self.path, "its maps are no probabilities (8, y, x)", _FOREIGN)
        for name in ("instances", "classes"):
            labels = self.labels(name)
            if labels is not None and tuple(getattr(labels, "shape", ())) != self.shape:
                raise StoreError(self.path, f"its {name} have another size than its maps", _AGAIN)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the maps, px."""
        return int(self.maps.shape[1]), int(self.maps.shape[2])

    def update(self, info: StoreInfo) -> None:
        """Write what the store says about itself."""
        self.info = info
        largest = 255.0 if self.maps.dtype == np.uint8 else 1.0
        ome = _image_attributes(self.path.stem, info, self._levels("data"), largest)
        self._group.attrs.update({"ome": ome, _KEY: info.model_dump(mode="json")})

    def write_maps(self, place: Sequence[int], values: NDArray[np.float32]) -> None:
        """Write probabilities (8, y, x) at `place` = (y, x, height, width)."""
        y, x, height, width = place
        coded = in_255ths(values) if self.maps.dtype == np.uint8 else values
        self.maps[:, y : y + height, x : x + width] = coded

    def read_maps(self, place: Sequence[int] | None = None) -> NDArray[Any]:
        """Read probabilities (8, y, x) as they are stored (uint8 in 255ths, or float16), whole or at `place`."""
        y, x, height, width = place or (0, 0, *self.shape)
        with self.damage_told("maps are"):
            return np.asarray(self.maps[:, y : y + height, x : x + width])

    def read_instances(self, place: Sequence[int] | None = None) -> NDArray[np.int32] | None:
        """Read the instance map, whole or at `place`; None where the nuclei are not segmented yet.

        Raises
        ------
        StoreError
            It is damaged.
        """
        y, x, height, width = place or (0, 0, *self.shape)
        labels = self.labels("instances")
        if labels is None:
            return None
        with self.damage_told("nuclei are"):
            values = np.asarray(labels[y : y + height, x : x + width], np.int32)
            if values.min(initial=0) < 0:
                raise ValueError(f"the number {values.min()}")
            return values

    @contextmanager
    def damage_told(self, what: str) -> Iterator[None]:
        """Tell as ours what goes wrong while a part of it is read: "maps are", "table of nuclei is"."""
        try:
            yield
        except _DAMAGE as error:
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            raise StoreError(self.path, f"its {what} damaged ({reason})", _AGAIN) from error

    def labels(self, name: str) -> Any:
        """The zarr array of ``"instances"`` or ``"classes"``; None where the nuclei are not segmented yet."""
        return self._group.get(f"labels/{name}/0")

    def levels(self, name: str) -> list[Any]:
        """The zarr arrays of ``"data"``, ``"labels/instances"`` or ``"labels/classes"``, largest first.

        Raises
        ------
        StoreError
            One has another number of axes than the first, or is damaged.
        """
        group = self._group.get(name)
        with self.damage_told("smaller levels are"):
            arrays = [] if group is None else [group[key] for key in sorted(group.array_keys(), key=int)]
            if any(a.shape[:-2] != arrays[0].shape[:-2] or a.dtype != arrays[0].dtype for a in arrays):
                raise ValueError("one has other axes or numbers than the first")
        return arrays

    def create_labels(self) -> tuple[Any, Any]:
        """Make empty arrays for instances (int32) and classes (uint8).

        Those that are there, and their table, stay what the store shows until `take_labels` puts the new ones in their
        place: work that is stopped halfway takes nothing away.
        """
        for old in (_FRESH_LABELS, _FRESH_TABLE):
            if old in self._group:
                del self._group[old]
        part = self.maps.shards[1:] if self.maps.shards else self.maps.chunks[1:]
        arrays = []
        for name, dtype in (("instances", "int32"), ("classes", "uint8")):
            arrays.append(
                self._group.create_array(
                    f"{_FRESH_LABELS}/{name}/0", shape=self.shape, chunks=part, dtype=dtype, dimension_names=("y", "x")
                )
            )
        self._group[_FRESH_LABELS].attrs.update({"ome": {"version": "0.5", "labels": ["instances", "classes"]}})
        return arrays[0], arrays[1]

    def take_labels(self, table: pd.DataFrame, settings: dict[str, float] | None = None) -> None:
        """Finish what `create_labels` began: with its table, pyramid and thresholds it replaces what was there.

        Parameters
        ----------
        table : pandas.DataFrame
            One row a nucleus; text columns are left out (the class follows from `class_id`).
        settings : dict, optional
            Thresholds that gave the nuclei.
        """
        group = self._group.create_group(_FRESH_TABLE, overwrite=True)
        columns = [c for c in table.columns if c != "class"]
        for column in columns:
            group.create_array(column, data=np.ascontiguousarray(table[column].to_numpy()))
        group.attrs.update({"columns": columns, "rows": len(table)})
        for name in ("instances", "classes"):
            add_levels(self._group[f"{_FRESH_LABELS}/{name}"], mean=False)
        self._describe_labels(_FRESH_LABELS)
        # a table whose labels have moved already is the right one: `read_table` knows
        for fresh, name in ((_FRESH_LABELS, "labels"), (_FRESH_TABLE, "table")):
            self._put_in_place(fresh, name)
        self.update(self.info.model_copy(update={"settings": dict(settings or {})}))

    def _put_in_place(self, fresh: str, name: str) -> None:
        old = self.path / f".{name}.old"
        shutil.rmtree(old, ignore_errors=True)
        if (self.path / name).exists():
            replace_file(self.path / name, old)
        replace_file(self.path / fresh, self.path / name)
        shutil.rmtree(old, ignore_errors=True)

    def read_table(self) -> pd.DataFrame | None:
        """The nuclei's table, None where there is none.

        Raises
        ------
        StoreError
            It is damaged.
        """
        import pandas as pd

        moved = _FRESH_TABLE in self._group and _FRESH_LABELS not in self._group and "labels" in self._group
        group = self._group.get(_FRESH_TABLE if moved else "table")
        if group is None:
            return None
        names = {int(c): c.label for c in (*CLASSES, NucleusClass.UNCLASSIFIED)}
        with self.damage_told("table of nuclei is"):
            most = self.shape[0] * self.shape[1]
            arrays = {str(c): group[c] for c in group.attrs["columns"]}
            if any(a.ndim != 1 or a.shape[0] > most for a in arrays.values()):
                raise ValueError("more rows than pixels")
            table = pd.DataFrame({c: np.asarray(a[:]) for c, a in arrays.items()})
            table.insert(1, "class", pd.Series([names[int(k)] for k in table["class_id"]], dtype=str))
        return table

    def add_pyramid(self) -> None:
        """Add smaller levels to maps that are larger than 4096 px, chunk by chunk."""
        add_levels(self._group["data"], mean=True)
        self.update(self.info)

    def _levels(self, name: str) -> list[tuple[str, float]]:
        """Paths of the levels of an image, with the factor by which each is smaller."""
        group = self._group[name]
        keys = sorted(group.array_keys(), key=int)
        return [(k, 2.0 ** int(k)) for k in keys]

    def _describe_labels(self, where: str) -> None:
        colors = [{"label-value": 0, "rgba": [0, 0, 0, 0]}]
        colors += [{"label-value": int(c), "rgba": [*rgb, 255]} for c, rgb in PALETTES["imagescope"].items()]
        for name in ("instances", "classes"):
            levels = self._levels(f"{where}/{name}")
            label: dict[str, Any] = {"source": {"image": "../../"}}
            if name == "classes":
                label["colors"] = colors
            scales = _multiscales(name, self.info, [(k, f) for k, f in levels], channels=False)
            self._group[f"{where}/{name}"].attrs.update(
                {"ome": {"version": "0.5", "multiscales": scales, "image-label": label}}
            )


def _multiscales(
    name: str, info: StoreInfo, levels: list[tuple[str, float]], *, channels: bool
) -> list[dict[str, Any]]:
    unit = {"unit": "micrometer"} if info.um_per_px else {}
    axes: list[dict[str, str]] = [{"name": n, "type": "space", **unit} for n in "yx"]
    um = info.um_per_px or 1.0
    offset = [o * um for o in info.first_px]
    front = [1.0] if channels else []
    datasets = []
    for path, factor in levels:
        scale = {"type": "scale", "scale": [*front, um * factor, um * factor]}
        centre = [o + um * (factor - 1) / 2 for o in offset]
        shift = {"type": "translation", "translation": [*(0.0 for _ in front), *centre]}
        datasets.append({"path": path, "coordinateTransformations": [scale, shift]})
    if channels:
        axes.insert(0, {"name": "c", "type": "channel"})
    return [{"name": name, "axes": axes, "datasets": datasets}]


def _image_attributes(name: str, info: StoreInfo, levels: list[tuple[str, float]], largest: float) -> dict[str, Any]:
    scales = _multiscales(name, info, [(f"data/{k}", f) for k, f in levels], channels=True)
    window = {"min": 0, "max": largest, "start": 0, "end": largest}
    channels = [{"label": c, "color": "FFFFFF", "active": k == 6, "window": window} for k, c in enumerate(_CHANNELS)]
    return {"version": "0.5", "multiscales": scales, "omero": {"channels": channels, "rdefs": {"model": "greyscale"}}}
