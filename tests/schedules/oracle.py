"""Another way to the same instants: croniter expands, and every minute is walked.

Nothing of acron is used here: wall clocks come from ``zoneinfo``, fields from croniter.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from croniter import croniter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MINUTE = timedelta(minutes=1)
Fold = Literal["first", "last", "both"]


def matcher(expression: str) -> Callable[[datetime], bool]:
    """Whether a naive wall time matches five plain fields (with ``L`` as a day)."""
    fields: list[list[Any]] = croniter.expand(expression)[0]
    minutes, hours, days, months, weekdays = (set(field) for field in fields)

    def inside(value: int, field: set[Any]) -> bool:
        return "*" in field or value in field

    def day(read: datetime) -> bool:
        by_month = inside(read.day, days) or (
            "l" in days and read.day == monthrange(read.year, read.month)[1]
        )
        by_week = inside(read.isoweekday() % 7, weekdays)
        if "*" in days or "*" in weekdays:
            return by_month and by_week
        return by_month or by_week

    return lambda read: (
        inside(read.minute, minutes)
        and inside(read.hour, hours)
        and inside(read.month, months)
        and day(read)
    )


def default_rules(expression: str) -> tuple[bool, Fold]:
    """The cronie rule: what starts with * follows the clock."""
    minute, hour = expression.split()[:2]
    return (False, "both") if minute[0] == "*" or hour[0] == "*" else (True, "first")


class Walk:
    """All minutes of ``[start, end)`` in one zone, walked once; ``instants`` filters them.

    What the clock skips before ``start``, and what it repeats from before, is not known here, so
    both ends must be quiet.
    """

    def __init__(self, zone: str, start: datetime, end: datetime) -> None:
        info = ZoneInfo(zone)
        self.start, self.end = start, end
        self.shown: dict[datetime, list[datetime]] = {}
        self.skipped: list[tuple[datetime, datetime]] = []
        at, before = start, None
        while at < end:
            read = at.astimezone(info).replace(tzinfo=None, fold=0)
            if before is not None:
                gone = before + MINUTE
                while gone < read:
                    self.skipped.append((gone, at))
                    gone += MINUTE
            self.shown.setdefault(read, []).append(at)
            before, at = read, at + MINUTE

    def instants(
        self, matches: Callable[[datetime], bool], rules: tuple[bool, Fold]
    ) -> list[datetime]:
        shift, fold = rules
        found: set[datetime] = set()
        for read, times in self.shown.items():
            if matches(read):
                found.update({"first": times[:1], "last": times[-1:], "both": times}[fold])
        if shift:
            found.update(then for read, then in self.skipped if matches(read))
        return sorted(found)


def changes(zone: str, start: datetime, end: datetime) -> Iterable[datetime]:
    """The first minutes after each change of the clock, found hour by hour, then by halves."""
    info = ZoneInfo(zone)

    def offset(at: datetime) -> timedelta | None:
        return at.astimezone(info).utcoffset()

    at = start
    while at < end:
        low, high = at, at + timedelta(hours=12)
        if offset(low) != offset(high):
            while high - low > MINUTE:
                middle = low + (high - low) // 2
                middle -= timedelta(seconds=middle.second, microseconds=middle.microsecond)
                if offset(middle) == offset(low):
                    low = middle
                else:
                    high = middle
            yield high
        at += timedelta(hours=12)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
