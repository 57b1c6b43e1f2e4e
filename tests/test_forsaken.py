"""Waiting for a run ends, whatever becomes of the process that has it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from acron import Acron, Command, NodeNotFound, Run, RunState
from acron.model import Decision, Settings
from acron.verbs import NOBODY, Forsaken

if TYPE_CHECKING:
    from acron.testing import VirtualTime


async def lost_run(app: Acron) -> Run:
    """One that is going on, of a process that has died."""
    job = await app.add("every 1h", Command("true"), id="job")
    lost = Run(
        id="r1",
        job_id="job",
        due_at=app.clock.now(),
        state=RunState.RUNNING,
        token=1,
        node="it-is-gone",
    )
    await app.store.write(["job"], lambda *_: Decision(job, runs=(lost,)), app.clock.now())
    return lost


@pytest.mark.parametrize("fires", [True, False])
async def test_a_run_whose_process_died_is_unknown_to_who_waits(
    acron_time: VirtualTime, fires: bool
) -> None:
    app = Acron("memory://", clock=acron_time.clock, settings=Settings(interval=1e5))
    async with app.attached(firing=fires):
        await lost_run(app)
        began = acron_time.clock.monotonic()
        run = await app.wait("r1")
        assert run.state is RunState.UNKNOWN
        assert acron_time.clock.monotonic() - began < 5


async def test_what_nobody_can_run_is_not_waited_for(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    async with app.attached():
        await app.add("every 1h", "nobody_has_it", id="job")
        began = acron_time.clock.monotonic()
        with pytest.raises(NodeNotFound, match="no live process can run call:nobody_has_it"):
            await app.run_now("job", wait=True)
        assert NOBODY <= acron_time.clock.monotonic() - began < NOBODY + 5


async def test_who_comes_up_in_time_is_waited_for(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    async with app.attached():
        await app.add("every 1h", "comes_late", id="job")
    async with app:
        run = await app.run_now("job")
        waiting = asyncio.create_task(app.wait(run.id))
        await acron_time.advance(seconds=NOBODY - 5)

        @app.action
        async def comes_late() -> None: ...

        await acron_time.advance(seconds=15)
        assert (await waiting).state is RunState.SUCCEEDED


async def test_what_is_not_due_and_what_goes_on_is_waited_for(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    async with app.attached(firing=True):
        job = await app.add("in 1h", "nobody_has_it", id="job")
        assert app.node is not None
        assert job.due_at is not None
        later = Run(id="r8", job_id="job", due_at=job.due_at, token=8)
        ours = replace(later, id="r9", state=RunState.RUNNING, node=app.node.id)
        for run in (later, ours):
            forsaken = Forsaken(app)
            for _ in range(3):
                await acron_time.advance(seconds=NOBODY)
                await forsaken.look(run)
        due = replace(later, due_at=app.clock.now())
        await acron_time.advance(seconds=NOBODY)
        with pytest.raises(NodeNotFound):
            await forsaken.look(due)
