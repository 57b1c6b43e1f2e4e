"""What obeys virtual time, and how exactly."""

from __future__ import annotations

import asyncio
import itertools
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio
import pytest

from acron import Acron, ScheduleError
from acron.clock import SystemClock
from acron.testing import START, VirtualTime, VirtualTimeError, WaitsForever, virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY = timedelta(days=1)


# --- what obeys


async def test_sleeps_jump(acron_time: VirtualTime) -> None:
    await asyncio.sleep(30 * 86400)
    assert acron_time.now() == START + 30 * DAY
    await anyio.sleep(0.25)
    assert acron_time.now() == START + 30 * DAY + timedelta(seconds=0.25)


async def test_timeouts_fire_at_their_instant(acron_time: VirtualTime) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await asyncio.sleep(60)
    assert acron_time.now() == START + timedelta(seconds=10)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 5)
    with pytest.raises(TimeoutError):
        with anyio.fail_after(5):
            await anyio.sleep_forever()
    with anyio.move_on_after(40) as scope:
        await anyio.Event().wait()
    assert scope.cancelled_caught
    assert acron_time.now() == START + timedelta(seconds=60)


async def test_call_at_is_exact(acron_time: VirtualTime) -> None:
    loop = asyncio.get_running_loop()
    instants = [loop.time() + delay for delay in (0.1, 0.3, 1 / 3, 7e-9, 123456.789)]
    seen: list[float] = []
    for instant in instants:
        loop.call_at(instant, lambda: seen.append(loop.time()))
    await acron_time.advance(days=2)
    assert seen == sorted(instants)


async def test_task_groups(acron_time: VirtualTime) -> None:
    order: list[str] = []

    async def say(name: str, delay: float) -> None:
        await asyncio.sleep(delay)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(say("third", 3600))
        group.create_task(say("first", 1))
        group.create_task(say("second", 60))
    async with anyio.create_task_group() as scope:
        scope.start_soon(say, "fifth", 2)
        scope.start_soon(say, "fourth", 1)
    assert order == ["first", "second", "third", "fourth", "fifth"]
    assert acron_time.now() == START + timedelta(seconds=3602)


async def test_the_loop_and_the_clock_agree(acron_time: VirtualTime) -> None:
    loop, clock = asyncio.get_running_loop(), acron_time.clock
    await asyncio.sleep(12.5)
    assert loop.time() == clock.monotonic() == anyio.current_time()
    assert clock.now() == acron_time.now() == START + timedelta(seconds=12.5)


# --- exactness


async def test_a_month_of_minutes_does_not_drift(acron_time: VirtualTime) -> None:
    clock, seen = acron_time.clock, []

    async def each_minute() -> None:
        due = clock.now()
        while True:
            due += timedelta(minutes=1)
            await asyncio.sleep((due - clock.now()).total_seconds())
            seen.append(clock.now())

    await asyncio.sleep(0.1)  # a lattice that floats do not hit
    first = acron_time.now() + timedelta(minutes=1)
    task = asyncio.create_task(each_minute())
    await acron_time.advance(days=30)
    task.cancel()
    assert len(seen) == 30 * 24 * 60
    assert seen == [first + n * timedelta(minutes=1) for n in range(len(seen))]


async def test_a_year_from_now_timers_still_fire(acron_time: VirtualTime) -> None:
    # asyncio's own clock resolution, 1 ns, is lost in the floats of such times.
    await acron_time.advance(days=365 * 1000)
    async with asyncio.timeout(2):
        await asyncio.sleep(1)
    assert acron_time.now() == START + 365000 * DAY + timedelta(seconds=1)


async def test_ten_thousand_jumps(acron_time: VirtualTime) -> None:
    for _ in range(10_000):
        await asyncio.sleep(86400)
    assert acron_time.now() == START + 10_000 * DAY


def test_the_same_program_has_the_same_story() -> None:
    async def story() -> list[tuple[float, int]]:
        loop = asyncio.get_running_loop()
        seen: list[tuple[float, int]] = []

        async def step(number: int) -> None:
            for delay in (1.0, 0.5, 0.0, number / 7):
                await asyncio.sleep(delay)
                seen.append((loop.time(), number))

        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(step(number))
        return seen

    stories = []
    for _ in range(3):
        with virtual_time():
            stories.append(asyncio.run(story()))
    assert stories[0] == stories[1] == stories[2]
    assert len(stories[0]) == 200


# --- moving it


async def test_advance_does_all_that_is_due_at_its_end(acron_time: VirtualTime) -> None:
    done: list[str] = []

    async def work() -> None:
        await asyncio.sleep(60)
        await asyncio.sleep(0)
        await asyncio.to_thread(done.append, "in a thread")
        await asyncio.sleep(0)
        done.append("after it")

    task = asyncio.create_task(work())
    await acron_time.advance(minutes=1)
    assert done == ["in a thread", "after it"]
    assert task.done()
    assert acron_time.now() == START + timedelta(minutes=1)


