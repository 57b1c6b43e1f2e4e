"""Schedules made of schedules: unions, exclusions, bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING

from acron.errors import ScheduleError
from acron.schedules import moments
from acron.schedules.base import Schedule
from acron.schedules.calendars import Calendar
from acron.schedules.interval import Interval
from acron.schedules.zones import EPOCH, MIN, seconds, zone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MICRO = timedelta(microseconds=1)
#: After so many times off in a row without an instant between them, there is none at all.
_PATIENCE = 1_000


class Bounded(Schedule):
    """``inner`` without the instants before ``start`` or after ``until`` (both may happen)."""

    __slots__ = ("inner", "on_start", "recurring", "start", "until")

    def __init__(self, inner: Schedule, start: datetime | None, until: datetime | None) -> None:
        self.inner = inner
        self.start = start
        self.until = until
        self.recurring = inner.recurring
        self.on_start: bool = inner.on_start

    def next_after(self, instant: datetime) -> datetime | None:
        if self.start is not None and instant < self.start:
            instant = _before(seconds(self.start), self.start.microsecond)
        found = self.inner.next_after(instant)
        return None if found is None or (self.until and found > self.until) else found

    def last_at(self, instant: datetime) -> datetime | None:
        found = self.inner.last_at(min(instant, self.until) if self.until else instant)
        return None if found is None or (self.start and found < self.start) else found

    def count(self, after: datetime, until: datetime) -> int:
        if self.start is not None:
            after = max(after, _before(seconds(self.start), self.start.microsecond))
        if self.until is not None:
            until = min(until, self.until)
        return self.inner.count(after, until) if after < until else 0

    def describe(self) -> str:
        said = self.inner.describe()
        if self.start is not None:
            said += f", from {moments.words(self.start)}"
        return said if self.until is None else f"{said}, until {moments.words(self.until)}"

    def __str__(self) -> str:
        text = grouped(self.inner)
        if self.start is not None:
            text += f" starting {moments.spell(self.start)}"
        return text if self.until is None else f"{text} until {moments.spell(self.until)}"

    def __repr__(self) -> str:
        return f"<Bounded {self}>"

    def _key(self) -> tuple[object, ...]:
        return self.inner, self.start, self.until

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Bounded) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


class Union(Schedule):
    """All instants of several schedules; those that coincide are one."""

    __slots__ = ("members", "on_start", "recurring")

    members: tuple[Schedule, ...]

    def __init__(self, members: Iterable[Schedule]) -> None:
        flat: dict[Schedule, None] = {}
        for member in members:
            flat |= dict.fromkeys(member.members if isinstance(member, Union) else [member])
        self.members = tuple(flat)
        self.recurring = any(member.recurring for member in self.members)
        #: Whether a member is ``@reboot``.
        self.on_start = any(member.on_start for member in self.members)

    def next_after(self, instant: datetime) -> datetime | None:
        found = [member.next_after(instant) for member in self.members]
        return min((at for at in found if at is not None), default=None)

    def last_at(self, instant: datetime) -> datetime | None:
        found = [member.last_at(instant) for member in self.members]
        return max((at for at in found if at is not None), default=None)

    def count(self, after: datetime, until: datetime) -> int:
        """Costs as much as the instants of all members but the densest: each of them is looked
        up in the others."""
        if after >= until:
            return 0
        sizes = {member: member.count(after, until) for member in self.members}
        densest, *others = sorted(self.members, key=sizes.__getitem__, reverse=True)
        total, seen = sizes[densest], [densest]
        for member in others:
            for at in takewhile(lambda at: at <= until, member.iterate(after)):
                total += all(one.last_at(at) != at for one in seen)
            seen.append(member)
        return total

    def describe(self) -> str:
        return ", and ".join(member.describe() for member in self.members)

    def __str__(self) -> str:
        return " | ".join(map(str, self.members))

    def __repr__(self) -> str:
        return f"<Union {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Union):
            return NotImplemented
        return frozenset(self.members) == frozenset(other.members)

    def __hash__(self) -> int:
        return hash(frozenset(self.members))


class Except(Schedule):
    """``inner`` without the instants that fall into the times off of ``calendars``, read by the
    wall clock of the zone called ``zone``."""

    __slots__ = ("_place", "calendars", "inner", "on_start", "recurring", "zone")

    def __init__(self, inner: Schedule, calendars: Iterable[Calendar], zone_name: str) -> None:
        given = dict.fromkeys(calendars)
        named = [calendar for calendar in given if calendar.name is not None]
        items = dict.fromkeys(
            i for calendar in given if calendar.name is None for i in calendar.items
        )
        self.calendars = (*named, Calendar(items)) if items else tuple(named)
        self.inner = inner
        self.zone = zone_name
        self.recurring = inner.recurring
        self.on_start: bool = inner.on_start
        self._place = zone(zone_name)

    def next_after(self, instant: datetime) -> datetime | None:
        found = self.inner.next_after(instant)
        for _ in range(_PATIENCE):
            if found is None:
                return None
            stretch = self._off(found)
            if stretch is None:
                return found
            found = self.inner.next_after(_before(stretch[1]))
        return None

    def last_at(self, instant: datetime) -> datetime | None:
        found = self.inner.last_at(instant)
        for _ in range(_PATIENCE):
            if found is None:
                return None
            stretch = self._off(found)
            if stretch is None:
                return found
            found = self.inner.last_at(_before(stretch[0]))
        return None

    def count(self, after: datetime, until: datetime) -> int:
        """Costs as much as the times off between the two moments."""
        if after >= until:
            return 0
        total = self.inner.count(after, until)
        first, last = self.inner.next_after(after), self.inner.last_at(until)
        if total == 0 or first is None or last is None:
            return 0
        after, until = _before(seconds(first), first.microsecond), last
        for low, high in self._stretches(seconds(after), seconds(until) + 1):
            begin, end = max(_before(low), after), min(_before(high), until)
            total -= self.inner.count(begin, end) if begin < end else 0
        return total

    def _off(self, at: datetime) -> tuple[int, int] | None:
        """The instants ``[low, high)`` of the time off that holds ``at``."""
        second = seconds(at)
        return next(self._stretches(second, second + 1), None)

    def _stretches(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """The times off that meet ``[low, high)``, as instants, cut where the clock changes."""
        while low < high:
            start, end, offset, _, _ = self._place.segment(low)
            first, past = low + offset, min(end, high) + offset
            met = [s for calendar in self.calendars for s in calendar.stretches(first, past)]
            reached = start
            for a, b in sorted(met):
                begin, stop = max(a - offset, reached), min(b - offset, end)
                if begin < stop:
                    yield begin, stop
                    reached = stop
            low = end

    def describe(self) -> str:
        return f"{self.inner.describe()}, except {', '.join(map(str, self.calendars))}"

    def __str__(self) -> str:
        text, prefix = grouped(self.inner), f"CRON_TZ={self.zone} "
        own = prefix if not text.startswith(prefix) else ""
        if own and text.startswith("CRON_TZ="):
            text = f"({text})"
        return f"{own}{text} except {', '.join(map(str, self.calendars))}"

    def __repr__(self) -> str:
        return f"<Except {self}>"

    def _key(self) -> tuple[object, ...]:
        return self.inner, self.calendars, self.zone

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Except) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


def _before(second: int, microsecond: int = 0) -> datetime:
    """The moment just before another, or the first of all."""
    length = timedelta(0, second, microsecond - 1)
    return EPOCH + max(length, timedelta(0, MIN))


def grouped(schedule: Schedule) -> str:
    """The text of ``schedule`` as a part of a longer one."""
    return f"({schedule})" if isinstance(schedule, Union) else str(schedule)


def zone_of(schedule: Schedule) -> str | None:
    """The zone by whose clock ``schedule`` reads, or None when it reads none."""
    own = getattr(schedule, "zone", None)
    if isinstance(own, str):
        return own
    if isinstance(schedule, Bounded):
        return zone_of(schedule.inner)
    members = schedule.members if isinstance(schedule, Union) else ()
    return next((name for name in map(zone_of, members) if name is not None), None)


def bounded(schedule: Schedule, start: datetime | None, until: datetime | None) -> Schedule:
    """``schedule`` within ``[start, until]``. An interval is moved: it first fires at ``start``.

    Raises ScheduleError when ``until`` is before ``start``.
    """
    start = None if start is None else start.astimezone(UTC)
    until = None if until is None else until.astimezone(UTC)
    if isinstance(schedule, Bounded):
        start = max(filter(None, (start, schedule.start)), default=None)
        until = min(filter(None, (until, schedule.until)), default=None)
        schedule = schedule.inner
    if start is not None and until is not None and until < start:
        raise ScheduleError(
            f"it ends at {moments.spell(until)}, before it starts at {moments.spell(start)}",
            text=str(schedule),
            hint="give an end that is not before the start",
        )
    if start is not None and isinstance(schedule, Interval):
        schedule, start = schedule.anchored(start - schedule.period), None
    return schedule if start is None and until is None else Bounded(schedule, start, until)


def any_of(*schedules: Schedule) -> Schedule:
    """Whenever any of ``schedules`` is due. Raises ValueError for none at all."""
    if not schedules:
        msg = "any_of() needs at least one schedule"
        raise ValueError(msg)
    union = Union(schedules)
    return union if len(union.members) > 1 else union.members[0]


def without(schedule: Schedule, calendars: Iterable[Calendar], tz: str) -> Schedule:
    """``schedule`` except the times off of ``calendars``. They are read in the schedule's own
    zone, or in ``tz`` when it has none."""
    calendars = tuple(calendars)
    if not calendars:
        return schedule
    name = zone_of(schedule) or tz
    if isinstance(schedule, Except):
        return Except(schedule.inner, (*schedule.calendars, *calendars), name)
    return Except(schedule, calendars, name)
