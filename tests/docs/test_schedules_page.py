"""The tables of docs/reference/schedules.md, tried one row at a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acron.errors import ScheduleError
from acron.schedules import Schedule, parse
from acron.schedules.once import refuse_past

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "schedules.md").read_text()
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GRACE = 24 * 3600.0


def _column(heading: str) -> list[str]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(found) > 10
    return [text.replace(r"\|", "|") for text in found]  # how a table writes a bar


def _accept(text: str) -> Schedule:
    schedule = parse(text, tz="Europe/Paris", now=NOW, job_id="job")
    refuse_past(schedule, NOW, GRACE, text)
    return schedule


@pytest.mark.parametrize("text", _column("Forms"))
def test_a_form_on_the_page_parses(text: str) -> None:
    schedule = _accept(text)
    if text != "@reboot":
        following = schedule.next_after(NOW)
        assert following is not None
        assert following > NOW
    assert _accept(str(schedule)) == schedule
    assert _accept(f"  {text.lower()} ") == schedule or "/" in text.split(" ", maxsplit=1)[0]


@pytest.mark.parametrize("text", _column("Refused"))
def test_what_the_page_calls_refused_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        _accept(text)
    assert caught.value.text == text
    assert str(caught.value)


def test_the_two_nights_a_year_are_as_the_page_says() -> None:
    nightly = parse("30 2 * * *", tz="Europe/Paris", now=NOW)
    assert nightly.upcoming(datetime(2027, 3, 27, 12, tzinfo=UTC), 2) == [
        datetime(2027, 3, 28, 1, 0, tzinfo=UTC),
        datetime(2027, 3, 29, 0, 30, tzinfo=UTC),
    ]
    # 2027-10-31: 02:30 comes at 00:30 UTC and again at 01:30 UTC.
    assert nightly.upcoming(datetime(2027, 10, 30, 12, tzinfo=UTC), 2) == [
        datetime(2027, 10, 31, 0, 30, tzinfo=UTC),
        datetime(2027, 11, 1, 1, 30, tzinfo=UTC),
    ]
    polling = parse("*/30 2 * * *", tz="Europe/Paris", now=NOW)
    assert polling.upcoming(datetime(2027, 10, 30, 12, tzinfo=UTC), 4) == [
        datetime(2027, 10, 31, 0, 0, tzinfo=UTC),
        datetime(2027, 10, 31, 0, 30, tzinfo=UTC),
        datetime(2027, 10, 31, 1, 0, tzinfo=UTC),
        datetime(2027, 10, 31, 1, 30, tzinfo=UTC),
    ]
    assert polling.next_after(datetime(2027, 3, 27, 12, tzinfo=UTC)) == datetime(
        2027, 3, 29, 0, 0, tzinfo=UTC
    )
