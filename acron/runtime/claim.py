"""Take what is owed: the pure decision, made inside the store's transaction."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from acron import incidents
from acron.contain import text_of
from acron.model import Decision, Due, Job, Run, RunState, Skip, SkipReason
from acron.runtime.due import owed
from acron.runtime.watchdog import excuse
from acron.text import one_line
from acron.timetable import fire_at, pause_over, timetable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from acron.runtime.due import Owed
    from acron.runtime.watchdog import Block
    from acron.schedules import Schedule

log = logging.getLogger("acron.runtime")

RUNNING = RunState.RUNNING  # an enum's member costs a look-up each time
#: What a run is told that has to make room.
REPLACED = "replaced by a newer occurrence"
#: So many instants from before an outage start at once; what is more is spread.
AT_ONCE = 10


class Spread:
    """The starts of what an outage left owed: ``AT_ONCE`` of them, then ``rate`` a second.

    One for each time that acron begins to serve. A slot that a failed transaction took is lost:
    one start comes a little later.
    """

    __slots__ = ("_at_once", "_slot", "_step")

    def __init__(self, rate: float) -> None:
        self._at_once = AT_ONCE
        self._step = timedelta(seconds=1 / rate)
        self._slot: datetime | None = None

    def start_at(self, now: datetime) -> datetime:
        """When the next of them may start: ``now``, or later."""
        slot = now
        if self._at_once:
            self._at_once -= 1
        elif self._slot is not None and self._slot > now:
            slot = self._slot
        self._slot = slot + self._step
        return slot


class Decider(Struct, eq=False):
    """``decide`` for one claim.

    ``since`` is when acron began to serve; what was due before is spread, if there is a
    ``spread``. ``alive`` are the nodes known to live: another's run counts as live only if its
    node does.
    ``held`` counts what was left owed, ``doubted`` names the nodes whose runs were in the way
    and that nobody has proven alive: until then an instant waits, and is not skipped.
    """

    now: datetime
    since: datetime
    node: str
    alive: Collection[str] = ()
    spread: Spread | None = None
    blocks: tuple[Block, ...] = ()
    held: int = 0
    doubted: set[str] = set()

    def __call__(self, due: Due, mint: Callable[[], int]) -> Decision | None:
        job, run = due.job, due.run
        if run is None:
            decision = self._instant(job, due.live, mint)
        else:
            decision = self._pending(job, run, due.live, mint)
        if decision is None:
            self.held += 1
            return None
        if self.blocks:
            decision = self._excused(decision)
        if run is None and (job.incidents or decision.skips):
            decision = self._incidents(job, decision)
        return decision

    def _excused(self, decision: Decision) -> Decision:
        runs = tuple(
            replace(run, note=note)
            if run.state is RUNNING and (note := excuse(self.blocks, run.due_at))
            else run
            for run in decision.runs
        )
        return replace(decision, runs=runs)

    def _incidents(self, old: Job, decision: Decision) -> Decision:
        """What fires is absent no more; a one-shot that was missed does not come again."""
        job = decision.job
        if job is None:
            return decision
        if decision.runs:
            job = incidents.resolved(job, self.now, "absence")
        for skip in decision.skips:
            if skip.reason is SkipReason.MISFIRE and job.completed and not old.completed:
                why = f"missed: {skip.scheduled_at.isoformat()} was later than its grace"
                job = incidents.opened(job, "misfire", why, self.now)
        return decision if job is decision.job else replace(decision, job=job)

    def _pending(
        self, job: Job, run: Run, live: tuple[Run, ...], mint: Callable[[], int]
    ) -> Decision | None:
        """A retry or a manual run: it waits for others, and is never skipped. By hand (also of a
        backfill) it runs while the job is paused."""
        if job.paused is not None and run.scheduled_at is not None and run.batch is None:
            return None
        others = tuple(one for one in live if one.id != run.id)
        if not _room(job, others):
            if not self._doubt(others) and job.policy.overlap == "replace" and not run.live:
                return self._replace(job, others)
            return None
        started = replace(
            run,
            state=RUNNING,
            token=mint(),
            node=self.node,
            started_at=self.now,
            lateness=self._lateness(run.due_at),
            key=job.policy.key,
        )
        return Decision(job, runs=(started,))

    def _instant(self, job: Job, live: tuple[Run, ...], mint: Callable[[], int]) -> Decision | None:
        try:
            if job.paused is not None:
                return pause_over(job, self.now)
            schedule = timetable(job)
            due = owed(job, schedule, self.now, self.since)
        except Exception as error:  # noqa: BLE001 (a calendar that fails stops no sibling)
            why = one_line(text_of(error))
            log.error("job %s: no next instant can be computed: %s", job.id, why)  # noqa: TRY400
            return Decision(replace(job, error=why))
        if due.instant is None or (due.instant == job.last_fire_at and not schedule.on_start):
            # It has run, by a clock that an edit since then did not believe. (acron may start twice
            # at one instant of virtual time.)
            return Decision(_advanced(job, schedule, due), skips=due.skips)
        policy, now = job.policy, self.now
        if policy.repeat is not None and job.fired >= policy.repeat:
            return Decision(replace(job, next_fire_at=None, completed=True))
        if live and not _room(job, live):
            if self._doubt(live):
                return None
            if policy.overlap == "replace":
                return self._replace(job, live)
            return self._overlap(job, schedule, due)
        if due.instant < self.since and self.spread is not None:
            start_at = self._put_off(job, schedule, self.spread)
            if start_at > now:
                return Decision(replace(job, next_fire_at=start_at))
        token = mint()
        due_at = fire_at(job, due.instant) if policy.jitter else due.instant
        run = Run(
            id=f"r{token}",
            job_id=job.id,
            due_at=due_at,
            scheduled_at=due.instant,
            state=RUNNING,
            token=token,
            node=self.node,
            started_at=now,
            lateness=self._lateness(due_at),
            key=policy.key,
        )
        started = _advanced(job, schedule, due, started=due.instant)
        return Decision(started, runs=(run,), skips=due.skips)

    def _put_off(self, job: Job, schedule: Schedule, spread: Spread) -> datetime:
        """When a missed instant may start. Its row is touched once: whoever was put off has had
        its turn when it comes up again, also under the next process."""
        first = None if job.cursor is None else schedule.next_after(job.cursor)
        due = job.next_fire_at
        if first is None or (due is not None and due > fire_at(job, first)):
            return self.now
        return spread.start_at(self.now)

    def _replace(self, job: Job, live: tuple[Run, ...]) -> Decision | None:
        """Ask what is in the way to end. Until it has, the instant stays owed."""
        told = tuple(
            replace(run, cancel_requested=True, error=REPLACED)
            if run.state is RUNNING
            else replace(run, state=RunState.CANCELLED, finished_at=self.now, error=REPLACED)
            for run in live
            if not run.cancel_requested
        )
        return Decision(job, runs=told) if told else None

    def _overlap(self, job: Job, schedule: Schedule, due: Owed) -> Decision | None:
        if due.instant is None or job.policy.overlap != "skip" or job.policy.catch_up == "all":
            return None
        missed = Skip(
            job_id=job.id,
            scheduled_at=due.instant,
            reason=SkipReason.OVERLAP,
            recorded_at=self.now,
        )
        return Decision(_advanced(job, schedule, due), skips=(*due.skips, missed))

    def _doubt(self, live: tuple[Run, ...]) -> bool:
        """Whether some of these runs belong to a node that may be dead."""
        doubted = {
            node
            for run in live
            if run.state is RUNNING and (node := run.node) and node != self.node
            if node not in self.alive
        }
        self.doubted |= doubted
        return bool(doubted)

    def _lateness(self, due_at: datetime) -> float:
        return (self.now - due_at).total_seconds() if self.now > due_at else 0.0


def _room(job: Job, live: tuple[Run, ...]) -> bool:
    if not live:
        return True
    limit = job.policy.max_running
    return job.policy.overlap == "allow" and (limit is None or len(live) < limit)


def _advanced(job: Job, schedule: Schedule, due: Owed, *, started: datetime | None = None) -> Job:
    """The job past ``due``. An ``@reboot`` has nothing following, and stays scheduled."""
    policy = job.policy
    fired = job.fired + (started is not None)
    over = policy.repeat is not None and fired >= policy.repeat
    following = None if over else due.following
    if following is not None and policy.jitter:
        next_fire_at: datetime | None = fire_at(job, following)
    else:
        next_fire_at = following
    return replace(
        job,
        cursor=due.cursor,
        next_fire_at=next_fire_at,
        last_fire_at=started or job.last_fire_at,
        fired=fired,
        completed=over or (following is None and not schedule.on_start),
    )
