"""The drawing of a story: lanes, gaps, days, and what is folded."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from acron.testing import START
from acron.testing.page import LINES, WIDTH, Mark, draw, span

UTC = ZoneInfo("UTC")


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_lanes_of_what_goes_on_at_the_same_time() -> None:
    marks = [
        Mark(START, "begins", "a", "long", "starts"),
        Mark(START + at(1), "at once", "b", "tick", "succeeded"),
        Mark(START + at(1.25), "begins", "c", "sync", "starts"),
        Mark(START + at(2), "not", "", "sync", "skipped: overlap"),
        Mark(START + at(60), "ends", "a", "long", "failed: no"),
        Mark(START + at(61), "begins", "d", "long", "starts"),
        Mark(START + at(3725), "ends", "c", "sync", "succeeded"),
        Mark(START + at(4000), "waits", "e", "sync", "is due"),
    ]
    assert draw(marks, START + at(3726), UTC) == [
        "  Thu 2026-01-01",
        "  00:00:00               ╭   long  starts",
        "  00:00:01          +1s  │●  tick  succeeded",
        "  00:00:01.250           │╭  sync  starts",
        "  00:00:02               ││○ sync  skipped: overlap",
        "  00:01:00         +58s  ╰│  long  failed: no",
        "  00:01:01          +1s  ╭│  long  starts",
        "  01:02:05       +1h 1m  │╰  sync  succeeded",
        "  01:02:06          +1s  │   now",
        "  01:06:40      +4m 34s  │◌  sync  is due",
    ]


def test_a_story_by_the_clock_of_a_place_over_midnight() -> None:
    marks = [Mark(START + at(3600 * hour), "at once", str(hour), "j", "x") for hour in (4, 5, 29)]
    assert draw(marks, START + at(86400 * 3), ZoneInfo("America/New_York")) == [
        "  Wed 2025-12-31",
        "  23:00:00               ● j  x",
        "  Thu 2026-01-01",
        "  00:00:00          +1h  ● j  x",
        "  Fri 2026-01-02",
        "  00:00:00          +1d  ● j  x",
        "  Sat 2026-01-03",
        "  19:00:00      +1d 19h    now",
    ]


def test_nothing_happened() -> None:
    assert draw([], START, UTC) == ["  Thu 2026-01-01", "  00:00:00                now"]


def calm(hour: int, name: str, *, well: bool = True) -> Mark:
    return Mark(START + at(3600 * hour), "at once", f"{name}{hour}", name, "succeeded", well)


def test_what_goes_well_again_and_again_is_told_in_a_line() -> None:
    marks = [calm(hour, "tidy") for hour in range(20)]
    marks[12] = calm(12, "tidy", well=False)
    marks.insert(17, calm(16, "rare"))
    lines = [line[25:] for line in draw(marks, START + at(20 * 3600), UTC)[1:]]
    assert lines == [
        "● tidy  succeeded",
        "┊ went well: tidy (10)",
        "● tidy  succeeded",
        "● tidy  succeeded",
        "● tidy  succeeded",
        "┊ went well: tidy (3)",
        "● rare  succeeded",
        "● tidy  succeeded",
        "● tidy  succeeded",
        "● tidy  succeeded",
        "  now",
    ]


def test_a_long_story_is_its_beginning_and_its_end() -> None:
    marks = [calm(hour, "flaky")._replace(text=f"said {hour}", calm=False) for hour in range(500)]
    lines = draw(marks, START + at(500 * 3600), UTC)
    events = [line for line in lines if line[2] in "012"]
    assert len(events) == LINES
    assert events[0].endswith("● flaky  said 0")
    assert events[-1].endswith("now")
    assert [line.strip() for line in lines if "┊" in line] == ["┊ 441 lines more"]


def test_where_a_page_is_too_short_what_comes_again_is_folded_too() -> None:
    marks = [Mark(START, "begins", "a", "long", "starts")]
    for hour in range(1, 49):
        marks += [Mark(START + at(3600 * hour), "not", f"s{hour}", "long", "skipped: overlap")]
        marks += [calm(hour, "tidy")]
        if hour == 30:
            marks += [Mark(START + at(3600 * hour), "at once", "f", "rare", "failed: no cake")]
    lines = [line[25:] for line in draw(marks, START + at(48 * 3600), UTC)[1:] if line[25:]]
    assert lines == [
        "╭  long  starts",
        "│○ long  skipped: overlap",
        "│● tidy  succeeded",
        "│○ long  skipped: overlap",
        "┊  went well: tidy (28); as before: long (28)",
        "│● tidy  succeeded",
        "│● rare  failed: no cake",
        "│○ long  skipped: overlap",
        "│● tidy  succeeded",
        "┊  went well: tidy (16); as before: long (17)",
        "│● tidy  succeeded",
        "│  now",
    ]
    few = draw(marks[:9], START + at(48 * 3600), UTC)
    assert sum("skipped: overlap" in line for line in few) == 4


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_page_is_as_wide_as_it_is_told_to_be(width: int) -> None:
    marks = [Mark(START, "at once", "a", "busy", "why " * 100)]
    marks += [calm(hour, name * 20) for hour in range(1, 30) for name in "abcd"]
    widest = max(map(len, draw(marks, START + at(3600 * 30), UTC, width)))
    assert width - 5 <= widest <= width


def test_no_line_is_wider_than_the_page_and_long_texts_are_wrapped() -> None:
    name = "n" * 128
    marks = [Mark(START, "begins", str(n), "busy", "starts") for n in range(20)]
    marks += [Mark(START + at(1), "begins", "x", name, "why " * 100)]
    marks += [Mark(START + at(2), "ends", str(n), "busy", "succeeded") for n in range(20)]
    lines = draw(marks, START + at(3), UTC)
    assert max(map(len, lines)) <= WIDTH
    told = [line for line in lines if "why" in line]
    assert len(told) == 3
    assert told[-1].endswith("…")
    assert {line.index("why") for line in told} == {told[0].index("why")}
    assert lines[-1].endswith("now")


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0s"),
        (59.6, "1m"),
        (200, "3m 20s"),
        (3600, "1h"),
        (18_605, "5h 10m"),
        (270_000, "3d 3h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text
