"""WHEN, as pure values: text to schedules, schedules to instants. No clock, no I/O.

``parse`` tries the ``KINDS`` in order. A kind is one module with ``EXAMPLES`` (what error
messages print) and ``parse(source) -> Schedule | None`` (None: not mine; ScheduleError: mine,
and wrong).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from acron.errors import ScheduleError
from acron.schedules import compose, cron, interval, once, phrase, rrule
from acron.schedules.base import Schedule
from acron.schedules.calendars import Calendar
from acron.schedules.combine import Bounded, Except, Union, any_of, bounded
from acron.schedules.cron import Cron
from acron.schedules.durations import duration
from acron.schedules.interval import Interval
from acron.schedules.once import Once, Reboot, exact, refuse_past
from acron.schedules.rrule import RRule
from acron.schedules.source import MAX_LENGTH, Fold, Gap, Source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Kind(Protocol):
    """A module of one kind of schedule text."""

    @property
    def EXAMPLES(self) -> tuple[str, ...]:  # noqa: N802  # a module's constant
        """Texts of this kind, for error messages."""
        ...

    def parse(self, source: Source, /) -> Schedule | None:
        """The schedule of a text of this kind, None for another's. Raises ScheduleError."""
        ...


#: The kinds of schedule text, in the order in which they are tried.
KINDS: tuple[Kind, ...] = (cron, interval, rrule, phrase, once)


def parse(
    text: str,
    *,
    tz: str = "UTC",
    now: datetime,
    job_id: str | None = None,
    gap: Gap | None = None,
    fold: Fold | None = None,
    calendars: Mapping[str, Calendar] | None = None,
) -> Schedule:
    """The schedule that ``text`` means. Raises only ScheduleError.

    ``tz`` is the zone of what names none itself; ``now`` (aware) is what delays and intervals
    count from; ``job_id`` chooses the place of ``H``; ``gap`` and ``fold`` replace the default
    rules at changes of the clock; ``calendars`` are those that ``except`` may name.
    ``str()`` of the value parses back to an equal one, whatever ``tz`` and ``now`` are then.
    """
    moment = once.exact(text)
    if moment is not None and tz == "UTC":
        return moment
    source = Source(text, tz, now, job_id, gap, fold, calendars)
    if not text.isascii() or len(text) > MAX_LENGTH or not source.text:
        _refuse_letters(source)
    source.tz = compose.zone_named(source, tz, 0)
    if moment is not None:
        return moment
    if compose.composed(text):
        return compose.parse(source, _kind)
    return _kind(source)


def _kind(source: Source) -> Schedule:
    for kind in KINDS:
        found = kind.parse(source)
        if found is not None:
            return found
    raise _unknown(source)


def _refuse_letters(source: Source) -> None:
    examples = f"write a schedule such as {_examples()}"
    if not source.text:
        raise source.error("the schedule is empty", examples)
    if len(source.whole) > MAX_LENGTH:
        raise source.error(f"a schedule has at most {MAX_LENGTH} letters", examples)
    at, letter = next((i, c) for i, c in enumerate(source.text) if not c.isascii())
    what = "a digit" if letter.isdigit() else "a letter"
    raise source.error(f"{letter!r} is {what} outside of ASCII", examples, at=at)


def _unknown(source: Source) -> ScheduleError:
    """The refusal of a text that is no kind's, with the nearest that would do."""
    text = source.text
    shown = text if len(text) <= 60 else text[:60] + "…"
    try:
        duration(text)
    except ScheduleError:
        return source.error(f"{shown!r} is not a schedule", f"write for example {_examples()}")
    return source.error(
        f"once in {shown} or every {shown}?", f"write 'in {shown}' or 'every {shown}'"
    )


def _examples() -> str:
    return ", ".join(repr(example) for kind in KINDS for example in kind.EXAMPLES[:2])


__all__ = [
    "KINDS",
    "Bounded",
    "Calendar",
    "Cron",
    "Except",
    "Interval",
    "Once",
    "RRule",
    "Reboot",
    "Schedule",
    "ScheduleError",
    "Union",
    "any_of",
    "bounded",
    "duration",
    "exact",
    "parse",
    "refuse_past",
]
