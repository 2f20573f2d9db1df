"""Every setting in one model: of the environment, of napari's preferences, and what the window remembers. No Qt.

What an environment variable says holds before what was kept; what was kept, before the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from napari_monusac.core.settings import PREFIX, Environment, variables_now, wrong_variable

#: Paths of a kind that are remembered.
_MOST_PATHS = 8
KeptWhere = Literal["napari", "window"]


class Settings(Environment):
    """All settings as they hold now.

    Attributes
    ----------
    reader, colour_blind, click_tolerance
        Kept by napari (File > Preferences > Plugins).
    paths, sections
        What the window remembers.
    """

    reader: str = Field(
        "", description="Your name; it stands on every edit and judgement", json_schema_extra={"kept": "napari"}
    )
    colour_blind: bool = Field(
        False, description="Class colours for colour-blind eyes (Okabe-Ito)", json_schema_extra={"kept": "napari"}
    )
    click_tolerance: int = Field(
        3, ge=0, le=20, description="A click may slip, or miss a nucleus, by this many screen pixels", json_schema_extra={"kept": "napari"}
    )  # fmt: skip
    paths: dict[str, tuple[str, ...]] = Field(
        {},
        description="The last folders and files of each kind, the newest first",
        json_schema_extra={"kept": "window"},
    )
    sections: dict[str, bool] = Field(
        {}, description="Which parts of the panels are unfolded", json_schema_extra={"kept": "window"}
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then what was kept."""
        return env_settings, init_settings


def kept_fields(place: KeptWhere) -> tuple[str, ...]:
    """Names of the settings that are kept at a place, in order."""
    found = ((name, f.json_schema_extra) for name, f in Settings.model_fields.items())
    return tuple(name for name, extra in found if isinstance(extra, dict) and extra.get("kept") == place)


class Store(Protocol):
    """Where settings are kept."""

    def read(self) -> Mapping[str, Any]:
        """What is kept, by the names of `Settings`."""
        ...

    def write(self, name: str, value: Any) -> None:
        """Keep one."""


class InMemory:
    """Settings that are kept for as long as the process lives: a script without napari, a test."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def read(self) -> Mapping[str, Any]:
        """What is kept."""
        return self.values

    def write(self, name: str, value: Any) -> None:
        """Keep one."""
        self.values[name] = value


class KeptSettings:
    """Reads and keeps settings, each at its place.

    Parameters
    ----------
    stores : mapping
        Where the settings of each place are kept.
    """

    def __init__(self, stores: Mapping[KeptWhere, Store]) -> None:
        self._stores = stores
        self._read: tuple[object, Settings] | None = None

    @property
    def now(self) -> Settings:
        """All settings as they hold now. What is kept and makes no sense (a file changed by hand) does not hold.

        Raises
        ------
        MonusacError
            An environment variable says what makes no sense.
        """
        kept = {name: value for store in self._stores.values() for name, value in store.read().items()}
        said = (variables_now(), kept)
        if self._read is None or self._read[0] != said:
            self._read = said, self._sensible(kept)
        return self._read[1]

    def _sensible(self, kept: dict[str, Any]) -> Settings:
        while True:
            try:
                return Settings(**kept)
            except ValidationError as error:
                wrong = {str(e["loc"][0]) for e in error.errors()} & kept.keys()
                if not wrong:
                    raise wrong_variable(error) from None
                kept = {name: value for name, value in kept.items() if name not in wrong}

    def keep(self, name: str, value: Any) -> None:
        """Keep a setting."""
        place: KeptWhere = "napari" if name in kept_fields("napari") else "window"
        self._stores[place].write(name, value)

    def last_paths(self, key: str) -> tuple[str, ...]:
        """The last paths of a kind that are still there, the newest first."""
        return tuple(path for path in self.now.paths.get(key, ()) if path and Path(path).exists())

    def remember_path(self, key: str, path: str) -> None:
        """Put a path before the others of its kind."""
        paths = (path, *(p for p in self.last_paths(key) if p != path))[:_MOST_PATHS]
        self.keep("paths", {**self.now.paths, key: paths})


def settings_table() -> str:
    """The table of all settings in Markdown, as the guide has it."""
    lines = ["| setting | environment variable | kept | what it is | where nothing is said |", "|---|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        extra: dict[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        place = {"napari": "napari's preferences", "window": "the window's own"}.get(str(extra.get("kept")), "")
        default = str(extra.get("else") or ("no" if field.default is False else field.default or "none"))
        lines.append(
            f"| {name.replace('_', ' ')} | `{PREFIX}{name.upper()}` | {place or '–'} | {field.description} | {default} |"
        )
    return "\n".join(lines)
