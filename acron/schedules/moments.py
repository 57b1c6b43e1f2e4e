"""One moment in words: ``2026-12-01T09:00``, ``at 17:30``, ``tomorrow at 9am``."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from acron.schedules import zones

if TYPE_CHECKING:
    from acron.schedules.source import Source

HINT = "write '2026-12-01T09:00', '2026-12-01 09:00+01:00', 'at 17:30' or 'tomorrow at 9am'"
TIME_HINT = "write a time of day such as '9am', '9:30', '17:30' or 'noon'"

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December")  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_ISO = re.compile(
    r"(?:on\s+|at\s+)?(\d{4})-(\d\d)-(\d\d)"
    r"(?:(?:t|\s+(?:at\s+)?)(?P<time>[^z+-]+?)\s*(?P<offset>z|utc|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_TIME = re.compile(r"(\d{1,2})(?::(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?\s*(am|pm|h)?", re.ASCII)
_RELATIVE = re.compile(
    r"(?:(?P<day>today|tonight|tomorrow|day after tomorrow|next (?P<week>[a-z]+))\s+)?"
    r"(?:at\s+)?(?P<time>.+)"
)


class Moment(NamedTuple):
    """An instant in UTC, and the zone whose wall clock it was written for (None: UTC)."""

    at: datetime
    zone: str | None


def weekday(word: str) -> int | None:
    """0 for ``mon``, ``monday``, ``mondays`` … 6 for Sunday; None for another word."""
    for number, name in enumerate(WEEKDAYS):
        if word in {name, name + "s", name[:3], name[:2]} or (
            len(word) > 3 and name.startswith(word)
        ):
            return number
    return None


def time_of_day(text: str) -> tuple[int, int] | None:
    """Seconds after midnight and microseconds of ``9am``, ``17:30``, ``noon``; None otherwise."""
    text = text.strip()
    if text in {"noon", "midday"}:
        return 43_200, 0
    if text == "midnight":
        return 0, 0
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    if match[5] in {"am", "pm"}:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match[5] == "pm" else 0)
    elif match[2] is None and match[5] is None:
        return None
    if hour > 23 or minute > 59 or second > 59:
        return None
    return hour * 3600 + minute * 60 + second, int((match[4] or "0").ljust(6, "0"))


def parse(source: Source) -> Moment | None:
    """The moment that ``source`` names, or None when it does not look like one.

    Raises ScheduleError for a day or time that does not exist.
    """
    lowered = source.lowered()
    iso = _ISO.fullmatch(lowered)
    if iso is not None:
        return _iso(source, iso)
    relative = _RELATIVE.fullmatch(lowered)
    if relative is None or (relative["day"] is None and not lowered.startswith("at ")):
        return None
    return _relative(source, relative)


def _iso(source: Source, match: re.Match[str]) -> Moment:
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        raise source.error(f"there is no day {match[1]}-{match[2]}-{match[3]}", HINT) from None
    if match["time"] is None:
        raise source.error(
            f"at what time on {day}?", f"write '{day}T09:00' or '{day} at 9am'", at=len(match[0])
        )
    time = time_of_day(match["time"])
    if time is None:
        raise source.error(f"{match['time']!r} is not a time of day", TIME_HINT, at=match["time"])
    if match["offset"] is None:
        return on_wall(source, day, time)
    offset = match["offset"]
    shift = timedelta()
    if offset[0] in "+-":
        digits = offset[1:].replace(":", "").ljust(4, "0")
        shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        if int(digits[2:]) > 59 or int(digits[:2]) > 23:
            raise source.error(f"{offset!r} is not an offset", HINT, at=offset)
        shift = -shift if offset[0] == "-" else shift
    try:
        at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(0, *time) - shift
    except OverflowError:
        raise source.error("that is outside the years 1 to 9999", HINT) from None
    return Moment(at, None)


def _relative(source: Source, match: re.Match[str]) -> Moment:
    time = time_of_day(match["time"])
    if time is None:
        raise source.error(f"{match['time']!r} is not a time of day", TIME_HINT, at=match["time"])
    place = zones.zone(source.tz)
    now = zones.seconds(source.now)
    today = date(1970, 1, 1) + timedelta((now + place.offset(now)) // zones.DAY)
    word = match["day"]
    try:
        if word is None:
            moment = on_wall(source, today, time)
            return moment if moment.at > source.now else on_wall(source, _later(today, 1), time)
        if match["week"] is None:
            ahead = {"tomorrow": 1, "day after tomorrow": 2}.get(word, 0)
            return on_wall(source, _later(today, ahead), time)
        number = weekday(match["week"])
        if number is None:
            raise source.error(
                f"{match['week']!r} is not a day of the week",
                "write 'next friday at 18:00'",
                at=match["week"],
            )
        return on_wall(source, _later(today, (number - today.weekday() - 1) % 7 + 1), time)
    except OverflowError:
        raise source.error("that is after the year 9999", HINT) from None


def _later(day: date, days: int) -> date:
    return day + timedelta(days)


def on_wall(source: Source, day: date, time: tuple[int, int]) -> Moment:
    """``time`` on ``day`` in the zone of ``source``, by its gap and fold rules."""
    wall = (day.toordinal() - zones.ORDINAL) * zones.DAY + time[0]
    place = zones.zone(source.tz)
    at, exists = zones.resolve(place, wall, source.fold or "first")
    if not exists and source.gap == "skip":
        raise source.error(
            f"{source.tz} has no such time on {day}: its clocks go forward over it",
            "write another time, or use gap='shift' for the first moment after the change",
        )
    if not zones.MIN <= at <= zones.MAX:
        raise source.error("that is outside the years 1 to 9999", HINT)
    micro = time[1] if exists else 0
    name = None if place.name == "UTC" else place.name
    return Moment(zones.instant(at) + timedelta(microseconds=micro), name)


def spell(at: datetime, name: str | None = None) -> str:
    """Canonical text of an instant: ``2026-12-01T09:00Z``, or by the wall clock of a zone."""
    if name is None:
        return clock(at.astimezone(UTC)) + "Z"
    place = zones.zone(name)
    second = zones.seconds(at)
    wall = second + place.offset(second)
    rule = "" if zones.resolve(place, wall)[0] == second else "FOLD=last "
    read = datetime(1970, 1, 1) + timedelta(0, wall, at.microsecond)  # noqa: DTZ001
    return f"CRON_TZ={name} {rule}{clock(read)}"


def clock(read: datetime) -> str:
    """Date and time as short as they can be: seconds only where they are not zero."""
    if read.microsecond:
        return read.isoformat(timespec="microseconds")[:26].rstrip("0")
    if read.second:
        return read.isoformat(timespec="seconds")[:19]
    return read.isoformat(timespec="minutes")[:16]


def words(at: datetime, name: str | None = None) -> str:
    """An instant for people: ``Tuesday, 1 December 2026 at 09:00 (Europe/Paris)``."""
    second = zones.seconds(at)
    wall = second + zones.zone(name or "UTC").offset(second)
    read = datetime(1970, 1, 1) + timedelta(0, wall)  # noqa: DTZ001
    time = f"{read:%H:%M:%S}" if read.second else f"{read:%H:%M}"
    day = f"{WEEKDAYS[read.weekday()].title()}, {read.day} {MONTHS[read.month - 1]} {read.year}"
    return f"{day} at {time} ({name or 'UTC'})"


def day_words(read: datetime) -> str:
    """The day of a reading, short: ``Sun 2027-03-28``, in English whatever the locale."""
    return f"{WEEKDAYS[read.weekday()][:3].title()} {read.date().isoformat()}"
