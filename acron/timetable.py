"""A job's schedule as a value, and where the job stands on it."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.errors import ConfigError, InvalidJob, ScheduleError
from acron.model import PROGRESS, Decision, Job, Skip, SkipReason
from acron.schedules import Calendar, Once, bounded, exact, parse, refuse_past, zones
from acron.schedules.combine import zone_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from acron.schedules import Schedule

#: How late a one-shot may still fire unless its job says otherwise, in seconds.
ONE_SHOT_GRACE = 24 * 3600.0
TICK = timedelta(microseconds=1)
#: By how much another machine's clock may be ahead of ours.
AHEAD = timedelta(days=1)

#: The calendars that schedules may name. Like time zones, they hold for the whole process: the
#: days of a calendar may change, and then every schedule that names it follows.
CALENDARS: dict[str, Calendar] = {}


def name_calendars(tables: Mapping[str, Sequence[str]]) -> None:
    """Make ``tables`` (days off by name, see ``Calendar``) known to every schedule.

    Raises ConfigError for an item that no calendar reads.
    """
    for name, items in tables.items():
        try:
            calendar = Calendar(items, name=name)
        except ScheduleError as error:
            raise ConfigError(str(error), where=f"calendars.{name}") from error
        if CALENDARS.get(name) != calendar:
            CALENDARS[name] = calendar
            _timetable.cache_clear()


@lru_cache(maxsize=65536)  # of more that fire in turn, none would be found in it again
def _timetable(
    text: str,
    tz: str,
    gap: str | None,
    fold: str | None,
    start: datetime | None,
    until: datetime | None,
) -> Schedule:
    # A bound text counts from nothing but itself, so that any `now` would do.
    schedule = parse(
        text,
        tz=tz,
        now=_EPOCH,
        gap=gap,  # type: ignore[arg-type]
        fold=fold,  # type: ignore[arg-type]
        calendars=CALENDARS,
    )
    return bounded(schedule, start, until)


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def timetable(job: Job) -> Schedule:
    """The schedule of a bound job. Raises ScheduleError when its text no longer parses."""
    policy = job.policy
    return _timetable(job.bound, job.tz, policy.gap, policy.fold, policy.start, policy.until)


def forget_zones() -> None:
    """Time zones have other rules than they had: read every schedule anew, by those."""
    zones.forget()
    _timetable.cache_clear()


def fire_at(job: Job, instant: datetime) -> datetime:
    """``instant`` with the job's jitter: the same for the same job and instant, everywhere."""
    jitter = job.policy.jitter
    if not jitter:
        return instant
    digest = blake2b(f"{job.id}@{instant.timestamp()}".encode(), digest_size=8).digest()
    return instant + timedelta(seconds=jitter * (int.from_bytes(digest, "big") / 2**64))


def grace(job: Job, schedule: Schedule, instant: datetime) -> float:
    """How late ``instant`` may start, in seconds: by default half the period, 120 s to 2 h."""
    if job.policy.grace is not None:
        return job.policy.grace
    if not schedule.recurring:
        return ONE_SHOT_GRACE
    following = schedule.next_after(instant)
    if following is None:
        return 7200.0
    return min(max((following - instant).total_seconds() / 2, 120.0), 7200.0)


def advance(job: Job, schedule: Schedule, cursor: datetime) -> Job:
    """The job with every instant up to ``cursor`` dealt with."""
    following = schedule.next_after(cursor)
    return replace(
        job,
        cursor=cursor,
        next_fire_at=None if following is None else fire_at(job, following),
        completed=following is None and not schedule.on_start,
    )


def replanned(job: Job) -> Job:
    """The job with its next instant by the rules that its time zone has now; they may have changed
    since that was computed. Raises ScheduleError."""
    if job.cursor is None or job.completed or job.error is not None:
        return job
    if job.tz == "UTC" and "TZ" not in job.bound:  # of many jobs, most need no reading
        return job
    schedule = timetable(job)
    if zone_of(schedule) is None:
        return job
    cursor = job.cursor
    if not schedule.recurring and (moment := schedule.last_at(cursor)) is not None:
        cursor = moment - TICK  # it has not fired, and is past by the new rules
    moved = advance(job, schedule, cursor)
    return job if moved.next_fire_at == job.next_fire_at else moved


