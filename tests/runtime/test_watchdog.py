"""Who blocks the loop is told from frames; what then is late says why. Real blocks are in
e2e/test_watchdog.py."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from acron import Acron, RunState
from acron.model import Due, Job, Node, Settings
from acron.runtime.claim import Decider
from acron.runtime.run import contain, current_attempt
from acron.runtime.watchdog import Block, Culprit, Watchdog, culprit_of, excuse
from acron.specs import Call
from acron.status import health, judge
from acron.stores.memory import MemoryStore
from acron.testing import VirtualClock
from acron.timetable import bind

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from acron.testing import VirtualTime

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CULPRIT = Culprit(None, "report.py:88", "/x/report.py:88 in crunch")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def here() -> Culprit | None:
    """Who is at work, as the thread would see it."""
    return culprit_of(sys._getframe(1))


def line() -> int:
    return sys._getframe(1).f_lineno


async def test_a_job_is_named_with_its_line(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    seen: dict[str, tuple[Culprit | None, int]] = {}

    @app.job("in 1m")
    async def itself() -> None:
        seen["itself"] = here(), line()

    @app.job("in 1m")
    async def child() -> None:
        async def work() -> None:
            await asyncio.sleep(1)
            seen["child"] = here(), line()

        await asyncio.create_task(work())

    @app.job("in 1m")
    async def callback() -> None:
        def work() -> None:
            seen["callback"] = here(), line()

        asyncio.get_running_loop().call_later(5, work)
        await asyncio.sleep(10)

    async with app:
        await acron_time.advance(minutes=2)
        assert {run.state for run in await app.runs()} == {RunState.SUCCEEDED}
    assert seen.keys() == {"itself", "child", "callback"}
    for job_id, (culprit, number) in seen.items():
        assert culprit is not None
        assert str(culprit) == f"job {job_id} at test_watchdog.py:{number}"
        assert culprit.stack.startswith(f"{__file__}:{number} in ")
        assert "acron/runtime" not in culprit.stack


async def test_the_library_that_blocks_is_not_named_but_who_called_it(
    acron_time: VirtualTime,
) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    seen: list[Culprit | None] = []
    inner: list[str] = []

    def default(_: object) -> str:
        frame = sys._getframe(1)
        inner.append(frame.f_code.co_filename)
        seen.append(culprit_of(frame))
        return ""

    @app.job("in 1m")
    async def dumps() -> int:
        json.dumps([object()], indent=1, default=default)
        return 0

    async with app:
        await acron_time.advance(minutes=2)
    (culprit,) = seen
    assert inner[0].endswith("json/encoder.py")
    assert culprit is not None
    first = dumps.__code__.co_firstlineno
    assert culprit.place == f"test_watchdog.py:{first + 2}"


async def test_the_program_itself_may_be_the_one() -> None:
    culprit = here()
    assert culprit is not None
    assert (culprit.attempt, culprit.who) == (None, "the program itself")
    assert culprit.place.startswith("test_watchdog.py:")


class Frame:
    """As much of a frame as is looked at."""

    def __init__(self, code: CodeType, back: Frame | None = None, **local: object) -> None:
        self.f_code = code
        self.f_lineno = 7
        self.f_back = back
        self.f_locals = local


def test_a_loop_without_handles_shows_the_attempt_in_the_frames() -> None:
    """As uvloop, whose callbacks leave no frame."""

    class Attempt:
        job = Job(id="hog", schedule="", action=Call("hog"))

    frame = Frame(here.__code__, Frame(contain.__code__, attempt=Attempt()))
    culprit = culprit_of(frame)  # type: ignore[arg-type]
    assert str(culprit) == "job hog at test_watchdog.py:7"


def test_a_loop_that_waits_is_not_blocked() -> None:
    loop = asyncio.SelectorEventLoop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)
        for _ in range(1000):
            frame = sys._current_frames()[thread.ident or 0]
            if frame.f_code.co_filename.endswith("selectors.py"):
                break
        assert culprit_of(frame) is None
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def test_virtual_time_is_not_watched(acron_time: VirtualTime) -> None:
    before = {thread.name for thread in threading.enumerate()}
    async with Acron("memory://", clock=acron_time.clock):
        await acron_time.advance(minutes=1)
        started = {thread.name for thread in threading.enumerate()} - before
    assert "acron-watchdog" not in started


async def test_the_thread_ends_with_the_app_and_0_starts_none() -> None:
    def watchdogs() -> int:
        return sum(thread.name == "acron-watchdog" for thread in threading.enumerate())

    app = Acron("memory://")
    async with app:
        assert watchdogs() == 1
    for thread in threading.enumerate():
        if thread.name == "acron-watchdog":
            thread.join(5)
    assert watchdogs() == 0
    async with Acron("memory://", settings=replace(app.settings, store="", blocked_after=0.0)):
        assert watchdogs() == 0


async def test_a_context_of_a_run_does_not_leak_to_the_host(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)

    @app.job("in 1m")
    async def one() -> None: ...

    async with app:
        await acron_time.advance(minutes=2)
        assert current_attempt.get() is None


class Told(MemoryStore):
    """Keeps what it is told from the thread."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[tuple[str | None, bool]] = []

    def beat_blocked(self, node: Node, *, keep: bool) -> None:
        self.words.append((node.blocked, keep))
        if len(self.words) == 1:
            raise OSError("no space left")


