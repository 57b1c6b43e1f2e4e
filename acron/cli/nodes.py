"""The verbs on the processes that share a store: nodes drain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from acron.cli.base import Json, Usage, verb
from acron.cli.render import many, print_json, span, table
from acron.errors import AcronError, NodeNotFound
from acron.status import health

if TYPE_CHECKING:
    from datetime import datetime

    from acron.app import Acron
    from acron.cli.target import Target
    from acron.model import Node


@verb("nodes")
def nodes(target: Target, as_json: Json = False) -> None:  # noqa: FBT002
    """List the processes that fire from this store: who pulls, what runs, and since when."""

    async def work(app: Acron) -> tuple[list[Node], datetime]:
        return await app.nodes(), app.clock.now()

    found, now = target.do(work)
    if as_json:
        rows = [{**msgspec.to_builtins(one), "state": health(one, now)} for one in found]
        print_json(rows)
    elif not found:
        typer.echo("no nodes")
    else:
        head = ("NODE", "STATE", "APP", "PROVIDER", "RUNS", "UP", "NOTE")
        typer.echo(table(head, [_row(one, now) for one in found], paint=1))


def _row(one: Node, now: datetime) -> list[str]:
    app = f"{one.app} {one.version}".strip()
    notes = "; ".join(note for note in (one.provider_note, one.stood_down) if note)
    up = span((now - one.started_at).total_seconds()) if one.alive else ""
    return [one.id, health(one, now), app, one.provider, str(one.running), up, notes]


@verb("drain")
def drain(
    target: Target,
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="A node's id, or how it begins; see nodes.")
    ] = "",
    all_nodes: Annotated[bool, typer.Option("--all", help="All nodes.")] = False,  # noqa: FBT002
) -> None:
    """Ask a node to take no more runs. It ends what it runs, and waits to be stopped."""
    if bool(node) == all_nodes:
        raise Usage("say which node, or --all")

    async def work(app: Acron) -> list[Node]:
        living = [one for one in await app.nodes() if one.alive and one.provider]
        chosen = [one.id for one in living if one.id.startswith(node)]
        exact = [one for one in chosen if one == node]
        if not chosen:
            if all_nodes:
                message = "no node is live"
                raise AcronError(message)
            raise NodeNotFound(node, f"see {target.command} nodes")
        if len(chosen) > 1 and not all_nodes and not exact:
            raise Usage(f"{node!r} may be {', '.join(sorted(chosen))}")
        for one in exact or chosen:
            await app.drain(node=one)
        return [one for one in await app.nodes() if one.id in (exact or chosen)]

    for one in target.do(work):
        told = f"drains, {many(one.running, 'run')} to end" if one.draining else "was asked to"
        typer.echo(f"{one.id} {told}")
