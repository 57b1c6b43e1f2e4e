"""Run again what a schedule has missed: numbered work, durable, at a pace."""

from __future__ import annotations

import math
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from acron.errors import InvalidJob, JobConflict, JobNotFound
from acron.model import Decision, Job, Run, RunState
from acron.occurrences import ALL
from acron.timetable import TICK, timetable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from acron.abc import Store

#: The lowest rate, in runs a second: the last of ``MOST`` is then due in 300 years.
SLOWEST = 1e-6
#: Instants in one backfill.
MOST = 10_000
#: Runs written in one transaction.
PART = 500
#: How often a job may change between a look at its ledger and the writing.
TRIES = 20
#: Seconds that a run is thought to take, of a job that has never run and may not overlap.
ASSUMED = 1.0

_DONE = frozenset({RunState.SUCCEEDED, RunState.PENDING, RunState.RUNNING})
_AT_WORK = frozenset({RunState.PENDING, RunState.RUNNING})


class Backfill(Struct, frozen=True, kw_only=True):
    """What a backfill has put to work: ``runs`` new pending runs, the last one due at
    ``last_due_at``. ``already`` instants have succeeded, wait or run. ``batch`` is what the runs
    are found by; None when there is nothing to do."""

    job_id: str
    batch: str | None
    runs: int
    already: int
    last_due_at: datetime | None = None


async def backfill(
    store: Store,
    job: Job,
    now: datetime,
    since: datetime,
    until: datetime,
    *,
    rate: float,
    again: bool,
) -> Backfill:
    """See ``ManualWork.backfill``."""
    if not SLOWEST <= rate < math.inf:
        raise ValueError(f"rate is a number of runs a second, {SLOWEST:f} or more")
    instants = _instants(job, now, since, until)
    written = taken = 0
    batch: str | None = None
    due_at = None
    pace = None
    start = stale = 0
    while start < len(instants):
        part = instants[start : start + PART]
        seen = await store.get(job.id) or job  # before the ledger: see ``_Part``
        ledger = await store.runs(job.id, limit=ALL)
        if pace is None:
            pace = timedelta(seconds=max(1 / rate, _lasting(job, ledger)))
        writer = _Part(seen, part, ledger, batch, now + pace * written, pace, again=again)
        try:
            runs = (await store.write([job.id], writer.change, now))[0].runs
        except _StaleError:
            stale += 1
            if stale > TRIES:
                message = f"job {job.id!r} is changed by others all the time; try again"
                raise JobConflict(message, job_id=job.id) from None
            continue
        start += PART
        taken += len(part) - len(runs)
        written += len(runs)
        if runs:
            batch, due_at = runs[0].batch, runs[-1].due_at
    return Backfill(job_id=job.id, batch=batch, runs=written, already=taken, last_due_at=due_at)


def _instants(job: Job, now: datetime, since: datetime, until: datetime) -> list[datetime]:
    if since.tzinfo is None or until.tzinfo is None:
        raise ValueError("since and until are aware datetimes")
    if until <= since:
        raise ValueError("until must be later than since")
    schedule = timetable(job)
    # Beyond its cursor a scheduled job still fires by itself; a one-shot does once it is resumed.
    rests = job.state != "scheduled" and schedule.recurring
    dealt_with = now if rests or job.completed or job.cursor is None else job.cursor
    last = min(until - TICK, dealt_with, now)  # the cursor is ahead of a clock that was put back
    count = schedule.count(since - TICK, last) if since <= last else 0
    if count > MOST:
        split = schedule.upcoming(since - TICK, MOST + 1)[-1]
        message = (
            f"{count:,} instants are more than the {MOST:,} of one backfill; "
            f"go in steps, the first one until {split.isoformat().replace('+00:00', 'Z')}"
        )
        raise InvalidJob(message, job_id=job.id, where="$.until")
    return schedule.upcoming(since - TICK, count)


def _lasting(job: Job, ledger: Sequence[Run]) -> float:
    """Seconds to leave a run before the next one is due: what nine of ten of the newest took.
    What is due and cannot start is looked at again and again, and that would cost much."""
    if job.policy.overlap == "allow":
        return 0.0
    newest = [run for run in ledger if run.finished_at and run.started_at][:20]
    if not newest:
        return ASSUMED
    took = sorted((run.finished_at - run.started_at).total_seconds() for run in newest)  # type: ignore[operator]
    return took[len(took) * 9 // 10]


class _StaleError(Exception):
    """The job was changed after the ledger was read."""


class _Part:
    """At most ``PART`` runs of a backfill, decided inside the store's transaction.

    That shows the runs which have not ended. One that another backfill has begun *and* ended since
    the ledger was read would be seen nowhere: so each counts the job's revision up, and one that
    finds another revision than ``job`` has does nothing.
    """

    def __init__(
        self,
        job: Job,
        instants: Sequence[datetime],
        ledger: Sequence[Run],
        batch: str | None,
        due_at: datetime,
        pace: timedelta,
        *,
        again: bool,
    ) -> None:
        self._job = job
        self._instants = instants
        self._ledger = ledger
        self._batch = batch
        self._due_at = due_at
        self._pace = pace
        self._left_out = _AT_WORK if again else _DONE

    def change(
        self, _: str, job: Job | None, opened: Sequence[Run], mint: Callable[[], int]
    ) -> Decision:
        if job is None:
            raise JobNotFound(self._job.id)
        if job.revision != self._job.revision:
            raise _StaleError
        attempts: Counter[datetime] = Counter()
        taken: set[datetime] = set()
        for run in (*self._ledger, *opened):
            at = run.scheduled_at
            if at is not None and run.job_id == job.id:  # open ones are of the key, too
                attempts[at] = max(attempts[at], run.attempt)
                if run.state in self._left_out:
                    taken.add(at)
        wanted = [at for at in self._instants if at not in taken]
        if not wanted:
            return Decision(job)
        batch = self._batch or f"b{mint()}"
        runs = tuple(
            Run(
                id=f"r{mint()}",
                job_id=job.id,
                scheduled_at=at,
                attempt=attempts[at] + 1,
                due_at=self._due_at + self._pace * number,
                key=job.policy.key,
                batch=batch,
            )
            for number, at in enumerate(wanted)
        )
        return Decision(replace(job, revision=job.revision + 1), runs=runs)


async def unfinished(store: Store, batch: str, job_id: str | None) -> list[Run]:
    """The pending and running runs of a backfill."""
    found = [
        run
        for state in (RunState.PENDING, RunState.RUNNING)
        for run in await store.runs(job_id, state=state, limit=ALL)
    ]
    return [run for run in found if run.batch == batch]


async def cancel_batch(store: Store, batch: str, now: datetime) -> int:
    """See ``ManualWork.cancel_batch``."""
    waiting = await store.runs(state=RunState.PENDING, limit=ALL)
    jobs = {run.job_id for run in waiting if run.batch == batch}
    if not jobs and not any(run.batch == batch for run in await store.runs(limit=ALL)):
        raise JobNotFound(batch, kind="backfill")

    def change(_: str, job: Job | None, opened: Sequence[Run], __: Callable[[], int]) -> Decision:
        stopped = tuple(
            replace(run, state=RunState.CANCELLED, finished_at=now, error=f"{batch} was cancelled")
            for run in opened
            if run.batch == batch and run.state is RunState.PENDING
        )
        return Decision(job, runs=stopped)

    decisions = await store.write(sorted(jobs), change, now) if jobs else []
    return sum(len(decision.runs) for decision in decisions)
