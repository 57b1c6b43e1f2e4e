"""The chronos provider: one armed one-shot a job, whatever the portal does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Retry
from acron.abc import Armed, CronScheduler, Fired, Firing
from acron.testing.contracts.arming import ArmingContract, FakeJobs
from acron.testing.contracts.firing import EPOCH
from tests.providers.chronos_world import World

if TYPE_CHECKING:
    from acron.providers.chronos import ChronosCronScheduler
    from acron.testing import VirtualTime


class TestChronos(ArmingContract):
    sweep = 600.0

    @pytest.fixture(autouse=True)
    def _clock(self, acron_time: VirtualTime) -> None:
        self.clock = acron_time.clock

    def make_outside(self) -> World:
        return World(self.clock)

    @cached_property
    def outside(self) -> World:
        return self.make_outside()

    def make(self) -> ChronosCronScheduler:
        return self.outside.provider(self.clock)


class Plain(CronScheduler):
    """The least that arms: it reconciles, and leaves the rest to whoever calls its hooks."""

    def __init__(self, outside: World) -> None:
        self.outside = outside

    @property
    def name(self) -> str:
        return "plain"

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        await self.reconcile(firing=firing)

    async def reconcile(self, *, firing: Firing) -> None:
        for job_id in await self.outside.portal.held():
            await self.outside.portal.cancel(job_id)
        async for one in firing.armed(EPOCH.replace(year=2090)):
            await self.outside.portal.arm(one.job_id, one.instant)


async def test_the_suite_finds_what_a_careless_provider_does(acron_time: VirtualTime) -> None:
    class Suite(ArmingContract):
        outside = World(acron_time.clock)

        def make(self) -> Plain:
            return Plain(self.outside)

    suite = Suite()
    await suite.test_arms_each_job_at_its_next_instant()
    with pytest.raises(AssertionError):
        await suite.test_reconcile_is_idempotent()
    with pytest.raises(AssertionError):
        await suite.test_follows_changes()


@pytest.fixture
def world(acron_time: VirtualTime) -> World:
    return World(acron_time.clock)


def make(acron_time: VirtualTime, world: World, **more: Any) -> tuple[Acron, ChronosCronScheduler]:
    provider = world.provider(acron_time.clock)
    return Acron("memory://", clock=acron_time.clock, provider=provider, **more), provider


async def test_the_runtime_fires_by_it_and_all_is_well(
    acron_time: VirtualTime, world: World
) -> None:
    app, provider = make(acron_time, world)

    @app.job("every 10m")
    async def beat() -> None: ...

    async with app:
        for n in range(1, 13):
            await acron_time.advance_to(EPOCH + n * (EPOCH.replace(minute=10) - EPOCH))
            ((_, one),) = world.held().items()
            assert one.instant == acron_time.now()
            await world.call(provider, one)
            await acron_time.settle()
            assert (await app.status()).state == "ok"
        await acron_time.advance(minutes=5)
        runs = await app.runs("beat")
        assert (await app.status()).provider == "chronos"
    assert len({run.scheduled_at for run in runs}) == len(runs) == 12
    assert set(world.statuses) == {202}
    assert max(run.lateness for run in runs) < 1


async def test_a_portal_that_is_down_at_the_start_is_replaced(
    acron_time: VirtualTime, world: World
) -> None:
    app, provider = make(acron_time, world)
    world.trouble = "down"

    @app.job("every 1m")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(minutes=10, seconds=1)
        assert (await app.status()).provider == "inprocess"
        runs = await app.runs("beat")
        await world.call(provider, Armed("beat", EPOCH))
        assert world.held() == {}
        world.trouble = ""
        await acron_time.advance(seconds=59)
        assert (await app.status()).provider == "chronos"
        assert set(world.held()) == {"beat"}
        await world.call(provider, world.held()["beat"])
    assert len({run.scheduled_at for run in runs}) == len(runs) == 10
    assert world.statuses == [503, 202]


async def test_a_portal_that_goes_down_costs_no_instant(
    acron_time: VirtualTime, world: World
) -> None:
    app, _ = make(acron_time, world)

    @app.job("every 5m")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(minutes=1)
        world.trouble = "down"
        await acron_time.advance(minutes=59, seconds=30)
        runs = await app.runs("beat")
        # What it held when it went is swept after ten minutes, or as soon as it is found to be
        # down; what it could not be told any more is fired here at its time.
        assert len(runs) >= 9
        assert len({run.scheduled_at for run in runs}) == len(runs)
        status = await app.status()
        assert (status.provider, status.state) == ("chronos", "ok")
        assert "all is fired here" in status.provider_note
        world.trouble = ""
        await acron_time.advance(minutes=2)
        assert set(world.held()) == {"beat"}
        assert (await app.status()).provider_note == ""


async def test_what_it_refuses_is_fired_here(acron_time: VirtualTime, world: World) -> None:
    app, _ = make(acron_time, world)
    world.portal.refuses.add("beat")

    @app.job("every 5m")
    async def beat() -> None: ...

    @app.job("every 1h")
    async def hour() -> None: ...

    async with app:
        await acron_time.advance(minutes=21)
        runs = await app.runs("beat")
        assert (await app.status()).provider == "chronos"
        assert set(world.held()) == {"hour"}
    assert len(runs) == 4
    assert max(run.lateness for run in runs) < 1


async def test_retries_manual_runs_and_no_parked_jobs_are_armed(
    acron_time: VirtualTime, world: World
) -> None:
    app, provider = make(acron_time, world)

    @app.job("every 1h", retry=Retry(attempts=2, delay=300, jitter=0))
    async def fails() -> None:
        raise ValueError

    async with app:
        await app.add("every 1m", "nobody_has_it", id="parked")
        await acron_time.advance(hours=1)
        (one,) = world.held().values()
        await world.call(provider, one)
        await acron_time.advance(seconds=10)
        (one,) = world.held().values()
        assert 300 <= (one.instant - EPOCH).total_seconds() - 3600 < 301
        await acron_time.advance_to(one.instant)
        await world.call(provider, one)
        await world.call(provider, one)
        await acron_time.advance(seconds=10)
        assert [run.attempt for run in await app.runs("fails")] == [2, 1]
        (one,) = world.held().values()
        assert one.instant == EPOCH.replace(hour=2)
        await app.run_now("fails")
        await acron_time.advance(seconds=10)
        assert len(await app.runs("fails")) >= 3
    assert world.statuses == [202, 202, 200]


async def test_what_waits_for_an_earlier_run_goes_on_when_that_ends(
    acron_time: VirtualTime, world: World
) -> None:
    app, provider = make(acron_time, world)

    @app.job("every 10m", overlap="queue")
    async def slow() -> None:
        await asyncio.sleep(900)

    async with app:
        await acron_time.advance(minutes=10)
        await world.call(provider, world.held()["slow"])
        await acron_time.advance(minutes=10)
        await world.call(provider, world.held()["slow"])
        changes = world.changes
        await acron_time.advance(minutes=4)
        assert world.changes <= changes + 2  # it is not armed again and again meanwhile
        await acron_time.advance(minutes=2)
        runs = await app.runs("slow")
    assert len(runs) == 2
    assert all(status in {200, 202} for status in world.statuses)


async def test_a_node_that_cannot_run_it_sends_the_trigger_on(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    async with app:
        await app.add("in 1m", "nobody_has_it", id="elsewhere")
        await acron_time.advance(minutes=1)
        assert await app._firing().fire("elsewhere") is Fired.DRAINING
        assert [one async for one in app._firing().armed(EPOCH.replace(year=2090))] == []


async def test_a_call_that_is_early_is_accepted_and_waits(
    acron_time: VirtualTime, world: World
) -> None:
    firing = FakeJobs({"a": 20.0})
    provider = world.provider(acron_time.clock)
    stop = asyncio.Event()
    await provider.start(stop, firing=firing)
    begun = firing.now
    await asyncio.gather(*(world.call(provider, Armed("a", firing.at(20.0))) for _ in range(5)))
    assert firing.now - begun < 1
    assert world.statuses == [202] * 5
    assert firing.claims == []
    await asyncio.sleep(20)
    assert [due for _, due, _ in firing.claims] == [20.0]
    assert len(firing.fired) == 1, "replays do not pile up"
    stop.set()
    await provider.stop()
    assert world.portal.closed == 1


async def test_what_was_fired_last_is_armed_before_it_goes(
    acron_time: VirtualTime, world: World
) -> None:
    app, provider = make(acron_time, world)

    @app.job("every 10m")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(minutes=10)
        await world.call(provider, world.held()["beat"])
    assert world.held()["beat"].instant == EPOCH.replace(minute=20)


async def test_a_call_that_waits_when_it_is_stopped_is_armed_again(
    acron_time: VirtualTime, world: World
) -> None:
    firing = FakeJobs({"a": 20.0})
    provider = world.provider(acron_time.clock)
    stop = asyncio.Event()
    await provider.start(stop, firing=firing)
    world.lose("a")
    await world.call(provider, Armed("a", firing.at(20.0)))
    assert (world.statuses, world.held()) == ([202], {})
    stop.set()
    await provider.stop()
    assert world.held() == {"a": Armed("a", firing.at(20.0))}
    assert firing.claims == []


async def test_the_oldest_of_a_long_backfill_is_found(
    acron_time: VirtualTime, world: World
) -> None:
    app, _ = make(acron_time, world)
    since = acron_time.now() + timedelta(minutes=1)

    @app.job("every 1m", start=since, overlap="allow")
    async def beat() -> None: ...

    async with app:
        await app.pause("beat")
        await acron_time.advance(days=2)
        await app.backfill("beat", since, since + timedelta(days=1))
        await acron_time.advance(seconds=4)  # ten of them a second, of 1,440
        assert len(await app.runs("beat", state="succeeded")) >= 30


async def test_what_waits_for_a_slot_goes_on_when_one_is_free(
    acron_time: VirtualTime, world: World
) -> None:
    app, _ = make(acron_time, world, max_running=1)

    @app.job("in 10s")
    async def first() -> None:
        await asyncio.sleep(5)

    @app.job("in 11s")
    async def second() -> None: ...

    async with app:
        world.portal.refuses |= {"first", "second"}  # to be fired here
        await acron_time.advance(seconds=20)
        (run,) = await app.runs("second")
    assert run.lateness < 6
