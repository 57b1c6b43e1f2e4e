"""What a wall clock says, by a walk over its minutes, and what an interval comes to: slow and
plain, and not by acron's own schedules, which the simulation is to judge."""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_QUARTERS = 24 * 4
#: Days that are looked through for the next instant.
_FAR = 3


@lru_cache(maxsize=4096)
def instants(text: str, tz: str, day: date) -> tuple[datetime, ...] | None:
    """Those of ``text``, a cron of minute and hour, in that day of UTC; None where it is no such.

    With a star in the hour it follows the clock. Else it fires once a day: in an hour that comes
    twice the first time, and what is in an hour that is not there at its end.
    """
    fields = text.split()
    if len(fields) != 5 or fields[2:] != ["*", "*", "*"]:
        return None
    minutes, hours = _numbers(fields[0], 60), _numbers(fields[1], 24)
    follows = "*" in fields[0] + fields[1]
    zone = ZoneInfo(tz)
    found: list[datetime] = []
    start = datetime.combine(day, time(), UTC)
    before = (start - _MINUTE).astimezone(zone)
    for quarter in range(_QUARTERS):  # in the middle of one no clock is changed
        at = start + quarter * 15 * _MINUTE
        local = at.astimezone(zone)
        leapt = [] if follows else _left_out(before, local)
        if any(one.minute in minutes and one.hour in hours for one in leapt):
            found.append(at)
        if local.hour in hours and (follows or not local.fold):
            wanted = [at + n * _MINUTE for n in range(15) if local.minute + n in minutes]
            found += [one for one in wanted if found[-1:] != [one]]
        before = local + 14 * _MINUTE
    return tuple(found)


def is_instant(text: str, tz: str, at: datetime) -> bool:
    """Whether a cron that `instants` knows fires then."""
    return at in (instants(text, tz, at.date()) or ())


def is_counted_out(text: str, bound: str, tz: str, at: datetime) -> bool:
    """Whether the interval ``text`` comes to that instant; ``bound`` is what it counts from, too.
    A delay comes once. Also where it is neither."""
    found = _INTERVAL.search(bound)
    if found is None:
        return not text.startswith("in ") or at == datetime.fromisoformat(bound)
    hours, minutes, seconds, anchor = found.groups()
    period = timedelta(hours=int(hours or 0), minutes=int(minutes or 0), seconds=int(seconds or 0))
    since = at - datetime.fromisoformat(anchor)
    left_out = text.partition(" except ")[2]
    off = left_out == f"{at.astimezone(ZoneInfo(tz)):%Y-%m-%d}"
    return since >= period and not since % period and not off


_INTERVAL = re.compile(r"every (?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)? from (\S+)")


def next_after(text: str, tz: str, base: datetime) -> datetime | None:
    """The first instant later than ``base``; None when it is far away."""
    for days in range(_FAR):
        found = instants(text, tz, base.date() + days * _DAY) or ()
        if (place := bisect_right(found, base)) < len(found):
            return found[place]
    return None


def is_strange(tz: str, at: datetime) -> bool:
    """Whether the clocks of ``tz`` change within two hours of it."""
    zone, near = ZoneInfo(tz), timedelta(hours=2)
    return (at - near).astimezone(zone).utcoffset() != (at + near).astimezone(zone).utcoffset()


def _numbers(field: str, end: int) -> frozenset[int]:
    star, _, step = field.partition("/")
    return frozenset(range(0, end, int(step or 1)) if star == "*" else (int(field),))


def _left_out(before: datetime, local: datetime) -> list[datetime]:
    """The minutes that the clock leapt over from one minute to the next."""
    if local.utcoffset() == before.utcoffset():
        return []
    start = before.replace(tzinfo=None)
    leap = local.replace(tzinfo=None) - start
    return [start + n * _MINUTE for n in range(1, max(int(leap / _MINUTE), 1))]
