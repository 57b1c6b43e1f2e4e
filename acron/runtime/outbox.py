"""One ended run and how far its deliveries are: marked durably, one writer at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.errors import StoreError
from acron.targets import expand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from acron.abc import Store
    from acron.model import Delivery, Run

_LONGEST_WAIT = 5.0


class Outbox:
    """The deliveries of ``run``: ``sending`` are the indices under way, ``timers`` those that
    wait to be tried again. It lives as long as there is one of either."""

    def __init__(
        self, store: Store, run: Run, trouble: Callable[[str, BaseException], None]
    ) -> None:
        self._store = store
        self._trouble = trouble
        self._lock = asyncio.Lock()
        self.run = run
        self.sending: set[int] = set()
        self.timers: dict[int, asyncio.TimerHandle] = {}

    async def expand(self, origin: str | None, homes: Mapping[str, str]) -> None:
        """Give each place a delivery of its own, before anything is sent: a crash in between
        finds the same places."""
        if self.sending or self.timers:
            return  # done already
        async with self._lock:
            deliveries = expand(self.run.deliveries, origin, homes)
            if deliveries != self.run.deliveries:
                await self._keep(deliveries)

    async def mark(self, index: int, delivery: Delivery) -> None:
        """Make it durable, however long the store takes to come back."""
        async with self._lock:
            deliveries = list(self.run.deliveries)
            deliveries[index] = delivery
            await self._keep(tuple(deliveries))

    async def _keep(self, deliveries: tuple[Delivery, ...]) -> None:
        run = replace(self.run, deliveries=deliveries)
        wait = 0.1
        while True:
            try:
                await self._store.mark(run)
                break
            except StoreError as error:
                self._trouble(f"cannot mark a delivery of {run.id}", error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
        self.run = run

    def close(self) -> None:
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()
