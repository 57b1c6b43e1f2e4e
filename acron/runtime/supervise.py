"""Keep exactly one trigger: the provider, or the built-in when the provider fails."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from acron.contain import meant_for_us, text_of
from acron.errors import ProviderDown
from acron.runtime.turn import Turn
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.abc import CronScheduler
    from acron.clock import Clock
    from acron.runtime import Runtime

log = logging.getLogger("acron.providers")

#: Seconds that ``provider.stop``, ``provider.ready`` and a cancelled ``provider.start`` may take.
STOP_TIMEOUT = 5.0
#: Seconds from a failure to the first question whether the provider is ready again, which doubles
#: with each that is denied, up to the second.
FIRST_TRY, LAST_TRY = 1.0, 30.0
#: A provider that served for so many seconds has come back for good.
STEADY = 60.0
#: The shortest time, in seconds, in which a silent provider is replaced: a busy machine is no
#: reason to.
LEAST = 12.0


class Supervisor:
    """Runs ``provider``; when it fails, runs ``fallback`` in its place, once it is stopped, and
    until ``provider.ready``. ``note`` says why, and when that is asked next; ``told`` is called
    when it, or who serves, has changed.

    Failing is: to raise; to return before ``stop_event`` without having armed; not to tick for
    three quarters of ``interval`` without having armed, though it is told to each half; and, once
    it has armed, to let instants pass at two looks of the sweep, with no trigger between. What is
    left of ``interval`` (12 s, if it is shorter) is for ending it: it is never silent for longer.
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
        self.turn: Turn | None = None
        self._told = told
        self._note = ""
        self._clock = clock
        self._pause = FIRST_TRY
        self._fallback = fallback
        self._trouble = trouble
        self._asking: asyncio.Task[bool | str] | None = None

    @property
    def note(self) -> str:
        """Why another serves, or what is wrong with who does."""
        if self._note:
            return self._note
        try:
            said = str(self.provider.note)
            return one_line(said, 300) if said else ""
        except BaseException as error:  # noqa: BLE001 (a stranger's property ends no beat)
            return one_line(f"its note cannot be read: {text_of(error)}", 300)

    @property
    def armed_outside(self) -> bool:
        """``start`` has returned, and others hold the instants."""
        return self.turn is not None and self.turn.armed_outside

    def triggered(self) -> None:
        """A trigger came in from outside."""
        if self.turn is not None:
            self.turn.triggered()

    def missed(self) -> None:
        """The sweep fired what no trigger came for."""
        if self.turn is not None:
            self.turn.missed()

    async def serve(self, stop_event: asyncio.Event, rt: Runtime, interval: float) -> None:
        """Until ``stop_event``: pull the trigger by the provider, and by the fallback while the
        provider is not fit to."""
        wanted = self.provider
        while not stop_event.is_set():
            began = self._clock.monotonic()
            why = await self._attend(stop_event, rt, interval)
            if why is None:
                return
            if self._clock.monotonic() - began >= STEADY:
                self._pause = FIRST_TRY
            log.warning("provider %s %s; the built-in takes over", wanted.name, one_line(why))
            await self._stand_in(wanted, why, stop_event, rt, interval)
            self.provider, self._note = wanted, ""
            self._told()
            if not stop_event.is_set():
                log.warning("provider %s is ready again, and takes over", wanted.name)

    async def _stand_in(
        self,
        wanted: CronScheduler,
        why: str,
        stop_event: asyncio.Event,
        rt: Runtime,
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
                failed = await self._attend(ended, rt, interval)
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
            self._note = one_line(f"{wanted.name} {why}; next try {at:%H:%M:%S}Z", 300)
            self._told()
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, LAST_TRY)
            answer = await self._ask(wanted)
            if answer is True:
                return
            if answer is False:
                self._note = one_line(f"{wanted.name} {why}", 300)
                self._told()
                await asyncio.Event().wait()  # it stays out
            why = str(answer)

    async def _ask(self, wanted: CronScheduler) -> bool | str:
        """Whether it is ready, or why that cannot be told. One question at a time."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ready(wanted), name="acron-provider-asked")
            if await self._bounded(self._asking, STOP_TIMEOUT, f"{wanted.name}: ready"):
                return self._asking.result()
        return "does not answer: ready() hangs"

    async def _ready(self, wanted: CronScheduler) -> bool | str:
        try:
            return bool(await wanted.ready())
        except BaseException as error:
            if meant_for_us(error):
                raise
            return _reason(error)

    async def _attend(self, stop_event: asyncio.Event, rt: Runtime, interval: float) -> str | None:
        """Run one provider; None when it served until the end, else why it had to be ended."""
        self.turn = turn = Turn(rt)
        bound = max(interval, LEAST)
        if type(self.provider) is type(self._fallback):
            patience = 3 * interval + 20.0  # it is ours; `status` calls it stalled then, too
        else:
            interval, patience = interval / 2, 0.75 * bound
        stopping = asyncio.create_task(stop_event.wait())
        task = asyncio.create_task(
            self._start(stop_event, turn, interval), name=f"acron-{self.provider.name}"
        )
        try:
            why = await self._watch(task, stopping, turn, patience)
        finally:
            stopping.cancel()
            ending = STOP_TIMEOUT if stop_event.is_set() else min(STOP_TIMEOUT, bound / 12)
            await self._end(task, stop_event, ending)
            turn.over = True  # whatever is left of it triggers nothing
        return None if stop_event.is_set() else why

    async def _watch(
        self,
        task: asyncio.Task[str | None],
        stopping: asyncio.Task[bool],
        turn: Turn,
        patience: float,
    ) -> str | None:
        lost = asyncio.create_task(turn.lost.wait(), name="acron-provider-lost")
        silent = asyncio.create_task(turn.silence(patience), name="acron-provider-silent")
        waited = {task, stopping, lost, silent}
        try:
            while True:
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    return None
                if task in waited and task.done():
                    why = "was cancelled" if task.cancelled() else task.result()
                    if why is None and turn.has_armed:
                        turn.armed_outside = True
                        waited.discard(task)
                        continue
                    return why or "returned without having armed"
                if lost.done():
                    return "lets instants pass, and triggers nothing"
                if silent.done():
                    return f"gave no sign of life for {patience:g} s"
        finally:
            lost.cancel()
            silent.cancel()

    async def _start(self, stop_event: asyncio.Event, turn: Turn, interval: float) -> str | None:
        """``provider.start`` with its failure as a text: nothing it raises may end the loop."""
        try:
            await self.provider.start(stop_event, firing=turn, interval=interval)
        except BaseException as error:
            if meant_for_us(error):
                raise
            self._trouble(f"provider {self.provider.name} failed", error)
            return _reason(error)
        return None

    async def _end(
        self, task: asyncio.Task[str | None], stop_event: asyncio.Event, within: float
    ) -> None:
        """No second trigger before the first is gone: wait for it, bounded."""
        if stop_event.is_set() and not task.done():
            await asyncio.wait({task}, timeout=within)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=within)
        if not task.done():
            log.error("provider %s does not end when cancelled; abandoned", self.provider.name)
        stopping = asyncio.create_task(self._contained_stop(), name="acron-provider-stop")
        await self._bounded(stopping, within, f"{self.provider.name}: stop")

    async def _bounded(self, task: asyncio.Task[Any], seconds: float, what: str) -> bool:
        """Whether it ended in time; else it is cancelled, and left behind if it does not care."""
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            if not task.done():
                log.error("provider %s took over %g s", what, seconds)
                task.cancel()
                await asyncio.wait({task}, timeout=min(seconds / 2, 1.0))
        return not task.cancelled() and task.done()

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