async def test_advance_stops_before_what_is_due_later(acron_time: VirtualTime) -> None:
    loop = asyncio.get_running_loop()
    seen: list[str] = []
    loop.call_later(60.001, seen.append, "later")
    await acron_time.advance(60)
    assert seen == []
    await acron_time.advance(timedelta(milliseconds=1))
    assert seen == ["later"]


async def test_advance_with_nothing_else_to_do(acron_time: VirtualTime) -> None:
    await acron_time.advance(1, days=1, hours=2, minutes=3, seconds=4)
    assert acron_time.now() == START + timedelta(days=1, hours=2, minutes=3, seconds=5)
    with pytest.raises(ValueError, match="run back"):
        await acron_time.advance(-1)
    now = acron_time.now()
    for never in (float("inf"), float("nan"), 1e12):
        with pytest.raises(ValueError, match="the end of the calendar"):
            await acron_time.advance(never)
    assert acron_time.now() == now


async def test_advances_side_by_side(acron_time: VirtualTime) -> None:
    seen: list[datetime] = []

    async def advance(hours: int) -> None:
        await acron_time.advance(hours=hours)
        seen.append(acron_time.now())

    await asyncio.gather(advance(3), advance(1), advance(1))
    hour = timedelta(hours=1)
    assert seen == [START + hour, START + hour, START + 3 * hour]


async def test_a_cancelled_advance_is_forgotten(acron_time: VirtualTime) -> None:
    task = asyncio.create_task(acron_time.advance(hours=1))
    await acron_time.advance(minutes=1)
    task.cancel()
    await acron_time.advance(days=1)
    assert acron_time.now() == START + DAY + timedelta(minutes=1)


async def test_advance_to(acron_time: VirtualTime) -> None:
    spring = datetime(2026, 3, 29, 1, tzinfo=UTC)
    await acron_time.advance_to(spring)
    assert acron_time.now() == spring
    with pytest.raises(ValueError, match="is past: it is"):
        await acron_time.advance_to(START)
    with pytest.raises(ValueError, match="tzinfo=UTC"):
        await acron_time.advance_to(datetime(2027, 1, 1))  # noqa: DTZ001 (that is the fault)


async def test_advance_to_a_phrase(acron_time: VirtualTime) -> None:
    await acron_time.advance_to("at 17:30")
    assert acron_time.now() == START.replace(hour=17, minute=30)
    await acron_time.advance_to("weekdays at 9:30", tz="Europe/Paris")  # START is a Thursday
    assert acron_time.now() == START.replace(day=2, hour=8, minute=30)
    await acron_time.advance_to("weekdays at 9:30", tz="Europe/Paris")
    assert acron_time.now() == START.replace(day=5, hour=8, minute=30)
    with pytest.raises(ValueError, match="is past, or never comes"):
        await acron_time.advance_to("2025-01-01T09:00")
    with pytest.raises(ScheduleError):
        await acron_time.advance_to("soon")


@pytest.mark.acron_time(grace=0.01)
async def test_frozen_time_passes_by_advance_alone(acron_time: VirtualTime) -> None:
    seen: list[str] = []
    asyncio.get_running_loop().call_later(60, seen.append, "a minute")
    with acron_time.freeze():
        with acron_time.freeze():
            await asyncio.to_thread(seen.append, "a thread")
            assert acron_time.now() == START
        with pytest.raises(WaitsForever, match="time is frozen"):
            await asyncio.sleep(30)
        await acron_time.advance(59)
        assert seen == ["a thread"]
        await acron_time.advance(1)
        assert seen == ["a thread", "a minute"]
    await asyncio.sleep(30)
    assert acron_time.now() == START + timedelta(seconds=90)


async def test_a_blocked_loop_runs_what_was_due_too_late(acron_time: VirtualTime) -> None:
    loop = asyncio.get_running_loop()
    seen: list[datetime] = []
    for delay in (1, 2, 30):
        loop.call_later(delay, lambda: seen.append(acron_time.now()))
    acron_time.block_loop(timedelta(seconds=10))
    assert seen == []
    await acron_time.advance(20)
    late = START + timedelta(seconds=10)
    assert seen == [late, late, START + timedelta(seconds=30)]


async def test_a_day_before_clocks_change(acron_time: VirtualTime) -> None:
    change = acron_time.dst("Europe/Paris", 2026, "autumn")
    assert change == datetime(2026, 10, 25, 1, tzinfo=UTC)
    assert acron_time.now() == change - DAY
    assert acron_time.dst("America/New_York", 2027, "spring") == datetime(
        2027, 3, 14, 7, tzinfo=UTC
    )
    for zone, year in (("Japan", 2026), ("Europe/Paris", 1800), ("Mars/Olympus", 2026)):
        with pytest.raises(ValueError, match=r"no clock goes forward|no zone"):
            acron_time.dst(zone, year, "spring")


