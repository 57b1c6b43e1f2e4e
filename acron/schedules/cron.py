"""Cron expressions: ``0 9 * * 1-5``, seconds first in six and seven fields."""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from acron.errors import ScheduleError
from acron.schedules import hashed
from acron.schedules.days import EVERY_WEEKDAY, FIRST_DAY, DayRule, Days, days
from acron.schedules.fields import HOUR, LONG, MONTH_DAY, SHORT, WEEKDAY, YEAR, Refused, mask
from acron.schedules.specials import Special, day_field
from acron.schedules.wall import SLACK, WallClock
from acron.schedules.zones import EPOCH, MIN, WINDOW, zone

if TYPE_CHECKING:
    from datetime import datetime

    from acron.schedules.source import Fold, Gap, Source
    from acron.schedules.zones import Zone

EXAMPLES = ("0 9 * * 1-5", "*/15 * * * *", "0 12 L * *")

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_STARTS = frozenset("*?0123456789HhLlRr,-/")
_LETTERS = frozenset("*?0123456789HLRW#,-/()~")
_FIELDS_HINT = (
    "write 5 fields (minute, hour, day, month, weekday), 6 with seconds first, "
    "or 7 with seconds first and the year last"
)
#: The days that every month has.
_SAFE_DAYS = (1 << 29) - 2


class Cron(WallClock):
    """Wall-clock times given by fields. ``text`` is the canonical expression without its zone.

    Compiled on first use to the sorted second-of-hour marks, a mask of hours and a table of days
    (both shared with equal ones); the next instant is a few integer operations on them.
    """

    __slots__ = ("_days", "_first", "_flat", "_last", "_marks", "_rule", "masks", "text")

    _days: Days
    _marks: tuple[int, ...]
    _first: int
    _last: int
    _flat: bool

    def __init__(
        self,
        text: str,
        masks: tuple[int, int, int],
        rule: DayRule,
        place: Zone,
        gap: Gap | None = None,
        fold: Fold | None = None,
        *,
        follows: bool = False,
    ) -> None:
        self.text = text
        self.masks = masks
        self._rule = rule
        WallClock.__init__(self, place, gap, fold, follows)

    def __getattr__(self, name: str) -> object:
        """Compile on first use: most schedules are parsed far more often than asked."""
        if name not in {"_days", "_marks", "_first", "_last", "_flat"}:
            raise AttributeError(name)
        second, minute, hours = self.masks
        marks = _marks(second, minute)
        self._days = days(self._rule)
        self._first = ((hours & -hours).bit_length() - 1) * 3600 + marks[0]
        self._last = (hours.bit_length() - 1) * 3600 + marks[-1]
        self._flat = hours == HOUR.full and self._days.every
        self._marks = (*marks, 3600 + marks[0])
        return getattr(self, name)

    @property
    def rule(self) -> DayRule:
        """The days on which it may run."""
        return self._rule

    def renamed(self, text: str, rule: DayRule) -> Cron:
        """The same fixed times on the days of another rule, under another canonical text."""
        return Cron(text, self.masks, rule, self.place, self.gap, self.fold)

    def next_after(self, instant: datetime) -> datetime | None:
        since = instant - EPOCH
        at = since.days * 86_400 + since.seconds
        window = self._windows.get(at >> WINDOW)
        if window is not None:
            low, high, offset = window
            if low <= at < high:
                if self._flat:
                    second = (at + offset) % 3600
                    marks = self._marks
                    found = at - second + marks[bisect_right(marks, second)]
                else:
                    wall = self.after(at + offset)
                    found = high if wall is None else wall - offset
                    if found >= high and wall is not None and high - at > SLACK:
                        # Nothing matches on the way, so look straight at the day far ahead.
                        low, high, offset = self._windows.get(found >> WINDOW, window)
                        found = wall - offset
                if low <= found < high:
                    return EPOCH + timedelta(0, found)
        later = self._search(max(at, MIN - 1))
        return None if later is None else EPOCH + timedelta(0, later)

    def after(self, wall: int) -> int | None:
        table = self._days
        day, second = divmod(wall, 86_400)
        if second >= self._last:
            day, second = day + 1, -1
        found = day if table.every else table.at_or_after(day)
        if found is None:
            return None
        if found != day or second < self._first:
            return found * 86_400 + self._first
        hour, second = divmod(second, 3600)
        hours = self.masks[2] >> hour
        if hours & 1:
            marks = self._marks
            mark = marks[bisect_right(marks, second)]
            if mark < 3600:
                return wall - second + mark
        hours >>= 1
        return wall - second + (hours & -hours).bit_length() * 3600 + self._marks[0]

    def until(self, wall: int) -> int | None:
        table = self._days
        day, second = divmod(wall, 86_400)
        if second < self._first:
            day, second = day - 1, 86_399
        found = table.at_or_before(day)
        if found is None:
            return None
        if found != day or second >= self._last:
            return found * 86_400 + self._last
        hour, second = divmod(second, 3600)
        hours = self.masks[2]
        if hours >> hour & 1 and second >= self._marks[0]:
            return wall - wall % 3600 + self._marks[bisect_right(self._marks, second) - 1]
        earlier = hours & ((1 << hour) - 1)
        return day * 86_400 + (earlier.bit_length() - 1) * 3600 + self._marks[-2]

    def between(self, low: int, high: int) -> int:
        whole = self._days.between(low // 86_400, high // 86_400)
        daily = self.masks[2].bit_count() * (len(self._marks) - 1)
        return whole * daily + self._into(high) - self._into(low)

    def _into(self, wall: int) -> int:
        """How many readings of the day lie before ``wall``."""
        day, second = divmod(wall, 86_400)
        if not self._days.between(day, day + 1):
            return 0
        hour, second = divmod(second, 3600)
        hours = self.masks[2]
        full = (hours & ((1 << hour) - 1)).bit_count() * (len(self._marks) - 1)
        return full + (bisect_right(self._marks, second - 1) if hours >> hour & 1 else 0)

    def describe(self) -> str:
        from acron.schedules.sentences import of_cron  # noqa: PLC0415  # not needed to fire

        return of_cron(self)

    def __str__(self) -> str:
        return self.prefix() + self.text

    def __repr__(self) -> str:
        return f"<Cron {self}>"

    def _key(self) -> tuple[object, ...]:
        return self.text, self.place.name, self.gap, self.fold

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Cron) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


