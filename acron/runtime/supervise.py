"""Keep exactly one trigger: the provider, or the built-in when the provider fails."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from acron.contain import meant_for_us, text_of
from acron.errors import ProviderDown
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.abc import CronScheduler, Firing
    from acron.clock import Clock

log = logging.getLogger("acron.providers")

#: Seconds that ``provider.stop`` and a cancelled ``provider.start`` may take.
STOP_TIMEOUT = 5.0
#: Seconds from a failure to the first question whether the provider is ready again, which doubles
#: with each that is denied, up to the second.
FIRST_TRY, LAST_TRY = 1.0, 30.0
#: Two readings of a clock that differ by no more are the same.
_SAME = 1e-3
#: A provider that served for so many seconds has come back for good.
STEADY = 60.0


class Supervisor:
    """Runs ``provider``; when it fails, runs ``fallback`` in its place, once it is stopped, and
    until ``provider.ready``. ``note`` says why, and when that is asked next; ``told`` is called
    when it, or who serves, has changed.

    Failing is: to raise; to return before ``stop_event`` without having armed; to give no sign
    of life (a tick, a fire, or having armed) for two intervals.
    """

    def __init__(
        self,
        provider: CronScheduler,
        fallback: CronScheduler,
        clock: Clock,
        trouble: Callable[[str, BaseException | None], None],
        told: Callable[[], None],
    ) -> None:
        self.provider = provider
        self._told = told
        self.note = ""
        self._clock = clock
        self._pause = FIRST_TRY
        self._fallback = fallback
        self._trouble = trouble
        self._armed = False
        self.armed_outside = False  # ``start`` has returned, and others hold the instants
        self._heard_at = 0.0  # monotonic

    def sign_of_life(self, *, armed: bool = False) -> None:
        """The runtime calls this when the provider used ``Firing``."""
        self._armed = self._armed or armed
        self._heard_at = self._clock.monotonic()

    async def serve(self, stop_event: asyncio.Event, firing: Firing, interval: float) -> None:
        """Until ``stop_event``: pull the trigger by the provider, and by the fallback while the
        provider is not fit to."""
        wanted = self.provider
        while not stop_event.is_set():
            began = self._clock.monotonic()
            why = await self._attend(stop_event, firing, interval)
            if why is None:
                return
            if self._clock.monotonic() - began >= STEADY:
                self._pause = FIRST_TRY
            log.warning("provider %s %s; the built-in takes over", wanted.name, one_line(why))
            await self._stand_in(wanted, why, stop_event, firing, interval)
            self.provider, self.note, self._armed = wanted, "", False
            self._told()
            if not stop_event.is_set():
                log.warning("provider %s is ready again, and takes over", wanted.name)

    async def _stand_in(
        self,
        wanted: CronScheduler,
        why: str,
        stop_event: asyncio.Event,
        firing: Firing,
        interval: float,
    ) -> None:
        """Pull the trigger by the fallback, until ``stop_event`` or until ``wanted`` is ready."""
        self.provider = self._fallback
        ended = asyncio.Event()
        waits = [
            asyncio.create_task(self._until_ready(wanted, why), name="acron-provider-ready"),
            asyncio.create_task(stop_event.wait()),
        ]
        for one in waits:
            one.add_done_callback(lambda _: ended.set())
        try:
            while not ended.is_set():
                self._armed = False
                failed = await self._attend(ended, firing, interval)
                if failed is not None:  # the built-in itself: never without a trigger
                    log.error("the built-in provider %s; it starts again", failed)
                    await _sleep(ended, 1.0)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.wait(waits)

    async def _until_ready(self, wanted: CronScheduler, why: str) -> None:
        while True:
            at = self._clock.now() + timedelta(seconds=self._pause)
            self.note = one_line(f"{wanted.name} {why}; next try {at:%H:%M:%S}Z", 300)
            self._told()
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, LAST_TRY)
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    if await wanted.ready():
                        return
            except BaseException as error:
                if meant_for_us(error):
                    raise
                why = _reason(error)
            else:
                self.note = one_line(f"{wanted.name} {why}", 300)
                self._told()
                await asyncio.Event().wait()  # it stays out

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
        patience = 2 * interval + 1.0
        self._heard_at = self._clock.monotonic()
        while True:
            # One timer a silence, and none for each tick: it is looked at when it has run out.
            silent = self._clock.monotonic() - self._heard_at
            done, _ = await asyncio.wait(
                {task, stopping},
                timeout=None if self._armed else max(patience - silent, _SAME),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if stopping in done:
                return None
            if task in done:
                why = "was cancelled" if task.cancelled() else task.result()
                if why is None and self._armed:
                    self.armed_outside = True
                    await stopping
                return why if why is not None or self._armed else "returned without having armed"
            silent = self._clock.monotonic() - self._heard_at
            if not done and not self._armed and silent >= patience - _SAME:
                return f"gave no sign of life for {patience:g} s"

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
            return _reason(error)
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


def _reason(error: BaseException) -> str:
    return f"is down: {error}" if isinstance(error, ProviderDown) else f"raised {text_of(error)}"


async def _sleep(stop_event: asyncio.Event, seconds: float) -> None:
    waiting = asyncio.create_task(stop_event.wait())
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()
