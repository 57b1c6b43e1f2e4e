"""An APScheduler 3 job store, as that library itself writes it, read by the instants it means."""

from __future__ import annotations

import pickle
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from acron import Acron, ConfigError, parse
from acron.errors import AcronError
from acron.moving import Report
from acron.moving.apscheduler import read_apscheduler
from acron.moving.plant import plant
from acron.specs import Call

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acron.moving import Found
    from acron.testing import VirtualTime

    Read = Callable[..., Found]

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def state(trigger: Any, **fields: Any) -> dict[str, Any]:
    """What ``Job.__getstate__`` of APScheduler 3.11 gives, and its store pickles."""
    given = {
        "version": 1,
        "id": "tea",
        "func": "bot.jobs:remind",
        "trigger": trigger,
        "executor": "default",
        "args": (),
        "kwargs": {},
        "name": "remind",
        "misfire_grace_time": 1,
        "coalesce": False,
        "max_instances": 1,
        "next_run_time": NOW,
    }
    return given | fields


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a store that holds these states."""

    def call(*states: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Found:
        file = tmp_path / "aps.db"
        file.unlink(missing_ok=True)
        with closing(sqlite3.connect(file)) as db:
            db.execute("CREATE TABLE apscheduler_jobs (id VARCHAR(191), x FLOAT, job_state BLOB)")
            for number, one in enumerate(states):
                data = one if isinstance(one, bytes) else pickle.dumps(one, protocol)
                row = (f"job{number}", None, data)
                db.execute("INSERT INTO apscheduler_jobs VALUES (?, ?, ?)", row)
            db.commit()
        before = file.read_bytes()
        found = read_apscheduler(f"sqlite:///{file}")
        assert file.read_bytes() == before
        return found

    return call


def one(found: Found) -> dict[str, Any]:
    assert found.left_out == []
    (draft,) = found.drafts
    record: dict[str, Any] = draft.record
    return record


PARIS = "Europe/Paris"


@pytest.mark.parametrize(
    "fields,text",
    [
        (
            {"minute": "*/5", "hour": "9-17", "day_of_week": "mon-fri"},
            "*/5 9-17 * * MON,TUE,WED,THU,FRI",
        ),
        ({"hour": 9, "day_of_week": "0-4"}, "0 9 * * MON,TUE,WED,THU,FRI"),
        ({"hour": 9, "day_of_week": "*/2"}, "0 9 * * MON,WED,FRI,SUN"),
        ({"hour": 9, "day_of_week": "2/2"}, "0 9 * * WED,FRI,SUN"),
        ({"hour": 9, "day_of_week": "sat,sun"}, "0 9 * * SAT,SUN"),
        ({"hour": "1,5-9/2"}, "0 1,5-9/2 * * *"),
        ({"day": "last", "hour": 17}, "0 17 L * *"),
        ({"day": "2nd fri", "hour": 17}, "0 17 * * FRI#2"),
        ({"day": "last fri", "hour": 17}, "0 17 * * FRIL"),
        ({"month": "jan-mar", "day": "1,15"}, "0 0 1,15 jan-mar *"),
        ({"second": "*/10"}, "*/10 * * * * *"),
        ({"second": 5, "minute": 0, "day_of_week": "mon"}, "5 0 * * * MON"),
        ({"year": 2028, "month": 2, "day": 29}, "0 0 0 29 2 * 2028"),
    ],
)
def test_cron_triggers(read: Read, fields: dict[str, Any], text: str) -> None:
    trigger = CronTrigger(**fields, timezone=PARIS)
    found = one(read(state(trigger)))
    assert (found["schedule"], found["tz"]) == (text, PARIS)
    ours = parse(found["schedule"], tz=found["tz"]).upcoming(NOW, 30)
    theirs: list[datetime] = []
    at = trigger.get_next_fire_time(None, NOW + timedelta(microseconds=1))
    while at is not None and len(theirs) < 30:
        theirs.append(at.astimezone(UTC))
        at = trigger.get_next_fire_time(at, at)
    assert ours == theirs


def test_interval_triggers_stay_on_their_lattice(read: Read) -> None:
    start = datetime(2026, 11, 1, 8, 7, tzinfo=UTC)
    trigger = IntervalTrigger(minutes=90, start_date=start, timezone="UTC", jitter=20)
    found = one(read(state(trigger)))
    assert (found["schedule"], found["jitter"]) == ("every 1h30m from 2026-11-01T06:37Z", 20)
    expected = trigger.get_next_fire_time(None, NOW)
    ours = parse(found["schedule"]).next_after(NOW)
    assert ours is not None
    assert timedelta(0) <= expected - ours < timedelta(seconds=20)
    assert parse(found["schedule"]).next_after(start - timedelta(1)) == start


def test_date_triggers(read: Read) -> None:
    trigger = DateTrigger(datetime(2027, 1, 1, 9), timezone=PARIS)  # noqa: DTZ001 (as they are written)
    assert one(read(state(trigger)))["schedule"] == "2027-01-01T08:00:00+00:00"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_rest_of_a_job(read: Read, protocol: int) -> None:
    end = datetime(2027, 1, 1, tzinfo=UTC)
    trigger = CronTrigger(hour=9, start_date=NOW, end_date=end, timezone=PARIS)
    more = {
        "kwargs": {"chat": 1, "text": "tea"},
        "misfire_grace_time": 300,
        "max_instances": 3,
        "next_run_time": None,
    }
    assert one(read(state(trigger, **more), protocol=protocol)) == {
        "id": "job0",
        "name": "remind",
        "call": "remind",
        "kwargs": {"chat": 1, "text": "tea"},
        "schedule": "0 9 * * *",
        "tz": PARIS,
        "start": NOW,
        "until": end,
        "grace": 300,
        "catch_up": "none",
        "overlap": "allow",
        "max_running": 3,
        "paused": "paused in APScheduler",
    }


DAILY = CronTrigger(hour=9, timezone="UTC")


class Bomb:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it ran')",)


class Reach:
    def __reduce__(self) -> Any:
        return getattr, (datetime, "now")


class Thing:
    pass


@pytest.mark.parametrize(
    "given,why",
    [
        (state(DAILY, args=(1,)), "positional"),
        (state(DAILY, kwargs={"at": NOW}), "'at' is a datetime"),
        (state(DAILY, kwargs={"pair": (1, 2)}), "'pair' is a tuple"),
        (state(DAILY, kwargs={"x": Thing()}), "Thing"),
        (state(DAILY, kwargs={"x": Bomb()}), "builtins.exec"),
        (state(DAILY, kwargs={"x": getattr}), "'x' is a function"),
        (state(DAILY, kwargs={"x": Reach()}), "asks for"),
        (state(CronTrigger(week=3, timezone="UTC")), "week=3"),
        (state(CronTrigger(day=13, day_of_week="fri", timezone="UTC")), "both match"),
        (state(CronTrigger(day="1st mon", day_of_week="fri", timezone="UTC")), "both match"),
        (state(CronTrigger(day="1st mon,15", timezone="UTC")), "no equivalent"),
        (state(CronTrigger(hour=1, timezone=UTC)) | {"version": 2}, "not a job of APScheduler 3"),
        (state(OrTrigger([DAILY, DAILY])), "OrTrigger"),
        ([1], "not a job of APScheduler 3"),
        (b"no pickle", "cannot be read"),
    ],
)
def test_what_has_no_equivalent_is_listed(read: Read, given: Any, why: str) -> None:
    found = read(state(DAILY), given)
    assert [draft.where for draft in found.drafts] == ["job0"]
    (left,) = found.left_out
    assert left.where == "job1"
    assert why in left.why


@pytest.mark.parametrize("url", ["sqlite:////no/such/file.db", "mysql://x/y", "nonsense"])
def test_a_store_that_cannot_be_read(url: str) -> None:
    with pytest.raises((AcronError, ConfigError)):
        read_apscheduler(url)


def test_a_table_is_a_name() -> None:
    with pytest.raises(ConfigError, match="name of a table"):
        read_apscheduler("sqlite:///x", table="a; drop table b")


async def test_jobs_are_planted(read: Read, acron_time: VirtualTime) -> None:
    acron_time.set(NOW)
    past = state(DateTrigger(datetime(2020, 1, 1, tzinfo=UTC)))
    async with Acron("memory://", clock=acron_time.clock) as app:
        report = Report()
        await plant(app, read(state(DAILY), past), report)
        (job,) = [job async for job in app.jobs()]
        assert (job.action, job.next_fire_at) == (Call("remind"), NOW + timedelta(hours=21))
        ((_, what, why),) = report.left_out
        assert what == "job1"
        assert "in the past" in why
