"""Triggers from outside: the instants that others hold, and what a trigger of theirs finds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from acron.abc import Armed, Fired
from acron.model import RunState
from acron.timetable import timetable

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from acron.model import Job
    from acron.runtime import Runtime

#: A trigger that comes early by no more than this many seconds waits and fires.
EARLY = 30.0
#: Pending runs that one look arms; those beyond it come with the next one.
MOST_PENDING = 100_000


async def to_arm(rt: Runtime, until: datetime) -> list[Armed]:
    """The instants to be armed outside, by instant: of schedules, of retries and manual runs.

    A job that no live node can run is parked: a trigger for it would be in vain.
    """
    rows: list[tuple[datetime, str]] = []
    parked: set[str] = set()
    offers = await _offers(rt)
    after = ""
    while page := await rt.store.page(after):
        after = page[-1].id
        parked.update(job.id for job in page if job.action.needs not in offers)
        rows += [(due, job.id) for job in page if (due := job.due_at)]
    pending = await rt.store.runs(state=RunState.PENDING, limit=MOST_PENDING)
    rows += [(run.due_at, run.job_id) for run in pending]
    return [
        Armed(job_id, instant)
        for instant, job_id in sorted(set(rows))
        if instant <= until and job_id not in parked
    ]


async def _offers(rt: Runtime) -> Collection[str]:
    """What the live nodes can run between them."""
    nodes = [one for one in await rt.store.nodes() if one.alive and not one.draining]
    return frozenset(rt.can_run).union(*(node.offers for node in nodes))


async def fire(rt: Runtime, job_id: str, scheduled_at: datetime | None) -> Fired:
    """Claim and start what one job owes; see ``Firing.fire``."""
    if rt.draining:
        return Fired.DRAINING
    job = await rt.store.get(job_id)
    due = None if job is None else await _due_at(rt, job, scheduled_at)
    if job is None or due is None:
        return await _stale(rt, job_id, scheduled_at)
    while (early := (due - rt.clock.now()).total_seconds()) > 0:
        if early > EARLY:
            return Fired.EARLY
        await asyncio.sleep(early)
    if rt.free <= 0 or job.action.needs not in rt.can_run:
        return Fired.DRAINING
    started = await rt.tick_one(job_id)
    return Fired.CLAIMED if started else await _stale(rt, job_id, scheduled_at)


async def _due_at(rt: Runtime, job: Job, scheduled_at: datetime | None) -> datetime | None:
    """When the job is due next, by its schedule or by a pending run; None when a trigger for
    ``scheduled_at`` comes for what was dealt with before."""
    pending = await rt.store.runs(job.id, state=RunState.PENDING)
    owed = {run.due_at: run.due_at for run in pending}
    if job.due_at is not None:
        owed[job.due_at] = _instant_of(job, job.due_at)
    if scheduled_at is not None:
        owed = {due: instant for due, instant in owed.items() if instant <= scheduled_at}
    return min(owed, default=None)


def _instant_of(job: Job, due: datetime) -> datetime:
    """The instant of the schedule that ``due``, which includes jitter, belongs to."""
    if not job.policy.jitter or job.cursor is None:
        return due
    return min(due, timetable(job).next_after(job.cursor) or due)


async def _stale(rt: Runtime, job_id: str, scheduled_at: datetime | None) -> Fired:
    """A trigger for what is not owed: somebody has it, or there is nothing."""
    if scheduled_at is None:
        return Fired.NOTHING
    runs = await rt.store.runs(job_id, limit=100)
    taken = any(scheduled_at in {run.scheduled_at, run.due_at} for run in runs)
    return Fired.LOST if taken else Fired.NOTHING
