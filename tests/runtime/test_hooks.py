"""Functions that a job names beside its action, and when they are called."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Context, Retry, Run, RunState
from acron.errors import InvalidJob
from acron.events import Troubled
from acron.stores.memory import MemoryStore

if TYPE_CHECKING:
    from acron.testing import VirtualTime

HOUR = timedelta(hours=1)


class Bot:
    """Something of the program's own."""


def make(acron_time: VirtualTime, **options: Any) -> Acron:
    return Acron("memory://", clock=acron_time.clock, **options)


async def test_before_the_action_and_after_the_durable_end(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    app.provide(Bot())
    seen: list[Any] = []

    async def first(ctx: Context, bot: Bot) -> None:
        seen.append(("before", ctx.run_id, type(bot)))

    async def last(ctx: Context, run: Run) -> None:
        assert (await app.get_run(run.id)).state is run.state
        seen.append(("after", ctx.run_id, run.state))

    def on_failure(run: Run) -> None:  # a plain one, in a thread
        seen.append(("on_error", run.id, run.error))

    fail = False

    @app.job("every 1h", before=first, after=last, on_error=on_failure)
    async def chime(ctx: Context) -> None:
        seen.append(("run", ctx.run_id))
        if fail:
            raise ValueError("no")

    async with app:
        await acron_time.advance(HOUR)
        fail = True
        await acron_time.advance(HOUR)
        two, one = await app.runs("chime")
        record = await app.get("chime")
    assert seen == [
        ("before", one.id, Bot),
        ("run", one.id),
        ("after", one.id, RunState.SUCCEEDED),
        ("before", two.id, Bot),
        ("run", two.id),
        ("on_error", two.id, "ValueError: no"),
        ("after", two.id, RunState.FAILED),
    ]
    assert (record.policy.before, record.policy.on_error) == ("first", "on_failure")


async def test_before_that_fails_fails_the_run_and_the_action_is_not_called(
    acron_time: VirtualTime,
) -> None:
    app = make(acron_time)
    ran = False

    def broken() -> None:
        raise SystemExit(3)

    @app.job("every 1h", before=broken)
    async def chime() -> None:
        nonlocal ran
        ran = True

    async with app:
        await acron_time.advance(HOUR)
        (run,) = await app.runs("chime")
    assert (run.state, run.error, ran) == (RunState.FAILED, "SystemExit: 3", False)


async def test_the_timeout_holds_for_what_comes_before(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    async def slow() -> None:
        await asyncio.sleep(3600)

    @app.job("every 1h", before=slow, timeout=5)
    async def chime() -> None: ...

    async with app:
        await acron_time.advance(HOUR + timedelta(seconds=6))
        (run,) = await app.runs("chime")
    assert run.state is RunState.TIMED_OUT


@pytest.mark.parametrize("how", ["raises", "hangs", "hangs for good", "is not there"])
async def test_a_hook_that_fails_is_trouble_and_changes_nothing(
    acron_time: VirtualTime, how: str
) -> None:
    app = make(acron_time)

    @app.action
    async def bad() -> None:
        if how == "hangs for good":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)
            await asyncio.sleep(100)
            return
        if how == "raises":
            raise KeyboardInterrupt
        await asyncio.sleep(1000)

    @app.job("every 1h", after="bad" if how != "is not there" else "gone", pause_after=1)
    async def chime() -> str:
        return "ding"

    async with app:
        events = app.events()
        await acron_time.advance(HOUR + timedelta(seconds=61))
        (run,) = await app.runs("chime")
        assert app.node is not None
        stuck = app.node.abandoned
        await acron_time.advance(seconds=120)
        assert app.node.abandoned == ()
        assert (await app.get("chime")).state == "scheduled"
    (trouble,) = [event async for event in events if isinstance(event, Troubled)]
    assert (run.state, run.output) == (RunState.SUCCEEDED, "ding")
    assert run.id in trouble.what
    assert bool(stuck) is (how == "hangs for good")


async def test_dynamic_jobs_name_registered_functions(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    told: list[str] = []

    @app.action
    async def work() -> None: ...

    @app.action
    async def note(ctx: Context) -> None:
        told.append(ctx.job.id)

    async def stranger() -> None: ...

    async with app:
        job = await app.add("in 1h", work, id="a", after=note, retry=Retry(when=note))
        assert job.policy.after == "note"
        assert job.policy.retry is not None
        assert job.policy.retry.when == "note"
        with pytest.raises(InvalidJob, match=r"stranger .* is not registered"):
            await app.add("in 1h", work, before=stranger)
        assert (await app.edit("a", on_error=note)).policy.on_error == "note"
        with pytest.raises(InvalidJob, match="name of a registered function"):
            await app.add("in 1h", work, retry={"when": 3})
        await acron_time.advance(HOUR)
    assert told == ["a"]


# --- Retry.when ---


async def test_a_function_decides_whether_and_when_to_try_again(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    asked: list[tuple[str, int]] = []
    answers = iter([True, 7, 2.5, False])

    async def when(error: BaseException, attempt: int) -> object:
        asked.append((f"{type(error).__name__}: {error}", attempt))
        return next(answers)

    @app.job("every 1h", retry=Retry(attempts=9, delay=60, jitter=0, when=when))
    async def flaky(ctx: Context) -> None:
        raise ValueError(str(ctx.attempt))

    async with app:
        await acron_time.advance(HOUR + timedelta(minutes=10))
        runs = (await app.runs("flaky"))[::-1]
    assert asked == [(f"ValueError: {n}", n) for n in range(1, 5)]
    waits = [
        (later.due_at - earlier.finished_at).total_seconds()
        for earlier, later in pairwise(runs)
        if earlier.finished_at
    ]
    assert waits == [60.0, 7.0, 2.5]
    assert len(runs) == 4


async def test_it_is_asked_only_when_there_is_a_choice(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    asked: list[str] = []

    def when(error: BaseException) -> bool:
        asked.append(type(error).__name__)
        return True

    @app.job("every 1h", retry=Retry(attempts=2, delay=1, on=(OSError,), when=when), timeout=60)
    async def flaky(ctx: Context) -> None:
        if ctx.scheduled_at and ctx.scheduled_at.hour == 1:
            raise ValueError  # not among `on`
        if ctx.attempt == 1:
            await asyncio.sleep(100)  # timed out
        raise OSError  # the last attempt

    async with app:
        await acron_time.advance(2 * HOUR + timedelta(minutes=5))
        states = [run.state for run in await app.runs("flaky")]
    assert asked == ["TimeoutError"]
    assert states == [RunState.FAILED, RunState.TIMED_OUT, RunState.FAILED]


@pytest.mark.parametrize("answer", ["later", -1, float("nan"), "raise", "hang"])
async def test_without_a_sensible_answer_the_retry_stands(
    acron_time: VirtualTime, answer: object
) -> None:
    app = make(acron_time)

    async def when() -> object:
        if answer == "raise":
            raise RuntimeError
        if answer == "hang":
            await asyncio.sleep(1000)
        return answer

    @app.job("every 1h", retry=Retry(attempts=2, delay=30, jitter=0, when=when))
    async def flaky() -> None:
        raise ValueError

    async with app:
        await acron_time.advance(HOUR + timedelta(minutes=5))
        assert [run.attempt for run in await app.runs("flaky")] == [2, 1]
        assert "when" in ((await app.status()).nodes[0].last_error or "when")


# --- idle_timeout ---


async def test_silence_ends_a_run_and_progress_keeps_it_going(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("every 1h", idle_timeout=10)
    async def talks(ctx: Context) -> str:
        for done in range(30):
            await asyncio.sleep(9)
            await ctx.progress(done)
        return "done"

    @app.job("every 1h", idle_timeout=10)
    async def falls_silent(ctx: Context) -> None:
        await asyncio.sleep(5)
        await ctx.progress(1)
        await asyncio.sleep(600)

    async with app:
        await acron_time.advance(HOUR + timedelta(minutes=30))
        (talker,) = await app.runs("talks")
        (silent,) = await app.runs("falls_silent")
    assert (talker.state, talker.output) == (RunState.SUCCEEDED, "done")
    assert silent.state is RunState.TIMED_OUT
    assert silent.error == "told of no progress for 10 s"
    assert silent.started_at is not None
    assert silent.finished_at == silent.started_at + timedelta(seconds=15)


async def test_hooks_survive_a_restart_by_name(acron_time: VirtualTime) -> None:
    store, told = MemoryStore(), []

    def program() -> Acron:
        app = Acron(store, clock=acron_time.clock)

        @app.action
        async def work() -> None: ...

        @app.action
        async def note(run: Run) -> None:
            told.append(run.id)

        return app

    async with program() as app:
        await app.add("every 1h", "work", id="a", after="note")
    async with program() as app:
        await acron_time.advance(HOUR)
        (run,) = await app.runs("a")
    assert told == [run.id]
