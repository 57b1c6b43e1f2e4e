"""What must hold at each claim and at each end, looked at as it becomes true: by what the records
say, and not by how acron came to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from acron.model import RunState, SkipReason
from acron.runtime.claim import Decider
from acron.runtime.record import settle
from acron.stores.dead import DIED, is_unsent
from acron.testing.simulation import oracle
from acron.testing.simulation.people import named
from acron.testing.simulation.process import LEASE
from acron.timetable import TICK, fire_at, timetable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from acron.abc import Decide
    from acron.model import Decision, Due, Job, Run, Skip
    from acron.schedules import Schedule
    from acron.stores.book import Book
    from acron.testing.simulation.process import Process
    from acron.testing.simulation.world import World

RUNNING, PENDING = RunState.RUNNING, RunState.PENDING


#: Seconds that an answer of a store may be old by, when it comes: it was slow, or lost.
_OLD_NEWS = 120.0


class Watch:
    """The eyes of a world on its claims and ends."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._owners: dict[str, str | None] = {}  # the nodes that have claimed each run
        self._claiming: dict[str, datetime] = {}  # processes that are at it, since when by theirs
        self.settled: dict[str, Run] = {}  # whose ends a recovery wrote
        self.doubted: list[Kept] = []  # before prunes of which nobody has heard the end
        self.deaths: dict[str, float] = {}  # by node, on the clock of the world
        self.heard: set[str] = set()  # runs whose ends a process knows to be durable

    # --- claims

    def claims(self, process: Process) -> None:
        """It begins to, and others may be at it too."""
        self._claiming[process.name] = process.clock.now()

    def decided(self, now: datetime, decide: Decide) -> Decide:
        """``decide`` at ``now``, with an eye on what it makes of what is due."""
        before: list[tuple[datetime, int]] = []

        def deciding(due: Due, mint: Callable[[], int]) -> Decision | None:
            self._has_its_turn(due, before)
            decision = decide(due, mint)
            if isinstance(decide, Decider):
                self._makes_room(due, decision, doubted=bool(decide.doubted))
            if decision is None:
                return None
            if decision.job is not None and due.run is None:
                self.goes_on(due.job, decision.job, due.job.paused_until or now, now)
            for run in decision.runs:
                if run.state is RUNNING and not run.cancel_requested:
                    self._owners[run.id] = run.node
                    self._starts(due, run, now)
            if due.run is None and isinstance(decide, Decider):
                self._is_in_time(due.job, decision, min(now, decide._since))  # noqa: SLF001
            return decision

        return deciding

    def _has_its_turn(self, due: Due, before: list[tuple[datetime, int]]) -> None:
        """I11: the oldest is looked at first, and of one instant what has the highest priority."""
        at = due.job.due_at if due.run is None else due.run.due_at
        if at is None:
            return
        place = at, -due.job.policy.priority
        if before and place < before[0]:
            self._world.broke("I11", f"{due.job.id} has its turn after what comes later")
        before[:] = [place]

    def _makes_room(self, due: Due, decision: Decision | None, *, doubted: bool) -> None:
        """What overlaps is skipped, waits, or has the others told to end, as its job wants it."""
        policy = due.job.policy
        waits = policy.overlap != "skip" or policy.catch_up == "all"
        each = policy.catch_up == "all" and policy.overlap != "replace"
        senseless = {
            SkipReason.OVERLAP: waits,
            SkipReason.COALESCED: each,
            SkipReason.LIMIT: not each,
            SkipReason.PAUSED: due.job.paused is None,
        }
        for skip in () if decision is None else decision.skips:
            if senseless.get(skip.reason):
                self._world.broke("I8", f"{due.job.id} skips what its job does not: {skip.reason}")
            if skip.reason is SkipReason.OVERLAP and all(map(self._is_of_the_dead, due.live)):
                self._world.broke("I11", f"{due.job.id} is skipped for what a dead node ran")
        if decision is not None or policy.overlap != "replace" or doubted:
            return
        going = [run for run in due.live if run.state is RUNNING and not run.cancel_requested]
        if due.run is None and going:
            self._world.broke("I8", f"{due.job.id} is to replace {named(going[0])}, and waits")

    def _is_of_the_dead(self, run: Run) -> bool:
        """Whether its process died so long ago that whoever asked since then was told."""
        died_at = self.deaths.get(run.node or "", math.inf)
        return run.state is RUNNING and self._world.loop.time() - died_at > LEASE + _OLD_NEWS

    def _starts(self, due: Due, run: Run, now: datetime) -> None:
        """I7, I8 and the rest of what a start must not pass over."""
        job, world = due.job, self._world
        late = max((now - run.due_at).total_seconds(), 0.0)
        if run.lateness != late:
            world.broke("I7", f"{named(run)} is {late:g} s late, and says {run.lateness:g}")
        if run.scheduled_at is None or run.batch is not None:
            return
        if job.paused is not None and (job.paused_until is None or now < job.paused_until):
            world.broke("I7", f"{job.id} was claimed while paused: {job.paused}")
        until = job.policy.until
        if until is not None and run.scheduled_at > until:
            world.broke("I8", f"{named(run)} is later than {until}, when the job ends")
        if due.run is None:
            jitter = (run.due_at - run.scheduled_at).total_seconds()
            fine = 0 < jitter < job.policy.jitter if job.policy.jitter else not jitter
            if run.due_at != fire_at(job, run.scheduled_at) or not fine:
                world.broke("I7", f"{named(run)} is due at {run.due_at}, whatever its jitter")
            self._is_alone_of_a_backlog(job, run.scheduled_at, now)

    def goes_on(self, before: Job, job: Job, until: datetime, now: datetime) -> None:
        """I7: a pause ends when it is to, and nothing of what came due in it is owed."""
        if before.paused is None or job.paused is not None or job.state != "scheduled":
            return
        if until > now:
            self._world.broke("I7", f"{job.id} goes on at {now}, and is paused until {until}")
        schedule = timetable(job)
        newest = schedule.last_at(until - TICK) if schedule.recurring else None
        if newest is not None and job.cursor is not None and job.cursor < newest:
            self._world.broke("I7", f"{job.id} goes on, and owes {newest}, when it was paused")

    def _is_alone_of_a_backlog(self, job: Job, instant: datetime, now: datetime) -> None:
        """FAULTS 20, 22: of what is owed the newest starts, or as many as the job allows."""
        if timetable(job).on_start:
            return
        policy, schedule = job.policy, timetable(job)
        if policy.catch_up == "all" and policy.overlap != "replace":
            newest = schedule.last_at(now)
            waits = newest is not None and fire_at(job, newest) > now
            owed = schedule.count(instant - TICK, now) - waits
            self._world.seen["backlog started one by one"] += owed > 1
            if owed > policy.catch_up_limit:
                self._world.broke("I8", f"{job.id} starts the oldest of {owed} instants")
            return
        following = schedule.next_after(instant)
        if following is not None and fire_at(job, following) <= now:
            self._world.broke("I8", f"{job.id} starts {instant}, and {following} is due too")

    def _is_in_time(self, job: Job, decision: Decision, now: datetime) -> None:
        """What is missed is later than its grace, and what is later than that is missed, where the
        job does not catch up. ``now``: what acron made wait is not late."""
        schedule = timetable(job)
        policy = job.policy.catch_up or ("once" if schedule.recurring else "none")
        if job.paused is not None or schedule.on_start:
            return

        def is_late(instant: datetime) -> bool:
            late = (now - fire_at(job, instant)).total_seconds()
            return late > _grace(job, schedule, instant)

        for skip in decision.skips:
            if skip.reason is SkipReason.MISFIRE and not is_late(skip.scheduled_at):
                self._world.broke("I8", f"{job.id} missed {skip.scheduled_at}, within its grace")
        for run in decision.runs:
            at = run.scheduled_at
            starts = run.state is RUNNING and not run.cancel_requested
            if policy == "none" and starts and at is not None and is_late(at):
                self._world.broke("I8", f"{named(run)} started beyond its grace")

    def claimed(self, process: Process, book: Book, decisions: Sequence[Decision]) -> None:
        """The claim is committed."""
        since = self._claiming.pop(process.name, None)
        now = process.clock.now() if since is None else max(process.clock.now(), since)
        runs = [
            (decision.job, run)
            for decision in decisions
            for run in decision.runs
            if run.state is RUNNING and not run.cancel_requested
        ]
        world = self._world
        world.seen["start by a drifting clock"] += bool(runs) and bool(process.clock.drift)
        world.seen["claims race"] += bool(runs) and bool(self._claiming)
        for job, run in runs:
            if job is None or job.id not in book.jobs:
                world.broke("I7", f"{named(run)} was claimed, and its job is gone")
            else:
                if run.due_at > now:
                    world.broke("I7", f"{named(run)} was claimed at {now}")
                self._stands_alone(job, run, book)
                self._is_on_the_lattice(job, run)
        node = process.node if runs and world.script.kind == "database" else None
        if node is not None and world.database.lapsed(node):
            world.broke("I3", f"{named(runs[0][1])} was claimed by a node whose lease has lapsed")

    def _stands_alone(self, job: Job, run: Run, book: Book) -> None:
        """I2: no other run of the job or of its key is live, but for those that may be."""
        key, policy = job.policy.key, job.policy
        others = [
            one
            for opened in book.open.values()
            for one in opened.values()
            if (one.job_id == job.id or (key is not None and one.key == key))
            and one.live
            and one.token < run.token
        ]
        limit = policy.max_running if policy.overlap == "allow" else 1
        self._world.seen["runs overlap"] += bool(others)
        if others and limit is not None and len(others) >= limit:
            self._world.broke("I2", f"{named(run)} was claimed beside {named(others[0])}")

    def _is_on_the_lattice(self, job: Job, run: Run) -> None:
        """I6, by a walk over minutes, for what a wall clock says."""
        at = run.scheduled_at
        if at is None or run.batch is not None or run.attempt > 1:
            return
        world = self._world
        if not oracle.is_counted_out(job.schedule, job.bound, job.tz, at):
            world.broke("I6", f"{named(run)} is no instant of {job.bound} in {job.tz}")
        if oracle.instants(job.schedule, job.tz, at.date()) is None:
            return
        world.seen["start by a wall clock"] += 1
        world.seen["start where the clocks change"] += oracle.is_strange(job.tz, at)
        if not oracle.is_instant(job.schedule, job.tz, at):
            world.broke("I6", f"{named(run)} is no instant of {job.schedule} in {job.tz}")
        self.is_bound(job)

    def is_bound(self, job: Job) -> None:
        """I6: what a job that is on time fires next is what the wall clock says."""
        policy = job.policy
        if policy.jitter or policy.until or job.state != "scheduled" or job.cursor is None:
            return
        following = oracle.next_after(job.schedule, job.tz, job.cursor)
        if following is not None and job.next_fire_at != following:
            how = f"{job.id} fires next at {job.next_fire_at}, and not at {following}"
            self._world.broke("I6", how)

    # --- ends

    def ended(self, process: Process, decisions: Sequence[Decision | None]) -> None:
        """Tell what became of runs. How they were judged is seen as it is done (`ends.judged`)."""
        world = self._world
        for decision in decisions:
            if decision is None:
                world.happened(f"{process.name} writes an end too late")
                world.seen["stale end refused"] += 1
                continue
            self.heard.update(run.id for run in decision.runs if run.state.ended)
            for run in decision.runs:
                again = "" if run.state.ended else f" until {run.due_at:%H:%M:%S}"
                world.happened(f"{process.name}: {named(run)} is {run.state}{again}")
            for skip in decision.skips:
                world.happened(f"{process.name}: {skip.job_id} is skipped: {skip.reason}")

    def waits_by_another_clock(self, run: Run) -> bool:
        """Whether somebody who has died has told when a message is to be sent again, by a clock
        that was ahead: its heir has nothing else to go by."""
        now = self._world.now()
        at = [one.retry_at for one in run.deliveries if one.state == "pending"]
        inherited = run.node != self._owners.get(run.id)
        return inherited and all(one is not None and one > now for one in at)

    def recovered(self, process: Process, decisions: list[Decision]) -> None:
        """I2: the runs of a node are ended by others only once it is proven dead."""
        world = self._world
        for run in (run for decision in decisions for run in decision.runs[:1]):
            if run.state.ended and run.error != DIED.error:
                world.happened(f"{process.name} inherits what {run.id} has to deliver")
        self.ended(process, [one for one in decisions if _ends_now(one)])
        for run in (run for decision in decisions for run in decision.runs):
            if run.id in self.settled:
                continue  # what it has to deliver was taken over
            if run.state.ended:
                self.settled[run.id] = run
            owner = self._owners.get(run.id)
            if run.error != DIED.error or owner is None:
                continue
            alive = any(one.up and one.node == owner for one in world.processes.values())
            lapsed = world.script.kind == "database" and world.database.lapsed(owner)
            world.seen["run lost with its lease"] += alive and lapsed
            if alive and not lapsed:
                world.broke("I2", f"{run.id} was ended, and its process lives")

    def is_recovered(self, book: Book, dead: Callable[[str], bool], node: str | None) -> None:
        """I9: a second recovery would find nothing to settle, nor to take over."""
        if again := book.recover(self._world.now(), settle, dead, node).ids:
            self._world.broke("I9", f"a second recovery settles {len(again)} more")


