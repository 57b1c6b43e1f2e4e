"""``Firing`` as one provider is given it: what it does with it shows that it lives."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from acron.abc import Answer, Fired
from acron.errors import ProviderDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from acron.abc import Armed
    from acron.runtime import Runtime

#: Two readings of a clock that differ by no more are the same.
_SAME = 1e-3


class Turn:
    """A provider's turn to pull the trigger. Implements ``Firing``.

    Once it is ``over``, whatever is left of that provider (a ``start`` that would not end, a task
    that it forgot) triggers nothing: ticks raise ProviderDown, and fires answer DRAINING.
    ``lost`` is set when instants pass that it should have triggered.
    """

    def __init__(self, rt: Runtime) -> None:
        self.over = False
        self.has_armed = False
        self.armed_outside = False  # its ``start`` has returned, and others hold the instants
        self.lost = asyncio.Event()
        self._rt = rt
        self._ticks = 0  # that go on
        self._heard_at = rt.clock.monotonic()
        self._triggered_at = float("-inf")
        self._missed_at = float("-inf")

    # --- signs of life ---

    @property
    def silent(self) -> float:
        """Seconds since the last sign of life; a tick that goes on is one: the store's time."""
        return 0.0 if self._ticks else self._rt.clock.monotonic() - self._heard_at

    async def silence(self, patience: float) -> None:
        """Until there was none for ``patience`` seconds; for ever once it has armed, when none is
        to be expected. One timer a silence, none for each sign."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        timer: asyncio.TimerHandle | None = None

        def look(*, again: bool = False) -> None:
            nonlocal timer
            left = patience - self.silent
            if self.has_armed or over.done():
                return
            if left > _SAME:
                timer = loop.call_later(left, look)
            elif again:
                over.set_result(None)
            else:  # a loop that was blocked runs this timer before the provider's: a moment
                timer = loop.call_later(patience / 50, partial(look, again=True))

        look()
        try:
            await over
        finally:
            if timer is not None:
                timer.cancel()

    def _hear(self) -> None:
        """It used ``Firing``."""
        self._heard_at = self._rt.clock.monotonic()

    def triggered(self) -> None:
        """It ticked, or a trigger from outside came in."""
        self._heard_at = self._triggered_at = self._rt.clock.monotonic()

    def missed(self) -> None:
        """The sweep fired what no trigger came for: once may happen to anybody. To arm again what
        never comes is no help."""
        if self._triggered_at < self._missed_at:
            self.lost.set()
        self._missed_at = self._rt.clock.monotonic()

    # --- Firing ---

    async def due_in(self) -> float | None:
        return await self._rt.due_in()

    async def tick(self) -> int:
        if self.over:
            raise ProviderDown("another provider has taken over")
        self.triggered()
        self._ticks += 1
        try:
            return await self._rt.tick()
        finally:
            self._ticks -= 1
            self.triggered()

    async def fire(self, job_id: str, scheduled_at: datetime | None = None) -> Fired:
        return Fired.DRAINING if self.over else await self._rt.fire(job_id, scheduled_at)

    async def fire_many(self, triggers: Sequence[Armed]) -> list[Answer]:
        if self.over:
            return [Answer(Fired.DRAINING) for _ in triggers]
        return await self._rt.fire_many(triggers)

    async def armed(self, until: datetime, since: datetime | None = None) -> AsyncIterator[Armed]:
        async for one in self._rt.armed(until, since):
            self._hear()
            yield one
        self._hear()
        self.has_armed = True

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        woken = await self._rt.changed(timeout)
        if woken and self.over:  # it was meant for who serves now
            self._rt.wake()
            await asyncio.sleep(timeout)
        return woken and not self.over
