"""What the jobs of a store will do in the days to come: load, collisions, changes of the clock.

Nothing runs. The work is bounded whatever the jobs: those that fire seldom are followed instant by
instant, denser ones are counted by the hour, and what is left when the allowance is spent is
counted once and spread evenly. A forecast says of each job which it was.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from acron.forecast.groups import Piece, fill, grouped, steady
from acron.forecast.notes import busiest_minute, changes, collisions
from acron.forecast.records import Change, Collision, Day, Effect, Forecast, Load, Peak, Resting
from acron.schedules import zones
from acron.timetable import TICK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from acron.model import Job
    from acron.schedules.zones import Zone

_HOUR = 3600


def forecast(
    jobs: Iterable[Job],
    start: datetime,
    days: int,
    tz: str,
    parked: Iterable[str] = (),
) -> Forecast:
    """What ``jobs`` do from ``start`` (aware) to the end of the ``days``-th day of ``tz``, that
    of ``start`` being the first.

    Delays by jitter are counted in for jobs followed instant by instant. Raises OverflowError for
    a window outside the years 1 to 9999, LookupError for an unknown zone.
    """
    place = zones.zone(tz)
    low, high = _window(place, start, days)
    pieces = list(_pieces(place, low, high))
    begin, end = zones.instant(low) - TICK, zones.instant(high) - TICK
    groups, resting = grouped(jobs, begin, end)
    load = [0.0] * len(pieces)
    minutes = fill(groups, pieces, load, high)
    peak = max(range(len(pieces)), key=load.__getitem__)
    waiting = frozenset(parked)
    loads = [
        Load(
            id=job.id,
            schedule=job.schedule,
            fires=group.fires,
            counted=group.counted,
            parked=job.id in waiting,
        )
        for group in groups
        for job in group.jobs
    ]
    return Forecast(
        start=zones.instant(low),
        until=zones.instant(high),
        tz=place.name,
        fires=sum(one.fires for one in loads),
        days=tuple(_days(place, pieces, load)),
        jobs=tuple(sorted(loads, key=lambda one: (-one.fires, one.id))),
        resting=tuple(sorted(resting, key=lambda one: (one.state, one.id))),
        busiest_hour=_peak(pieces[peak].at, load[peak]),
        busiest_minute=busiest_minute(groups, minutes),
        collisions=tuple(collisions(groups, minutes)),
        steady=tuple(sorted(job.id for one in groups if steady(one) for job in one.jobs)),
        changes=tuple(changes(groups, low, high)),
    )


def _window(place: Zone, start: datetime, days: int) -> tuple[int, int]:
    """The first second, and the one after the last."""
    low = zones.seconds(start)
    midnight = (low + place.offset(low)) // zones.DAY * zones.DAY
    if midnight + (days + 1) * zones.DAY > zones.MAX or low <= zones.MIN + zones.DAY:
        message = "the window is not within the years 1 to 9999"
        raise OverflowError(message)
    return low, zones.resolve(place, midnight + days * zones.DAY)[0]


def _pieces(place: Zone, low: int, high: int) -> Iterator[Piece]:
    while low < high:
        segment = place.segment(low)
        wall = low + segment.offset
        yield Piece(low, wall // zones.DAY, wall % zones.DAY // _HOUR)
        low = min((wall // _HOUR + 1) * _HOUR - segment.offset, segment.end)


def _days(place: Zone, pieces: Sequence[Piece], load: Sequence[float]) -> Iterator[Day]:
    days: dict[int, list[float | None]] = {}
    for piece, fires in zip(pieces, load, strict=True):
        hours = days.setdefault(piece.day, [None] * 24)
        hours[piece.hour] = (hours[piece.hour] or 0.0) + fires
    for day, hours in days.items():
        midnight, following = (zones.resolve(place, one * zones.DAY)[0] for one in (day, day + 1))
        yield Day(
            date=date.fromordinal(day + zones.ORDINAL),
            hours=tuple(None if fires is None else round(fires) for fires in hours),
            length=(following - midnight) / _HOUR,
        )


def _peak(at: int, fires: float) -> Peak | None:
    return Peak(at=zones.instant(at), fires=round(fires)) if round(fires) else None


__all__ = [
    "Change",
    "Collision",
    "Day",
    "Effect",
    "Forecast",
    "Load",
    "Peak",
    "Resting",
    "forecast",
]
