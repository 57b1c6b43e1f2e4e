"""Settings: ``acron.toml`` in the home directory, ``ACRON_*`` variables, and what is passed.

Each wins over the one before: default, file, variable, argument. Read once at start, with plain
file calls: the file is tiny and no event loop need be running.
"""

from __future__ import annotations

import math
import os
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from platformdirs import user_data_dir

from acron.errors import ConfigError, InvalidJob, ScheduleError
from acron.messages import check_wrapper
from acron.model import Settings
from acron.schedules import Calendar
from acron.schedules.durations import duration
from acron.schedules.zones import hint, zone
from acron.targets import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FILE = "acron.toml"
PREFIX = "ACRON_"

_TYPES: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(Settings)}
#: What turns the wrapper on and off where there is only text.
_SWITCH = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "off", "0"), False
)
#: Fields in seconds, which may be written as a length of time: ``"5m"``.
_SECONDS = frozenset({"interval", "drain_timeout", "sweep_after", "blocked_after", "blocked_limit"})
#: Fields that are lists, and may be one text with commas.
_LISTS = frozenset({"alerts"})
_NOT_NEGATIVE = ("blocked_after", "blocked_limit", "catch_up_rate", "drain_timeout", "sweep_after")
_FROM_ONE = ("max_running", "max_threads", "nats_arm_rate", "nats_replicas", "retention_runs")
_AT_LEAST = {
    **dict.fromkeys(_NOT_NEGATIVE, 0),
    **dict.fromkeys(_FROM_ONE, 1),
}
_POSITIVE = frozenset({"interval", "retention_days"})
#: Not for a file, which is copied, shared and kept.
_SECRET = frozenset({"chronos_token"})
_HTTP = frozenset({"chronos_portal_url", "chronos_callback_url", "chronos_jwks_url"})


def load_settings(
    home: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    **overrides: Any,
) -> Settings:
    """The settings in force, all of them checked.

    ``home`` is the home directory, where ``acron.toml`` is looked for (it need not exist); by
    default ``ACRON_HOME``, then the user data directory. A variable that is empty, and an
    override that is None, count as not set. Raises ConfigError, whose ``where`` names the file
    and key, the variable, or the argument.
    """
    named = _from_environment(environ)
    for name, value in {"home": home, **overrides}.items():
        if value is not None:
            raw = os.fspath(value) if isinstance(value, os.PathLike) else value
            named[name] = _value(name, raw, name)
    folder = home_dir(Settings(home=named.get("home", "")))
    return Settings(**(_from_file(folder / FILE) | named))


def check_settings(settings: Settings) -> Settings:
    """``settings`` made by a program, if they can be used. Raises ConfigError."""
    for name in _TYPES:
        _value(name, getattr(settings, name), name)
    return settings


def home_dir(settings: Settings) -> Path:
    """Where jobs, outputs and plugins live; absolute."""
    return Path(settings.home or user_data_dir("acron")).expanduser().absolute()


def store_url(settings: Settings) -> str:
    """The store to open, as a URL or a path: ``jobs.json`` in the home directory by default."""
    return settings.store or str(home_dir(settings) / "jobs.json")


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for name in _TYPES:
        variable = PREFIX + name.upper()
        raw = environ.get(variable, "").strip()
        if raw:
            values[name] = _value(name, raw, variable)
    return values


def _from_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    except ValueError as error:  # not UTF-8, or not TOML: the message has line and column
        raise ConfigError(str(error), where=str(path)) from error
    except RecursionError as error:
        raise ConfigError("nested too deeply", where=str(path)) from error
    return {name: _value(name, raw, _place(path, name), path) for name, raw in table.items()}


def _place(path: Path, key: str) -> str:
    return f"{path}: $.{key if key.isprintable() else ascii(key)}"


