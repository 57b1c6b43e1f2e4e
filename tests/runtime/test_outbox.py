"""The outbox: what is tried again, what never is, and what is left after a death at each step."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Adapter, DeliveryError, Message, Output, Receipt, RunState
from acron.config import load_settings
from acron.errors import InvalidJob, JobConflict, StoreUnavailable
from acron.model import Delivery, Settings
from acron.runtime.deliver import ATTEMPTS
from acron.stores.json_file import JsonFileStore
from acron.stores.sqlite import SqliteStore
from acron.testing import RecordingAdapter, crash
from acron.testing.contracts.adapters import CANARY, HOSTILE, RAW

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from acron.abc import Settle, Store, Tell
    from acron.model import Decision, Run
    from acron.testing import VirtualTime


def make(time: VirtualTime, store: str | Store = "memory://", **more: Any) -> Acron:
    return Acron(store, clock=time.clock, **more)


async def the_run(app: Acron, ref: str = "news") -> Run:
    (run,) = await app.runs(ref)
    return run


def states(run: Run) -> dict[str, str]:
    return {one.target: one.state for one in run.deliveries}


def say(app: Acron, text: str | Output = "hello", schedule: str = "in 1m", **policies: Any) -> None:
    async def news() -> str:
        return text

    app.job(schedule, id="news", **policies)(news)


async def test_only_the_target_that_failed_is_told_again(acron_time: VirtualTime) -> None:
    one, two, three = (RecordingAdapter(name) for name in ("one", "two", "three"))
    two.fail(times=2)
    app = make(acron_time, adapters={"one": one, "two": two, "three": three})
    say(app, deliver="one,two,three")
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        first = await the_run(app)
        await acron_time.advance(minutes=2)
        last = await the_run(app)
        runs = await app.runs()
    assert states(first) == {"one": "delivered", "two": "pending", "three": "delivered"}
    waiting = first.deliveries[1]
    assert waiting.retry_at is not None
    assert (waiting.attempts, waiting.error) == (1, "told to fail")
    assert set(states(last).values()) == {"delivered"}
    assert [one.attempts for one in last.deliveries] == [1, 3, 1]
    assert [len(adapter.messages) for adapter in (one, two, three)] == [1, 1, 1]
    assert last.deliveries[1].retry_at is None
    assert last.deliveries[1].error is None
    assert (len(runs), last.state) == (1, RunState.SUCCEEDED)


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=365)])
async def test_a_clock_put_back_holds_up_no_message(
    acron_time: VirtualTime, back: timedelta
) -> None:
    """FAULTS 21: not in the process that waits, which does so by a clock that cannot be."""
    chat = RecordingAdapter("chat")
    chat.fail(times=1)
    app = make(acron_time, adapters={"chat": chat})
    say(app, deliver="chat")
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        acron_time.jump_clock(-back)
        await acron_time.advance(minutes=1)
        assert states(await the_run(app)) == {"chat": "delivered"}


async def test_what_waits_by_a_clock_behind_goes_out_when_that_is_put_right(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    address, chat = f"sqlite:///{tmp_path}/acron.db", RecordingAdapter("chat")
    chat.fail(times=1)
    app = make(acron_time, address, adapters={"chat": chat})
    say(app, deliver="chat")
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
    acron_time.jump_clock(-timedelta(hours=2))
    async with make(acron_time, address, adapters={"chat": chat}) as later:
        await acron_time.advance(minutes=5)
        assert states(await the_run(later)) == {"chat": "pending"}
        acron_time.jump_clock(timedelta(hours=2))
        await acron_time.advance(minutes=2)
        assert states(await the_run(later)) == {"chat": "delivered"}
    assert len(chat.messages) == 1


async def test_what_a_clock_a_year_ahead_put_off_is_sent_by_the_next_process(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    address, chat = f"sqlite:///{tmp_path}/acron.db", RecordingAdapter("chat")
    chat.fail(times=1)
    app = make(acron_time, address, adapters={"chat": chat})
    say(app, deliver="chat")
    acron_time.jump_clock(timedelta(days=365))
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        assert states(await the_run(app)) == {"chat": "pending"}
    acron_time.jump_clock(-timedelta(days=365))
    async with make(acron_time, address, adapters={"chat": chat}) as later:
        await acron_time.advance(minutes=5)
        assert states(await the_run(later)) == {"chat": "delivered"}


async def test_it_gives_up_in_the_end_and_the_run_has_succeeded(acron_time: VirtualTime) -> None:
    chat = RecordingAdapter("chat")
    chat.fail(ConnectionError("down"), times=100)
    app = make(acron_time, adapters={"chat": chat})
    say(app, deliver="chat")
    async with app:
        await acron_time.advance(hours=25)
        run = await the_run(app)
    (delivery,) = run.deliveries
    assert (delivery.state, delivery.attempts) == ("failed", ATTEMPTS)
    assert delivery.error == "ConnectionError: down"
    assert len(chat.refused) == ATTEMPTS
    assert run.state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    "error, state",
    [
        (DeliveryError("no such chat", permanent=True), "failed"),
        (DeliveryError("come back next week", retry_after=7 * 86400), "failed"),
        (DeliveryError("lost", unknown=True), "unknown"),
        (TimeoutError(), "unknown"),
    ],
    ids=["permanent", "too long", "unknown", "timeout"],
)
async def test_what_cannot_help_or_may_have_gone_out_is_not_tried_again(
    acron_time: VirtualTime, error: Exception, state: str
) -> None:
    chat = RecordingAdapter("chat")
    chat.fail(error)
    app = make(acron_time, adapters={"chat": chat})
    say(app, deliver="chat")
    async with app:
        await acron_time.advance(hours=30)
        (delivery,) = (await the_run(app)).deliveries
    assert (delivery.state, delivery.attempts, chat.messages) == (state, 1, [])
    assert delivery.error


async def test_what_is_repeatable_is_told_again_when_nobody_knows(acron_time: VirtualTime) -> None:
    chat = RecordingAdapter("chat")
    chat.repeatable = True
    chat.fail(TimeoutError())
    app = make(acron_time, adapters={"chat": chat})
    say(app, deliver="chat")
    async with app:
        await acron_time.advance(hours=2)
        (delivery,) = (await the_run(app)).deliveries
    assert (delivery.state, delivery.attempts, len(chat.messages)) == ("delivered", 2, 1)


async def test_the_platform_says_when_to_come_again(acron_time: VirtualTime) -> None:
    chat = RecordingAdapter("chat")
    chat.fail(DeliveryError("slow down", retry_after=600))
    app = make(acron_time, adapters={"chat": chat})
    say(app, deliver="chat")
    async with app:
        await acron_time.advance(minutes=1, seconds=599)
        assert chat.messages == []
        await acron_time.advance(seconds=2)
        assert len(chat.messages) == 1


class Timed(RecordingAdapter):
    """Notes when each message came, on the loop's clock."""

    def __init__(self, name: str, **limits: Any) -> None:
        super().__init__(name)
        self.rate = limits.get("rate")
        self.limit = limits.get("limit")
        self.at: list[float] = []

    async def send(self, message: Message) -> Receipt:
        self.at.append(asyncio.get_running_loop().time())
        return await super().send(message)


