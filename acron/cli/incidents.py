"""The verb on incidents: list them, and say that they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from acron.cli.base import Json, Usage, verb
from acron.cli.render import color, local, print_json, table
from acron.incidents import is_open
from acron.records import incident_json
from acron.text import one_line

if TYPE_CHECKING:
    from acron.app import Acron
    from acron.cli.target import Target
    from acron.model import Incident


@verb("incidents")
def incidents(
    target: Target,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ack ID...]", help="Say that these are known.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is over or known.")] = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """List what went wrong with the jobs, the newest first. Exit code 1 when some are open."""
    ids = words or []
    if ids and (ids[0] != "ack" or len(ids) < 2):
        message = f"incidents takes nothing, or: ack ID; not {' '.join(ids)!r}"
        raise Usage(message)

    async def work(app: Acron) -> tuple[list[Incident], str]:
        if ids:
            return [await app.acknowledge(one) for one in ids[1:]], app.tz
        return await app.incidents(None if everything else "open"), app.tz

    found, tz = target.do(work)
    if as_json:
        print_json([incident_json(one) for one in found])
    elif ids:
        for one in found:
            typer.echo(f"{one.id} {color(one.state)}")
    elif found:
        head = ("ID", "STATE", "KIND", "TIMES", "LAST", "RUN", "ERROR")
        typer.echo(table(head, [_row(one, tz) for one in found], paint=1))
    if not ids and any(map(is_open, found)):
        raise typer.Exit(1)


def _row(one: Incident, tz: str) -> tuple[str, ...]:
    last = local(one.last_at, tz)
    error = one_line(one.error, 100)
    return one.id, one.state, one.kind, str(one.count), last, one.run_id or "", error
