"""I1 and I6: which schedule a job had from when to when, and that each of its instants has exactly
one fate. Known exactly, because each change of a schedule is seen as it becomes true."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from acron import timetable
from acron.occurrences import ALL, History, occurrences
from acron.timetable import TICK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from acron.model import Decision, Job, Occurrence, Run, Skip
    from acron.schedules import Schedule
    from acron.stores.book import Book
    from acron.testing.simulation.world import World


class Era(NamedTuple):
    """From one change of a job's schedule to the next. ``began`` is where it stood then: what
    comes after is owed. ``runs`` and ``skips`` are what was told before."""

    revision: int
    timing: tuple[object, ...]
    began: datetime
    runs: frozenset[str]
    skips: tuple[Skip, ...]


class Bound(NamedTuple):
    """What somebody wanted to make of a job, and of what; it may never have become true."""

    job: Job
    old: Job | None
    now: datetime


class Eras:
    """Of all jobs of a world. ``look`` is called whenever one may have changed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.current: dict[str, Era] = {}
        self._past: dict[str, list[Era]] = {}
        self._bound: dict[tuple[str, int, tuple[object, ...]], Bound] = {}
        self._job: dict[str, Job] = {}  # as last seen
        self.pruned: dict[str, Run] = {}  # what retention has taken out, by id
        self._pruned_skips: list[Skip] = []

    def bind(self, new: Job, old: Job | None, now: datetime, *, past: bool = False) -> Decision:
        """`timetable.bind`, overheard."""
        decision = timetable.bind(new, old, now, past=past)
        if (job := decision.job) is not None and (old is None or _timing(job) != _timing(old)):
            self._bound[job.id, job.revision, _timing(job)] = Bound(job, old, now)
        elif job is not None and old is not None:
            self._world.watch.goes_on(old, job, now, now)
        return decision

    def look(self, book: Book) -> None:
        """``book`` is the truth just now."""
        for job_id in self._job.keys() - book.jobs.keys():
            job = self._job.pop(job_id)
            self._close(book, job, job.cursor)
        for job_id, job in book.jobs.items():
            if job is self._job.get(job_id):
                continue
            before = self._job.get(job_id)
            self._job[job_id] = job
            era = self.current.get(job_id)
            if before is not None and before.bound != job.bound and _timing(before) == _timing(job):
                self._world.broke("I6", f"{job_id} counts from elsewhere: {job.bound}")
            if era is None or (era.revision != job.revision and era.timing != _timing(job)):
                self._turn(book, job)

    def _turn(self, book: Book, job: Job) -> None:
        """The job has another schedule than it had."""
        timing = _timing(job)
        bound = self._bound.get((job.id, job.revision, timing))
        if job.id in self.current and bound is not None and bound.old is not None:
            self._close(book, bound.old, _dealt_with(bound.old, bound.now))
        if bound is not None:
            self._begins_now(bound)
        told = self._told(book, job.id)
        self.current[job.id] = Era(
            job.revision,
            timing,
            (job if bound is None else bound.job).cursor or self._world.start,
            frozenset(run.id for run in told.runs),
            tuple(told.skips),
        )
        self._world.watch.is_bound(job)

    def _begins_now(self, bound: Bound) -> None:
        """I1: what a schedule has yet to tell begins when it is bound; or after what was fired by
        then, by a clock that is ahead."""
        job, old = bound.job, bound.old
        began = max(bound.now, (old and old.last_fire_at) or bound.now)
        if job.cursor is not None and job.cursor > began:
            self._world.broke("I1", f"{job.id} begins at {job.cursor}, and not at {bound.now}")

    def _close(self, book: Book, job: Job, end: datetime | None) -> None:
        """Up to ``end``, all instants of the era must have been told."""
        era = self.current.pop(job.id)
        self._past.setdefault(job.id, []).append(era)
        if end is not None:
            over = replace(job, completed=True, error=None)  # nothing of it comes any more
            told = self._told(book, job.id)._replace(job=over)
            self.check(era, told, end + TICK, f"until {end:%dT%H:%M:%S}, ")

    def forgotten(self, runs: list[Run], skips: list[Skip]) -> None:
        """Retention has taken them out: they have been all the same."""
        self.pruned.update({run.id: run for run in runs})
        self._pruned_skips.extend(skips)

    def is_older(self, job_id: str, token: int) -> bool:
        """Whether the run of that token was told before the schedule in force."""
        era = self.current.get(job_id)
        return era is not None and f"r{token}" in era.runs

    def has_pruned(self, run: Run) -> bool:
        """Whether another run of its instant was taken out."""
        gone = ((one.job_id, one.scheduled_at) for one in self.pruned.values())
        return (run.job_id, run.scheduled_at) in gone

    def whole(self, told: History, job_id: str) -> History:
        """``told`` of that job, and what is there no more."""
        ids = {run.id for run in told.runs}
        runs = [run for run in self.pruned.values() if run.job_id == job_id and run.id not in ids]
        skips = [one for one in self._pruned_skips if one.job_id == job_id]
        skips = [one for one in skips if one not in told.skips]
        return told._replace(runs=runs + told.runs, skips=skips + told.skips)

    def _told(self, book: Book, job_id: str) -> History:
        runs = book.list_runs(job_id, None, None, ALL)
        skips = book.list_skips(job_id, ALL)
        return self.whole(History(book.jobs.get(job_id), runs[::-1], skips[::-1]), job_id)

    def power_is_back(self, book: Book) -> None:
        """What was not on the disk has not been."""
        self._job = dict(book.jobs)
        for job_id in self.current.keys() - book.jobs.keys():
            del self.current[job_id]
        for job_id, job in book.jobs.items():
            known = [*self._past.get(job_id, ()), self.current.get(job_id)]
            while known and (known[-1] is None or known[-1].timing != _timing(job)):
                known.pop()
            if known:
                self.current[job_id] = known[-1]

    def check(self, era: Era, told: History, until: datetime, when: str = "") -> None:
        """Each instant of the era has one fate."""
        job = told.job
        assert job is not None
        skips = list(told.skips)
        for skip in era.skips:  # each once: a clock that was ahead may have told the same before
            if skip in skips:
                skips.remove(skip)
        schedule = timetable.timetable(job)
        # What is tried again in this era may have begun in the one before.
        before = {run.scheduled_at for run in told.runs if run.id in era.runs}
        runs = [
            run
            for run in told.runs
            if not (run.id in era.runs or (run.attempt > 1 and run.scheduled_at in before))
            or _ran_ahead(run, era, until, schedule, skips)
        ]
        mine = told._replace(runs=runs, skips=skips)
        since = era.began + TICK  # the instant at which it is made is not owed
        rows = occurrences(mine, self._world.now(), since, until)
        if wrong := _miscounted(rows, schedule, since, until):
            self._world.broke("I1", f"{job.id}: {when}{wrong}")


