"""FAULTS 26: a country changes the rules of its clock; what is to come is computed anew."""

from __future__ import annotations

import shutil
import threading
import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tzdata  # type: ignore[import-untyped]

from acron import Acron
from acron.errors import StoreUnavailable
from acron.model import SkipReason
from acron.runtime import rules
from acron.runtime.rules import edition
from acron.stores.memory import MemoryStore
from acron.timetable import forget_zones

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from acron.abc import Change
    from acron.model import Decision
    from acron.testing import VirtualTime

    Decree = Callable[[str, str], None]

PACKAGE = Path(tzdata.__file__).parent / "zoneinfo"
PARIS = "Europe/Paris"
BEFORE = datetime(2026, 3, 28, 12, tzinfo=UTC)  # summer time would begin the next night
SUNDAY = datetime(2026, 3, 29, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def decree(tmp_path: Path) -> Iterator[Decree]:
    """Gives Paris the clock of another zone, in a new edition of the system's files; a process
    that is already running has read the old ones."""
    folder = tmp_path / "zoneinfo"
    (folder / "Europe").mkdir(parents=True)

    def change(like: str, version: str) -> None:
        shutil.copy(PACKAGE / like, folder / PARIS)
        (folder / "tzdata.zi").write_text(f"# version {version}\n# redo posix_only\n")

    change(PARIS, "2026a")
    zoneinfo.reset_tzpath([str(folder)])
    forget_zones()
    yield change
    zoneinfo.reset_tzpath()
    forget_zones()


def make(acron_time: VirtualTime, store: MemoryStore, ran: list[datetime]) -> Acron:
    app = Acron(store, clock=acron_time.clock, tz=PARIS)

    @app.action
    async def note() -> None:
        ran.append(acron_time.now())

    return app


async def fill(app: Acron) -> None:
    await app.add("every day at 9am", "note", id="daily")
    await app.add("2026-03-29T10:00", "note", id="once")
    await app.add("every 24h", "note", id="elapsed")
    await app.add("every day at 9am", "note", id="paused", paused="wait")


async def due(app: Acron) -> dict[str, datetime | None]:
    return {job.id: job.next_fire_at async for job in app.jobs()}


#: What Paris has by the new rules, and at what hour in UTC it is 9 there on the Sunday.
RULES = [("Africa/Lagos", 8), ("Etc/GMT-3", 6)]


@pytest.mark.parametrize("like, hour", RULES)
async def test_a_process_that_starts_with_new_rules(
    acron_time: VirtualTime, decree: Decree, like: str, hour: int
) -> None:
    store, ran = MemoryStore(), list[datetime]()
    acron_time.set(BEFORE)
    async with make(acron_time, store, ran) as app:
        await fill(app)
        old = await due(app)
        assert old["daily"] == old["paused"] == SUNDAY + 7 * HOUR
        assert old["once"] == SUNDAY + 8 * HOUR
        assert app.node is not None
        assert app.node.zones == "2026a"
    decree(like, "2026b")
    forget_zones()  # as it is in a new process
    async with make(acron_time, store, ran) as app:
        await acron_time.settle()
        new = await due(app)
        assert new["daily"] == new["paused"] == SUNDAY + hour * HOUR
        assert new["once"] == SUNDAY + (hour + 1) * HOUR
        assert new["elapsed"] == old["elapsed"]
        await acron_time.advance_to(SUNDAY + 2 * DAY)
        runs = await app.runs("daily")
        assert await app.skips() == []
    nine = SUNDAY + hour * HOUR
    assert [run.scheduled_at for run in runs] == [nine + DAY, nine]
    assert sorted(ran) == sorted([nine, nine + DAY, nine + HOUR, BEFORE + DAY, BEFORE + 2 * DAY])


@pytest.mark.parametrize("like, hour", RULES)
async def test_a_process_that_runs_takes_them_over(
    acron_time: VirtualTime,
    decree: Decree,
    like: str,
    hour: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ran: list[datetime] = []
    acron_time.set(BEFORE)
    async with make(acron_time, MemoryStore(), ran) as app:
        await fill(app)
        await acron_time.advance(minutes=10)
        decree(like, "2026b")
        await acron_time.advance(hours=2)
        assert (await due(app))["daily"] == SUNDAY + hour * HOUR
        assert [node.zones for node in await app.nodes()] == ["2026b"]
        await acron_time.advance_to(SUNDAY + DAY)
    assert sorted(ran) == sorted([SUNDAY + n * HOUR for n in (hour, hour + 1, 12)])
    told = "time zones have other rules (2026b, before 2026a): 3 jobs fire at other instants"
    assert told in caplog.text


async def test_what_is_past_by_the_new_rules_is_late_and_not_lost(
    acron_time: VirtualTime, decree: Decree
) -> None:
    store, ran = MemoryStore(), list[datetime]()
    acron_time.set(BEFORE)
    async with make(acron_time, store, ran) as app:
        await fill(app)
        await app.add("2026-03-29T09:00", "note", id="missed", grace=60)
    decree("Etc/GMT-3", "2026b")
    forget_zones()
    acron_time.set(SUNDAY + 6.5 * HOUR)  # half past nine in Paris, as it now turns out
    async with make(acron_time, store, ran) as app:
        await acron_time.advance(seconds=5)
        assert [run.lateness for run in await app.runs("daily")] == [1800.0]
        assert [skip.reason for skip in await app.skips("missed")] == [SkipReason.MISFIRE]
        await acron_time.advance(hours=1)
        assert len(await app.runs("once")) == len(await app.runs("daily")) == 1


async def test_rules_that_come_too_late_fire_twice_that_day_and_then_as_they_should(
    acron_time: VirtualTime, decree: Decree
) -> None:
    """The limit that docs/reference/schedules.md tells of."""
    store, ran = MemoryStore(), list[datetime]()
    acron_time.set(BEFORE)
    async with make(acron_time, store, ran) as app:
        await app.add("every day at 9am", "note", id="daily")
        await acron_time.advance_to(SUNDAY + 7.5 * HOUR)
    decree("Africa/Lagos", "2026b")
    forget_zones()
    async with make(acron_time, store, ran):
        await acron_time.advance_to(SUNDAY + 2 * DAY)
    assert ran == [SUNDAY + 7 * HOUR, SUNDAY + 8 * HOUR, SUNDAY + DAY + 8 * HOUR]


async def test_the_same_rules_move_nothing(
    acron_time: VirtualTime, decree: Decree, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    acron_time.set(BEFORE)
    async with make(acron_time, store, []) as app:
        await fill(app)
        before = [job async for job in app.jobs()]
    decree(PARIS, "2026b")  # a new edition; nothing in it is about Paris
    forget_zones()
    async with make(acron_time, store, []) as app:
        await acron_time.settle()
        assert [job async for job in app.jobs()] == before
    assert "other rules" not in caplog.text


def test_where_the_edition_is_told(tmp_path: Path, decree: Decree) -> None:
    assert edition() == "2026a"
    mac, plain = tmp_path / "mac", tmp_path / "plain" / "Etc"
    mac.mkdir()
    (mac / "+VERSION").write_text("2025c\n")
    zoneinfo.reset_tzpath([str(tmp_path / "none"), str(mac)])
    assert edition() == "2025c"
    plain.mkdir(parents=True)
    shutil.copy(PACKAGE / "UTC", plain / "UTC")
    zoneinfo.reset_tzpath([str(plain.parent), str(mac)])
    assert edition() == f"of {int((plain / 'UTC').stat().st_mtime)}"
    zoneinfo.reset_tzpath([])
    assert edition() == tzdata.IANA_VERSION


async def test_no_file_is_read_on_the_loop(
    acron_time: VirtualTime, decree: Decree, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[threading.Thread] = []

    def noted() -> str:
        readers.append(threading.current_thread())
        return edition()

    monkeypatch.setattr(rules, "edition", noted)
    async with make(acron_time, MemoryStore(), []):
        await acron_time.advance(hours=2)
    assert len(readers) >= 2
    assert threading.current_thread() not in readers


async def test_a_disk_that_hangs_at_the_start_is_asked_again(
    acron_time: VirtualTime, decree: Decree, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    acron_time.set(BEFORE)
    async with make(acron_time, store, []) as app:
        await fill(app)
    decree("Africa/Lagos", "2026b")
    monkeypatch.setattr(rules, "PATIENCE", 0.0)
    async with make(acron_time, store, []) as app:
        assert (await app.status()).last_error == "rules of time zones: TimeoutError"
        monkeypatch.undo()
        await acron_time.advance(hours=1)
        assert (await due(app))["daily"] == SUNDAY + 8 * HOUR
        assert app.node is not None
        assert app.node.zones == "2026b"


class Away(MemoryStore):
    """A store that once is away when jobs are written."""

    away = False

    async def write(self, ids: Sequence[str], change: Change, now: datetime) -> list[Decision]:
        if self.away:
            self.away = False
            raise StoreUnavailable("away")
        return await super().write(ids, change, now)


async def test_a_store_that_is_away_meanwhile_gets_the_new_rules_later(
    acron_time: VirtualTime, decree: Decree
) -> None:
    store = Away()
    acron_time.set(BEFORE)
    async with make(acron_time, store, []) as app:
        await fill(app)
        store.away = True
        decree("Africa/Lagos", "2026b")
        await acron_time.advance(minutes=10)
        assert (store.away, (await due(app))["daily"]) == (False, SUNDAY + 7 * HOUR)
        assert [node.zones for node in await app.nodes()] == ["2026a"]
        await acron_time.advance(hours=1)
        assert (await due(app))["daily"] == SUNDAY + 8 * HOUR
        assert [node.zones for node in await app.nodes()] == ["2026b"]


async def test_what_a_process_could_not_finish_the_next_one_does(
    acron_time: VirtualTime, decree: Decree
) -> None:
    store = Away()
    acron_time.set(BEFORE)
    async with make(acron_time, store, []) as app:
        await fill(app)
    decree("Africa/Lagos", "2026b")
    forget_zones()
    for hour in (7, 7, 8):
        store.away = hour == 7
        async with make(acron_time, store, []) as app:
            await acron_time.settle()
            assert (await due(app))["daily"] == SUNDAY + hour * HOUR
