"""Which processes live, by the database's clock: a row with a lease, renewed by a thread.

The thread has its own loop and its own connection, so that a host loop that is blocked loses
nothing. A process that is stopped, or cut off, loses its lease; what it writes then is rejected.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import msgspec
from msgspec.structs import replace

from acron.errors import StoreError, StoreUnavailable
from acron.model import Node
from acron.stores.postgres_link import LOST, hang_up
from acron.stores.postgres_schema import check_version

if TYPE_CHECKING:
    from datetime import datetime

    from acron.stores.postgres_link import Connection, Target

log = logging.getLogger("acron.stores")

#: Renewals in the time of a lease: some may fail.
RENEWALS = 4
#: Seconds that ``stop`` waits for the thread to give the lease back.
_STOP_WAIT = 3.0

_CLAIM = """
INSERT INTO nodes (id, expires, data)
VALUES ($1, clock_timestamp() + make_interval(secs => $2), $3)
ON CONFLICT (id) DO UPDATE SET expires = excluded.expires, data = excluded.data
WHERE nodes.expires <= clock_timestamp()
RETURNING true
"""
# Also when it has expired, or was forgotten: the runs it had then are fenced one by one.
_RENEW = """
INSERT INTO nodes (id, expires, data)
VALUES ($1, clock_timestamp() + make_interval(secs => $2), $3)
ON CONFLICT (id) DO UPDATE SET expires = excluded.expires
"""
_LET_GO = "UPDATE nodes SET expires = '-infinity' WHERE id = $1"
# A claim holds the row of its node: none is under way when a node is called dead. Both lock nodes
# before jobs.
_HOLD = """
SELECT expires > clock_timestamp(), (SELECT version FROM meta) FROM nodes
WHERE id = $1 FOR KEY SHARE OF nodes
"""
_DEAD = "SELECT id FROM nodes WHERE expires <= clock_timestamp() ORDER BY id FOR UPDATE"
# A node that is not known is dead, too.
_OF_DEAD = "(node = ANY($1::text[]) OR (node IS NOT NULL AND node NOT IN (SELECT id FROM nodes)))"
_LEFT = f"""
SELECT number, node, token FROM open_runs WHERE state = 'running' AND {_OF_DEAD}
UNION ALL SELECT number, node, token FROM ended_runs WHERE unsent AND {_OF_DEAD}
ORDER BY token, number
"""  # noqa: S608 (our own text)
_FORGET = """
DELETE FROM nodes WHERE id = ANY($1::text[]) AND expires <= clock_timestamp()
    AND NOT EXISTS (SELECT FROM ended_runs WHERE unsent AND node = nodes.id)
    AND NOT EXISTS (SELECT FROM open_runs WHERE node = nodes.id)