def _ran_ahead(
    run: Run, era: Era, until: datetime, schedule: Schedule, skips: Sequence[Skip]
) -> bool:
    """Whether a run from before the era is what is told of an instant in it: by a clock that was
    ahead it ran already, and does not run again."""
    at = run.scheduled_at
    if at is None or not era.began < at < until or schedule.next_after(at - TICK) != at:
        return False
    return not any(
        (skip.first_at or skip.scheduled_at) <= at <= skip.scheduled_at for skip in skips
    )


def _dealt_with(old: Job, now: datetime) -> datetime | None:
    """Up to where the instants of a schedule are told when it is changed at ``now``."""
    if old.completed or old.error is not None or old.cursor is None:
        return old.cursor
    return max(old.cursor, timetable.timetable(old).last_at(now) or old.cursor)


def _timing(job: Job) -> tuple[object, ...]:
    policy = job.policy
    bounds = (policy.gap, policy.fold, policy.start, policy.until, policy.jitter)
    return (job.schedule, job.tz, *bounds, job.created_at)


def _miscounted(
    rows: Sequence[Occurrence], schedule: Schedule, since: datetime, until: datetime
) -> str:
    """Why ``rows`` are not each instant of ``schedule`` once; nothing if they are. Counted, not
    enumerated: a clock that jumps by a year leaves half a million instants in one row."""
    end = since - TICK
    for row in rows:
        first = row.first_at or row.scheduled_at
        if first <= end:
            return f"{first} is there twice"
        if missing := schedule.count(end, first - TICK):
            return f"{missing} instants after {end} are nowhere"
        there = schedule.count(first - TICK, row.scheduled_at)
        if there != row.count or schedule.next_after(first - TICK) != first:
            return f"{first} to {row.scheduled_at} are not {row.count} instants"
        end = row.scheduled_at
    if missing := schedule.count(end, until - TICK):
        return f"{missing} instants after {end} are nowhere"
    return ""