def starts_each(job: Job) -> bool:
    """Whether each instant of a backlog starts. Not where the newest would replace all others."""
    return job.policy.catch_up == "all" and job.policy.overlap != "replace"


def not_counted(job: Job, claimed: Job) -> Job:
    """The job after an instant that was counted as a start and was none. If that was the last of
    its ``repeat``, another one follows. ``claimed`` is the job as it was then: if it has got
    another schedule since, or was made anew, its count is another one."""
    if job.created_at != claimed.created_at or _timing(job) != _timing(claimed):
        return job
    job = replace(job, fired=max(job.fired - 1, 0))
    repeat = job.policy.repeat
    if repeat is None or job.fired >= repeat or not job.completed or job.cursor is None:
        return job
    schedule = timetable(job)
    following = schedule.next_after(job.cursor)
    if following is None and not schedule.on_start:
        return job
    due = None if following is None else fire_at(job, following)
    return replace(job, completed=False, next_fire_at=due)


def on_start(job: Job, now: datetime) -> Job:
    """The job as acron starts at ``now``: an ``@reboot`` is due."""
    if job.state != "scheduled" or not timetable(job).on_start:
        return job
    return replace(job, cursor=now - TICK, next_fire_at=now)


def bind(new: Job, old: Job | None, now: datetime, *, past: bool = False) -> Decision:
    """Store ``new`` in the place of ``old``: the declaration is new's, the progress old's.

    A schedule is anchored when its text is first seen or changes; other edits, pause and resume
    leave the lattice alone. What came due during a pause becomes one counted skip. A moment
    that is long past is refused, unless ``past``: then it is taken, and missed.
    Raises ScheduleError, InvalidJob.
    """
    if old is None or _timing(old) != _timing(new):
        skips = () if old is None else _given_up(old, now)
        return Decision(_anchor(new, old, now, past=past), skips=skips)
    kept = {name: getattr(old, name) for name in PROGRESS}
    changed = replace(old, **{name: getattr(new, name) for name in _DECLARED})
    job = replace(new, **kept | {"revision": old.revision + (changed != old)})
    if job.error is not None or job.policy.repeat != old.policy.repeat:
        job = _mended(job, now)
    if old.paused is not None and job.paused is None:
        return _resume(job, now, now)
    return Decision(job)


def _mended(job: Job, now: datetime) -> Job:
    """A job whose calendar failed, tried once more, or whose number of fires has changed."""
    over = job.policy.repeat is not None and job.fired >= job.policy.repeat
    if over:
        return replace(job, error=None, completed=True, next_fire_at=None)
    try:
        return advance(replace(job, error=None), timetable(job), job.cursor or now)
    except ScheduleError as error:
        return replace(job, error=str(error))


def _anchor(job: Job, old: Job | None, now: datetime, *, past: bool) -> Job:
    """``job`` at the beginning of its schedule; ``old`` was in its place."""
    policy = job.policy
    plain = parse(
        job.schedule,
        tz=job.tz,
        now=now,
        job_id=job.id,
        gap=policy.gap,
        fold=policy.fold,
        calendars=CALENDARS,
    )
    if not past:
        late = ONE_SHOT_GRACE if policy.grace is None else policy.grace
        refuse_past(plain, now, late, job.schedule)
    schedule = plain
    if policy.start is not None or policy.until is not None:
        schedule = bounded(plain, policy.start, policy.until)
    _check_jitter(policy.jitter, schedule, now)
    cursor = min(now, plain.at - TICK) if isinstance(plain, Once) else _begin(old, now)
    following = schedule.next_after(cursor)
    return replace(
        job,
        bound=_bound(job.schedule, plain),
        cursor=cursor,
        next_fire_at=None if following is None else fire_at(job, following),
        last_fire_at=None if old is None else old.last_fire_at,
        incidents=() if old is None else old.incidents,
        fired=0,
        failures=0,
        completed=following is None and not schedule.on_start,
        error=None,
        created_at=now if old is None else old.created_at,
        revision=1 if old is None else old.revision + 1,
    )


