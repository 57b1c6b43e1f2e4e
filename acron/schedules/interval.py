"""``every 2h``: elapsed time on a lattice that never drifts."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from acron.schedules import durations, moments
from acron.schedules.base import Schedule
from acron.schedules.zones import EPOCH

if TYPE_CHECKING:
    from acron.schedules.source import Source

EXAMPLES = ("every 30s", "every 2h", "every 1h30m")

_MICRO = timedelta(microseconds=1)
_TEXT = re.compile(r"@?every\s+(.+?)(?:\s+from\s+(.+))?", re.DOTALL)


class Interval(Schedule):
    """Every ``period`` of elapsed time, on the lattice ``anchor + k * period``, k = 1, 2, …

    The anchor is kept to the microsecond, so the first instant is exactly one period after it.
    Whatever changes the wall clock (DST) does not move an interval.
    """

    __slots__ = ("_anchor", "_period", "_step")

    def __init__(self, period: timedelta, anchor: datetime) -> None:
        self._step = period
        self._period = period // _MICRO
        self._anchor = _microseconds(anchor)
        if self._period <= 0:
            msg = f"a period must be longer than zero, not {period}"
            raise ValueError(msg)

    @property
    def period(self) -> timedelta:
        """The time from one instant to the next."""
        return self._step

    @property
    def anchor(self) -> datetime:
        """Where the lattice begins: one period before the first instant."""
        return EPOCH + timedelta(microseconds=self._anchor)

    def anchored(self, anchor: datetime) -> Interval:
        """The same period counted from another moment, such as the end of the last run."""
        return Interval(self.period, anchor)

    def next_after(self, instant: datetime) -> datetime | None:
        steps, beyond = divmod(_microseconds(instant) - self._anchor, self._period)
        if not beyond and steps >= 0 and instant.tzinfo is UTC:  # from one instant to the next
            try:
                return instant + self._step
            except OverflowError:
                return None
        return self._at(max(steps, 0) + 1)

    def last_at(self, instant: datetime) -> datetime | None:
        steps = (_microseconds(instant) - self._anchor) // self._period
        return self._at(steps) if steps > 0 else None

    def count(self, after: datetime, until: datetime) -> int:
        first = max((_microseconds(after) - self._anchor) // self._period, 0)
        last = max((_microseconds(until) - self._anchor) // self._period, 0)
        return max(last - first, 0)

    def _at(self, steps: int) -> datetime | None:
        try:
            return EPOCH + timedelta(microseconds=self._anchor + steps * self._period)
        except OverflowError:
            return None

    def describe(self) -> str:
        return f"every {durations.words(self._period)}, counted from {moments.words(self.anchor)}"

    def __str__(self) -> str:
        return f"every {durations.spell(self._period)} from {moments.spell(self.anchor)}"

    def __repr__(self) -> str:
        return f"<Interval {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Interval):
            return NotImplemented
        return (self._period, self._anchor) == (other._period, other._anchor)

    def __hash__(self) -> int:
        return hash((self._period, self._anchor))


def _microseconds(instant: datetime) -> int:
    """Since the epoch; a tenth of what dividing timedeltas costs."""
    since = instant - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def parse(source: Source) -> Schedule | None:
    """``every <length> [from <moment>]``, or None for other texts."""
    lowered = source.text.lower()
    if not lowered.startswith(("every", "@every")):
        return None
    match = _TEXT.fullmatch(lowered)
    if match is None:
        return None
    found = durations.microseconds(_with_one(match[1]))
    if found is None:
        return None
    length, units = found
    if units & {"d", "w"}:
        raise source.error(
            f"at what time of day is {source.text!r}?",
            "write 'every day at 9am', 'every 2 weeks on friday at 16:00', "
            f"or 'every {durations.spell(length)}' for elapsed time",
            at=match.start(1),
        )
    if not 0 < length <= durations.MAX_MICROSECONDS:
        raise source.error(
            "an interval must be longer than zero and shorter than 10,000 years",
            f"write {EXAMPLES[0]!r}",
            at=match.start(1),
        )
    anchor = source.now
    if match[2] is not None:
        start = moments.parse(source.part(match.start(2), match.end(2)))
        if start is None:
            raise source.error(
                f"{match[2]!r} is not a moment",
                "write 'every 2h from 2026-12-01T09:00Z'",
                at=match.start(2),
            )
        anchor = start.at
    return Interval(timedelta(microseconds=length), anchor.astimezone(UTC))


def _with_one(words: str) -> str:
    """``hour`` alone is one hour; ``other`` is two."""
    words = re.sub(r"^other\b", "2", words)
    return words if words[:1].isdigit() or words[:1] == "p" else f"1 {words}"
