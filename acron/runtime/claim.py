"""Take what is owed: the pure decision, made inside the store's transaction."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.model import Decision, Due, Job, Run, RunState, Skip, SkipReason
from acron.runtime.due import owed
from acron.timetable import fire_at, timetable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from acron.runtime.due import Owed
    from acron.schedules import Schedule

log = logging.getLogger("acron.runtime")


class Decider:
    """``decide`` for one claim; ``held`` counts what it left owed."""

    __slots__ = ("_node", "_now", "_since", "held")

    def __init__(self, now: datetime, since: datetime, node: str) -> None:
        self._now = now
        self._since = since
        self._node = node
        self.held = 0

    def __call__(self, due: Due, mint: Callable[[], int]) -> Decision | None:
        decision = (
            self._instant(due.job, due.live, mint)
            if due.run is None
            else self._pending(due.job, due.run, due.live, mint)
        )
        if decision is None:
            self.held += 1
        return decision

    def _pending(
        self, job: Job, run: Run, live: tuple[Run, ...], mint: Callable[[], int]
    ) -> Decision | None:
        """A retry or a manual run: it waits for others, and is never skipped."""
        if job.paused is not None and run.scheduled_at is not None:
            return None
        if not _room(job, tuple(one for one in live if one.id != run.id)):
            return None
        return Decision(job, runs=(self._start(run, mint()),))

    def _instant(self, job: Job, live: tuple[Run, ...], mint: Callable[[], int]) -> Decision | None:
        try:
            schedule = timetable(job)
            due = owed(job, schedule, self._now, self._since)
        except Exception as error:  # a calendar that fails must not stop its siblings
            log.exception("job %s: no next instant can be computed", job.id)
            return Decision(replace(job, error=f"{type(error).__name__}: {error}"))
        if due.instant is None:
            return Decision(_advanced(job, schedule, due), skips=due.skips)
        if not _room(job, live):
            if job.policy.overlap != "skip" or job.policy.catch_up == "all":
                return None
            missed = Skip(
                job_id=job.id,
                scheduled_at=due.instant,
                reason=SkipReason.OVERLAP,
                recorded_at=self._now,
            )
            return Decision(_advanced(job, schedule, due), skips=(*due.skips, missed))
        token = mint()
        run = Run(
            id=f"r{token}",
            job_id=job.id,
            due_at=fire_at(job, due.instant),
            scheduled_at=due.instant,
        )
        started = _advanced(job, schedule, due, started=due.instant)
        return Decision(started, runs=(self._start(run, token),), skips=due.skips)

    def _start(self, run: Run, token: int) -> Run:
        return replace(
            run,
            state=RunState.RUNNING,
            token=token,
            node=self._node,
            started_at=self._now,
            lateness=max(0.0, (self._now - run.due_at).total_seconds()),
        )


def _room(job: Job, live: tuple[Run, ...]) -> bool:
    if not live:
        return True
    limit = job.policy.max_running
    return job.policy.overlap == "allow" and (limit is None or len(live) < limit)


def _advanced(job: Job, schedule: Schedule, due: Owed, *, started: datetime | None = None) -> Job:
    """The job past ``due``. An ``@reboot`` has nothing following, and stays scheduled."""
    fired = job.fired + (started is not None)
    over = job.policy.repeat is not None and fired >= job.policy.repeat
    following = None if over else due.following
    return replace(
        job,
        cursor=due.cursor,
        next_fire_at=None if following is None else fire_at(job, following),
        last_fire_at=started or job.last_fire_at,
        fired=fired,
        completed=over or (following is None and not schedule.on_start),
    )
