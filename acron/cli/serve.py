"""The verb of a process that answers and fires nothing: serve."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from acron.cli.base import verb
from acron.cli.logs import logging_to_stderr
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
    with logging_to_stderr(logging.WARNING):
        asyncio.run(_serve(target.acron(), address))


async def _serve(app: Acron, address: str) -> None:
    from acron.web import listen, serving, site  # noqa: PLC0415 (an extra)

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    at = listen(address, where="serve")
    async with serving(site(app, fires=False), at), app.attached():
        host, port = at.getsockname()[:2]
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        store = one_line(app.store.address)
        typer.echo(f"http://{shown}/healthz tells whether the jobs of {store} are fired")
        await stopped.wait()
