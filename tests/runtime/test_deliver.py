"""Deliveries: evidence, blocking adapters, adapters that hang, and crashes in the middle."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING

import pytest

from acron import Acron, Adapter, Message, Receipt, RunState
from acron.model import Delivery
from acron.stores.json_file import JsonFileStore
from acron.testing import RecordingAdapter

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from acron.abc import Store, Tell
    from acron.model import Run
    from acron.testing import VirtualTime


class Blocking(Adapter):
    """Blocks its thread until it is let go."""

    name = "slow"
    blocking = True

    def __init__(self) -> None:
        self.go = threading.Event()
        self.threads: set[int] = set()

    def send(self, message: Message) -> Receipt:
        self.threads.add(threading.get_ident())
        self.go.wait(20)
        return Receipt("sent")


class Hanging(Adapter):
    name = "hangs"

    async def send(self, message: Message) -> Receipt:
        await asyncio.Event().wait()
        raise AssertionError


class Silent(Adapter):
    """Sends, and has nothing to show for it."""

    name = "silent"

    async def send(self, message: Message) -> Receipt:
        return Receipt()


class Wrong(Adapter):
    name = "wrong"

    def send(self, message: Message) -> Receipt | Awaitable[Receipt]:
        return "yes"  # type: ignore[return-value]


async def the_run(app: Acron, ref: str) -> Run:
    (run,) = await app.runs(ref)
    return run


async def test_a_blocking_adapter_delays_nobody() -> None:
    slow, quick = Blocking(), RecordingAdapter("quick")
    app = Acron("memory://", adapters={"slow": slow, "quick": quick})

    @app.action
    async def news() -> str:
        return "hello"

    async with app:
        await app.add("every 24h", news, id="a", deliver="slow,quick")
        await app.add("every 24h", news, id="b", deliver="quick")
        first = await app.run_now("a", wait=True)
        second = await app.run_now("b", wait=True)
        while len(quick.messages) < 2:  # noqa: ASYNC110 (a thread is in it: real time)
            await asyncio.sleep(0.001)
        pending = (await the_run(app, "a")).deliveries[0]
        assert pending.state == "sending"
        slow.go.set()
        while (await the_run(app, "a")).deliveries[0].state == "sending":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        done = (await the_run(app, "a")).deliveries
    assert (first.state, second.state) == (RunState.SUCCEEDED, RunState.SUCCEEDED)
    assert [one.state for one in done] == ["delivered", "delivered"]
    assert threading.get_ident() not in slow.threads


async def test_a_stuck_adapter_does_not_hold_the_end(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock, adapters={"hangs": Hanging()})

    @app.job("every 1h", deliver="hangs")
    async def news() -> str:
        return "hello"

    async with app:
        await acron_time.advance(hours=1, seconds=1)
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun < 60
    (delivery,) = (await the_run(app, "news")).deliveries
    assert delivery.state == "sending"


async def test_no_answer_in_time_is_unknown_and_never_sent_again(
    acron_time: VirtualTime,
) -> None:
    app = Acron("memory://", clock=acron_time.clock, adapters={"hangs": Hanging()})

    @app.job("in 1h", deliver="hangs")
    async def news() -> str:
        return "hello"

    async with app:
        await acron_time.advance(hours=1, minutes=5)
        (delivery,) = (await the_run(app, "news")).deliveries
    assert (delivery.state, delivery.attempts) == ("unknown", 1)


@pytest.mark.parametrize(
    "adapter, state", [(Silent(), "unverified"), (Wrong(), "failed")], ids=["silent", "wrong"]
)
async def test_delivered_implies_evidence(
    acron_time: VirtualTime, adapter: Adapter, state: str
) -> None:
    app = Acron("memory://", clock=acron_time.clock, adapters={adapter.name: adapter})

    @app.job("in 1h", deliver=adapter.name)
    async def news() -> str:
        return "hello"

    async with app:
        await acron_time.advance(hours=1, seconds=1)
        (delivery,) = (await the_run(app, "news")).deliveries
    assert (delivery.state, delivery.receipt) == (state, None)


class Dies(JsonFileStore):
    """A process that dies when it is about to mark its ``at``-th delivery state."""

    def __init__(self, path: Path, at: int) -> None:
        super().__init__(path)
        self.left = at

    async def mark(self, run: Run, change: Tell) -> Run | None:
        if self.left == 0:
            await asyncio.Event().wait()  # its node lock is let go of below
        self.left -= 1
        return await super().mark(run, change)


@pytest.mark.parametrize(
    "at, state, sent",
    [(0, "delivered", 1), (1, "unknown", 0), (2, "delivered", 0)],
    ids=["before the send", "in the middle", "after all"],
)
async def test_what_a_dead_process_left_is_sent_at_most_once(
    acron_time: VirtualTime, tmp_path: Path, at: int, state: str, sent: int
) -> None:
    path = tmp_path / "jobs.json"
    dying: Store = Dies(path, at)
    app = Acron(dying, clock=acron_time.clock, adapters={"chat": RecordingAdapter("chat")})

    @app.job("in 1m", deliver="chat")
    async def news() -> str:
        return "hello"

    await app.__aenter__()
    await acron_time.advance(minutes=1, seconds=10)
    await dying.close()  # as the kernel does for the dead: the node's lock is free

    told = RecordingAdapter("chat")
    heir = Acron(str(path), clock=acron_time.clock, adapters={"chat": told})
    heir.job("in 1m", id="news", deliver="chat")(news)
    async with heir:
        await acron_time.advance(minutes=5)
        (delivery,) = (await the_run(heir, "news")).deliveries
    assert delivery.state == state
    assert len(told.messages) == sent
    assert isinstance(delivery, Delivery)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_work_that_is_cancelled_before_it_began_is_closed(acron_time: VirtualTime) -> None:
    """Else Python says in the host's log that a coroutine was never awaited."""

    async def never() -> None:
        raise AssertionError("it was to begin")

    async with Acron("memory://") as app:
        work = never()
        task = app._firing().tasks.do(work, "work")
        task.cancel()
        await acron_time.settle()
        assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
