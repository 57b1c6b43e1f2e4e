"""The verb mcp: the agent's tool on standard input and output."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from acron.cli.base import Tz, Usage, verb
from acron.cli.calendar import zone_name
from acron.errors import ScheduleError
from acron.schedules import duration

if TYPE_CHECKING:
    from acron.app import Acron
    from acron.cli.target import Target


@verb("mcp")
def mcp(
    target: Target,
    origin: Annotated[
        str, typer.Option("--origin", metavar="TEXT", help="Whose jobs: it sees no others.")
    ] = "mcp",
    deliver: Annotated[
        list[str] | None,
        typer.Option("--deliver", metavar="TARGET", help="Where the output of new jobs goes."),
    ] = None,
    function: Annotated[
        list[str] | None,
        typer.Option("--function", metavar="NAME", help="A registered function it may schedule."),
    ] = None,
    max_jobs: Annotated[
        int, typer.Option("--max-jobs", metavar="N", min=1, help="How many jobs it may have.")
    ] = 20,
    shortest: Annotated[
        str, typer.Option("--shortest", metavar="TIME", help="The shortest time between fires.")
    ] = "5m",
    may_schedule: Annotated[  # noqa: FBT002
        bool, typer.Option("--may-schedule", help="Runs of its jobs may use the tool too.")
    ] = False,
    tz: Tz = None,
) -> None:
    """Serve the agent's tool over the Model Context Protocol, on standard input and output.

    A language-model client starts it. It fires nothing: `acron run` does.
    """
    from acron.integrations.mcp import serve  # noqa: PLC0415 (slow)
    from acron.integrations.tool import Desk, Limits  # noqa: PLC0415

    try:
        limits = Limits(max_jobs, duration(shortest))
    except ScheduleError as error:
        raise Usage(f"--shortest: {error}") from None

    async def work(app: Acron) -> None:
        desk = Desk(
            app,
            origin,
            limits,
            functions=tuple(function or ()),
            deliver=deliver,
            tz=zone_name(tz) if tz else None,
            may_schedule=may_schedule,
            within=os.environ.get("ACRON_JOB_ID"),  # a client that a job has started
        )
        await serve(desk)

    target.do(work)
