"""What stands out in a forecast: collisions, and changes of the clock."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from acron.forecast.records import Change, Collision, Effect, Peak
from acron.schedules import zones
from acron.schedules.explain import explain, walls
from acron.timetable import TICK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from acron.forecast.groups import Group
    from acron.model import Job
    from acron.schedules import Schedule
    from acron.schedules.zones import Segment

#: Sentences about a change of the clock are made for so many schedules.
EXPLAINED = 50
#: Collisions that are told.
WORST = 10

_MINUTE = 60


def busiest_minute(groups: Sequence[Group], minutes: dict[int, list[int]]) -> Peak | None:
    """Of those followed; the fires of all others in that minute are added."""
    others = [one for one in groups if one.counted != "exact"]
    if not minutes and not others:
        return None
    weights = [len(group.jobs) for group in groups]
    top = max(minutes, key=lambda one: sum(weights[i] for i in minutes[one]), default=None)
    if top is None:
        first = min(one.schedule.next_after(one.base) or one.last for one in others)
        top = zones.seconds(first) // _MINUTE
    low = zones.instant(top * _MINUTE) - TICK
    fires = 0
    for group in (*(groups[i] for i in minutes.get(top, ())), *others):
        begin, end = max(low, group.base), min(low + timedelta(minutes=1), group.last)
        found = group.schedule.count(begin, end) if begin < end else 0
        fires += max(found, group.counted == "exact") * len(group.jobs)
    return Peak(at=zones.instant(top * _MINUTE), fires=fires)


def collisions(groups: Sequence[Group], minutes: dict[int, list[int]]) -> Iterator[Collision]:
    """The worst: most jobs, then most often, then first. Minutes with the same jobs are one."""
    times: Counter[tuple[int, ...]] = Counter()
    first: dict[tuple[int, ...], int] = {}
    for minute, numbers in minutes.items():
        if len(numbers) > 1 or len(groups[numbers[0]].jobs) > 1:
            key = tuple(sorted(set(numbers)))
            times[key] += 1
            first[key] = min(first.get(key, minute), minute)
    size = {key: sum(len(groups[i].jobs) for i in key) for key in times}
    for key in sorted(times, key=lambda one: (-size[one], -times[one], first[one]))[:WORST]:
        jobs = sorted((job for i in key for job in groups[i].jobs), key=lambda job: job.id)
        yield Collision(
            at=zones.instant(first[key] * _MINUTE),
            jobs=tuple(job.id for job in jobs),
            times=times[key],
            hint=_hint(jobs),
        )


_FIXED = re.compile(r"\d+(?=( \S+){4}$)")


def _hint(jobs: Sequence[Job]) -> str:
    """How these jobs could be spread: an ``H`` for a fixed minute of cron, else a jitter."""
    for job in jobs:
        text = " ".join(job.schedule.split())
        if _FIXED.match(text):
            return f"give {job.id} the schedule {_FIXED.sub('H', text, count=1)!r}, or a jitter"
    return f"give {jobs[-1].id} a jitter, as in --jitter 5m"


# --- changes of the clock ---


def changes(groups: Sequence[Group], low: int, high: int) -> Iterator[Change]:
    """Of the clocks of all zones of the jobs, in the seconds ``[low, high)``, in order."""
    by_zone: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        by_zone[group.zone].append(group)
    found = [(segment, name) for name in by_zone for segment in zones.zone(name).changes(low, high)]
    for segment, name in sorted(found):
        yield _change(by_zone[name], segment, name)


def _change(groups: Sequence[Group], segment: Segment, name: str) -> Change:
    touched, untouched = [], 0
    for group in groups:
        if _touches(group.schedule, name, segment):
            touched.append(group)
        else:
            untouched += len(group.jobs)
    head, _ = _said(groups[0], segment, name)
    effects: dict[str, list[str]] = defaultdict(list)
    for group in touched[:EXPLAINED]:
        effects[_said(group, segment, name)[1]] += [job.id for job in group.jobs]
    return Change(
        at=zones.instant(segment.start),
        zone=name,
        says=head,
        effects=tuple(Effect(jobs=tuple(sorted(ids)), says=says) for says, ids in effects.items()),
        untouched=untouched,
        untold=sum(len(group.jobs) for group in touched[EXPLAINED:]),
    )


def _touches(schedule: Schedule, name: str, segment: Segment) -> bool:
    """Whether readings that are skipped, or come twice, are among those of ``schedule``."""
    low, high = sorted((segment.start + segment.before, segment.start + segment.offset))
    return any(one.zone == name and one.between(low, high) for one in walls(schedule))


def _said(group: Group, segment: Segment, name: str) -> tuple[str, str]:
    """What ``explain`` says of a change: of the clocks, and of the schedule."""
    change = explain(group.schedule, zones.instant(segment.start - 1), name).change
    head, _, does = ("" if change is None else change.effect).partition("; ")
    return head, does.removesuffix(".")
