"""Named times off: dates, ranges of dates, days of each year, weekly windows, public holidays."""

from __future__ import annotations

import re
from bisect import bisect_left
from calendar import isleap
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

from acron.errors import ScheduleError
from acron.schedules import moments
from acron.schedules.zones import DAY, ORDINAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HINT = (
    "write days as '2026-12-25', '2026-12-24..2027-01-02', '12-25', 'saturday', "
    "'mon-fri 12:00-14:00', or 'holidays:FR'"
)
_WEEK = 7 * DAY
_YEARLY = re.compile(r"(\d\d)-(\d\d)", re.ASCII)
_DATES = re.compile(r"(\d{4}-\d\d-\d\d)(?:\s*\.\.\s*(\d{4}-\d\d-\d\d))?", re.ASCII)
_WEEKLY = re.compile(r"([a-z]+)(?:\s*-\s*([a-z]+))?(?:\s+([\d:apm]+)\s*-\s*([\d:apm]+))?", re.ASCII)
_HOLIDAYS = re.compile(r"holidays:([a-z]{2,8})(?:-([a-z0-9]{1,8}))?", re.ASCII)

Stretch = tuple[int, int]


class Calendar:
    """Times by the wall clock, in the zone of the schedule that excludes them.

    ``items`` are texts (see ``HINT``); ``name`` is what schedules call the calendar, None for one
    that is written out where it is used. Raises ScheduleError for an item that it cannot read.
    """

    __slots__ = ("_countries", "_fixed", "_weekly", "_yearly", "items", "name")

    def __init__(self, items: Iterable[str], *, name: str | None = None) -> None:
        self.name = name
        self.items = tuple(_canonical(item) for item in items)
        fixed: list[Stretch] = []
        weekly: list[Stretch] = []
        self._yearly: set[tuple[int, int]] = set()
        self._countries: list[tuple[str, str | None]] = []
        for item in self.items:
            if match := _HOLIDAYS.fullmatch(item.lower()):
                self._countries.append((match[1].upper(), match[2] and match[2].upper()))
            elif match := _YEARLY.fullmatch(item):
                self._yearly.add(_day_of_year(item, match))
            elif match := _DATES.fullmatch(item):
                fixed.append(_dates(item, match))
            elif match := _WEEKLY.fullmatch(item.lower()):
                weekly.extend(_windows(item, match))
            else:
                raise _refused(f"{item[:60]!r} is not a day", item)
        for country in self._countries:
            _holidays(*country)
        self._fixed = _merged(fixed)
        self._weekly = _merged(weekly)
        if sum(high - low for low, high in self._weekly) >= _WEEK:
            raise _refused("that excludes the whole week", str(self))

    def stretches(self, low: int, high: int) -> list[Stretch]:
        """The wall stretches ``[a, b)`` that meet ``[low, high)``: sorted, apart, uncut."""
        found = []
        at = bisect_left(self._fixed, (low,))
        for stretch in self._fixed[max(at - 1, 0) :]:
            if stretch[0] >= high:
                break
            found.append(stretch)
        if self._weekly:
            # Weeks count from Monday, 1969-12-29.
            for week in range((low + 3 * DAY) // _WEEK - 1, (high + 3 * DAY) // _WEEK + 1):
                base = week * _WEEK - 3 * DAY
                found += [(base + begin, base + end) for begin, end in self._weekly]
        if self._yearly or self._countries:
            found += self._by_year(low, high)
        return [(a, b) for a, b in _merged(found) if b > low and a < high]

    def _by_year(self, low: int, high: int) -> Iterator[Stretch]:
        for year in range(_year(low - _WEEK), _year(high + _WEEK) + 1):
            for month, day in self._yearly:
                if (month, day) != (2, 29) or isleap(year):
                    yield _whole(date(year, month, day))
            for country in self._countries:
                yield from _holidays_of(*country, year)

    def end(self, wall: int) -> int | None:
        """When the time off that holds ``wall`` ends; None when ``wall`` is not off."""
        for low, high in self.stretches(wall, wall + 1):
            if low <= wall < high:
                return high
        return None

    def __str__(self) -> str:
        return self.name or ", ".join(self.items)

    def __repr__(self) -> str:
        return f"<Calendar {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Calendar):
            return NotImplemented
        return (self.name, self.items) == (other.name, other.items)

    def __hash__(self) -> int:
        return hash((self.name, self.items))


def _refused(message: str, text: str) -> ScheduleError:
    return ScheduleError(message, text=text, position=0, hint=HINT)


def _canonical(item: str) -> str:
    text = " ".join(item.split()).lower()
    return "holidays:" + text[9:].upper() if text.startswith("holidays:") else text


def _year(wall: int) -> int:
    return date.fromordinal(min(max(wall // DAY + ORDINAL, 1), date.max.toordinal())).year


def _whole(day: date) -> Stretch:
    start = (day.toordinal() - ORDINAL) * DAY
    return start, start + DAY


def _day_of_year(item: str, match: re.Match[str]) -> tuple[int, int]:
    try:
        date(2000, int(match[1]), int(match[2]))
    except ValueError:
        raise _refused(f"no year has a day {item!r}", item) from None
    return int(match[1]), int(match[2])


def _dates(item: str, match: re.Match[str]) -> Stretch:
    try:
        first = date.fromisoformat(match[1])
        last = date.fromisoformat(match[2] or match[1])
    except ValueError:
        raise _refused(f"there is no day {item!r}", item) from None
    if last < first:
        raise _refused(f"{item!r} ends before it starts", item)
    return _whole(first)[0], _whole(last)[1]


def _windows(item: str, match: re.Match[str]) -> Iterator[Stretch]:
    """Weekly windows in seconds after Monday 00:00; one may reach into the next week."""
    words = {"weekdays": (0, 4), "weekday": (0, 4), "weekends": (5, 6), "weekend": (5, 6)}
    first, last = words.get(match[1], (moments.weekday(match[1]),) * 2)
    if match[2] is not None:
        last = moments.weekday(match[2])
    if first is None or last is None:
        raise _refused(f"{item[:60]!r} is not a day", item)
    begin, end = (0, 0), (DAY, 0)
    if match[3] is not None:
        times = [(DAY, 0) if t == "24:00" else moments.time_of_day(t) for t in match.groups()[2:]]
        if times[0] is None or times[1] is None or times[0] == times[1]:
            raise _refused(f"{item[:60]!r} has no such time of day", item)
        begin, end = times[0], times[1]
    for step in range((last - first) % 7 + 1):
        base = (first + step) % 7 * DAY
        yield base + begin[0], base + end[0] + (DAY if end < begin else 0)


def _merged(stretches: list[Stretch]) -> list[Stretch]:
    found: list[Stretch] = []
    for low, high in sorted(stretches):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def _holidays_of(country: str, subdivision: str | None, year: int) -> list[Stretch]:
    return [_whole(day) for day in _holidays(country, subdivision).days(year)]


class _Holidays:
    """The public holidays of one place, by year."""

    __slots__ = ("_made", "_years")

    def __init__(self, country: str, subdivision: str | None) -> None:
        try:
            import holidays  # noqa: PLC0415  # an extra
        except ImportError:
            raise ScheduleError(
                f"'holidays:{country}' needs the extra 'holidays'",
                text=f"holidays:{country}",
                hint="install acron with the extra 'holidays'",
            ) from None
        try:
            self._made = holidays.country_holidays(country, subdiv=subdivision)
        except NotImplementedError:
            try:
                self._made = holidays.financial_holidays(country)
            except NotImplementedError:
                name = country if subdivision is None else f"{country}-{subdivision}"
                raise _refused(f"no holidays are known for {name!r}", f"holidays:{name}") from None
        self._years: dict[int, tuple[date, ...]] = {}

    def days(self, year: int) -> tuple[date, ...]:
        """The holidays of a year, in order."""
        found = self._years.get(year)
        if found is None:
            # Asking for a day makes the package work out its year.
            self._made.get(date(year, 1, 1))
            found = self._years[year] = tuple(sorted(d for d in self._made if d.year == year))
        return found


@lru_cache(maxsize=256)
def _holidays(country: str, subdivision: str | None) -> _Holidays:
    return _Holidays(country, subdivision)
