"""What other processes changed in a PostgreSQL store: LISTEN on a connection of its own."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import asyncpg

from acron.errors import StoreError
from acron.stores.postgres_link import LOST, hang_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.stores.postgres_link import Connection, Target

log = logging.getLogger("acron.stores")

#: How often the connection is tried, in seconds: a network may lose it without a word.
TRY = 5.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0


class Listener:
    """Calls ``tell`` when another process has news, and after each time it could not listen."""

    def __init__(self, target: Target, own: str, tell: Callable[[], None]) -> None:
        self._target = target
        self._own = own  # who we are in notifications
        self._tell = tell
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._connection: Connection = None

    async def start(self) -> bool:
        """Listen from now on; False when it does already. Raises StoreUnavailable."""
        async with self._starting:
            if self._task is not None:
                return False
            self._connection = await self._connect()
            self._task = asyncio.create_task(self._listen(), name="acron-listen")
            return True

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task}, timeout=2.0)
            await hang_up(self._connection)

    async def _connect(self) -> Connection:
        connection = await self._target.connect()
        try:
            await connection.add_listener(channel(self._target.schema), self._heard)
        except (asyncpg.PostgresError, *LOST) as error:
            connection.terminate()
            raise self._target.unavailable(error) from error
        return connection

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._watch(self._connection)
            except (asyncpg.PostgresError, *LOST) as error:
                log.debug("the listening connection was lost: %s", error)
            self._connection.terminate()
            while self._connection.is_closed():
                await asyncio.sleep(pause)
                try:
                    self._connection = await self._connect()
                except StoreError as error:
                    log.debug("cannot listen: %s", error)
                    pause = min(2 * pause, _LONGEST_PAUSE)
            pause = _FIRST_PAUSE
            self._tell()  # what came while nobody listened

    async def _watch(self, connection: Connection) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        while not connection.is_closed():
            try:
                async with asyncio.timeout(TRY):
                    await lost.wait()
            except TimeoutError:
                await connection.execute("SELECT 1", timeout=TRY)

    def _heard(self, _connection: Connection, _pid: int, _channel: str, sender: str) -> None:
        if sender != self._own:
            self._tell()


def channel(schema: str) -> str:
    """Where those who share a schema tell each other."""
    return f"acron.{schema}"