async def test_no_more_a_second_than_the_platform_takes(acron_time: VirtualTime) -> None:
    slow, quick = Timed("slow", rate=2), Timed("quick")
    app = make(acron_time, adapters={"slow": slow, "quick": quick})

    @app.action
    async def news() -> str:
        return "hello"

    async with app:
        row = {"schedule": "in 1m", "action": "news", "deliver": "slow,quick"}
        await app.add_many([{**row, "id": f"n{n}"} for n in range(10)])
        await acron_time.advance(minutes=1, seconds=10)
    gaps = [later - first for first, later in zip(slow.at, slow.at[1:], strict=False)]
    assert len(gaps) == 9
    assert min(gaps) >= 0.5
    assert quick.at[-1] - quick.at[0] < 0.5


async def test_a_long_text_comes_in_parts_with_a_receipt_each(acron_time: VirtualTime) -> None:
    chat = Timed("chat", limit=200)
    app = make(acron_time, adapters={"chat": chat})
    say(app, "tea " * 120, deliver="chat")
    async with app:
        await acron_time.advance(hours=2)
        (delivery,) = (await the_run(app)).deliveries
    assert [message.part for message in chat.messages] == [0, 1, 2]
    assert (delivery.state, delivery.receipt, delivery.parts) == ("delivered", "1, 2, 3", 3)


