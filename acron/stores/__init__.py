"""WHERE jobs, claims and runs live. ``open_store`` finds a store by its address.

To add one: a module here and a line in ``STORES``, or an entry point in the group
``acron.stores``, named after the URL scheme: a callable ``(address, home) -> Store``.
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from acron.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.abc import Store

__all__ = ["DEFAULT", "open_store"]

#: Where jobs are kept when nothing is said, in the home directory.
DEFAULT = "jobs.json"

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)
_PATH_LIMIT = 4000
_PART_LIMIT = 200  # what acron appends must fit into a file name of 255 bytes


def open_store(address: str, home: Path) -> Store:
    """The store at ``address``, not yet opened: ``memory://``, a path, or a URL.

    An empty address is ``jobs.json`` in ``home``; other relative paths start from the current
    directory. Raises ConfigError for what no store can be.
    """
    scheme = _SCHEME.match(address)
    if scheme is None:
        return _json_file(address or str(home / DEFAULT), home)
    name = scheme[1].lower()
    maker = STORES.get(name) or _entry_point(name)
    if maker is None:
        known = ", ".join(f"{one}:" for one in STORES)
        raise _refused(address, f"no store is known for {name!r}; known are a path, {known}")
    return maker(address, home)


def _memory(address: str, _home: Path) -> Store:
    from acron.stores.memory import MemoryStore  # noqa: PLC0415 (imported when asked for)

    if address.lower() not in {"memory:", "memory://", "memory:///"}:
        raise _refused(address, "a memory store has no name; write memory://")
    return MemoryStore()


def _json_file(address: str, _home: Path) -> Store:
    from acron.stores.json_file import JsonFileStore  # noqa: PLC0415 (imported when asked for)

    path = _path(address)
    try:
        path = path.expanduser().absolute()
        if path.is_dir():
            raise _refused(address, f"it is a directory; name a file in it, such as {DEFAULT}")
    except (OSError, RuntimeError) as error:
        raise _refused(address, f"it is not a usable path: {error}") from error
    return JsonFileStore(path)


def _sqlite(address: str, _home: Path) -> Store:
    from acron.stores.sqlite import SqliteStore  # noqa: PLC0415 (imported when asked for)

    scheme, _, rest = address.partition("://")
    if not scheme or not rest.startswith("/") or rest[1:] in {"", ":memory:"} or "?" in rest:
        why = "write sqlite:///relative.db or sqlite:////absolute.db; memory:// keeps no file"
        raise _refused(address, why)
    path = _path(rest[1:])
    try:
        path = path.expanduser().absolute()
        if path.is_dir():
            raise _refused(address, "it is a directory; name a file in it, such as jobs.db")
    except (OSError, RuntimeError) as error:
        raise _refused(address, f"it is not a usable path: {error}") from error
    return SqliteStore(path)


def _path(address: str) -> Path:
    text = address
    if address[:5].lower() == "file:":
        url = urlsplit(address)
        if url.netloc not in {"", "localhost"} or url.query or url.fragment:
            raise _refused(address, "a file URL is file:///path/to/jobs.json")
        text = unquote(url.path)
    if not text or text.endswith(("/", "\\")):
        raise _refused(address, "it names no file")
    if not text.isprintable():
        raise _refused(address, "a path holds printable characters only")
    encoded = text.encode(errors="surrogateescape")
    if len(encoded) > _PATH_LIMIT or any(len(one) > _PART_LIMIT for one in encoded.split(b"/")):
        raise _refused(address, f"the path is too long ({len(encoded)} bytes)")
    return Path(text)


def _refused(address: str, why: str) -> ConfigError:
    shown = ascii(address if len(address) <= 80 else address[:79] + "…")
    return ConfigError(f"cannot keep jobs in {shown}: {why}", where="store")


def _postgres(address: str, _home: Path) -> Store:
    from acron.stores.postgres import PostgresStore  # noqa: PLC0415 (imported when asked for)

    return PostgresStore(address)


def _entry_point(scheme: str) -> Callable[[str, Path], Store] | None:
    for found in entry_points(group="acron.stores", name=scheme):
        try:
            maker: Any = found.load()
        except Exception as error:
            why = f"the store of {found.value} cannot be imported: {error!r}"
            raise _refused(scheme + ":…", why) from error
        return maker  # type: ignore[no-any-return]
    return None


#: By URL scheme; modules are imported when asked for.
STORES: dict[str, Callable[[str, Path], Store]] = {
    "memory": _memory,
    "file": _json_file,
    "sqlite": _sqlite,
    "postgresql": _postgres,
    "postgres": _postgres,
}