def _value(name: str, raw: object, where: str, file: Path | None = None) -> Any:
    """``raw`` as the field's type, checked. Outside a file numbers may be given as text."""
    if name not in _TYPES:
        near = get_close_matches(name, _TYPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_TYPES)}"
        raise ConfigError(f"unknown setting ({hint})", where=where)
    if name in _LISTS and isinstance(raw, str):
        raw = tuple(one for part in raw.split(",") if (one := part.strip()))
    if name in _SECRET and file is not None:
        raise ConfigError(f"is a secret: set {PREFIX}{name.upper()} instead", where=where)
    try:
        value = msgspec.convert(raw, _TYPES[name], strict=file is not None)
    except msgspec.ValidationError as error:
        value = _seconds(raw, error, where) if name in _SECONDS else _refuse(error, where)
    if name in _OF_ITS_OWN:
        return _OF_ITS_OWN[name](value, where)
    if name in _LISTS:
        return _list(value, where)
    if isinstance(value, str):
        return _text(name, value, where, Path() if file is None else file.parent)
    if not math.isfinite(value):
        raise ConfigError(f"must be a finite number, not {value}", where=where)
    if name in _POSITIVE and value <= 0:
        raise ConfigError(f"must be more than 0, not {value:g}", where=where)
    if name in _AT_LEAST and value < _AT_LEAST[name]:
        raise ConfigError(f"must be at least {_AT_LEAST[name]}, not {value:g}", where=where)
    return value


def _calendars(tables: dict[str, tuple[str, ...]], where: str) -> dict[str, tuple[str, ...]]:
    for name, items in tables.items():
        try:
            Calendar(items, name=name)
        except ScheduleError as error:
            raise ConfigError(str(error), where=f"{where}.{name}") from error
    return tables


def _home_channels(chats: dict[str, str], where: str) -> dict[str, str]:
    for platform, chat in chats.items():
        try:
            known = parse_target(f"{platform}:{chat}").platform == platform
        except InvalidJob as error:
            raise ConfigError(str(error), where=f"{where}.{platform}") from error
        if not known:
            raise ConfigError("is no platform's name", where=f"{where}.{platform}")
    return chats


def _wrapper(value: Any, where: str) -> bool | str:
    if isinstance(value, bool):
        return value
    if value.lower() in _SWITCH:
        return _SWITCH[value.lower()]
    try:
        check_wrapper(value)
    except ValueError as error:
        raise ConfigError(f"the template cannot be used: {error}", where=where) from error
    return str(value)


#: Settings that are neither text, number nor list: how each is checked.
_OF_ITS_OWN: dict[str, Callable[[Any, str], Any]] = {
    "calendars": _calendars,
    "home_channels": _home_channels,
    "wrap": _wrapper,
}


def _list(items: tuple[str, ...], where: str) -> tuple[str, ...]:
    for number, item in enumerate(items):
        if not item.strip() or not item.isprintable():
            raise ConfigError(f"must be printable text, not {item!r}", where=f"{where}[{number}]")
    return items


def _seconds(raw: object, error: msgspec.ValidationError, where: str) -> float:
    try:
        return duration(raw)  # type: ignore[arg-type]  # it refuses what is no length
    except ScheduleError:
        _refuse(error, where, ' (seconds, or a length of time such as "5m")')


def _refuse(error: msgspec.ValidationError, where: str, hint: str = "") -> NoReturn:
    message, _, place = str(error).replace("`", "").partition(" - at $")
    raise ConfigError(message + hint, where=where + place) from error


def _text(name: str, value: str, where: str, base: Path) -> str:
    if "\0" in value:
        raise ConfigError("must not contain a NUL character", where=where)
    if name == "tz" and value:
        try:
            return zone(value).name
        except LookupError:
            message = f"unknown zone {value[:80]!r} ({hint(value[:80])})"
            raise ConfigError(message, where=where) from None
    if name in _HTTP and value and not value.startswith(("https://", "http://")):
        raise ConfigError("must be an http or https URL", where=where)
    if name == "home" and value:
        try:
            return str((base / Path(value).expanduser()).absolute())
        except RuntimeError as error:  # ~somebody
            raise ConfigError(f"{value!r}: {error}", where=where) from error
    return value