async def test_a_part_that_was_taken_is_not_sent_again(acron_time: VirtualTime) -> None:
    class SecondFails(Timed):
        async def send(self, message: Message) -> Receipt:
            if message.part == 1 and not self.refused:
                self.fail()
            return await super().send(message)

    chat = SecondFails("chat", limit=200)
    app = make(acron_time, adapters={"chat": chat})
    say(app, "tea " * 120, deliver="chat")
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        between = (await the_run(app)).deliveries[0]
        await acron_time.advance(hours=1)
        last = (await the_run(app)).deliveries[0]
    assert (between.state, between.parts, between.receipt) == ("pending", 1, "1")
    assert (last.state, last.parts, last.receipt) == ("delivered", 3, "1, 2, 3")
    assert [message.part for message in chat.messages] == [0, 1, 2]


class Dies(JsonFileStore):
    """A process that dies when it is about to commit its ``at``-th step of a delivery."""

    def __init__(self, path: Path, at: int) -> None:
        super().__init__(path)
        self.left = at

    async def mark(self, run: Run, change: Tell) -> Run | None:
        if self.left == 0:
            await asyncio.Event().wait()
        self.left -= 1
        return await super().mark(run, change)


#: Step by step: what is committed (expanded, a sending, b sending, a, then b has failed).
@pytest.mark.parametrize("at", range(7))
async def test_a_death_at_each_step_sends_at_most_once(
    acron_time: VirtualTime, tmp_path: Path, at: int
) -> None:
    path = tmp_path / "jobs.json"
    settings = Settings(home_channels={"a": "1", "b": "2"})
    a, b = RecordingAdapter("a"), RecordingAdapter("b")
    b.fail()
    dying = Dies(path, at)
    app = make(acron_time, dying, adapters={"a": a, "b": b}, settings=settings)
    say(app, schedule="in 1m", deliver="all")
    await app.__aenter__()
    await acron_time.advance(minutes=1, seconds=30)
    await dying.close()  # as the kernel does for the dead: the node's lock is free
    died_with = asyncio.all_tasks() - {asyncio.current_task()}

    heir = make(acron_time, str(path), adapters={"a": a, "b": b}, settings=settings)
    say(heir, schedule="in 1m", deliver="all")
    async with heir:
        await acron_time.advance(minutes=2)
        run = await the_run(heir)
    assert run.output == "hello"
    for adapter, one in zip((a, b), run.deliveries, strict=True):
        assert one.target == f"{adapter.name}:{'12'['ab'.index(adapter.name)]}"
        assert len(adapter.messages) <= 1
        assert one.state in {"delivered", "unknown"}
        if one.state == "delivered":
            assert len(adapter.messages) == 1
            assert one.receipt
    for task in died_with:
        task.cancel()
    await asyncio.wait(died_with)


