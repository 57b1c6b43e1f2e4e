"""``acron demo``: real jobs for ten seconds, in a home that is thrown away."""

from __future__ import annotations

import asyncio
import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from acron.cli.base import Json, verb
from acron.cli.board import Board, keep_planned
from acron.cli.logs import print_lines
from acron.cli.render import print_json
from acron.cli.target import on_a_loop, system_zone
from acron.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from acron.abc import Context
    from acron.app import Acron
    from acron.cli.target import Target
    from acron.model import Run

#: How long jobs are fired, and when the picture is taken, in seconds.
LENGTH, PICTURE_AT = 10.0, 9.3
WIDTH, HEIGHT = 100, 40


@verb("demo")
def demo(
    target: Target,  # noqa: ARG001 (the demo has a home of its own)
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save a picture of the live view.")
    ] = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Fire real jobs for ten seconds in a temporary home, and tell how it went."""
    import tempfile  # noqa: PLC0415 (slow)

    with tempfile.TemporaryDirectory(prefix="acron-demo-") as home:
        runs, picture = on_a_loop(_play(home, silent=as_json, pictured=svg is not None))
        files = len(list(Path(home).rglob("*.md")))
    if svg is not None and picture is not None:
        try:
            svg.write_text(picture, "utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {svg}: {error.strerror}", where="--svg") from error
    missing = sorted(EXPECTED - {run.job_id for run in runs if run.state == "succeeded"})
    found = _summary(runs) | {"files": files, "missing": missing}
    if as_json:
        print_json(found)
    else:
        _tell(found)
    if missing:
        raise typer.Exit(1)


#: The jobs that must have succeeded when the demo ends.
EXPECTED = {"clock", "quote", "crawl", "flaky", "tea"}
_QUOTES = ("Never twice.", "Time is a value.", "A claim comes first.", "Every instant has a fate.")


def _program(home: str) -> Acron:
    """A small program as anybody might write it."""
    from acron.app import Acron  # noqa: PLC0415
    from acron.model import Retry, Settings  # noqa: PLC0415

    app = Acron(app="demo", settings=Settings(home=home, tz=system_zone(), drain_timeout=3.0))

    @app.job("every 2s")
    def quote(ctx: Context) -> str:  # a plain function runs in a thread
        return _QUOTES[ctx.token % len(_QUOTES)]

    @app.job("every 4s")
    async def crawl(ctx: Context) -> str:
        pages = 12
        for page in range(pages):
            await ctx.progress(page, pages, f"page {page + 1}")
            await asyncio.sleep(0.2)
        return f"{pages} pages read"

    @app.job("every 3s", retry=Retry(attempts=2, delay=0.5, jitter=0))
    async def flaky(ctx: Context) -> str:
        if ctx.attempt == 1:
            message = "the other side hung up"
            raise ConnectionError(message)
        return f"well, on attempt {ctx.attempt}"

    return app


async def _play(home: str, *, silent: bool, pictured: bool) -> tuple[list[Run], str | None]:
    """Let the program run; what ran, and the picture that was asked for."""
    from acron.specs import Command  # noqa: PLC0415

    app = _program(home)
    board = Board("jobs.json", app.tz, app.clock.now())
    drawn = sys.stdout.isatty() and not silent
    followers: list[Any] = [board.follow(app.events()), keep_planned(app, board)]
    if not drawn and not silent:
        followers.append(print_lines(app.events()))
    elif drawn:
        followers.append(_watch(app, board))
    tasks = [asyncio.create_task(one) for one in followers]
    picture = None
    try:
        async with app:
            await app.add("every 1s", Command("date +%T"), id="clock")
            await app.add("in 5s", Command("echo tea is ready"), id="tea")
            await app.add("0 9 * * 1-5", Command("./report.sh"), id="report")
            begun = app.clock.monotonic()
            await asyncio.sleep(PICTURE_AT)
            if pictured:
                picture = _svg(board, app.clock.now())
            await asyncio.sleep(max(0.0, LENGTH - (app.clock.monotonic() - begun)))
            await app.drain()
            runs = await app.runs(limit=1000)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return runs, picture


async def _watch(app: Acron, board: Board) -> None:
    from rich.console import Console  # noqa: PLC0415 (slow, and only for terminals)

    from acron.cli.live import keep_drawn  # noqa: PLC0415

    await keep_drawn(app, board, Console())


def _svg(board: Board, now: datetime) -> str:
    """The live view as a picture that needs no font from elsewhere."""
    from rich._export_format import CONSOLE_SVG_FORMAT  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from acron.cli.live import draw  # noqa: PLC0415

    console = Console(
        record=True,
        width=WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(draw(board, now, HEIGHT))
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="python -m acron", code_format=form, unique_id="acron")


def _summary(runs: list[Run]) -> dict[str, Any]:
    import statistics  # noqa: PLC0415 (slow)

    late = [run.lateness for run in runs if run.scheduled_at and run.attempt == 1] or [0.0]
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.state.value] = counts.get(run.state.value, 0) + 1
    return {
        "runs": len(runs),
        "states": counts,
        "lateness_median": statistics.median(late),
        "lateness_max": max(late),
    }


def _tell(found: dict[str, Any]) -> None:
    states = found["states"].items()
    counts = ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in states)
    typer.echo(f"\n{found['runs']} runs in {LENGTH:g} seconds: {counts} (flaky ones, retried)")
    typer.echo(
        f"started {found['lateness_median'] * 1000:.0f} ms after their instant (median), "
        f"{found['lateness_max'] * 1000:.0f} ms at most"
    )
    typer.echo(
        f"each run was in the ledger of a jobs.json, {found['files']} outputs also in files; "
        "all of it was temporary and is gone"
    )
    for job_id in found["missing"]:
        typer.echo(f"the job {job_id} did not run as it should have", err=True)
    typer.echo('your turn: acron add "every 1m" --command "date", then acron run')
