"""Jobs by their timetable, and their fires by the hour, at a bounded cost."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import TYPE_CHECKING, NamedTuple

from acron.errors import ScheduleError
from acron.forecast.records import Resting
from acron.schedules import zones
from acron.schedules.combine import zone_of
from acron.schedules.explain import walls
from acron.timetable import TICK, fire_at, timetable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from acron.forecast.records import Counted, Idle
    from acron.model import Job
    from acron.schedules import Schedule

#: What a forecast may cost: instants followed, and stretches counted.
INSTANTS, COUNTS = 120_000, 40_000
#: A job that fires more often than once in so many seconds collides with everything: with such
#: jobs told, no collision would be news.
STEADY = 120

_MINUTE = 60


class Piece(NamedTuple):
    """Instants from ``at`` on that read as one hour of one day (days since 1970)."""

    at: int
    day: int
    hour: int


@dataclass(slots=True, eq=False)
class Group:
    """Jobs of one timetable, and its ``fires`` in the window: the first follows ``base`` at once,
    the last is ``last``."""

    schedule: Schedule
    base: datetime
    last: datetime
    fires: int
    zone: str
    jobs: list[Job] = field(default_factory=list)
    counted: Counted = "exact"


def grouped(
    jobs: Iterable[Job], begin: datetime, end: datetime
) -> tuple[list[Group], list[Resting]]:
    """Those that fire in ``(begin, end]``, and those that do not."""
    groups: dict[tuple[object, ...], Group] = {}
    resting = []
    for job in jobs:
        key = _key(job, begin)
        if key in groups:
            groups[key].jobs.append(job)
            continue
        found = _group(job, begin, end) if job.state == "scheduled" else _idle(job)
        if isinstance(found, Resting):
            resting.append(found)
        else:
            found.jobs.append(job)
            groups[key] = found
    return sorted(groups.values(), key=lambda one: one.fires), resting


def _key(job: Job, begin: datetime) -> tuple[object, ...]:
    """What jobs of one group have in common. With a jitter, or a count, a job is alone."""
    policy = job.policy
    alone = job.id if policy.jitter or policy.repeat is not None else None
    base = begin if job.cursor is None else max(job.cursor, begin)
    timing = (job.bound, job.tz, policy.gap, policy.fold, policy.start, policy.until)
    return (*timing, base, alone, job.state)


def _idle(job: Job) -> Resting:
    state: Idle = "error" if job.error else "completed" if job.completed else "paused"
    reason = job.error or (job.paused if state == "paused" else "") or ""
    return Resting(id=job.id, schedule=job.schedule, state=state, reason=reason)


def _group(job: Job, begin: datetime, end: datetime) -> Group | Resting:
    """The group of which ``job`` is the first; or that it does not fire."""
    base = begin if job.cursor is None else max(job.cursor, begin)
    try:
        schedule = timetable(job)
        last = _last(job, schedule, end)
        fires = schedule.count(base, last) if base < last else 0
        following = schedule.next_after(base) if last == end else None
    except ScheduleError as error:
        return Resting(id=job.id, schedule=job.schedule, state="error", reason=str(error))
    if fires:
        first, last = schedule.next_after(base) or last, schedule.last_at(last) or last
        return Group(schedule, first - TICK, last, fires, zone_of(schedule) or job.tz)
    starts = following is None and getattr(schedule, "on_start", False)
    state: Idle = "at start" if starts else "not in these days"
    return Resting(id=job.id, schedule=job.schedule, state=state, next=following)


def _last(job: Job, schedule: Schedule, end: datetime) -> datetime:
    """``end``, or the moment before the first instant that ``repeat`` leaves out."""
    if job.policy.repeat is None or job.cursor is None or job.cursor >= end:
        return end
    left, since = job.policy.repeat - job.fired, job.cursor
    if schedule.count(since, end) <= left:
        return end
    # Counts only grow, so the moment is found by halving: a dense job costs no more.
    span = range((end - since) // TICK)
    after = bisect_right(span, left, key=lambda n: schedule.count(since, since + n * TICK))
    return since + (after - 1) * TICK


def fill(
    groups: Sequence[Group], pieces: Sequence[Piece], load: list[float], high: int
) -> dict[int, list[int]]:
    """Put the fires into ``load``, by piece; the groups that fire in each minute (of those since
    1970) for what is followed. ``groups`` are sorted, those that fire least first."""
    starts = [piece.at for piece in pieces]
    bounds = [zones.instant(at) - TICK for at in (*starts, high)]
    minutes: dict[int, list[int]] = defaultdict(list)
    instants, counts, dense = INSTANTS, COUNTS, []
    for number, group in enumerate(groups):
        if steady(group) or group.fires > instants:
            dense.append(group)
        else:
            instants -= group.fires
            _follow(group, number, starts, load, minutes)
    # A lattice of elapsed time is even anyhow; a wall clock's hours differ, so it goes first.
    dense.sort(key=lambda group: not any(walls(group.schedule)))
    slope = [0.0] * len(pieces)
    for group in dense:
        if len(pieces) <= counts:
            counts -= len(pieces)
            group.counted = "hourly"
            _count(group, bounds, load)
        else:
            group.counted = "spread"
            _spread(group, bounds, load, slope)
    for i, rate in enumerate(accumulate(slope)):
        load[i] += rate * (bounds[i + 1] - bounds[i]).total_seconds()
    return minutes


def _follow(
    group: Group,
    number: int,
    starts: Sequence[int],
    load: list[float],
    minutes: dict[int, list[int]],
) -> None:
    weight, job, seen = len(group.jobs), group.jobs[0], -1
    for at in islice(group.schedule.iterate(group.base), group.fires):
        second = zones.seconds(fire_at(job, at))
        load[bisect_right(starts, second) - 1] += weight
        if second // _MINUTE != seen:
            seen = second // _MINUTE
            minutes[seen].append(number)


def _count(group: Group, bounds: Sequence[datetime], load: list[float]) -> None:
    for i in range(len(load)):
        low, high = max(bounds[i], group.base), min(bounds[i + 1], group.last)
        if low < high:
            load[i] += group.schedule.count(low, high) * len(group.jobs)


def _spread(
    group: Group, bounds: Sequence[datetime], load: list[float], slope: list[float]
) -> None:
    """Evenly: the two pieces at the ends get their share at once, those between them by
    ``slope``, the change of the rate (fires a second) at the beginning of each piece."""
    begin, end = group.base, group.last
    rate = group.fires * len(group.jobs) / max((end - begin).total_seconds(), 1e-6)
    low, high = bisect_right(bounds, begin) - 1, bisect_left(bounds, end) - 1
    load[low] += rate * (min(bounds[low + 1], end) - begin).total_seconds()
    if low < high:
        load[high] += rate * (end - bounds[high]).total_seconds()
        slope[low + 1] += rate
        slope[high] -= rate


def steady(group: Group) -> bool:
    """Whether it fires too often for its collisions to be worth telling."""
    seconds = (group.last - group.base).total_seconds()
    return group.fires > max(seconds / STEADY, 60)
