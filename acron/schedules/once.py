"""What fires at most once: ``in 30m``, a moment, ``@reboot``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from acron.errors import ScheduleError
from acron.schedules import durations, moments
from acron.schedules.base import Schedule

if TYPE_CHECKING:
    from acron.schedules.source import Source

_EXACT = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?"
    r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
EXAMPLES = ("in 30m", "2026-12-01T09:00", "tomorrow at 9am")


class Once(Schedule):
    """One instant, ``at`` (UTC). ``zone`` names the wall clock it was written for, None for an
    instant given in UTC, with an offset, or as a delay."""

    __slots__ = ("at", "zone")
    recurring = False

    def __init__(self, at: datetime, zone: str | None = None) -> None:
        self.at = at if at.tzinfo is UTC else at.astimezone(UTC)
        self.zone = zone

    def next_after(self, instant: datetime) -> datetime | None:
        return self.at if self.at > instant else None

    def last_at(self, instant: datetime) -> datetime | None:
        return self.at if self.at <= instant else None

    def count(self, after: datetime, until: datetime) -> int:
        return 1 if after < self.at <= until else 0

    def describe(self) -> str:
        return f"once, on {moments.words(self.at, self.zone)}"

    def __str__(self) -> str:
        return moments.spell(self.at, self.zone)

    def __repr__(self) -> str:
        return f"<Once {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Once):
            return NotImplemented
        return (self.at, self.zone) == (other.at, other.zone)

    def __hash__(self) -> int:
        return hash((self.at, self.zone))


class Reboot(Schedule):
    """``@reboot``: when a store goes from no live node to one. It has no instants of its own;
    the runtime sees ``on_start`` and fires it."""

    __slots__ = ()
    recurring = False
    on_start = True

    def next_after(self, instant: datetime) -> datetime | None:  # noqa: ARG002
        return None

    def last_at(self, instant: datetime) -> datetime | None:  # noqa: ARG002
        return None

    def count(self, after: datetime, until: datetime) -> int:  # noqa: ARG002
        return 0

    def describe(self) -> str:
        return "when acron starts"

    def __str__(self) -> str:
        return "@reboot"

    def __repr__(self) -> str:
        return "<Reboot>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reboot)

    def __hash__(self) -> int:
        return hash(Reboot)


@lru_cache(maxsize=16)
def exact(text: str) -> Once | None:
    """The moment that ``text`` is, if it is an instant in full, with its offset: such a text
    needs nothing of what surrounds it. None for any other."""
    if _EXACT.fullmatch(text) is None:
        return None
    try:
        return Once(datetime.fromisoformat(text))
    except (ValueError, OverflowError):  # no such day: ``parse`` says so
        return None


def parse(source: Source) -> Schedule | None:
    """``in <length>``, ``@reboot`` or a moment, or None for other texts."""
    lowered = source.text.lower()
    if lowered == "@reboot":
        return Reboot()
    if lowered.startswith("in") and lowered[2:3].isspace():
        return _delay(source, lowered)
    found = moments.parse(source)
    return None if found is None else Once(found.at, found.zone)


def _delay(source: Source, lowered: str) -> Once:
    found = durations.microseconds(lowered[2:].strip())
    if found is None:
        raise source.error(
            f"{source.text[2:].strip()!r} is not a length of time",
            "write 'in 30m', 'in 1h30m', 'in 2 days' or 'in PT45M'",
            at=3,
        )
    if found[0] <= 0:
        raise source.error("a delay must be longer than zero", "write 'in 30m'", at=3)
    try:
        return Once(source.now + timedelta(microseconds=found[0]))
    except OverflowError:
        raise source.error("that is after the year 9999", "write 'in 30m'", at=3) from None


def refuse_past(schedule: Schedule, now: datetime, grace: float, text: str) -> None:
    """Raise ScheduleError for what will not fire again: a moment more than ``grace`` seconds
    before ``now``, or a recurring schedule whose last instant has passed.

    ``parse`` itself takes both, because stored texts are parsed again.
    """
    if isinstance(schedule, Once):
        if (now - schedule.at).total_seconds() > grace:
            raise ScheduleError(
                f"{moments.words(schedule.at, schedule.zone)} is in the past",
                text=text,
                position=0,
                hint=f"now it is {moments.words(now, schedule.zone)}; write a later moment, "
                "or 'in 30m', or 'tomorrow at 9am'",
            )
    elif schedule.recurring and schedule.next_after(now) is None:
        raise ScheduleError(
            f"{text[:60]!r} does not fire any more",
            text=text,
            position=0,
            hint=f"now it is {moments.words(now)}; write a later year or end",
        )
