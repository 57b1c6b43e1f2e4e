"""The verb of a process that answers and fires nothing: serve."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from acron.cli.base import listening, verb
from acron.cli.target import on_a_loop
from acron.process import until_signal
from acron.text import one_line

if TYPE_CHECKING:
    from acron.app import Acron
    from acron.cli.target import Target


@verb("serve")
def serve(
    target: Target,
    address: Annotated[
        str,
        typer.Argument(metavar="[HOST:]PORT", help="Where; without a host, for this machine only."),
    ],
) -> None:
    """Tell over HTTP whether jobs fire, and fire none: for a store whose jobs others fire."""
    on_a_loop(_serve(target.acron(), address))


async def _serve(app: Acron, address: str) -> None:
    from acron.web import serving, site  # noqa: PLC0415 (an extra)

    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (a coroutine that is run by a task)
    with until_signal(task.cancel) as stop:
        at = listening(address)
        async with serving(site(app, fires=False), at), app.attached():
            host, port = at.getsockname()[:2]
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            store = one_line(app.store.address)
            typer.echo(f"http://{shown}/healthz tells whether the jobs of {store} are fired")
            await stop.wait()
