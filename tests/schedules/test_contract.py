"""Every kind keeps the contract, and the contract finds what does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from acron.schedules import Calendar, Interval, Schedule, any_of, bounded, parse
from acron.testing.contracts.schedules import ScheduleContract

NOW = datetime(2026, 11, 22, 17, 18, 46, 123_456, tzinfo=UTC)


def read(*texts: str, tz: str = "Europe/Paris") -> list[Schedule]:
    return [parse(text, tz=tz, now=NOW, job_id="job") for text in texts]


class TestCron(ScheduleContract):
    def make(self) -> list[Schedule]:
        return read(
            "* * * * *", "*/5 9-17 * * MON-FRI", "30 2 * * *", "0 0 29 2 *", "0 12 L * *",
            "0 9 15W * *", "0 9 LW * *", "0 9 * * 5#2", "0 9 * * FRIL", "*/10 * * * * *",
            "0 0 9 ? * MON 2027", "H H * * *", "0 9 13 * FRI", "@hourly", "0 0 1-7,L-2 2 *",
            "GAP=skip FOLD=both 30 2 * * *", "7,8 3/5 * 1-3 *",
        )  # fmt: skip


class TestCronInAZoneAheadOfUTC(ScheduleContract):
    def make(self) -> list[Schedule]:
        return read("* * * * *", "0 0 1 1 *", "59 59 23 31 12 *", tz="Pacific/Apia")


class TestCronInAZoneBehindUTC(ScheduleContract):
    def make(self) -> list[Schedule]:
        return read("* * * * *", "0 0 1 1 *", "59 59 23 31 12 *", tz="America/Los_Angeles")


class TestInterval(ScheduleContract):
    def make(self) -> list[Schedule]:
        odd = Interval(timedelta(microseconds=1_500_001), NOW)
        return [*read("every 30s", "every 2h", "@every 5m", "every hour", "every 1000h"), odd]


class TestOnce(ScheduleContract):
    def make(self) -> list[Schedule]:
        return read("in 30m", "2026-12-01T09:00", "2001-01-01 00:00+09:00", "tomorrow at 9am",
                    "@reboot", "FOLD=last 2026-10-25T02:30", "2026-10-25T02:30")  # fmt: skip


class TestPhrase(ScheduleContract):
    def make(self) -> list[Schedule]:
        return read("weekdays at 9am", "every 2 weeks on friday at 16:00", "every 2 days at 02:30",
                    "first monday of the month at 9am and 17:30",
                    "every 15 minutes on weekdays")  # fmt: skip


class TestRRule(ScheduleContract):
    def make(self) -> list[Schedule]:
        return read("RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9",
                    "DTSTART:20260301T023000 RRULE:FREQ=DAILY;COUNT=40",
                    "DTSTART:20260131T090000 RRULE:FREQ=MONTHLY;UNTIL=20300101",
                    "DTSTART:20260101T000000 RRULE:FREQ=HOURLY;INTERVAL=7")  # fmt: skip


class TestCombined(ScheduleContract):
    def make(self) -> list[Schedule]:
        daily, hourly, weekly = read("0 9 * * *", "every 1h", "0 9 * * FRI")
        works = Calendar(["2026-12-01..2026-12-09", "sat 10:00-12:00", "12-25"])
        return [
            any_of(daily, hourly),
            any_of(daily, weekly),
            daily.except_(works),
            hourly.except_(works, tz="Asia/Tokyo"),
            any_of(daily, hourly).except_(works),
            bounded(daily, datetime(2026, 10, 25, 8, tzinfo=UTC), None),
            bounded(daily, None, datetime(2026, 12, 25, 8, tzinfo=UTC)),
            bounded(any_of(daily, hourly), NOW, NOW + timedelta(days=9)),
            *read("0 9 * * 1-5 except holidays:FR", "* * * * * except mon-fri 22:00-06:00"),
        ]


class Early(Interval):
    """A schedule with a fault: it gives the base itself when that is on its lattice."""

    __slots__ = ()

    def next_after(self, instant: datetime) -> datetime | None:
        found = self.last_at(instant)
        return found if found == instant else super().next_after(instant)


class Miscounting(Interval):
    """A schedule with a fault: its count takes in the beginning of the span."""

    __slots__ = ()

    def count(self, after: datetime, until: datetime) -> int:
        return super().count(after, until) + (self.last_at(after) == after)


class Enumerating(Interval):
    """A schedule with a fault: it counts one by one."""

    __slots__ = ()

    def count(self, after: datetime, until: datetime) -> int:
        number, at = 0, self.next_after(after)
        while at is not None and at <= until and number < 2000:
            number, at = number + 1, self.next_after(at)
        return number


class Interrupted(Interval):
    """A schedule with a fault: on one day it says that it has come to its end."""

    __slots__ = ()

    def next_after(self, instant: datetime) -> datetime | None:
        return None if f"{instant:%F}" == "2026-03-29" else super().next_after(instant)


class Familiar(Interval):
    """A schedule with a fault: it takes whatever it is compared with for one of its kind."""

    __slots__ = ()

    def __eq__(self, _: object) -> bool:
        return True

    __hash__ = Interval.__hash__


class Loud(Interval):
    """A schedule with a fault: its words move the cursor."""

    __slots__ = ()

    def describe(self) -> str:
        return "\x1b[2Jevery minute"


@pytest.mark.parametrize(
    "kind, test",
    [
        (Early, "test_next_is_strictly_later_and_in_utc"),
        (Miscounting, "test_count_equals_enumeration"),
        (Enumerating, "test_count_does_not_enumerate"),
        (Interrupted, "test_what_has_come_to_an_end_stays_so"),
        (Familiar, "test_equal_by_value_and_hashable"),
        (Loud, "test_describe_is_one_line_of_words"),
    ],
)
def test_the_contract_finds_a_fault(kind: type[Interval], test: str) -> None:
    class Suite(ScheduleContract):
        def make(self) -> list[Schedule]:
            return [kind(timedelta(minutes=1), datetime(1969, 12, 31, tzinfo=UTC))]

    with pytest.raises(AssertionError):
        getattr(Suite(), test)()
