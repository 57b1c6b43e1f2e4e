"""Incidents from a failure to its end, and who is told of them."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from acron import Acron, Adapter, Command, Context, JobNotFound, Message, Receipt, Retry, RunState
from acron.errors import StoreUnavailable
from acron.events import Alerted, Event
from acron.incidents import alerted, opened
from acron.model import Decision, Settings
from acron.stores.json_file import JsonFileStore
from acron.stores.memory import MemoryStore
from acron.testing import RecordingAdapter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from acron.abc import Change, Decide, Store
    from acron.model import Incident
    from acron.testing import VirtualTime


def make(acron_time: VirtualTime, store: Any = "memory://", **options: Any) -> Acron:
    settings = Settings(alerts=options.pop("alerts", ()))
    return Acron(store, clock=acron_time.clock, settings=settings, **options)


def told(incidents: list[Incident]) -> list[tuple[str, str, str, int]]:
    return [(one.id, one.kind, one.state, one.count) for one in incidents]


async def test_failures_are_counted_told_once_and_resolved(
    acron_time: VirtualTime, caplog: pytest.LogCaptureFixture
) -> None:
    chat = RecordingAdapter("chat")
    app = make(acron_time, alerts=("chat:ops",), adapters={"chat": chat})
    broken = True
    events: list[Event] = []

    @app.job("every 1h", deliver=())
    async def tea(ctx: Context) -> None:
        if broken:
            raise ValueError(f"no kettle {ctx.run_id}")

    async def listen() -> None:
        events.extend([event async for event in app.events() if isinstance(event, Alerted)])

    async with app:
        listening = asyncio.create_task(listen())
        await acron_time.advance(hours=3, minutes=1)
        (one,) = await app.incidents()
        assert told([one]) == [("tea/1", "failure", "alerted", 3)]
        newest = (await app.runs("tea"))[0]
        assert (one.run_id, one.error) == (newest.id, f"ValueError: no kettle {newest.id}")
        assert (await app.status()).incidents == 1
        broken = False
        await acron_time.advance(hours=1)
        assert told(await app.incidents()) == [("tea/1", "failure", "resolved", 3)]
        assert await app.incidents("open") == []
        assert (await app.status()).incidents == 0
        broken = True
        await acron_time.advance(hours=1)
        assert told(await app.incidents("open")) == [("tea/2", "failure", "alerted", 1)]
    await listening
    assert [event.incident.id for event in events if isinstance(event, Alerted)] == [
        "tea/1",
        "tea/2",
    ]
    (first, _) = chat.messages
    assert first.to == "ops"
    assert "tea has failed: ValueError: no kettle" in first.text
    assert "acron incidents" in first.text
    logged = [one for one in caplog.records if one.name == "acron.incidents"]
    assert [(one.levelno, one.args and one.args[2]) for one in logged] == [  # type: ignore[index]
        (logging.ERROR, "tea/1"),
        (logging.ERROR, "tea/2"),
    ]


async def test_only_the_last_attempt_is_an_incident(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("in 1m", retry=Retry(attempts=3, delay=60, jitter=0))
    async def tea() -> None:
        raise OSError

    async with app:
        await acron_time.advance(minutes=2)
        assert await app.incidents() == []
        await acron_time.advance(minutes=10)
        assert told(await app.incidents()) == [("tea/1", "failure", "alerted", 1)]


async def test_a_timeout_is_one_and_a_cancelled_run_is_none(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("in 1m", timeout=5)
    async def slow() -> None:
        await asyncio.sleep(60)

    @app.job("in 1m")
    async def stopped() -> None:
        await asyncio.sleep(600)

    async with app:
        await acron_time.advance(minutes=2)
        await app.cancel((await app.runs("stopped"))[0].id)
        await acron_time.advance(minutes=1)
        assert told(await app.incidents()) == [("slow/1", "failure", "alerted", 1)]


async def test_what_is_acknowledged_tells_no_more(acron_time: VirtualTime) -> None:
    chat = RecordingAdapter("chat")
    app = make(acron_time, alerts=("chat:ops",), adapters={"chat": chat})

    @app.job("every 1h", deliver=())
    async def tea() -> None:
        raise ValueError

    async with app:
        await acron_time.advance(hours=1, minutes=1)
        known = await app.acknowledge("tea/1")
        assert (known.state, known.closed_at) == ("acknowledged", acron_time.now())
        await acron_time.advance(hours=2)
        assert told(await app.incidents("acknowledged")) == [
            ("tea/1", "failure", "acknowledged", 3)
        ]
        assert await app.incidents("open") == []
        for missing in ("tea/2", "coffee/1", "tea", ""):
            with pytest.raises(JobNotFound, match="no incident"):
                await app.acknowledge(missing)
    assert len(chat.messages) == 1


@pytest.mark.usefixtures("alone")
async def test_a_one_shot_that_is_missed_is_an_incident(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    async def opened() -> Acron:
        app = make(acron_time, str(tmp_path / "jobs.json"))
        app.job("2026-01-01T06:00", id="once")(nothing)
        app.job("every 1h", id="often", catch_up="none", grace=60)(nothing)
        return app

    async with await opened():
        await acron_time.advance(hours=1)
    acron_time.jump_clock(timedelta(days=3))
    async with await opened() as app:
        await acron_time.advance(seconds=10)
        (one,) = await app.incidents()
        assert (one.id, one.kind, one.state) == ("once/1", "misfire", "alerted")
        assert "2026-01-01T06:00:00+00:00" in one.error
        assert {skip.job_id for skip in await app.skips()} == {"once", "often"}


async def nothing() -> None: ...


async def test_a_run_that_dies_with_its_process_is_an_incident(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    store = JsonFileStore(tmp_path / "jobs.json")
    app = make(acron_time, store)

    @app.job("in 1m")
    async def tea() -> None:
        await asyncio.sleep(3600)

    async with app:
        await acron_time.advance(minutes=2)
        store._nodes.close()  # as the system does when a process dies
        async with make(acron_time, str(tmp_path / "jobs.json"), app="heir") as heir:
            await acron_time.settle()
            (one,) = await heir.incidents()
            assert (one.kind, one.state, one.error) == ("failure", "alerted", "the process died")
        (run,) = await app.runs("tea")
        assert run.state is RunState.UNKNOWN


class Flaky(MemoryStore):
    """Refuses to write while told so."""

    down = False

    async def write(self, ids: Sequence[str], change: Change, now: datetime) -> list[Decision]:
        if self.down:
            raise StoreUnavailable("down")
        return await super().write(ids, change, now)


@pytest.mark.parametrize("fault", ["target", "store"])
async def test_what_could_not_be_told_is_told_again(
    acron_time: VirtualTime, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    chat, store = RecordingAdapter("chat"), Flaky()
    app = make(acron_time, store, alerts=("chat:ops",), adapters={"chat": chat})

    @app.job("in 1m", deliver=())
    async def tea() -> None:
        raise ValueError

    async with app:
        store.down = fault == "store"
        if fault == "target":
            chat.fail(times=1)
        await acron_time.advance(minutes=1, seconds=1)
        assert told(await app.incidents()) == [("tea/1", "failure", "detected", 1)]
        store.down = False
        await acron_time.advance(minutes=5)
        assert told(await app.incidents()) == [("tea/1", "failure", "alerted", 1)]
    assert len(chat.messages) == (2 if fault == "store" else 1)
    assert sum(one.name == "acron.incidents" for one in caplog.records) == 1


async def test_a_target_that_nobody_serves_holds_no_other(acron_time: VirtualTime) -> None:
    chat = RecordingAdapter("chat")
    app = make(acron_time, alerts=("nowhere:1", "chat:ops"), adapters={"chat": chat})

    @app.job("in 1m", deliver=())
    async def tea() -> None:
        raise ValueError

    async with app:
        await acron_time.advance(minutes=2)
        assert told(await app.incidents()) == [("tea/1", "failure", "alerted", 1)]
    assert len(chat.messages) == 1


async def test_what_a_dead_process_left_untold_is_told(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    """It died after the end of the run was saved, and before anybody was told."""
    path = str(tmp_path / "jobs.json")
    async with make(acron_time, path).attached() as app:
        job = await app.add("every 5h", Command("true"), id="tea")

        def change(*_: object) -> Decision:
            left = opened(job, "failure", "exit 1", acron_time.now())
            left = alerted(opened(left, "failure", "known", acron_time.now()), "tea/2")
            return Decision(left)

        await app.store.write(["tea"], change, acron_time.now())
    chat = RecordingAdapter("chat")
    async with make(acron_time, path, alerts=("chat:ops",), adapters={"chat": chat}) as app:
        await acron_time.advance(minutes=10)
        assert {one.state for one in await app.incidents()} == {"alerted"}
    (message,) = chat.messages
    assert "exit 1" in message.text


class Dying(Adapter):
    """The program ends while it sends."""

    name = "chat"

    async def send(self, message: Message) -> Receipt:
        await asyncio.sleep(3600)
        return Receipt("never")


async def test_a_stop_is_not_held_up_by_an_alert(acron_time: VirtualTime) -> None:
    app = make(acron_time, alerts=("chat:ops",), adapters={"chat": Dying()})

    @app.job("in 1m", deliver=())
    async def tea() -> None:
        raise ValueError

    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        begun = acron_time.now()
    assert acron_time.now() - begun < timedelta(seconds=30)


# --- absence


async def test_a_job_that_nobody_can_run_is_absent_until_it_fires(acron_time: VirtualTime) -> None:
    store = MemoryStore()
    chat = RecordingAdapter("chat")
    app = make(acron_time, store, alerts=("chat:ops",), adapters={"chat": chat})
    can = False
    real = app._call.offers
    app._call.offers = lambda: real() if can else ()  # type: ignore[method-assign]

    @app.action
    async def brew() -> None: ...

    async with app:
        await app.add("every 1h", brew, id="tea")
        await acron_time.advance(hours=1, minutes=1)
        assert await app.incidents() == []  # late, and not yet absent
        await acron_time.advance(minutes=20)
        (one,) = await app.incidents()
        assert (one.id, one.kind, one.state, one.count) == ("tea/1", "absence", "alerted", 1)
        assert "should have fired at 2026-01-01T01:00:00+00:00" in one.error
        assert "no live process can run call:" in one.error
        await acron_time.advance(hours=2)
        assert told(await app.incidents()) == [("tea/1", "absence", "alerted", 1)]
        can = True
        await acron_time.advance(hours=1)
        assert told(await app.incidents()) == [("tea/1", "absence", "resolved", 1)]
    (message,) = chat.messages
    assert "tea has not fired: should have fired" in message.text


async def test_what_waits_for_its_turn_is_not_absent(acron_time: VirtualTime) -> None:
    app = make(acron_time, max_running=2)

    @app.job("every 1h", overlap="queue")
    async def long(ctx: Context) -> None:
        await asyncio.sleep(6 * 3600)

    async with app:
        await acron_time.advance(hours=4)
        (job,) = [job async for job in app.jobs()]
        assert job.due_at is not None  # overdue for hours: a run before still goes on
        assert job.due_at < acron_time.now() - timedelta(hours=1)
        await app.add("every 1h", Command("true"), id="full", start=acron_time.now())
        app.settings = replace(app.settings)
        assert app._runtime is not None
        app._runtime._settings = replace(app.settings, max_running=1)
        await acron_time.advance(minutes=70)
        assert await app.incidents() == []  # no slot is free for it


class Idle(MemoryStore):
    """Claims nothing, as a process that is stuck."""

    async def claim(
        self, now: datetime, limit: int, can_run: Any, decide: Decide, *, only: str | None = None
    ) -> list[Decision]:
        return []


async def test_a_job_that_nobody_fires_is_absent(acron_time: VirtualTime) -> None:
    store: Store = Idle()
    app = make(acron_time, store)

    @app.job("in 1h")
    async def tea() -> None: ...

    async with app:
        await acron_time.advance(hours=1, minutes=20)
        (one,) = await app.incidents()
    assert (one.kind, one.error.partition("; ")[2]) == ("absence", "nothing has fired it")
