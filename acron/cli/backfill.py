"""The verb that runs again what a schedule has missed."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from math import inf
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acron.backfill import SLOWEST
from acron.cli.base import Json, Ref, Usage, verb
from acron.cli.calendar import instant
from acron.cli.render import color, many, note, print_json
from acron.cli.runs import has_taker, must_run_here
from acron.model import RunState
from acron.occurrences import ALL
from acron.verbs import Forsaken

if TYPE_CHECKING:
    from acron.app import Acron
    from acron.backfill import Backfill
    from acron.cli.target import Target
    from acron.model import Job

#: Seconds between two looks at how far it is.
LOOK = 0.5


@verb("backfill")
def backfill(
    target: Target,
    ref: Ref,
    since: Annotated[str, typer.Option(metavar="ISO", help="The first instant that may run.")],
    until: Annotated[str, typer.Option(metavar="ISO", help="All instants before this one.")],
    rate: Annotated[float, typer.Option(metavar="N", help="At most so many starts a second.")] = 10,
    again: Annotated[bool, typer.Option("--again", help="Also those that succeeded.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Run the instants of a schedule that have no succeeded run, and wait for them.

    The work is durable: when this command is stopped, a running acron goes on with it.
    """

    async def begin(app: Acron) -> tuple[Job, Backfill, bool]:
        job = await app.get(ref)
        first, end = instant(since, job.tz, "--since"), instant(until, job.tz, "--until")
        if end <= first:
            raise Usage("--until must be later than --since")
        begun = await app.backfill(job.id, first, end, rate=rate, again=again)
        return job, begun, await has_taker(app, job)

    async def wait(app: Acron) -> Counter[str]:
        if not taken:
            must_run_here(app, job)
        return await _watch(app, begun, here=not taken)

    if not SLOWEST <= rate < inf:
        raise Usage(f"--rate is a number of starts a second, {SLOWEST:f} or more")
    job, begun, taken = target.do(begin)
    states: Counter[str] = Counter()
    if begun.batch is not None:
        try:
            states = target.do(wait, firing=not taken)
        except (KeyboardInterrupt, SystemExit):
            _tell_how_to_look(target, begun)
            raise
    _report(begun, states, as_json=as_json)
    if any(state != RunState.SUCCEEDED for state in states):
        raise typer.Exit(1)


async def _watch(app: Acron, begun: Backfill, *, here: bool) -> Counter[str]:
    """Until all have ended; how many ended how."""
    batch = begun.batch or ""
    work = asyncio.create_task(app.backfill_here(batch, begun.job_id)) if here else None
    forsaken = Forsaken(app)
    try:
        with _bar(begun) as bar:
            while left := await app.unfinished(batch, begun.job_id):
                bar.update(bar.task_ids[0], completed=begun.runs - len(left))
                if work is not None and work.done():
                    break
                await forsaken.look(next((run for run in left if run.node), left[-1]))
                await asyncio.sleep(LOOK)
            bar.update(bar.task_ids[0], completed=begun.runs)
        if work is not None:
            await work
    finally:
        if work is not None:
            work.cancel()
            await asyncio.wait({work})
    runs = await app.runs(begun.job_id, limit=ALL)
    return Counter(run.state.value for run in runs if run.batch == batch)


def _bar(begun: Backfill) -> Any:
    """A bar of progress on standard error, if that is a terminal."""
    from rich import progress  # noqa: PLC0415 (slow, and only here)
    from rich.console import Console  # noqa: PLC0415

    bar = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    bar.add_task(f"{begun.job_id} {begun.batch}", total=begun.runs)
    return bar


def _tell_how_to_look(target: Target, begun: Backfill) -> None:
    call = target.command
    note(
        f"{begun.batch} goes on wherever acron runs; see {call} runs {begun.job_id}, "
        f"or stop it: {call} cancel {begun.batch}"
    )


def _report(begun: Backfill, states: Counter[str], *, as_json: bool) -> None:
    if as_json:
        told = {"job_id": begun.job_id, "batch": begun.batch, "runs": begun.runs}
        print_json(told | {"already": begun.already, "states": dict(states)})
        return
    already = f"{many(begun.already, 'instant')} done already, or under way"
    if begun.batch is None:
        why = already if begun.already else "no instant of its schedule lies there"
        typer.echo(f"{begun.job_id}: nothing to do; {why}")
        return
    ended = ", ".join(f"{count:,} {color(state)}" for state, count in sorted(states.items()))
    left = f"; {already}" if begun.already else ""
    typer.echo(f"{begun.job_id} {begun.batch}: {ended}{left}")
