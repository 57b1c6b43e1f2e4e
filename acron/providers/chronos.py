"""One armed one-shot a job at an HTTP scheduler, which calls back: nothing need run in between."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from acron.abc import CronScheduler, Fired
from acron.clock import SystemClock
from acron.contain import meant_for_us, text_of
from acron.errors import ConfigError
from acron.providers.chronos_portal import Portal, PortalError, fetch_keys
from acron.providers.chronos_tokens import Keys, Verifier
from acron.providers.chronos_webhook import Webhook
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from acron.abc import Armed, Firing
    from acron.clock import Clock
    from acron.model import Settings
    from acron.providers.resolve import PluginContext

logger = logging.getLogger("acron.providers")

#: Seconds after which what the scheduler holds, and has not called for, is fired here.
SWEEP = 600.0
#: Seconds between two looks at the scheduler's own list: what it lost is armed again.
LIST_INTERVAL = 600.0
#: A scheduler may keep whole seconds: instants this close, in seconds, are the same.
SAME = 1.0
#: A trigger that comes early by no more than this many seconds is accepted, waits, and fires.
EARLY = 30.0
#: How long a caller waits for the claim, in seconds.
CLAIM_TIMEOUT = 10.0
#: Requests under way at once.
PARALLEL = 8
#: Seconds in which changes are gathered into one look.
CALM = 0.2
#: The first pause after the scheduler failed, in seconds; it doubles up to ``interval``.
FIRST_PAUSE = 1.0
#: Seconds in which what belongs to this provider ends when it is stopped.
END = 5.0
#: Seconds for arming at the end what was fired last.
LAST_LOOK = 2.0

_FAR = datetime.max.replace(tzinfo=UTC)


class ChronosCronScheduler(CronScheduler):
    """Arms each job's next instant at an HTTP scheduler, and fires when that calls ``webhook``.

    ``start`` arms and returns; from then on the scheduler pulls the trigger. A task beside it
    follows changes, and fires here what nobody else will: at its instant what the scheduler does
    not hold (it refused, it cannot be reached), and after ``sweep`` seconds what it holds and has
    not called for. All of it is the same claim, so that nothing fires twice.

    ``stop`` leaves what is armed: a process may end, and be started again by the next call.
    Raises ConfigError when a setting is missing.
    """

    sweep_after = SWEEP

    def __init__(
        self,
        settings: Settings,
        *,
        portal: Portal | None = None,
        keys: Keys | None = None,
        clock: Clock | None = None,
        sweep: float = SWEEP,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._portal = portal or Portal(
            settings.chronos_portal_url, settings.chronos_token, settings.chronos_callback_url
        )
        verifier = Verifier(
            keys or Keys(partial(fetch_keys, settings.chronos_jwks_url), self._clock),
            audience=settings.chronos_audience,
            issuer=settings.chronos_issuer,
            clock=self._clock,
        )
        #: The ASGI app that the scheduler calls; mount it where ``chronos_callback_url`` leads.
        self.webhook = Webhook(verifier, self._called)
        self._sweep = timedelta(seconds=sweep)
        self._firing: Firing | None = None
        # What the scheduler holds, as far as we know; None: nothing is known of it.
        self._held: dict[str, datetime] | None = None
        self._wanted: dict[str, datetime] = {}
        self._refused: dict[str, datetime] = {}
        self._looking = asyncio.Lock()
        self._mending = asyncio.Lock()
        self._look_waits = False
        self._dirty = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._calls: dict[tuple[str, datetime | None], asyncio.Task[Fired | BaseException]] = {}
        self._accepted: set[tuple[str, datetime | None]] = set()  # told so, and waiting

    @property
    def name(self) -> str:
        return "chronos"

    def is_available(self) -> bool:
        """Whether all settings are there."""
        return not missing(self._settings)

    # --- life ---

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        """Arm, and return. Raises PortalError when the scheduler cannot be reached."""
        if stop_event.is_set():
            return
        self._firing, self.note = firing, ""
        arming = self._own(self.reconcile(firing=firing), "arming")
        stopping = self._own(stop_event.wait(), "stop")
        try:
            await asyncio.wait({arming, stopping}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._end()
            raise
        failed = arming.result() if arming.done() and not arming.cancelled() else None
        if stopping.done() or failed is not None:
            await self._end()
            if isinstance(failed, BaseException):
                raise failed
            return
        following = self._own(self._follow(firing, interval), "watch")
        mending = self._own(self._mend_for_ever(interval), "mend")
        stopping.add_done_callback(lambda _: (following.cancel(), mending.cancel()))

    async def stop(self) -> None:
        """End what runs here and let go of connections. What is armed stays armed, and what was
        fired last is armed again, if the scheduler is well: whoever stops us may count on it."""
        firing = self._firing
        await self._end()
        try:
            if firing is not None and self._held is not None:
                async with asyncio.timeout(LAST_LOOK):
                    self._want([one async for one in firing.armed(_FAR)])
                    await self._mend()
        except (PortalError, TimeoutError) as error:
            logger.warning("the last arming: %s", one_line(text_of(error)))
        finally:
            await self._portal.close()

    async def _end(self) -> None:
        self._firing = None
        tasks = {task for task in self._tasks if task is not asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END)
        self._calls.clear()  # of those that were cancelled before they began, too
        self._accepted.clear()

    def _own(self, work: Coroutine[Any, Any, Any], what: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(_contained(work), name=f"acron-chronos-{what}")
        task.add_done_callback(lambda _: work.close())  # cancelled before it began, nobody has it
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- arming ---

    async def reconcile(self, *, firing: Firing) -> None:
        """Make the scheduler's list equal to what is to be armed: arm what is missing or has
        changed, cancel orphans. Fires at once what is overdue. Raises PortalError."""
        await self._look(firing)
        await self._mend(listing=True)

    async def ready(self) -> bool:
        """Whether the scheduler answers. Raises PortalError."""
        try:
            await self._portal.held()
        finally:
            await self._portal.close()
        return True

    async def on_jobs_changed(self, *, firing: Firing) -> None:
        """Arm what has changed. Calls that come together are one look; failures are tried again
        by ``start``'s task."""
        if self._look_waits:
            return  # the one that has not begun will see this change too
        await self._look(firing)
        try:
            await self._mend()
        except PortalError as error:
            self._failed(error)

    async def _look(self, firing: Firing) -> list[Armed]:
        """Read what is to be armed, and fire what is due and nobody else's to fire."""
        self._look_waits = True
        async with self._looking:
            self._look_waits = False
            rows = [one async for one in firing.armed(_FAR)]
            now = self._clock.now()
            late = [one for one in rows if self._fires_at(one) <= now]
            for one in late:
                await self.fire_due(one.job_id, one.instant, firing=firing)
            if late:
                rows = [one async for one in firing.armed(_FAR)]
            self._want(rows)
            return rows

    def _want(self, rows: list[Armed]) -> None:
        """Each job's next instant. What is due and held up (an earlier run goes on) is for us to
        go on with."""
        now = self._clock.now()
        wanted: dict[str, datetime] = {}
        for one in rows:  # by instant: the first of a job is its next
            if one.job_id not in wanted and (one.instant > now or self._holds(one)):
                wanted[one.job_id] = one.instant
        self._wanted = wanted
        self._dirty.set()

    def _holds(self, one: Armed) -> bool:
        """Whether the scheduler holds that very instant, as far as we know."""
        held = None if self._held is None else self._held.get(one.job_id)
        return held is not None and _same(held, one.instant)

    def _fires_at(self, one: Armed) -> datetime:
        """When it is for us to fire it."""
        return one.instant + self._sweep if self._holds(one) else one.instant

    async def _mend(self, *, listing: bool = False) -> None:
        """Make the scheduler hold what is wanted. Raises PortalError; then nothing is known of
        what it holds, and all is fired here."""
        async with self._mending:
            try:
                if listing or self._held is None:
                    self._held = await self._portal.held()
                while jobs := self._differences(self._held):
                    await self._send(jobs, self._held)
                self._say("")
            except PortalError:
                self._held = None
                raise

    def _differences(self, held: dict[str, datetime]) -> list[str]:
        wanted, refused = self._wanted, self._refused
        self._refused = refused = {
            job_id: at for job_id, at in refused.items() if wanted.get(job_id) == at
        }
        missing = [
            job_id
            for job_id, at in wanted.items()
            if job_id not in refused and not (job_id in held and _same(held[job_id], at))
        ]
        return missing + [job_id for job_id in held if job_id not in wanted]

    async def _send(self, jobs: list[str], held: dict[str, datetime]) -> None:
        """Arm and cancel, some requests at once; the first failure ends it."""
        waiting = iter(jobs)

        async def work() -> None:
            for job_id in waiting:
                instant = self._wanted.get(job_id)
                held.pop(job_id, None)  # until it answers, and if this is cancelled
                try:
                    if instant is None:
                        await self._portal.cancel(job_id)
                    else:
                        await self._portal.arm(job_id, instant)
                        held[job_id] = instant
                except PortalError as error:
                    if not error.refused:
                        raise
                    if instant is not None:
                        self._refused[job_id] = instant
                    logger.error("%s is refused: %s", job_id, error)  # noqa: TRY400 (no traceback)

        workers = [asyncio.create_task(work()) for _ in range(min(PARALLEL, len(jobs)))]
        try:
            await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for one in workers:
                one.cancel()
            told = await asyncio.gather(*workers, return_exceptions=True)
        for error in told:
            if isinstance(error, Exception):
                raise error

    # --- beside start ---

    async def _follow(self, firing: Firing, interval: float) -> None:
        """Look after each change, when something comes due that is ours, and each ``interval``."""
        pause = FIRST_PAUSE
        while True:
            try:
                rows = await self._look(firing)
                now = self._clock.now()
                ours = min((at for one in rows if (at := self._fires_at(one)) > now), default=_FAR)
                await asyncio.sleep(CALM)
                wait = min((ours - now).total_seconds() - CALM, interval)
                await firing.changed(max(wait, 0.0))
                pause = FIRST_PAUSE
            except BaseException as error:
                if meant_for_us(error):
                    raise
                logger.error("arming: %s", one_line(text_of(error)))  # noqa: TRY400 (no secrets)
                await asyncio.sleep(pause)
                pause = min(2 * pause, interval)

    async def _mend_for_ever(self, interval: float) -> None:
        """Send what ``_look`` wants; after a failure again, and now and then by the list."""
        pause, list_at = FIRST_PAUSE, self._clock.monotonic() + LIST_INTERVAL
        while True:
            left = list_at - self._clock.monotonic()
            try:
                async with asyncio.timeout(max(left, 0.0)):
                    await self._dirty.wait()
            except TimeoutError:
                left = 0.0
            self._dirty.clear()
            try:
                listed = left <= 0 or self._held is None
                await self._mend(listing=listed)
            except PortalError as error:
                self._failed(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, interval)
            else:
                pause = FIRST_PAUSE
                if listed:
                    list_at = self._clock.monotonic() + LIST_INTERVAL

    def _failed(self, error: PortalError) -> None:
        logger.warning("%s; until it can be armed again, all is fired here", error)
        self._say(f"{one_line(str(error))}; until it can be armed again, all is fired here")
        self._dirty.set()

    def _say(self, note: str) -> None:
        if note != self.note and self._firing is not None:
            self.note = note
            self._own(self._firing.tick(), "tell")  # with its beat

    # --- being called ---

    async def _called(self, job_id: str, fire_at: datetime | None) -> Fired:
        """A trigger, proven and well formed. The same one again joins the one that waits."""
        firing = self._firing
        if firing is None:
            return Fired.DRAINING
        key = (job_id, fire_at)
        if key not in self._calls:
            self._calls[key] = self._own(self._fire(key, firing), f"fire-{job_id}")
        fired = self._calls[key]
        early = 0.0 if fire_at is None else (fire_at - self._clock.now()).total_seconds()
        waits = CALM if 0 < early <= EARLY else CLAIM_TIMEOUT
        await asyncio.wait({fired}, timeout=waits)
        if not fired.done():  # it waits for its instant; a claim that takes so long is in doubt
            if waits != CALM:
                return Fired.DRAINING
            self._accepted.add(key)
            return Fired.CLAIMED
        if fired.cancelled():
            return Fired.DRAINING
        answer = fired.result()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _fire(self, key: tuple[str, datetime | None], firing: Firing) -> Fired:
        job_id, fire_at = key
        fired = Fired.DRAINING
        try:
            fired = await self.fire_due(job_id, fire_at, firing=firing)
        finally:
            self._calls.pop(key, None)
            if fired is not Fired.DRAINING or key in self._accepted:
                self._accepted.discard(key)
                self._let_go(job_id)
        return fired

    def _let_go(self, job_id: str) -> None:
        """A one-shot was called for and accepted: the scheduler holds it no more."""
        if self._held is not None:
            self._held.pop(job_id, None)
        if self._firing is not None:
            self._own(self.on_jobs_changed(firing=self._firing), "re-arm")


async def _contained(work: Coroutine[Any, Any, Any]) -> Any:
    """What ``work`` gives, or what it raises, as a value: nothing of it may end the loop."""
    try:
        return await work
    except BaseException as error:
        if meant_for_us(error):
            raise
        return error


def _same(one: datetime, other: datetime) -> bool:
    return abs((one - other).total_seconds()) < SAME


def missing(settings: Settings) -> list[str]:
    """The variables of the settings that this provider needs and has not got."""
    needed = ("portal_url", "callback_url", "token", "audience", "issuer", "jwks_url")
    names = [f"chronos_{name}" for name in needed]
    return [f"ACRON_{name.upper()}" for name in names if not getattr(settings, name)]


def register(ctx: PluginContext) -> None:
    """What ``provider = "chronos"`` means. Raises ConfigError when a setting is missing."""
    if lacking := missing(ctx.settings):
        raise ConfigError(f"it needs {', '.join(lacking)}")
    ctx.register_cron_scheduler(ChronosCronScheduler(ctx.settings))
