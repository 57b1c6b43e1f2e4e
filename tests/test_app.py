"""The embedding surface: declaring, verbs, events, and whose loop it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from acron import (
    Acron,
    AmbiguousJob,
    Call,
    Command,
    ConfigError,
    InvalidJob,
    JobConflict,
    JobNotFound,
    ScheduleError,
    Settings,
    WrongLoop,
)
from acron.events import Delivered, Finished, Progressed, Skipped, Started
from acron.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acron import Context
    from acron.testing import VirtualTime


@pytest.fixture
async def app(acron_time: VirtualTime) -> AsyncIterator[Acron]:
    async with Acron("memory://", clock=acron_time.clock) as app:
        yield app


def test_the_decorators_return_the_function() -> None:
    app = Acron("memory://")

    def plain() -> int:
        return 3

    assert app.job("every 1h")(plain) is plain
    assert app.action(plain) is plain


def test_a_wrong_policy_is_refused_where_it_is_written() -> None:
    app = Acron("memory://")

    def plain() -> None: ...

    with pytest.raises(InvalidJob, match="did you mean 'overlap'"):
        app.job("every 1h", overlop="skip")(plain)


async def test_a_declared_schedule_that_is_none_is_told_with_its_job(
    acron_time: VirtualTime,
) -> None:
    app = Acron("memory://")
    app.job("0 9 * * *", id="fine")(still)
    app.job("60 9 * * *", id="wrong")(still)
    with pytest.raises(ScheduleError, match=r"^job 'wrong': 60 is out of range") as caught:
        async with app:
            pass
    assert (caught.value.text, caught.value.position) == ("60 9 * * *", 0)
    assert caught.value.hint


async def still() -> None: ...


async def test_what_is_declared_too_late_is_told_of(
    app: Acron, caplog: pytest.LogCaptureFixture
) -> None:
    app.job("every 1h", id="late")(still)
    assert "job late: the app is open; it begins when that opens next" in caplog.text
    assert [job.id async for job in app.jobs()] == []


async def test_fields_of_the_wrong_kind_are_named(app: Acron, acron_time: VirtualTime) -> None:
    app.action(still)
    with pytest.raises(InvalidJob, match="write for example '2026-12-01T09:00"):
        await app.add(acron_time.now(), still)  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match="'quue' of overlap"):
        await app.add("in 5h", still, overlap="quue")


async def test_an_app_that_is_not_open_says_so() -> None:
    with pytest.raises(WrongLoop, match="async with"):
        await Acron("memory://").add("every 1h", Command("a"))


async def test_reading_needs_no_open_app_and_an_app_opens_again(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)

    @app.job("every 1h")
    def tick() -> str:
        return "tock"

    assert await app.runs() == []
    for _ in range(2):
        async with app:
            await acron_time.advance(hours=2, seconds=1)
        assert (await app.status()).state == "not running"
    assert [run.output for run in await app.runs("tick")] == ["tock"] * 4


def test_another_loop_is_refused() -> None:
    app = Acron("memory://")
    refused: list[str] = []

    async def other() -> None:
        try:
            await app.runs()
        except WrongLoop as error:
            refused.append(str(error))

    async def main() -> None:
        async with app:
            await asyncio.to_thread(asyncio.run, other())

    asyncio.run(main())
    assert "another event loop" in refused[0]


async def test_opening_twice_is_refused(app: Acron) -> None:
    with pytest.raises(WrongLoop, match="open already"):
        await app.__aenter__()
    assert [job async for job in app.jobs()] == []


async def test_ids_and_names(app: Acron) -> None:
    await app.add("every 1h", Command("a"), id="one", name="Tea")
    await app.add("every 1h", Command("b"), id="two", name="tea")
    await app.add("every 1h", Command("c"), id="tea", name="other")
    assert (await app.get("tea")).id == "tea"
    assert (await app.get("OTHER")).id == "tea"
    with pytest.raises(AmbiguousJob, match="one, two"):
        await app.get("TEA")
    with pytest.raises(JobNotFound):
        await app.get("coffee")


async def test_on_conflict(app: Acron) -> None:
    await app.add("every 1h", Command("a"), id="one")
    with pytest.raises(JobConflict):
        await app.add("every 2h", Command("b"), id="one")
    kept = await app.add("every 2h", Command("b"), id="one", on_conflict="keep")
    assert kept.schedule == "every 1h"
    replaced = await app.add("every 2h", Command("b"), id="one", on_conflict="replace")
    assert (replaced.schedule, replaced.revision) == ("every 2h", 2)


async def test_add_many_is_one_transaction(app: Acron) -> None:
    await app.add("every 1h", Command("a"), id="taken")
    rows = [{"id": name, "schedule": "every 1h", "command": "x"} for name in ("new", "taken")]
    with pytest.raises(JobConflict):
        await app.add_many(rows)
    assert [job.id async for job in app.jobs()] == ["taken"]
    with pytest.raises(InvalidJob, match="two jobs"):
        await app.add_many([rows[0], rows[0]])


@pytest.mark.parametrize(
    "schedule, error", [("30m", ScheduleError), ("0 0 31 2 *", ScheduleError), ("", InvalidJob)]
)
async def test_bad_schedules_store_nothing(
    app: Acron, schedule: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await app.add(schedule, Command("a"))
    assert [job async for job in app.jobs()] == []


async def test_edit(app: Acron, acron_time: VirtualTime) -> None:
    job = await app.add("every 1h", Command("a"), id="one", timeout="5m")
    await acron_time.advance(minutes=30)
    edited = await app.edit("one", command="b", timeout=None, deliver="log")
    assert edited.action == Command("b")
    assert edited.policy.timeout is None
    assert edited.deliver == ("log",)
    assert edited.next_fire_at == job.next_fire_at
    with pytest.raises(JobConflict, match="revision 2"):
        await app.edit("one", command="c", revision=1)
    with pytest.raises(InvalidJob, match="did you mean 'timeout'"):
        await app.edit("one", timeot=3)
    moved = await app.edit("one", schedule="every 2h")
    assert moved.next_fire_at is not None
    assert (moved.next_fire_at - acron_time.clock.now()).total_seconds() == 7200


async def test_remove_forgets_the_job_and_keeps_the_ledger(
    app: Acron, acron_time: VirtualTime
) -> None:
    await app.add("every 1h", "nobody", id="one")
    pending = await app.run_now("one")
    await app.remove("one")
    with pytest.raises(JobNotFound):
        await app.get("one")
    (run,) = await app.runs("one")
    assert (run.id, run.state) == (pending.id, "cancelled")


async def test_declared_jobs_follow_the_code(acron_time: VirtualTime) -> None:
    store = MemoryStore()

    def make(schedule: str | None, **policies: Any) -> Acron:
        app = Acron(store, app="bot", clock=acron_time.clock)
        if schedule is not None:

            @app.job(schedule, id="news", **policies)
            async def news() -> None: ...

        @app.job("every 9h")
        async def other() -> None: ...

        return app

    async with make("every 2h") as app:
        first = await app.get("news")
        await acron_time.advance(hours=1)
    async with make("every 2h", timeout=5) as app:
        again = await app.get("news")
        assert again.next_fire_at == first.next_fire_at
        assert again.policy.timeout == 5
        await app.pause("news", "by hand")
    async with make("every 2h") as app:
        assert (await app.get("news")).paused == "by hand"
        await app.resume("news")
    async with make(None) as app:
        assert "no longer declared" in ((await app.get("news")).paused or "")
    async with make("every 2h") as app:
        assert (await app.get("news")).state == "scheduled"


async def test_a_declared_one_shot_is_bound_once(acron_time: VirtualTime) -> None:
    store = MemoryStore()
    fired = 0

    def make() -> Acron:
        app = Acron(store, clock=acron_time.clock)

        @app.job("in 30m")
        async def hello() -> None:
            nonlocal fired
            fired += 1

        return app

    for _ in range(3):
        async with make():
            await acron_time.advance(minutes=20)
    assert fired == 1


async def test_a_declared_job_does_not_take_a_dynamic_id(acron_time: VirtualTime) -> None:
    store = MemoryStore()
    async with Acron(store, clock=acron_time.clock) as app:
        await app.add("every 1h", Command("a"), id="news")
    app = Acron(store, clock=acron_time.clock)

    @app.job("every 1h")
    async def news() -> None: ...

    with pytest.raises(JobConflict, match="news"):
        await app.__aenter__()
    async with Acron(store, clock=acron_time.clock) as again:
        assert (await again.get("news")).action == Command("a")


async def test_methods_are_bound_by_provide(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)

    class Cog:
        def __init__(self) -> None:
            self.beats = 0

        @app.job("every 1m")
        async def pulse(self) -> None:
            self.beats += 1

    cog = Cog()
    app.provide(cog)
    async with app:
        await acron_time.advance(minutes=3, seconds=1)
    assert cog.beats == 3


async def test_a_job_that_waited_for_its_function_runs_once_there_is_one(
    app: Acron, acron_time: VirtualTime
) -> None:
    await app.add("in 10m", Call("later"), id="one")
    await acron_time.advance(minutes=20, seconds=7)
    assert await app.runs("one") == []
    registered = acron_time.now()

    @app.action
    async def later() -> None: ...

    await acron_time.advance(minutes=2)
    assert [run.started_at for run in await app.runs("one")] == [registered]


async def test_events_tell_the_whole_story(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)

    @app.job("every 1m", deliver="log")
    async def slow(ctx: Context) -> str:
        await ctx.progress(1, 2, "half")
        await asyncio.sleep(90)
        return "done"

    async with app:
        events = app.events()
        await acron_time.advance(minutes=3)
    kinds = [type(event) async for event in events]
    assert kinds[:5] == [Started, Progressed, Skipped, Finished, Delivered]


async def test_upcoming(app: Acron, acron_time: VirtualTime) -> None:
    await app.add("every 1h", Command("a"), id="one", repeat=2)
    now = acron_time.clock.now()
    assert [(at - now).total_seconds() for at in await app.upcoming("one")] == [3600, 7200]
    await app.pause("one")
    assert await app.upcoming("one") == []


async def test_attached_fires_nothing_by_itself(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    ran = 0

    @app.action
    async def ping() -> str:
        nonlocal ran
        ran += 1
        return "pong"

    async with app.attached(firing=True):
        await app.add("in 5m", ping, id="ping")
        await acron_time.advance(minutes=6)
        assert ran == 0
        assert await app.tick() == 1
        await acron_time.advance(seconds=1)
        run = await app.run_here("ping")
        assert (run.output, run.scheduled_at) == ("pong", None)
    assert ran == 2


async def test_an_app_that_declares_nothing_pauses_nothing(acron_time: VirtualTime) -> None:
    store = MemoryStore()
    app = Acron(store, clock=acron_time.clock)

    @app.job("every 2h")
    async def news() -> None: ...

    async with app:
        pass
    async with Acron(store, clock=acron_time.clock).attached(firing=True) as client:
        await client.tick()
    async with Acron(store, clock=acron_time.clock) as daemon:
        assert (await daemon.get("news")).state == "scheduled"


async def test_an_edited_schedule_leaves_no_instant_behind(
    app: Acron, acron_time: VirtualTime
) -> None:
    await app.add("every 1h", "nobody", id="one")
    await acron_time.advance(hours=3, minutes=30)
    await app.edit("one", schedule="every 2h")
    (skip,) = await app.skips("one")
    assert (skip.reason, skip.count) == ("changed", 3)


async def test_readers_share_the_store_that_they_open(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    async with app:
        await app.add("every 1h", Command("a"), id="one")
    jobs = await asyncio.gather(*(app.get("one") for _ in range(5)))
    assert {job.id for job in jobs} == {"one"}


async def test_settings_made_by_hand_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_running"):
        Acron("memory://", settings=Settings(max_running=0))


async def test_a_declared_moment_long_past_is_missed_not_refused(
    acron_time: VirtualTime,
) -> None:
    app = Acron("memory://", clock=acron_time.clock)

    @app.job("2020-01-01T09:00")
    async def old() -> None: ...

    async with app:
        await acron_time.advance(minutes=2)
        (skip,) = await app.skips("old")
        assert (await app.get("old")).state == "completed"
    assert skip.reason == "misfire"


async def test_a_late_listener_ends_at_once(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    async with app:
        events = app.events()
        await app.drain()
    assert [event async for event in events] == []
    assert [event async for event in app.events()] == []


async def test_repeat_can_be_raised_and_lowered(app: Acron, acron_time: VirtualTime) -> None:
    @app.action
    async def ping() -> None: ...

    await app.add("every 1m", ping, id="one", repeat=2)
    await acron_time.advance(minutes=5)
    assert (await app.get("one")).state == "completed"
    await app.edit("one", repeat=5)
    await acron_time.advance(minutes=2)
    fired = (await app.get("one")).fired
    assert fired > 2
    await app.edit("one", repeat=1)
    await acron_time.advance(minutes=5)
    job = await app.get("one")
    assert (job.state, job.fired) == ("completed", fired)
