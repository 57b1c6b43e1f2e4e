"""The built-in provider: the tick loop, a task on the host's event loop."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from acron.abc import CronScheduler
from acron.contain import text_of
from acron.text import one_line

if TYPE_CHECKING:
    from acron.abc import Firing

logger = logging.getLogger("acron.providers")

#: The first pause after a failed tick, in seconds; it doubles up to ``interval``.
FIRST_PAUSE = 1.0
#: How long a tick in progress may go on once the provider is to stop, in seconds.
LAST_TICK = 5.0
#: Event loops keep time in milliseconds (uvloop does): no sense in a shorter wait.
RESOLUTION = 0.001


class InProcessCronScheduler(CronScheduler):
    """Ticks when an instant is due, when a job changes, and at least every ``interval`` seconds.

    Whatever a tick raises is survived; after it the loop pauses for 1 s, then twice
    as long each time it fails again, never longer than ``interval``. Setting ``stop_event`` ends
    every wait at once. A tick in progress is a store's transaction and is left to end, for at
    most 5 s; then it is cancelled. Cancelling ``start`` cancels such a tick at once.
    """

    sweep_after = None

    @property
    def name(self) -> str:
        return "inprocess"

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        """Tick until ``stop_event`` is set. See ``CronScheduler.start``."""
        loop = _TickLoop(stop_event, firing, interval)
        # The loop is a task of its own so that one watcher can end any of its waits: waiting
        # for "stop or change" on the spot would cost two more tasks a tick.
        ticking = asyncio.create_task(loop.run(), name="acron-ticker")
        stopping = asyncio.create_task(stop_event.wait(), name="acron-ticker-stop")
        try:
            await asyncio.wait({ticking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if loop.in_tick:
                await asyncio.wait({ticking}, timeout=LAST_TICK)
        finally:
            stopping.cancel()
            ticking.cancel()
            _, stuck = await asyncio.wait({ticking, stopping}, timeout=LAST_TICK)
            if stuck:
                logger.error("a tick would not be cancelled; abandoned")
        if not ticking.cancelled() and ticking.done():
            ticking.result()


class _TickLoop:
    """The loop, and whether it is inside a tick, or has left one that failed."""

    __slots__ = ("_firing", "_interval", "_stop", "in_tick")

    def __init__(self, stop: asyncio.Event, firing: Firing, interval: float) -> None:
        self._stop = stop
        self._firing = firing
        self._interval = interval
        self.in_tick = False

    async def run(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a coroutine that is run by a task)
        failures = 0
        while not self._ending(task):
            try:
                self.in_tick = True
                started = await self._firing.tick()
                self.in_tick = False
                if not self._ending(task):
                    await self._wait(started)
                failures = 0
            except BaseException as error:
                if _is_meant(error, task):
                    raise
                pause = min(FIRST_PAUSE * 2 ** min(failures, 30), self._interval)
                failures += 1
                # Of a tick that failed the runtime has told already.
                level = logging.DEBUG if self.in_tick else logging.ERROR
                self.in_tick = False
                # The error's text is other people's: no secret or forged line may get into a log.
                why = one_line(text_of(error))
                logger.log(level, "failed: %s; the next tick in %g s", why, pause)
                if not self._ending(task):
                    await asyncio.sleep(pause)

    def _ending(self, task: asyncio.Task[None]) -> bool:
        # A tick that swallows its cancellation does not keep the loop alive.
        return self._stop.is_set() or task.cancelling() > 0

    async def _wait(self, started: int) -> None:
        """Until the next due instant, a change, or ``interval`` seconds have passed."""
        due_in = await self._firing.due_in()
        wait = self._interval if due_in is None else min(due_in, self._interval)
        if not started:
            # A tick for nothing: the timer was early, or another node was first. Never spin.
            wait = max(wait, RESOLUTION)
        if wait <= 0:
            await asyncio.sleep(0)  # a long backlog must not starve the host's loop
            return
        now = asyncio.get_running_loop().time
        end = now() + wait
        while not await self._firing.changed(wait):
            wait = end - now()
            if wait < RESOLUTION:
                return


def _is_meant(error: BaseException, task: asyncio.Task[None]) -> bool:
    """Whether ``error`` is really meant for the loop, rather than made up inside a tick: the
    task is being cancelled, or its coroutine is closed from outside."""
    if isinstance(error, asyncio.CancelledError):
        return task.cancelling() > 0
    if isinstance(error, GeneratorExit):
        try:
            return asyncio.current_task() is not task
        except RuntimeError:  # no event loop is running any more
            return True
    return False
