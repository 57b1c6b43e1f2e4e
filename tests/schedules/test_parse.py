"""Texts: every form, every refusal with its place and hint, and nonsense."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from acron.errors import ScheduleError
from acron.schedules import (
    KINDS,
    Calendar,
    Interval,
    Kind,
    Once,
    Reboot,
    Schedule,
    Union,
    any_of,
    bounded,
    duration,
    exact,
    parse,
    refuse_past,
)

NOW = datetime(2026, 11, 22, 17, 18, 46, tzinfo=UTC)  # a Sunday; 18:18 in Paris


def paris(text: str, **more: Any) -> Schedule:
    return parse(text, tz="Europe/Paris", now=NOW, **more)


FORMS = [
    # text, canonical text, first instant after NOW
    ("in 30m", "2026-11-22T17:48:46Z", "2026-11-22T17:48:46"),
    ("in 1h30m", "2026-11-22T18:48:46Z", "2026-11-22T18:48:46"),
    ("in 2 days", "2026-11-24T17:18:46Z", "2026-11-24T17:18:46"),
    ("in PT45M", "2026-11-22T18:03:46Z", "2026-11-22T18:03:46"),
    ("IN  an hour and 5 minutes", "2026-11-22T18:23:46Z", "2026-11-22T18:23:46"),
    ("2026-12-01T09:00", "P 2026-12-01T09:00", "2026-12-01T08:00:00"),
    ("2026-12-01 09:00+01:00", "2026-12-01T08:00Z", "2026-12-01T08:00:00"),
    ("2026-12-01T09:00:30.25z", "2026-12-01T09:00:30.25Z", "2026-12-01T09:00:30.250000"),
    ("at 17:30", "P 2026-11-23T17:30", "2026-11-23T16:30:00"),
    ("at 18:30", "P 2026-11-22T18:30", "2026-11-22T17:30:00"),
    ("tomorrow at 9am", "P 2026-11-23T09:00", "2026-11-23T08:00:00"),
    ("next friday 18:00", "P 2026-11-27T18:00", "2026-11-27T17:00:00"),
    ("next sunday at noon", "P 2026-11-29T12:00", "2026-11-29T11:00:00"),
    ("every 30s", "every 30s from 2026-11-22T17:18:46Z", "2026-11-22T17:19:16"),
    ("every 2h", "every 2h from 2026-11-22T17:18:46Z", "2026-11-22T19:18:46"),
    ("every hour", "every 1h from 2026-11-22T17:18:46Z", "2026-11-22T18:18:46"),
    ("every 1h30m", "every 1h30m from 2026-11-22T17:18:46Z", "2026-11-22T18:48:46"),
    ("@every 5m", "every 5m from 2026-11-22T17:18:46Z", "2026-11-22T17:23:46"),
    ("every 2h from 2026-12-01T09:00Z", "every 2h from 2026-12-01T09:00Z", "2026-12-01T11:00:00"),
    ("every 2h starting 2026-12-01T09:00Z", "every 2h from 2026-12-01T07:00Z",
     "2026-12-01T09:00:00"),
    ("every day at 9am", "P 0 9 * * *", "2026-11-23T08:00:00"),
    ("weekdays at 9:30", "P 30 9 * * MON-FRI", "2026-11-23T08:30:00"),
    ("daily at noon", "P 0 12 * * *", "2026-11-23T11:00:00"),
    ("monday, wed and fri at 18:00", "P 0 18 * * MON,WED,FRI", "2026-11-23T17:00:00"),
    ("weekends 10am", "P 0 10 * * SAT,SUN", "2026-11-28T09:00:00"),
    ("every 15 minutes on weekdays", "P */15 * * * MON-FRI", "2026-11-22T23:00:00"),
    ("first monday of the month at 9am", "P 0 9 * * MON#1", "2026-12-07T08:00:00"),
    ("last day of the month at 17:00", "P 0 17 L * *", "2026-11-30T16:00:00"),
    ("every 2 weeks on friday at 16:00", "P every 2 weeks on fri at 16:00 from 2026-11-27",
     "2026-11-27T15:00:00"),
    ("every 3 months on the 1st at 9am", "P 0 9 1 3,6,9,12 *", "2026-12-01T08:00:00"),
    ("every day at 9am and 17:00", "P 0 9,17 * * *", "2026-11-23T08:00:00"),
    ("last weekday of the month at 6pm", "P 0 18 LW * *", "2026-11-30T17:00:00"),
    ("*/5 9-17 * * MON-FRI", "P */5 9-17 * * MON-FRI", "2026-11-23T08:00:00"),
    ("*/5 9-17 * * mon-fri", "P */5 9-17 * * MON-FRI", "2026-11-23T08:00:00"),
    ("0 9 L * *", "P 0 9 L * *", "2026-11-30T08:00:00"),
    ("0 9 * * 5#2", "P 0 9 * * 5#2", "2026-12-11T08:00:00"),
    ("0 9 15W * *", "P 0 9 15W * *", "2026-12-15T08:00:00"),
    ("0 9 * * L5", "P 0 9 * * L5", "2026-11-27T08:00:00"),
    ("0 9 ? * 1", "P 0 9 * * 1", "2026-11-23T08:00:00"),
    ("*/10 * * * * *", "P */10 * * * * *", "2026-11-22T17:18:50"),
    ("0 0 9 ? * MON 2027", "P 0 0 9 * * MON 2027", "2027-01-04T08:00:00"),
    ("@daily", "P 0 0 * * *", "2026-11-22T23:00:00"),
    ("@yearly", "P 0 0 1 1 *", "2026-12-31T23:00:00"),
    ("@Annually", "P 0 0 1 1 *", "2026-12-31T23:00:00"),
    ("@monthly", "P 0 0 1 * *", "2026-11-30T23:00:00"),
    ("@weekly", "P 0 0 * * 0", "2026-11-28T23:00:00"),
    ("@midnight", "P 0 0 * * *", "2026-11-22T23:00:00"),
    ("@hourly", "P 0 * * * *", "2026-11-22T18:00:00"),
    ("CRON_TZ=America/New_York 0 9 * * *", "CRON_TZ=America/New_York 0 9 * * *",
     "2026-11-23T14:00:00"),
    ("cron_tz=america/new_york 0 9 * * *", "CRON_TZ=America/New_York 0 9 * * *",
     "2026-11-23T14:00:00"),
    ("RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9",
     "P DTSTART:20261122T000000 RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9", "2026-11-27T08:00:00"),
    ("DTSTART;TZID=America/New_York:20261201T090000\nRRULE:FREQ=DAILY",
     "CRON_TZ=America/New_York DTSTART:20261201T090000 RRULE:FREQ=DAILY", "2026-12-01T14:00:00"),
    ("0 9 * * 1-5 | 0 12 * * 6", "P 0 9 * * 1-5 | P 0 12 * * 6", "2026-11-23T08:00:00"),
    ("CRON_TZ=UTC 0 9 * * 1-5 | 0 12 * * 6",
     "CRON_TZ=UTC 0 9 * * 1-5 | CRON_TZ=UTC 0 12 * * 6", "2026-11-23T09:00:00"),
    ("weekdays at 9am except holidays:FR", "P 0 9 * * MON-FRI except holidays:FR",
     "2026-11-23T08:00:00"),
    ("0 9 * * * except 2026-11-23..2026-11-30, 12-01",
     "P 0 9 * * * except 2026-11-23..2026-11-30, 12-01", "2026-12-02T08:00:00"),
    ("@reboot", "@reboot", None),
]  # fmt: skip


@pytest.mark.parametrize("text, canonical, first", FORMS)
def test_forms(text: str, canonical: str, first: str | None) -> None:
    schedule = paris(text)
    assert str(schedule) == canonical.replace("P ", "CRON_TZ=Europe/Paris ")
    assert schedule == paris(f"  {text.upper()}\t")
    assert parse(str(schedule), now=NOW) == schedule
    found = schedule.next_after(NOW)
    assert (found.isoformat()[:-6] if found else None) == first


REFUSED = [
    # text, what the message says, position, what the hint says
    ("", "empty", 0, "0 9 * * 1-5"),
    ("30m", "once in 30m or every 30m", 0, "write 'in 30m' or 'every 30m'"),
    ("  90", "once in 90", 2, "in 90"),
    ("in 0m", "longer than zero", 3, "in 30m"),
    ("in -5m", "not a length", 3, "in 30m"),
    ("in 99999999 days", "after the year 9999", 3, "in 30m"),
    ("in soon", "not a length", 3, "in 1h30m"),
    ("every 0s", "longer than zero", 6, "every 30s"),
    ("every 9999999999h", "shorter", 6, "every 30s"),
    ("every day", "what time", 6, "every day at 9am"),
    ("every 2 days", "what time", 6, "every 48h"),
    ("every week", "what time", 6, "every 168h"),
    ("every month", "which day", 0, "first day of the month at 9am"),
    ("every weekday", "at what time of day", 0, "every weekday at 9am"),
    ("daily", "what time", 0, "every day at 9am"),
    ("every fooday at 9am", "every fooday", 0, "weekdays at 9am"),
    ("every day at 25:00", "25:00", 13, "9am"),
    ("every 7 minutes on weekdays", "do not divide", 6, "divides 60"),
    ("every 5 months on the 1st at 9am", "do not divide", 0, "RRULE"),
    ("*/90 * * * *", "step of 90", 0, "1 to 60"),
    ("0 */25 * * *", "step of 25", 2, "1 to 24"),
    ("0 */0 * * *", "step of 0", 2, "1 to 24"),
    ("0 0 31 2 *", "never fires", 0, "0 0 L * *"),
    ("0 9 31 4 *", "never fires", 0, "last day"),
    ("0 0 0 29 2 ? 2027", "never fires", 0, "last day"),
    ("0 0 1 1 * except 01-01", "never fires", 0, "exception"),
    ("R R * * *", "another time at every start", 0, "H"),
    ("0 9 * *", "4 fields", 0, "5 fields"),
    ("0 9 * * * * * *", "8 fields", 0, "7 with"),
    ("60 * * * *", "out of range", 0, "0-59"),
    ("000005 * * * *", "not a value", 0, "0-59"),
    ("0 24 * * *", "out of range", 2, "0-23"),
    ("0 9 * * 8", "out of range", 8, "SUN-SAT"),
    ("0 9 0 * *", "out of range", 4, "1-31"),
    ("0 9 * FOO *", "'FOO'", 6, "JAN-DEC"),
    ("5-5 * * * *", "one value", 0, "'5'"),
    ("1,,2 * * * *", "empty", 0, "lists"),
    ("0 9 * * 5#6", "5#6", 8, "FRI#2"),
    ("0 9 * * L", "no weekday", 8, "FRIL"),
    ("0 9 32W * *", "32W", 4, "15W"),
    ("? * * * *", "'?'", 0, "0-59"),
    ("0 0 9 * * 1", "weekday by number", 10, "MON-FRI"),
    ("H H * * * *", "chosen by the id", 0, "number"),
    ("\u0663 9 * * *", "ASCII", 0, "0 9"),
    ("0 9 * * 1-\uff15", "digit", 10, "0 9"),
    ("CRON_TZ=Europe/Pari 0 9 * * *", "no time zone", 8, "Europe/Paris"),
    ("CRON_TZ=Europe/Paris", "no schedule", 0, "0 9"),
    ("GAP=jump 0 9 * * *", "no gap rule", 0, "GAP=skip"),
    ("2026-02-30T09:00", "no day", 0, "2026-12-01T09:00"),
    ("2026-12-01", "at what time", 10, "2026-12-01T09:00"),
    ("2026-12-01T25:00", "not a time", 11, "9am"),
    ("at 99:99", "not a time", 3, "9am"),
    ("next fooday at 9am", "fooday", 5, "next friday"),
    ("0 9 * * * |", "part is missing", 11, "|"),
    ("(0 9 * * *", "not closed", 10, ")"),
    ("0 9 * * *)", "not opened", 9, "take it away"),
    ("0 9 * * * except", "missing", 16, "holidays:FR"),
    ("0 9 * * * except noday", "noday", 17, "2026-12-25"),
    ("0 9 * * * except holidays:XX", "XX", 17, "holidays:FR"),
    ("0 9 * * * except mon-sun", "whole week", 17, "saturday"),
    ("0 9 * * * until whenever", "whenever", 16, "2026-12-01"),
    ("0 9 * * * starting 2028-01-01T00:00Z until 2027-01-01T00:00Z", "ends at", 43, "end"),
    ("RRULE:FREQ=FOO", "FREQ=FOO", 6, "FREQ=WEEKLY"),
    ("RRULE:BYDAY=MO", "needs a FREQ", 0, "FREQ=DAILY"),
    ("RRULE:FREQ=DAILY;COUNT=3", "DTSTART", 17, "DTSTART"),
    ("RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "never fires", 0, "day that exists"),
    ("RRULE:FREQ=DAILY;BYDAY=1MO", "FREQ of months", 17, "MONTHLY"),
    ("RRULE:FREQ=DAILY;BYSETPOS=2", "FREQ of weeks", 17, "MONTHLY"),
    ("RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "never fires", 0, "day that exists"),
    ("hello world", "not a schedule", 0, "0 9 * * 1-5"),
    ("9am", "not a schedule", 0, "weekdays at 9am"),
]


@pytest.mark.parametrize("text, message, position, hint", REFUSED)
def test_refusals(text: str, message: str, position: int, hint: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        paris(text)
    error = caught.value
    assert message in error.message
    assert hint in error.hint
    assert error.hint
    assert error.text == text
    assert error.position == position


def test_unknown_zone_argument_is_refused() -> None:
    with pytest.raises(ScheduleError, match="no time zone 'Mars'"):
        parse("0 9 * * *", tz="Mars", now=NOW)


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_of_every_kind_are_read(kind: Kind) -> None:
    for example in kind.EXAMPLES:
        assert paris(example).next_after(NOW) is not None or example.startswith("2026")


def test_hashed_fields_are_stable_and_spread() -> None:
    one = parse("H H * * *", now=NOW, job_id="digest")
    assert str(one) == "CRON_TZ=UTC 6 19 * * *"  # the same on every machine, for ever
    assert parse("H H * * *", now=NOW, job_id="digest") == one
    made = {str(parse("H H * * *", now=NOW, job_id=f"job {n}")) for n in range(200)}
    assert len(made) > 150
    for n in range(100):
        schedule = parse("H(0-29)/10 * * * *", now=NOW, job_id=f"job {n}")
        minutes = [at.minute for at in schedule.upcoming(NOW, 3)]
        assert sorted(m // 10 for m in minutes) == [0, 1, 2]
        assert len({m % 10 for m in minutes}) == 1
        day = parse("0 0 H * *", now=NOW, job_id=f"job {n}").next_after(NOW)
        assert day is not None
        assert day.day <= 28


def test_hashed_fields_are_refused_without_a_job() -> None:
    with pytest.raises(ScheduleError, match="there is none") as caught:
        parse("0 H * * *", now=NOW)
    assert caught.value.position == 2


@pytest.mark.parametrize(
    "given, seconds",
    [
        (90, 90.0), (0.5, 0.5), ("90", 90.0), ("90s", 90.0), ("5m", 300.0), ("1h30m", 5400.0),
        ("2 days", 172_800.0), ("PT45M", 2700.0), ("P1DT12H", 129_600.0), ("1.5h", 5400.0),
        ("250ms", 0.25), (timedelta(minutes=5), 300.0), (" 1 Hour, 5 Minutes ", 3900.0),
    ],
)  # fmt: skip
def test_durations(given: Any, seconds: float) -> None:
    assert duration(given) == seconds


@pytest.mark.parametrize(
    "given", ["", "0", "-5", 0, -1, "5 x", "1m1m", "P", "PT", "m", "1e9", float("inf"),
              float("nan"), True, None, [], "9" * 30 + "s", "\u0665m", timedelta(0)],
)  # fmt: skip
def test_durations_refused(given: Any) -> None:
    with pytest.raises(ScheduleError) as caught:
        duration(given)
    assert "90s" in caught.value.hint


def test_a_past_moment_parses_and_is_refused_apart() -> None:
    past = paris("2026-11-22T10:00Z")
    assert isinstance(past, Once)
    refuse_past(past, NOW, 86_400, "x")
    with pytest.raises(ScheduleError, match="in the past") as caught:
        refuse_past(past, NOW, 3600, "2026-11-22T10:00Z")
    assert "17:18:46" in caught.value.hint
    refuse_past(paris("0 9 * * *"), NOW, 0, "x")
    refuse_past(Reboot(), NOW, 0, "x")
    gone = paris("0 0 9 ? * MON 2020")
    with pytest.raises(ScheduleError, match="does not fire any more"):
        refuse_past(gone, NOW, 3600, "0 0 9 ? * MON 2020")


def test_a_moment_in_a_gap() -> None:
    shifted = paris("2026-03-29T02:30")
    assert str(shifted) == "CRON_TZ=Europe/Paris 2026-03-29T03:00"
    with pytest.raises(ScheduleError, match="no such time"):
        paris("2026-03-29T02:30", gap="skip")
    assert str(paris("2026-10-25T02:30", fold="last")) == (
        "CRON_TZ=Europe/Paris FOLD=last 2026-10-25T02:30"
    )


def test_interval_values() -> None:
    schedule = paris("every 2h")
    assert isinstance(schedule, Interval)
    assert schedule.period == timedelta(hours=2)
    assert schedule.anchor == NOW
    moved = bounded(schedule, NOW + timedelta(days=1), None)
    assert moved.next_after(NOW) == NOW + timedelta(days=1)
    assert schedule.anchored(NOW).next_after(NOW) == NOW + timedelta(hours=2)


def test_bounds_are_part_of_the_schedule() -> None:
    daily = parse("0 9 * * *", now=NOW)
    first, last = datetime(2026, 12, 1, 9, tzinfo=UTC), datetime(2026, 12, 3, 9, tzinfo=UTC)
    within = bounded(daily, first, last)
    assert within.upcoming(NOW, 9) == [first, first + timedelta(days=1), last]
    assert within.last_at(first - timedelta(seconds=1)) is None
    assert within.last_at(last + timedelta(days=9)) == last
    assert within.count(NOW, last + timedelta(days=9)) == 3
    assert bounded(within, None, first) == bounded(daily, first, first)
    with pytest.raises(ScheduleError, match="before it starts"):
        bounded(daily, last, first)


def test_unions_count_what_coincides_once() -> None:
    both = any_of(parse("0 * * * *", now=NOW), parse("0 9 * * *", now=NOW), Reboot())
    assert both.count(NOW, NOW + timedelta(days=10)) == 240
    assert both.recurring
    assert isinstance(both, Union)
    assert both.on_start


def test_named_calendars() -> None:
    works = Calendar(["2026-11-23..2026-11-24", "wed 08:00-10:00"], name="Works")
    schedule = paris("0 9 * * * except works, friday", calendars={"works": works})
    assert str(schedule) == "CRON_TZ=Europe/Paris 0 9 * * * except Works, friday"
    days = [at.day for at in schedule.upcoming(NOW, 3)]
    assert days == [26, 28, 29]
    assert parse(str(schedule), now=NOW, calendars={"WORKS": works}) == schedule
    with pytest.raises(ScheduleError, match="'works' is not a day"):
        paris("0 9 * * * except works")


@pytest.mark.parametrize(
    "item, position",
    [("13-01", 0), ("2026-13-01", 0), ("2026-02-02..2026-01-01", 0), ("mon 9:00-9:00", 0),
     ("holidays:ZZ", 0), ("", 0), ("mon-foo", 0)],
)  # fmt: skip
def test_calendar_items_refused(item: str, position: int) -> None:
    with pytest.raises(ScheduleError) as caught:
        Calendar([item])
    assert caught.value.position == position
    assert caught.value.hint


def test_holidays_move_nothing_but_the_holidays() -> None:
    plain = paris("weekdays at 9am")
    spared = paris("weekdays at 9am except holidays:FR")
    start, end = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    # 2027: 1 Jan, 29 Mar, 6 May, 17 May, 14 Jul, 1 Nov, 11 Nov fall on weekdays.
    assert plain.count(start, end) - spared.count(start, end) == 7
    assert datetime(2027, 7, 14, 7, tzinfo=UTC) not in set(spared.upcoming(start, 250))


WORDS = [
    "every", "in", "at", "on", "the", "of", "month", "day", "days", "week", "weeks", "weekdays",
    "weekends", "monday", "fri", "first", "last", "1st", "15th", "noon", "9am", "17:30", "25:61",
    "2", "0", "90", "30m", "2h", "P1D", "PT5M", "*", "*/5", "*/0", "1-5", "5-1", "L", "LW", "15W",
    "5#2", "L5", "FRIL", "H", "H(0-9)/3", "R", "?", "MON-FRI", "JAN", "|", "(", ")", "except",
    "until", "starting", "from", "holidays:FR", "holidays:", "12-25", "2026-12-01",
    "0001-01-01T00:00", "9999-12-31T23:59",
    "2026-12-01T09:00", "2026-12-01T09:00+01:00", "Z", "tomorrow", "next", "today", "@daily",
    "@every", "@reboot", "CRON_TZ=UTC", "CRON_TZ=", "TZ=Europe/Paris", "GAP=skip", "FOLD=both",
    "FOLD=", "RRULE:FREQ=DAILY", "RRULE:", "FREQ=WEEKLY;BYDAY=MO", "DTSTART:20260101T000000",
    "COUNT=3", ",", "and", "other", "2027", "1970-2099", "99999999999999999999", "-1", "1.5", "\n",
    "\x00", "é", "٣", "''", "other", "months", "hourly", "yearly", "25", "december", "minutes",
]  # fmt: skip
LETTERS = "0123456789*/-,#?LWHRadefimnorstuvy :|()=@.TZP\t\n\x00é"


FIELDS = [
    *["*"] * 20, *["1", "2,3", "4-6"] * 4, "0", "5", "31", "1-5", "5-1", "*/5", "*/90", "3/7",
    "1,15", "L", "LW", "L-3", "?", "15W", "MON", "JAN", "MON-FRI", "5#2", "FRIL", "L5", "H", "H/7",
    "0-7", "7", "2027", "1-1", "x",
]  # fmt: skip


def nonsense(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.3:
        return " ".join(draw.choices(FIELDS, k=draw.choice([5, 5, 5, 6, 7])))
    if kind < 0.7:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, 8)))
    return "".join(draw.choices(LETTERS, k=draw.randint(0, 25)))


def test_nonsense_gives_a_value_or_a_refusal_with_a_hint() -> None:
    """The 100,000 of them are in ``exhaustive``."""
    draw, count = random.Random(3), 6_000
    values = sum(is_value(nonsense(draw)) for _ in range(count))
    assert count * 0.002 < values < count * 0.5


def is_value(text: str) -> bool:
    refusal: ScheduleError | None
    try:
        schedule = paris(text, job_id="job")
    except ScheduleError as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert refusal.hint, text
        assert refusal.message, text
        assert refusal.position is not None, text
        assert 0 <= refusal.position <= len(text), text
        return False
    assert parse(str(schedule), now=NOW) == schedule, text
    assert schedule.describe(), text
    return True


@pytest.mark.parametrize(
    "text",
    [
        "2027-01-01T09:00Z",
        "2027-01-01T09:00:30+05:45",
        "2027-01-01T09:00:30.5-03:00",
        "2027-12-31T23:59:59.123456Z",
        "2028-02-29T00:00-00:00",
        "0001-01-01T00:00Z",
        "9999-12-31T23:59+00:00",
    ],
)
@pytest.mark.parametrize("tz", ["UTC", "Europe/Paris"])
def test_an_instant_in_full_means_the_same_by_the_short_way(text: str, tz: str) -> None:
    short = parse(text, tz=tz, now=NOW)
    assert exact(text) == short
    assert short == parse(f" {text}", tz=tz, now=NOW), "a blank leads through the whole grammar"
    assert str(short) == str(parse(str(short), tz=tz, now=NOW))


@pytest.mark.parametrize(
    "text",
    ["2027-02-29T09:00Z", "2027-01-01T24:00Z", "9999-12-31T23:59-01:00", "2027-01-01T09:00+24:00"],
)
def test_what_is_no_instant_is_refused_all_the_same(text: str) -> None:
    assert exact(text) is None
    with pytest.raises(ScheduleError):
        parse(text, now=NOW)


def test_an_instant_in_full_excuses_no_wrong_zone() -> None:
    with pytest.raises(ScheduleError, match="no time zone"):
        parse("2027-01-01T09:00Z", tz="Nowhere/Else", now=NOW)


@pytest.mark.parametrize(
    "days",
    ["every tuesday", "Mondays", "every monday and friday", "on the 1st", "every december 24",
     "first monday of the month", "every 2 weeks on friday", "daily"],
)  # fmt: skip
def test_days_without_a_time_are_told_with_one(days: str) -> None:
    with pytest.raises(ScheduleError, match="at what time of day") as caught:
        paris(days)
    (right, *_) = re.findall(r"'(.+?)'", caught.value.hint)
    assert right == ("every day at 9am" if days == "daily" else f"{days.lower()} at 9am")
    assert paris(right)
