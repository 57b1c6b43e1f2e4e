"""Which instants are owed, and what becomes of the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from acron.model import Job, SkipReason
from acron.records import job_from_record
from acron.runtime.due import Owed, owed
from acron.timetable import bind, fire_at, name_calendars, timetable

START = datetime(2026, 3, 1, tzinfo=UTC)


def job(schedule: str, **fields: Any) -> Job:
    record = {"id": "tea", "schedule": schedule, "command": "true", **fields}
    bound = bind(job_from_record(record), None, START).job
    assert bound is not None
    return bound


def at(**delta: float) -> datetime:
    return START + timedelta(**delta)


def test_a_single_instant_on_time() -> None:
    hourly = job("every 1h")
    due = owed(hourly, timetable(hourly), at(hours=1), START)
    assert due == Owed(at(hours=1), (), at(hours=1), at(hours=2))


def test_a_backlog_is_one_start_and_one_counted_skip() -> None:
    minutely = job("* * * * *")
    due = owed(minutely, timetable(minutely), at(days=365, seconds=30), at(days=365))
    assert due.instant == at(days=365)
    (skip,) = due.skips
    assert (skip.reason, skip.count) == (SkipReason.COALESCED, 365 * 24 * 60 - 1)
    assert (skip.first_at, skip.scheduled_at) == (at(minutes=1), at(days=365, minutes=-1))
    assert due.following == at(days=365, minutes=1)


@pytest.mark.parametrize("late, starts", [(59, True), (61, False)])
def test_catch_up_none_keeps_to_its_grace(late: int, starts: bool) -> None:
    strict = job("every 1h", catch_up="none", grace=60)
    now = at(hours=1, seconds=late)
    due = owed(strict, timetable(strict), now, now)
    assert (due.instant is not None) is starts
    assert [skip.reason for skip in due.skips] == ([] if starts else [SkipReason.MISFIRE])
    assert due.following == at(hours=2)


def test_what_acron_made_wait_is_no_misfire() -> None:
    strict = job("every 1h", catch_up="none", grace=60)
    due = owed(strict, timetable(strict), at(hours=1, minutes=30), START)
    assert due.instant == at(hours=1)


def test_recurring_jobs_catch_up_once_however_late() -> None:
    hourly = job("every 1h")
    now = at(days=30, minutes=59)
    due = owed(hourly, timetable(hourly), now, now)
    assert due.instant == at(days=30)


@pytest.mark.parametrize("hours, starts", [(23, True), (26, False)])
def test_a_one_shot_fires_within_a_day(hours: int, starts: bool) -> None:
    once = job("in 1h")
    now = at(hours=1 + hours)
    due = owed(once, timetable(once), now, now)
    assert (due.instant == at(hours=1)) is starts
    assert due.following is None


def test_catch_up_all_starts_the_oldest_and_leaves_the_rest_owed() -> None:
    every = job("every 1h", catch_up="all")
    due = owed(every, timetable(every), at(hours=5), at(hours=5))
    assert due == Owed(at(hours=1), (), at(hours=1), at(hours=2))


def test_catch_up_all_has_a_limit_and_counts_what_lies_beyond() -> None:
    every = job("every 1h", catch_up="all", catch_up_limit=3)
    due = owed(every, timetable(every), at(hours=10), at(hours=10))
    assert due.instant == at(hours=8)
    (skip,) = due.skips
    assert (skip.reason, skip.count, skip.first_at) == (SkipReason.LIMIT, 7, at(hours=1))
    assert skip.scheduled_at == at(hours=7)
    assert due.following == at(hours=9)


def test_jitter_delays_only_and_is_stable() -> None:
    jittered = job("every 1h", jitter=600)
    fires = [fire_at(jittered, at(hours=n)) - at(hours=n) for n in range(1, 50)]
    assert all(timedelta(0) <= delay < timedelta(seconds=600) for delay in fires)
    assert len(set(fires)) > 40
    assert jittered.next_fire_at == fire_at(jittered, at(hours=1))


def test_an_instant_whose_jitter_is_not_over_is_not_owed() -> None:
    jittered = job("every 1h", jitter=600)
    schedule = timetable(jittered)
    for hour in range(2, 40):
        lattice = at(hours=hour)
        due = owed(jittered, schedule, lattice + timedelta(microseconds=1), lattice)
        wanted = (
            hour if fire_at(jittered, lattice) <= lattice + timedelta(microseconds=1) else hour - 1
        )
        assert due.instant == at(hours=wanted)
        assert sum(skip.count for skip in due.skips) == wanted - 1


def test_a_day_that_became_a_holiday_meanwhile_is_not_fired() -> None:
    name_calendars({"club": ["2026-03-09"]})
    daily = job("0 9 * * * except club")
    assert daily.next_fire_at == at(hours=9)
    name_calendars({"club": ["2026-03-01"]})
    due = owed(daily, timetable(daily), at(hours=9, seconds=1), START)
    assert due == Owed(None, (), START, at(days=1, hours=9))
