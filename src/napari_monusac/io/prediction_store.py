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

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_monusac.core.classes import CLASSES, PALETTES, SEMANTIC_NAMES, TERNARY_NAMES, NucleusClass
from napari_monusac.core.errors import StoreError
from napari_monusac.io._pyramid import add_levels
from napari_monusac.io.rescale import ImageFrame

if TYPE_CHECKING:
    import pandas as pd

_KEY = "napari-monusac"
_CHANNELS = (*(f"semantic: {n}" for n in SEMANTIC_NAMES), *(f"ternary: {n}" for n in TERNARY_NAMES))
_CHUNK_PX = 512
_FOREIGN = "choose a .zarr folder that napari-monusac has written"


class StoreInfo(BaseModel):
    """What a stored prediction says about itself.

    Attributes
    ----------
    um_per_px : float or None
        Scale of the stored maps.
    offset_px : (y, x)
        First pixel of the maps in the image, px of the maps.
    boundary_width : int
        Width of the boundary in px of the maps.
    fingerprint, checkpoint, image, engine : str
        Of the recipe; where weights and pixels came from; what ran the network.
    notes : tuple of str
        What the user should be told.
    settings : dict
        How the nuclei were separated; empty while there are none.
    frame : ImageFrame or None
        How the maps lie on the image, where they have another scale than the image.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    um_per_px: float | None = None
    offset_px: tuple[int, int] = (0, 0)
    boundary_width: int = 3
    fingerprint: str = ""
    checkpoint: str = ""
    image: str = ""
    engine: str = ""
    notes: tuple[str, ...] = ()
    settings: dict[str, float] = {}
    frame: ImageFrame | None = None

    @property
    def image_um_per_px(self) -> float | None:
        """Scale of the image, to whose pixels `read_prediction` brings the maps."""
        return self.um_per_px if self.frame is None else self.frame.um_per_px


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
            Probabilities as uint8 in 255ths (off by 0.002 at most), else as float16.

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
        try:
            group = zarr.open_group(path, mode="r+" if mode == "r+" else "r")
            info = StoreInfo.model_validate(group.attrs[_KEY])
            return cls(path, group, info)
        except ValidationError as error:
            raise StoreError(path, f"damaged attributes ({error.errors()[0]['msg']})", _FOREIGN) from error
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise StoreError(path, f"is no stored prediction ({type(error).__name__})", _FOREIGN) from error

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the maps, px."""
        return int(self.maps.shape[1]), int(self.maps.shape[2])

    def update(self, info: StoreInfo) -> None:
        """Write what the store says about itself."""
        self.info = info
        self._group.attrs.update(
            {"ome": _image_attributes(self.path.stem, info, self._levels("data")), _KEY: info.model_dump(mode="json")}
        )

    def write_maps(self, place: Sequence[int], values: NDArray[np.float32]) -> None:
        """Write probabilities (8, y, x) at `place` = (y, x, height, width)."""
        y, x, height, width = place
        coded = np.rint(values * np.float32(255)).astype(np.uint8) if self.maps.dtype == np.uint8 else values
        self.maps[:, y : y + height, x : x + width] = coded

    def read_maps(self, place: Sequence[int] | None = None) -> NDArray[Any]:
        """Read probabilities (8, y, x) as they are stored (uint8 in 255ths, or float16), whole or at `place`."""
        y, x, height, width = place or (0, 0, *self.shape)
        return np.asarray(self.maps[:, y : y + height, x : x + width])

    def labels(self, name: str) -> Any:
        """The zarr array of ``"instances"`` or ``"classes"``; None where the nuclei are not separated yet."""
        return self._group.get(f"labels/{name}/0")

    def levels(self, name: str) -> list[Any]:
        """The zarr arrays of ``"data"``, ``"labels/instances"`` or ``"labels/classes"``, largest first."""
        group = self._group.get(name)
        return [] if group is None else [group[key] for key in sorted(group.array_keys(), key=int)]

    def create_labels(self) -> tuple[Any, Any]:
        """Make empty arrays for instances (int32) and classes (uint8); older ones are replaced."""
        for old in ("labels", "table"):
            if old in self._group:
                del self._group[old]
        part = self.maps.shards[1:] if self.maps.shards else self.maps.chunks[1:]
        arrays = []
        for name, dtype in (("instances", "int32"), ("classes", "uint8")):
            arrays.append(
                self._group.create_array(
                    f"labels/{name}/0", shape=self.shape, chunks=part, dtype=dtype, dimension_names=("y", "x")
                )
            )
        self._group["labels"].attrs.update({"ome": {"version": "0.5", "labels": ["instances", "classes"]}})
        self._describe_labels()
        return arrays[0], arrays[1]

    def write_table(self, table: pd.DataFrame) -> None:
        """Write the nuclei's table; text columns are left out (the class follows from `class_id`)."""
        if "table" in self._group:
            del self._group["table"]
        group = self._group.create_group("table")
        columns = [c for c in table.columns if c != "class"]
        for column in columns:
            group.create_array(column, data=np.ascontiguousarray(table[column].to_numpy()))
        group.attrs.update({"columns": columns, "rows": len(table)})

    def read_table(self) -> pd.DataFrame | None:
        """The nuclei's table, None where there is none."""
        import pandas as pd

        group = self._group.get("table")
        if group is None:
            return None
        table = pd.DataFrame({c: np.asarray(group[c][:]) for c in group.attrs["columns"]})
        names = {int(c): c.label for c in (*CLASSES, NucleusClass.UNCLASSIFIED)}
        table.insert(1, "class", pd.Series([names[int(k)] for k in table["class_id"]], dtype=str))
        return table

    def add_pyramid(self) -> None:
        """Add smaller levels to everything that is larger than 4096 px, chunk by chunk."""
        add_levels(self._group["data"], mean=True)
        self.update(self.info)
        if "labels" in self._group:
            for name in ("instances", "classes"):
                add_levels(self._group[f"labels/{name}"], mean=False)
            self._describe_labels()

    def _levels(self, name: str) -> list[tuple[str, float]]:
        """Paths of the levels of an image, with the factor by which each is smaller."""
        group = self._group[name]
        keys = sorted(group.array_keys(), key=int)
        return [(k, 2.0 ** int(k)) for k in keys]

    def _describe_labels(self) -> None:
        colors = [{"label-value": 0, "rgba": [0, 0, 0, 0]}]
        colors += [{"label-value": int(c), "rgba": [*rgb, 255]} for c, rgb in PALETTES["imagescope"].items()]
        for name in ("instances", "classes"):
            levels = self._levels(f"labels/{name}")
            label: dict[str, Any] = {"source": {"image": "../../"}}
            if name == "classes":
                label["colors"] = colors
            scales = _multiscales(name, self.info, [(k, f) for k, f in levels], channels=False)
            self._group[f"labels/{name}"].attrs.update(
                {"ome": {"version": "0.5", "multiscales": scales, "image-label": label}}
            )


def _multiscales(
    name: str, info: StoreInfo, levels: list[tuple[str, float]], *, channels: bool
) -> list[dict[str, Any]]:
    unit = {"unit": "micrometer"} if info.um_per_px else {}
    axes: list[dict[str, str]] = [{"name": n, "type": "space", **unit} for n in "yx"]
    um = info.um_per_px or 1.0
    offset = [o * um for o in info.offset_px]
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


def _image_attributes(name: str, info: StoreInfo, levels: list[tuple[str, float]]) -> dict[str, Any]:
    scales = _multiscales(name, info, [(f"data/{k}", f) for k, f in levels], channels=True)
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    channels = [{"label": c, "color": "FFFFFF", "active": k == 6, "window": window} for k, c in enumerate(_CHANNELS)]
    return {"version": "0.5", "multiscales": scales, "omero": {"channels": channels, "rdefs": {"model": "greyscale"}}}
