"""``L``, ``W`` and ``#`` in the day fields of a cron expression.

croniter says what it accepts and what that means; an item is asked for once in a process, as
there are only some hundred of them. ``LW``, ``L-3``, ``5L`` and ``FRIL``, which Quartz and
others have and croniter lacks, are read here.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from acron.schedules.fields import DAYS, MONTH_DAY, WEEKDAY, Field, Refused, mask

_NAMES = "|".join(DAYS)
_FROM_END = re.compile(r"L-(\d{1,2})", re.ASCII)
_LAST_WEEKDAY = re.compile(rf"(?:L({_NAMES}|[0-7])|({_NAMES}|[0-7])L)", re.ASCII)
_CRONITER = re.compile(r"[A-Z0-9]+(-[A-Z0-9]+)?(#\d)?", re.ASCII)


class Special(NamedTuple):
    """What an item adds to a ``DayRule``."""

    bits: int = 0
    last: frozenset[int] = frozenset()
    nearest: frozenset[int] = frozenset()
    nth: frozenset[tuple[int, int]] = frozenset()

    def joined(self, other: Special) -> Special:
        """Both."""
        return Special(*(mine | its for mine, its in zip(self, other, strict=True)))  # type: ignore[operator]


def day_field(text: str, field: Field) -> Special:
    """A day field in upper case, all items of it. Raises Refused."""
    first, *more = text.split(",")
    found = _item(first, field)
    for item in more:
        found = found.joined(_item(item, field))
    return found


@lru_cache(maxsize=512)
def _item(item: str, field: Field) -> Special:
    if field is MONTH_DAY:
        if item == "LW":
            return Special(nearest=frozenset({0}))
        match = _FROM_END.fullmatch(item)
        if match is not None and 1 <= int(match[1]) <= 30:
            return Special(last=frozenset({int(match[1])}))
    elif (match := _LAST_WEEKDAY.fullmatch(item)) is not None:
        bits = mask(match[1] or match[2], WEEKDAY)
        return Special(nth=frozenset({(bits.bit_length() - 1, -1)}))
    if "#" not in item and "W" not in item.removesuffix("WED") and "L" not in item:
        return Special(mask(item, field))
    if item == "L" and field is WEEKDAY:
        raise Refused("'L' alone names no weekday", "write 'L5' or 'FRIL' for the last Friday")
    return _croniter(item, field)


def _croniter(item: str, field: Field) -> Special:
    from croniter import CroniterError, croniter  # noqa: PLC0415  # 20 ms, rarely needed

    text = f"0 0 {item} * *" if field is MONTH_DAY else f"0 0 * * {item}"
    read = None
    if _CRONITER.fullmatch(item) is not None and item[0] not in "HR":
        with suppress(CroniterError):
            read = croniter(text)
    if read is None:
        raise Refused(
            f"{item[:20]!r} is not a value of the {field.name} field",
            "it takes 'L' (last), '15W' (nearest weekday), 'LW' and 'L-3'"
            if field is MONTH_DAY
            else "it takes 'FRI#2' (the second Friday) and 'L5' or 'FRIL' (the last Friday)",
        )
    if read.nearest_weekday:
        return Special(nearest=frozenset(read.nearest_weekday))
    # The stubs know numbers only; croniter says 'l' for last.
    which: dict[int, set[int | str]] = dict(read.nth_weekday_of_month)  # type: ignore[arg-type]
    if which:
        pairs = ((day, n) for day, numbers in which.items() for n in numbers)
        return Special(nth=frozenset((day, n if isinstance(n, int) else -1) for day, n in pairs))
    values: list[int | str] = list(read.expanded[2 if field is MONTH_DAY else 4])
    bits = sum(1 << value for value in values if isinstance(value, int))
    return Special(bits, last=frozenset({0}) if "l" in values else frozenset())
