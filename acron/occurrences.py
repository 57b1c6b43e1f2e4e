"""What became of each instant of a job: the ledger, and beyond it the schedule."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from acron.errors import ScheduleError
from acron.model import Job, Occurrence, Run, Skip
from acron.timetable import TICK, starts_each, timetable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from acron.abc import Store
    from acron.schedules import Schedule

#: As many rows as there are. Retention bounds the ledger of a job.
ALL = 2**31 - 1
_TRIES = 10


class History(NamedTuple):
    """A job (None once removed) with all its runs and skips, oldest first."""

    job: Job | None
    runs: list[Run]
    skips: list[Skip]


async def history(store: Store, job_id: str) -> History:
    """What the store knows of one job.

    The rows agree with the job: while it changes under our eyes it is read again.
    """
    job = await store.get(job_id)
    for _ in range(_TRIES):
        runs = await store.runs(job_id, limit=ALL)
        skips = await store.skips(job_id, limit=ALL)
        before, job = job, await store.get(job_id)
        if job == before:
            break
    return History(job, runs[::-1], skips[::-1])


def occurrences(told: History, now: datetime, since: datetime, until: datetime) -> list[Occurrence]:
    """Each instant in ``since <= instant < until`` once, with its fate, oldest first. Pure."""
    after, last = since - TICK, until - TICK
    schedule = _schedule(told.job)
    ran = _ran(told.runs, after, last)
    cut = (_skipped(skip, schedule, after, last) for skip in told.skips)
    others = [row for row in cut if row is not None]
    if told.job is not None and schedule is not None:
        others.extend(_coming(told.job, schedule, now, after, last))
    # What a backfill found irrelevant was skipped before: the newest row tells.
    alone = {row.scheduled_at: row for row in others if row.count == 1}
    by_instant = alone | ran
    rows = list(by_instant.values())
    instants = sorted(by_instant)
    for row in others:
        if row.count > 1:
            rows.extend(_without(row, instants, schedule))
    return sorted(rows, key=lambda row: row.scheduled_at)


def _without(
    row: Occurrence, ran: list[datetime], schedule: Schedule | None
) -> Iterator[Occurrence]:
    """What is left of a row without the instants that have a run after all: a retry by hand, a
    backfill. Their runs tell their fate."""
    first, newest = row.first_at or row.scheduled_at, row.scheduled_at
    inside = ran[bisect_left(ran, first) : bisect_right(ran, newest)]
    if not inside:
        yield row
    elif schedule is None or schedule.count(first - TICK, newest) != row.count:
        # Counted on a lattice that is no more: where it has to be cut, nobody can tell.
        if row.count > len(inside):
            yield replace(row, count=row.count - len(inside))
    else:
        low = first - TICK
        for at in (*inside, newest + TICK):
            high = at - TICK
            end, start = schedule.last_at(high), schedule.next_after(low)
            if count := schedule.count(low, high):
                start = start if count > 1 else None
                yield replace(row, scheduled_at=end or high, count=count, first_at=start)
            low = at


def _schedule(job: Job | None) -> Schedule | None:
    try:
        return None if job is None else timetable(job)
    except ScheduleError:
        return None  # the job is in error: the ledger is all there is


def _ran(runs: list[Run], after: datetime, last: datetime) -> dict[datetime, Occurrence]:
    latest: dict[datetime, Run] = {}
    for run in runs:
        at = run.scheduled_at
        if at is None or not after < at <= last:
            continue
        other = latest.get(at)
        if other is None or (run.attempt, run.token) > (other.attempt, other.token):
            latest[at] = run
    return {
        at: Occurrence(
            job_id=run.job_id,
            scheduled_at=at,
            fate=run.state.value,
            run_id=run.id,
            attempts=run.attempt,
        )
        for at, run in latest.items()
    }


def _skipped(
    skip: Skip, schedule: Schedule | None, after: datetime, last: datetime
) -> Occurrence | None:
    """The part of a skip that lies in the window."""
    first, newest, count = skip.first_at or skip.scheduled_at, skip.scheduled_at, skip.count
    if newest <= after or first > last:
        return None
    if first <= after or newest > last:
        # Only the lattice that the row was counted on can tell where to cut it.
        if schedule is None or schedule.count(first - TICK, newest) != count:
            return _row(skip, first, newest, count)
        low, high = max(first - TICK, after), min(newest, last)
        count = schedule.count(low, high)
        first, newest = schedule.next_after(low) or first, schedule.last_at(high) or newest
    return _row(skip, first, newest, count) if count else None


def _row(skip: Skip, first: datetime, newest: datetime, count: int) -> Occurrence:
    return Occurrence(
        job_id=skip.job_id,
        scheduled_at=newest,
        fate="skipped",
        reason=skip.reason,
        count=count,
        first_at=first if count > 1 else None,
    )


def _coming(
    job: Job, schedule: Schedule, now: datetime, after: datetime, last: datetime
) -> Iterator[Occurrence]:
    """What lies behind the job's cursor, and so has no row yet."""
    if job.cursor is None or job.state not in {"scheduled", "paused"}:
        return
    if schedule.next_after(job.cursor) is None:
        yield from _without_lattice(job, now, after, last)
        return
    cursor = job.cursor
    if job.state == "paused":
        end = last if job.paused_until is None else min(job.paused_until - TICK, last)
        yield from _span(job, schedule, max(cursor, after), end, "paused")
        if job.paused_until is None:
            return
        cursor = max(cursor, job.paused_until - TICK)
    yield from _span(job, schedule, max(cursor, after), min(now, last), "owed")
    base = max(cursor, now)
    if job.policy.repeat is not None:
        owed = schedule.count(cursor, base)
        starts = owed if starts_each(job) else min(owed, 1)
        last = _nth(schedule, base, job.policy.repeat - job.fired - starts, last)
    yield from _span(job, schedule, max(base, after), last, "upcoming")


def _without_lattice(
    job: Job, now: datetime, after: datetime, last: datetime
) -> Iterator[Occurrence]:
    """An ``@reboot`` that waits for its fire."""
    at = job.next_fire_at
    if at is not None and after < at <= last:
        fate = "paused" if job.state == "paused" else "owed" if at <= now else "upcoming"
        yield Occurrence(job_id=job.id, scheduled_at=at, fate=fate)


def _span(
    job: Job, schedule: Schedule, after: datetime, last: datetime, fate: str
) -> Iterator[Occurrence]:
    count = schedule.count(after, last) if after < last else 0
    newest = schedule.last_at(last)
    if count and newest is not None:
        first = schedule.next_after(after) if count > 1 else None
        yield Occurrence(job_id=job.id, scheduled_at=newest, fate=fate, count=count, first_at=first)


def _nth(schedule: Schedule, base: datetime, left: int, last: datetime) -> datetime:
    """The latest moment up to ``last`` before which no more than ``left`` instants lie after
    ``base``: found by halving, so that a long window costs no more."""
    if last <= base or schedule.count(base, last) <= left:
        return last
    low, high = base, last
    while high - low > TICK:
        middle = low + (high - low) / 2
        if schedule.count(base, middle) <= left:
            low = middle
        else:
            high = middle
    return low
