"""Take what is owed: the pure decision, made inside the store's transaction."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.contain import text_of
from acron.model import Decision, Due, Job, Run, RunState, Skip, SkipReason
from acron.runtime.due import owed
from acron.text import one_line
from acron.timetable import fire_at, timetable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from acron.runtime.due import Owed
    from acron.schedules import Schedule

log = logging.getLogger("acron.runtime")

RUNNING = RunState.RUNNING  # an enum's member costs a look-up each time


class Decider:
    """``decide`` for one claim.

    ``alive`` are the nodes known to live: another's run counts as live only if its node does.
    ``held`` counts what was left owed, ``doubted`` names the nodes whose runs were in the way
    and that nobody has proven alive: until then an instant waits, and is not skipped.
    """

    __slots__ = ("_alive", "_node", "_now", "_since", "doubted", "held")

    def __init__(
        self, now: datetime, since: datetime, node: str, alive: Collection[str] = ()
    ) -> None:
        self._now = now
        self._since = since
        self._node = node
        self._alive = {node, *alive}
        self.held = 0
        self.doubted: set[str] = set()

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
        """A retry or a manual run: it waits for others, and is never skipped. By hand (also of a
        backfill) it runs while the job is paused."""
        if job.paused is not None and run.scheduled_at is not None and run.batch is None:
            return None
        others = tuple(one for one in live if one.id != run.id)
        if not _room(job, others):
            self._doubt(others)
            return None
        started = replace(
            run,
            state=RUNNING,
            token=mint(),
            node=self._node,
            started_at=self._now,
            lateness=self._lateness(run.due_at),
        )
        return Decision(job, runs=(started,))

    def _instant(self, job: Job, live: tuple[Run, ...], mint: Callable[[], int]) -> Decision | None:
        try:
            schedule = timetable(job)
            due = owed(job, schedule, self._now, self._since)
        except Exception as error:  # noqa: BLE001 (a calendar that fails stops no sibling)
            why = one_line(text_of(error))
            log.error("job %s: no next instant can be computed: %s", job.id, why)  # noqa: TRY400
            return Decision(replace(job, error=why))
        if due.instant is None:
            return Decision(_advanced(job, schedule, due), skips=due.skips)
        if job.policy.repeat is not None and job.fired >= job.policy.repeat:
            return Decision(replace(job, next_fire_at=None, completed=True))
        if not _room(job, live):
            if self._doubt(live):
                return None
            return self._overlap(job, schedule, due)
        token = mint()
        due_at = fire_at(job, due.instant)
        run = Run(
            id=f"r{token}",
            job_id=job.id,
            due_at=due_at,
            scheduled_at=due.instant,
            state=RUNNING,
            token=token,
            node=self._node,
            started_at=self._now,
            lateness=self._lateness(due_at),
        )
        started = _advanced(job, schedule, due, started=due.instant)
        return Decision(started, runs=(run,), skips=due.skips)

    def _overlap(self, job: Job, schedule: Schedule, due: Owed) -> Decision | None:
        if due.instant is None or job.policy.overlap != "skip" or job.policy.catch_up == "all":
            return None
        missed = Skip(
            job_id=job.id,
            scheduled_at=due.instant,
            reason=SkipReason.OVERLAP,
            recorded_at=self._now,
        )
        return Decision(_advanced(job, schedule, due), skips=(*due.skips, missed))

    def _doubt(self, live: tuple[Run, ...]) -> bool:
        """Whether some of these runs belong to a node that may be dead."""
        doubted = {
            run.node
            for run in live
            if run.state is RUNNING and run.node and run.node not in self._alive
        }
        self.doubted |= doubted
        return bool(doubted)

    def _lateness(self, due_at: datetime) -> float:
        late = (self._now - due_at).total_seconds()
        return late if late > 0 else 0.0


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
