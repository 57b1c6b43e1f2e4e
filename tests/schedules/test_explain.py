"""Sentences, changes of the clock and warnings, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from acron.schedules import parse
from acron.schedules.explain import explain

NOW = datetime(2026, 11, 22, 17, 18, 46, tzinfo=UTC)

SENTENCES = [
    ("0 9 * * 1-5", "at 09:00 on weekdays (Europe/Paris)"),
    ("30 2 * * *", "at 02:30 every day (Europe/Paris)"),
    ("* * * * *", "every minute (Europe/Paris)"),
    ("* * * * * *", "every second (Europe/Paris)"),
    ("*/10 * * * * *", "every 10 seconds (Europe/Paris)"),
    ("*/5 9-17 * * MON-FRI", "every 5 minutes from 09:00 to 17:55 on weekdays (Europe/Paris)"),
    ("0 * * * *", "every hour (Europe/Paris)"),
    ("15 */2 * * *", "every 2 hours at minute 15 (Europe/Paris)"),
    ("30 9-17 * * *", "every hour at minute 30 from 09:30 to 17:30 (Europe/Paris)"),
    ("5,7 * * * *", "at the minutes 5 and 7 (Europe/Paris)"),
    ("10,40 8-18/2 * * *",
     "at the minutes 10 and 40 in the hours 8, 10, 12, 14, 16 and 18 (Europe/Paris)"),
    ("0 9,17 * * SAT,SUN", "at 09:00 and 17:00 on weekends (Europe/Paris)"),
    ("0 12 L * *", "at 12:00 on the last day of the month (Europe/Paris)"),
    ("0 12 LW,2 * *", "at 12:00 on the 2nd and last weekday of the month (Europe/Paris)"),
    ("0 9 15W JAN,JUL *",
     ("at 09:00 on the weekday nearest to the 15th of the month in January and July "
      "(Europe/Paris)")),
    ("0 9 * * 5#2", "at 09:00 on the second Friday of the month (Europe/Paris)"),
    ("0 9 13 * FRI", "at 09:00 on the 13th of the month or Friday (Europe/Paris)"),
    ("0 0 9 ? * MON 2027", "at 09:00 on Monday in 2027 (Europe/Paris)"),
    ("every 2 weeks on friday at 16:00",
     "at 16:00 on Friday every 2 weeks from 2026-11-27 (Europe/Paris)"),
    ("every 1h", "every hour, counted from Sunday, 22 November 2026 at 17:18:46 (UTC)"),
    ("every minute", "every minute, counted from Sunday, 22 November 2026 at 17:18:46 (UTC)"),
    ("2026-12-01T09:00", "once, on Tuesday, 1 December 2026 at 09:00 (Europe/Paris)"),
    ("@reboot", "when acron starts"),
    ("0 9 * * * except holidays:FR", "at 09:00 every day (Europe/Paris), except holidays:FR"),
    ("0 9 * * 1 | 0 10 * * 2",
     "at 09:00 on Monday (Europe/Paris), and at 10:00 on Tuesday (Europe/Paris)"),
]  # fmt: skip


@pytest.mark.parametrize("text, sentence", SENTENCES)
def test_sentences(text: str, sentence: str) -> None:
    assert parse(text, tz="Europe/Paris", now=NOW).describe() == sentence


EFFECTS = [
    ("0 9 * * *", "no time of this schedule is touched"),
    ("30 2 * * *", "02:30 does not exist: it runs once, at 03:00"),
    ("GAP=skip 30 2 * * *", "02:30 does not exist and is skipped"),
    ("*/20 2 * * *", "3 runs from 02:00 on do not exist and are skipped"),
    ("0,30 2 * * *", "2 runs from 02:00 on do not exist: it runs once, at 03:00"),
    ("every 2h", "elapsed time goes on unchanged"),
]


@pytest.mark.parametrize("text, effect", EFFECTS)
def test_the_next_change_going_forward(text: str, effect: str) -> None:
    found = explain(parse(text, tz="Europe/Paris", now=NOW), NOW, "Europe/Paris").change
    assert found is not None
    assert found.at == datetime(2027, 3, 28, 1, tzinfo=UTC)
    assert (found.before, found.after) == (3600, 7200)
    assert "go forward on Sun 2027-03-28, from 02:00 to 03:00" in found.effect
    assert effect in found.effect


@pytest.mark.parametrize(
    "text, effect",
    [
        ("30 2 * * *", "02:30 comes twice: it runs the first time only"),
        ("FOLD=last 30 2 * * *", "02:30 comes twice: it runs the last time only"),
        ("*/30 2 * * *", "2 runs from 02:00 on come twice: it runs both times"),
    ],
)
def test_the_next_change_going_back(text: str, effect: str) -> None:
    summer = datetime(2026, 7, 1, tzinfo=UTC)
    found = explain(parse(text, tz="Europe/Paris", now=summer), summer).change
    assert found is not None
    assert "go back on Sun 2026-10-25, from 03:00 to 02:00" in found.effect
    assert effect in found.effect


@pytest.mark.parametrize(
    "text, warnings",
    [
        ("0 9 * * *", []),
        ("* * * * * *", ["it fires every second"]),
        ("every 1s", ["it fires every second"]),
        ("0 9 13 * FRI", [("day of month and day of week are both set in '0 9 13 * FRI': "
                           "either is enough (cron joins them by OR)")]),
        ("*/20 2 * * *", ["it does not run at all on Sun 2027-03-28: its times are skipped then"]),
        ("*/20 2-3 * * *", []),
        ("GAP=shift */20 2 * * *", []),
        ("0 0 9 ? * MON 2020", ["it does not fire any more"]),
        ("@reboot", []),
    ],
)  # fmt: skip
def test_warnings(text: str, warnings: list[str]) -> None:
    found = explain(parse(text, tz="Europe/Paris", now=NOW), NOW)
    assert list(found.warnings) == warnings


def test_an_explanation_a_user_would_show() -> None:
    shown = str(explain(parse("0 9 * * 1-5", tz="Europe/Paris", now=NOW), NOW))
    assert shown == (
        "At 09:00 on weekdays (Europe/Paris).\n"
        "\n"
        "  Mon 2026-11-23 09:00:00 CET (+01:00)\n"
        "  Tue 2026-11-24 09:00:00 CET (+01:00)\n"
        "  Wed 2026-11-25 09:00:00 CET (+01:00)\n"
        "  Thu 2026-11-26 09:00:00 CET (+01:00)\n"
        "  Fri 2026-11-27 09:00:00 CET (+01:00)\n"
        "\n"
        "261 times in the next 365 days\n"
        "The clocks of Europe/Paris go forward on Sun 2027-03-28, from 02:00 to 03:00; "
        "no time of this schedule is touched."
    )


def test_zones_without_changes_have_none() -> None:
    found = explain(parse("0 9 * * *", tz="Asia/Tokyo", now=NOW), NOW)
    assert found.change is None
    assert found.per_year == 365
    assert [at.utcoffset() for at in found.instants] == [timedelta(hours=9)] * 5
