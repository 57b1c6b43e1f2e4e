"""What this node says of itself, and whether its clock still tells the time it told before."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.errors import AcronError
from acron.events import Troubled
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

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

    ``describe`` adds to the node's record what only the runtime knows. ``serving_since`` is when
    acron began to serve without a break: a machine that slept, or a clock that was set, is one.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        events: Events,
        node: Node,
        describe: Callable[[Node], Node],
    ) -> None:
        self.serving_since = node.started_at
        self.looked_at = node.started_at
        self._store = store
        self._clock = clock
        self._events = events
        self._node = node
        self._describe = describe
        self._beat_at = float("-inf")
        self._anchor = (clock.now(), clock.monotonic())

    @property
    def node(self) -> Node:
        """What this node says of itself now."""
        return self._describe(self._node)

    async def beat(self, *, force: bool = False) -> None:
        """Tell the store that we live; at most once a second unless forced."""
        since = self._clock.monotonic() - self._beat_at
        if not force and since < BEAT_INTERVAL:
            return
        self._beat_at = self._clock.monotonic()
        self._node = replace(self._node, heartbeat_at=self._clock.now())
        try:
            await self._store.beat(self.node)
        except AcronError as error:
            self.trouble("heartbeat", error)

    def success(self) -> None:
        """A tick went through."""
        self._node = replace(self._node, last_success_at=self._clock.now(), last_error=None)

    def trouble(self, what: str, error: BaseException | None) -> None:
        """Something of acron's own failed: log it, keep it for ``status``, go on."""
        text = one_line(what if error is None else f"{what}: {type(error).__name__}: {error}")
        log.error("%s", text)
        self._node = replace(self._node, last_error=text)
        if self._events.wanted:
            self._events.emit(Troubled(self._clock.now(), what, text))

    def looked(self, now: datetime) -> None:
        """A claim has seen all that was due at ``now``."""
        self.looked_at = now

    def watch_clock(self) -> None:
        """A wall clock that jumped, or a machine that slept: from now on we serve anew."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        moved = (wall - self._anchor[0]).total_seconds() - (monotonic - self._anchor[1])
        if abs(moved) > JUMP:
            log.warning("the wall clock moved by %+.1f s", moved)
            self.serving_since = wall
            self.looked_at = min(self.looked_at, wall)
        self._anchor = (wall, monotonic)
