"""The verbs on schedules: next explain. They need no store, and create none."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from acron.cli.base import Json, Tz, Usage, verb
from acron.cli.render import iso, local, note, print_json
from acron.cli.target import on_a_loop
from acron.clock import SystemClock
from acron.config import store_url
from acron.errors import ConfigError, JobNotFound, ScheduleError, StoreError
from acron.schedules import parse, refuse_past
from acron.schedules.explain import explain as explain_schedule
from acron.schedules.zones import hint, zone
from acron.stores import open_store
from acron.text import many_lines
from acron.timetable import CALENDARS, ONE_SHOT_GRACE, timetable

if TYPE_CHECKING:
    from acron.app import Acron
    from acron.cli.target import Target
    from acron.model import Job


@verb("explain")
def explain(
    target: Target,
    schedule: Annotated[str, typer.Argument(help="A schedule text.")],
    tz: Tz = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Tell what a schedule text means, and when it fires next."""
    app = target.acron()  # whose settings may name calendars
    place = zone_name(tz) if tz else app.tz
    now = SystemClock().now()
    told = explain_schedule(parse(schedule, tz=place, now=now, calendars=CALENDARS), now, place)
    if not as_json:
        typer.echo(many_lines(str(told)))
        return
    change = told.change
    print_json(
        {
            "schedule": told.text,
            "sentence": told.sentence,
            "tz": told.zone,
            "next": [iso(one.astimezone(UTC)) for one in told.instants],
            "per_year": told.per_year,
            "change": change and {"at": iso(change.at), "effect": change.effect},
            "warnings": list(told.warnings),
        }
    )


@verb("next")
def next_(
    target: Target,
    what: Annotated[str, typer.Argument(metavar="SCHEDULE|REF", help="A schedule, or a job.")],
    count: Annotated[int, typer.Option("-n", min=1, max=100_000, help="How many instants.")] = 5,
    tz: Tz = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="ISO", help="Later than this; default: now.")
    ] = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Print the next instants of a schedule or a job."""
    app = target.acron()
    now = SystemClock().now()
    look = target.app is not None or _may_be_known(app, what, now)
    job, trouble = _find(app, what) if look else (None, None)
    place = zone_name(tz) if tz else job.tz if job else app.tz
    since = now if start is None else instant(start, place)
    if job is not None:
        instants = _of_job(job, since, now, count)
    else:
        try:
            schedule = parse(what, tz=place, now=since, calendars=CALENDARS)
            refuse_past(schedule, since, ONE_SHOT_GRACE, what)
        except ScheduleError as error:
            raise trouble or error from None
        instants = schedule.upcoming(since, count)
    if as_json:
        print_json([iso(one) for one in instants])
        return
    for one in instants:
        typer.echo(f"{iso(one)}  {local(one, place)} {place}")
    if not instants:
        note(f"no instant to come: {job.id} is {job.state}" if job else "no instant to come")


def _may_be_known(app: Acron, what: str, now: datetime) -> bool:
    """Whether to look for a job into the store: a question about a text must not create one, nor
    wait for one on a server."""
    path = Path(open_store(store_url(app.settings), app.home).address.removeprefix("sqlite:///"))
    if path.is_absolute():
        return path.exists() or path.with_suffix(".journal").exists()
    try:
        parse(what, tz=app.tz, now=now, calendars=CALENDARS)
    except ScheduleError:
        return True
    return False


def _find(app: Acron, ref: str) -> tuple[Job | None, StoreError | None]:
    """The job that ``ref`` names, and what kept us from looking."""

    async def look() -> Job:
        async with app.attached():
            return await app.get(ref)

    try:
        return on_a_loop(look()), None
    except JobNotFound:
        return None, None
    except StoreError as error:
        return None, error


def _of_job(job: Job, since: datetime, now: datetime, count: int) -> list[datetime]:
    """What ``job`` has before it, later than ``since``."""
    if job.due_at is None or job.cursor is None:
        return []
    left = count if job.policy.repeat is None else min(count, job.policy.repeat - job.fired)
    # What is owed but has not been claimed yet is to come, whatever the time.
    return timetable(job).upcoming(job.cursor if since <= now else since, left)


def zone_name(name: str) -> str:
    """The proper name of the zone given with ``--tz``. Raises ConfigError."""
    try:
        return zone(name).name
    except LookupError:
        message = f"unknown zone {name[:80]!r} ({hint(name[:80])})"
        raise ConfigError(message, where="--tz") from None


def instant(text: str, place: str, option: str = "--from") -> datetime:
    """An ISO 8601 text; without an offset it is on the wall clock of ``place``."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=ZoneInfo(place))
        found = found.astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{option} {text[:80]!r} is no instant; write 2026-12-01T09:00+01:00"
        raise Usage(message) from None
    if found.year in {MINYEAR, MAXYEAR}:  # at whose ends some clocks have no reading
        message = f"{option} {text!r} is not within the years {MINYEAR + 1} to {MAXYEAR - 1}"
        raise Usage(message)
    return found
