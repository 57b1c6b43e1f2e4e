"""What a schedule is: a pure value that turns text into instants."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from acron.schedules.calendars import Calendar


class Schedule(ABC):
    """When something is due. Immutable, hashable, compared by value; knows no clock and no I/O.

    All instants are aware ``datetime`` in UTC, in and out. An implementer gives ``next_after``,
    ``last_at``, ``count``, ``__str__``, ``describe``, ``__eq__`` and ``__hash__``.
    """

    __slots__ = ()

    #: False for what fires at most once (a delay, a moment, ``@reboot``).
    recurring: bool = True
    #: True for ``@reboot``, which has no instant of its own: it is due when acron starts.
    on_start: bool = False

    @abstractmethod
    def next_after(self, instant: datetime) -> datetime | None:
        """The first instant strictly later than ``instant``, or None when there is none."""

    @abstractmethod
    def last_at(self, instant: datetime) -> datetime | None:
        """The newest instant not after ``instant``, or None when there is none."""

    @abstractmethod
    def count(self, after: datetime, until: datetime) -> int:
        """How many instants lie in ``(after, until]``; costs no more for a long span."""

    @abstractmethod
    def describe(self) -> str:
        """A plain English sentence fragment, as in "at 09:00 on weekdays (Europe/Paris)"."""

    @abstractmethod
    def __str__(self) -> str:
        """The canonical text: parsing it gives an equal value."""

    def iterate(self, after: datetime) -> Iterator[datetime]:
        """All instants strictly later than ``after``, in order."""
        instant = self.next_after(after)
        while instant is not None:
            yield instant
            instant = self.next_after(instant)

    def upcoming(self, start: datetime, count: int) -> list[datetime]:
        """At most ``count`` instants strictly later than ``start``."""
        return list(islice(self.iterate(start), count))

    def except_(self, *calendars: Calendar, tz: str = "UTC") -> Schedule:
        """The schedule without the times off of ``calendars``, read in its own zone, or in
        ``tz`` when it has none."""
        from acron.schedules.combine import without  # noqa: PLC0415  # combine builds on base

        return without(self, calendars, tz)
