"""``crash``: what a killed process leaves, and that nothing of it goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Message, Receipt, RunState
from acron.errors import StoreUnavailable
from acron.model import Decision, Job
from acron.specs import Call
from acron.stores import open_store
from acron.stores.local import LocalStore
from acron.stores.memory import MemoryStore
from acron.testing import START, Crashed, RecordingAdapter, VirtualTimeError, crash
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acron.testing import VirtualTime

    Open = Callable[..., Acron]

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["memory", "jobs.json", "sqlite"])
def opened(request: pytest.FixtureRequest, acron_time: VirtualTime, tmp_path: Path) -> Open:
    """Makes an app on the one store of the test: in memory the same object, else the same file."""
    memory = MemoryStore()
    urls = {"jobs.json": str(tmp_path / "jobs.json"), "sqlite": f"sqlite:///{tmp_path}/jobs.db"}

    def make(**options: Any) -> Acron:
        store = urls.get(request.param, memory)
        return Acron(store, clock=acron_time.clock, **options)

    return make


class Slow(RecordingAdapter):
    """Takes ten seconds for each message."""

    async def send(self, message: Message) -> Receipt:
        receipt = await super().send(message)
        await asyncio.sleep(10)
        self.messages.append(message)
        return receipt


def declare(app: Acron, told: list[str], **policies: Any) -> None:
    """A job that works for ten seconds, and a task of its own beside it."""

    async def ticks() -> None:
        while True:
            await asyncio.sleep(1)
            told.append("tick")

    @app.job("every 1m", **policies)
    async def work() -> str:
        child = asyncio.create_task(ticks())
        try:
            await asyncio.sleep(10)
            told.append("done")
        finally:
            told.append("finally")
            child.cancel()
        return "said"


async def test_a_job_in_the_middle_is_unknown_and_never_goes_on(
    opened: Open, acron_time: VirtualTime
) -> None:
    told: list[str] = []
    app = opened()
    declare(app, told)
    async with app:
        await acron_time.advance(seconds=62.5)
        crash(app)
        assert told == ["tick", "tick"]
        await acron_time.advance(seconds=30)
    heir = opened()
    declare(heir, [])
    async with heir:
        (run,) = await heir.runs("work")
        assert (run.state, run.error) == (RunState.UNKNOWN, "the process died")
        assert (run.scheduled_at, run.attempt) == (START + MINUTE, 1)
        await acron_time.advance(minutes=1)
        assert [one.state for one in await heir.runs("work")] == ["succeeded", "unknown"]
    assert told == ["tick", "tick"]


async def test_an_idempotent_job_is_tried_again(opened: Open, acron_time: VirtualTime) -> None:
    app = opened()
    declare(app, [], idempotent=True)
    async with app:
        await acron_time.advance(seconds=62)
        crash(app)
    heir = opened()
    again: list[str] = []
    declare(heir, again, idempotent=True)
    async with heir:
        await acron_time.advance(seconds=20)
        runs = await heir.runs("work")
    assert [(run.attempt, run.state) for run in runs] == [(2, "succeeded"), (1, "unknown")]
    assert {run.scheduled_at for run in runs} == {START + MINUTE}
    assert again[-2:] == ["done", "finally"]


async def test_what_was_due_meanwhile_is_owed(opened: Open, acron_time: VirtualTime) -> None:
    app = opened()
    declare(app, [])
    async with app:
        await acron_time.advance(seconds=59)
        crash(app)
        await acron_time.advance(minutes=2, seconds=30)
    heir = opened()
    declare(heir, [])
    async with heir:
        await acron_time.advance(seconds=20)
        (run,) = await heir.runs("work")
        (skip,) = await heir.skips("work")
    assert (run.scheduled_at, run.state) == (START + 3 * MINUTE, "succeeded")
    assert (skip.reason, skip.count) == ("coalesced", 2)


async def test_a_delivery_in_the_middle_is_unknown_and_not_sent_again(
    opened: Open, acron_time: VirtualTime
) -> None:
    slow, chat = Slow("chat"), RecordingAdapter("chat")
    app = opened(adapters={"chat": slow})
    declare(app, [], deliver="chat:1")
    async with app:
        await acron_time.advance(seconds=75)
        assert len(slow.messages) == 1
        crash(app)
        await acron_time.advance(seconds=20)
    assert len(slow.messages) == 1  # it was killed in the middle
    heir = opened(adapters={"chat": chat})
    declare(heir, [], deliver="chat:1")
    async with heir:
        await acron_time.advance(seconds=20)
        (run,) = await heir.runs("work")
    assert (run.state, run.output) == (RunState.SUCCEEDED, "said")
    assert [one.state for one in run.deliveries] == ["unknown"]
    assert chat.messages == []


async def test_what_was_not_sent_yet_the_heir_sends(opened: Open, acron_time: VirtualTime) -> None:
    down, chat = RecordingAdapter("chat"), RecordingAdapter("chat")
    down.fail(times=9)
    app = opened(adapters={"chat": down})
    declare(app, [], deliver="chat:1")
    async with app:
        await acron_time.advance(seconds=75)
        crash(app)
    async with opened(adapters={"chat": chat}):
        await acron_time.advance(seconds=20)
    assert chat.texts == ["said"]
    assert len(down.refused) == 1


async def test_a_thread_in_flight_is_left_behind(opened: Open, acron_time: VirtualTime) -> None:
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    go_on, ended = threading.Event(), threading.Event()
    app = opened()

    @app.action
    def block() -> str:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        ended.set()
        return "too late"

    async with app:
        await app.add("in 1m", block, id="block")
        await begun.wait()
        crash(app)
        await asyncio.sleep(9)  # nothing of it holds time any more
    assert acron_time.now() == START + timedelta(seconds=69)
    async with opened() as heir:
        go_on.set()
        assert await asyncio.to_thread(ended.wait, 10)
        await acron_time.advance(minutes=1)
        (run,) = await heir.runs("block")
    assert (run.state, run.output) == (RunState.UNKNOWN, None)


@pytest.mark.parametrize("opened", ["jobs.json", "sqlite"], indirect=True)
async def test_two_nodes_and_one_of_them_dies(opened: Open, acron_time: VirtualTime) -> None:
    told: list[str] = []
    first, second = opened(), opened()
    declare(first, told)
    declare(second, told)
    async with first, second:
        await acron_time.advance(seconds=62.5)
        (run,) = await second.runs("work")
        dead, alive = (first, second) if run.node == first._node.id else (second, first)
        crash(dead)
        assert [node.alive for node in await alive.nodes()].count(True) == 1
        await acron_time.advance(minutes=1, seconds=20)
        runs = await alive.runs("work")
    assert [one.state for one in runs] == ["succeeded", "unknown"]
    assert runs[1].id == run.id


async def test_a_dead_app_says_so(opened: Open, acron_time: VirtualTime) -> None:
    app = opened(app="bot")
    declare(app, [])
    async with app:
        seen: list[object] = []

        async def listen() -> None:
            seen.extend([event async for event in app.events()])

        listening = asyncio.create_task(listen())
        await acron_time.settle()
        crash(app)
        await listening  # its events have an end
        for verb in (
            app.runs,
            app.tick,
            app.drain,
            app.status,
            app.run,
            lambda: app.add("in 1h", "work"),
            lambda: app.run_now("work"),
            lambda: app.drain(node="other"),
            app.__aenter__,
        ):
            with pytest.raises(Crashed, match=r"'bot'\) was crashed: open another one"):
                await verb()
        with pytest.raises(Crashed):
            app.events()
        with pytest.raises(Crashed):
            crash(app)
    assert app.node is None
    assert isinstance(app, Acron)


async def test_a_verb_under_way_is_told(opened: Open, acron_time: VirtualTime) -> None:
    app = opened()
    declare(app, [])
    async with app:
        waits = asyncio.create_task(app.run_now("work", wait=True))
        await acron_time.advance(seconds=5)
        crash(app)
        with pytest.raises(Crashed):
            await waits


@pytest.mark.parametrize("url", ["{}/jobs.json", "sqlite:///{}/jobs.db"])
async def test_transactions_under_way_and_those_that_wait(url: str, tmp_path: Path) -> None:
    store = open_store(url.format(tmp_path), tmp_path)
    assert isinstance(store, LocalStore)
    begun = threading.Event()

    def slowly(job_id: str, *_: object) -> Decision:
        begun.set()
        while not store._dropped:
            time.sleep(0.001)
        return Decision(Job(id=job_id, schedule="in 1h", action=Call("x"), bound="in 1h"))

    await store.open(START)
    under_way = asyncio.create_task(store.write(["first"], slowly, START))
    await asyncio.to_thread(begun.wait)
    waits = asyncio.create_task(store.write(["second"], slowly, START))
    await asyncio.sleep(0)
    store.drop()
    store.drop()  # twice is once
    assert len(await under_way) == 1
    with pytest.raises(StoreUnavailable, match="killed"):
        await waits
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.page()
    await store.close()
    await store.open(START)
    assert [job.id for job in await store.page()] == ["first"]
    await store.close()


async def test_whom_it_refuses(acron_time: VirtualTime, tmp_path: Path) -> None:
    app = Acron(MemoryStore(), clock=acron_time.clock)
    with pytest.raises(Exception, match="not open"):
        crash(app)
    refused: list[str] = []

    @app.action
    async def suicide() -> None:
        try:
            crash(app)
        except VirtualTimeError as error:
            refused.append(one_line(str(error)))

    async with app:
        await app.add("in 1m", suicide)
        await acron_time.advance(minutes=1)
    assert refused == ["a job cannot crash its own app, and go on: let the test do it"]


async def test_real_time_is_refused(tmp_path: Path) -> None:
    async with Acron(open_store(str(tmp_path / "jobs.json"), tmp_path)) as app:
        with pytest.raises(VirtualTimeError, match="acron_time"):
            crash(app)
        assert await app.runs() == []