async def test_settle_takes_no_time(acron_time: VirtualTime) -> None:
    done = []

    async def steps() -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        done.append(1)
        await asyncio.sleep(1)
        done.append(2)

    task = asyncio.create_task(steps())
    await acron_time.settle()
    assert done == [1]
    assert acron_time.now() == START
    await task


async def test_run_until(acron_time: VirtualTime) -> None:
    seen: list[datetime] = []

    async def ticks() -> None:
        while True:
            await asyncio.sleep(60)
            seen.append(acron_time.now())

    task = asyncio.create_task(ticks())
    assert await acron_time.run_until(lambda: len(seen) == 5 and seen[-1]) == seen[-1]
    assert acron_time.now() == START + timedelta(minutes=5)

    async def six() -> bool:
        await asyncio.sleep(0)
        return len(seen) >= 6

    assert await acron_time.run_until(six) is True
    with pytest.raises(
        TimeoutError, match="is not true after 1m 30s, at 2026-01-01 00:07:30 UTC: "
    ):
        await acron_time.run_until(list, limit=90)
    assert acron_time.now() == START + timedelta(minutes=7, seconds=30)
    task.cancel()


async def test_the_wall_clock_jumps_alone(acron_time: VirtualTime) -> None:
    loop = asyncio.get_running_loop()
    seen: list[str] = []
    began = loop.time()
    loop.call_later(60, seen.append, "on time")
    acron_time.jump_clock(3600)
    assert acron_time.now() == START + timedelta(hours=1)
    acron_time.jump_clock(timedelta(hours=-3))
    assert acron_time.now() == START - timedelta(hours=2)
    assert loop.time() == began
    await acron_time.advance(59)
    assert seen == []
    await acron_time.advance(1)
    assert seen == ["on time"]


async def test_set_before_anything_has_looked(acron_time: VirtualTime) -> None:
    instant = datetime(2030, 10, 27, tzinfo=UTC)
    acron_time.set(instant)
    await asyncio.sleep(1)
    assert acron_time.now() == instant + timedelta(seconds=1)


# --- what cannot go on


@pytest.mark.acron_time(grace=0.01)
async def test_a_test_that_waits_for_ever_is_told_where(acron_time: VirtualTime) -> None:
    async def server() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(server(), name="the server")
    await asyncio.sleep(0)
    event = asyncio.Event()
    with pytest.raises(WaitsForever, match="nothing can happen") as caught:
        await event.wait()
    assert "the server: " in str(caught.value)
    assert "test_virtual_time.py:" in str(caught.value)
    assert not task.done()
    task.cancel()


@pytest.mark.acron_time(grace=0.01)
async def test_it_is_told_through_the_tasks_it_awaits(acron_time: VirtualTime) -> None:
    async def child() -> None:
        await asyncio.Event().wait()

    with pytest.raises(WaitsForever):
        await asyncio.create_task(child())
    with pytest.raises(WaitsForever):
        await asyncio.gather(child(), child())
    with pytest.raises(WaitsForever):
        await asyncio.sleep(float("inf"))


async def test_a_raw_thread_has_a_moment_to_call(acron_time: VirtualTime) -> None:
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    waits = threading.Event()

    def call() -> None:
        waits.wait(10)
        loop.call_soon_threadsafe(event.set)

    thread = threading.Thread(target=call)
    thread.start()
    loop.call_soon(waits.set)
    await event.wait()
    thread.join()
    assert acron_time.now() == START


@pytest.mark.acron_time(jumps=1000)
async def test_time_does_not_run_away(acron_time: VirtualTime) -> None:
    async def ticks() -> None:
        while True:  # noqa: ASYNC110 (that is the test)
            await asyncio.sleep(60)

    task = asyncio.create_task(ticks())
    await acron_time.advance(days=30)  # bounded: as many jumps as it takes
    with pytest.raises(WaitsForever, match="1000 times"):
        await asyncio.Event().wait()
    task.cancel()


def test_without_a_test_to_tell_the_loop_ends() -> None:
    with virtual_time(grace=0.01):
        loop = asyncio.new_event_loop()
        with pytest.raises(WaitsForever):
            loop.run_forever()
        loop.close()


def test_one_who_swallows_it_does_not_go_on_for_ever() -> None:
    swallowed = []

    async def stubborn() -> None:
        for number in itertools.count():
            try:
                await asyncio.get_running_loop().create_future()
            except WaitsForever:
                swallowed.append(number)

    with virtual_time(grace=0.0) as time:
        loop = asyncio.new_event_loop()
        task = loop.create_task(stubborn())
        with pytest.raises(WaitsForever):
            loop.run_until_complete(task)
        assert len(swallowed) == 10
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()
        assert time.now() == START


