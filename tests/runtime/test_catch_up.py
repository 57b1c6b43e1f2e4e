"""What an outage left owed: spread, judged, asked whether it still matters."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Context, RunState
from acron.errors import JobNotFound
from acron.events import Skipped
from acron.model import Settings, SkipReason
from acron.runtime.claim import AT_ONCE, Spread
from acron.stores.memory import MemoryStore
from acron.testing.clock import START

if TYPE_CHECKING:
    from acron.model import Run
    from acron.testing import VirtualTime

HOUR = timedelta(hours=1)


def make(acron_time: VirtualTime, store: MemoryStore | str = "memory://", **settings: Any) -> Acron:
    return Acron(store, clock=acron_time.clock, settings=Settings(**settings))


async def missed(app: Acron, acron_time: VirtualTime, count: int, **fields: Any) -> None:
    """``count`` one-shots that came due while nobody served."""

    @app.action
    async def ping() -> None: ...

    async with app:
        rows = [
            {"id": f"j{n:03}", "schedule": f"in {60 + n}s", "action": ping, **fields}
            for n in range(count)
        ]
        await app.add_many(rows)
    acron_time.jump_clock(HOUR)


def starts(runs: list[Run], since: Any) -> list[float]:
    return sorted((run.started_at - since).total_seconds() for run in runs if run.started_at)


def test_ten_start_at_once_and_the_rest_at_the_rate() -> None:
    spread = Spread(50)
    slots = [(spread.start_at(START) - START).total_seconds() for _ in range(AT_ONCE + 3)]
    assert slots == [0.0] * AT_ONCE + [0.02, 0.04, 0.06]


def test_a_slot_that_has_passed_is_not_saved_up() -> None:
    spread = Spread(1)
    for _ in range(AT_ONCE):
        spread.start_at(START)
    later = START + HOUR
    assert [spread.start_at(later) - later for _ in range(3)] == [
        timedelta(seconds=n) for n in range(3)
    ]


async def test_what_an_outage_left_is_spread_oldest_first(acron_time: VirtualTime) -> None:
    app = make(acron_time, MemoryStore(), catch_up_rate=2)
    await missed(app, acron_time, 30)
    async with app:
        back = acron_time.now()
        await acron_time.settle()
        waiting = await app.get("j029")
        assert waiting.next_fire_at == back + timedelta(seconds=10)
        (owed,) = await app.occurrences("j029", waiting.cursor or back, back)
        assert owed.fate == "owed"  # the instant itself has not moved
        await acron_time.advance(minutes=1)
        runs = await app.runs(state="succeeded")
    assert starts(runs, back) == [0.0] * 10 + [n / 2 for n in range(1, 21)]
    assert [run.job_id for run in sorted(runs, key=lambda run: run.token)] == [
        f"j{n:03}" for n in range(30)
    ]
    assert all(run.scheduled_at and back - HOUR <= run.scheduled_at < back for run in runs)


async def test_a_rate_of_zero_starts_all_at_once(acron_time: VirtualTime) -> None:
    app = make(acron_time, MemoryStore(), catch_up_rate=0)
    await missed(app, acron_time, 30)
    async with app:
        back = acron_time.now()
        await acron_time.settle()
        assert starts(await app.runs(), back) == [0.0] * 30


async def test_who_was_put_off_once_is_not_put_off_by_the_next_process(
    acron_time: VirtualTime,
) -> None:
    app = make(acron_time, MemoryStore(), catch_up_rate=1)
    await missed(app, acron_time, 40)
    async with app:
        await acron_time.settle()
        assert len(await app.runs()) == 10
    acron_time.jump_clock(timedelta(minutes=5))
    async with app:
        back = acron_time.now()
        await acron_time.settle()
        assert starts(await app.runs(limit=30), back) == [0.0] * 30


async def test_a_clock_that_jumped_is_an_outage_too(acron_time: VirtualTime) -> None:
    app = make(acron_time, catch_up_rate=1)

    @app.action
    async def ping() -> None: ...

    async with app:
        await app.add_many(
            {"id": f"j{n}", "schedule": "every 1h", "action": ping} for n in range(20)
        )
        await acron_time.settle()
        acron_time.jump_clock(HOUR + timedelta(minutes=10))
        await acron_time.advance(seconds=75)  # the ticker looks once a minute
        runs = await app.runs()
    begun = min(run.started_at for run in runs if run.started_at)
    assert starts(runs, begun)[10:] == [float(n) for n in range(1, 11)]


async def test_what_comes_due_while_acron_serves_is_not_spread(acron_time: VirtualTime) -> None:
    app = make(acron_time, catch_up_rate=1)

    @app.action
    async def ping() -> None: ...

    async with app:
        await app.add_many({"schedule": "in 1h", "action": ping} for _ in range(50))
        due = acron_time.now() + HOUR
        await acron_time.advance(HOUR)
        assert starts(await app.runs(), due) == [0.0] * 50


async def test_a_misfire_is_judged_before_it_is_put_off(acron_time: VirtualTime) -> None:
    app = make(acron_time, MemoryStore(), catch_up_rate=1)
    await missed(app, acron_time, 30, grace=60)
    async with app:
        await acron_time.settle()
        skips = await app.skips()
        assert await app.runs() == []
    assert len(skips) == 30
    assert {skip.reason for skip in skips} == {SkipReason.MISFIRE}


async def test_waiting_for_a_slot_is_no_misfire(acron_time: VirtualTime) -> None:
    app = make(acron_time, MemoryStore(), catch_up_rate=0.001)
    await missed(app, acron_time, 12, grace=3700)
    async with app:
        await acron_time.advance(HOUR)
        assert len(await app.runs()) == 12
        assert await app.skips() == []


async def test_a_single_tick_finds_all_of_it(acron_time: VirtualTime) -> None:
    app = make(acron_time, MemoryStore(), catch_up_rate=1)
    await missed(app, acron_time, 30)
    async with app.attached(firing=True):
        assert await app.tick() == 30


async def test_retries_and_manual_runs_are_not_spread(acron_time: VirtualTime) -> None:
    app = make(acron_time, MemoryStore(), catch_up_rate=0.01)
    await missed(app, acron_time, 12)
    async with app:
        await acron_time.settle()
        run = await app.run_now("j011", wait=True)
        assert run.state is RunState.SUCCEEDED
        assert run.scheduled_at is None
        assert len(await app.runs()) == 11


async def test_older_comes_first_then_priority(acron_time: VirtualTime) -> None:
    app = make(acron_time, max_running=1)
    order: list[str] = []

    @app.action
    async def note(ctx: Context) -> None:
        order.append(ctx.job.id)

    async with app:
        for number, (delay, priority) in enumerate([(60, 0), (60, 5), (60, -5), (59, -9)]):
            await app.add(f"in {delay}s", note, id=f"j{number}", priority=priority)
        await acron_time.advance(minutes=2)
    assert order == ["j3", "j1", "j0", "j2"]


# --- still_relevant ---


@pytest.mark.parametrize("blocking", [False, True])
async def test_what_is_relevant_no_more_is_a_skip_and_no_run(
    acron_time: VirtualTime, blocking: bool
) -> None:
    app = make(acron_time)
    asked: list[str] = []
    ran: list[str] = []

    def answer(ctx: Context) -> bool:
        asked.append(ctx.run_id)
        return len(asked) > 1

    async def awaited(ctx: Context) -> bool:
        return answer(ctx)

    @app.job("every 1h", still_relevant=answer if blocking else awaited)
    async def chime(ctx: Context) -> None:
        ran.append(ctx.run_id)

    async with app:
        events = app.events()
        start = acron_time.now()
        await acron_time.advance(hours=2)
        (run,) = await app.runs("chime")
        (skip,) = await app.skips("chime")
        fates = await app.occurrences("chime", start, acron_time.now() + timedelta(seconds=1))
        with pytest.raises(JobNotFound):
            await app.get_run(asked[0])
    seen = [event async for event in events]
    assert ran == [run.id] == asked[1:]
    assert (skip.reason, skip.scheduled_at) == (SkipReason.IRRELEVANT, start + HOUR)
    assert [(one.fate, one.reason) for one in fates] == [
        ("skipped", SkipReason.IRRELEVANT),
        ("succeeded", None),
    ]
    assert [event.skip for event in seen if isinstance(event, Skipped)] == [skip]


async def test_a_question_that_fails_fails_the_run(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    async def broken() -> bool:
        raise OSError("no answer")

    @app.job("every 1h", still_relevant=broken)
    async def chime() -> None: ...

    async with app:
        await acron_time.advance(HOUR)
        (run,) = await app.runs("chime")
    assert run.state is RunState.FAILED
    assert run.error == "OSError: no answer"


async def test_a_manual_run_is_not_questioned(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job("every 1h", still_relevant=lambda: False)
    async def chime() -> str:
        return "ding"

    async with app:
        assert (await app.run_now("chime", wait=True)).output == "ding"


async def test_a_retry_that_is_irrelevant_ends_as_cancelled(acron_time: VirtualTime) -> None:
    app = make(acron_time)

    @app.job(
        "every 1h", retry={"attempts": 5, "delay": 60}, still_relevant=lambda ctx: ctx.attempt == 1
    )
    async def chime() -> None:
        raise ValueError

    async with app:
        await acron_time.advance(HOUR + timedelta(minutes=5))
        second, first = await app.runs("chime")
        assert await app.skips("chime") == []
        assert (await app.get("chime")).failures == 0
    assert (first.state, second.state) == (RunState.FAILED, RunState.CANCELLED)
    assert second.error == "no longer relevant"
