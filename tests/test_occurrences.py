"""Every instant has exactly one fate (invariant I1), told from the ledger and the schedule."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from acron import Acron, Command, JobNotFound, Retry
from acron.model import Decision, Job, Occurrence, Policy, Run, RunState, Skip, SkipReason
from acron.occurrences import History, occurrences
from acron.specs import Call
from acron.stores.memory import MemoryStore
from acron.timetable import TICK, bind, timetable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acron.schedules import Schedule
    from acron.testing import VirtualTime

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def instants(rows: Sequence[Occurrence], schedule: Schedule) -> Counter[datetime]:
    """Rows taken apart into the instants that they stand for."""
    found: Counter[datetime] = Counter()
    for row in rows:
        first = row.first_at or row.scheduled_at
        span = schedule.upcoming(first - TICK, row.count)
        assert span[-1] == row.scheduled_at, row
        found.update(span)
    return found


def lattice(schedule: Schedule, since: datetime, until: datetime) -> list[datetime]:
    count = schedule.count(since - TICK, until - TICK)
    return schedule.upcoming(since - TICK, count)


class Host:
    """A program with one job, and a script of what happens to it."""

    def __init__(self, seed: int, acron_time: VirtualTime) -> None:
        self.random = random.Random(seed)
        self.time = acron_time
        self.store = MemoryStore()
        self.seen: Counter[str] = Counter()

    async def work(self) -> None:
        mood = self.random.random()
        await asyncio.sleep(self.random.choice([0.1, 5, 200]))
        if mood < 0.3:
            raise ValueError("one of those days")

    def app(self) -> Acron:
        app = Acron(self.store, clock=self.time.clock, drain_timeout=1.0)
        app.action(self.work)
        return app

    async def live(self, events: int, policy: dict[str, Any]) -> None:
        """Play ``events`` of them; the program is closed at the end, as after a stop."""
        async with self.app() as app:
            await app.add("every 1m", self.work, id="job", **policy)
        while events > 0:
            async with self.app() as app:
                for _ in range(self.random.randint(1, 4)):
                    events -= 1
                    await self.happen(app)
            outage = self.random.choice([0, 30, 400, 4000, 200_000])
            self.time.jump_clock(outage)

    async def happen(self, app: Acron) -> None:
        what = self.random.choice(["pause", "resume", "run", "fill", "wait", "wait", "wait"])
        if what == "pause":
            await app.pause("job")
        elif what == "resume":
            await app.resume("job")
        elif what == "run" and not await app.runs("job", state="running"):
            await app.store.write(["job"], self.manual(app), self.time.now())
        elif what == "fill":
            now = self.time.now()
            again = self.random.random() < 0.3
            begun = await app.backfill("job", now - 20 * MINUTE, now, again=again)
            self.seen["filled"] += begun.runs
        await self.time.advance(self.random.choice([1.0, 59.5, 150, 700]))

    def manual(self, app: Acron) -> Any:
        now = self.time.now()

        def change(_: str, job: Job | None, __: Sequence[Run], mint: Any) -> Decision:
            return Decision(job, runs=(Run(id=f"r{mint()}", job_id="job", due_at=now),))

        return change


POLICIES: tuple[dict[str, Any], ...] = (
    {},
    {"catch_up": "none", "grace": 30},
    {"catch_up": "all", "catch_up_limit": 5},
    {"overlap": "queue", "retry": Retry(attempts=3, delay=50)},
    {"overlap": "allow", "retry": 2, "jitter": 20},
    {"idempotent": True, "pause_after": 2, "retry": Retry(attempts=2, delay=20)},
    {"catch_up": "all", "overlap": "queue", "idempotent": True},
)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("seed", range(6))
async def test_every_instant_has_exactly_one_fate(
    acron_time: VirtualTime, seed: int, policy: dict[str, Any]
) -> None:
    host = Host(seed, acron_time)
    start = acron_time.now()
    await host.live(14, policy)
    app = host.app()
    job = await app.get("job")
    schedule = timetable(job)
    now = acron_time.now()
    whole = (start, now + timedelta(minutes=10))
    inside = (start + timedelta(seconds=700), now - timedelta(seconds=200))
    for since, until in (whole, inside):
        rows = await app.occurrences("job", since, until)
        found = instants(rows, schedule)
        expected = Counter(lattice(schedule, since, until))
        assert found == expected
        assert rows == sorted(rows, key=lambda row: row.scheduled_at)
        assert all(since <= row.scheduled_at < until for row in rows)
        ledger = len(await app.runs("job", limit=9999)) + len(await app.skips("job", limit=9999))
        assert len(rows) <= 2 * ledger + 2  # a run in the middle of a counted skip cuts it in two
    assert len(expected) > 10


async def test_the_script_reaches_every_fate(acron_time: VirtualTime) -> None:
    """Else the property above would hold of nothing."""
    fates: set[str] = set()
    filled = 0
    for seed, policy in enumerate(POLICIES * 3):
        host = Host(seed, acron_time)
        start = acron_time.now()
        await host.live(14, policy)
        rows = await host.app().occurrences("job", start, acron_time.now() + 10 * MINUTE)
        fates |= {str(row.reason or row.fate) for row in rows}
        filled += host.seen["filled"]
    assert filled > 50
    reasons = {reason.value for reason in SkipReason} - {
        *("changed", "irrelevant"),  # the script edits no text, and its job is always relevant
    }
    assert fates >= reasons | {"succeeded", "failed", "interrupted", "owed", "upcoming", "paused"}


# --- the cases, one by one ----------------------------------------------------------------------


def a_job(schedule: str = "0 * * * *", now: datetime = NOON, **fields: Any) -> Job:
    new = Job(id="tea", name="tea", schedule=schedule, action=Call("brew"), **fields)
    job = bind(new, None, now).job
    assert job is not None
    return job


def told(rows: Sequence[Occurrence]) -> list[tuple[str, int]]:
    return [(row.fate, row.count) for row in rows]


def hour(number: float) -> datetime:
    return NOON + timedelta(hours=number)


def test_the_last_attempt_stands() -> None:
    base = Run(id="r1", job_id="tea", due_at=hour(1), scheduled_at=hour(1), token=1)
    runs = [
        replace(base, state=RunState.FAILED),
        replace(base, id="r2", token=0, attempt=2, state=RunState.PENDING),
    ]
    (row,) = occurrences(History(None, runs, []), hour(2), hour(0), hour(3))
    assert (row.fate, row.run_id, row.attempts) == ("pending", "r2", 2)


def test_manual_runs_are_no_occurrences() -> None:
    runs = [Run(id="r1", job_id="tea", due_at=hour(1), state=RunState.SUCCEEDED)]
    assert occurrences(History(None, runs, []), hour(2), hour(0), hour(3)) == []


def test_a_window_cuts_what_is_counted() -> None:
    job = replace(a_job(), cursor=hour(8))
    skip = Skip(
        job_id="tea",
        first_at=hour(1),
        scheduled_at=hour(8),
        count=8,
        reason=SkipReason.PAUSED,
    )
    (row,) = occurrences(History(job, [], [skip]), hour(8.5), hour(2.5), hour(5))
    assert (row.first_at, row.scheduled_at, row.count) == (hour(3), hour(4), 2)
    assert occurrences(History(job, [], [skip]), hour(8.5), hour(3.5), hour(4)) == []
    (single,) = occurrences(History(job, [], [skip]), hour(8.5), hour(4), hour(5))
    assert (single.first_at, single.scheduled_at, single.count) == (None, hour(4), 1)


def test_a_row_counted_on_another_lattice_stays_whole() -> None:
    job = replace(a_job("30 * * * *"), cursor=hour(8))
    skip = Skip(
        job_id="tea", first_at=hour(1), scheduled_at=hour(8), count=15, reason=SkipReason.PAUSED
    )
    (row,) = occurrences(History(job, [], [skip]), hour(8), hour(2), hour(5))
    assert (row.first_at, row.scheduled_at, row.count) == (hour(1), hour(8), 15)


def test_owed_and_upcoming_meet_at_now() -> None:
    rows = occurrences(History(a_job(), [], []), hour(3), hour(0), hour(6))
    assert told(rows) == [("owed", 3), ("upcoming", 2)]
    assert rows[0].scheduled_at == hour(3)


def skipped(at: float, reason: SkipReason, count: int = 1) -> Skip:
    first = hour(at - count + 1) if count > 1 else None
    return Skip(job_id="tea", scheduled_at=hour(at), reason=reason, count=count, first_at=first)


def test_an_instant_that_was_skipped_twice_is_there_once() -> None:
    """A backfill of it may find it irrelevant, whether it stood alone or in a counted row."""
    again = [skipped(at, SkipReason.IRRELEVANT) for at in (2, 4)]
    before = [skipped(3, SkipReason.COALESCED, 3), skipped(4, SkipReason.OVERLAP)]
    history = History(replace(a_job(), cursor=hour(4)), [], [*before, *again])
    rows = occurrences(history, hour(4.5), hour(1), hour(4.5))
    assert [(row.reason, row.scheduled_at, row.count) for row in rows] == [
        (SkipReason.COALESCED, hour(1), 1),
        (SkipReason.IRRELEVANT, hour(2), 1),
        (SkipReason.COALESCED, hour(3), 1),
        (SkipReason.IRRELEVANT, hour(4), 1),
    ]


def test_a_long_window_costs_no_more() -> None:
    job = a_job("every 1s")
    rows = occurrences(History(job, [], []), hour(1), hour(0), hour(24 * 3650))
    assert told(rows) == [("owed", 3600), ("upcoming", 24 * 3650 * 3600 - 3601)]


@pytest.mark.parametrize(
    "fields,expected",
    [
        ({"paused": ""}, [("paused", 5)]),
        ({"policy": Policy(repeat=3)}, [("owed", 2), ("upcoming", 2)]),
        ({"policy": Policy(repeat=3, catch_up="all")}, [("owed", 2), ("upcoming", 1)]),
        ({"policy": Policy(repeat=1)}, [("owed", 2)]),
        ({"policy": Policy(until=hour(3))}, [("owed", 2), ("upcoming", 1)]),
        ({"completed": True}, []),
        ({"error": "no zone"}, []),
        ({"bound": "no schedule at all"}, []),
    ],
)
def test_what_lies_ahead(fields: dict[str, Any], expected: list[tuple[str, int]]) -> None:
    job = replace(a_job(policy=fields.pop("policy", Policy())), **fields)
    rows = occurrences(History(job, [], []), hour(2.5), hour(0), hour(6))
    assert told(rows) == expected


def test_a_moment_has_one_occurrence() -> None:
    job = a_job("2026-11-22T15:00Z")
    assert told(occurrences(History(job, [], []), hour(1), hour(0), hour(9))) == [("upcoming", 1)]
    assert told(occurrences(History(job, [], []), hour(4), hour(0), hour(9))) == [("owed", 1)]


def test_a_reboot_waits_for_its_fire() -> None:
    job = replace(a_job("@reboot"), next_fire_at=hour(1))
    assert told(occurrences(History(job, [], []), hour(2), hour(0), hour(9))) == [("owed", 1)]
    assert occurrences(History(job, [], []), hour(2), hour(3), hour(9)) == []


async def test_a_removed_job_keeps_its_past(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)

    @app.action
    def quick() -> None: ...

    start = acron_time.now()
    async with app:
        await app.add("every 1m", quick, id="job")
        await acron_time.advance(minutes=3)
        await app.remove("job")
        rows = await app.occurrences("job", start, start + timedelta(hours=1))
        assert told(rows) == [("succeeded", 1)] * 3
        with pytest.raises(JobNotFound):
            await app.occurrences("nobody", start, start)


async def test_naive_instants_are_refused(acron_time: VirtualTime) -> None:
    async with Acron("memory://", clock=acron_time.clock) as app:
        await app.add("every 1m", Command("true"), id="job")
        with pytest.raises(ValueError, match="aware"):
            await app.occurrences("job", datetime(2026, 1, 1), acron_time.now())  # noqa: DTZ001
