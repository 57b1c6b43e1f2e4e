"""Zones: names, offsets and changes, against the standard library's own tables."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from acron.schedules import zones
from acron.schedules.zones import MAX, MIN, hint, instant, resolve, seconds, zone

# The pure Python twin of zoneinfo keeps its table of changes in the open.
_zoneinfo = pytest.importorskip("zoneinfo._zoneinfo")
NAMES = [
    "Europe/Paris", "America/New_York", "Africa/Casablanca", "Africa/El_Aaiun", "Pacific/Apia",
    "Australia/Lord_Howe", "Antarctica/Troll", "Antarctica/Casey", "Asia/Gaza", "Asia/Beirut",
    "Africa/Cairo", "America/Caracas", "Europe/Moscow", "Asia/Pyongyang", "Pacific/Kwajalein",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_changes_are_those_of_the_zone_file(name: str) -> None:
    table = _zoneinfo.ZoneInfo.no_cache(name)
    low, high = seconds(datetime(1985, 1, 1, tzinfo=UTC)), seconds(datetime(2037, 1, 1, tzinfo=UTC))
    expected = [
        at
        for at in table._trans_utc
        if low <= at < high
        and instant(at).astimezone(table).utcoffset()
        != instant(at - 1).astimezone(table).utcoffset()
    ]
    found = [
        change.start for change in zone(name).changes(low, high) if change.start <= max(expected)
    ]
    assert found == expected


def test_no_zone_changes_twice_between_two_probes() -> None:
    shortest = zones.MAX
    for name in zoneinfo.available_timezones():
        table = _zoneinfo.ZoneInfo.no_cache(name)
        offsets = [info.utcoff for info in table._ttinfos]
        before = [table._tti_before and table._tti_before.utcoff, *offsets]
        moved = [
            at
            for at, old, new in zip(table._trans_utc, before, offsets, strict=False)
            if old != new
        ]
        shortest = min([shortest, *(b - a for a, b in pairwise(moved))])
    assert zones._PROBE < shortest < 10 * zones.DAY


@pytest.mark.parametrize("name", NAMES)
def test_segments_cover_all_time_without_holes(name: str) -> None:
    place = zone(name)
    for at in (MIN, seconds(datetime(2011, 12, 30, 10, tzinfo=UTC)), 0, MAX):
        segment = place.segment(at)
        assert segment.start <= at < segment.end
        assert segment.offset == place.offset(at)
        if segment.end <= MAX:
            following = place.segment(segment.end)
            assert (following.start, following.before) == (segment.end, segment.offset)
            assert following.offset == segment.after


def test_names_in_any_case() -> None:
    assert zone("europe/paris").name == "Europe/Paris"
    assert zone("utc").name.upper() == "UTC"


@pytest.mark.parametrize(
    "name", ["Europe/Pari", "", "../etc/passwd", "Europe", "/", "\0", "x" * 300]
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(LookupError):
        zone(name)
    assert "Europe/" in hint(name)


@pytest.mark.parametrize("name", ["Europe/Pari", "paris", "europe/pariss"])
def test_what_was_meant(name: str) -> None:
    assert hint(name) == "did you mean 'Europe/Paris'?"


@pytest.mark.parametrize("name", ["CEST", "AEDT", "Mars/Base"])
def test_an_abbreviation_or_nonsense_is_told_what_a_zone_is(name: str) -> None:
    assert hint(name) == "name a place, as in 'Europe/Paris'"


def test_readings_resolve() -> None:
    paris = zone("Europe/Paris")
    gap = seconds(datetime(2026, 3, 29, 2, 30, tzinfo=UTC))
    fold = seconds(datetime(2026, 10, 25, 2, 30, tzinfo=UTC))
    assert resolve(paris, gap) == (seconds(datetime(2026, 3, 29, 1, tzinfo=UTC)), False)
    assert resolve(paris, fold) == (seconds(datetime(2026, 10, 25, 0, 30, tzinfo=UTC)), True)
    assert resolve(paris, fold, "last") == (
        seconds(datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        True,
    )


def test_the_zones_come_from_zoneinfo() -> None:
    assert isinstance(zone("Asia/Kathmandu").info, zoneinfo.ZoneInfo)
    assert zone("Asia/Kathmandu").offset(0) == 19_800