def _grace(job: Job, schedule: Schedule, instant: datetime) -> float:
    """Seconds that an instant may be late by: half its period, from 120 s to 2 h; of what comes
    once, a day."""
    if job.policy.grace is not None:
        return job.policy.grace
    if not schedule.recurring:
        return 86_400.0
    following = schedule.next_after(instant)
    half = 7200.0 if following is None else (following - instant).total_seconds() / 2
    return min(max(half, 120.0), 7200.0)


def _ends_now(decision: Decision) -> bool:
    """Whether it ends a run, and does not only take over what an ended one has to deliver."""
    return not decision.runs or decision.runs[0].error == DIED.error


class Kept:
    """What a ledger holds just before it is pruned, to be compared with what it holds after."""

    def __init__(self, book: Book, before: datetime, keep: int) -> None:
        self._before, self._keep = before, keep
        self._runs, self._skips = dict(book.runs), list(book.skips)
        self._rest = (dict(book.jobs), dict(book.pending))

    def compare(self, world: World, book: Book) -> None:
        """FAULTS 51: what ended long ago is gone, or is more than is kept; and nothing else."""
        gone = [run for run in self._runs.values() if run.id not in book.runs]
        lost = [skip for skip in self._skips if skip not in book.skips]
        world.seen["pruned"] += len(gone) + len(lost)
        if (dict(book.jobs), dict(book.pending)) != self._rest:
            world.broke("I10", "jobs or what waits have changed with a prune")
        for run in gone:
            if not self._may_go(run):
                world.broke("I10", f"{named(run)} was pruned, and is {run.state}")
        for skip in lost:
            if not self._may_be_forgotten(skip):
                world.broke("I10", f"a skip of {skip.job_id} was pruned: {skip.scheduled_at}")
        world.eras.forgotten(gone, lost)

    def look(self, world: World, book: Book) -> None:
        """Whether it was done all the same."""
        gone = [run for run in self._runs.values() if run.id not in book.runs]
        gone = [run for run in gone if not world.eras.has_pruned(run) and self._may_go(run)]
        lost = [skip for skip in self._skips if gone and skip not in book.skips]
        world.eras.forgotten(gone, lost)

    def _may_go(self, run: Run) -> bool:
        old = run.finished_at is not None and run.finished_at < self._before
        many = self._newer(run) >= self._keep and not is_unsent(run)
        return run.state.ended and (old or many)

    def _may_be_forgotten(self, skip: Skip) -> bool:
        newer = self._skips[self._skips.index(skip) + 1 :]
        many = sum(one.job_id == skip.job_id for one in newer) >= self._keep
        return many or (skip.recorded_at or skip.scheduled_at) < self._before

    def _newer(self, run: Run) -> int:
        mine = [one for one in self._runs.values() if one.job_id == run.job_id]
        return sum(one.state.ended and one.token > run.token for one in mine)
