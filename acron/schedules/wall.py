"""Schedules that follow a wall clock: from readings to instants, across changes of the clock.

A kind of schedule says which *readings* match (three functions on wall numbers, see ``zones``);
this module says when the clock of a zone shows them. A reading that the clock skips happens at
the first instant after the gap (``gap="shift"``) or not at all ("skip"); one that comes twice
happens the "first" time, the "last", or "both". The defaults are those of cronie.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING

from acron.schedules.base import Schedule
from acron.schedules.zones import DAY, EPOCH, MAX, MIN, WINDOW, instant, seconds

if TYPE_CHECKING:
    from datetime import datetime

    from acron.schedules.source import Fold, Gap
    from acron.schedules.zones import Segment, Zone

#: Offsets of one zone differ by less than this, and no change of the clock is larger.
SLACK = 2 * DAY


class WallClock(Schedule):
    """Base of the kinds that follow the clock of ``zone``. ``gap`` and ``fold`` are what was
    asked for, None where the default holds: shift and first, or skip and both for a schedule
    that ``follows`` the clock (the wildcard rule)."""

    __slots__ = ("_fold", "_shift", "_totals", "_windows", "fold", "gap", "place")

    def __init__(self, place: Zone, gap: Gap | None, fold: Fold | None, follows: bool) -> None:  # noqa: FBT001
        self.place = place
        self.gap = gap
        self.fold = fold
        self._shift = gap == "shift" if gap else not follows
        self._fold: Fold = fold or ("both" if follows else "first")
        self._windows = place.windows[self._fold]
        self._totals: dict[int, int] | None = None

    @property
    def zone(self) -> str:
        """The name of the zone whose clock is followed."""
        return self.place.name

    @property
    def rules(self) -> tuple[Gap, Fold]:
        """The gap and fold rule in force."""
        return ("shift" if self._shift else "skip"), self._fold

    @abstractmethod
    def after(self, wall: int) -> int | None:
        """The first matching reading strictly later than ``wall``."""

    @abstractmethod
    def until(self, wall: int) -> int | None:
        """The last matching reading not after ``wall``."""

    @abstractmethod
    def between(self, low: int, high: int) -> int:
        """How many matching readings lie in ``[low, high)``."""

    def prefix(self) -> str:
        """Zone and rules as canonical text prints them."""
        gap = f"GAP={self.gap} " if self.gap else ""
        fold = f"FOLD={self.fold} " if self.fold else ""
        return f"CRON_TZ={self.place.name} {gap}{fold}"

    def next_after(self, instant: datetime) -> datetime | None:
        since = instant - EPOCH
        at = since.days * 86_400 + since.seconds
        window = self._windows.get(at >> WINDOW)
        if window is not None:
            low, high, offset = window
            if low <= at < high:
                wall = self.after(at + offset)
                if wall is not None and wall - offset < high:
                    return EPOCH + timedelta(0, wall - offset)
        later = self._search(max(at, MIN - 1))
        return None if later is None else EPOCH + timedelta(0, later)

    def _search(self, at: int) -> int | None:
        """The first instant later than ``at``, segment by segment."""
        segment = self.place.segment(at)
        while True:
            low, high = self._window(segment)
            if low <= at < high:
                self._windows[at >> WINDOW] = (low, high, segment.offset)
            base = max(at, low - 1)
            wall = self.after(base + segment.offset)
            if wall is not None and (found := wall - segment.offset) < high:
                self._windows.setdefault(found >> WINDOW, (low, high, segment.offset))
                return found
            start = segment.end
            if start - base > SLACK:
                # Readings up to ``wall`` do not match, in later segments either.
                if wall is None:
                    return None
                start = max(start, wall - segment.offset - SLACK)
            if start > MAX:
                return None
            segment = self.place.segment(start)
            if start == segment.start and self.lands(segment):
                return start
            at = start - 1

    def last_at(self, instant: datetime) -> datetime | None:
        found = self._search_back(seconds(instant))
        return None if found is None else EPOCH + timedelta(0, found)

    def _search_back(self, at: int) -> int | None:
        """The last instant not after ``at``, segment by segment."""
        while at >= MIN:
            segment = self.place.segment(at)
            low, high = self._window(segment)
            base = min(at, high - 1)
            wall = self.until(base + segment.offset)
            if wall is not None and wall - segment.offset >= low:
                return wall - segment.offset
            if self.lands(segment):
                return segment.start
            at = segment.start - 1
            if base - segment.start > SLACK:
                if wall is None:
                    return None
                at = min(at, wall - segment.offset + SLACK)
        return None

    def count(self, after: datetime, until: datetime) -> int:
        low, high = max(seconds(after), MIN - 1) + 1, seconds(until) + 1
        if low >= high:
            return 0
        first, last = instant(low).year, instant(min(high, MAX)).year
        if first == last:
            return self._tally(low, high)
        return (
            self._tally(low, _new_year(first + 1))
            + sum(map(self._total, range(first + 1, last)))
            + self._tally(_new_year(last), high)
        )

    def _total(self, year: int) -> int:
        """How many instants a UTC year has; kept, since misses are counted over and over."""
        if self._totals is None:
            self._totals = {}
        found = self._totals.get(year)
        if found is None:
            found = self._totals[year] = self._tally(_new_year(year), _new_year(year + 1))
        return found

    def _tally(self, low: int, high: int) -> int:
        """How many instants lie in ``[low, high)``: a closed form for each segment."""
        total = 0
        while low < high:
            segment = self.place.segment(low)
            begin, end = self._window(segment)
            first, past = max(begin, low), min(end, high)
            if first < past:
                total += self.between(first + segment.offset, past + segment.offset)
            if low == segment.start and self.lands(segment):
                wall = low + segment.offset
                total += 0 if low == first and self.between(wall, wall + 1) else 1
            low = segment.end
        return total

    def _window(self, segment: Segment) -> tuple[int, int]:
        """The instants of a segment whose readings count, by the fold rule."""
        start, end, offset, before, after = segment
        if before > offset and self._fold == "first":
            start += before - offset
        if after < offset and self._fold == "last":
            end -= offset - after
        return start, end

    def lands(self, segment: Segment) -> bool:
        """Whether a reading that was skipped just before ``segment`` happens at its start."""
        if not self._shift or segment.before >= segment.offset:
            return False
        skipped = self.after(segment.start + segment.before - 1)
        return skipped is not None and skipped < segment.start + segment.offset


def _new_year(year: int) -> int:
    return MAX + 1 if year > 9999 else seconds(EPOCH.replace(year=year))
