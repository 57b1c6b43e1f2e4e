"""A fire from its instant to its delivery, in virtual time on the memory store."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Command, Context, Receipt, Retry, RunState
from acron.abc import Adapter, Message
from acron.errors import InvalidJob, JobConflict
from acron.model import SkipReason
from acron.stores.memory import MemoryStore
from acron.testing import RecordingAdapter

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from acron.testing import VirtualTime


def make(acron_time: VirtualTime, **options: Any) -> Acron:
    return Acron("memory://", clock=acron_time.clock, **options)


async def test_an_hourly_job_fires_every_hour(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    seen: list[Context] = []

    @app.job("every 1h")
    async def chime(ctx: Context) -> str:
        seen.append(ctx)
        return f"attempt {ctx.attempt}"

    async with app:
        start = acron_time.clock.now()
        await acron_time.advance(days=1)
        runs = await app.runs("chime")
    assert len(seen) == 24
    assert [
        (run.scheduled_at - start).total_seconds() for run in reversed(runs) if run.scheduled_at
    ] == [3600.0 * n for n in range(1, 25)]
    assert {(run.state, run.output, run.lateness) for run in runs} == {
        (RunState.SUCCEEDED, "attempt 1", 0.0)
    }
    assert [run.token for run in runs] == sorted((run.token for run in runs), reverse=True)


async def test_a_one_shot_fires_once_and_completes(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    said: list[str] = []

    @app.action
    async def remind(text: str) -> None:
        said.append(text)

    async with app:
        job = await app.add("in 2h", remind, kwargs={"text": "tea"})
        await acron_time.advance(hours=1.9)
        assert said == []
        await acron_time.advance(days=2)
        assert said == ["tea"]
        assert (await app.get(job.id)).state == "completed"
        (run,) = await app.runs(job.id)
        assert run.output is None


async def test_a_job_added_while_the_loop_sleeps_is_on_time(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.action
    async def ping() -> None: ...

    async with app:
        await acron_time.advance(hours=5)
        job = await app.add("in 2s", ping)
        await acron_time.advance(seconds=3)
        (run,) = await app.runs(job.id)
        assert run.lateness == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    "raised", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit]
)
@pytest.mark.parametrize("blocking", [False, True])
async def test_whatever_a_handler_raises_fails_it_alone(
    acron_time: VirtualTime, raised: type[BaseException], blocking: bool
) -> None:
    app = make(acron_time)
    fine = 0

    if blocking:

        @app.job("every 1m", id="bad")
        def bad_sync() -> None:
            raise raised("no")

    else:

        @app.job("every 1m", id="bad")
        async def bad_async() -> None:
            raise raised("no")

    @app.job("every 1m")
    async def good() -> None:
        nonlocal fine
        fine += 1

    async with app:
        await acron_time.advance(minutes=3, seconds=1)
        runs = await app.runs("bad")
        assert (await app.status()).state == "ok"
    assert fine == 3
    assert [run.state for run in runs] == [RunState.FAILED] * 3
    assert all(raised.__name__ in (run.error or "") for run in runs)


@pytest.mark.parametrize("raised", [StopIteration, StopAsyncIteration])
async def test_stop_iteration_in_a_thread_fails_the_run(
    acron_time: VirtualTime, raised: type[Exception]
) -> None:
    app = make(acron_time)

    @app.job("every 1m")
    def bad() -> None:
        raise raised

    async with app:
        await acron_time.advance(minutes=1, seconds=1)
        (run,) = await app.runs("bad")
    assert run.state is RunState.FAILED


async def test_overlap_skip_leaves_a_row(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("every 1m")
    async def slow() -> None:
        await asyncio.sleep(150)

    async with app:
        await acron_time.advance(minutes=6, seconds=30)
        runs, skips = await app.runs("slow"), await app.skips("slow")
    assert len(runs) == 2
    assert {skip.reason for skip in skips} == {SkipReason.OVERLAP}
    assert len(runs) + len(skips) == 6


async def test_overlap_queue_starts_when_the_earlier_run_ends(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    starts: list[float] = []

    @app.job("every 1m", overlap="queue")
    async def slow() -> None:
        starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(90)

    async with app:
        await acron_time.advance(minutes=8)
    gaps = [round(later - earlier) for earlier, later in pairwise(starts)]
    assert gaps == [90] * len(gaps)
    assert len(gaps) >= 4


async def test_overlap_allow_is_bounded_by_max_running(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    running = most = 0

    @app.job("every 1m", overlap="allow", max_running=2)
    async def slow() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(170)
        running -= 1

    async with app:
        await acron_time.advance(minutes=12)
    assert most == 2


async def test_a_timeout_ends_the_attempt(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    cleaned = False

    @app.job("every 1h", timeout=90)
    async def hang() -> None:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            cleaned = True

    async with app:
        await acron_time.advance(hours=1, minutes=2)
        (run,) = await app.runs("hang")
    assert cleaned
    assert run.state is RunState.TIMED_OUT
    assert run.started_at is not None
    assert run.finished_at is not None
    assert (run.finished_at - run.started_at).total_seconds() == pytest.approx(90, abs=0.1)


async def test_a_coroutine_that_swallows_cancellation_is_abandoned(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    release = asyncio.Event()

    @app.job("in 1h", timeout=10)
    async def stubborn() -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    async with app:
        await acron_time.advance(hours=1, seconds=30)
        (run,) = await app.runs("stubborn")
        assert run.state is RunState.TIMED_OUT
        assert "abandoned" in (run.error or "")
        assert (await app.status()).abandoned == (f"stubborn {run.id}",)
        release.set()
        await acron_time.advance(seconds=1)
        (run,) = await app.runs("stubborn")
        assert (run.state, run.output) == (RunState.TIMED_OUT, None)
        assert (await app.status()).abandoned == ()


async def test_retries_back_off_and_end(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    attempts: list[int] = []

    @app.job("in 1h", retry=Retry(attempts=3, delay=60, factor=2, jitter=0))
    async def flaky(ctx: Context) -> None:
        attempts.append(ctx.attempt)
        raise OSError("down")

    async with app:
        await acron_time.advance(hours=2)
        runs = await app.runs("flaky")
    assert attempts == [1, 2, 3]
    assert [run.attempt for run in runs] == [3, 2, 1]
    assert len({run.scheduled_at for run in runs}) == 1
    times = [run.started_at for run in reversed(runs)]
    waits = [(later - earlier).total_seconds() for earlier, later in pairwise(filter(None, times))]
    assert waits == [pytest.approx(60, abs=0.1), pytest.approx(120, abs=0.1)]


async def test_only_the_errors_named_are_retried(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("in 1h", retry=Retry(attempts=3, on=(OSError,)))
    async def wrong() -> None:
        raise ValueError("no use")

    async with app:
        await acron_time.advance(hours=2)
        assert len(await app.runs("wrong")) == 1


async def test_a_job_pauses_itself_after_failures_in_a_row(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("every 1m", pause_after=3)
    async def broken() -> None:
        raise RuntimeError("again")

    async with app:
        await acron_time.advance(minutes=10)
        job = await app.get("broken")
        assert len(await app.runs("broken")) == 3
    assert job.state == "paused"
    assert "3 times in a row" in (job.paused or "")


async def test_repeat_counts_occurrences(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("every 1m", repeat=4)
    async def few() -> None: ...

    async with app:
        await app.run_now("few", wait=True)
        await acron_time.advance(minutes=10)
        runs = await app.runs("few")
        assert (await app.get("few")).state == "completed"
    assert sum(run.scheduled_at is not None for run in runs) == 4
    assert len(runs) == 5


async def test_pause_and_resume(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("every 1m")
    async def beat() -> None: ...

    async with app:
        await acron_time.advance(minutes=2, seconds=1)
        await app.pause("beat", "holiday")
        await acron_time.advance(minutes=5)
        await app.resume("beat")
        await acron_time.advance(minutes=2)
        runs, (skip,) = await app.runs("beat"), await app.skips("beat")
    assert len(runs) == 4
    assert (skip.reason, skip.count) == (SkipReason.PAUSED, 5)


async def test_run_now_ignores_pause_and_obeys_overlap(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    go = asyncio.Event()

    @app.job("every 24h")
    async def manual() -> str:
        await go.wait()
        return "done"

    async with app:
        await app.pause("manual")
        first = await app.run_now("manual")
        await acron_time.advance(seconds=1)
        with pytest.raises(JobConflict, match=first.id):
            await app.run_now("manual")
        go.set()
        await acron_time.advance(seconds=1)
        run = await app.run_now("manual", wait=True)
    assert (run.state, run.output, run.scheduled_at) == (RunState.SUCCEEDED, "done", None)


async def test_cancel_ends_one_run(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("every 1h")
    async def long() -> None:
        await asyncio.sleep(7200)

    async with app:
        await acron_time.advance(hours=1, seconds=1)
        (run,) = await app.runs("long", state="running")
        await app.cancel(run.id)
        await acron_time.advance(seconds=1)
        (run,) = await app.runs("long")
    assert run.state is RunState.CANCELLED


async def test_leaving_drains_then_interrupts(acron_time: VirtualTime) -> None:
    store = MemoryStore()
    app = Acron(store, clock=acron_time.clock, drain_timeout=20)

    @app.job("every 1h", id="quick")
    async def quick() -> str:
        await asyncio.sleep(10)
        return "in time"

    @app.job("every 1h", id="slow")
    async def slow() -> None:
        await asyncio.sleep(3600)

    async with app:
        await acron_time.advance(hours=1, seconds=1)
        begun = asyncio.get_running_loop().time()
    took = asyncio.get_running_loop().time() - begun
    assert took == pytest.approx(20, abs=1)
    await store.open(acron_time.clock.now())
    states = {run.job_id: run.state for run in await store.runs()}
    assert states == {"quick": RunState.SUCCEEDED, "slow": RunState.INTERRUPTED}


async def test_a_blocking_function_delays_no_other_job(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    threads: set[int] = set()

    @app.job("every 1m")
    def blocks() -> None:
        threads.add(threading.get_ident())
        time.sleep(0.05)

    @app.job("every 1m")
    async def other() -> None: ...

    async with app:
        await acron_time.advance(minutes=3, seconds=1)
        assert {run.lateness for run in await app.runs("other")} == {0.0}
        assert len(await app.runs("blocks")) == 3
    assert threading.get_ident() not in threads


class Broken(Adapter):
    name = "broken"

    def send(self, message: Message) -> Receipt | Awaitable[Receipt]:
        raise SystemExit("gone")


async def test_one_target_that_fails_stays_alone(acron_time: VirtualTime) -> None:
    told = RecordingAdapter("chat")
    app = make(acron_time, adapters={"chat": told, "broken": Broken()})

    @app.job("every 1h", deliver="broken,chat:42,nowhere:1")
    async def news() -> str:
        return "hello"

    async with app:
        await acron_time.advance(hours=1, seconds=1)
        (run,) = await app.runs("news")
    assert run.state is RunState.SUCCEEDED
    assert [(one.target, one.state) for one in run.deliveries] == [
        ("broken", "pending"),  # and tried again later
        ("chat:42", "delivered"),
        ("nowhere:1", "failed"),
    ]
    assert [(message.to, message.text) for message in told.messages] == [("42", "hello")]


async def test_silence_and_failure(acron_time: VirtualTime) -> None:
    told = RecordingAdapter("chat")
    app = make(acron_time, adapters={"chat": told})

    @app.job("every 1h", deliver="chat")
    async def quiet() -> None: ...

    @app.job("every 1h", deliver="chat")
    async def loud() -> None:
        raise ValueError("the kettle is cold")

    async with app:
        await acron_time.advance(hours=1, seconds=1)
    (text,) = told.texts
    assert "the kettle is cold" in text


class Bot:
    def __init__(self) -> None:
        self.sent: list[tuple[int, str]] = []


async def test_injection_by_annotation(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    bot = Bot()
    app.provide(bot)

    @app.action
    async def remind(ctx: Context, bot: Bot, chat: int, text: str) -> None:
        bot.sent.append((chat, text))

    async with app:
        await app.add("in 5m", remind, kwargs={"chat": 1, "text": "tea"})
        with pytest.raises(InvalidJob, match="chat"):
            await app.add("in 5m", remind, kwargs={"chat": "one", "text": "tea"})
        await acron_time.advance(minutes=6)
    assert bot.sent == [(1, "tea")]


async def test_a_job_that_nobody_here_can_run_is_parked(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    async with app:
        job = await app.add("in 5m", "unknown_function")
        await acron_time.advance(minutes=10)
        assert await app.runs(job.id) == []
        assert (await app.status()).parked == (job.id,)


@pytest.mark.parametrize("wall", [3600.0, -3600.0, 365 * 24 * 3600.0])
async def test_a_jump_of_the_wall_clock_never_fires_twice(
    acron_time: VirtualTime, wall: float
) -> None:
    app = make(acron_time)

    @app.job("0 * * * *")
    async def hourly() -> None: ...

    async with app:
        await acron_time.advance(hours=3, minutes=1)
        before = len(await app.runs("hourly"))
        acron_time.jump_clock(wall)
        await acron_time.advance(hours=5)
        runs = await app.runs("hourly", limit=1000)
    instants = [run.scheduled_at for run in runs]
    assert len(instants) == len(set(instants))
    assert len(runs) - before <= 6


async def test_command_jobs_need_no_function(acron_time: VirtualTime, tmp_path: Path) -> None:
    app = Acron(str(tmp_path / "jobs.json"), clock=acron_time.clock)
    async with app:
        job = await app.add("in 1m", Command("echo $ACRON_JOB_ID && echo oops >&2"), id="echo")
        await acron_time.advance(minutes=2)
        (run,) = await app.runs(job.id)
    assert run.state is RunState.SUCCEEDED
    assert (run.output or "").split() == ["echo", "oops"]
    (delivery,) = run.deliveries
    assert delivery.state == "delivered"
    (written,) = (tmp_path / "output" / "echo").iterdir()
    assert "oops" in written.read_text()
    assert written.stat().st_mode & 0o777 == 0o600


async def test_a_command_that_times_out_keeps_what_it_said(tmp_path: Path) -> None:
    async with Acron(str(tmp_path / "jobs.json")) as app:
        await app.add("every 24h", Command("echo begun; sleep 60"), id="slow", timeout=0.3)
        run = await app.run_now("slow", wait=True)
    assert run.state is RunState.TIMED_OUT
    assert (run.output or "").strip() == "begun"


async def test_reboot_fires_once_when_a_store_goes_from_no_node_to_one(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    path = str(tmp_path / "jobs.json")
    booted: list[str] = []

    def make(name: str) -> Acron:
        app = Acron(path, clock=acron_time.clock)

        @app.job("@reboot")
        async def boot() -> None:
            booted.append(name)

        return app

    async with make("first"):
        await acron_time.advance(minutes=5)
        async with make("second"):
            await acron_time.advance(minutes=5)
    assert booted == ["first"]
    async with make("third") as app:
        await acron_time.advance(minutes=5)
        assert (await app.get("boot")).state == "scheduled"
        runs = await app.runs("boot")
    assert booted == ["first", "third"]
    assert len({run.scheduled_at for run in runs}) == 2
