"""Which instants a job owes, and which of them no longer run. Pure."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec reads the annotations)
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from acron.model import Skip, SkipReason
from acron.timetable import TICK, fire_at, grace, starts_each

if TYPE_CHECKING:
    from acron.model import Job
    from acron.schedules import Schedule


class Owed(Struct, frozen=True, gc=False):
    """``instant`` may start (None: nothing may); with it ``skips`` are recorded.

    ``cursor`` is where the job then stands, ``following`` the next instant on the lattice.
    """

    instant: datetime | None
    skips: tuple[Skip, ...]
    cursor: datetime
    following: datetime | None


def owed(job: Job, schedule: Schedule, now: datetime, since: datetime) -> Owed:
    """What a due job owes at ``now``.

    Computed, not enumerated: a year of downtime costs what a minute costs. ``since`` is when
    acron began to serve without a break: only the part of a delay that lies before it counts
    against ``grace``, because what acron itself made wait is never called a misfire.
    """
    cursor = job.cursor
    first = None if cursor is None else schedule.next_after(cursor)
    if schedule.on_start or first is None:
        first = _first(job, schedule, first)
    if first > now:  # a calendar or a zone's rules have changed since it was computed
        return Owed(None, (), job.cursor or now, first)
    following = schedule.next_after(first)
    if following is None or following > now or fire_at(job, following) > now:
        due = Owed(first, (), first, following)
        return due if first >= since else _judge(job, schedule, due, now, since)
    if starts_each(job):
        return _all(job, schedule, first, now)
    newest = _newest(job, schedule, now)
    skips = _counted(job, schedule, SkipReason.COALESCED, first, newest, now)
    following = schedule.next_after(newest)
    return _judge(job, schedule, Owed(newest, skips, newest, following), now, since)


def _first(job: Job, schedule: Schedule, first: datetime | None) -> datetime:
    """The oldest instant not dealt with, if ``first`` is what follows the cursor. An ``@reboot``
    is due when acron starts, wherever the rest of its schedule stands."""
    if schedule.on_start and job.next_fire_at is not None:
        return job.next_fire_at if first is None else min(first, job.next_fire_at)
    if first is None:
        raise ValueError(f"job {job.id} owes nothing")
    return first


def _newest(job: Job, schedule: Schedule, now: datetime) -> datetime:
    newest = schedule.last_at(now)
    while newest is not None and fire_at(job, newest) > now:
        newest = schedule.last_at(newest - TICK)
    if newest is None:
        raise ValueError(f"job {job.id} owes nothing at {now.isoformat()}")
    return newest


def _judge(job: Job, schedule: Schedule, owed: Owed, now: datetime, since: datetime) -> Owed:
    """Late beyond grace, and not to be caught up: a misfire."""
    catch_up = job.policy.catch_up or ("once" if schedule.recurring else "none")
    if catch_up != "none" or owed.instant is None:
        return owed
    late = (min(now, since) - fire_at(job, owed.instant)).total_seconds()
    if late <= 0 or late <= grace(job, schedule, owed.instant):
        return owed
    missed = Skip(
        job_id=job.id, scheduled_at=owed.instant, reason=SkipReason.MISFIRE, recorded_at=now
    )
    return replace(owed, instant=None, skips=(*owed.skips, missed))


def _all(job: Job, schedule: Schedule, first: datetime, now: datetime) -> Owed:
    """Every instant starts, oldest first, one a claim; of a longer backlog the newest ones."""
    limit = job.policy.catch_up_limit
    newest = _newest(job, schedule, now)
    excess = 1 + schedule.count(first, newest) - limit
    if excess <= 0:
        return Owed(first, (), first, schedule.next_after(first))
    oldest = newest
    for _ in range(limit - 1):
        oldest = schedule.last_at(oldest - TICK) or oldest
    skips = _counted(job, schedule, SkipReason.LIMIT, first, oldest, now)
    return Owed(oldest, skips, oldest, schedule.next_after(oldest))


def _counted(
    job: Job,
    schedule: Schedule,
    reason: SkipReason,
    first: datetime,
    end: datetime,
    now: datetime,
) -> tuple[Skip, ...]:
    """One row for all instants from ``first`` to the one before ``end``."""
    count = schedule.count(first, end)
    last = schedule.last_at(end - TICK)
    if not count or last is None:
        return ()
    return (
        Skip(
            job_id=job.id,
            scheduled_at=last,
            reason=reason,
            count=count,
            first_at=first,
            recorded_at=now,
        ),
    )
