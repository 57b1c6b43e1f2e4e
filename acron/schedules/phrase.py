"""Plain English: ``weekdays at 9am``, ``first monday of the month at 9am``.

A phrase compiles to a cron expression, which is its canonical text. What counts from somewhere
(``every 2 weeks on friday at 16:00``) stays a phrase and prints the day it counts from.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from acron.schedules import cron, zones
from acron.schedules.combine import any_of
from acron.schedules.days import FIRST_DAY, DayRule
from acron.schedules.days import days as day_table
from acron.schedules.fields import DAYS, MONTHS
from acron.schedules.moments import time_of_day, weekday

if TYPE_CHECKING:
    from acron.schedules.base import Schedule
    from acron.schedules.source import Source

EXAMPLES = ("weekdays at 9am", "every 2 weeks on friday at 16:00", "last day of the month at 17:00")

_TIME = r"(?:\d{1,2}(?::\d\d(?::\d\d)?)?\s?(?:am|pm)|\d{1,2}:\d\d(?::\d\d)?|noon|midday|midnight)"
_JOIN = r"(?:\s*,\s*(?:and\s+)?|\s+and\s+)"
_TIMES = re.compile(rf"(?:\bat\s+|(?<!\S)){_TIME}(?:{_JOIN}(?:at\s+)?{_TIME})*(?!\S)", re.ASCII)
_FROM = re.compile(r"\sfrom\s+(\d{4}-\d\d-\d\d)$", re.ASCII)
_RATE = re.compile(
    r"(?:every|each)\s+(?:(\d+)\s+)?(second|minute|hour|sec|min|hr)s?\s+(?:on\s+)?(.+)", re.ASCII
)
_CYCLE = re.compile(
    r"every\s+(?:(\d+)|other)\s+(days?|weeks?|months?|[a-z]+)(?:\s+on\s+(?:the\s+)?(.+))?", re.ASCII
)
_ORDINAL = "first|second|third|fourth|fifth|last|1st|2nd|3rd|4th|5th"
_OF_MONTH = r"of\s+(?:the\s+month|(?:every|each)\s+month|month|([a-z]+))"
_NTH = re.compile(rf"(?:on\s+)?(?:the\s+)?({_ORDINAL})\s+([a-z]+)\s+{_OF_MONTH}")
_EVERY_MONTH = re.compile(r"(?:monthly|(?:every|each)\s+month)\s+on\s+(?:the\s+)?(.+)")
_EVERY_YEAR = re.compile(
    r"(?:(?:yearly|annually|(?:every|each)\s+year)\s+on\s+|(?:every|each)\s+)(?:the\s+)?"
    r"(?:([a-z]+)\s+(\d{1,2})(?:st|nd|rd|th)?|(\d{1,2})(?:st|nd|rd|th)?\s+(?:of\s+)?([a-z]+))",
    re.ASCII,
)
_DATES = re.compile(rf"(?:on\s+)?(?:the\s+)?(.+?)\s+{_OF_MONTH}|on\s+the\s+(.+)")
_DAY_NUMBER = re.compile(
    r"(?:the\s+)?(\d{1,2})(?:st|nd|rd|th)|(?:the\s+)?last(?:\s+day)?", re.ASCII
)
_WHICH = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": -1}

_STARTS = ("every", "each", "daily", "weekly", "monthly", "yearly", "annually", "hourly", "weekday",
           "weekend")  # fmt: skip
_EACH_DAY = ("every day", "daily", "each day")
_NO_TIME = "write the time, as in 'every day at 9am', or 'every 24h' for elapsed time"


class _Days(NamedTuple):
    """The day fields of a cron expression."""

    month_day: str = "*"
    month: str = "*"
    weekday: str = "*"

    def fields(self) -> str:
        return f"{self.month_day} {self.month} {self.weekday}"


def parse(source: Source) -> Schedule | None:
    """The schedule of a phrase; None for a text that is no phrase."""
    text = source.lowered()
    if text.startswith("in ") or (text[4:5] == "-" and text[:4].isdigit()):
        return None  # a delay, a date: what costs most here finds nothing in it
    if text == "hourly":
        return cron.compiled(source, "0 * * * *")
    anchor = _FROM.search(text)
    if anchor is not None:
        text = text[: anchor.start()]
    found = _TIMES.search(text)
    times = [] if found is None else re.findall(_TIME, found[0], re.ASCII)
    rest = text if found is None else f"{text[: found.start()]} {text[found.end() :]}".strip()
    rest = " ".join(rest.split()).removesuffix(" at")
    if not rest:
        return None
    rate = None if found else _RATE.fullmatch(rest)
    if rate is not None:
        return _rate(source, rate)
    cycle = _CYCLE.fullmatch(rest)
    if cycle is not None and (cycle[2] in _UNITS or weekday(cycle[2]) is not None):
        return _cycle(source, cycle, times, None if anchor is None else anchor[1])
    days = _days(rest)
    if days is None:
        if text.startswith(_STARTS):
            raise _unknown(source, rest, times)
        return None
    if anchor is not None:
        raise source.error(
            "only what counts from somewhere has a 'from'",
            "write 'starting 2026-12-01T09:00'",
            at=" from ",
        )
    if not times:
        raise source.error(f"at what time of day is {source.text!r}?", _no_time(rest))
    clocks = _clocks(source, times)
    return any_of(*(cron.compiled(source, f"{clock} {days.fields()}") for clock in clocks))


_UNITS = frozenset({"day", "days", "week", "weeks", "month", "months"})


def _unknown(source: Source, rest: str, times: list[str]) -> Exception:
    if rest in {"every week", "weekly", "every month", "monthly", "every year", "yearly"}:
        return source.error(
            f"on which day is {source.text!r}?",
            "write 'every monday at 9am' or 'first day of the month at 9am'",
        )
    if not times:
        return source.error(f"{source.text[:60]!r} has no time of day that is understood", _NO_TIME)
    return source.error(
        f"{rest[:60]!r} is not understood as days",
        f"write for example {', '.join(map(repr, EXAMPLES))}",
    )


def _clocks(source: Source, times: list[str]) -> list[str]:
    """The time fields: one text for all times that share their minute."""
    hours: dict[tuple[int, int], list[int]] = {}
    for text in times:
        time = time_of_day(text)
        if time is None:
            raise source.error(
                f"{text!r} is not a time of day", "write '9am', '9:30', '17:30' or 'noon'", at=text
            )
        minute, second = divmod(time[0] % 3600, 60)
        hours.setdefault((second, minute), []).append(time[0] // 3600)
    return [
        f"{f'{second} ' if second else ''}{minute} {','.join(map(str, sorted(set(found))))}"
        for (second, minute), found in hours.items()
    ]


def _rate(source: Source, match: re.Match[str]) -> Schedule:
    """``every 15 minutes on weekdays``: follows the clock, so it must divide it evenly."""
    count, unit = int(match[1] or 1), match[2]
    days = _days(match[3])
    if days is None:
        raise source.error(
            f"{match[3][:60]!r} is not understood as days",
            "write 'every 15 minutes on weekdays'",
            at=match[3],
        )
    whole = 24 if unit in {"hour", "hr"} else 60
    if not 0 < count < whole or whole % count:
        raise source.error(
            f"{count} {unit}s do not divide {'a day' if whole == 24 else 'the clock'} evenly",
            f"write a number that divides {whole}, or 'every {count}{unit[0]}' for elapsed time",
            at=str(count),
        )
    step = "*" if count == 1 else f"*/{count}"
    clock = {"s": f"{step} * *", "m": f"{step} *", "h": f"0 {step}"}[unit[0]]
    return cron.compiled(source, f"{clock} {days.fields()}")


def _days(text: str) -> _Days | None:
    """The day fields that a phrase without its times means, or None."""
    if text in {"every day", "daily", "each day", "everyday"}:
        return _Days()
    nth = _NTH.fullmatch(text)
    if nth is not None:
        return _nth(nth)
    yearly = _EVERY_YEAR.fullmatch(text)
    if yearly is not None and (month := _month(yearly[1] or yearly[4])) is not None:
        return _Days(str(int(yearly[2] or yearly[3])), month)
    monthly = _EVERY_MONTH.fullmatch(text)
    if monthly is not None:
        nth = _NTH.fullmatch(f"{monthly[1]} of the month")
        return _nth(nth) if nth is not None else _dates(monthly[1], None)
    dates = _DATES.fullmatch(text)
    if dates is not None:
        return _dates(dates[1] or dates[3], dates[2])
    words = re.sub(r"^(?:(?:weekly|every week)\s+)?(?:every\s+|each\s+|on\s+)?", "", text)
    weekdays = _weekdays(words)
    return None if weekdays is None else _Days(weekday=weekdays)


def _nth(match: re.Match[str]) -> _Days | None:
    """``first monday of the month``, ``last day of june``."""
    which = _WHICH.get(match[1]) or int(match[1][0])
    month = "*" if match[3] is None else _month(match[3])
    if month is None:
        return None
    if match[2] == "day":
        return _Days("L" if which < 0 else str(which), month)
    if match[2] == "weekday":
        return _Days("LW" if which < 0 else "1W", month) if which in {1, -1} else None
    number = weekday(match[2])
    if number is None:
        return None
    name = DAYS[(number + 1) % 7]
    return _Days("*", month, f"{name}L" if which < 0 else f"{name}#{which}")


def _dates(text: str, month_name: str | None) -> _Days | None:
    """``1st and 15th``, ``last day``."""
    month = "*" if month_name is None else _month(month_name)
    found = []
    for item in re.split(_JOIN, text):
        match = _DAY_NUMBER.fullmatch(item)
        if match is None or month is None:
            return None
        found.append(str(int(match[1])) if match[1] else "L")
    return _Days(",".join(dict.fromkeys(found)), month or "*")


def _month(word: str) -> str | None:
    short = word[:3].upper()
    full = "january february march april may june july august september october november december"
    return short if short in MONTHS and word in {*full.split(), short.lower()} else None


def _weekdays(text: str) -> str | None:
    """The weekday field of ``monday, wed and fri``, ``weekdays``, ``mon-fri``, ``mon to fri``."""
    if text in {"weekday", "weekdays"}:
        return "MON-FRI"
    if text in {"weekend", "weekends"}:
        return "SAT,SUN"
    found = []
    for item in re.split(_JOIN, text):
        first, dash, last = re.sub(r"\s+(?:to|through)\s+", "-", item).partition("-")
        numbers = [weekday(word.strip()) for word in ([first, last] if dash else [first])]
        if None in numbers or (dash and numbers[0] == numbers[1]):
            return None
        found.append("-".join(DAYS[(number + 1) % 7] for number in numbers if number is not None))
    return ",".join(dict.fromkeys(found))


def _no_time(days: str) -> str:
    """What to write for days without a time."""
    return _NO_TIME if days in _EACH_DAY else f"write the time, as in '{days} at 9am'"


def _cycle(source: Source, match: re.Match[str], times: list[str], anchor: str | None) -> Schedule:
    """``every 2 weeks on friday at 16:00``, ``every other day at 9am``."""
    count, unit, on = int(match[1] or 2), match[2].rstrip("s"), match[3]
    if unit not in {"day", "week", "month"}:
        unit, on = "week", match[2]
    if not 1 <= count <= 1000:
        raise source.error(
            f"every {count} {unit}s is out of range", "write a number from 1 to 1000"
        )
    if not times:
        raise source.error(f"at what time of day is {source.text!r}?", _no_time(match[0]))
    clocks = _clocks(source, times)
    if unit == "month":
        return _months(source, count, on, clocks)
    days = _days(on) if on is not None else _Days() if unit == "day" else None
    if days is None or days.month_day != "*" or (unit == "day" and on is not None):
        raise source.error(
            f"on which day of every {count} weeks?" if unit == "week" else "a day too many",
            "write 'every 2 weeks on friday at 16:00' or 'every 2 days at 9am'",
        )
    plain = any_of(*(cron.compiled(source, f"{clock} {days.fields()}") for clock in clocks))
    if count == 1:
        return plain
    start = _first_day(source, plain) if anchor is None else _date(source, anchor)
    said = "" if unit == "day" else f" on {days.weekday.lower().replace('sat,sun', 'weekends')}"
    members = [
        _turning(source, clock, days, f"every {count} {unit}s{said}", (start, count, unit))
        for clock in clocks
    ]
    return any_of(*members)


def _turning(
    source: Source, clock: str, days: _Days, said: str, cycle: tuple[int, int, str]
) -> Schedule:
    """The schedule of one clock text on the days of a cycle: (first day, every how many, unit)."""
    start, count, unit = cycle
    plain = cron.compiled(source, f"{clock} {days.fields()}")
    turn = (start, count * 7, 7) if unit == "week" else (start, count, 1)
    rule: DayRule = plain.rule._replace(cycle=turn)
    if day_table(rule).at_or_after(FIRST_DAY) is None:
        raise source.error(f"{source.text!r} never fires", "write an earlier 'from'", at=" from ")
    *second, minute, hours = clock.split()
    tail = f":{int(second[0]):02}" if second else ""
    times = " and ".join(f"{int(h):02}:{int(minute):02}{tail}" for h in hours.split(","))
    since = date.fromordinal(start + zones.ORDINAL)
    return plain.renamed(f"{said} at {times} from {since}", rule)


def _first_day(source: Source, plain: Schedule) -> int:
    """The local day of the first instant after now: the one that the cycle counts from."""
    at = plain.next_after(source.now)
    if at is None:
        raise source.error(f"{source.text!r} never fires", "write a schedule with a later instant")
    second = zones.seconds(at)
    return (second + zones.zone(source.tz).offset(second)) // zones.DAY


def _date(source: Source, text: str) -> int:
    try:
        return date.fromisoformat(text).toordinal() - zones.ORDINAL
    except ValueError:
        raise source.error(f"there is no day {text}", "write 'from 2026-12-01'", at=text) from None


def _months(source: Source, count: int, on: str | None, clocks: list[str]) -> Schedule:
    """``every 3 months on the 1st at 9am``: the months of the year, from the next one on."""
    if count == 1 or count not in {2, 3, 4, 6, 12}:
        raise source.error(
            f"{count} months do not divide a year",
            "write 2, 3, 4, 6 or 12 months, 'every month on the 1st at 9am', or an RRULE",
        )
    days = None if on is None else _days(f"every month on {on}")
    if days is None:
        raise source.error(
            f"on which day of every {count} months?", "write 'every 3 months on the 1st at 9am'"
        )
    plain = any_of(*(cron.compiled(source, f"{clock} {days.fields()}") for clock in clocks))
    first = date.fromordinal(_first_day(source, plain) + zones.ORDINAL).month
    months = sorted((first - 1 + step) % 12 + 1 for step in range(0, 12, count))
    fields = days._replace(month=",".join(map(str, months))).fields()
    return any_of(*(cron.compiled(source, f"{clock} {fields}") for clock in clocks))
