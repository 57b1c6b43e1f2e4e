"""Connections to PostgreSQL, and transactions that are certain of their end."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from acron.errors import ConfigError, StoreCorrupt, StoreError, StoreUnavailable

try:
    import asyncpg
except ImportError as missing:
    raise ConfigError(
        'PostgreSQL needs asyncpg: pip install "acron-runtime[postgres]"', where="store"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Connection = Any  # asyncpg.Connection: the package has no types

_STATUS = "SELECT pg_xact_status($1::text::xid8)"
# A statement of its own: it sees what the one before called committed.
_COMMITTED = "SELECT true FROM commits WHERE id = $1"

T = TypeVar("T")
log = logging.getLogger("acron.stores")

#: Bounds in seconds: to connect; for a statement, a lock, or a silent client in a transaction.
CONNECT_TIMEOUT = 5.0
STATEMENT_TIMEOUT = 15.0
#: Connections for transactions; the listener and the node's lease have their own.
CONNECTIONS = 4
#: How long a node may give no sign before it is dead, in seconds.
LEASE = 60.0
#: How often a transaction that certainly did not happen is made anew before the caller is told.
TRIES = 5
#: How long to ask what became of a COMMIT whose answer was lost, in seconds, before giving up
#: for now.
PROOF_WAIT = 3.0
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,49}")
_SETTINGS = {
    "application_name": "acron",
    "statement_timeout": f"{STATEMENT_TIMEOUT:g}s",
    "lock_timeout": f"{STATEMENT_TIMEOUT:g}s",
    "idle_in_transaction_session_timeout": f"{STATEMENT_TIMEOUT:g}s",
    # Every statement goes by an index. A plan that was made for empty tables would be kept.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
#: What the loss of a connection looks like.
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,  # shut down, terminated, crashed, timed out
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
)
#: Nothing happened, and the same again may well succeed.
AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
    asyncpg.InvalidCachedStatementError,
)


class Mark(NamedTuple):
    """A transaction: the number that PostgreSQL has for it, and the row that proves its commit."""

    xid: str
    commit: int


class Thrown(Exception):
    """Carries what a function of the caller's raised past our own handling of errors."""

    def __init__(self, error: Exception) -> None:
        self.error = error


@dataclass(frozen=True, eq=False)
class Doubt:
    """A commit whose answer was lost, and what it gives if it did happen."""

    mark: Mark
    result: Any


class Target:
    """Where a database is, and what may be said of it aloud."""

    def __init__(self, url: str, schema: str | None, lease: float | None) -> None:
        try:
            parts = urlsplit(url)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            self.schema = schema or query.pop("schema", "acron")
            self.lease = float(query.pop("lease", LEASE)) if lease is None else lease
        except ValueError as error:
            raise ConfigError(
                "the address of the database cannot be read", where="store"
            ) from error
        if not _SCHEMA.fullmatch(self.schema):
            what = "a schema is named in small letters, digits and _ (at most 50)"
            raise ConfigError(f"{what}, not {self.schema!r}", where="store")
        if not 0 < self.lease < 1e6:
            raise ConfigError("lease is a number of seconds", where="store")
        self.dsn = urlunsplit(parts._replace(query=urlencode(query)))
        given = (parts.password, query.get("password"))
        self._secrets = {form for one in given if one for form in (one, unquote(one))}
        host = parts.netloc.rpartition("@")[2]
        user = parts.username or query.get("user", "")
        shown: dict[str, str] = {key: query[key] for key in ("host", "port") if key in query}
        if self.schema != "acron":
            shown["schema"] = self.schema
        place = f"{user}@{host}" if user else host
        self.address = "postgresql://" + self.redact(
            f"{place}{parts.path}{'?' if shown else ''}{urlencode(shown, safe='/')}"
        )

    def redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    async def connect(self) -> Connection:
        """A connection of our own settings. Raises StoreUnavailable, within bounds."""
        connection = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                connection = await asyncpg.connect(
                    self.dsn, timeout=CONNECT_TIMEOUT, command_timeout=STATEMENT_TIMEOUT + 1
                )
                # Not as start-up parameters: pgbouncer refuses those it does not know.
                names, values = zip(*_SETTINGS.items(), strict=True)
                await connection.fetch(
                    "SELECT set_config(n, v, false) FROM unnest($1::text[], $2::text[]) AS s(n, v)",
                    [*names, "search_path"],
                    [*values, f'"{self.schema}"'],
                )
        except BaseException as error:
            if connection is not None:
                connection.terminate()
            if isinstance(error, (asyncpg.PostgresError, ValueError, *LOST)):
                raise self.unavailable(error) from error
            raise
        return connection

    def unavailable(self, error: BaseException) -> StoreError:
        text = self.redact(" ".join(str(error).split())) or type(error).__name__
        return StoreUnavailable(text, address=self.address)

    def corrupt(self, error: msgspec.DecodeError) -> StoreError:
        return StoreCorrupt(f"a record cannot be read: {error}", address=self.address)


class Overtaken(Exception):
    """Others changed a row since it was read: nothing was written, and the same again will do."""


