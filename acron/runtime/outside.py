"""Triggers from outside: the instants that others hold, and what a trigger of theirs finds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from acron.abc import Answer, Armed, Fired
from acron.model import RunState
from acron.runtime.boot import owed_instant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from datetime import datetime

    from acron.model import Job
    from acron.runtime import Runtime
    from acron.scans import DueRow

#: A trigger that comes early by no more than this many seconds waits and fires.
EARLY = 30.0
#: Rows whose jobs are looked up together.
_CHUNK = 1000
#: Pending runs of one job that are looked at, the newest first: those of some backfills.
_PENDING = 100_000


async def to_arm(
    rt: Runtime, until: datetime, since: datetime | None = None
) -> AsyncIterator[Armed]:
    """The instants to be armed outside, by instant: of schedules, of retries and manual runs.

    A job that no live node can run is parked: a trigger for it would be in vain.
    """
    offers = await _offers(rt)
    rows: list[DueRow] = []
    async for row in rt.store.upcoming(since, until):
        rows.append(row)
        if len(rows) >= _CHUNK:
            for one in await _with_takers(rt, rows, offers):
                yield one
            rows = []
    for one in await _with_takers(rt, rows, offers):
        yield one


async def _with_takers(rt: Runtime, rows: list[DueRow], offers: Collection[str]) -> list[Armed]:
    jobs = await rt.store.get_many({job_id for _, job_id in rows}) if rows else {}
    return [
        Armed(job_id, instant)
        for instant, job_id in rows
        if job_id in jobs and jobs[job_id].action.needs in offers
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
    if job.action.needs not in rt.can_run:
        return Fired.DRAINING
    if rt.free <= 0:
        rt.looked(rt.clock.now(), held=True)  # a free slot is to wake whoever triggers
        return Fired.DRAINING
    started = await rt.tick_one(job_id)
    return Fired.CLAIMED if started else await _stale(rt, job_id, scheduled_at)


async def _due_at(rt: Runtime, job: Job, scheduled_at: datetime | None) -> datetime | None:
    """When the job is due next, by its schedule or by a pending run; None when a trigger for
    ``scheduled_at`` comes for what was dealt with before."""
    pending = await rt.store.runs(job.id, state=RunState.PENDING, limit=_PENDING)
    owed = {run.due_at: run.due_at for run in pending}
    if job.due_at is not None:
        owed[job.due_at] = owed_instant(job, job.due_at)
    if scheduled_at is not None:
        owed = {due: instant for due, instant in owed.items() if instant <= scheduled_at}
    return min(owed, default=None)


async def _stale(rt: Runtime, job_id: str, scheduled_at: datetime | None) -> Fired:
    """A trigger for what is not owed: somebody has it, or there is nothing."""
    if scheduled_at is None:
        return Fired.NOTHING
    runs = await rt.store.runs(job_id, limit=100)
    taken = any(scheduled_at in {run.scheduled_at, run.due_at} for run in runs)
    return Fired.LOST if taken else Fired.NOTHING


async def fire_many(rt: Runtime, triggers: Sequence[Armed]) -> list[Answer]:
    """See ``Firing.fire_many``. Two thousand triggers cost no more than their claims."""
    if rt.draining:
        return [Answer(Fired.DRAINING) for _ in triggers]
    taken: set[str] = set()
    now = rt.clock.now()
    if any(one.instant <= now for one in triggers):
        await rt.claim_due(taken=taken)
        rt.pulse.success()
        await rt.pulse.beat()
    jobs = await rt.store.get_many({one.job_id for one in triggers})
    able, now = rt.can_run, rt.clock.now()
    return [_answer(one, jobs.get(one.job_id), taken, able, now) for one in triggers]


def _answer(
    trigger: Armed, job: Job | None, taken: Collection[str], able: Collection[str], now: datetime
) -> Answer:
    due = None if job is None else job.due_at
    if job is None:
        return Answer(Fired.NOTHING)
    if job.id in taken:
        return Answer(Fired.CLAIMED, due)
    if trigger.instant > now:
        return Answer(Fired.EARLY if due == trigger.instant else Fired.NOTHING, due)
    if job.action.needs not in able or (due is not None and due <= now):
        # Somebody who can, has room, or holds its row just now: perhaps; we have not claimed it.
        return Answer(Fired.DRAINING, due)
    return Answer(Fired.NOTHING, due)


async def sweep(rt: Runtime, delay: float) -> int:
    """Fire what was due ``delay`` seconds ago and that no trigger came for; how many runs."""
    return 0 if rt.draining else await rt.claim_due(late=delay)
