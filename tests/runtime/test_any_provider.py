"""Any provider failing in any way at any time: each instant gets exactly one trigger, in time."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, CronScheduler, Firing
from acron.testing.contracts.firing import EPOCH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acron.testing import VirtualTime

INTERVAL = 60.0
#: The longest silence of a provider that is taken for life, and what ending it may take.
SILENCE = 2 * INTERVAL + 1 + 5


async def raises(firing: Firing, error: BaseException) -> None:
    raise error


async def hangs(firing: Firing) -> None:
    await asyncio.Event().wait()


async def hangs_for_good(firing: Firing) -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() > 7200:
                raise


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
        for _ in range(30):
            await asyncio.sleep(7)
            await firing.tick()

    asyncio.get_running_loop().helper = asyncio.create_task(tick_on())  # type: ignore[attr-defined]


async def arms_and_dies(firing: Firing) -> None:
    assert [one async for one in firing.armed(EPOCH.replace(year=2090))]
    raise ConnectionError("gone")


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
    "hangs": (hangs, (), SILENCE),
    "hangs for good": (hangs_for_good, (), SILENCE + 5),
}


class Odd(CronScheduler):
    """Serves well until ``after`` seconds have passed, then does ``fault``; its stop fails too."""

    name = "odd"

    def __init__(self, fault: Callable[[Firing], Awaitable[None]], after: float) -> None:
        self.fault = fault
        self.after = after

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.after
        while loop.time() < end:
            await firing.tick()
            await firing.changed(min(await firing.due_in() or 1.0, end - loop.time()))
        await self.fault(firing)

    async def stop(self) -> None:
        raise OSError("stop fails")


@pytest.mark.parametrize("after", [0.0, 59.999, 60.0, 200.5])
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

    @app.job("every 20s", catch_up="all", overlap="allow")
    async def beat(ctx: Any) -> None:
        started[ctx.scheduled_at] += 1

    async with app:
        await acron_time.advance(minutes=10, seconds=1)
        runs = await app.runs("beat", limit=1000)
        status = await app.status()
    assert (status.provider, status.state) == ("inprocess", "ok")
    assert len(started) == len(runs) == 30, "an instant was left out"
    assert set(started.values()) == {1}
    assert max(run.lateness for run in runs) <= bound
    if do is leaves_a_helper:
        await asyncio.get_running_loop().helper  # type: ignore[attr-defined]
    await acron_time.advance(hours=3)
