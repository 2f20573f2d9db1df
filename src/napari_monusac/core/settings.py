"""Settings from outside of a call: the environment variables ``MONUSAC_*``. Read anew each time, for they may change."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from napari_monusac.core.errors import MonusacError

PREFIX = "MONUSAC_"


class Environment(BaseSettings):
    """What environment variables say; an empty one says nothing.

    Attributes
    ----------
    cache, work, classes, settings, runs, predictions, panel, tile_cache, pyramid_cache
        See their descriptions: the table in the guide is made of them.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    cache: Path | None = Field(
        None, validation_alias=AliasChoices("MONUSAC_CACHE", "NAPARI_MONUSAC_CACHE", "cache"),
        description="Folder for what can be made again: thumbnails, the sample collection", json_schema_extra={"else": "the user's cache folder"},
    )  # fmt: skip
    work: Path | None = Field(
        None, description="Folder for what belongs beside data that cannot be written to: corrections, lists of patients, names of classes",
        json_schema_extra={"else": "the user's data folder"},
    )  # fmt: skip
    classes: str = Field(
        "", description="File of names of classes (.csv or .toml) for this process and all that it starts", json_schema_extra={"else": "the names that were given in the window"}
    )  # fmt: skip
    settings: Path | None = Field(
        None, description="File that the window remembers folders and choices in", json_schema_extra={"else": "where the system keeps settings"}
    )  # fmt: skip
    runs: Path | None = Field(
        None, description="Folder of runs that the window begins with", json_schema_extra={"else": "napari-monusac-runs in the home folder"}
    )  # fmt: skip
    predictions: Path | None = Field(
        None, description="Folder of stored predictions that Review begins with", json_schema_extra={"else": "none"}
    )
    tile_cache: int = Field(
        256, ge=16, le=65536, description="MiB of decoded tiles of slides that are kept in memory, for all open slides together", json_schema_extra={"else": "256"}
    )  # fmt: skip
    pyramid_cache: int = Field(
        20, ge=1, le=65536, description="GiB on disk for the smaller levels of large images that have none", json_schema_extra={"else": "20"}
    )  # fmt: skip
    panel: str = Field("Slides", description="Panel that the window begins with", json_schema_extra={"else": "Slides"})

    def variables(self) -> dict[str, str]:
        """These values as environment variables, for a process that is started; values that were not given are left out."""
        return {PREFIX + name.upper(): str(getattr(self, name)) for name in sorted(self.model_fields_set)}


def variables_now() -> tuple[tuple[str, str], ...]:
    """Return our environment variables as they are now."""
    return tuple((name, value) for name, value in os.environ.items() if PREFIX in name)


def environment() -> Environment:
    """Return what the environment variables say now.

    Raises
    ------
    MonusacError
        One of them says what makes no sense.
    """
    return _read(variables_now())


@lru_cache(maxsize=4)
def _read(_: tuple[tuple[str, str], ...]) -> Environment:
    try:
        return Environment()  # takes a millisecond: kept until a variable changes
    except ValidationError as error:
        raise wrong_variable(error) from None


def wrong_variable(error: ValidationError) -> MonusacError:
    """Make one line of what pydantic says of an environment variable."""
    first = error.errors()[0]
    name = f"{PREFIX}{str(first['loc'][0]).upper()}"
    return MonusacError(
        f"{name} = {first['input']!r}: {first['msg'].lower()}", "correct the environment variable, or unset it"
    )


def user_folder(kind: str) -> Path:
    """Return the folder of this user for what is made again ("cache") or belongs beside data ("work"); it may not exist."""
    import platformdirs

    given = getattr(environment(), kind)
    if given is not None:
        return Path(given)
    where = platformdirs.user_cache_path if kind == "cache" else platformdirs.user_data_path
    return Path(where("napari-monusac", appauthor=False))


def pass_class_names_on(file: str) -> None:
    """Name a file of class names to this process and to those that it starts from now on."""
    os.environ[f"{PREFIX}CLASSES"] = file
