"""What acron serves over HTTP: the fire webhook, and whether it is well."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

from acron.contain import text_of
from acron.errors import AcronError, ConfigError
from acron.status import health
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping

    from acron.app import Acron

    Message = MutableMapping[str, Any]
    Asgi = Callable[
        [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
        Awaitable[None],
    ]

log = logging.getLogger("acron.web")

LOOPBACK = "127.0.0.1"
#: Connections at once; more are told to come again.
MOST_CONNECTIONS = 1000
#: Seconds that requests under way may take at the end.
END = 5


def site(app: Acron, *, fires: bool = True) -> Asgi:
    """The ASGI app: ``POST /api/cron/fire`` (where the provider has a webhook), ``GET /healthz``.

    ``/healthz`` answers 200 while this process fires its jobs, else 503, and tells no more. Of an
    app that ``fires`` nothing there is no webhook, and 200 says that another process fires.
    """
    webhook = getattr(app.provider, "webhook", None) if fires else None

    async def serve(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] == "http" and scope["path"] == "/healthz":
            well = await _is_well(app, fires=fires)
            await _text(send, 200 if well else 503, b"ok\n" if well else b"not ok\n")
        elif webhook is not None:
            await webhook(scope, receive, send)
        elif scope["type"] == "http":
            await _text(send, 404, b"not found\n")
        else:
            raise ValueError(f"acron does not speak {scope['type']!r}")

    return serve


async def _is_well(app: Acron, *, fires: bool) -> bool:
    now = app.clock.now()
    if fires:
        return app.node is not None and health(app.node, now) == "ok"
    try:
        async with asyncio.timeout(END):
            return any(one.provider and health(one, now) == "ok" for one in await app.nodes())
    except (AcronError, TimeoutError) as error:  # the store is away
        log.warning("/healthz: %s", one_line(text_of(error)))
        return False


async def _text(send: Callable[[Message], Awaitable[None]], status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def listen(address: str) -> socket.socket:
    """A socket at ``[HOST:]PORT``; without a host, of this machine only.

    Raises ValueError for what is no address, ConfigError for one where nobody can listen.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or LOOPBACK
    if not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise ValueError(f"{address!r} is not [HOST:]PORT")
    host = host.encode("idna").decode()  # else bind raises a TypeError
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"cannot listen at {address}: {why}") from error


@contextlib.asynccontextmanager
async def serving(asgi: Asgi, at: socket.socket) -> AsyncIterator[None]:
    """Serve ``asgi`` at a listening socket, which is closed at the end. Raises ConfigError."""
    try:
        import uvicorn  # noqa: PLC0415 (an extra)

        from acron.web.guard import GuardedProtocol  # noqa: PLC0415
    except ImportError as missing:
        at.close()
        what = 'to serve needs an extra: pip install "acron-runtime[web]"'
        raise ConfigError(what) from missing

    class Server(uvicorn.Server):
        """Without handlers of its own: signals are the app's business."""

        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield

    config = uvicorn.Config(
        asgi,
        http=GuardedProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=END,
    )
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[at]), name="acron-web")
    try:
        yield
    finally:
        server.should_exit = True
        _, late = await asyncio.wait({task}, timeout=2 * END)
        if late:
            task.cancel()
            await asyncio.wait(late, timeout=1.0)
        at.close()
        if not task.cancelled() and task.done() and task.exception() is not None:
            log.error("the server failed: %r", task.exception())
