"""Any provider failing in any way at any time: each instant gets exactly one trigger, in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, CronScheduler, Fired, Firing, ProviderDown
from acron.abc import Armed
from acron.model import Settings
from acron.testing.contracts.firing import EPOCH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acron.testing import VirtualTime

INTERVAL = 60.0
#: One that fails so late does not stop either.
HANGS_AT = 61.0


async def raises(firing: Firing, error: BaseException) -> None:
    raise error


async def hangs(firing: Firing) -> None:
    await asyncio.Event().wait()


async def hangs_for_good(firing: Firing) -> None:
    await hangs_for_good_here()


async def hangs_for_good_here() -> None:
    """Until the test is over, whoever cancels it."""
    end = asyncio.get_running_loop().time() + 3600
    while (left := end - asyncio.get_running_loop().time()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


async def returns(firing: Firing) -> None:
    return


async def floods(firing: Firing) -> None:
    for _ in range(2000):
        await firing.tick()
        await asyncio.sleep(0.01)
    raise RuntimeError("enough")


async def storms(firing: Firing) -> None:
    await asyncio.gather(*(firing.tick() for _ in range(50)))
    await asyncio.gather(*(firing.fire("beat") for _ in range(20)))
    raise RuntimeError("enough")


async def leaves_a_helper(firing: Firing) -> None:
    async def tick_on() -> None:
        await asyncio.sleep(7)
        refused = 0
        for _ in range(30):
            await asyncio.sleep(7)
            assert not await firing.changed(0.1), "it takes the news of who serves now"
            assert await firing.fire("beat") is Fired.DRAINING
            assert {one.fired for one in await firing.fire_many([Armed("beat", EPOCH)])} == {
                Fired.DRAINING
            }
            try:
                await firing.tick()
            except ProviderDown:
                refused += 1
        assert refused == 30

    asyncio.get_running_loop().helper = asyncio.create_task(tick_on())  # type: ignore[attr-defined]


async def arms(firing: Firing) -> None:
    assert [one async for one in firing.armed(EPOCH.replace(year=2090))]


async def arms_and_dies(firing: Firing) -> None:
    await arms(firing)
    raise ConnectionError("gone")


async def arms_and_hangs(firing: Firing) -> None:
    await arms(firing)
    await hangs(firing)


async def asks_and_hangs(firing: Firing) -> None:
    while True:  # it looks alive to nobody: it never ticks
        await firing.due_in()
        await firing.changed(1.0)


async def fires_another(firing: Firing) -> None:
    while True:
        await firing.fire("nobody")
        await asyncio.sleep(5)


async def cancels_itself(firing: Firing) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


FAULTS: dict[str, tuple[Callable[..., Awaitable[None]], tuple[Any, ...], float]] = {
    "raises": (raises, (RuntimeError("no"),), 1.0),
    "exits": (raises, (SystemExit(3),), 1.0),
    "is interrupted": (raises, (KeyboardInterrupt(),), 1.0),
    "makes up a cancellation": (raises, (asyncio.CancelledError(),), 1.0),
    "makes up a close": (raises, (GeneratorExit(),), 1.0),
    "cancels itself": (cancels_itself, (), 1.0),
    "returns": (returns, (), 1.0),
    "floods": (floods, (), 1.0),
    "storms": (storms, (), 1.0),
    "leaves a helper": (leaves_a_helper, (), 1.0),
    "arms and dies": (arms_and_dies, (), 1.0),
    "hangs": (hangs, (), INTERVAL),
    "hangs for good": (hangs_for_good, (), INTERVAL),
    "asks and never ticks": (asks_and_hangs, (), INTERVAL),
    "arms, and no trigger comes": (arms, (), INTERVAL),
    "arms and hangs": (arms_and_hangs, (), INTERVAL),
    "triggers one job only": (fires_another, (), INTERVAL),
}
#: It triggers something, and lives on: what it does not trigger is swept up.
LIVES = fires_another


class Odd(CronScheduler):
    """Serves well until ``after`` seconds have passed, then does ``fault``; its stop fails too,
    and to be asked whether it is ready it does not stand."""

    name = "odd"

    def __init__(self, fault: Callable[[Firing], Awaitable[None]], after: float) -> None:
        self.fault = fault
        self.after = after
        self.calls = 0

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.after
        while loop.time() < end:
            self.calls += 1
            await firing.tick()
            await firing.changed(min(await firing.due_in() or 1.0, end - loop.time()))
        await self.fault(firing)

    async def stop(self) -> None:
        if self.after == HANGS_AT:
            await hangs_for_good_here()
        raise OSError("stop fails")

    async def ready(self) -> bool:
        if self.after:
            await hangs_for_good_here()
        return False


@pytest.mark.parametrize("after", [0.0, 59.999, HANGS_AT, 200.5])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_every_instant_has_one_trigger_in_time(
    acron_time: VirtualTime,
    fault: tuple[Callable[..., Awaitable[None]], tuple[Any, ...], float],
    after: float,
) -> None:
    do, arguments, bound = fault
    provider = Odd(lambda firing: do(firing, *arguments), after)
    app = Acron("memory://", clock=acron_time.clock, provider=provider)
    started: Counter[object] = Counter()

    @app.job("every 20s", catch_up="all", overlap="allow", repeat=30)
    async def beat(ctx: Any) -> None:
        started[ctx.scheduled_at] += 1

    async with app:
        await acron_time.advance(minutes=11)
        runs = await app.runs("beat", limit=1000)
        status = await app.status()
    serves = ("odd", "failing") if do is LIVES else ("inprocess", "ok")
    assert (status.provider, status.state) == serves
    assert len(started) == len(runs) == 30, "an instant was left out"
    assert set(started.values()) == {1}
    assert max(run.lateness for run in runs) <= (INTERVAL if after == HANGS_AT else bound)
    if do is leaves_a_helper:
        await asyncio.get_running_loop().helper  # type: ignore[attr-defined]
    await acron_time.advance(hours=3)


@pytest.mark.parametrize("fault", [hangs, hangs_for_good, floods, arms_and_hangs])
@pytest.mark.parametrize("left", [0.0, 3.0, 50.0])
async def test_it_fails_while_all_is_stopped(
    acron_time: VirtualTime, fault: Callable[[Firing], Awaitable[None]], left: float
) -> None:
    provider = Odd(fault, HANGS_AT)
    app = Acron("memory://", clock=acron_time.clock, provider=provider)

    @app.job("every 20s")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(seconds=HANGS_AT + left)
        stopping = acron_time.clock.monotonic()
    assert acron_time.clock.monotonic() - stopping <= 20
    calls = provider.calls
    await acron_time.advance(hours=3)
    assert provider.calls == calls, "a trigger was left"


async def test_short_intervals_are_no_reason_to_replace_a_slow_one(
    acron_time: VirtualTime,
) -> None:
    class Slow(Odd):
        async def start(
            self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
        ) -> None:
            assert interval == 0.5
            while not stop_event.is_set():
                await firing.tick()
                await asyncio.sleep(8)

    app = Acron(
        "memory://",
        clock=acron_time.clock,
        provider=Slow(hangs, 0.0),
        settings=Settings(interval=1.0),
    )
    async with app:
        await acron_time.advance(minutes=5)
        assert (await app.status()).provider == "odd"


async def test_a_blocked_loop_is_no_silence(acron_time: VirtualTime) -> None:
    class Regular(Odd):
        async def start(
            self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
        ) -> None:
            while not stop_event.is_set():
                await firing.tick()
                await asyncio.sleep(interval)

    app = Acron("memory://", clock=acron_time.clock, provider=Regular(hangs, 0.0))
    async with app:
        await acron_time.advance(seconds=10)
        acron_time.block_loop(100)
        await acron_time.advance(minutes=5)
        assert (await app.status()).provider == "odd"
