"""The verbs on the process that fires: run status tick."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from acron.cli.base import Json, Usage, listening, verb
from acron.cli.logs import line, logging_to_stderr, print_lines
from acron.cli.render import color, countdown, iso, local, many, print_json, span, table
from acron.cli.target import at_once, on_a_loop
from acron.events import Finished
from acron.records import run_json
from acron.status import health
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from datetime import datetime

    from acron.app import Acron
    from acron.cli.target import Target
    from acron.events import Event
    from acron.model import Run
    from acron.status import Slot, Status

    Viewer = Callable[[Acron, AsyncIterator[Event]], Coroutine[Any, Any, None]]


@verb("run")
def run(
    target: Target,
    live: Annotated[
        bool | None, typer.Option("--live/--no-live", help="Draw a live view, or log lines.")
    ] = None,
    until_idle: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Leave when nothing ran for so long."),
    ] = None,
    serve: Annotated[
        str | None, typer.Option(metavar="[HOST:]PORT", help="Serve the fire webhook and /healthz.")
    ] = None,
) -> None:
    """Fire jobs until SIGINT or SIGTERM; then drain. A second signal ends at once."""
    if until_idle is not None and not isfinite(until_idle):
        raise Usage("--until-idle is a number of seconds")
    app = target.acron()
    hint = f'{target.command} add "every 1m" --command "date"'
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    drawn = terminal if live is None else live
    viewer = _live(hint) if drawn else _lines(hint)
    with logging_to_stderr(logging.INFO):
        asyncio.run(_run(app, viewer, until_idle, serve))


async def _run(app: Acron, viewer: Viewer, until_idle: float | None, address: str | None) -> None:
    """Run the app, and the view beside it: the view cannot stop the app."""
    if address is not None:
        from acron.web import serving, site  # noqa: PLC0415 (an extra)

        async with serving(site(app), listening(address)):
            return await _run(app, viewer, until_idle, None)
    view = asyncio.create_task(viewer(app, app.events()))
    try:
        await app.run(until_idle=until_idle)
        await asyncio.wait({view}, timeout=2.0)
    finally:
        view.cancel()
        (told,) = await asyncio.gather(view, return_exceptions=True)
        if isinstance(told, Exception):
            print(f"acron: the view failed: {type(told).__name__}: {told}", file=sys.stderr)


def _live(hint: str) -> Viewer:
    async def view(app: Acron, events: AsyncIterator[Event]) -> None:
        from rich.console import Console  # noqa: PLC0415 (slow, and only for terminals)

        from acron.cli.board import Board  # noqa: PLC0415
        from acron.cli.live import watch  # noqa: PLC0415

        await _opened(app)
        board = Board(app.store.address, app.tz, app.clock.now(), hint)
        await watch(app, board, events, Console())

    return view


def _lines(hint: str) -> Viewer:
    async def view(app: Acron, events: AsyncIterator[Event]) -> None:
        await _opened(app)
        status = await app.status()
        print(_greeting(app, status), flush=True)
        if status.jobs == 0:
            print(f"no jobs yet; add one: {hint}", flush=True)
        await print_lines(events)

    return view


async def _opened(app: Acron) -> None:
    """Until its first heartbeat, of which nobody tells: others can see by then that it fires."""
    while (node := app.node) is None or node.heartbeat_at is None:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def _greeting(app: Acron, status: Status) -> str:
    from acron import __version__  # noqa: PLC0415

    at = iso(app.clock.now().replace(microsecond=0))
    due = status.next_fire_at
    following = "" if due is None else f", next at {iso(due.replace(microsecond=0))}"
    provider = "" if app.node is None else app.node.provider
    return one_line(
        f"{at} acron {__version__} fires {many(status.jobs, 'job')} of {status.store} "
        f"({provider}, {app.tz}){following}"
    )


@verb("tick")
def tick(target: Target, as_json: Json = False) -> None:  # noqa: FBT002
    """Fire once all that is due now, and wait for its end. For use by another scheduler."""
    app = target.acron()

    async def work() -> list[Run]:
        ended: list[Run] = []
        reading = asyncio.create_task(_read(app.events(), ended, silent=as_json))
        async with app.attached(firing=True):
            with at_once(app):
                await app.tick()
                while app.node is not None and app.node.running:  # noqa: ASYNC110 (as above)
                    await asyncio.sleep(0.05)
        await reading  # closing the app ends it
        return ended

    ended = on_a_loop(work())
    if as_json:
        print_json([run_json(run) for run in ended])
    elif not ended:
        typer.echo("nothing was due")


async def _read(events: AsyncIterator[Event], ended: list[Run], *, silent: bool) -> None:
    async for event in events:
        if isinstance(event, Finished):
            ended.append(event.run)
        text = None if silent else line(event)
        if text is not None:
            typer.echo(text)


@verb("status")
def status(target: Target, as_json: Json = False) -> None:  # noqa: FBT002
    """Tell whether jobs fire, and if not, why. Exit code 1 when they do not."""

    async def work(app: Acron) -> tuple[Status, datetime, str, list[str]]:
        found = await app.status()
        jobs = [await app.get(one) for one in found.parked[:20]]
        parked = [f"{job.id} (needs {job.action.needs})" for job in jobs]
        return found, app.clock.now(), app.tz, [*parked, *found.parked[20:]]

    found, now, tz, parked = target.do(work)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        _print_status(msgspec.structs.replace(found, parked=tuple(parked)), now, tz, target.command)
    if not found.healthy:
        raise typer.Exit(1)


def _ago(instant: datetime | None, now: datetime) -> str:
    return "never" if instant is None else f"{span((now - instant).total_seconds())} ago"


def _held(slot: Slot, now: datetime) -> str:
    """``r12 of tea, 5m 3s, key chat:1; milk waits``."""
    told = f"{slot.run_id} of {slot.job_id}"
    if slot.since is not None:
        told += f" for {span((now - slot.since).total_seconds())}"
    if slot.key is not None:
        told += f", key {slot.key}"
    return told + (f"; waiting for it: {', '.join(slot.waiting)}" if slot.waiting else "")


def _print_status(found: Status, now: datetime, tz: str, command: str) -> None:
    why = {
        "not running": f"nothing fires its jobs; start {command} run",
        "blocked loop": f"by {found.blocked}",
        "stalled": f"last heartbeat {_ago(found.heartbeat_at, now)}",
        "failing": f"last success {_ago(found.last_success_at, now)}",
    }.get(found.state, "")
    typer.echo(color(found.state) + (f": {why}" if why else ""))
    due = found.next_fire_at
    rows = [
        ("store", found.store),
        ("provider", f"{found.provider}: {found.provider_note}" if found.provider_note else ""),
        ("jobs", str(found.jobs)),
        ("next", f"{local(due, tz)} {tz}, {countdown(due, now)}" if due else ""),
        ("running", str(found.running or "")),
        *(("slot", _held(slot, now)) for slot in found.slots),
        ("waiting", ", ".join(found.waiting)),
        ("error", found.last_error or ""),
        ("parked", ", ".join(found.parked)),
        ("abandoned", ", ".join(found.abandoned)),
        ("incidents", f"{found.incidents} open (see {command} incidents)" * bool(found.incidents)),
        *(("problem", problem) for problem in found.problems),
    ]
    for key, value in rows:
        if value:
            typer.echo(f"  {key:<10}{one_line(value)}")
    _print_nodes(found, now)


def _print_nodes(found: Status, now: datetime) -> None:
    live = [node for node in found.nodes if node.alive] or found.nodes[:1]
    if live:
        head = ("NODE", "PID", "APP", "PROVIDER", "STATE", "BEAT", "SUCCESS", "RUNNING", "ERROR")
        cells = [
            (
                node.host,
                str(node.pid),
                node.app,
                node.provider,
                health(node, now),
                _ago(node.heartbeat_at, now),
                _ago(node.last_success_at, now),
                str(node.running),
                one_line(node.last_error or "", 60),
            )
            for node in live
        ]
        typer.echo(table(head, cells, paint=4))
