"""What a schedule will do, for people: instants, the next change of the clock, warnings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from acron.schedules import moments, zones
from acron.schedules.combine import Bounded, Except, Union, zone_of
from acron.schedules.cron import Cron
from acron.schedules.wall import WallClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acron.schedules.base import Schedule
    from acron.schedules.zones import Segment

_YEAR = timedelta(days=365)
#: How far ahead the next change of the clock is looked for.
_AHEAD = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the clock at ``at`` (UTC). ``before`` and ``after`` are the offsets in seconds,
    ``effect`` says what the schedule does then."""

    at: datetime
    before: int
    after: int
    effect: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that ``acron explain`` prints. ``instants`` are in ``zone``, with its offsets;
    ``per_year`` counts the next 365 days; ``change`` is None where the clock does not change."""

    text: str
    sentence: str
    zone: str
    instants: tuple[datetime, ...]
    per_year: int
    change: Change | None
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        lines = [self.sentence, ""]
        lines += [f"  {moments.day_words(at)} {at:%H:%M:%S} {_offset(at)}" for at in self.instants]
        lines += ["", f"{self.per_year:,} times in the next 365 days"]
        if self.change is not None:
            lines.append(self.change.effect)
        lines += [f"Warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def explain(schedule: Schedule, now: datetime, tz: str | None = None) -> Explanation:
    """Explain ``schedule`` as of ``now``. ``tz`` is the zone to show it in, when it has none."""
    name = zone_of(schedule) or tz or "UTC"
    place = zones.zone(name)
    said = schedule.describe()
    instants = tuple(_local(at, name) for at in schedule.upcoming(now, 5))
    start = zones.seconds(now)
    changes = place.changes(start + 1, start + _AHEAD.days * zones.DAY)
    change = None
    if changes:
        first = changes[0]
        effect = _effect(schedule, name, first)
        change = Change(zones.instant(first.start), first.before, first.offset, effect)
    return Explanation(
        text=str(schedule),
        sentence=f"{said[0].upper()}{said[1:]}.",
        zone=name,
        instants=instants,
        per_year=schedule.count(now, now + _YEAR),
        change=change,
        warnings=tuple(_warnings(schedule, now, changes)),
    )


def _local(at: datetime, name: str) -> datetime:
    return at.astimezone(zones.zone(name).info)


def _offset(at: datetime) -> str:
    shift = at.utcoffset() or timedelta()
    return f"{at.tzname()} ({_signed(shift)})"


def _signed(shift: timedelta) -> str:
    minutes = abs(shift) // timedelta(minutes=1)
    return f"{'-' if shift < timedelta() else '+'}{minutes // 60:02}:{minutes % 60:02}"


def walls(schedule: Schedule) -> Iterator[WallClock]:
    """The wall-clock schedules of which ``schedule`` is made."""
    if isinstance(schedule, WallClock):
        yield schedule
    elif isinstance(schedule, (Bounded, Except)):
        yield from walls(schedule.inner)
    elif isinstance(schedule, Union):
        for member in schedule.members:
            yield from walls(member)


def _effect(schedule: Schedule, name: str, change: Segment) -> str:
    """One sentence about a change of the clock, as in "The clocks go forward on …: …"."""
    forward = change.offset > change.before
    old, new = _reading(change.start, change.before), _reading(change.start, change.offset)
    head = (
        f"The clocks of {name} go {'forward' if forward else 'back'} on {moments.day_words(old)}, "
        f"from {old:%H:%M} to {new:%H:%M}"
    )
    mine = [one for one in walls(schedule) if one.zone == name]
    if not mine:
        return f"{head}; elapsed time goes on unchanged."
    said = dict.fromkeys(_does(one, change) for one in mine)
    return f"{head}; {', and '.join(said)}."


def _reading(at: int, offset: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(0, at + offset)  # noqa: DTZ001


def _does(schedule: WallClock, change: Segment) -> str:
    gap, fold = schedule.rules
    low, high = sorted((change.start + change.before, change.start + change.offset))
    times = schedule.between(low, high)
    if not times:
        return "no time of this schedule is touched"
    first = schedule.after(low - 1)
    shown = _reading(first or low, 0).strftime("%H:%M")
    several = f"{times:,} runs from {shown} on" if times > 1 else shown
    if change.offset > change.before:
        if gap == "skip":
            return f"{several} {'do' if times > 1 else 'does'} not exist and {_be(times)} skipped"
        then = _reading(change.start, change.offset).strftime("%H:%M")
        return f"{several} {'do' if times > 1 else 'does'} not exist: it runs once, at {then}"
    comes = f"{several} {'come' if times > 1 else 'comes'} twice"
    ran = {"first": "it runs the first time only", "last": "it runs the last time only",
           "both": "it runs both times"}[fold]  # fmt: skip
    return f"{comes}: {ran}"


def _be(times: int) -> str:
    return "are" if times > 1 else "is"


def _warnings(schedule: Schedule, now: datetime, changes: list[Segment]) -> Iterator[str]:
    first = schedule.next_after(now)
    if first is None and not schedule.on_start:
        yield "it does not fire any more" if schedule.last_at(now) else "it never fires"
    elif first is not None:
        minute = timedelta(minutes=1)
        if schedule.count(first, first + minute) >= 60:
            yield "it fires every second"
    for one in walls(schedule):
        if isinstance(one, Cron) and one.rule.either:
            yield (
                f"day of month and day of week are both set in {one.text!r}: "
                "either is enough (cron joins them by OR)"
            )
        for change in changes:
            lost = _vanishes(one, change)
            if lost is not None:
                day = moments.day_words(lost)
                yield f"it does not run at all on {day}: its times are skipped then"


def _vanishes(schedule: WallClock, change: Segment) -> datetime | None:
    """The day on which all readings of ``schedule`` fall into a gap that it does not shift."""
    if change.offset <= change.before or schedule.rules[0] == "shift":
        return None
    low = change.start + change.before
    day = low // zones.DAY * zones.DAY
    matched = schedule.between(day, day + zones.DAY)
    skipped = schedule.between(low, min(change.start + change.offset, day + zones.DAY))
    return _reading(day, 0) if 0 < matched == skipped else None
