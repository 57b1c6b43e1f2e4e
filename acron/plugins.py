"""What other distributions add to acron by entry points."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, TypeVar

from acron.contain import meant_for_us, text_of
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from importlib.metadata import EntryPoint, EntryPoints


class Named(Protocol):
    """What can be found by its name."""

    @property
    def name(self) -> str: ...


class Closable(Protocol):
    """What lets go of what it keeps."""

    async def close(self) -> None: ...


T = TypeVar("T", bound=Named)

log = logging.getLogger("acron")


def plugins(group: str, kind: type[T], taken: Collection[str]) -> dict[str, T]:
    """By name, an instance of ``kind`` for each entry point of ``group``.

    A point stands for an instance, or for what makes one without arguments: a class, a function.
    One that fails in any way, or whose name is ``taken``, is left out with a warning: a
    stranger's fault must not stop the host.
    """
    found: dict[str, T] = {}
    for point in sorted(installed(group)):
        try:
            made = _made(point, kind)
            if made.name in taken or made.name in found:
                raise ValueError(f"there is a {made.name!r} already")  # noqa: TRY301
            found[made.name] = made
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (importing it may even exit)
            why = one_line(f"{type(error).__name__}: {error}", 500)
            log.warning("%s: %s (%s) is left out: %s", group, point.name, point.value, why)
    return found


def installed(group: str) -> EntryPoints:
    """The entry points of ``group``. They are read once, which takes milliseconds, and again when
    a folder of the path has changed: whatever is installed leaves one there."""
    return _read(group, _path())


@lru_cache(maxsize=8)
def _read(group: str, _: object) -> EntryPoints:
    return entry_points(group=group)


def _path() -> tuple[tuple[str, int, int], ...]:
    """Where distributions are looked for, and since when it is as it is."""
    found = []
    for place in sys.path:
        with suppress(OSError):  # of what is not there, nothing is read
            status = os.stat(place or ".")  # noqa: PTH116 (text, and asked with each app)
            found.append((place, status.st_ino, status.st_mtime_ns))
    return tuple(found)


def _made(point: EntryPoint, kind: type[T]) -> T:
    loaded = point.load()
    made = loaded if isinstance(loaded, kind) or not callable(loaded) else loaded()
    if not isinstance(made, kind):
        raise TypeError(f"{made!r} is not an instance of {kind.__name__}")
    return made


async def close_all(kind: str, things: Mapping[str, Closable], seconds: float) -> None:
    """Close each, within so many ``seconds``. One that fails, in any way, stops no other."""

    async def close(name: str, thing: Closable) -> None:
        try:
            await thing.close()
        except BaseException as error:
            if meant_for_us(error):
                raise
            log.warning("%s %s did not close: %s", kind, name, one_line(text_of(error)))

    closing = {asyncio.create_task(close(*one), name=f"close {one[0]}") for one in things.items()}
    if not closing:
        return
    _, late = await asyncio.wait(closing, timeout=seconds)
    for task in late:
        log.warning("%s: it did not end within %g s", task.get_name(), seconds)
        task.cancel()
