"""What an outage left owed: spread, judged, asked whether it still matters."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Command, Context, RunState
from acron import timetable as timetable_module
from acron.abc import CronScheduler, Fired, Firing
from acron.errors import JobNotFound
from acron.events import Skipped
from acron.model import Settings, SkipReason
from acron.runtime.claim import AT_ONCE, Spread
from acron.schedules import Calendar
from acron.stores.memory import MemoryStore
from acron.testing.clock import START
from acron.timetable import CALENDARS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from acron.model import Run
    from acron.testing import VirtualTime

HOUR = timedelta(hours=1)
END = datetime(9000, 1, 1, tzinfo=UTC)


def make(acron_time: VirtualTime, store: MemoryStore | str = "memory://", **settings: Any) -> Acron:
    return Acron(store, clock=acron_time.clock, settings=Settings(**settings))


class Armed(CronScheduler):
    """Somebody outside holds the instants: nothing is fired here by itself."""

    sweep_after = None

    @property
    def name(self) -> str:
        return "outside"

    async def start(
        self, stop_event: asyncio.Event, *, firing: Firing, interval: float = 60.0
    ) -> None:
        async for _ in firing.armed(END):
            pass
        await stop_event.wait()


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


async def test_a_trigger_that_names_a_job_is_not_put_off(acron_time: VirtualTime) -> None:
    app = make(acron_time, MemoryStore(), catch_up_rate=1)
    app._provider = Armed()
    await missed(app, acron_time, 30)
    async with app:
        fired = [await app._firing().fire(f"j{number:03}") for number in range(30)]
        assert fired == [Fired.CLAIMED] * 30


async def test_a_trigger_at_the_end_of_a_pause_fires_what_is_due_then(
    acron_time: VirtualTime,
) -> None:
    app = make(acron_time)
    app._provider = Armed()

    @app.job("every 1h")
    async def chime() -> None: ...

    async with app:
        end = acron_time.now() + 2 * HOUR
        await app.pause("chime", until=end)
        await acron_time.advance(2 * HOUR)
        assert await app._firing().fire("chime") is Fired.CLAIMED
        await acron_time.settle()
        (run,) = await app.runs("chime")
        assert run.scheduled_at == end


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


async def test_of_a_backlog_that_replaces_itself_only_the_newest_stands(
    acron_time: VirtualTime, tmp_path: Path
) -> None:
    ran: list[datetime | None] = []

    def made() -> Acron:
        app = Acron(f"sqlite:///{tmp_path}/a.db", clock=acron_time.clock)

        @app.job("every 1h", catch_up="all", overlap="replace")
        async def chime(ctx: Context) -> None:
            await asyncio.sleep(60)
            ran.append(ctx.scheduled_at)

        return app

    async with made():
        start = acron_time.now()
    await acron_time.advance(hours=5, minutes=1)
    app = made()
    async with app:
        await acron_time.advance(minutes=10)
        runs = await app.runs("chime")
        (skip,) = await app.skips("chime")
    assert ran == [start + 5 * HOUR]
    assert [run.state for run in runs] == [RunState.SUCCEEDED]
    assert (skip.reason, skip.count) == (SkipReason.COALESCED, 4)


async def test_what_a_starved_loop_lets_be_overtaken_is_coalesced_and_counted(
    acron_time: VirtualTime,
) -> None:
    """Row F5 of the benchmarks beside other load: nothing is lost that no skip tells of."""
    jobs, seconds = 50, 20
    ran: Counter[tuple[str, datetime]] = Counter()
    app = make(acron_time)

    @app.action
    async def note(ctx: Context) -> None:
        assert ctx.scheduled_at is not None
        ran[ctx.job.id, ctx.scheduled_at] += 1

    async with app:
        start = acron_time.now()
        for n in range(jobs):
            anchor = (start + timedelta(seconds=n / jobs)).isoformat()
            await app.add(f"every 1s from {anchor}", note, id=f"job-{n}")
        for blocked in (0.5, 3.3, 1.0, 4.0):
            await acron_time.advance(seconds=1.7)
            acron_time.block_loop(blocked)
        await acron_time.advance_to(start + timedelta(seconds=seconds + 1 - 0.5 / jobs))
        skips = await app.skips()
        fates = [
            fate
            for n in range(jobs)
            for fate in await app.occurrences(f"job-{n}", start, acron_time.now())
        ]
    assert {skip.reason for skip in skips} == {SkipReason.COALESCED}
    assert set(ran.values()) == {1}
    lost = jobs * seconds - ran.total()
    assert sum(skip.count for skip in skips) == lost > 5 * jobs
    assert sum(fate.count for fate in fates) == jobs * seconds


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


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("store", ["memory://", "jobs.json", "sqlite:///a.db"])
async def test_what_did_not_run_is_not_counted_by_repeat(
    acron_time: VirtualTime, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = Acron(store, clock=acron_time.clock)
    asked = ran = 0

    def every_other_time() -> bool:
        nonlocal asked
        asked += 1
        return asked % 2 == 0

    @app.job("every 5m", repeat=2, still_relevant=every_other_time)
    async def chime() -> None:
        nonlocal ran
        ran += 1

    async with app:
        await acron_time.advance(minutes=16)
        assert (ran, (await app.get("chime")).fired) == (1, 1)
        await acron_time.advance(minutes=30)
        job = await app.get("chime")
        assert len(await app.skips("chime")) == 2
    assert (asked, ran, job.fired, job.completed, job.due_at) == (4, 2, 2, True, None)


@pytest.mark.parametrize("anew", [False, True])
async def test_what_began_before_the_schedule_changed_is_none_of_the_new_count(
    acron_time: VirtualTime, anew: bool
) -> None:
    app = make(acron_time)
    ran: list[datetime] = []

    @app.action
    async def of_the_old_schedule_none(ctx: Context) -> bool:
        if ctx.job.schedule == "every 1h":
            await asyncio.sleep(600)
            return False
        return True

    @app.action
    async def note() -> None:
        ran.append(acron_time.now())

    async with app:
        policies: dict[str, Any] = {"repeat": 2, "overlap": "allow"}
        policies["still_relevant"] = of_the_old_schedule_none
        await app.add("every 1h", note, id="chime", **policies)
        await acron_time.advance(HOUR + timedelta(seconds=1))
        start = acron_time.now()
        if anew:
            await app.remove("chime")
            await app.add("every 5m", note, id="chime", **policies)
        else:
            await app.edit("chime", schedule="every 5m")
        await acron_time.advance(minutes=30)
        job = await app.get("chime")
        assert [skip.reason for skip in await app.skips("chime")] == [SkipReason.IRRELEVANT]
    assert ran == [start + timedelta(minutes=5), start + timedelta(minutes=10)]
    assert (job.fired, job.completed) == (2, True)


async def test_who_waits_for_a_run_that_turns_out_irrelevant_is_told(
    acron_time: VirtualTime,
) -> None:
    app = make(acron_time)

    async def ask() -> bool:
        await asyncio.sleep(60)
        return False

    @app.job("every 1h", still_relevant=ask)
    async def chime() -> None: ...

    async with app:
        await acron_time.advance(HOUR + timedelta(seconds=1))
        (run,) = await app.runs("chime")
        waiting = asyncio.create_task(app.wait(run.id))
        following = asyncio.create_task(_all(app.follow(run.id)))
        await acron_time.advance(minutes=2)
        told = waiting.result()
        assert following.result() == []
        with pytest.raises(JobNotFound):
            await app.wait(run.id)
    assert (told.id, told.state, told.error) == (run.id, RunState.CANCELLED, "no longer relevant")
    assert told.finished_at is not None


async def _all(said: AsyncIterator[str]) -> list[str]:
    return [one async for one in said]


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


async def test_a_machine_that_slept_is_noticed_by_a_trigger_too(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    app._provider = Armed()

    @app.job("every 1h", catch_up="none", grace=60)
    async def chime() -> None: ...

    async with app:
        await acron_time.advance(minutes=30)
        acron_time.jump_clock(HOUR)
        assert await app._firing().fire("chime") is not Fired.CLAIMED
        assert [skip.reason for skip in await app.skips("chime")] == ["misfire"]
        assert await app.runs("chime") == []


async def test_a_start_that_cannot_be_told_stops_no_sibling(
    acron_time: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    monkeypatch.setitem(CALENDARS, "off", Calendar(["2026-12-25"], name="off"))
    async with make(acron_time, store).attached() as writer:
        await writer.add("@reboot | every day at 9am except off", Command("true"), id="bad")
        await writer.add("@reboot", Command("echo up"), id="good")
    monkeypatch.delitem(CALENDARS, "off")
    timetable_module._timetable.cache_clear()
    app = make(acron_time, store)
    async with app:
        await acron_time.advance(seconds=1)
        assert [run.job_id for run in await app.runs()] == ["good"]
        bad = await app.get("bad")
    assert bad.state == "error"
    assert "off" in (bad.error or "")


async def test_acron_may_start_twice_at_one_instant(acron_time: VirtualTime) -> None:
    """In virtual time a restart takes none, and each is one."""
    app = make(acron_time)
    ran: list[datetime] = []

    @app.job("@reboot")
    async def greet() -> None:
        ran.append(acron_time.now())

    for _ in range(2):
        async with app:
            await acron_time.settle()
    assert len(ran) == 2
    assert ran[0] == ran[1]
