"""A clock that stands still until somebody moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

#: Where virtual time begins unless a test says otherwise.
START = datetime(2026, 1, 1, tzinfo=UTC)

# Not 0: programs take a time of 0.0 for "never". Whole, so that sums of whole seconds are exact.
_BASE = 1000.0
_LAST = datetime.max.replace(tzinfo=UTC)


def clock_change(zone: str, year: int, season: str) -> datetime:
    """When clocks go forward (``spring``) or back (``autumn``) in ``zone``, UTC.

    Raises ValueError where they do not, or for a zone that does not exist.
    """
    if season not in {"spring", "autumn"}:
        raise ValueError(f"spring or autumn, not {season!r}")
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"there is no zone {zone!r}") from error
    # Changes fall on whole minutes; in between, the offset is the same.
    hour = datetime(year, 1, 1, tzinfo=UTC)
    while hour.year == year:
        following = hour + timedelta(hours=1)
        moved = _offset(following, place) - _offset(hour, place)
        if moved and (moved > timedelta(0)) == (season == "spring"):
            minutes = (hour + timedelta(minutes=one) for one in range(1, 61))
            return next(one for one in minutes if _offset(one, place) != _offset(hour, place))
        hour = following
    raise ValueError(f"no clock goes {_WAYS[season]} in {zone} in {year}")


_WAYS = {"spring": "forward", "autumn": "back"}


def _offset(instant: datetime, place: ZoneInfo) -> timedelta:
    return instant.astimezone(place).utcoffset() or timedelta(0)


def aware(instant: datetime) -> datetime:
    """``instant``. Raises ValueError for one that is nowhere."""
    if instant.tzinfo is None:
        raise ValueError(
            f"{instant} may be anywhere: give it a zone, as in datetime(…, tzinfo=UTC), or in a "
            "text an offset, as in 2026-01-01T09:00+01:00"
        )
    return instant


class VirtualClock:
    """An ``acron.clock.Clock`` of its own: constant, unless moved, set or jumped.

    ``monotonic()`` is the time of the virtual loop, in seconds; ``now()`` follows it, to the
    nearest microsecond. ``end`` is the monotonic time at which the calendar ends, in the year 9999.
    """

    def __init__(self, start: datetime = START) -> None:
        self._time = _BASE
        self._now: datetime | None = None  # computed once, however often it is asked for
        self.set(start)

    def now(self) -> datetime:
        now = self._now
        if now is None:
            now = self._now = self._origin + timedelta(seconds=self._time)
        return now

    def monotonic(self) -> float:
        return self._time

    def set(self, instant: datetime) -> None:
        """Set the wall clock; monotonic time does not notice. ValueError if naive."""
        self._begin(aware(instant).astimezone(UTC) - timedelta(seconds=self._time))

    def jump(self, seconds: float) -> None:
        """Put the wall clock forward, or back; monotonic time does not notice."""
        self._begin(self._origin + timedelta(seconds=seconds))

    def _begin(self, origin: datetime) -> None:
        """``origin`` is what the wall clock said when monotonic time was 0."""
        self._origin = origin
        self._now = None
        self.end = (_LAST - origin).total_seconds() - 1.0

    def move_to(self, monotonic: float) -> None:
        """Let time pass until then. ValueError if that is in the past."""
        if monotonic < self._time:
            raise ValueError(f"time does not run back from {self._time} to {monotonic}")
        self._time = monotonic
        self._now = None
