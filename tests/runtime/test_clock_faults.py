"""FAULTS 23 and 53: a clock that drifts, a schedule that is edited under a run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from acron import Acron, Context, RunState

if TYPE_CHECKING:
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
