"""What this node says of itself, and whether its clock still tells the time it told before."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from acron.contain import meant_for_us, text_of
from acron.events import Troubled
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.abc import Store
    from acron.clock import Clock
    from acron.events import Events
    from acron.model import Node

log = logging.getLogger("acron.runtime")

#: A wall clock that moved this many seconds against the monotonic one has jumped, or slept.
JUMP = 5.0
#: Seconds between two beats, whatever the rate of ticks.
BEAT_INTERVAL = 1.0


class Pulse:
    """Beats: a heartbeat on every tick, a success mark on a clean one, the last error kept.

    ``describe`` gives what only the runtime knows of the node. ``serving_since`` is when
    acron began to serve without a break: a machine that slept, or a clock that was set, is one.
    ``sent`` is what the store was told last; any thread may read it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        events: Events,
        node: Node,
        describe: Callable[[], dict[str, Any]],
    ) -> None:
        self.serving_since = node.started_at
        self.sent = node
        self._store = store
        self._clock = clock
        self._events = events
        self._described: dict[str, Any] = {}
        self._last = node  # as it was last described
        self._heartbeat_at = node.heartbeat_at
        self._success_at = node.last_success_at
        self._last_error = node.last_error
        self._describe = describe
        self._beat_at = float("-inf")
        self._beating = asyncio.Lock()
        self._anchor = (clock.now(), clock.monotonic())

    @property
    def node(self) -> Node:
        """What this node says of itself now."""
        described = self._describe()
        if described != self._described:
            self._described, self._last = described, replace(self._last, **described)
        return replace(
            self._last,
            heartbeat_at=self._heartbeat_at,
            last_success_at=self._success_at,
            last_error=self._last_error,
        )

    @property
    def beats_now(self) -> bool:
        """Whether a beat would be the first in a second, and would not wait for another."""
        since = self._clock.monotonic() - self._beat_at
        return since >= BEAT_INTERVAL and not self._beating.locked()

    async def beat(self, *, force: bool = False) -> None:
        """Tell the store that we live; at most once a second unless forced."""
        if not force and not self.beats_now:
            return
        self._beat_at = self._clock.monotonic()
        if self._store.at_once:
            await self._tell()
        else:
            async with self._beating:  # an older one must not come after a newer one
                await self._tell()

    async def _tell(self) -> None:
        self._heartbeat_at = self._clock.now()
        self.sent = self.node
        try:
            await self._store.beat(self.sent)
        except BaseException as error:
            if meant_for_us(error):
                raise
            told = self._last_error or ""
            if not told.endswith(one_line(text_of(error))):  # what fails the tick fails us too
                self.trouble("heartbeat", error)

    def success(self) -> None:
        """A tick went through."""
        self._success_at, self._last_error = self._clock.now(), None

    def trouble(self, what: str, error: BaseException | None) -> None:
        """Something of acron's own failed: log it, keep it for ``status``, go on."""
        text = one_line(what if error is None else f"{what}: {text_of(error)}")
        log.error("%s", text)
        self._last_error = text
        if self._events.wanted:
            self._events.emit(Troubled(self._clock.now(), what, text))

    def watch_clock(self) -> bool:
        """Whether the wall clock jumped, or the machine slept: from now on we serve anew."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        moved = (wall - self._anchor[0]).total_seconds() - (monotonic - self._anchor[1])
        if abs(moved) > JUMP:
            log.warning("the wall clock moved by %+.1f s", moved)
            self.serving_since = wall
        self._anchor = (wall, monotonic)
        return abs(moved) > JUMP
