"""FAULTS 23 and 53: a clock that drifts, a schedule that is edited under a run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from acron import Acron, Context, RunState

if TYPE_CHECKING:
    from datetime import datetime

    from acron.model import Run
    from acron.testing import VirtualTime


@pytest.mark.parametrize("rate", [0.02, -0.02])
async def test_a_drifting_clock_fires_nothing_twice_and_nothing_early(
    acron_time: VirtualTime, rate: float
) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    early: list[str] = []

    @app.job("* * * * *")
    async def minutely(ctx: Context) -> None:
        assert ctx.scheduled_at is not None
        if acron_time.clock.now() < ctx.scheduled_at:
            early.append(ctx.run_id)

    async with app:
        begun = acron_time.clock.now()
        for _ in range(600):
            await acron_time.advance(seconds=7)
            acron_time.jump_clock(7 * rate)
        await acron_time.advance(seconds=60)
        passed = acron_time.clock.now() - begun
        runs = await app.runs("minutely", limit=1000)
        skips = await app.skips("minutely")
    instants = sorted(run.scheduled_at for run in runs if run.scheduled_at is not None)
    assert early == []
    assert skips == []
    assert len(instants) == len(runs) == passed // timedelta(minutes=1)
    assert {b - a for a, b in pairwise(instants)} == {timedelta(minutes=1)}


async def test_a_schedule_edited_under_a_run(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)

    @app.action
    async def slow() -> str:
        await asyncio.sleep(90)
        return "done"

    async with app:
        await app.add("*/10 * * * *", slow, id="job")
        await acron_time.advance(minutes=10)
        (old,) = await app.runs("job", state=RunState.RUNNING)
        edited = await app.edit("job", schedule="5 * * * *")
        await acron_time.advance(hours=2)
        runs = await app.runs("job")
    first = next(run for run in runs if run.id == old.id)
    assert (first.state, first.output) == (RunState.SUCCEEDED, "done")
    later = [run.scheduled_at for run in runs if run.id != old.id]
    assert len(later) == 2
    assert {at.minute for at in later if at is not None} == {5}
    assert edited.next_fire_at == min(at for at in later if at is not None)


@pytest.mark.parametrize("monotonic", ["stands still", "goes on"])
async def test_a_machine_that_sleeps_wakes_without_a_burst(
    acron_time: VirtualTime, monotonic: str
) -> None:
    """Linux stops the monotonic clock of a machine that sleeps, other systems do not."""
    app = Acron("memory://", clock=acron_time.clock)

    @app.job("* * * * *")
    async def minutely() -> None: ...

    @app.job("0 * * * *", catch_up="none", grace=60)
    async def hourly() -> None: ...

    @app.job("every 20m", timeout=600)
    async def long() -> None:
        await asyncio.sleep(300)

    async with app:
        await app.add("in 3h", "minutely", id="once")
        await acron_time.advance(minutes=20, seconds=30)
        (asleep,) = await app.runs("long")
        if monotonic == "stands still":
            acron_time.jump_clock(timedelta(hours=8))
        else:
            acron_time.block_loop(timedelta(hours=8))
        woke = acron_time.now()
        await acron_time.advance(minutes=10)
        runs = {job.id: await app.runs(job.id) async for job in app.jobs()}
        skips = {job.id: await app.skips(job.id) async for job in app.jobs()}

    def since(job: str) -> list[Run]:
        found = [run for run in runs[job] if run.started_at and run.started_at >= woke]
        return sorted(found, key=lambda run: run.token)

    first, *regular = since("minutely")
    assert first.started_at is not None
    assert first.started_at - woke <= timedelta(seconds=60)  # at the next look, at the latest
    assert first.lateness < 60  # the newest stands for all
    assert [run.lateness for run in regular] == [0.0] * len(regular)
    (coalesced,) = skips["minutely"]
    assert coalesced.reason == "coalesced"
    assert len(runs["minutely"]) + coalesced.count == 8 * 60 + 30
    # What goes on can only be taken for a blocked loop, whose delay counts against no grace.
    sleep = monotonic == "stands still"
    assert len(since("hourly")) == (0 if sleep else 1)
    assert {one.reason.value for one in skips["hourly"]} == {"coalesced", "misfire"} - (
        set() if sleep else {"misfire"}
    )
    assert sum(one.count for one in skips["hourly"]) == (8 if sleep else 7)
    assert len(since("once")) == 1
    assert since("long") == []  # it was still running
    assert {(one.reason.value, one.count) for one in skips["long"]} == {
        ("coalesced", 23),
        ("overlap", 1),
    }
    (woken,) = [run for run in runs["long"] if run.id == asleep.id]
    # Its ten minutes are over, or stood still as well.
    assert woken.state is (RunState.SUCCEEDED if sleep else RunState.TIMED_OUT)


async def test_what_ran_by_a_clock_a_year_ahead_runs_once_although_the_schedule_is_edited(
    acron_time: VirtualTime,
) -> None:
    """Whoever edits does not believe that clock; whoever has it still fires by it."""
    app = Acron("memory://", clock=acron_time.clock)
    begun: list[datetime | None] = []

    @app.job("*/5 * * * *")
    async def tea(ctx: Context) -> None:
        begun.append(ctx.scheduled_at)

    year = timedelta(days=365)
    async with app:
        acron_time.jump_clock(year)
        await acron_time.advance(seconds=61)
        assert len(begun) == 1
        acron_time.jump_clock(-year)
        await app.edit("tea", schedule="*/2 * * * *")
        acron_time.jump_clock(year)
        await acron_time.advance(minutes=3)
    assert len(begun) == len(set(begun)) == 3
