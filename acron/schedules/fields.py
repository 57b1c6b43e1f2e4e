"""The fields of a cron expression as bit masks: bit n is set where the value n is allowed.

croniter owns the grammar. What it takes most often (``*``, numbers, names, ranges, steps and
lists) is read here directly, 30 times faster, and a property test holds the two equal; the
rest (``L``, ``W``, ``#``) is in ``specials``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class Refused(Exception):
    """A field that cannot be taken: what is wrong, and what would do.

    It becomes a ScheduleError, once the place in the text is known.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Field:
    """What one field may hold. ``full`` is the mask of ``*``; ``letters`` mark what is special."""

    __slots__ = ("example", "full", "high", "letters", "low", "name", "names")

    def __init__(
        self,
        name: str,
        low: int,
        high: int,
        example: str,
        names: Iterable[str] = (),
        letters: str = "",
    ) -> None:
        self.name = name
        self.low = low
        self.high = high
        self.example = example
        self.names = {word: number for number, word in enumerate(names, low)}
        self.full = (1 << high + 1) - (1 << low)
        self.letters = frozenset(letters)


SECOND = Field("second", 0, 59, "0-59")
MINUTE = Field("minute", 0, 59, "0-59")
HOUR = Field("hour", 0, 23, "0-23")
MONTH_DAY = Field("day-of-month", 1, 31, "1-31, L, LW or 15W", letters="LW")
MONTH = Field("month", 1, 12, "1-12 or JAN-DEC", MONTHS)
WEEKDAY = Field("day-of-week", 0, 7, "0-7 or SUN-SAT", DAYS, "L#")
YEAR = Field("year", 1970, 2099, "1970-2099")

SHORT = (MINUTE, HOUR, MONTH_DAY, MONTH, WEEKDAY)
LONG = (SECOND, *SHORT, YEAR)


def mask(text: str, field: Field) -> int:
    """The mask of a plain field in upper case. Raises Refused.

    Sunday is bit 0 only. A range that ends before it starts goes round, its step with it.
    """
    if text == "*" or (text == "?" and field in {MONTH_DAY, WEEKDAY}):
        bits = field.full
    elif len(text) < 5 and text.isdigit() and field.low <= (value := int(text)) <= field.high:
        bits = 1 << value
    else:
        bits = 0
        for item in text.split(","):
            bits |= _item(item, field)
    if bits > 127 and field is WEEKDAY:
        bits = bits & 127 | 1
    return bits


def _item(item: str, field: Field) -> int:
    span, slash, step_text = item.partition("/")
    size = field.high - field.low + (field is not WEEKDAY)
    step = _number(step_text, field, "step") if slash else 1
    top = 6 if field is WEEKDAY else field.high
    if not 1 <= step <= size:
        raise Refused(
            f"a step of {step} does not fit into the {field.name} field",
            f"write a step from 1 to {size}, such as '*/{min(5, size)}'",
        )
    if span == "*":
        low, high = field.low, top
    else:
        first, dash, last = span.partition("-")
        low = _value(first, field)
        if not dash and not slash:
            return 1 << low
        high = _value(last, field) if dash else top
        if dash and low == high:
            raise Refused(
                f"{span!r} is a range of one value", f"write {first!r}, or '*' for all of them"
            )
    if low > high:
        values = range(low - field.low, high - field.low + size + 1, step)
        return sum({1 << value % size + field.low for value in values})
    bits = 0
    for value in range(low, high + 1, step):
        bits |= 1 << value
    return bits


def _value(text: str, field: Field) -> int:
    named = field.names.get(text)
    if named is not None:
        return named
    value = _number(text, field, "value")
    if not field.low <= value <= field.high:
        raise Refused(
            f"{text} is out of range for the {field.name} field", f"it takes {field.example}"
        )
    return value


def _number(text: str, field: Field, what: str) -> int:
    if text.isdigit() and len(text) <= 4:
        return int(text)
    if text == "R" or text.startswith("R("):
        raise Refused(
            "'R' would choose another time at every start",
            "write 'H', which the id of the job chooses once for all",
        )
    shown = repr(text[:20]) if text else f"an empty {what}"
    raise Refused(
        f"{shown} is not a {what} of the {field.name} field",
        f"it takes {field.example}, '*', ranges (1-5), steps (*/5) and lists (1,15)",
    )