# --- which loops


def test_the_plain_api_and_back_to_real_time() -> None:
    async def sleep() -> None:
        await asyncio.sleep(3600)

    run_forever = asyncio.BaseEventLoop.run_forever
    with virtual_time("2027-05-01T12:00:00+02:00") as time:
        assert time.now() == datetime(2027, 5, 1, 10, tzinfo=UTC)
        asyncio.run(sleep())
        asyncio.run(sleep())  # the next loop goes on where the last one was
        assert time.now() == datetime(2027, 5, 1, 12, tzinfo=UTC)
    assert asyncio.BaseEventLoop.run_forever is run_forever


def test_a_loop_that_outlives_it_gets_its_time_back() -> None:
    loop = asyncio.new_event_loop()
    untouched = set(vars(loop)), set(vars(loop._selector))  # type: ignore[attr-defined]
    seen: list[str] = []
    loop.call_later(7200, seen.append, "two hours")
    timer = loop.call_later(1e6, seen.append, "never")
    real = loop.time()
    with virtual_time() as time:

        async def hour() -> None:
            await time.advance(hours=1)

        loop.run_until_complete(hour())
        assert seen == []
        loop.run_until_complete(hour())
        assert seen == ["two hours"]
    assert (set(vars(loop)), set(vars(loop._selector))) == untouched  # type: ignore[attr-defined]
    assert loop.time() - real < 60
    assert timer.when() - loop.time() == pytest.approx(1e6 - 7200, abs=60)
    loop.close()


async def test_inside_a_running_loop() -> None:
    with virtual_time() as time:
        await asyncio.sleep(86400)
        assert time.now() == START + DAY
        with pytest.raises(VirtualTimeError, match="already"), virtual_time():
            pass
    assert not hasattr(asyncio.get_running_loop(), "acron_hold")


async def test_the_loops_of_other_threads_keep_real_time(acron_time: VirtualTime) -> None:
    loops: list[bool] = []

    async def look() -> None:
        await asyncio.sleep(0)
        loops.append(hasattr(asyncio.get_running_loop(), "acron_hold"))
        with pytest.raises(VirtualTimeError, match="another thread"):
            await acron_time.advance(1)

    await asyncio.to_thread(asyncio.run, look())
    assert loops == [False]


@pytest.fixture
async def early() -> AsyncIterator[datetime]:
    await asyncio.sleep(0)
    yield datetime.now(UTC)
    await asyncio.sleep(0)


async def test_beside_async_fixtures(early: datetime, acron_time: VirtualTime) -> None:
    await asyncio.sleep(86400)
    assert acron_time.now() == START + DAY


def test_the_clock_without_a_loop(acron_time: VirtualTime) -> None:
    assert acron_time.clock.now() == acron_time.clock.now() == START


def test_uvloop_is_refused(acron_time: VirtualTime) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        await acron_time.advance(1)

    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner, pytest.raises(VirtualTimeError, match="without uvloop"):
        runner.run(main())
    loop = uvloop.new_event_loop()
    with pytest.raises(VirtualTimeError, match="without uvloop"):
        loop.run_until_complete(main())
    loop.close()


@pytest.mark.acron_time("2028-02-29T12:00:00Z")
async def test_the_marker_says_when_it_begins(acron_time: VirtualTime) -> None:
    assert acron_time.now() == datetime(2028, 2, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize("acron_time", [datetime(2031, 1, 1, tzinfo=UTC)], indirect=True)
async def test_a_parameter_says_when_it_begins(acron_time: VirtualTime) -> None:
    assert acron_time.now() == datetime(2031, 1, 1, tzinfo=UTC)


# --- apps and the clock


async def test_an_app_without_a_clock_takes_that_of_the_loop(acron_time: VirtualTime) -> None:
    app, other = Acron("memory://"), SystemClock()
    real = Acron("memory://", clock=other)
    app.job("every 1h", id="hourly")(lambda: None)
    async with app, real:
        await acron_time.advance(hours=3)
        assert [run.scheduled_at for run in await app.runs()] == [
            START + timedelta(hours=hours) for hours in (3, 2, 1)
        ]
        assert app.clock is acron_time.clock
        assert real.clock is other


def test_once_time_is_real_so_is_the_clock() -> None:
    app = Acron("memory://")

    async def year() -> int:
        async with app:
            return app.clock.now().year

    with virtual_time("2031-01-01T00:00:00Z"):
        assert asyncio.run(year()) == 2031
    assert asyncio.run(year()) == datetime.now(UTC).year
