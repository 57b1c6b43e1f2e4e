"""Hypothesis strategies of schedule texts."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from hypothesis import strategies as st

from acron.schedules.fields import DAYS, MONTHS

#: How many times as many examples are drawn; 20 takes minutes.
MANY = int(os.environ.get("SCHEDULE_EXAMPLES", "1"))

NOW = datetime(2026, 11, 22, 17, 18, 46, 123_456, tzinfo=UTC)

ZONES = st.sampled_from([
    "UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca",
    "Antarctica/Troll", "Asia/Beirut", "Pacific/Apia", "Asia/Kathmandu", "America/Sao_Paulo",
    "Africa/El_Aaiun", "Pacific/Chatham", "America/Havana", "Asia/Gaza",
])  # fmt: skip


def items(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """One item of a field: a number, a name, a range, with or without a step. No range goes
    round with a step, where croniter loses count, and none has one value, which is refused."""
    numbers = st.integers(low, high)
    step = st.integers(1, high - low + 1)
    ranges = st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1])
    found = [
        numbers.map(str),
        ranges.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        ranges.map(lambda pair: f"{pair[1]}-{pair[0]}"),
        st.tuples(ranges, step).map(lambda x: f"{x[0][0]}-{x[0][1]}/{x[1]}"),
        st.tuples(numbers, step).map(lambda x: f"{x[0]}/{x[1]}"),
        step.map(lambda n: f"*/{n}"),
    ]
    if names:
        found.append(st.sampled_from(names))
        found.append(
            st.lists(st.sampled_from(names), min_size=2, max_size=2, unique=True).map("-".join)
        )
    return st.one_of(found)


def field(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    listed = st.lists(items(low, high, names), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), listed)


minutes = field(0, 59)
hours = field(0, 23)
month_days = field(1, 31)
months = field(1, 12, MONTHS)
weekdays = field(0, 6, DAYS)
plain_cron = st.tuples(minutes, hours, month_days, months, weekdays).map(" ".join)
special_days = st.one_of(
    st.tuples(st.sampled_from(["L", "15W", "1W", "31W", "W30", "L,15"]), st.just("*")),
    st.tuples(st.just("*"), st.sampled_from(["5#2", "MON#1", "L5", "L0", "FRI#5", "MON-WED#3"])),
)
special_cron = st.tuples(minutes, hours, special_days, months).map(
    lambda x: f"{x[0]} {x[1]} {x[2][0]} {x[3]} {x[2][1]}"
)
seconds_cron = st.tuples(
    field(0, 59), minutes, hours, month_days, months,
    st.one_of(st.just("*"), st.just("?"), st.sampled_from(["MON-FRI", "SAT,SUN"])),
).map(" ".join)  # fmt: skip
times = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda t: f"{t[0]}:{t[1]:02}")
phrases = st.tuples(
    st.sampled_from([
        "every day", "weekdays", "weekends", "monday, wed and fri", "every 2 weeks on friday",
        "every other day", "first monday of the month", "last day of the month",
        "every month on the 15th", "every 3 months on the 1st", "every year on 25 december",
        "last weekday of the month", "every 3 weeks on mon and thu",
    ]),
    st.lists(times, min_size=1, max_size=3).map(" and ".join),
).map(" at ".join)  # fmt: skip
durations = st.tuples(st.integers(1, 400), st.sampled_from("smh")).map(lambda d: f"{d[0]}{d[1]}")
intervals = durations.map(lambda text: f"every {text}")
rules = st.sampled_from([
    "RRULE:FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9",
    "DTSTART:20260131T090000 RRULE:FREQ=MONTHLY",
    "DTSTART:20240229T120000 RRULE:FREQ=YEARLY",
    "DTSTART:20250101T013000 RRULE:FREQ=DAILY;INTERVAL=3",
    "DTSTART:20250101T013000 RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR;WKST=SU",
    "DTSTART:20260101T000000 RRULE:FREQ=DAILY;COUNT=400",
    "DTSTART:20200101T003000 RRULE:FREQ=HOURLY;INTERVAL=5",
    "DTSTART:20200101T000000 RRULE:FREQ=MINUTELY;INTERVAL=7;BYHOUR=1,2;BYDAY=SU",
    "RRULE:FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO",
    "RRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYHOUR=17;UNTIL=20300101T000000Z",
])  # fmt: skip
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001
    lambda read: read.isoformat(sep="T", timespec="seconds")
)
single = st.one_of(
    plain_cron, special_cron, seconds_cron, phrases, intervals, rules, moments,
    durations.map(lambda text: f"in {text}"),
    st.sampled_from(["@daily", "@hourly", "@yearly", "@weekly", "H H * * *", "H/15 * * * *"]),
)  # fmt: skip
composed = st.one_of(
    st.lists(single, min_size=2, max_size=3).map(" | ".join),
    st.tuples(single, st.sampled_from([
        "holidays:FR", "weekends", "12-25, 2026-12-24", "mon-fri 12:00-14:00", "sun 22:00-02:00",
    ])).map(" except ".join),
    single.map(lambda text: f"{text} until 2035-01-01T00:00"),
    single.map(lambda text: f"{text} starting 2026-06-01T00:00Z until 2035-01-01T00:00"),
    st.lists(single, min_size=2, max_size=2).map(lambda x: f"({x[0]} | {x[1]}) except 12-25"),
    st.tuples(ZONES, single).map(lambda x: f"CRON_TZ={x[0]} {x[1]}"),
)  # fmt: skip
texts = st.one_of(single, composed)
bases = st.datetimes(datetime(2019, 1, 1), datetime(2032, 1, 1)).map(  # noqa: DTZ001
    lambda read: read.replace(tzinfo=UTC)
)
