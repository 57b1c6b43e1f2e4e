"""Which days a cron expression allows, as bit masks over blocks of days.

A day number counts from 1970-01-01. A block is 1461 days (four years) long, so that a block and
a bit are one ``divmod`` away, and the next day is a shift and the lowest bit.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from acron.schedules.zones import ORDINAL

_BLOCK = 1461
FIRST_DAY = 1 - ORDINAL
_LAST_DAY = date.max.toordinal() - ORDINAL
_LAST_BLOCK = _LAST_DAY // _BLOCK
_FIRST_BLOCK = FIRST_DAY // _BLOCK
#: One bit in every week of a month.
_WEEKS = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28

EVERY_MONTH_DAY = (1 << 32) - 2
EVERY_MONTH = (1 << 13) - 2
EVERY_WEEKDAY = 127


class DayRule(NamedTuple):
    """The day fields of an expression, as masks and sets.

    ``years`` counts from 1970; 0 is every year. ``last``: days before the end of the month (0:
    the last day). ``nearest``: days whose nearest weekday is meant (0: the last weekday of the
    month). ``nth``: (weekday, which), Sunday 0, -1 the last. ``either``: day-of-month and
    day-of-week are both given, so that either is enough. ``cycle``: (start, period, width) in
    days: of every ``period`` days the first ``width`` count, from the Monday of the week of day
    ``start`` on (from ``start`` itself when ``width`` is 1).
    """

    month_days: int = EVERY_MONTH_DAY
    months: int = EVERY_MONTH
    weekdays: int = EVERY_WEEKDAY
    years: int = 0
    last: frozenset[int] = frozenset()
    nearest: frozenset[int] = frozenset()
    nth: frozenset[tuple[int, int]] = frozenset()
    either: bool = False
    cycle: tuple[int, int, int] | None = None

    def month(self, year: int, month: int) -> int:
        """The allowed days of a month: bit 0 is the first. Assumes that the month is allowed."""
        first = (date(year, month, 1).toordinal()) % 7  # Sunday 0, as ordinal 7 was a Sunday
        length = monthrange(year, month)[1]
        whole = (1 << length) - 1
        days = self.month_days >> 1
        for back in self.last:
            if back < length:
                days |= 1 << length - 1 - back
        for day in self.nearest:
            days |= 1 << _nearest_weekday(min(day or length, length), length, first) - 1
        turned = (self.weekdays | self.weekdays << 7) >> first & 127
        weekdays = turned * _WEEKS
        for weekday, which in self.nth:
            begin = (weekday - first) % 7
            day = begin + 7 * (which - 1) if which > 0 else begin + (length - 1 - begin) // 7 * 7
            weekdays |= 1 << day
        return (days | weekdays if self.either else days & weekdays) & whole


def _nearest_weekday(day: int, length: int, first: int) -> int:
    """The Monday-to-Friday day nearest to ``day`` within the month (the W of cron)."""
    weekday = (first + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day


def _cycle(cycle: tuple[int, int, int], block: int) -> int:
    """The days of the block that begins with day ``block`` that a cycle allows."""
    start, period, width = cycle
    phase = start - (start + 3) % 7 if width == 7 else start  # day -3 was a Monday
    bits, unit = 0, (1 << width) - 1
    for day in range((phase - block) % period - period, _BLOCK, period):
        bits |= unit << day if day >= 0 else unit >> -day
    passed = start - block
    return bits & ((1 << _BLOCK) - 1) >> max(passed, 0) << max(passed, 0) if passed < _BLOCK else 0


class Days:
    """The days of a rule, found block by block and kept; one object for equal rules."""

    __slots__ = ("_ceiling", "_floor", "blocks", "every", "rule")

    def __init__(self, rule: DayRule) -> None:
        self.rule = rule
        self.every = rule == DayRule()
        self.blocks: dict[int, int] = {}
        self._floor, self._ceiling = _FIRST_BLOCK, _LAST_BLOCK
        if rule.years:
            self._floor, self._ceiling = 0, 47_482 // _BLOCK  # the years 1970 to 2099
        if rule.cycle is not None:
            self._floor = max(self._floor, rule.cycle[0] // _BLOCK)

    def block(self, index: int) -> int:
        """The mask of days ``index * 1461 …``."""
        found = self.blocks.get(index)
        if found is not None:
            return found
        rule, start = self.rule, index * _BLOCK
        first_year = date.fromordinal(max(start, FIRST_DAY) + ORDINAL).year
        last_year = date.fromordinal(min(start + _BLOCK, _LAST_DAY) + ORDINAL).year
        bits = 0
        for year in range(first_year, last_year + 1):
            if rule.years and not rule.years >> max(year - 1970, 0) & (year >= 1970):
                continue
            for month in range(1, 13):
                if rule.months >> month & 1:
                    shift = date(year, month, 1).toordinal() - ORDINAL - start
                    days = rule.month(year, month)
                    bits |= days << shift if shift >= 0 else days >> -shift
        bits &= (1 << _BLOCK) - 1
        if rule.cycle is not None:
            bits &= _cycle(rule.cycle, start)
        self.blocks[index] = bits
        return bits

    def at_or_after(self, day: int) -> int | None:
        """The first allowed day from ``day`` on."""
        if self.every:
            return day
        index, bit = divmod(day, _BLOCK)
        if index < self._floor:
            index, bit = self._floor, 0
        if index > self._ceiling:
            return None
        bits = (self.blocks.get(index) or self.block(index)) >> bit
        while not bits:
            index, bit = index + 1, 0
            if index > self._ceiling:
                return None
            bits = self.block(index)
        return index * _BLOCK + bit + (bits & -bits).bit_length() - 1

    def at_or_before(self, day: int) -> int | None:
        """The last allowed day up to ``day``."""
        if self.every:
            return day
        index, bit = divmod(day, _BLOCK)
        if index > self._ceiling:
            index, bit = self._ceiling, _BLOCK - 1
        if index < self._floor:
            return None
        bits = self.block(index) & ((2 << bit) - 1)
        while not bits:
            index -= 1
            if index < self._floor:
                return None
            bits = self.block(index)
        return index * _BLOCK + bits.bit_length() - 1

    def between(self, low: int, high: int) -> int:
        """How many days of ``[low, high)`` are allowed."""
        if low >= high:
            return 0
        if self.every:
            return high - low
        first, begin = divmod(low, _BLOCK)
        last, end = divmod(high, _BLOCK)
        total = -(self.block(first) & ((1 << begin) - 1)).bit_count()
        total += sum(self.block(index).bit_count() for index in range(first, last))
        return total + (self.block(last) & ((1 << end) - 1)).bit_count()


@lru_cache(maxsize=4096)
def days(rule: DayRule) -> Days:
    """The shared table of ``rule``."""
    return Days(rule)
