"""One ended run and how far its deliveries are: marked durably, one writer at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from acron.errors import StoreError
from acron.targets import expand, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from acron.abc import Store, Tell
    from acron.model import Delivery, Run

log = logging.getLogger("acron.deliver")

_LONGEST_WAIT = 5.0


class _Timer(NamedTuple):
    at: float  # of the loop's time
    handle: asyncio.TimerHandle
    then: Callable[[], None]


class Outbox:
    """The deliveries of ``run``, by target: ``sending`` are under way, ``timers`` are of those
    that wait to be tried again, and ``due`` those that have. It lives as long as there is one of
    the former.

    Each is marked alone: another process may be sending to another target of the same run."""

    def __init__(
        self, store: Store, run: Run, trouble: Callable[[str, BaseException], None]
    ) -> None:
        self._store = store
        self._trouble = trouble
        self._lock = asyncio.Lock()
        self.run = run
        self.sending: set[str] = set()
        self.timers: dict[str, _Timer] = {}
        self.due: set[str] = set()

    async def expand(self, origin: str | None, homes: Mapping[str, str]) -> None:
        """Give each place a delivery of its own, before anything is sent: a crash in between
        finds the same places."""
        if self.sending or self.timers:
            return  # done already
        if expand(self.run.deliveries, origin, homes) != self.run.deliveries:
            await self._keep(lambda deliveries: expand(deliveries, origin, homes))

    async def mark(self, old: Delivery, new: Delivery) -> bool:
        """Make ``new`` of ``old`` durable, however long the store takes to come back; whether it
        is. It is not where somebody else has the run now, or was quicker with this delivery."""

        def change(deliveries: tuple[Delivery, ...]) -> tuple[Delivery, ...]:
            return tuple(new if one == old else one for one in deliveries)

        kept = await self._keep(change)
        if not kept or new not in self.run.deliveries:
            log.warning("%s to %s: another process sees to it", self.run.id, shown(new.target))
            return False
        return True

    async def _keep(self, change: Tell) -> bool:
        wait = 0.1
        async with self._lock:
            while True:
                try:
                    kept = await self._store.mark(self.run, change)
                    break
                except StoreError as error:
                    self._trouble(f"cannot mark a delivery of {self.run.id}", error)
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, _LONGEST_WAIT)
            if kept is not None:
                self.run = kept
            return kept is not None

    def wait(self, target: str, seconds: float, then: Callable[[], None]) -> None:
        """Call ``then`` in so many seconds."""

        def wake() -> None:
            del self.timers[target]
            then()

        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        self.timers[target] = _Timer(at, loop.call_at(at, wake), then)

    def wait_no_longer(self, target: str, seconds: float) -> None:
        """What waits for ``target`` is to be called in so many seconds, or sooner."""
        timer = self.timers.get(target)
        if timer and timer.at > asyncio.get_running_loop().time() + seconds:
            self.stop_waiting(target)
            self.wait(target, max(seconds, 0.0), timer.then)

    def stop_waiting(self, target: str) -> None:
        if timer := self.timers.pop(target, None):
            timer.handle.cancel()

    def close(self) -> None:
        for target in list(self.timers):
            self.stop_waiting(target)
