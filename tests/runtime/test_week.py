"""A week of fifty jobs on which everything befalls at once: each instant has exactly one fate.

Durations, failures, overlaps of all four kinds, keys, pauses with and without an end, retries,
outages and clock jumps are drawn from the seed. The lattice of each job is walked here, instant
by instant, and compared with what the ledger says became of each.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Context
from acron.errors import AcronError
from acron.model import RunState, Settings, SkipReason
from acron.stores.memory import MemoryStore
from acron.testing import virtual_time
from acron.timetable import timetable

if TYPE_CHECKING:
    from datetime import datetime

    from acron.model import Job, Occurrence, Run
    from acron.testing import VirtualTime

SEEDS, CHUNKS, JOBS = 200, 10, 50
DAY, HOUR = 86400.0, 3600.0
#: Every fate that is to be met among a few seeds.
FATES = {
    *(RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT),
    *(RunState.CANCELLED, RunState.INTERRUPTED),
    *(f"skipped {reason}" for reason in SkipReason if reason is not SkipReason.CHANGED),
    *("owed", "paused"),
}
_SCHEDULES = (
    "every 17h",
    "every 24h",
    "0 */12 * * *",
    "0 5 * * *",
    "weekdays at 9am",
    "0 0 9 ? * MON-FRI 2026",
    "every 30h",
)
_POLICIES: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("overlap", ("skip", "queue", "replace", "allow")),
    ("catch_up_limit", (100, 2)),
    ("catch_up", (None, "once", "none", "all")),
    ("key", (None, None, "one", "two")),
    ("max_running", (None, 1, 2)),
    ("retry", (None, None, {"attempts": 3, "delay": 1800})),
    ("timeout", (None, None, 4 * HOUR)),
    ("jitter", (0, 0, 1200)),
    ("repeat", (None, None, None, 6)),
    ("pause_after", (None, None, 3)),
    ("grace", (None, 60)),
    ("priority", (0, 1)),
)


class Week:
    """One seed. ``started`` counts what really ran, ``fates`` names what was seen, ``beside``
    the runs that began while their lane was taken."""

    def __init__(self, seed: int, time: VirtualTime) -> None:
        self.random = random.Random(seed)
        self.time = time
        self.store = MemoryStore()
        self.going: Counter[str] = Counter()
        self.beside: list[str] = []
        self.fates: set[str] = set()
        self.started: Counter[tuple[str, object]] = Counter()

    def program(self) -> Acron:
        settings = Settings(catch_up_rate=self.random.choice((0, 0.01, 50)), interval=14400)
        app = Acron(self.store, clock=self.time.clock, settings=settings, drain_timeout=0)

        @app.action
        async def work(ctx: Context) -> None:
            if ctx.scheduled_at is not None:
                self.started[ctx.job.id, (ctx.scheduled_at, ctx.attempt)] += 1
            lane = ctx.job.policy.key or ctx.job.id
            if self.going[lane] and ctx.job.policy.overlap != "allow":
                self.beside.append(ctx.run_id)
            self.going[lane] += 1
            try:
                await asyncio.sleep(self.random.choice((0, 0, 60, 2 * HOUR, 30 * HOUR)))
            finally:
                self.going[lane] -= 1
            if self.random.random() < 0.3:
                raise ValueError

        @app.action
        async def relevant() -> bool:
            return self.random.random() < 0.8

        return app

    def job(self, number: int) -> dict[str, Any]:
        drawn = {name: self.random.choice(values) for name, values in _POLICIES}
        if drawn["overlap"] != "allow":
            del drawn["max_running"]
        if self.random.random() < 0.2:
            drawn["still_relevant"] = "relevant"
        schedule = self.random.choice((*_SCHEDULES, f"in {self.random.randrange(1, 160)}h"))
        return {"id": f"j{number:02}", "schedule": schedule, "action": "work", **drawn}

    async def live(self) -> None:
        left = 7 * DAY
        app = self.program()
        async with app:
            self.begun = self.time.now()
            await app.add_many(self.job(number) for number in range(JOBS))
        while left > 0:
            served = min(self.random.uniform(2 * HOUR, 2 * DAY), left)
            left -= served
            async with app:
                await self.serve(app, served)
            if self.random.random() < 0.7:
                out = self.random.choice((60.0, 5 * HOUR, 30 * HOUR))
                left -= out
                self.time.jump_clock(out)
        async with app:
            await self.time.settle()
            await self.check(app)

    async def serve(self, app: Acron, seconds: float) -> None:
        for _ in range(3):
            await self.time.advance(seconds / 3)
            await self.meddle(app)

    async def meddle(self, app: Acron) -> None:
        ref = f"j{self.random.randrange(JOBS):02}"
        match self.random.randrange(7):
            case 0:
                await app.pause(ref)
            case 1:
                await app.pause(ref, until=self.time.now() + timedelta(hours=7, minutes=30))
            case 2:
                await app.resume(ref)
            case 3:
                await app.pause_all(until=self.time.now() + timedelta(hours=5))
            case 4:
                await app.resume_all()
            case 5:
                self.time.jump_clock(HOUR)
            case 6:
                try:
                    await app.run_now(ref)
                except AcronError:  # it is running
                    await app.resume_all()

    async def check(self, app: Acron) -> None:
        now = self.time.now()
        assert self.beside == []
        assert {key: count for key, count in self.started.items() if count > 1} == {}
        async for job in app.jobs():
            runs = await app.runs(job.id, limit=1000)
            fates = await app.occurrences(job.id, self.begun, now)
            self.fates |= {f"{fate.fate} {fate.reason or ''}".strip() for fate in fates}
            wrong = accounted(job, runs, fates, self.begun, now)
            assert not wrong, "\n".join([str(job), *wrong])


def accounted(
    job: Job, runs: list[Run], fates: list[Occurrence], since: datetime, until: datetime
) -> list[str]:
    """What is wrong with the ledger of a job."""
    lattice = list(walk(job, since, until))
    wrong = []
    said: Counter[datetime] = Counter()
    for fate in fates:
        first = fate.first_at or fate.scheduled_at
        covered = [at for at in lattice if first <= at <= fate.scheduled_at]
        if len(covered) != fate.count:
            wrong.append(f"{fate} covers {len(covered)} instants")
        said.update(covered)
    over = job.policy.repeat is not None and job.fired >= job.policy.repeat
    for at in lattice:
        beyond = over and job.cursor is not None and at > job.cursor
        if said[at] != (0 if beyond else 1):
            wrong.append(f"{at} has {said[at]} fates")
    attempts = Counter((run.scheduled_at, run.attempt) for run in runs if run.scheduled_at)
    wrong += [f"{key} ran {count} times" for key, count in attempts.items() if count > 1]
    return wrong


def walk(job: Job, since: datetime, until: datetime) -> Any:
    schedule, at = timetable(job), since
    while (following := schedule.next_after(at)) is not None and following < until:
        yield following
        at = following


@pytest.fixture
def _quick(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each run that fails is nobody's to read."""
    caplog.set_level(logging.CRITICAL, "acron")


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_instant_of_the_week_has_exactly_one_fate(chunk: int) -> None:
    seen: set[str] = set()
    for seed in range(chunk, SEEDS, CHUNKS):
        with virtual_time() as time:
            week = Week(seed, time)
            asyncio.run(week.live())
            seen |= week.fates
    assert seen >= FATES  # else this proves less than it says
