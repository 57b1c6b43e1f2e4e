"""Triggers by NATS JetStream, for many machines: instants are armed there as message schedules,
and whichever node is given a trigger claims what is due."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from datetime import timedelta
from heapq import heappop, heappush
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING

from acron.abc import Armed, CronScheduler, Fired
from acron.clock import SystemClock
from acron.contain import meant_for_us, text_of
from acron.errors import ConfigError, ProviderDown
from acron.model import Settings
from acron.providers.nats_wire import NatsWire, Trigger
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from datetime import datetime
    from typing import Any

    from acron.abc import Answer, Firing
    from acron.clock import Clock
    from acron.providers.nats_wire import Wire
    from acron.providers.resolve import PluginContext

log = logging.getLogger("acron.providers")

#: How far ahead instants are armed, and how far ahead it is seen to again and again.
HORIZON, NEAR = timedelta(minutes=15), timedelta(minutes=2)
MINUTE, TICK = timedelta(minutes=1), timedelta(microseconds=1)
#: Seconds between two looks at what is near.
ROLL = 30.0
#: What is due so soon is triggered here, besides: its message may come too late.
SOON = timedelta(seconds=0.5)
#: Triggers asked for at once, fired at once, and held here.
PULL, BATCH, HELD = 500, 2000, 5000
#: A comparison of everything may take this part of the time.
SHARE = 0.1
#: For how long a lost connection is tried again before the built-in takes over, and the pause
#: before the first time, in seconds; it doubles.
PATIENCE, PAUSE = 1.0, 0.1
#: A session of so many seconds was a good one.
STEADY = 5.0
#: A trigger that nobody could take after so many deliveries is left to the sweep.
DELIVERIES = 6


def register(ctx: PluginContext) -> None:
    """Offer the provider that the settings describe. Raises ConfigError."""
    ctx.register_cron_scheduler(NatsCronScheduler(ctx.settings))


class NatsCronScheduler(CronScheduler):
    """Arms the instants of the next 15 minutes in a JetStream stream of nats-server 2.12 or later.

    All nodes of one store share its ``nats_namespace``, and one consumer: each trigger goes to one
    of them, and is acknowledged once its claim is durable and the job's next instant is armed. A
    server that does not answer raises ProviderDown within seconds: the built-in serves until it is
    back. Raises ConfigError when nats-py is missing, or for a bad namespace.
    """

    sweep_after = 30.0

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        wire: Callable[[], Wire] | None = None,
    ) -> None:
        given = settings or Settings()
        if find_spec("nats") is None:
            raise ConfigError('the provider nats needs: pip install "acron-runtime[nats]"')
        self._rate = given.nats_arm_rate
        self._clock = clock or SystemClock()
        self._wire = wire or (lambda: NatsWire(given))
        self._wire()  # a bad namespace is refused now
        self._session: _Session | None = None

    @property
    def name(self) -> str:
        return "nats"

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        """Serve until ``stop_event``. Raises ProviderDown when NATS stays away."""
        lost, pause = float("-inf"), PAUSE
        while not stop_event.is_set():
            self._session = session = _Session(self, stop_event, firing, interval)
            try:
                await session.serve()
            except ProviderDown as error:
                now = self._clock.monotonic()
                if session.served > STEADY:
                    lost, pause = now, PAUSE
                if now - lost > PATIENCE:
                    raise
                log.warning("nats is down: %s; it is tried again", one_line(str(error)))
                await _wait(stop_event, pause)
                pause *= 2
            finally:
                self._session = None

    async def ready(self) -> bool:
        """Whether NATS can be worked with. Raises ProviderDown."""
        wire = self._wire()
        try:
            await wire.open()
        finally:
            await wire.close()
        return True

    async def reconcile(self, *, firing: Firing) -> None:
        """Arm what is missing and disarm orphans, now. Raises ProviderDown."""
        session = self._session
        if session is not None and session.ready:
            await session.compare(whole=True)
            return
        session = _Session(self, asyncio.Event(), firing, 60.0)
        try:
            await session.wire.open()
            await session.compare(whole=True)
        finally:
            await session.wire.close()

    def session_parts(self) -> tuple[Wire, Clock, int]:
        """What a session works with: a new connection, the clock, arms a second."""
        return self._wire(), self._clock, self._rate


class _Session:
    """One connection, from its opening to its end."""

    def __init__(
        self, provider: NatsCronScheduler, stop: asyncio.Event, firing: Firing, interval: float
    ) -> None:
        self.wire, self._clock, self._rate = provider.session_parts()
        self.ready = False
        self.served = 0.0  # seconds from its opening to its end
        self._stop = stop
        self._firing = firing
        self._interval = interval
        self._held: list[tuple[datetime, int, Armed, Trigger | None]] = []
        self._order = count()
        self._new = asyncio.Event()
        self._done: deque[tuple[Armed, Trigger | None, Answer]] = deque()
        self._settled = asyncio.Event()
        self._armed_to: datetime | None = None
        self._paid = 0.0
        self._comparing = asyncio.Lock()

    async def serve(self) -> None:
        """Until the stop event; then what is held goes back. Raises ProviderDown."""
        stopping = asyncio.create_task(self._stop.wait(), name="acron-nats-stop")
        work = asyncio.create_task(self._open_and_work(), name="acron-nats")
        try:
            await asyncio.wait({stopping, work}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            work.cancel()
            await asyncio.wait({stopping, work}, timeout=5.0)
        if work.done() and not work.cancelled():
            work.result()

    async def _open_and_work(self) -> None:
        try:
            await self.wire.open()
            self.ready, opened = True, self._clock.monotonic()
            log.info("nats: connected")
            try:
                await _together(self._arm(), self._pull(), self._fire(), self._settle())
            finally:
                self.served = self._clock.monotonic() - opened
        finally:
            self.ready = False
            await self._hand_back()

    async def _hand_back(self) -> None:
        """Others take what this node holds, at once rather than after a while."""
        try:
            async with asyncio.timeout(2.0):
                for _, _, _, trigger in self._held:
                    if trigger is not None:
                        await self.wire.nak(trigger, 0.0)
                await self.wire.close()
        except (ProviderDown, TimeoutError, OSError) as error:
            log.debug("nats: %s", one_line(text_of(error)))

    # --- arming ---

    async def _arm(self) -> None:
        """Keep the horizon armed, and look when something changed."""
        await self._tick()
        whole, after, pause = True, 0.0, 0.0
        while True:
            began = self._clock.monotonic()
            if began >= after:
                if await self._contained(self.compare(whole=whole), "arming"):
                    whole, pause = False, 0.0
                else:
                    whole, pause = True, min(max(1.0, 2 * pause), self._interval)
                ended = self._clock.monotonic()
                after = ended + max((ended - began) / SHARE, pause, 0.02)
            wait = after - self._clock.monotonic() if whole else min(self._interval, ROLL)
            if await self._firing.changed(max(wait, 0.001)):
                whole = True
                await self._tick()
            elif not whole:
                after = 0.0
                await self._tick()  # says that we live, and finds what no trigger came for

    async def _tick(self) -> None:
        if not self._stop.is_set():
            # Of one that failed the runtime has told already.
            await self._contained(self._firing.tick(), "a tick", logging.DEBUG)

    async def _contained(
        self, work: Coroutine[Any, Any, object], what: str, level: int = logging.ERROR
    ) -> bool:
        """Do it; what the store, or people's code in it, raises does not end the session."""
        try:
            await work
        except ProviderDown:
            raise
        except BaseException as error:
            if meant_for_us(error):
                raise
            log.log(level, "%s failed: %s", what, one_line(text_of(error)))
            return False
        return True

    async def compare(self, *, whole: bool) -> None:
        """Arm what is missing and disarm what nobody wants: in the whole horizon, or in what is
        near and what has newly come within it."""
        async with self._comparing:
            now = self._clock.now()
            end = now + HORIZON
            known = self._armed_to
            if whole or known is None or known < now + NEAR:
                await self._compare(now, end)
            else:
                await self._compare(now, now + NEAR)
                await self._compare(known, end)
            self._armed_to = end

    async def _compare(self, since: datetime, until: datetime) -> None:
        orphans: set[Armed] = set()
        minute = since.replace(second=0, microsecond=0)
        have: set[Armed] | None = None
        missing: list[Armed] = []
        async for one in _with_end(self._firing.armed(until, since), until):
            while have is None or one.instant >= minute + MINUTE:
                if have is not None:
                    orphans |= have
                    minute += MINUTE
                have = await self.wire.armed(minute)
            if one.job_id and one not in have:
                missing.append(one)
                self._trigger_if_soon(one)
            have.discard(one)
            if len(missing) >= BATCH:
                await self._publish(missing)
                missing = []
        await self._publish(missing)
        gone = {one for one in orphans | (have or set()) if since + SOON < one.instant <= until}
        if gone:  # others may have armed since we asked the store: ask again before we disarm
            first, last = min(one.instant for one in gone), max(one.instant for one in gone)
            async for one in self._firing.armed(last, first - TICK):
                gone.discard(one)
            await self.wire.disarm(gone)

    def _trigger_if_soon(self, one: Armed) -> None:
        if one.instant - self._clock.now() <= SOON:
            self._hold(one, None)

    async def _publish(self, wanted: Sequence[Armed]) -> None:
        """Arm, no faster than the rate."""
        size = max(1, min(1000, self._rate // 10))
        for start in range(0, len(wanted), size):
            part = wanted[start : start + size]
            now = self._clock.monotonic()
            self._paid = max(self._paid, now) + len(part) / self._rate
            await self.wire.arm(part)
            ahead = self._paid - self._clock.monotonic()
            if ahead > 0.1:
                await asyncio.sleep(ahead)

    # --- triggers ---

    async def _pull(self) -> None:
        while True:
            while len(self._held) >= HELD:  # noqa: ASYNC110 (a rare brake)
                await asyncio.sleep(0.05)
            for trigger in await self.wire.pull(PULL):
                self._hold(trigger.armed, trigger)

    def _hold(self, one: Armed, trigger: Trigger | None, until: datetime | None = None) -> None:
        heappush(self._held, (until or one.instant, next(self._order), one, trigger))
        self._new.set()

    async def _fire(self) -> None:
        pause = 0.0
        while True:
            self._new.clear()
            wait = self._until_due()
            if wait is None or wait > 0:
                await _wait(self._new, wait)
                continue
            if self._stop.is_set():
                return
            now = self._clock.now()
            batch: list[tuple[Armed, Trigger | None]] = []
            while self._held and self._held[0][0] <= now and len(batch) < BATCH:
                batch.append(heappop(self._held)[2:])
            if await self._contained(self._fire_batch(batch), "a claim"):
                pause = 0.0
            else:
                pause = min(max(1.0, 2 * pause), self._interval)
                for _, trigger in batch:
                    if trigger is not None:
                        await self.wire.nak(trigger, pause)
                await asyncio.sleep(pause)

    def _until_due(self) -> float | None:
        if not self._held:
            return None
        return (self._held[0][0] - self._clock.now()).total_seconds()

    async def _fire_batch(self, batch: list[tuple[Armed, Trigger | None]]) -> None:
        answers = await self._firing.fire_many([one for one, _ in batch])
        for (one, trigger), answer in zip(batch, answers, strict=True):
            if answer.fired is Fired.EARLY:
                again = self._clock.now() + timedelta(milliseconds=10)
                self._hold(one, trigger, max(again, one.instant))
            else:
                self._done.append((one, trigger, answer))
        self._settled.set()

    async def _settle(self) -> None:
        """Arm what follows, then acknowledge: a crash in between gives the trigger again."""
        while True:
            await self._settled.wait()
            self._settled.clear()
            done, self._done = list(self._done), deque()
            end = self._clock.now() + HORIZON
            wanted = {
                Armed(one.job_id, answer.next)
                for one, _, answer in done
                if answer.next is not None and one.instant < answer.next <= end
            }
            for one in wanted:
                self._trigger_if_soon(one)
            await self._publish(sorted(wanted, key=lambda one: one.instant))
            for _, trigger, answer in done:
                if trigger is None:
                    continue
                if answer.fired is Fired.DRAINING and trigger.deliveries < DELIVERIES:
                    await self.wire.nak(trigger, 0.5 * 2**trigger.deliveries)
                else:
                    await self.wire.ack(trigger)


async def _with_end(wanted: AsyncIterator[Armed], end: datetime) -> AsyncIterator[Armed]:
    """``wanted``, and a last one that is nobody's: so that all minutes are looked at."""
    async for one in wanted:
        yield one
    yield Armed("", end)


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """All of them, until one ends; what it raises is raised."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=5.0)
    for task in done:
        task.result()


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
