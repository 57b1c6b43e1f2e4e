"""Pauses with an end, and the verbs on many jobs at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron
from acron.bulk import WITH_OTHERS
from acron.errors import InvalidJob, ScheduleError
from acron.model import SkipReason
from acron.stores import open_store
from acron.stores.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from acron.abc import Store
    from acron.testing import VirtualTime

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)


def make(acron_time: VirtualTime, store: Store | str = "memory://") -> Acron:
    app = Acron(store, clock=acron_time.clock)

    @app.action
    async def ping() -> None: ...

    return app


async def fates(app: Acron, ref: str, since: datetime, until: datetime) -> list[tuple[Any, ...]]:
    rows = await app.occurrences(ref, since, until)
    return [(row.fate, row.reason, row.count, row.scheduled_at - since) for row in rows]


@pytest.mark.parametrize("kind", ["memory", "json", "sqlite"])
async def test_a_pause_ends_by_itself_and_its_instants_are_counted(
    acron_time: VirtualTime, tmp_path: Path, kind: str
) -> None:
    urls = {"json": f"{tmp_path}/jobs.json", "sqlite": f"sqlite:///{tmp_path}/jobs.db"}
    app = make(acron_time, open_store(urls.get(kind, "memory://"), tmp_path))
    async with app:
        start = acron_time.now()
        await app.add("every 1m", "ping", id="a")
        paused = await app.pause("a", "upgrade", until=start + 3 * MINUTE)
        assert (paused.state, paused.due_at) == ("paused", start + 3 * MINUTE)
        assert await app.upcoming("a", 2) == [start + 3 * MINUTE, start + 4 * MINUTE]
        assert await fates(app, "a", start, start + 5 * MINUTE) == [
            ("paused", None, 2, 2 * MINUTE),
            ("upcoming", None, 2, 4 * MINUTE),
        ]
        await acron_time.advance(4 * MINUTE)
        job = await app.get("a")
        (skip,) = await app.skips("a")
        ran = [run.scheduled_at for run in await app.runs("a")]
    async with app.attached():  # the end of the pause is durable
        assert (await app.get("a")).state == "scheduled"
    assert (job.paused, job.paused_until, job.state) == (None, None, "scheduled")
    assert (skip.reason, skip.count) == (SkipReason.PAUSED, 2)
    assert (skip.first_at, skip.scheduled_at) == (start + MINUTE, start + 2 * MINUTE)
    assert ran == [start + 4 * MINUTE, start + 3 * MINUTE]


async def test_what_comes_after_the_end_of_a_pause_is_late_and_not_paused(
    acron_time: VirtualTime,
) -> None:
    app = make(acron_time, MemoryStore())
    async with app:
        start = acron_time.now()
        await app.add("every 1h", "ping", id="a")
        await app.pause("a", until="in 150m")
    acron_time.jump_clock(5 * HOUR)
    async with app:
        await acron_time.settle()
        found = await fates(app, "a", start, start + 5 * HOUR + TICK)
    assert found == [
        ("skipped", SkipReason.PAUSED, 2, 2 * HOUR),
        ("skipped", SkipReason.COALESCED, 2, 4 * HOUR),
        ("succeeded", None, 1, 5 * HOUR),
    ]


async def test_a_one_shot_within_its_grace_fires_after_the_pause(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    async with app:
        start = acron_time.now()
        await app.add("in 1h", "ping", id="a")
        await app.pause("a", until=start + 2 * HOUR)
        assert await app.upcoming("a") == [start + 2 * HOUR], "held until then"
        await acron_time.advance(3 * HOUR)
        (run,) = await app.runs("a")
        assert run.started_at == start + 2 * HOUR
        assert (await app.get("a")).state == "completed"


async def test_nothing_of_the_pause_is_upcoming(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    async with app:
        start = acron_time.now()
        end = start + 30 * HOUR
        await app.add("every 7h", "ping", id="a")
        await app.add("in 1h", "ping", id="beyond")
        await app.add("in 40h", "ping", id="later")
        for ref in ("a", "beyond", "later"):
            await app.pause(ref, until=end)
        assert await app.upcoming("a", 2) == [start + 35 * HOUR, start + 42 * HOUR]
        assert await app.upcoming("beyond") == [], "over 24 hours late by then"
        assert await app.upcoming("later") == [start + 40 * HOUR]


async def test_resume_and_pause_override_the_end(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    async with app:
        start = acron_time.now()
        await app.add("every 1h", "ping", id="a")
        await app.pause("a", until="tomorrow at 9am")
        resumed = await app.resume("a")
        assert (resumed.paused, resumed.paused_until) == (None, None)
        await app.pause("a", until=start + HOUR)
        for_good = await app.pause("a", "for good")
        assert for_good.paused_until is None
        await acron_time.advance(2 * HOUR)
        assert await app.runs("a") == []
        await app.pause("a", until=start + 9 * HOUR)
        assert (await app.edit("a", paused=None)).paused_until is None


@pytest.mark.parametrize(
    "until, error",
    [
        ("every 1h", InvalidJob),
        ("2h", ScheduleError),
        (datetime(2026, 2, 1), InvalidJob),  # noqa: DTZ001 (that it is naive is the point)
        (datetime(2020, 1, 1, tzinfo=UTC), InvalidJob),
    ],
)
async def test_an_end_that_is_none_is_refused(
    acron_time: VirtualTime, until: Any, error: type[Exception]
) -> None:
    app = make(acron_time)
    async with app:
        await app.add("every 1h", "ping", id="a")
        with pytest.raises(error):
            await app.pause("a", until=until)
        with pytest.raises(error):
            await app.pause_all(until=until)
        assert (await app.get("a")).state == "scheduled"


async def test_a_declared_job_keeps_the_end_of_its_pause(acron_time: VirtualTime) -> None:
    store = MemoryStore()

    def program() -> Acron:
        app = Acron(store, clock=acron_time.clock)

        @app.job("every 1h")
        async def chime() -> None: ...

        return app

    async with program() as app:
        end = acron_time.now() + 3 * HOUR
        await app.pause("chime", "by hand", until=end)
    async with program() as app:
        job = await app.get("chime")
        assert (job.paused, job.paused_until) == ("by hand", end)


async def test_all_are_paused_and_only_those_are_resumed(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    async with app:
        for name in ("a", "b", "c"):
            await app.add("every 1h", "ping", id=name, tags=["odd"] if name != "b" else ["even"])
        await app.pause("c", "mine")
        assert await app.pause_all("upgrade") == 2
        assert await app.pause_all("again") == 0
        reasons = {job.id: job.paused async for job in app.jobs()}
        assert reasons == {
            "a": f"{WITH_OTHERS}: upgrade",
            "b": f"{WITH_OTHERS}: upgrade",
            "c": "mine",
        }
        assert await app.resume_all(tag="odd") == 1
        assert await app.resume_all() == 1
        assert {job.id async for job in app.jobs() if job.paused is not None} == {"c"}


async def test_a_tag_is_a_handle_on_many(acron_time: VirtualTime) -> None:
    app = make(acron_time)
    async with app:
        await app.add_many(
            {
                "id": f"j{n:04}",
                "schedule": "every 1h",
                "action": "ping",
                "tags": [f"user:{n % 2}", "all"],
            }
            for n in range(2500)
        )
        assert await app.pause_all(until="in 90m", tag="user:1") == 1250
        await acron_time.advance(HOUR)
        assert {run.job_id[-1] for run in await app.runs(limit=5000)} == set("02468")
        await acron_time.advance(HOUR)
        assert {run.job_id[-1] for run in await app.runs(limit=5000)} == set("0123456789")
        assert await app.remove_tagged("user:1") == 1250
        assert [job.id async for job in app.jobs(tag="user:1")] == []
        assert len([job async for job in app.jobs(tag="all")]) == 1250
        assert await app.remove_tagged("nobody") == 0
