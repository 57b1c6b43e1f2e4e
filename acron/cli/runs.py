"""The verbs on runs: run-now cancel runs output deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from acron.cli.base import Json, Ref, Usage, verb
from acron.cli.options import json_object
from acron.cli.render import (
    color,
    gist,
    late,
    local,
    many,
    note,
    print_json,
    span,
    table,
    took,
)
from acron.errors import AcronError
from acron.model import DeliveryState, Run, RunState
from acron.records import delivery_json, run_json, skip_json
from acron.targets import shown
from acron.text import many_lines, one_line
from acron.verbs import takes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from acron.app import Acron
    from acron.cli.target import Target
    from acron.model import Delivery, Job, Skip

RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, like r12.")]

#: The highest ``--limit``.
MOST = 10_000_000


@verb("run-now")
def run_now(
    target: Target,
    ref: Ref,
    kwargs: Annotated[
        str | None, typer.Option(metavar="JSON", help="Arguments for this run only; an object.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Run a job once, now, beside its schedule.

    A running acron that can run it does; where there is none, this process does, and waits.
    """
    own = None if kwargs is None else json_object(kwargs)

    async def elsewhere(app: Acron) -> tuple[Job, Run | None]:
        job = await app.get(ref)
        if await has_taker(app, job):
            return job, await app.run_now(job.id, kwargs=own, wait=wait)
        return job, None

    async def here(app: Acron) -> Run:
        must_run_here(app, job)
        return await app.run_here(job.id, kwargs=own)

    job, run = target.do(elsewhere)
    if run is None:
        run = target.do(here, firing=True)
    if as_json:
        print_json(run_json(run))
    elif run.state.ended:
        typer.echo(f"{run.job_id} {run.id} {color(run.state.value)} in {span(took(run))}")
        _print_output(run, run.output or "")
    else:
        typer.echo(f"{run.job_id} {run.id}: a running acron starts it now")
    if run.state.ended and run.state is not RunState.SUCCEEDED:
        raise typer.Exit(1)


async def has_taker(app: Acron, job: Job) -> bool:
    """Whether a running acron would run it."""
    return any(takes(node, job) for node in await app.nodes())


def must_run_here(app: Acron, job: Job) -> None:
    """Raise AcronError when this process cannot run the job."""
    if app.node is None or job.action.needs not in app.node.offers:
        message = (
            f"no running acron can run {job.action.needs}, and neither can this command; "
            "name the program that has it with --app"
        )
        raise AcronError(message)


@verb("cancel")
def cancel(
    target: Target,
    run_id: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, like r12, or a backfill's, like b7.")
    ],
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Stop one run, wherever it goes on; of a backfill, all that waits."""
    if run_id.startswith("b"):
        stopped = target.do(lambda app: app.cancel_batch(run_id))
        if as_json:
            print_json({"batch": run_id, "cancelled": stopped})
        else:
            typer.echo(f"{run_id}: {many(stopped, 'run')} cancelled")
        return

    async def work(app: Acron) -> tuple[Run, Run]:
        return await app.get_run(run_id), await app.cancel(run_id)

    before, run = target.do(work)
    if before.state.ended:
        message = f"{run_id} has ended already: {before.state.value}"
        raise AcronError(message)
    if as_json:
        print_json(run_json(run))
    elif run.state.ended:
        typer.echo(f"{run.job_id} {run.id} cancelled")
    else:
        typer.echo(f"{run.job_id} {run.id}: its acron was told to stop it")


@verb("runs")
def runs(
    target: Target,
    ref: Annotated[
        str | None, typer.Argument(metavar="[REF]", help="Of this job only.", show_default=False)
    ] = None,
    state: Annotated[RunState | None, typer.Option(help="In this state only.")] = None,
    skips: Annotated[bool, typer.Option("--skips", help="Also what did not run.")] = False,  # noqa: FBT002
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many.")] = 100,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Print the ledger, newest first: what ran, and with --skips what did not and why."""

    async def work(app: Acron) -> tuple[list[Run], list[Skip], str]:
        found = await app.runs(ref, state=state, limit=limit)
        skipped = await app.skips(ref, limit=limit) if skips and state is None else []
        return found, skipped, app.tz

    ran, skipped, tz = target.do(work)
    rows: list[Run | Skip] = [*ran, *skipped]
    rows = sorted(rows, key=_at, reverse=True)[:limit]
    if as_json:
        print_json([run_json(row) if isinstance(row, Run) else skip_json(row) for row in rows])
    elif rows:
        head = ("AT", "JOB", "RUN", "STATE", "TOOK", "", "")
        typer.echo(table(head, [_row(row, tz) for row in rows], paint=3))