def _begin(old: Job | None, now: datetime) -> datetime:
    """Where a recurring schedule begins: now; or after what a machine whose clock is ahead of ours
    has fired already, which must not run twice. A clock that is wrong by more than ``AHEAD`` is not
    believed: the job would wait for it."""
    fired = None if old is None else old.last_fire_at
    return fired if fired is not None and now < fired <= now + AHEAD else now


def _bound(text: str, schedule: Schedule) -> str:
    """What ``schedule`` is kept as. A hundred thousand jobs do not need the same text twice."""
    if exact(text) is not None:
        return text
    bound = str(schedule)
    return text if bound == text else bound


def _timing(job: Job) -> tuple[object, ...]:
    policy = job.policy
    return (
        job.schedule,
        job.tz,
        policy.gap,
        policy.fold,
        policy.start,
        policy.until,
        policy.jitter,
    )


_DECLARED = tuple(name for name in Job.__struct_fields__ if name not in PROGRESS)


def _check_jitter(jitter: float, schedule: Schedule, now: datetime) -> None:
    """A jitter as long as the period would let a later instant overtake an earlier one."""
    if not jitter:
        return
    for earlier, later in pairwise(schedule.upcoming(now, 10)):
        period = (later - earlier).total_seconds()
        if jitter >= period:
            message = f"jitter must be shorter than the period of {period:g} s, not {jitter:g} s"
            raise InvalidJob(message, where="$.jitter")


def pause_over(job: Job, now: datetime) -> Decision:
    """The job after a pause whose end has come. What was due before that end is skipped."""
    end = now if job.paused_until is None else job.paused_until
    job = replace(job, paused=None, paused_until=None, revision=job.revision + 1)
    return _resume(job, end - TICK, now)


def _resume(job: Job, end: datetime, now: datetime) -> Decision:
    """Take up a job paused until ``end``. Its failures are forgiven; of what came due a one-shot
    is still owed within its grace, and all else is a counted skip."""
    job = replace(job, failures=0)
    if job.state != "scheduled" or job.cursor is None:
        return Decision(job)
    schedule = timetable(job)
    newest = schedule.last_at(end)
    if newest is None or newest <= job.cursor:
        return Decision(job)
    late = (now - newest).total_seconds()
    if not schedule.recurring and late <= grace(job, schedule, newest):
        return Decision(job)
    missed = _counted(job, schedule, newest, SkipReason.PAUSED, now)
    return Decision(advance(job, schedule, newest), skips=missed)


def _given_up(old: Job, now: datetime) -> tuple[Skip, ...]:
    """What the schedule before a change still owed: its instants end in the ledger too."""
    if old.completed or old.error is not None or old.cursor is None:
        return ()
    schedule = timetable(old)
    newest = schedule.last_at(now)
    if newest is None or newest <= old.cursor:
        return ()
    reason = SkipReason.CHANGED if old.paused is None else SkipReason.PAUSED
    return _counted(old, schedule, newest, reason, now)


def _counted(
    job: Job, schedule: Schedule, newest: datetime, reason: SkipReason, now: datetime
) -> tuple[Skip, ...]:
    """One row for all instants after the job's cursor, up to ``newest``."""
    cursor = job.cursor or newest - TICK
    return (
        Skip(
            job_id=job.id,
            scheduled_at=newest,
            reason=reason,
            count=schedule.count(cursor, newest),
            first_at=schedule.next_after(cursor),
            recorded_at=now,
        ),
    )
