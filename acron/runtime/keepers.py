"""What goes on beside firing: news from other processes, and the upkeep of the store."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from acron import incidents
from acron.contain import meant_for_us
from acron.model import Decision, End, Outcome, RunState
from acron.runtime.fire import deliver
from acron.runtime.outside import sweep
from acron.runtime.record import settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from acron.abc import CronScheduler
    from acron.model import Job, Run
    from acron.runtime import Runtime
    from acron.runtime.supervise import Supervisor

log = logging.getLogger("acron.runtime")

#: Seconds between two looks for runs and skips that are old enough to forget.
PRUNE_INTERVAL = 3600.0
#: Seconds between two wake-ups by news; the first comes at once.
CALM = 0.01
#: Seconds that a provider may take to hear that jobs were written, and how long it is then left
#: alone, in times of what it took.
TOLD_WITHIN, REST = 30.0, 4.0
#: Seconds by which a job must be overdue, at least, to count as absent.
ABSENT_AFTER = 120.0
#: Overdue jobs, and runs with something unsent, that are looked at; where more are, that many
#: incidents say enough.
OVERDUE_LIMIT = 1000
#: Seconds to wait after a step that failed.
PAUSE = 1.0


async def keep(rt: Runtime, step: Callable[[], Awaitable[None]], what: str) -> None:
    """Run ``step`` for ever. Whatever it raises is reported, and it is tried again."""
    while True:
        try:
            await step()
        except BaseException as error:
            if meant_for_us(error):
                raise
            rt.pulse.trouble(what, error)
            await asyncio.sleep(PAUSE)


class Listener:
    """Wakes the trigger when the store has news, and passes on requests to cancel. ``heard`` is
    called with each news."""

    def __init__(self, rt: Runtime, interval: float, heard: Callable[[], None]) -> None:
        self._rt = rt
        self._interval = interval
        self._heard = heard

    async def step(self) -> None:
        if await self._rt.store.changed(10 * self._interval):
            self._rt.wake()
            self._heard()
            await self._rt.standing.look_soon()
            await self._cancel_requested()
            await asyncio.sleep(CALM)  # a thousand changes a second are not a thousand ticks
        else:
            await self._cancel_requested()

    async def _cancel_requested(self) -> None:
        rt = self._rt
        if not rt.attempts:
            return
        for run in await rt.store.runs(state=RunState.RUNNING, node=rt.node_id, limit=10_000):
            if run.cancel_requested:
                why = run.error or "cancelled by request"
                rt.attempts.stop(run.id, RunState.CANCELLED, why)


class Notifier:
    """Tells the provider that jobs were written: one call for all that came together, bounded,
    and then a rest, so that a provider which reads all jobs each time leaves time to others.

    A call that fails is not repeated: it is reported, and what it would have armed is swept up.
    """

    def __init__(self, rt: Runtime, supervisor: Supervisor) -> None:
        self._rt = rt
        self._supervisor = supervisor  # knows who serves now: the built-in may stand in
        self._news = asyncio.Event()

    def heard(self) -> None:
        self._news.set()

    async def step(self) -> None:
        await self._news.wait()
        self._news.clear()
        if self._rt.draining:
            return
        began = self._rt.clock.monotonic()
        provider = self._supervisor.provider
        telling = asyncio.create_task(self._tell(provider), name="acron-jobs-changed")
        try:
            _, late = await asyncio.wait({telling}, timeout=TOLD_WITHIN)
        finally:
            telling.cancel()
        if late:
            log.error("provider %s: on_jobs_changed took over %g s", provider.name, TOLD_WITHIN)
        took = self._rt.clock.monotonic() - began
        await asyncio.sleep(min(max(REST * took, CALM), TOLD_WITHIN))

    async def _tell(self, provider: CronScheduler) -> None:
        try:
            await provider.on_jobs_changed(firing=self._supervisor.turn or self._rt)
        except BaseException as error:
            if meant_for_us(error):
                raise
            self._rt.pulse.trouble(f"provider {provider.name}: on_jobs_changed", error)


class Sweep:
    """Fires what an outside provider has missed for ``delay`` seconds, on the same claim, says so
    by ``missed``, and has the provider told by ``heard``, which is to arm what follows."""

    def __init__(
        self, rt: Runtime, delay: float, missed: Callable[[], None], heard: Callable[[], None]
    ) -> None:
        self._rt = rt
        self._delay = delay
        self._missed = missed
        self._heard = heard

    async def step(self) -> None:
        await asyncio.sleep(self._delay / 2)
        started = await sweep(self._rt, self._delay)
        if started:
            log.warning("%d runs were due %g s ago, and no trigger came", started, self._delay)
            self._missed()
            self._heard()
            self._rt.wake()  # for one that follows ``changed`` instead


class Upkeep:
    """Every other interval: beat (ticks do so too), settle what nobody runs, and see what should
    have fired; every hour: forget what is old, tell of what others left untold, look whether the
    rules of time zones have changed."""

    def __init__(self, rt: Runtime, interval: float, days: float, keep_runs: int) -> None:
        self._rt = rt
        self._interval = interval
        self._age = timedelta(days=days)
        self._keep_runs = keep_runs
        self._pruned_at = float("-inf")
        self._files_at = float("-inf")  # when there may be old ones
        self._orphans: frozenset[str] = frozenset()
        self._unsent: frozenset[str] = frozenset()
        self._untold = False  # there may be incidents that a dead process has told nobody of
        self._overdue: frozenset[tuple[str, datetime | None]] = frozenset()

    async def step(self) -> None:
        rt = self._rt
        await asyncio.sleep(2 * self._interval)
        await rt.standing.look()
        await rt.pulse.beat(force=True)
        if not rt.store.at_once:  # nobody else has that one, and it loses no answer
            await rt.recover()
            await self._settle_orphans()
            await self._send_forgotten()
        await self._note_absent()
        rt.alerter.try_again()
        if rt.armed_outside:  # then this look at the store is what a clean tick is elsewhere
            rt.pulse.success()
            await rt.pulse.beat(force=True)
        await self._forget()
        if self._untold:
            self._untold = await rt.alerter.look(rt.clock.now())

    async def _forget(self) -> None:
        rt = self._rt
        before = rt.clock.now() - self._age
        if rt.clock.monotonic() - self._pruned_at >= PRUNE_INTERVAL:
            self._pruned_at = rt.clock.monotonic()
            self._untold = True
            await rt.rules.look()
            await rt.store.prune(before, self._keep_runs)
        if (now := rt.clock.monotonic()) >= self._files_at:
            self._files_at = now + PRUNE_INTERVAL  # when it fails
            self._files_at = now + await rt.files.forget(before, self._keep_runs)

    async def _settle_orphans(self) -> None:
        """Runs that are ours in the store and that nobody here runs: a claim whose answer was
        lost, an end that was. Seen at two looks in a row, they are over."""
        rt = self._rt
        runs = await rt.store.runs(state=RunState.RUNNING, node=rt.node_id, limit=10_000)
        ours = [run for run in runs if run.id not in rt.attempts]
        lost = [run for run in ours if run.id in self._orphans]
        self._orphans = frozenset(run.id for run in ours) - {run.id for run in lost}
        if not lost:
            return
        log.error("%d runs of this process are running nowhere: now unknown", len(lost))
        outcome = Outcome(state=RunState.UNKNOWN, error="it was claimed, and then lost")
        now = rt.clock.now()
        ends = [
            End(run_id=run.id, token=run.token, finished_at=now, outcome=outcome) for run in lost
        ]
        for decision in await rt.store.finish(ends, settle):
            if decision is not None:
                rt.alerter.noticed(decision.job)
        rt.wake()

    async def _send_forgotten(self) -> None:
        """What is ours to send and nobody here sends, seen at two looks in a row: the store took
        it over from a dead process for us, and its answer was lost."""
        rt = self._rt
        runs = await rt.store.deliveries("pending", OVERDUE_LIMIT)
        ours = [run for run in runs if run.node == rt.node_id and not rt.deliverer.is_at(run.id)]
        again = [run for run in ours if run.id in self._unsent]
        self._unsent = frozenset(run.id for run in ours)
        for run in again:
            job = await rt.store.get(run.job_id)
            if job is not None:
                rt.tasks.do(deliver(rt, job, run, adopted=True), f"deliver {run.id}")

    async def _note_absent(self) -> None:
        """Jobs that should have fired long ago, at two looks in a row, and neither wait for a
        slot nor for a run before. What only others can run is theirs to judge."""
        rt = self._rt
        now = rt.clock.now()
        before = now - timedelta(seconds=max(2 * self._interval, ABSENT_AFTER))
        late = await rt.store.overdue(before, OVERDUE_LIMIT)
        seen = frozenset((job.id, job.due_at) for job in late)
        again, self._overdue = seen & self._overdue, seen
        absent = [
            job
            for job in late
            if (job.id, job.due_at) in again and not incidents.going_on(job, "absence")
        ]
        if not absent:
            return
        can_run, free = rt.can_run, rt.free > 0
        offers = {what for node in await rt.store.nodes() if node.alive for what in node.offers}
        reasons: dict[str, str] = {}
        for job in absent:
            needs = job.action.needs
            if needs in can_run and free:
                reasons[job.id] = "nothing has fired it"
            elif needs not in can_run and needs not in offers:
                reasons[job.id] = f"no live process can run {needs}"
        await self._open_absences(reasons, now, before)

    async def _open_absences(
        self, reasons: dict[str, str], now: datetime, before: datetime
    ) -> None:
        def change(
            job_id: str, job: Job | None, runs: Sequence[Run], _: Callable[[], int]
        ) -> Decision:
            due = None if job is None else job.due_at
            if job is None or due is None or due >= before or any(run.live for run in runs):
                return Decision(job)
            why = f"should have fired at {due.isoformat()}; {reasons[job_id]}"
            return Decision(incidents.opened(job, "absence", why, now))

        if not reasons:
            return
        for decision in await self._rt.store.write(list(reasons), change, now):
            self._rt.alerter.noticed(decision.job)
