"""Where a job stands on its schedule: binding, anchors, pause and resume."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from acron.errors import ConfigError, ScheduleError
from acron.incidents import opened
from acron.model import Job, SkipReason
from acron.records import job_from_record
from acron.specs import Call
from acron.timetable import advance, bind, grace, name_calendars, timetable

START = datetime(2026, 3, 1, tzinfo=UTC)


def declared(schedule: str, **fields: Any) -> Job:
    return job_from_record({"id": "tea", "schedule": schedule, "command": "true", **fields})


def bound(job: Job, old: Job | None = None, now: datetime = START) -> Job:
    stored = bind(job, old, now).job
    assert stored is not None
    return stored


def test_an_interval_counts_from_where_it_was_first_seen() -> None:
    job = bound(declared("every 2h"))
    assert job.next_fire_at == START + timedelta(hours=2)
    later = bound(declared("every 2h", timeout=5), job, START + timedelta(hours=1))
    assert later.next_fire_at == job.next_fire_at
    assert (later.bound, later.created_at) == (job.bound, START)
    assert later.revision == 2


def test_a_changed_schedule_starts_anew() -> None:
    job = bound(declared("every 2h"))
    later = bound(declared("every 3h"), job, START + timedelta(hours=1))
    assert later.next_fire_at == START + timedelta(hours=4)
    assert later.created_at == START


def test_what_went_wrong_outlives_a_change_of_the_schedule() -> None:
    job = opened(bound(declared("every 2h")), "failure", "no kettle", START)
    assert bound(declared("every 3h"), job, START + timedelta(hours=1)).incidents == job.incidents


def test_the_same_declaration_changes_nothing() -> None:
    job = bound(declared("in 2h"))
    assert bound(declared("in 2h"), job, START + timedelta(hours=1)) == job


def test_a_one_shot_is_not_rearmed_once_it_is_over() -> None:
    job = bound(declared("in 2h"))
    over = advance(job, timetable(job), START + timedelta(hours=2))
    assert over.completed
    assert bound(declared("in 2h"), over, START + timedelta(days=9)).state == "completed"


def test_resume_counts_what_the_pause_has_cost() -> None:
    job = bound(declared("every 1h"))
    paused = bound(replace(job, paused="tea is out"), job)
    assert paused.due_at is None
    decision = bind(replace(paused, paused=None), paused, START + timedelta(hours=5, minutes=1))
    (skip,) = decision.skips
    assert (skip.reason, skip.count) == (SkipReason.PAUSED, 5)
    assert (skip.first_at, skip.scheduled_at) == (
        START + timedelta(hours=1),
        START + timedelta(hours=5),
    )
    assert decision.job is not None
    assert decision.job.next_fire_at == START + timedelta(hours=6)


def test_a_short_pause_costs_nothing() -> None:
    job = bound(declared("every 1h"))
    paused = bound(replace(job, paused=""), job)
    decision = bind(replace(paused, paused=None), paused, START + timedelta(minutes=5))
    assert decision.skips == ()
    assert decision.job is not None
    assert decision.job.next_fire_at == job.next_fire_at


def test_a_one_shot_paused_over_its_instant_is_still_owed() -> None:
    job = bound(declared("in 1h"))
    paused = bound(replace(job, paused=""), job)
    decision = bind(replace(paused, paused=None), paused, START + timedelta(hours=2))
    assert decision.skips == ()
    assert decision.job is not None
    assert decision.job.due_at == START + timedelta(hours=1)


def test_start_and_until_bound_the_schedule() -> None:
    job = bound(declared("0 * * * *", start="2026-03-02T00:30Z", until="2026-03-02T02:00Z"))
    assert timetable(job).upcoming(START, 9) == [
        datetime(2026, 3, 2, 1, tzinfo=UTC),
        datetime(2026, 3, 2, 2, tzinfo=UTC),
    ]


def test_start_moves_the_first_fire_of_an_interval() -> None:
    job = bound(declared("every 2h", start="2026-03-02T00:30Z"))
    assert job.next_fire_at == datetime(2026, 3, 2, 0, 30, tzinfo=UTC)


def test_a_moment_long_past_is_refused() -> None:
    with pytest.raises(ScheduleError):
        bind(declared("2020-01-01T09:00"), None, START)


def test_a_moment_just_past_is_owed_at_once() -> None:
    assert bound(declared("2026-02-28T23:59")).due_at == datetime(2026, 2, 28, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "schedule, seconds",
    [
        ("every 30s", 120),
        ("every 10m", 300),
        ("every 1h", 1800),
        ("0 9 * * *", 7200),
        ("in 1h", 24 * 3600),
    ],
)
def test_the_default_grace_is_half_the_period_within_bounds(schedule: str, seconds: float) -> None:
    job = bound(declared(schedule))
    assert job.next_fire_at is not None
    assert grace(job, timetable(job), job.next_fire_at) == seconds


def test_a_named_calendar_is_followed_as_it_changes() -> None:
    name_calendars({"company": ["2026-03-03"]})
    job = bound(declared("0 9 * * * except company"))
    assert [at.day for at in timetable(job).upcoming(START, 3)] == [1, 2, 4]
    name_calendars({"company": ["2026-03-03", "2026-03-02"]})
    assert [at.day for at in timetable(job).upcoming(START, 3)] == [1, 4, 5]


def test_a_calendar_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigError, match=r"calendars\.odd: .*someday"):
        name_calendars({"odd": ["someday"]})


def test_a_job_in_error_is_mended_when_its_calendar_is_back() -> None:
    job = bound(declared("every 1h"))
    broken = replace(job, error="no calendar is named 'gone'")
    assert broken.state == "error"
    mended = bound(declared("every 1h"), broken, START + timedelta(minutes=5))
    assert (mended.state, mended.next_fire_at) == ("scheduled", job.next_fire_at)


@pytest.mark.parametrize(
    "text, kept",
    [
        ("2027-01-01T09:00:00+01:00", "2027-01-01T09:00:00+01:00"),
        ("2027-01-01T08:00Z", "2027-01-01T08:00Z"),
        ("2027-01-01 08:00 UTC", "2027-01-01T08:00Z"),
    ],
)
def test_an_instant_in_full_is_kept_as_it_was_written(text: str, kept: str) -> None:
    job = bound(declared(text))
    assert job.bound == kept
    assert (job.bound is job.schedule) == (kept == text), "one text, not two"
    assert (
        job.next_fire_at == timetable(job).next_after(START) == datetime(2027, 1, 1, 8, tzinfo=UTC)
    )


def test_an_edit_by_a_clock_behind_runs_no_instant_again() -> None:
    """Seed 3589 of the simulation: a machine an hour ahead had run 00:15 already."""
    now = datetime(2026, 11, 22, 23, 20, tzinfo=UTC)
    fired = datetime(2026, 11, 23, 0, 15, tzinfo=UTC)
    new = Job(id="tea", schedule="15 * * * *", action=Call("brew"))
    old = bind(new, None, now).job
    assert old is not None
    for ahead, first in ((timedelta(0), timedelta(hours=1)), (timedelta(days=400), None)):
        ran = replace(old, last_fire_at=fired + ahead, cursor=fired + ahead)
        job = bind(replace(new, tz="Europe/Paris"), ran, now).job
        assert job is not None
        expected = now.replace(minute=15) + timedelta(hours=1) if first is None else fired + first
        assert job.next_fire_at == expected