"""
# A sign of life need not survive a crash of the machine, and must not wait for its disk.
_BEAT = """
WITH quick AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO nodes (id, expires, data) SELECT $1, '-infinity', $2 FROM quick
ON CONFLICT (id) DO UPDATE SET data = excluded.data
"""
_ALL = "SELECT data, expires > clock_timestamp() AS alive FROM nodes ORDER BY id"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Node).decode


class Lease:
    """Keeps one node alive from ``start`` until ``stop``."""

    def __init__(self, target: Target, node: Node) -> None:
        self.node = node
        self._target = target
        self._seconds = target.lease
        self._loop = asyncio.SelectorEventLoop()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._stop = asyncio.Event()
        self._woken = asyncio.Event()
        self._word: Node | None = None  # to be kept as soon as can be
        self._lapsing = False
        self._until = float("-inf")  # on the thread's own loop, which is not virtual
        self._thread = threading.Thread(target=self._main, name="acron-lease", daemon=True)

    @property
    def held(self) -> bool:
        """Whether nobody can have called us dead. May be asked from any thread."""
        return self._loop.time() < self._until

    async def start(self) -> None:
        """Raises StoreUnavailable when the id is alive already, or the database is not there."""
        self._thread.start()
        await asyncio.get_running_loop().run_in_executor(None, self._started.wait)
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """Dead from now on, for all to see. Bounded; the lease runs out where it cannot be told."""
        self._until = float("-inf")
        with suppress(RuntimeError):  # its loop is closed: the thread has ended
            self._loop.call_soon_threadsafe(self._end)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join, _STOP_WAIT)

    def tell(self, node: Node, *, keep: bool) -> None:
        """Keep what ``node`` says of itself, since its own loop cannot; without ``keep``, renew
        the lease no more until told otherwise. May be called from any thread."""
        with suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(self._take, node, not keep)

    def _take(self, node: Node, lapsing: bool) -> None:  # noqa: FBT001 (see ``tell``)
        if lapsing and not self._lapsing:
            log.error("the lease of node %s is renewed no more: its loop is blocked", node.id)
        self._word, self._lapsing = node, lapsing
        self._woken.set()

    def _end(self) -> None:
        self._stop.set()
        self._woken.set()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._keep())
        except BaseException as error:
            if self._started.is_set():
                log.exception("the lease of node %s is kept no more", self.node.id)
            self._failure = error
        finally:
            self._until = float("-inf")
            self._started.set()
            self._loop.close()

    async def _keep(self) -> None:
        connection: Connection = await self._target.connect()
        try:
            await self._renew(connection, _CLAIM)
            self._started.set()
            pause = self._seconds / RENEWALS
            while not await self._told_to_stop(pause):
                try:
                    if connection.is_closed():
                        connection = await self._target.connect()
                    if self._word is not None:
                        word, self._word = self._word, None
                        await beat(connection, word)
                    if not self._lapsing:
                        await self._renew(connection, _RENEW)
                    pause = self._seconds / RENEWALS
                except (StoreError, asyncpg.PostgresError, *LOST) as error:
                    connection.terminate()
                    shown = self._target.redact(str(error))
                    log.warning("cannot renew the lease of node %s: %s", self.node.id, shown)
                    pause = min(1.0, self._seconds / RENEWALS / 4)
            await self._let_go(connection)
        finally:
            connection.terminate()

    async def _told_to_stop(self, pause: float) -> bool:
        """Wait for that long, or until there is something to do."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._woken.wait()
        self._woken.clear()
        return self._stop.is_set()

    async def _renew(self, connection: Connection, statement: str) -> None:
        asked = self._loop.time()
        bound = self._seconds / 2
        arguments = (self.node.id, self._seconds, _encode(self.node))
        done = await connection.fetch(statement, *arguments, timeout=bound)
        if statement is _CLAIM and not done:
            message = f"there is a live node {self.node.id!r} already"
            raise StoreUnavailable(message, address=self._target.address)
        if not self._stop.is_set():
            self._until = asked + self._seconds

    async def _let_go(self, connection: Connection) -> None:
        try:
            if connection.is_closed():
                connection = await self._target.connect()
            await connection.execute(_LET_GO, self.node.id, timeout=_STOP_WAIT / 2)
        except (StoreError, asyncpg.PostgresError, *LOST) as error:
            log.warning("node %s could not say that it ends: %s", self.node.id, error)
        await hang_up(connection)


async def beat(connection: Connection, node: Node) -> None:
    """Keep what a node says of itself; its lease is another matter."""
    await connection.execute(_BEAT, node.id, _encode(replace(node, alive=True)))


async def all_nodes(connection: Connection) -> list[Node]:
    """Every node known, alive or not by the database's clock."""
    rows = await connection.fetch(_ALL)
    return [replace(_decode(data), alive=alive) for data, alive in rows]


async def hold(connection: Connection, node: str | None) -> None:
    """Nobody calls ``node`` dead before the end of this transaction. See ``check_lease``."""
    if node is not None:
        found = await connection.fetchrow(_HOLD, node)
        check_lease(*(found or (None, None)))


def check_lease(alive: bool | None, version: int | None) -> None:  # noqa: FBT001 (a row's columns)
    """Raises StoreUnavailable for a lease that has run out, and StoreError when a newer acron has
    changed the tables since we opened. None: there is no such node."""
    if version is not None:
        check_version(version)
    if not alive:
        raise lapsed()


def lapsed(address: str = "") -> StoreUnavailable:
    """The error of a node whose lease has run out."""
    message = "the lease of this node has run out: it starts and delivers nothing"
    return StoreUnavailable(message, address=address)


async def left_by_dead(connection: Connection, own: str | None) -> dict[str, str]:
    """Runs that the dead have to end or to deliver, oldest first, and whose they are."""
    dead = [node for (node,) in await connection.fetch(_DEAD) if node != own]
    rows = await connection.fetch(_LEFT, dead)
    return {f"r{number}": node for number, node, _ in rows}


async def forget_dead(connection: Connection) -> bool:
    """Remove the dead but the newest, which tells when something last ran here, and those with
    a run to end or a delivery to make."""
    dead = [node for node in await all_nodes(connection) if not node.alive]
    dead.sort(key=_last_seen)
    ids = [node.id for node in dead[:-1]]
    return bool(ids) and await connection.execute(_FORGET, ids) != "DELETE 0"


def _last_seen(node: Node) -> datetime:
    return node.heartbeat_at or node.started_at
