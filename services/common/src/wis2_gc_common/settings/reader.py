"""Reads settings from the environment, once at start (architecture.md#settings)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from wis2_gc_common.errors import SettingsError
from wis2_gc_common.runtime.causes import os_words
from wis2_gc_common.runtime.logs import configure_logging, get_logger
from wis2_gc_common.settings.catalogue import (
    CATALOGUE,
    CENTRE_ID,
    HTTP_HOST,
    HTTP_PORT,
    LOG_FORMAT,
    LOG_LEVEL,
    QUEUE_URL,
    REDIS_URL,
    REPEAT_WINDOW_HOURS,
    REQUIRED,
    RETENTION_HOURS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wis2_gc_common.settings.catalogue import Setting
    from wis2_gc_common.settings.values import QueueUrl, Secret

_log = get_logger(__name__)

T = TypeVar("T")
S = TypeVar("S")
Environment = Mapping[str, str]


def unknown_settings(environment: Environment) -> list[str]:
    """Return the `GC_…` variables that no service reads, sorted: most are misspelt.

    Empty variables count as not set.
    """
    known = {setting.name for setting in CATALOGUE}
    known |= {f"{setting.name}_FILE" for setting in CATALOGUE if setting.is_secret}
    return sorted(
        name
        for name, value in environment.items()
        if name.startswith("GC_") and value and name not in known
    )


def warn_of_unknown_settings() -> None:
    """Log one line that names them; no error, since Kubernetes adds such names for services."""
    names = unknown_settings(os.environ)
    if names:
        _log.warning("unknown_settings", variables=names)


@contextmanager
def blamed_on(name: str, problem: str) -> Iterator[None]:
    """Raise SettingsError of the setting `name` for an OSError: `problem`, and the cause."""
    try:
        yield
    except OSError as error:
        raise SettingsError(name, f"{problem}: {os_words(error)}") from None


def of(setting: Setting[T]) -> T:
    """Return the field of a settings class that `Reader.into` fills with this setting."""
    return cast("T", field(metadata={"setting": setting}))


def of_optional(setting: Setting[T]) -> T | None:
    """Return the same for a setting that may be absent."""
    return of(setting)


class Reader:
    """Reads settings from one environment; the only place that does."""

    def __init__(self, environment: Environment | None = None) -> None:
        self._environment = os.environ if environment is None else environment

    @overload
    def __call__(self, setting: Setting[T]) -> T: ...
    @overload
    def __call__(self, setting: Setting[T], *, absent: None) -> T | None: ...

    def __call__(self, setting: Setting[T], *, absent: object = REQUIRED) -> T | None:
        """Return the parsed value; `absent=None` for settings that may be missing.

        Raises SettingsError naming the variable.
        """
        text = self._text(setting)
        if text is None:
            if absent is REQUIRED:
                raise SettingsError(setting.name, f"is not set. {setting.meaning}")
            return None
        try:
            return setting.parse(text)
        except ValueError as error:
            # Do not show a text that may contain a password, intended or not.
            shown = "" if setting.is_secret or "@" in text else f"{text[:200]!r} "
            raise SettingsError(setting.name, f"{shown}{error}") from None

    def into(self, settings: type[S], **given: object) -> S:
        """Return a settings object: fields are as `given`, or declared by `of`.

        Raises SettingsError naming the variable.
        """
        for declared in fields(settings):  # type: ignore[arg-type]
            setting = declared.metadata.get("setting")
            if setting is not None:
                absent = None if setting.default is None else REQUIRED
                given[declared.name] = self(setting, absent=absent)
        return settings(**given)

    def _text(self, setting: Setting[Any]) -> str | None:
        text = self._environment.get(setting.name)
        path = self._environment.get(f"{setting.name}_FILE") if setting.is_secret else None
        if text and path:
            raise SettingsError(setting.name, f"is set, and so is {setting.name}_FILE; set one")
        if path:
            try:
                text = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                problem = f"{path} cannot be read: {os_words(error)}"
                raise SettingsError(f"{setting.name}_FILE", problem) from None
            except UnicodeDecodeError:
                raise SettingsError(f"{setting.name}_FILE", f"{path} is not a text") from None
            if not text:
                raise SettingsError(f"{setting.name}_FILE", f"names an empty file: {path}")
        if text:
            return text
        return None if setting.is_required else setting.default


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonSettings:
    """The settings that all services share."""

    centre_id: str = of(CENTRE_ID)
    redis_url: Secret = of(REDIS_URL)
    queue_url: QueueUrl = of(QUEUE_URL)
    http_host: str = of(HTTP_HOST)
    http_port: int = of(HTTP_PORT)
    log_level: str = of(LOG_LEVEL)
    log_format: str = of(LOG_FORMAT)


def start_logs(settings: CommonSettings, service: str) -> None:
    """Log as the settings say, and warn of settings that nobody reads."""
    configure_logging(level=settings.log_level, log_format=settings.log_format, service=service)
    warn_of_unknown_settings()


def read_repeat_window_hours(read: Reader) -> int:
    """Return how long a newer version without an update link is a repeat. Raises SettingsError.

    Never longer than the retention: nothing repeats what has left the cache (wis2-rules.md 8).
    """
    return min(read(REPEAT_WINDOW_HOURS), read(RETENTION_HOURS))
