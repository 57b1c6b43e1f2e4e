"""Keep exactly one trigger: the provider, or the built-in when the provider fails."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from acron.contain import meant_for_us, text_of
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.abc import CronScheduler, Firing

log = logging.getLogger("acron.providers")

#: Seconds that ``provider.stop`` and a cancelled ``provider.start`` may take.
STOP_TIMEOUT = 5.0


class Supervisor:
    """Runs ``provider``; when it fails, runs ``fallback`` in its place, once it is stopped.

    Failing is: to raise; to return before ``stop_event`` without having armed; to give no sign
    of life (a tick, a fire, or having armed) for two intervals.
    """

    def __init__(
        self,
        provider: CronScheduler,
        fallback: CronScheduler,
        trouble: Callable[[str, BaseException | None], None],
    ) -> None:
        self.provider = provider
        self._fallback = fallback
        self._trouble = trouble
        self._armed = False
        self.armed_outside = False  # ``start`` has returned, and others hold the instants
        self._sign = asyncio.Event()

    def sign_of_life(self, *, armed: bool = False) -> None:
        """The runtime calls this when the provider used ``Firing``."""
        self._armed = self._armed or armed
        self._sign.set()

    async def serve(self, stop_event: asyncio.Event, firing: Firing, interval: float) -> None:
        """Until ``stop_event``: pull the trigger by the provider, then by the fallback."""
        why = await self._attend(stop_event, firing, interval)
        if why is None:
            return
        log.warning("provider %s %s; the built-in takes over", self.provider.name, one_line(why))
        self.provider = self._fallback
        while not stop_event.is_set():
            self._armed = False
            why = await self._attend(stop_event, firing, interval)
            if why is not None:  # the built-in itself: never without a trigger
                log.error("the built-in provider %s; it starts again", why)
                await _sleep(stop_event, 1.0)

    async def _attend(
        self, stop_event: asyncio.Event, firing: Firing, interval: float
    ) -> str | None:
        """Run one provider; None when it served until the end, else why it had to be ended."""
        task = asyncio.create_task(
            self._start(stop_event, firing, interval), name=f"acron-{self.provider.name}"
        )
        stopping = asyncio.create_task(stop_event.wait())
        try:
            why = await self._watch(task, stopping, interval)
        finally:
            stopping.cancel()
            await self._end(task, stop_event)
        return None if stop_event.is_set() else why

    async def _watch(
        self, task: asyncio.Task[str | None], stopping: asyncio.Task[bool], interval: float
    ) -> str | None:
        while True:
            self._sign.clear()
            sign = asyncio.create_task(self._sign.wait())
            try:
                done, _ = await asyncio.wait(
                    {task, stopping, sign},
                    timeout=None if self._armed else 2 * interval + 1.0,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                sign.cancel()
            if stopping in done:
                return None
            if task in done:
                why = "was cancelled" if task.cancelled() else task.result()
                if why is None and self._armed:
                    self.armed_outside = True
                    await stopping
                return why if why is not None or self._armed else "returned without having armed"
            if not done:
                return f"gave no sign of life for {2 * interval + 1.0:g} s"

    async def _start(
        self, stop_event: asyncio.Event, firing: Firing, interval: float
    ) -> str | None:
        """``provider.start`` with its failure as a text: nothing it raises may end the loop."""
        try:
            await self.provider.start(stop_event, firing=firing, interval=interval)
        except BaseException as error:
            if meant_for_us(error):
                raise
            self._trouble(f"provider {self.provider.name} failed", error)
            return f"raised {text_of(error)}"
        return None

    async def _end(self, task: asyncio.Task[str | None], stop_event: asyncio.Event) -> None:
        """No second trigger before the first is gone: wait for it, bounded."""
        if stop_event.is_set() and not task.done():
            await asyncio.wait({task}, timeout=STOP_TIMEOUT)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=STOP_TIMEOUT)
        if not task.done():
            log.error("provider %s does not end when cancelled; abandoned", self.provider.name)
        await self._stop()

    async def _stop(self) -> None:
        stopping = asyncio.create_task(self._contained_stop())
        _, late = await asyncio.wait({stopping}, timeout=STOP_TIMEOUT)
        if late:
            stopping.cancel()
            log.error("provider %s: stop took over %g s", self.provider.name, STOP_TIMEOUT)

    async def _contained_stop(self) -> None:
        try:
            await self.provider.stop()
        except BaseException as error:
            if meant_for_us(error):
                raise
            self._trouble(f"provider {self.provider.name}: stop failed", error)


async def _sleep(stop_event: asyncio.Event, seconds: float) -> None:
    waiting = asyncio.create_task(stop_event.wait())
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()