class Loop:
    """Does what it is asked when it is let."""

    def __init__(self) -> None:
        self.asked: list[Callable[[], None]] = []

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        self.asked.append(callback)

    def go_on(self) -> None:
        while self.asked:
            self.asked.pop(0)()


def test_a_block_from_its_first_second_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """What the thread does at each look, by hand; this test's own frame is what blocks."""
    caplog.set_level("INFO")
    clock, store, loop = VirtualClock(NOW), Told(), Loop()
    node = Node(id="n1", pid=1, host="h", app="a", started_at=NOW)
    dog = Watchdog(Settings(), clock, SimpleNamespace(sent=node), store)  # type: ignore[arg-type]

    def look(after: float) -> None:
        clock.move_to(clock.monotonic() + after)
        dog._look(loop, threading.get_ident())  # type: ignore[arg-type]

    look(0.25)
    loop.go_on()
    look(0.25)
    assert len(loop.asked) == 1
    look(0.9)
    assert (store.words, dog.recent()) == ([], ())
    look(0.1)  # a second without an answer
    ((word, keep),) = store.words
    assert word is not None
    assert word.startswith("the program itself at test_watchdog.py:")
    assert keep
    look(0.25)
    assert len(store.words) == 1  # once a second will do; that the first failed ends nothing
    look(1.0)
    assert store.words[1:] == [(word, True)]
    look(600.0)
    assert store.words[2:] == [(word, False)]
    (going_on,) = dog.recent()
    assert going_on.seconds == pytest.approx(602.25)
    loop.go_on()
    (block,) = dog.recent()
    assert (block.seconds, block.ended) == (going_on.seconds, clock.now())
    assert block.began <= clock.now() - timedelta(seconds=602.25)
    look(0.25)
    assert store.words[3:] == [(None, True)]
    loop.go_on()
    look(0.25)
    assert len(store.words) == 4
    levels = [one.levelname for one in caplog.records if "the loop" in one.message]
    assert levels.count("ERROR") == 1
    assert "cannot tell of the blocked loop: OSError: no space left" in caplog.text


def test_a_block_that_nobody_saw_is_told_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    """A call that held the interpreter, or a process that was stopped."""
    clock, loop = VirtualClock(NOW), Loop()
    node = Node(id="n1", pid=1, host="h", app="a", started_at=NOW)
    dog = Watchdog(Settings(), clock, SimpleNamespace(sent=node), Told())  # type: ignore[arg-type]
    dog._look(loop, threading.get_ident())  # type: ignore[arg-type]
    clock.move_to(clock.monotonic() + 5)
    loop.go_on()
    (block,) = dog.recent()
    assert block.note == "late (loop blocked 5.0 s)"
    assert "blocked for 5.0 s, by what was not seen" in caplog.text


def test_what_was_due_in_a_block_says_so() -> None:
    block = Block(at(0), at(3.2), 3.2, CULPRIT)
    unseen = Block(at(10), at(20), 10.0, None)
    blocks = (block, unseen)
    assert excuse(blocks, at(1)) == "late (loop blocked 3.2 s by report.py:88)"
    assert excuse(blocks, at(15)) == "late (loop blocked 10.0 s)"
    assert excuse(blocks, at(-1)) is excuse(blocks, at(5)) is None


@pytest.mark.parametrize(
    "due,note", [(1.0, "late (loop blocked 3.2 s by report.py:88)"), (3.5, None)]
)
def test_a_claim_notes_why_its_run_is_late(due: float, note: str | None) -> None:
    job = Job(id="tea", schedule=f"at {at(due).isoformat()}", action=Call("tea"))
    bound = bind(job, None, at(-60)).job
    assert bound is not None
    blocks = (Block(at(0), at(3.2), 3.2, CULPRIT),)
    decision = Decider(at(4), at(-60), "n1", blocks=blocks)(Due(bound, None, ()), lambda: 7)
    assert decision is not None
    (run,) = decision.runs
    assert (run.state, run.note) == (RunState.RUNNING, note)


def test_status_tells_a_blocked_loop_while_its_thread_lives() -> None:
    node = Node(
        id="n1",
        pid=1,
        host="h",
        app="a",
        started_at=at(-60),
        provider="inprocess",
        heartbeat_at=at(0),
        last_success_at=at(-10),
        blocked="job hog at hog.py:7",
    )
    assert health(node, at(1)) == "blocked loop"
    assert health(node, at(1000)) == "stalled"
    empty: tuple[str, ...] = ()
    status = judge(
        at(1),
        [node],
        store="memory://",
        jobs=1,
        next_fire_at=None,
        parked=empty,
        errors=empty,
        incidents=0,
        problems=empty,
    )
    assert (status.state, status.blocked) == ("blocked loop", "job hog at hog.py:7")
    assert not status.healthy