def _at(row: Run | Skip) -> datetime:
    return (row.started_at or row.due_at) if isinstance(row, Run) else row.scheduled_at


def _row(row: Run | Skip, tz: str) -> tuple[str, ...]:
    if isinstance(row, Run):
        attempt = f" (attempt {row.attempt})" if row.attempt > 1 else ""
        length = span(took(row)) if row.finished_at else ""
        state = row.state.value.replace("_", " ")
        when = local(row.scheduled_at or row.due_at, tz)
        said = gist(row) or one_line(row.note or "", 80)
        return when, row.job_id, row.id, state + attempt, length, late(row), said
    times = f"{row.count} times" if row.count > 1 else ""
    return local(row.scheduled_at, tz), row.job_id, "", "skipped", "", "", f"{row.reason} {times}"


@verb("output")
def output(
    target: Target,
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", help="Print it as it comes.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Print what a run said. With --follow, exit code 1 when it has not succeeded."""

    async def work(app: Acron) -> tuple[Run, str]:
        if follow and not as_json:
            await _print_as_it_comes(app.follow(run_id))
        run = await app.wait(run_id) if follow else await app.get_run(run_id)
        return run, await app.output(run)

    run, said = target.do(work)
    if as_json:
        print_json(run_json(run) | {"output": run.output and said})
    elif follow:
        _print_error(run)
    else:
        _print_output(run, said)
        if not run.state.ended:
            note(f"{run.id} is {run.state.value}; its output comes with its end (see --follow)")
    if follow and run.state is not RunState.SUCCEEDED:
        raise typer.Exit(1)


async def _print_as_it_comes(texts: AsyncIterator[str]) -> None:
    text = "\n"
    async for text in texts:
        typer.echo(many_lines(text), nl=False)
    if not text.endswith("\n"):
        typer.echo()


def _print_output(run: Run, said: str) -> None:
    text = many_lines(said)
    if text:
        typer.echo(text, nl=not text.endswith("\n"))
    _print_error(run)


def _print_error(run: Run) -> None:
    if run.error:
        note(f"{run.job_id} {run.id} {run.state.value.replace('_', ' ')}: {run.error}")


@verb("deliveries")
def deliveries(
    target: Target,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[resend RUN TARGET]", help="Send once more, now.", show_default=False
        ),
    ] = None,
    state: Annotated[DeliveryState | None, typer.Option(help="In this state only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Of at most so many runs.")] = 100,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Tell what was sent to whom, newest first; or send it to one target once more."""
    if words:
        _resend(target, words, as_json=as_json)
        return

    async def work(app: Acron) -> tuple[list[tuple[Run, Delivery]], str]:
        return await app.deliveries(state, limit=limit), app.tz

    found, tz = target.do(work)
    if as_json:
        print_json([_told_json(run, one) for run, one in found])
    elif found:
        head = ("ENDED", "JOB", "RUN", "TARGET", "STATE", "SENT", "")
        typer.echo(table(head, [_told_row(run, one, tz) for run, one in found], paint=4))


def _resend(target: Target, words: list[str], *, as_json: bool) -> None:
    if len(words) != 3 or words[0] != "resend":
        raise Usage("deliveries takes nothing, or: resend RUN TARGET")
    _, run_id, place = words
    run = target.do(lambda app: app.resend(run_id, place), firing=True)
    (told,) = [one for one in run.deliveries if place in {one.target, shown(one.target)}]
    if as_json:
        print_json(_told_json(run, told))
    else:
        why = f": {told.error}" if told.error else ""
        typer.echo(f"{run.job_id} {run.id} {shown(told.target)} {color(told.state)}{why}")
    if told.state not in {"delivered", "unverified"}:
        raise typer.Exit(1)


def _told_json(run: Run, told: Delivery) -> dict[str, object]:
    return {"job_id": run.job_id, "run_id": run.id} | delivery_json(told)


def _told_row(run: Run, told: Delivery, tz: str) -> tuple[str, ...]:
    again = f"again at {local(told.retry_at, tz)}" if told.retry_at else ""
    what = "; ".join(one for one in (told.error, again) if one) or told.receipt or ""
    sent = f"{told.attempts} times" if told.attempts > 1 else ""
    when = local(run.finished_at or run.due_at, tz)
    return when, run.job_id, run.id, shown(told.target), told.state, sent, one_line(what, 200)