async def test_what_waits_is_sent_after_a_restart_and_not_before_its_time(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    chat = RecordingAdapter("chat")
    chat.fail(DeliveryError("slow down", retry_after=3600))
    app = make(acron_time, str(tmp_path / "jobs.json"), adapters={"chat": chat})
    say(app, deliver="chat")
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
    begun = asyncio.get_running_loop().time()
    async with app:  # again, with what the first left
        assert asyncio.get_running_loop().time() - begun < 1  # nothing held its end
        await acron_time.advance(minutes=59)
        assert chat.messages == []
        await acron_time.advance(minutes=2)
        assert states(await the_run(app)) == {"chat": "delivered"}
    assert len(chat.messages) == 1


class Stuck(Adapter):
    """Blocks its thread until it is let go, once."""

    name = "stuck"
    blocking = True

    def __init__(self) -> None:
        self.go = threading.Event()

    def send(self, message: Message) -> Receipt:
        self.go.wait(20)
        return Receipt("sent")


async def test_a_blocking_adapter_that_hangs_delays_neither_fires_nor_other_targets() -> None:
    """More messages hang than there are threads; another blocking adapter has its own."""
    stuck, other, quick = Stuck(), Stuck(), RecordingAdapter("quick")
    other.go.set()
    settings = Settings(max_threads=2)
    adapters = {"stuck": stuck, "other": other, "quick": quick}
    app = Acron("memory://", adapters=adapters, settings=settings)

    @app.action
    def news() -> str:
        return "hello"

    async with app:
        for n in range(5):
            await app.add("every 24h", "news", id=f"n{n}", deliver="stuck,other,quick")
            assert (await app.run_now(f"n{n}", wait=True)).state is RunState.SUCCEEDED
        while True:
            told = [states(run) for run in await app.runs()]
            if all(one["other"] == one["quick"] == "delivered" for one in told):
                break
            await asyncio.sleep(0.001)
        assert {one["stuck"] for one in told} == {"sending"}
        stuck.go.set()
    assert len(quick.messages) == 5


async def test_home_channels_origin_and_all(acron_time: VirtualTime) -> None:
    a, b = RecordingAdapter("a"), RecordingAdapter("b")
    settings = Settings(home_channels={"a": "home"})
    app = make(acron_time, adapters={"a": a, "b": b}, settings=settings)
    say(app, deliver=["all", "a", "origin", "a:home", "b"], origin="b:7:9")
    async with app:
        await acron_time.advance(hours=2)
        run = await the_run(app)
    assert states(run) == dict.fromkeys(["a:home", "b:7:9", "b"], "delivered")
    assert [message.to for message in a.messages] == ["home"]
    assert [message.to for message in b.messages] == ["7:9", ""]


async def test_an_origin_that_is_not_known_is_refused(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.action
    async def news() -> str:
        return "hello"

    async with app:
        with pytest.raises(InvalidJob, match="no origin"):
            await app.add("in 1h", news, deliver="origin")
        with pytest.raises(InvalidJob, match="no origin"):
            await app.add("in 1h", news, deliver_failure="origin")
        await app.add("in 1h", news, deliver="origin", origin="log")


async def test_failures_may_go_elsewhere(acron_time: VirtualTime) -> None:
    people, ops = RecordingAdapter("people"), RecordingAdapter("ops")
    app = make(acron_time, adapters={"people": people, "ops": ops})
    policies = {"deliver": "people", "deliver_failure": "ops"}
    say(app, **policies)

    @app.job("in 1m", **policies)
    async def broken() -> str:
        raise ValueError("no tea")

    async with app:
        await acron_time.advance(hours=2)
    assert people.texts == ["hello"]
    (text,) = ops.texts
    assert "no tea" in text


async def test_a_late_reminder_says_how_late(acron_time: VirtualTime, tmp_path: Path) -> None:
    chat = RecordingAdapter("chat", verbatim=False)
    app = make(acron_time, str(tmp_path / "jobs.json"), adapters={"chat": chat})
    say(app, schedule="in 1h", deliver="chat")
    async with app:
        await acron_time.settle()
    await acron_time.advance(hours=4)
    async with app:
        await acron_time.advance(seconds=1)
    assert chat.texts == ["news (3 h late)\n\nhello\n\n(news, run r1)"]


async def test_the_wrapper_can_be_replaced(acron_time: VirtualTime) -> None:
    chat = RecordingAdapter("chat", verbatim=False)
    settings = load_settings(environ={}, wrap="<{id}> {text}")
    app = make(acron_time, adapters={"chat": chat}, settings=settings)
    say(app, "hi @everyone", deliver="chat")
    async with app:
        await acron_time.advance(hours=2)
    assert chat.texts == ["<news> hi @\u200beveryone"]


async def test_no_sink_shows_a_secret(
    acron_time: VirtualTime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    chat = RecordingAdapter("chat")
    chat.fail(DeliveryError(f"POST https://me:{CANARY}@host refused, token={CANARY}\r\n"))
    phone = RecordingAdapter("apprise")
    phone.fail(OSError(f"POST json://me:{CANARY}@host/{CANARY} said no to {CANARY}"))
    app = make(acron_time, adapters={"chat": chat, "apprise": phone})
    say(app, HOSTILE, deliver=["chat", f"json://me:{CANARY}@host/{CANARY}"])
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        run = await the_run(app)
        await acron_time.advance(hours=2)
    lines = [record.getMessage() for record in caplog.records]
    assert any("json://***" in line or "chat failed" in line for line in lines)
    assert len(phone.messages) == 1
    for text in (*lines, *chat.texts, *phone.texts, *(one.error or "" for one in run.deliveries)):
        assert CANARY not in text
        assert not RAW.search(text)


async def test_people_can_send_again(acron_time: VirtualTime) -> None:
    a, b = RecordingAdapter("a"), RecordingAdapter("b")
    a.fail(TimeoutError())
    app = make(acron_time, adapters={"a": a, "b": b})
    say(app, deliver="a:1,b:1")
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        run = await the_run(app)
        assert [(one.target, one.state) for _, one in await app.deliveries()] == [
            ("a:1", "unknown"),
            ("b:1", "delivered"),
        ]
        assert [one.target for _, one in await app.deliveries("unknown")] == ["a:1"]
        told = await app.resend(run.id, "a:1")
        assert states(told) == {"a:1": "delivered", "b:1": "delivered"}
        assert await app.deliveries("unknown") == []
        assert (len(a.messages), len(b.messages)) == (1, 1)
        with pytest.raises(InvalidJob, match="there are: a:1, b:1"):
            await app.resend(run.id, "c:1")


class Slow(RecordingAdapter):
    """Takes ten seconds to send."""

    async def send(self, message: Message) -> Receipt:
        await asyncio.sleep(10)
        return await super().send(message)


async def test_what_is_under_way_is_not_sent_twice(acron_time: VirtualTime) -> None:
    chat = Slow("chat")
    app = make(acron_time, adapters={"chat": chat})
    say(app, deliver="chat")
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        with pytest.raises(JobConflict, match="under way"):
            await app.resend((await the_run(app)).id, "chat")
        await acron_time.advance(hours=1)
    assert len(chat.messages) == 1


async def test_who_sends_again_and_gives_up_leaves_the_truth(acron_time: VirtualTime) -> None:
    chat = Slow("chat")
    app = make(acron_time, adapters={"chat": chat})
    say(app, deliver="chat")
    async with app:
        await acron_time.advance(minutes=1, seconds=11)
        run = await the_run(app)
        assert states(run) == {"chat": "delivered"}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(app.resend(run.id, "chat"), 1)
        await acron_time.advance(seconds=10)
        assert states(await the_run(app)) == {"chat": "delivered"}
    assert len(chat.messages) == 2


class Taker(RecordingAdapter):
    """Keeps what was in the files, and where they were."""

    takes_files = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.read: list[tuple[str, bytes, int]] = []

    async def send(self, message: Message) -> Receipt:
        for path in message.files:
            self.read.append((path.name, path.read_bytes(), path.stat().st_mode & 0o777))
        return await super().send(message)


async def test_files_go_with_the_output_though_their_own_are_gone(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    taker, reader = Taker("taker"), RecordingAdapter("reader")
    taker.fail()  # they must outlive a retry
    store = str(tmp_path / "jobs.json")
    app = make(acron_time, store, adapters={"taker": taker, "reader": reader})
    made = tmp_path / "made"
    (made / "sub").mkdir(parents=True)
    chart, same = made / "chart.png", made / "sub" / "chart.png"

    @app.job("in 1m", deliver="taker,reader")
    async def news() -> str:
        chart.write_bytes(b"one")
        same.write_bytes(b"two")
        return Output("see", files=[chart, same, made / "missing", made])

    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        chart.unlink()
        await acron_time.advance(minutes=5)
        run = await the_run(app)
    assert taker.read == 2 * [("chart.png", b"one", 0o600), ("2-chart.png", b"two", 0o600)]
    assert run.files == ("chart.png", "2-chart.png")
    (text,) = reader.texts
    assert "Files: chart.png, 2-chart.png" in text
    assert "[not attached: missing: No such file or directory]" in text
    assert "[not attached: made: " in text


async def test_a_picture_needs_no_words(acron_time: VirtualTime, tmp_path: Path) -> None:
    taker = Taker("taker")
    picture = tmp_path / "x.png"
    picture.write_bytes(b"png")
    app = make(acron_time, str(tmp_path / "jobs.json"), adapters={"taker": taker})
    say(app, Output(files=[picture]), deliver="taker")
    async with app:
        await acron_time.advance(minutes=2)
    assert [name for name, _, _ in taker.read] == ["x.png"]


def test_an_output_is_its_text() -> None:
    assert Output("tea", files=["a"]) == "tea"
    assert Output("tea", files=["a"]).files == ("a",)
    assert (Output(), Output().files) == ("", ())


async def test_a_file_that_cannot_be_named_costs_no_end(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    app = make(acron_time, str(tmp_path / "jobs.json"))
    say(app, Output("see", files=["a\0b", "c\ud800", b"/nowhere"]))
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        run = await the_run(app)
    assert (run.state, run.files) == (RunState.SUCCEEDED, ())
    assert (run.output or "").count("[not attached: ") == 3


@pytest.mark.parametrize("kind", ["jobs.json", "sqlite:///jobs.db"])
async def test_another_process_does_not_undo_what_a_node_is_telling(
    acron_time: VirtualTime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    store = kind
    a, b = RecordingAdapter("a"), RecordingAdapter("b")
    a.fail(TimeoutError())
    b.fail(times=2)
    app = make(acron_time, store, adapters={"a": a, "b": b})
    beside = make(acron_time, store, adapters={"a": a, "b": b})
    say(app, deliver="a:1,b:1")
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        run = await the_run(app)
        assert states(run) == {"a:1": "unknown", "b:1": "pending"}
        async with beside.attached(firing=True):
            with pytest.raises(JobConflict, match="b:1 is under way"):
                await beside.resend(run.id, "b:1")
            told = await beside.resend(run.id, "a:1")
            assert states(told) == {"a:1": "delivered", "b:1": "pending"}
            await acron_time.advance(minutes=2)
        told = await the_run(app)
        assert states(told) == {"a:1": "delivered", "b:1": "delivered"}
        assert told.deliveries[0].sender is None
    assert (len(a.messages), len(b.messages)) == (1, 1)


async def test_what_is_sent_again_elsewhere_is_tried_once(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    """Nobody would know of a further try: the process is a command, and the node has let go."""
    store = f"sqlite:///{tmp_path / 'jobs.db'}"
    chat = RecordingAdapter("chat")
    chat.fail(DeliveryError("no", permanent=True))
    app = make(acron_time, store, adapters={"chat": chat})
    beside = make(acron_time, store, adapters={"chat": chat})
    say(app, deliver="chat:1")
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        run = await the_run(app)
        async with beside.attached(firing=True):
            chat.fail()
            (told,) = (await beside.resend(run.id, "chat:1")).deliveries
            assert (told.state, told.retry_at, told.error) == ("failed", None, "told to fail")
            (told,) = (await beside.resend(run.id, "chat:1")).deliveries
            assert told.state == "delivered"


async def test_who_cannot_send_it_again_leaves_what_came_of_it(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path / 'jobs.db'}"
    app = make(acron_time, store, adapters={"chat": RecordingAdapter("chat")})
    beside = make(acron_time, store)
    say(app, deliver="chat:1")
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        run = await the_run(app)
        async with beside.attached(firing=True):
            with pytest.raises(InvalidJob, match="no adapter here for 'chat:1'"):
                await beside.resend(run.id, "chat:1")
        told = await the_run(app)
    assert told.deliveries == run.deliveries
    assert (told.deliveries[0].state, told.deliveries[0].receipt) == ("delivered", "1")


async def test_two_who_send_again_at_once_send_once(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    """Also beside the live node whose run it is; one who dies at it blocks nobody for good."""
    store = f"sqlite:///{tmp_path / 'jobs.db'}"

    class Slow(RecordingAdapter):
        async def send(self, message: Message) -> Receipt:
            await asyncio.sleep(5 if self.refused else 0)
            return await super().send(message)

    chat = Slow("chat")
    chat.fail(DeliveryError("no", permanent=True))
    apps = [make(acron_time, store, adapters={"chat": chat}) for _ in range(3)]
    say(apps[0], deliver="chat:1")
    async with apps[0]:
        await acron_time.advance(minutes=1, seconds=1)
        run = await the_run(apps[0])
        async with apps[1].attached(firing=True), apps[2].attached(firing=True):
            both = [asyncio.create_task(app.resend(run.id, "chat:1")) for app in apps[1:]]
            await acron_time.advance(seconds=1)
            assert [type(one.exception()) for one in both if one.done()] == [JobConflict]
            with pytest.raises(JobConflict, match="under way"):
                await apps[0].resend(run.id, "chat:1")
            await acron_time.advance(seconds=10)
        assert states(await the_run(apps[0])) == {"chat:1": "delivered"}
    assert len(chat.messages) == 1


async def test_who_dies_while_sending_again_blocks_nobody(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path / 'jobs.db'}"
    chat = RecordingAdapter("chat")
    chat.fail(DeliveryError("no", permanent=True))
    app = make(acron_time, store, adapters={"chat": chat})
    say(app, deliver="chat:1")
    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        run = await the_run(app)
        gone = Delivery("chat:1", "sending", attempts=1, sender="a node that is gone")
        assert await app.store.mark(run, lambda _: (gone,)) is not None
        assert states(await app.resend(run.id, "chat:1")) == {"chat:1": "delivered"}


class Unheard(SqliteStore):
    """Its first answer to ``recover`` is lost, when there was something to recover."""

    lost = False

    async def recover(self, now: datetime, settle: Settle) -> list[Decision]:
        decisions = await super().recover(now, settle)
        if decisions and not self.lost:
            self.lost = True
            raise StoreUnavailable("the answer was lost", address=self.address)
        return decisions


async def test_what_was_taken_over_in_a_transaction_whose_answer_was_lost(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    """It is ours, then, and nobody else will send it."""
    path, chat = tmp_path / "acron.db", RecordingAdapter("chat")
    heir = make(acron_time, store := Unheard(path), adapters={"chat": chat})
    async with heir:
        dead = make(acron_time, f"sqlite:///{path}", adapters={"chat": chat})

        async def news() -> None:
            await asyncio.sleep(10)

        dead.job("in 1m", id="news", deliver="chat")(news)
        async with dead:
            await acron_time.advance(minutes=1, seconds=5)
            crash(dead)
            await acron_time.advance(minutes=30)
        run = await the_run(heir)
    assert store.lost
    assert (run.state, states(run)) == (RunState.UNKNOWN, {"chat": "delivered"})
    assert len(chat.messages) == 1
