"""Wall clocks: zones by name, their offsets and their changes, in whole seconds.

Instants are integers here: seconds since 1970-01-01T00:00Z. A *wall* number counts the same
way, as if the wall clock's reading were UTC; so wall = instant + offset.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400
#: The ordinal of the ``date`` 1970-01-01.
ORDINAL = 719_163
#: The first and the last second that have a ``datetime``.
MIN = -62_135_596_800
MAX = 253_402_300_799

#: A zone is surveyed in pieces of 2**24 seconds (194 days).
_PIECE = 24
#: Seconds between the probes of a survey: no zone has ever changed its clock twice in so short a
#: time (a test holds tzdata to it; the shortest was Freetown's four days in 1939).
_PROBE = 3 * DAY
#: Abbreviations of zones have at most so many letters; several zones share one.
_ABBREVIATED = 5
#: Windows (see ``Zone.windows``) are kept by pieces of 2**22 seconds (48 days).
WINDOW = 22


def seconds(at: datetime) -> int:
    """Whole seconds since the epoch, rounded down; any zone, ``fold`` respected."""
    delta = at - EPOCH
    return delta.days * DAY + delta.seconds


def instant(at: int) -> datetime:
    """The aware UTC datetime of ``at`` seconds since the epoch."""
    return EPOCH + timedelta(0, at)


class Segment(NamedTuple):
    """Instants ``[start, end)`` with one offset. ``before`` and ``after`` are the offsets on its
    other sides: equal to ``offset`` where a segment only ends because a survey did."""

    start: int
    end: int
    offset: int
    before: int
    after: int


class Zone:
    """An IANA zone as segments of constant offset, found piece by piece and kept."""

    __slots__ = ("_fixed", "_pieces", "info", "name", "windows")

    def __init__(self, name: str, info: ZoneInfo) -> None:
        self.name = name
        self.info = info
        self._pieces: dict[int, tuple[Segment, ...]] = {}
        fixed = info.utcoffset(None)
        self._fixed = None if fixed is None else int(fixed.total_seconds())
        #: By fold rule and ``at >> WINDOW``: ``(low, high, offset)``, a stretch of instants in
        #: which readings and instants are one to one. Filled by ``wall``.
        self.windows: dict[str, dict[int, tuple[int, int, int]]] = {
            "first": {},
            "last": {},
            "both": {},
        }

    def offset(self, at: int) -> int:
        """Seconds that the wall clock is ahead of UTC at the instant ``at``."""
        if self._fixed is not None:
            return self._fixed
        # A day is left free at either end, where local readings have no datetime.
        at = min(max(at, MIN + DAY), MAX - DAY)
        shift = (EPOCH + timedelta(0, at)).astimezone(self.info).utcoffset()
        assert shift is not None  # noqa: S101  # an aware datetime has one
        return shift.days * DAY + shift.seconds

    def segment(self, at: int) -> Segment:
        """The segment that holds the instant ``at``."""
        if self._fixed is not None:
            return Segment(MIN, MAX + 1, self._fixed, self._fixed, self._fixed)
        piece = self._pieces.get(at >> _PIECE) or self._survey(at >> _PIECE)
        for segment in piece:
            if at < segment.end:
                return segment
        return piece[-1]

    def changes(self, start: int, end: int) -> list[Segment]:
        """The segments that begin in ``[start, end)`` with another offset than before."""
        found, segment = [], self.segment(start)
        while segment.start < end:
            if segment.start >= start and segment.before != segment.offset:
                found.append(segment)
            if segment.end > MAX:
                break
            segment = self.segment(segment.end)
        return found

    def _survey(self, index: int) -> tuple[Segment, ...]:
        """Find the changes in a piece: probe it, and halve the stretches whose ends differ."""
        start = max(index << _PIECE, MIN)
        end = min((index + 1) << _PIECE, MAX + 1)
        begins, offsets = [start], [self.offset(start)]
        low, before = start, offsets[0]
        while low < end:
            high = min(low + _PROBE, end)
            if self.offset(high) == before:
                low = high
                continue
            while high - low > 1:
                middle = (low + high) // 2
                if self.offset(middle) == before:
                    low = middle
                else:
                    high = middle
            low, before = high, self.offset(high)
            if high < end:
                begins.append(high)
                offsets.append(before)
        around = [self.offset(start - 1), *offsets, before]
        begins.append(end)
        found = tuple(
            Segment(begins[i], begins[i + 1], around[i + 1], around[i], around[i + 2])
            for i in range(len(offsets))
        )
        self._pieces[index] = found
        return found

    def __repr__(self) -> str:
        return f"Zone({self.name!r})"


@lru_cache(maxsize=1024)
def zone(name: str) -> Zone:
    """The zone called ``name``, in any letter case. Raises LookupError for an unknown one."""
    try:
        return Zone(name, ZoneInfo(name))
    except (LookupError, ValueError, OSError):
        proper = _by_folded_name().get(name.casefold())
        if proper is None or proper == name:
            raise LookupError(name) from None
        return zone(proper)


@lru_cache(maxsize=1)
def _by_folded_name() -> dict[str, str]:
    return {name.casefold(): name for name in available_timezones()}


def forget() -> None:
    """Look zones up anew. Those in use keep the rules that they have."""
    ZoneInfo.clear_cache()
    zone.cache_clear()
    _by_folded_name.cache_clear()


def hint(name: str) -> str:
    """What may have been meant by ``name``, which is no zone: ``did you mean 'Europe/Paris'?``"""
    from difflib import get_close_matches  # noqa: PLC0415  # only for an error message

    names, folded = _by_folded_name(), name.casefold()[:60]
    near = [key for key in names if key.rpartition("/")[2] == folded]
    if not near and len(folded) > _ABBREVIATED:  # CEST is like EST, and far from it
        near = get_close_matches(folded, names, n=1, cutoff=0.6)
    return f"did you mean {names[near[0]]!r}?" if near else "name a place, as in 'Europe/Paris'"


def resolve(place: Zone, wall: int, fold: str = "first") -> tuple[int, bool]:
    """The instant at which ``place`` reads ``wall``, and whether it reads it at all.

    A reading that is skipped gives the first valid instant after the gap and False; one that
    comes twice gives the ``fold`` ("first" or "last") of its instants.
    """
    before, after = place.offset(wall - DAY), place.offset(wall + DAY)
    found = [at for at in (wall - before, wall - after) if at + place.offset(at) == wall]
    if found:
        return (max(found) if fold == "last" else min(found)), True
    return place.segment(wall - before).start, False
