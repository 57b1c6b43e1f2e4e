"""Scale to zero: fire what is due, arm what comes, leave."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from acron import Acron, CronScheduler, RunState
from acron.errors import ProviderDown
from acron.providers.chronos_portal import PortalError
from acron.stores.memory import MemoryStore
from acron.testing.contracts.firing import EPOCH
from tests.providers.chronos_world import World

if TYPE_CHECKING:
    from acron.abc import Firing
    from acron.testing import VirtualTime


def make(acron_time: VirtualTime) -> tuple[Acron, World]:
    world = World(acron_time.clock)
    provider = world.provider(acron_time.clock)
    return Acron("memory://", clock=acron_time.clock, provider=provider), world


async def test_it_fires_what_is_due_arms_what_comes_and_leaves(acron_time: VirtualTime) -> None:
    app, world = make(acron_time)
    ran: list[str] = []

    @app.job("every 1h")
    async def beat() -> None:
        await asyncio.sleep(100)
        ran.append("beat")

    await app.run(until_idle=20)
    assert (acron_time.now() - EPOCH).total_seconds() == pytest.approx(20, abs=1)
    assert world.held()["beat"].instant == EPOCH.replace(hour=1)
    assert ran == []
    acron_time.jump_clock(3600)  # nobody was there
    begun = acron_time.now()
    await app.run(until_idle=20)
    assert ran == ["beat"]
    assert (acron_time.now() - begun).total_seconds() == pytest.approx(120, abs=2)
    assert world.held()["beat"].instant == EPOCH.replace(hour=2)
    assert world.portal.closed == 2


async def test_what_is_due_soon_is_waited_for(acron_time: VirtualTime) -> None:
    app, world = make(acron_time)
    ran = 0

    @app.job("every 15s", repeat=4)
    async def beat() -> None:
        nonlocal ran
        ran += 1

    @app.job("in 95s")
    async def later() -> None:
        nonlocal ran
        ran += 1

    await app.run(until_idle=20)
    assert ran == 5
    assert (acron_time.now() - EPOCH).total_seconds() == pytest.approx(115, abs=1)
    assert world.held() == {}


async def test_what_cannot_be_armed_is_an_error(acron_time: VirtualTime) -> None:
    app, world = make(acron_time)
    world.trouble = "down"

    @app.job("in 1m")
    async def soon() -> None: ...

    acron_time.jump_clock(1)
    with pytest.raises(PortalError):
        await app.run(until_idle=5)
    world.trouble = ""
    await app.run(until_idle=5)
    assert set(world.held()) == {"soon"}


async def test_a_signal_ends_it_and_what_comes_is_armed(acron_time: VirtualTime) -> None:
    app, world = make(acron_time)

    @app.job("every 1m")
    async def slow() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(20)

    running = asyncio.create_task(app.run(until_idle=300))
    await acron_time.advance(seconds=75)
    assert [run.state for run in await app.runs("slow")] == [RunState.RUNNING]
    await running
    assert (acron_time.now() - EPOCH).total_seconds() == pytest.approx(80, abs=1)
    assert world.held()["slow"].instant == EPOCH.replace(minute=2)


class Holds(CronScheduler):
    """A provider whose service does not answer; it also fails to stop."""

    name = "holds"

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        await stop_event.wait()

    async def reconcile(self, *, firing: Firing) -> None:
        await asyncio.Event().wait()

    async def stop(self) -> None:
        raise OSError("no connection")


async def test_a_signal_ends_it_though_the_provider_hangs(acron_time: VirtualTime) -> None:
    store = MemoryStore()
    app = Acron(store, clock=acron_time.clock, provider=Holds())
    running = asyncio.create_task(app.run(until_idle=5))
    await acron_time.advance(seconds=30)
    os.kill(os.getpid(), signal.SIGTERM)
    await acron_time.advance(seconds=30)
    assert running.done()
    with pytest.raises(ProviderDown, match="no answer"):
        await running
    assert app.node is None  # what was opened is closed
