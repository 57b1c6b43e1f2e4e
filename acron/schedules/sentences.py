"""Cron fields in English: ``at 09:00 on weekdays``."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from acron.schedules.days import EVERY_MONTH, EVERY_MONTH_DAY, EVERY_WEEKDAY
from acron.schedules.fields import HOUR, MINUTE, YEAR
from acron.schedules.moments import MONTHS
from acron.schedules.zones import ORDINAL

if TYPE_CHECKING:
    from acron.schedules.cron import Cron
    from acron.schedules.days import DayRule

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_WHICH = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", -1: "last"}
_MOST_TIMES = 6


def of_cron(schedule: Cron) -> str:
    """What a cron schedule does: ``every 15 minutes from 09:00 to 17:45 on weekdays (UTC)``."""
    times, days = _times(*schedule.masks), _days(schedule.rule)
    if not days and times[3:4].isdigit():
        days = "every day"
    return f"{times}{' ' if days else ''}{days} ({schedule.zone})"


def _values(mask: int) -> list[int]:
    return [n for n in range(mask.bit_length()) if mask >> n & 1]


def listed(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _ordinal(number: int) -> str:
    suffix = "th" if 10 < number < 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def _every(values: list[int], size: int, unit: str) -> str | None:
    """``every 15 minutes`` when ``values`` are evenly spread from 0 over ``size``."""
    step = size // len(values)
    if len(values) < 2 or values != list(range(0, size, step)):
        return None
    return f"every {unit}" if step == 1 else f"every {step} {unit}s"


def _times(second_mask: int, minute_mask: int, hour_mask: int) -> str:
    seconds, minutes, hours = _values(second_mask), _values(minute_mask), _values(hour_mask)
    total = len(seconds) * len(minutes) * len(hours)
    if total <= _MOST_TIMES:
        return "at " + listed([_clock(h, m, s) for h in hours for m in minutes for s in seconds])
    if len(seconds) > 1:
        rate = _every(seconds, 60, "second") or f"at the seconds {_numbers(seconds)}"
        if minute_mask != MINUTE.full:
            rate += f" of the minutes {_numbers(minutes)}"
        last = (minutes[-1], seconds[-1])
    else:
        tail = f" and {seconds[0]} seconds" if seconds[0] else ""
        last = (minutes[-1], seconds[0])
        if len(minutes) == 1:
            every = _every(hours, 24, "hour")
            past = f" at minute {minutes[0]}" if minutes[0] else ""
            if every is not None:
                return f"{every}{past}{tail}"
            return f"every hour{past}{tail}{_hours(hours, minutes[0], last)}"
        rate = (_every(minutes, 60, "minute") or f"at the minutes {_numbers(minutes)}") + tail
    return rate + ("" if hour_mask == HOUR.full else _hours(hours, minutes[0], last))


def _hours(hours: list[int], first: int, last: tuple[int, int]) -> str:
    if len(hours) > 1 and hours == list(range(hours[0], hours[-1] + 1)):
        return f" from {_clock(hours[0], first, 0)} to {_clock(hours[-1], *last)}"
    return f" in the hours {_numbers(hours)}"


def _clock(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}:{second:02}" if second else f"{hour:02}:{minute:02}"


def _numbers(values: list[int]) -> str:
    if len(values) > 2 and values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return listed([str(value) for value in values])


def _days(rule: DayRule) -> str:
    said = []
    by_month, by_week = _month_days(rule), _weekdays(rule)
    if by_month and by_week and rule.either:
        said.append(f"on {by_month} or {by_week}")
    elif by_month or by_week:
        said.append(f"on {by_month or by_week}")
    if rule.months != EVERY_MONTH:
        said.append(f"in {listed([MONTHS[n - 1] for n in _values(rule.months)])}")
    if rule.years:
        said.append(f"in {_numbers([YEAR.low + n for n in _values(rule.years)])}")
    if rule.cycle is not None:
        start, period, width = rule.cycle
        every = f"{period // 7} weeks" if width > 1 else f"{period} days"
        said.append(f"every {every} from {date.fromordinal(start + ORDINAL)}")
    return " ".join(said)


def _month_days(rule: DayRule) -> str:
    if rule.month_days == EVERY_MONTH_DAY:
        return "every day" if rule.either else ""
    said = [_ordinal(day) for day in _values(rule.month_days)]
    said += [
        "last day" if back == 0 else f"{_ordinal(back + 1)} last day" for back in sorted(rule.last)
    ]
    said += [
        "last weekday" if day == 0 else f"weekday nearest to the {_ordinal(day)}"
        for day in sorted(rule.nearest)
    ]
    return f"the {listed(said)} of the month"


def _weekdays(rule: DayRule) -> str:
    if rule.weekdays == EVERY_WEEKDAY:
        return "any day of the week" if rule.either else ""
    if rule.weekdays == 0b0111110 and not rule.nth:
        return "weekdays"
    if rule.weekdays == 0b1000001 and not rule.nth:
        return "weekends"
    order = sorted(_values(rule.weekdays), key=lambda day: (day - 1) % 7)
    said = [_DAYS[day] for day in order]
    said += [f"the {_WHICH[which]} {_DAYS[day]} of the month" for day, which in sorted(rule.nth)]
    return listed(said)
