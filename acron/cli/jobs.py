"""The verbs on one job: add list show edit."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acron.adapters import OURS
from acron.cli.base import Json, Ref, Tag, Usage, verb
from acron.cli.options import FIELDS, to_record
from acron.cli.render import (
    color,
    countdown,
    does,
    gist,
    late,
    local,
    note,
    print_json,
    span,
    table,
    took,
)
from acron.errors import InvalidJob
from acron.records import job_json, job_to_record
from acron.targets import ALL, ORIGIN, parse_target
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from acron.app import Acron
    from acron.cli.target import Target
    from acron.model import Job, Node
    from acron.status import Status

_ACTIONS = ("prompt", "command", "call", "http")
_HIDDEN = (
    *("id", "name", "schedule", "tz", "paused", "command", "call", "kwargs", "action", "data"),
    *("http", "prompt"),
)


@verb("add", fields=FIELDS)
def add(
    target: Target,
    schedule: Annotated[str, typer.Argument(help='When, like "every 2h" or "0 9 * * 1-5".')],
    prompt: Annotated[
        str | None, typer.Argument(help="What to ask the program's agent.", show_default=False)
    ] = None,
    job_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Its id; default: a random one.")
    ] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Add it paused.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
    *,
    fields: Mapping[str, Any],
) -> None:
    """Add a job, and tell when it fires."""
    row = {"id": job_id, "schedule": schedule, "paused": paused or None, **to_record(fields)}
    if prompt is not None:
        row["prompt"] = prompt
    if len([name for name in _ACTIONS if name in row]) != 1:
        raise Usage("say what it does, once: a PROMPT, --command SH, --call NAME or --http URL")

    async def work(app: Acron) -> tuple[Job, list[datetime], Sequence[Node]]:
        (job,) = await app.add_many([row])
        return job, await app.upcoming(job.id, 3), await app.store.nodes()

    job, instants, nodes = target.do(work)
    if as_json:
        print_json(job_json(job))
    else:
        typer.echo(f"added {sentence(job, instants)}")
    _note_misspelt(job)
    live = [node for node in nodes if node.alive]
    if not live:
        note(f"nothing will fire it: no acron is running on this store; start {target.command} run")
    elif not any(job.action.needs in node.offers for node in live):
        note(f"nothing will fire it: no running acron can run {job.action.needs}")


@verb("list")
def list_(target: Target, tag: Tag = None, as_json: Json = False) -> None:  # noqa: FBT002
    """List all jobs, or those with a tag."""

    async def work(app: Acron) -> tuple[list[Job], Status, datetime]:
        return [job async for job in app.jobs(tag=tag)], await app.status(), app.clock.now()

    jobs, status, now = target.do(work)
    address, parked = status.store, frozenset(status.parked)
    for problem in status.problems:  # a record that cannot be read is not among the jobs
        note(problem)
    if as_json:
        print_json([job_json(job) for job in jobs])
    elif not jobs and tag is not None:
        typer.echo(one_line(f"no jobs with the tag {tag!r} in {address}"))
    elif not jobs:
        typer.echo(f"no jobs in {one_line(address)}; add one:")
        typer.echo(f'  {target.command} add "every 1m" --command "date"')
    else:
        head = ("ID", "NAME", "SCHEDULE", "DOES", "NEXT", "", "ZONE", "STATE")
        typer.echo(table(head, [_row(job, job.id in parked, now) for job in jobs], paint=7))


def _row(job: Job, parked: bool, now: datetime) -> tuple[str, ...]:  # noqa: FBT001
    name = "" if job.name == job.id else job.name
    due = job.due_at
    when = "" if due is None else local(due, job.tz)
    state = "parked" if parked else job.state
    left = "" if due is None else countdown(due, now)
    return (job.id, name, job.schedule, does(job.action), when, left, job.tz, state)


@verb("show")
def show(target: Target, ref: Ref, as_json: Json = False) -> None:  # noqa: FBT002
    """Show one job: what it is, when it fires, how it went."""

    async def work(app: Acron) -> dict[str, Any]:
        job = await app.get(ref)
        return {
            "job": job,
            "instants": await app.upcoming(job.id, 3),
            "runs": await app.runs(job.id, limit=5),
            "parked": job.id in (await app.status()).parked,
        }

    found = target.do(work)
    job: Job = found["job"]
    if as_json:
        print_json(job_json(job))
        return
    typer.echo(f"{typer.style(job.id, bold=True)}  {_state(job, parked=found['parked'])}")
    policies = {key: value for key, value in job_to_record(job).items() if key not in _HIDDEN}
    rows = [
        ("name", "" if job.name == job.id else job.name),
        ("schedule", job.schedule),
        ("bound", "" if job.bound == job.schedule else job.bound),
        ("zone", job.tz),
        ("does", does(job.action, 1000)),
        *((key, _short(value)) for key, value in policies.items()),
        ("next", ", ".join(local(one, job.tz) for one in found["instants"])),
        ("fired", f"{job.fired} times" if job.fired != 1 else "once"),
        ("failures", f"{job.failures} in a row" if job.failures else ""),
    ]
    for key, value in rows:
        if value:
            typer.echo(f"  {key:<10}{one_line(value)}")
    for run in found["runs"]:
        word = color(run.state.value, f"{run.state.value.replace('_', ' '):<11}")
        words = "  ".join(filter(None, (late(run), gist(run))))
        typer.echo(f"  {run.id:<10}{word} {span(took(run)):<6}  {words}")


def _state(job: Job, *, parked: bool) -> str:
    if parked:
        return color("parked", f"parked: no running acron can run {one_line(job.action.needs)}")
    reason = job.error or job.paused
    return color(job.state, f"{job.state}: {one_line(reason)}" if reason else job.state)


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@verb("edit", fields=FIELDS)
def edit(
    target: Target,
    ref: Ref,
    schedule: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A new schedule, counted from now.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What to ask the program's agent.")
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Put a field back to its default; may be repeated."),
    ] = None,
    as_json: Json = False,  # noqa: FBT002
    *,
    fields: Mapping[str, Any],
) -> None:
    """Change a job. Its instants stay unless schedule or zone change."""
    changes = to_record(fields) | {key.replace("-", "_"): None for key in unset or ()}
    if schedule is not None:
        changes["schedule"] = schedule
    if prompt is not None:
        changes["prompt"] = prompt
    if not changes:
        raise Usage("nothing to change; give a field, like --timeout 5m")
    if "id" in changes:
        raise InvalidJob("the id of a job cannot change", where="$.id")

    async def work(app: Acron) -> tuple[Job, list[datetime]]:
        job = await app.edit(ref, **changes)
        return job, await app.upcoming(job.id, 3)

    job, instants = target.do(work)
    tell(job, f"changed {sentence(job, instants)}", as_json=as_json)
    _note_misspelt(job)


def _note_misspelt(job: Job) -> None:
    """A platform that nobody here knows may be the program's own; one that is nearly ours is
    rather a slip, which would show only when the first message fails."""
    known = (*OURS, "local", "log", ORIGIN, ALL)
    for text in (*(job.deliver or ()), *(job.policy.deliver_failure or ())):
        platform = parse_target(text).platform
        if platform not in known and (near := get_close_matches(platform, known, n=1)):
            note(f"no platform {one_line(platform)!r} is known here; did you mean {near[0]!r}?")


def tell(job: Job, line: str, *, as_json: bool) -> None:
    """Print the job as JSON, or the line."""
    if as_json:
        print_json(job_json(job))
    else:
        typer.echo(line)


def sentence(job: Job, instants: Sequence[datetime]) -> str:
    """``tea: every 2h, next Sun 2026-11-22 18:00:00, … (Europe/Paris)``, in one line."""
    name = "" if job.name == job.id else f" “{job.name}”"
    if job.state != "scheduled":
        when = f"{job.state}, fires no more" if job.state == "completed" else job.state
    else:
        when = "next " + ", ".join(local(one, job.tz) for one in instants)
    return one_line(f"{job.id}{name}: {job.schedule}, {when} ({job.tz})")
