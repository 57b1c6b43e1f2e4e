"""Timers for looking whether others have done something, in virtual time.

A store in a file is looked at twice a second for what other processes wrote. A month has five
million such looks, and before nearly all of them nothing at all has happened.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Looks:
    """A timer of theirs is due at its time, but not before something has happened since it was
    set: `stir` says so."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._stirs = 0
        self._set: list[tuple[float, int, asyncio.Handle]] = []

    def stir(self) -> None:
        self._stirs += 1

    def call_idly(
        self, delay: float, callback: Callable[..., object], *args: object
    ) -> asyncio.Handle:
        """``loop.call_later``, for a look."""
        handle = asyncio.Handle(callback, args, self._loop)
        self._set = [one for one in self._set if not one[2].cancelled()]
        self._set.append((self._loop.time() + delay, self._stirs, handle))
        return handle

    def next(self) -> float:
        """When the first one is due."""
        return min((when for when, stirs, _ in self._set if stirs < self._stirs), default=math.inf)

    def take(self, now: float) -> list[asyncio.Handle]:
        """Those that are due by ``now``, which are set no more."""
        due = [one for one in self._set if one[0] <= now and one[1] < self._stirs]
        self._set = [one for one in self._set if one not in due]
        return [handle for *_, handle in due if not handle.cancelled()]