@lru_cache(maxsize=512)
def _marks(second_mask: int, minute_mask: int) -> tuple[int, ...]:
    """The second-of-hour marks of two masks, in order."""
    ticks = [n for n in range(60) if second_mask >> n & 1]
    return tuple(n * 60 + tick for n in range(60) if minute_mask >> n & 1 for tick in ticks)


def parse(source: Source) -> Cron | None:
    """A cron expression or an alias such as ``@daily``; None for other texts."""
    text = source.text
    if text[0] not in _STARTS:
        alias = _ALIASES.get(text.lower()) if text[0] == "@" else None
        return None if alias is None else _build(source, alias.split())
    parts = text.upper().split()
    if len(parts) in {5, 6, 7} and (parts[0].isdigit() or _LETTERS.issuperset(parts[0])):
        return None if parts[1] in {"AM", "PM"} else _build(source, parts)
    if len(parts) > 1 and all(_LETTERS.issuperset(part) for part in parts):
        raise source.error(f"a cron expression does not have {len(parts)} fields", _FIELDS_HINT)
    return None


def compiled(source: Source, expression: str) -> Cron:
    """The schedule of an expression that another kind wrote, under the rules of ``source``."""
    try:
        return _build(source.reworded(expression), expression.split())
    except ScheduleError as error:
        raise source.error(error.message.replace(expression, source.text), error.hint) from None


def _build(source: Source, parts: list[str]) -> Cron:
    number = 0
    try:
        masks, special = [], _NO_SPECIAL
        kinds = SHORT if len(parts) == 5 else LONG
        for number, (part, kind) in enumerate(zip(parts, kinds, strict=False)):
            if part == "*":
                masks.append(kind.full if kind is not WEEKDAY else EVERY_WEEKDAY)
                continue
            if part[0] == "H" or ",H" in part:
                parts[number] = part = hashed.resolve(part, kind, source.job_id)  # noqa: PLW2901
            if kind is WEEKDAY and len(parts) > 5:
                _refuse_numbers(part)
            letters = kind.letters
            if letters and not letters.isdisjoint(part):
                found = day_field(part, kind)
                masks.append(found.bits)
                special = found if special is _NO_SPECIAL else special.joined(found)
            else:
                masks.append(mask(part, kind))
    except Refused as error:
        at = source.word(number)
        raise source.error(error.message, error.hint, at=at) from None
    seconds = masks.pop(0) if len(parts) > 5 else 1
    minute, hour, month_day, _, weekday = parts[-5:] if len(parts) < 7 else parts[1:6]
    rule = DayRule(
        masks[2],
        masks[3],
        masks[4],
        masks[5] >> YEAR.low if len(masks) > 5 else 0,
        special.last,
        special.nearest,
        special.nth,
        not (
            _unrestricted(month_day, masks[2] == MONTH_DAY.full, weekday)
            or _unrestricted(weekday, masks[4] == EVERY_WEEKDAY, month_day)
        ),
    )
    sure = masks[2] & _SAFE_DAYS or 0 in special.last or special.nearest
    if not sure or rule.years or special.nth:
        _refuse_never(source, rule)
    return Cron(
        " ".join(parts).replace("?", "*"),
        (seconds, masks[0], masks[1]),
        rule,
        zone(source.tz),
        source.gap,
        source.fold,
        follows=minute[0] == "*" or hour[0] == "*",
    )


def _unrestricted(text: str, full: bool, other: str) -> bool:  # noqa: FBT001
    """Whether a day field restricts nothing, as croniter sees it: ``*`` and ``?`` do not, ``*/2``
    does; what names every day (``0-6``) restricts nothing next to a field with a ``*``."""
    return text in {"*", "?"} or "*" in text.split(",") or (full and "*" in other)


def _refuse_numbers(weekday: str) -> None:
    if any(_NUMBER.fullmatch(item) is None for item in weekday.split(",")):
        raise Refused(
            f"{weekday!r} has a weekday by number: 2 is Monday in Quartz and Tuesday in cron",
            "with seconds, write weekdays by name: MON-FRI, FRI#2, FRIL",
        )


def _refuse_never(source: Source, rule: DayRule) -> None:
    if days(rule).at_or_after(FIRST_DAY) is None:
        raise source.error(
            f"{source.text!r} never fires: no month has such a day",
            "'0 0 L * *' is the last day of every month",
        )


#: A weekday item without a bare number: letters first, digits only after / and #.
_NUMBER = re.compile(r"(?:\*|\?|[A-Z]+(?:-[A-Z]+)?)(?:[/#]\d+)?", re.ASCII)
_NO_SPECIAL = Special()