class Link:
    """A few connections to one database, for one event loop."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._opened = False
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(CONNECTIONS)

    def open(self) -> None:
        self._opened = True
        self._slots = asyncio.Semaphore(CONNECTIONS)  # of the loop that is running now

    def check(self) -> None:
        """Raises StoreUnavailable when it is closed."""
        if not self._opened:
            raise StoreUnavailable("the store is not open", address=self.target.address)

    async def close(self) -> None:
        """Safe twice. What is under way ends on its own."""
        self._opened = False
        idle, self._idle = self._idle, []
        for connection in idle:
            await hang_up(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self._slots:
            connection = self._idle.pop() if self._idle else await self.target.connect()
            try:
                yield connection
            except BaseException as error:
                if isinstance(error, (asyncio.CancelledError, *LOST)):
                    connection.terminate()
                raise
            finally:
                if connection.is_closed() or connection.is_in_transaction():
                    connection.terminate()  # nothing of what it was in the middle of happened
                elif self._opened:
                    self._idle.append(connection)
                else:
                    await hang_up(connection)

    async def ask(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        """Do ``question``; again, when it certainly did not happen. Raises StoreError."""
        for turn in range(TRIES):
            self.check()
            last = turn + 1 == TRIES
            try:
                async with self._connection() as connection:
                    return await question(connection)
            except (TimeoutError, asyncpg.QueryCanceledError) as error:
                raise self.target.unavailable(error) from error
            except LOST as error:
                # The first may have been one that died in its sleep, and those beside it, too.
                for connection in self._idle:
                    connection.terminate()
                self._idle.clear()
                if last:
                    raise self.target.unavailable(error) from error
            except asyncpg.PostgresError as error:
                if last or not isinstance(error, AGAIN):
                    raise self.target.unavailable(error) from error
            except Overtaken as error:
                if last:
                    raise self.target.unavailable(error) from error
            except msgspec.DecodeError as error:
                raise self.target.corrupt(error) from error
            await asyncio.sleep(0.005 * turn)
        raise AssertionError  # the last turn has returned or raised

    async def transact(
        self,
        work: Callable[[Connection], Awaitable[tuple[Mark | None, T]]],
        doubts: list[Doubt] | None = None,
    ) -> T:
        """Do ``work`` in a transaction: it gives its mark (None: nothing was written) and its
        result. Again, when it certainly did not happen.

        Raises StoreError and what ``work`` raises. Only when there is one more in ``doubts``, it
        may have happened nevertheless.
        """
        try:
            mark, result, lost = await self.ask(lambda connection: _attempt(connection, work))
        except Thrown as thrown:
            raise thrown.error from None
        if lost is None or mark is None:
            return result
        doubts = [] if doubts is None else doubts
        doubts.append(doubt := Doubt(mark, result))
        if isinstance(lost, asyncio.CancelledError):
            raise lost
        try:
            async with asyncio.timeout(PROOF_WAIT):
                happened = await self._proof(mark)
        except TimeoutError:
            message = "the answer to a commit was lost, and what became of it cannot be asked now"
            raise StoreUnavailable(message, address=self.target.address) from lost
        doubts.remove(doubt)
        if not happened:
            raise self.target.unavailable(lost) from lost
        log.warning("%s: the answer to a commit was lost; it did happen", self.target.address)
        return result

    async def _proof(self, mark: Mark) -> bool:
        pause = 0.01
        while True:
            try:
                happened = await self.happened(mark)
            except StoreUnavailable as error:
                log.debug("cannot ask for a commit yet: %s", error)
                happened = None
            if happened is not None:
                return happened
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.5)

    async def happened(self, mark: Mark) -> bool | None:
        """Whether a transaction is committed; None while it is under way. Raises StoreError."""

        async def look(connection: Connection) -> bool | None:
            try:
                status = await connection.fetchval(_STATUS, mark.xid)
            except asyncpg.InvalidParameterValueError:  # this copy never heard of it
                status = "aborted"
            if status == "in progress":
                return None
            return bool(await connection.fetchval(_COMMITTED, mark.commit))

        return await self.ask(look)


async def _attempt(
    connection: Connection, work: Callable[[Connection], Awaitable[tuple[Mark | None, T]]]
) -> tuple[Mark | None, T, BaseException | None]:
    """One transaction; the third is why its end is unknown."""
    await connection.execute("BEGIN")
    try:
        mark, result = await work(connection)
    except BaseException as error:
        if not isinstance(error, (*LOST, asyncio.CancelledError)):
            await connection.execute("ROLLBACK")
        raise
    try:
        await connection.execute("ROLLBACK" if mark is None else "COMMIT")
    except asyncpg.PostgresError as error:
        if not isinstance(error, LOST):
            raise  # refused: it did not happen
        lost: BaseException = error
    except BaseException as error:  # noqa: BLE001 (whatever it is, the commit may be under way)
        lost = error
    else:
        return mark, result, None
    connection.terminate()
    return mark, result, lost


async def hang_up(connection: Connection) -> None:
    """Say goodbye, but not for long."""
    try:
        await connection.close(timeout=1.0)
    except (asyncpg.PostgresError, *LOST) as error:
        log.debug("a connection was gone already: %s", error)
