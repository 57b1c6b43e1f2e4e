"""Changes of the clock: case tables per rule, and every kind of change against the oracle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

import pytest

from acron.schedules import parse
from acron.schedules.zones import seconds, zone
from tests.schedules.oracle import MINUTE, Walk, default_rules, matcher

if TYPE_CHECKING:
    from acron.schedules.source import Fold, Gap

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXPRESSIONS = (
    "* * * * *",
    "*/20 * * * *",
    "0 * * * *",
    "*/15 2 * * *",
    "30 2 * * *",
    "0,30 0-4 * * *",
    "15 0,1,2,3,23 * * *",
    "0 0 * * *",
    "59 23 * * *",
    "45 1-3 L,29,30 * SUN",
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text + ":00+00:00")


# Europe/Paris: 2026-03-29 02:00 -> 03:00 (01:00Z); 2026-10-25 03:00 -> 02:00 (01:00Z).
SPRING = [
    # text, gap, what it gives from 00:00Z to 03:00Z
    ("30 2 * * *", None, ["01:00"]),
    ("30 2 * * *", "shift", ["01:00"]),
    ("30 2 * * *", "skip", []),
    ("0 2,3 * * *", None, ["01:00"]),
    ("15,45 2 * * *", None, ["01:00"]),
    ("30 2,3 * * *", None, ["01:00", "01:30"]),
    ("*/30 2 * * *", None, []),
    ("*/30 2 * * *", "shift", ["01:00"]),
    ("30 * * * *", None, ["00:30", "01:30", "02:30"]),
    ("30 * * * *", "shift", ["00:30", "01:00", "01:30", "02:30"]),
    ("every day at 2:30", None, ["01:00"]),
    ("every 2 days at 2:30 from 2026-03-27", None, ["01:00"]),
    ("DTSTART:20260301T023000 RRULE:FREQ=DAILY", None, ["01:00"]),
    ("DTSTART:20260301T023000 RRULE:FREQ=DAILY", "skip", []),
    ("DTSTART:20260301T003000 RRULE:FREQ=HOURLY", None, ["00:30", "01:30", "02:30"]),
]
AUTUMN = [
    # text, fold, what it gives from 23:30Z to 02:30Z
    ("30 2 * * *", None, ["00:30"]),
    ("30 2 * * *", "first", ["00:30"]),
    ("30 2 * * *", "last", ["01:30"]),
    ("30 2 * * *", "both", ["00:30", "01:30"]),
    ("0 3 * * *", None, ["02:00"]),
    ("*/30 2 * * *", None, ["00:00", "00:30", "01:00", "01:30"]),
    ("*/30 2 * * *", "first", ["00:00", "00:30"]),
    ("*/30 2 * * *", "last", ["01:00", "01:30"]),
    ("0 * * * *", None, ["00:00", "01:00", "02:00"]),
    ("0 * * * *", "first", ["00:00", "02:00"]),
    ("0 1-3 * * *", None, ["00:00", "02:00"]),
    ("every day at 2:30", None, ["00:30"]),
    ("DTSTART:20260301T023000 RRULE:FREQ=DAILY", None, ["00:30"]),
    ("DTSTART:20260301T023000 RRULE:FREQ=DAILY", "both", ["00:30", "01:30"]),
    ("DTSTART:20260301T003000 RRULE:FREQ=HOURLY", None, ["23:30", "00:30", "01:30", "02:30"]),
]


@pytest.mark.parametrize("text, gap, expected", SPRING)
def test_spring(text: str, gap: Gap | None, expected: list[str]) -> None:
    schedule = parse(text, tz="Europe/Paris", now=NOW, gap=gap)
    low, high = at("2026-03-29T00:00"), at("2026-03-29T03:00")
    found = [t for t in schedule.upcoming(low - MINUTE, 30) if low <= t < high]
    assert [f"{t:%H:%M}" for t in found] == expected
    assert schedule.count(low - MINUTE, high - MINUTE) == len(expected)


@pytest.mark.parametrize("text, fold, expected", AUTUMN)
def test_autumn(text: str, fold: Fold | None, expected: list[str]) -> None:
    schedule = parse(text, tz="Europe/Paris", now=NOW, fold=fold)
    low, high = at("2026-10-24T23:30"), at("2026-10-25T02:30")
    found = [t for t in schedule.upcoming(low - MINUTE, 30) if low <= t <= high]
    assert [f"{t:%H:%M}" for t in found] == expected
    assert schedule.count(low - MINUTE, high) == len(expected)


ODD = [
    # zone, text, base, the next three: half an hour, two hours, midnight, a whole day, Ramadan
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-02T20:00",
     ["2026-10-03T15:30", "2026-10-04T15:15", "2026-10-05T15:15"]),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-03T15:00",
     ["2026-04-04T14:45", "2026-04-05T15:15", "2026-04-06T15:15"]),
    ("Antarctica/Troll", "30 1 * * *", "2026-03-28T12:00",
     ["2026-03-29T01:00", "2026-03-29T23:30", "2026-03-30T23:30"]),
    ("Asia/Beirut", "0 0 * * *", "2026-03-28T00:00",
     ["2026-03-28T22:00", "2026-03-29T21:00", "2026-03-30T21:00"]),
    ("Pacific/Apia", "0 9 * * *", "2011-12-28T20:00",
     ["2011-12-29T19:00", "2011-12-30T10:00", "2011-12-30T19:00"]),
    ("Africa/Casablanca", "30 2 * * *", "2026-02-14T12:00",
     ["2026-02-15T01:30", "2026-02-16T02:30", "2026-02-17T02:30"]),
    ("Africa/Casablanca", "30 2 * * *", "2026-03-21T12:00",
     ["2026-03-22T02:00", "2026-03-23T01:30", "2026-03-24T01:30"]),
]  # fmt: skip


@pytest.mark.parametrize("name, text, base, expected", ODD)
def test_odd_zones(name: str, text: str, base: str, expected: list[str]) -> None:
    found = parse(text, tz=name, now=NOW).upcoming(at(base), 3)
    assert [f"{t:%Y-%m-%dT%H:%M}" for t in found] == expected


def test_an_interval_is_elapsed_time_whatever_the_clock_does() -> None:
    schedule = parse("every 1h from 2026-03-28T23:30Z", tz="Europe/Paris", now=NOW)
    found = schedule.upcoming(at("2026-03-28T23:30"), 4)
    assert found == [at("2026-03-29T00:30") + timedelta(hours=n) for n in range(4)]


def test_a_base_in_the_repeated_hour_counts_by_utc() -> None:
    paris = zone("Europe/Paris").info
    second = datetime(2026, 10, 25, 2, 45, tzinfo=paris, fold=1)
    first = second.replace(fold=0)
    schedule = parse("*/30 * * * *", tz="Europe/Paris", now=NOW)
    assert schedule.next_after(first) == at("2026-10-25T01:00")
    assert schedule.next_after(second) == at("2026-10-25T02:00")


@cache
def kinds_of_change() -> list[tuple[str, int]]:
    """One example of each (offsets, time of day, neighbours) among all changes of 2024-2026
    (``exhaustive`` takes all of 2020-2030)."""
    low, high = seconds(datetime(2024, 1, 1, tzinfo=UTC)), seconds(datetime(2027, 1, 1, tzinfo=UTC))
    seen: dict[tuple[int, int, int], tuple[str, int]] = {}
    for name in sorted(available_timezones()):
        for change in zone(name).changes(low, high):
            key = (change.before, change.offset, change.start % 86_400)
            seen.setdefault(key, (name, change.start))
    return list(seen.values())


@pytest.mark.parametrize("gap", [None, "shift", "skip"])
@pytest.mark.parametrize("fold", [None, "first", "last", "both"])
def test_every_kind_of_change_equals_the_minute_walk(gap: Gap | None, fold: Fold | None) -> None:
    examples = kinds_of_change()
    assert len(examples) > 40
    for name, change in examples:
        walk = walked(name, change)
        for expression in EXPRESSIONS:
            assert_equal_to_walk(walk, expression, name, gap, fold)


@cache
def walked(name: str, change: int) -> Walk:
    middle = datetime.fromtimestamp(change, UTC)
    return Walk(name, middle - timedelta(hours=5), middle + timedelta(hours=5))


def assert_equal_to_walk(
    walk: Walk, expression: str, name: str, gap: Gap | None, fold: Fold | None
) -> int:
    """Next, last and count over one walk. Gives the number of instants compared."""
    shift, default = default_rules(expression)
    rules = (gap == "shift" if gap else shift, fold or default)
    expected = walk.instants(matcher(expression), rules)
    schedule = parse(expression, tz=name, now=NOW, gap=gap, fold=fold)
    found, base = [], walk.start - MINUTE
    while (following := schedule.next_after(base)) is not None and following < walk.end:
        assert following > base
        found.append(following)
        base = following
    where = f"{expression} in {name} around {walk.start} ({gap}, {fold})"
    assert found == expected, where
    before = walk.start - MINUTE
    assert schedule.count(before, walk.end - MINUTE) == len(expected), where
    for older, newer in pairwise(expected):
        assert schedule.last_at(newer - timedelta(microseconds=1)) == older, where
    return len(expected)
