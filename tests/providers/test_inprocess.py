"""The built-in provider: the contract of all providers, and what is its own."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from acron.providers import InProcessCronScheduler
from acron.testing.contracts.providers import FakeFiring, ProviderContract, Started


class TestInProcessCronScheduler(ProviderContract):
    def make(self) -> InProcessCronScheduler:
        return InProcessCronScheduler()


pytestmark = pytest.mark.usefixtures("acron_time")


async def test_a_tick_in_progress_is_left_to_end() -> None:
    firing = FakeFiring(0.0, 1.0, takes=3.0)
    async with Started(InProcessCronScheduler(), firing, 60.0) as running:
        await asyncio.sleep(1)
        running.stop.set()
        await running.end(within=2.001)
        assert (firing.ticks, firing.ended) == ([0.0], [3.0])


async def test_a_failing_tick_in_progress_does_not_hold_up_the_stop() -> None:
    firing = FakeFiring()

    async def tick() -> int:
        await asyncio.sleep(3)
        raise OSError("no")

    firing.tick = tick  # type: ignore[method-assign]
    async with Started(InProcessCronScheduler(), firing, 60.0) as running:
        await asyncio.sleep(1)
        running.stop.set()
        await running.end(within=2.001)
        assert firing.now == 3.0
        assert running.error is None


async def test_cancellation_does_not_wait_for_a_tick() -> None:
    firing = FakeFiring(takes=3.0)
    async with Started(InProcessCronScheduler(), firing, 60.0) as running:
        await asyncio.sleep(1)
        running.task.cancel()
        await running.end(within=0.001)
        assert isinstance(running.error, asyncio.CancelledError)
        assert firing.ended == []


async def test_a_tick_that_swallows_its_cancellation_is_the_last_one() -> None:
    firing = FakeFiring()
    ticks = 0

    async def tick() -> int:
        nonlocal ticks
        ticks += 1
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            await asyncio.sleep(2)
        return 1

    firing.tick = tick  # type: ignore[method-assign]
    async with Started(InProcessCronScheduler(), firing, 60.0) as running:
        await asyncio.sleep(1)
        running.task.cancel()
        await running.end(within=2.001)
        await asyncio.sleep(1000)
        assert ticks == 1


async def test_a_tick_that_cannot_be_ended_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    firing = FakeFiring()
    release = asyncio.Event()

    async def tick() -> int:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return 0

    firing.tick = tick  # type: ignore[method-assign]
    async with Started(InProcessCronScheduler(), firing, 60.0) as running:
        await asyncio.sleep(1)
        running.stop.set()
        await running.end(within=10.001)
        assert running.error is None
        assert "a tick would not be cancelled" in caplog.text
        release.set()
        await asyncio.sleep(0.1)


async def test_pauses_double_up_to_the_interval_and_start_again() -> None:
    firing = FakeFiring()
    firing.failures.extend(OSError("no") for _ in range(6))
    async with Started(InProcessCronScheduler(), firing, 10.0) as running:
        await asyncio.sleep(50)
        assert firing.ticks == [0, 1, 3, 7, 15, 25, 35, 45]
        firing.failures.append(OSError("no"))
        await asyncio.sleep(8)
        assert firing.ticks[-2:] == [55, 56]
        running.stop.set()
        await running.end(within=0.1)


async def test_a_change_does_not_end_a_pause() -> None:
    firing = FakeFiring()
    firing.failures.append(OSError("no"))
    async with Started(InProcessCronScheduler(), firing, 10.0) as running:
        await asyncio.sleep(0.5)
        firing.change(0.5)
        await asyncio.sleep(0.4)
        assert len(firing.ticks) == 1
        running.stop.set()
        await running.end(within=0.001)


async def test_trouble_in_due_in_and_changed_is_trouble_of_the_tick(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(FakeFiring):
        async def due_in(self) -> float | None:
            if len(self.ticks) < 2:
                raise SystemExit("due_in")
            return None

        async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (as in the ABC)
            if len(self.ticks) < 3:
                raise OSError("changed")
            return await super().changed(timeout)

    firing = Broken()
    async with Started(InProcessCronScheduler(), firing, 60.0) as running:
        await asyncio.sleep(10)
        running.stop.set()
        await running.end(within=0.001)
        assert firing.ticks == [0, 1, 3]
        assert running.error is None
        assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
        assert "SystemExit: due_in" in caplog.text


async def test_a_wait_that_ends_far_too_early_goes_on_without_a_tick() -> None:
    firing = FakeFiring(50.0, early=7.0)
    async with Started(InProcessCronScheduler(), firing, 60.0):
        await asyncio.sleep(55)
    assert len(firing.waits) > 5
    assert len(firing.taken) == 1
    assert len([tick for tick in firing.ticks if 0 < tick < 49.9]) == 0


async def test_what_breaks_the_loop_itself_is_raised() -> None:
    firing = FakeFiring()
    async with Started(InProcessCronScheduler(), firing, "soon") as running:  # type: ignore[arg-type]
        await running.end(within=1.0)
    assert isinstance(running.error, TypeError)


async def test_closing_the_coroutine_from_outside_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A loop that is closed over a pending task closes its coroutine: GeneratorExit at the await.
    from acron.providers.inprocess import _TickLoop

    loop = _TickLoop(asyncio.Event(), FakeFiring(), 60.0)
    coroutine = loop.run()
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(1)
    coroutine.close()  # "coroutine ignored GeneratorExit" would be a RuntimeError here
    task.cancel()
    await asyncio.wait({task})
    del task, coroutine
    gc.collect()


async def test_one_provider_may_be_started_again() -> None:
    provider = InProcessCronScheduler()
    for _ in range(2):
        firing = FakeFiring(1.0)
        async with Started(provider, firing, 60.0) as running:
            await asyncio.sleep(2)
            running.stop.set()
            await running.end(within=0.001)
            assert len(firing.taken) == 1
