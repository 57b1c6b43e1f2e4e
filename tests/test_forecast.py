"""What all jobs will do, against the schedules themselves."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from acron.forecast import Forecast, Peak, forecast, groups
from acron.model import Job, Policy
from acron.specs import Command
from acron.timetable import bind, timetable

if TYPE_CHECKING:
    from acron.schedules import Schedule

PARIS = "Europe/Paris"
NOW = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)


def job(schedule: str, job_id: str = "", tz: str = PARIS, **fields: Any) -> Job:
    policy = Policy(**{key: fields.pop(key) for key in list(fields) if key in _POLICIES})
    new = Job(
        id=job_id or schedule,
        schedule=schedule,
        action=Command("true"),
        tz=tz,
        policy=policy,
        **fields,
    )
    bound = bind(new, None, NOW).job
    assert bound is not None
    return bound


_POLICIES = frozenset(Policy.__struct_fields__)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def foresee(*jobs: Job, start: datetime = NOW, days: int = 7, tz: str = PARIS) -> Forecast:
    return forecast(jobs, start, days, tz)


def test_no_jobs_no_fires() -> None:
    found = foresee()
    assert (found.fires, found.jobs, found.busiest_hour, found.busiest_minute) == (
        0,
        (),
        None,
        None,
    )
    assert len(found.days) == 7


def test_the_window_ends_with_the_last_day_and_its_first_hours_are_past() -> None:
    found = foresee(job("0 * * * *"), days=2)
    assert found.start == NOW
    assert found.until == at("2026-11-24T00:00+01:00")
    first, second = found.days
    assert first.date == date(2026, 11, 22)
    assert first.hours == (None,) * 18 + (0, 1, 1, 1, 1, 1)
    assert second.hours == (1,) * 24
    assert found.fires == 29


def test_an_instant_at_the_start_counts_and_one_at_the_end_does_not() -> None:
    start = at("2026-12-01T00:00+01:00")
    assert foresee(job("0 0 * * *"), start=start, days=1).fires == 1
    assert foresee(job("0 0 * * *"), start=start + timedelta(minutes=1), days=1).fires == 0


def test_the_day_on_which_clocks_go_forward_has_23_hours() -> None:
    start = at("2027-03-28T00:00+01:00")
    jobs = job("*/30 * * * *", "half"), job("30 2 * * *", "nightly"), job("every 2h", "plain")
    found = foresee(*jobs, start=start, days=1)
    (day,) = found.days
    assert day.length == 23
    assert day.hours[2] is None
    assert [load.fires for load in found.jobs] == [46, 12, 1]
    assert day.hours[3] == 2 + 1 + 1  # the two halves, a shifted 02:30, and an even hour UTC + 30
    (change,) = found.changes
    assert change.at == at("2027-03-28T01:00Z")
    assert "forward" in change.says
    assert {effect.jobs: effect.says for effect in change.effects} == {
        ("half",): "2 runs from 02:00 on do not exist and are skipped",
        ("nightly",): "02:30 does not exist: it runs once, at 03:00",
    }
    assert change.untouched == 1


def test_the_day_on_which_clocks_go_back_has_25_hours() -> None:
    start = at("2027-10-31T00:00+02:00")
    found = foresee(job("*/30 * * * *", "half"), job("30 2 * * *", "x"), start=start, days=1)
    (day,) = found.days
    assert day.length == 25
    assert day.hours[2] == 4 + 1
    assert day.fires == 50 + 1
    (change,) = found.changes
    assert {effect.says for effect in change.effects} == {
        "2 runs from 02:00 on come twice: it runs both times",
        "02:30 comes twice: it runs the first time only",
    }


def test_half_hours_of_zones() -> None:
    start = at("2026-12-01T00:00+05:30")
    tz = "Asia/Kolkata"
    (day,) = foresee(job("0 9 * * *", tz=tz), start=start, days=1, tz=tz).days
    assert day.hours == (0,) * 9 + (1,) + (0,) * 14
    # Lord Howe's clock moves by half an hour: 02:00 to 02:30, and back.
    howe = "Australia/Lord_Howe"
    minutely = job("*/10 * * * *", tz=howe)
    (spring,) = foresee(minutely, start=at("2027-10-03T00:00+10:30"), days=1, tz=howe).days
    assert (spring.length, spring.hours[2]) == (23.5, 3)
    (autumn,) = foresee(minutely, start=at("2027-04-04T00:00+11:00"), days=1, tz=howe).days
    assert (autumn.length, autumn.hours[1]) == (24.5, 9)


def test_changes_are_told_of_each_zone_of_the_jobs() -> None:
    found = foresee(
        job("0 9 * * *", "p"),
        job("0 9 * * *", "t", tz="Asia/Tokyo"),
        job("0 9 * * *", "n", tz="America/New_York"),
        start=at("2027-03-01T00:00Z"),
        days=31,
    )
    assert [(one.zone, one.untouched) for one in found.changes] == [
        ("America/New_York", 1),
        (PARIS, 1),
    ]


@pytest.mark.parametrize("allowance", [(10**9, 10**9), (0, 10**9)])
@pytest.mark.parametrize(
    "text",
    [
        "*/7 3-5 * * *",
        "every 47m",
        "RRULE:FREQ=DAILY;BYHOUR=2,9;BYMINUTE=30",
        "0 9 * * 1-5 | 0 12 * * 6",
        "weekdays at 9am except 2027-03-29",
        "*/20 * * * *",
    ],
)
def test_every_cell_agrees_with_the_schedule(
    text: str, allowance: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "INSTANTS", allowance[0])
    monkeypatch.setattr(groups, "COUNTS", allowance[1])
    start = at("2027-03-26T00:00+01:00")
    one = job(text)
    found = foresee(one, start=start, days=5)
    cells: dict[tuple[date, int], int] = {}
    for instant in timetable(one).iterate(start - timedelta(microseconds=1)):
        if instant >= found.until:
            break
        local = instant.astimezone(start.tzinfo)  # winter's offset; summer's is one hour more
        summer = instant >= at("2027-03-28T01:00Z")
        local += timedelta(hours=1) if summer else timedelta()
        cells[local.date(), local.hour] = cells.get((local.date(), local.hour), 0) + 1
    assert cells
    assert {
        (day.date, hour): fires
        for day in found.days
        for hour, fires in enumerate(day.hours)
        if fires
    } == cells
    assert found.jobs[0].counted == ("exact" if allowance[0] else "hourly")


def test_what_is_spread_keeps_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "INSTANTS", 0)
    monkeypatch.setattr(groups, "COUNTS", 0)
    found = foresee(
        job("every 1s", "dense"),
        job("every 30s", "late", until=NOW + timedelta(hours=1)),
        start=NOW,
        days=1,
    )
    (day,) = found.days
    assert [load.counted for load in found.jobs] == ["spread", "spread"]
    assert found.fires == 5.5 * 3600 - 1 + 120  # the first second of an interval is its anchor
    spread = [1800 + 60, 3600 + 60, 3600, 3600, 3600, 3600]
    assert day.hours[17] is None
    assert day.hours[18:] == pytest.approx(spread, abs=2)


def test_a_job_a_second_is_counted_and_not_followed() -> None:
    found = foresee(job("* * * * * *"), start=at("2026-12-01T00:00+01:00"), days=30)
    assert found.fires == 30 * 86_400
    assert {hour for day in found.days for hour in day.hours} == {3600}
    assert found.steady == ("* * * * * *",)
    assert found.busiest_minute == Peak(at=at("2026-11-30T23:00Z"), fires=60)


def test_ten_thousand_jobs_cost_no_more_than_the_allowance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {"next": 0, "count": 0}

    class Asked:
        """A schedule that counts what it is asked."""

        def __init__(self, inner: Schedule) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def next_after(self, instant: datetime) -> datetime | None:
            asked["next"] += 1
            return self.inner.next_after(instant)

        def iterate(self, after: datetime) -> Any:
            for instant in self.inner.iterate(after):
                asked["next"] += 1
                yield instant

        def count(self, after: datetime, until: datetime) -> int:
            asked["count"] += 1
            return self.inner.count(after, until)

    plain = timetable
    monkeypatch.setattr(groups, "timetable", lambda one: Asked(plain(one)))
    monkeypatch.setattr(groups, "zone_of", lambda one: PARIS)
    first = job("every 5m", "j")
    jobs = [
        _moved(first, number, f"every 5m from {NOW + timedelta(seconds=number):%Y-%m-%dT%H:%M:%SZ}")
        for number in range(10_000)
    ]
    found = foresee(*jobs, days=30)
    assert len(found.jobs) == 10_000
    assert found.fires == pytest.approx(10_000 * 30 * 288 * 0.99, rel=0.02)
    assert asked["next"] < groups.INSTANTS + 5 * len(jobs)
    assert asked["count"] < groups.COUNTS + 5 * len(jobs)


def _moved(one: Job, number: int, bound: str) -> Job:
    return replace(one, id=f"j{number}", bound=bound)


def test_jobs_of_one_timetable_are_looked_at_together() -> None:
    jobs = [job("0 9 * * *", f"j{number}") for number in range(300)]
    found = foresee(*jobs, days=30)
    assert found.fires == 300 * 29  # today's has been
    assert found.busiest_minute == Peak(at=at("2026-11-23T08:00Z"), fires=300)
    (collision,) = found.collisions
    assert (len(collision.jobs), collision.times) == (300, 29)


def test_collisions_are_ranked_and_minutes_with_the_same_jobs_are_one() -> None:
    found = foresee(
        job("0 9 * * *", "a"),
        job("0 9 * * *", "b"),
        job("0 9 * * MON", "c"),
        job("30 9 * * *", "d"),
        start=at("2026-11-23T00:00+01:00"),
        days=7,
    )
    assert [(one.jobs, one.times, one.at) for one in found.collisions] == [
        (("a", "b", "c"), 1, at("2026-11-23T08:00Z")),
        (("a", "b"), 6, at("2026-11-24T08:00Z")),
    ]
    assert "'H 9 * * *'" in found.collisions[0].hint


def test_a_hint_for_what_has_no_minute_to_hash() -> None:
    found = foresee(job("at 21:00", "a"), job("at 21:00", "b"))
    assert found.collisions[0].hint == "give b a jitter, as in --jitter 5m"


def test_jitter_takes_jobs_apart() -> None:
    together = [job("0 9 * * *", name) for name in "ab"]
    apart = [job("0 9 * * *", name, jitter=3000.0) for name in "ab"]
    assert foresee(*together).collisions
    assert not foresee(*apart).collisions
    assert foresee(*apart).fires == foresee(*together).fires


def test_a_steady_job_is_no_collision_and_adds_to_the_busiest_minute() -> None:
    found = foresee(job("every 10s", "beat"), job("0 9 * * *", "a"))
    assert found.collisions == ()
    assert found.steady == ("beat",)
    assert found.busiest_minute == Peak(at=at("2026-11-23T08:00Z"), fires=7)


@pytest.mark.parametrize("text", ["0 9 * * *", "every 20s"])
def test_repeat_ends_a_job(text: str) -> None:
    assert foresee(job(text, repeat=3)).fires == 3
    assert foresee(job(text, repeat=3), start=NOW + timedelta(days=5)).fires == 0


def test_repeat_counts_the_instants_before_the_window_too() -> None:
    assert foresee(job("0 9 * * *", repeat=5), start=NOW + timedelta(days=3)).fires == 2


def test_those_at_rest_are_told_with_the_reason() -> None:
    done = job("in 5m", "done")
    found = foresee(
        job("0 9 * * *", "p", paused="on holiday"),
        job("0 9 1 6 *", "june"),
        job("@reboot", "boot"),
        replace(done, completed=True, next_fire_at=None),
        replace(job("0 8 * * *", "bad"), bound="no schedule"),
        replace(job("0 7 * * *", "worse"), error="KeyError: 'x'"),
    )
    assert found.jobs == ()
    told = {one.id: (one.state, one.reason, one.next) for one in found.resting}
    reason = told.pop("bad")[1]
    assert "no schedule" in reason
    assert told == {
        "p": ("paused", "on holiday", None),
        "june": ("not in these days", "", at("2027-06-01T07:00Z")),
        "boot": ("at start", "", None),
        "done": ("completed", "", None),
        "worse": ("error", "KeyError: 'x'", None),
    }


def test_parked_jobs_are_drawn_and_marked() -> None:
    found = forecast([job("0 9 * * *", "a"), job("0 9 * * *", "b")], NOW, 3, PARIS, ["b"])
    assert [(load.id, load.parked) for load in found.jobs] == [("a", False), ("b", True)]


@pytest.mark.parametrize("start", ["9999-12-30T00:00Z", "0001-01-01T12:00Z"])
def test_a_window_beyond_time_is_refused(start: str) -> None:
    with pytest.raises(OverflowError, match="9999"):
        foresee(job("0 9 * * *"), start=at(start), days=30)


def test_a_year_has_all_its_days() -> None:
    found = foresee(job("0 2 * * *"), start=at("2027-01-01T00:00+01:00"), days=365)
    assert sum(day.length for day in found.days) == 365 * 24
    assert sorted({day.length for day in found.days}) == [23, 24, 25]
    assert [day.fires for day in found.days] == [1] * 365
