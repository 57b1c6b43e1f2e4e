"""The verbs on runs: run-now cancel runs output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from acron.cli.base import Json, Ref, verb
from acron.cli.render import color, gist, late, local, note, print_json, span, table, took
from acron.errors import AcronError
from acron.model import Run, RunState
from acron.records import run_json, skip_json
from acron.text import many_lines, one_line

if TYPE_CHECKING:
    from datetime import datetime

    from acron.app import Acron
    from acron.cli.target import Target
    from acron.model import Job, Skip

RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, like r12.")]


@verb("run-now")
def run_now(
    target: Target,
    ref: Ref,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Run a job once, now, beside its schedule.

    A running acron that can run it does; where there is none, this process does, and waits.
    """

    async def elsewhere(app: Acron) -> tuple[Job, Run | None]:
        job = await app.get(ref)
        nodes = (await app.status()).nodes
        takers = [node for node in nodes if node.alive and not node.draining]
        if any(job.action.needs in node.offers for node in takers):
            return job, await app.run_now(job.id, wait=wait)
        return job, None

    job, run = target.do(elsewhere)
    if run is None:
        run = target.do(lambda app: _here(app, job), firing=True)
    if as_json:
        print_json(run_json(run))
    elif run.state.ended:
        typer.echo(f"{run.job_id} {run.id} {color(run.state.value)} in {span(took(run))}")
        _print_output(run)
    else:
        typer.echo(f"{run.job_id} {run.id}: a running acron starts it now")
    if run.state.ended and run.state is not RunState.SUCCEEDED:
        raise typer.Exit(1)


async def _here(app: Acron, job: Job) -> Run:
    if app.node is None or job.action.needs not in app.node.offers:
        message = (
            f"no running acron can run {job.action.needs}, and neither can this command; "
            "name the program that has it with --app"
        )
        raise AcronError(message)
    return await app.run_here(job.id)


@verb("cancel")
def cancel(target: Target, run_id: RunId, as_json: Json = False) -> None:  # noqa: FBT002
    """Stop one run, wherever it goes on."""

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
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """The ledger, newest first: what ran, and with --skips what did not and why."""

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
    follow: Annotated[bool, typer.Option("--follow", help="Wait for the run's end.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Print what a run said. It is kept with the run's end."""

    async def work(app: Acron) -> Run:
        run = await app.get_run(run_id)
        return await app.wait(run.id) if follow else run

    run = target.do(work)
    if as_json:
        print_json(run_json(run))
        return
    _print_output(run)
    if not run.state.ended:
        note(f"{run.id} is {run.state.value}; its output comes with its end (see --follow)")


def _print_output(run: Run) -> None:
    text = many_lines(run.output or "")
    if text:
        typer.echo(text, nl=not text.endswith("\n"))
    if run.error:
        note(f"{run.job_id} {run.id} {run.state.value.replace('_', ' ')}: {run.error}")
