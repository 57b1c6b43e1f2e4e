"""What a forecast tells. Instants are in UTC."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 (msgspec reads the annotations)
from typing import Literal

from msgspec import Struct

Counted = Literal["exact", "hourly", "spread"]
Idle = Literal["paused", "completed", "error", "at start", "not in these days"]


class Day(Struct, frozen=True, kw_only=True):
    """Fires of one day by hour of the wall clock. None: the day has no such hour, or it lies
    before the window. ``length`` is the hours of the whole day: 23 or 25 when clocks change."""

    date: date
    hours: tuple[int | None, ...]
    length: float = 24.0

    @property
    def fires(self) -> int:
        return sum(filter(None, self.hours))


class Load(Struct, frozen=True, kw_only=True):
    """How often a job fires in the window. The number is exact; ``counted`` is how its place in
    the hours was found."""

    id: str
    schedule: str
    fires: int
    counted: Counted = "exact"
    parked: bool = False


class Resting(Struct, frozen=True, kw_only=True):
    """A job that does not fire in the window, and why. ``next`` is when it will."""

    id: str
    schedule: str
    state: Idle
    reason: str = ""
    next: datetime | None = None


class Peak(Struct, frozen=True, kw_only=True):
    """The busiest hour, or minute: when it begins (UTC), and how many fires it has."""

    at: datetime
    fires: int


class Collision(Struct, frozen=True, kw_only=True):
    """``jobs`` that fire in the same minute: ``times`` times, first at ``at`` (UTC)."""

    at: datetime
    jobs: tuple[str, ...]
    times: int
    hint: str


class Effect(Struct, frozen=True, kw_only=True):
    """What a change of the clock does to ``jobs``."""

    jobs: tuple[str, ...]
    says: str


class Change(Struct, frozen=True, kw_only=True):
    """A change of the clock of ``zone`` at ``at`` (UTC). ``untouched`` counts the other jobs of
    the zone, ``untold`` those for which no sentence was made."""

    at: datetime
    zone: str
    says: str
    effects: tuple[Effect, ...] = ()
    untouched: int = 0
    untold: int = 0


class Forecast(Struct, frozen=True, kw_only=True):
    """The window ``[start, until)``, in UTC, whose days are those of ``tz``; and what jobs do in
    it. ``steady`` are the jobs too frequent to be told as collisions."""

    start: datetime
    until: datetime
    tz: str
    fires: int
    days: tuple[Day, ...]
    jobs: tuple[Load, ...]
    resting: tuple[Resting, ...]
    busiest_hour: Peak | None = None
    busiest_minute: Peak | None = None
    collisions: tuple[Collision, ...] = ()
    steady: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
