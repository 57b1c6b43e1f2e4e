"""One SQLite database file: opening it, its schema, its transactions, what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from acron.errors import StoreCorrupt, StoreError, StoreLocked, StoreUnavailable
from acron.stores.files import unavailable
from acron.stores.lock import WAIT
from acron.stores.sqlite_schema import APPLICATION_ID, MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: The oldest SQLite that has all that the statements need (several ON CONFLICT in one).
OLDEST = (3, 35, 0)
#: After so many commits, or rows, the write-ahead log is moved into the database: about 10 MB.
COMMITS, ROWS = 400, 10_000
#: How long that may wait for people's readers, in seconds; writers have to wait meanwhile.
CHECKPOINT_WAIT = 1.0
_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -16384",
    # Some distributions overwrite with zeros what is deleted, at the price of many page writes.
    "PRAGMA secure_delete = OFF",
    "PRAGMA trusted_schema = OFF",
)
_PAUSE = 0.02
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DatabaseFile:
    """A connection to ``path``, for one thread; opened anew when it failed.

    ``users`` names, for a message, the processes that may hold the lock.
    """

    def __init__(self, path: Path, wait: float = WAIT, users: Callable[[], str] = str) -> None:
        self.path = path
        self._wait = wait
        self._users = users
        self._connection: sqlite3.Connection | None = None
        self._same: os.stat_result | None = None
        self._log = path.with_name(path.name + "-wal")
        self._commits = self._rows = 0  # since the last checkpoint; before it
        self.trouble = ""  # what went wrong beside a transaction

    # open and close

    def create(self) -> None:
        """Make the file if there is none, readable by its owner only, and open it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            # SQLite gives its -wal and -shm files the permissions of this one.
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self.connection()

    def connection(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        elif not self._still_there():
            self.close()
            message = f"{self.path} was deleted or replaced while it was in use"
            raise StoreUnavailable(message)
        return self._connection

    def _still_there(self) -> bool:
        try:
            return self._same is not None and os.path.samestat(os.stat(self.path), self._same)  # noqa: PTH116
        except FileNotFoundError:
            return False

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # what was committed is safe, the rest is given up
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < OLDEST:
            needed = ".".join(map(str, OLDEST))
            message = f"SQLite {sqlite3.sqlite_version} is too old: {needed} is needed"
            raise StoreUnavailable(message)
        self._same = os.stat(self.path)  # noqa: PTH116
        self._commits = self._rows = 0
        self._refuse_cut_off(self._same)
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=self._wait,
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_cut_off(self, found: os.stat_result) -> None:
        """SQLite takes an empty file for a new database, and throws its log away."""
        if found.st_size == 0 and self._log.exists() and self._log.stat().st_size:
            message = f"{self.path} is empty, but has a log beside it: it was cut off"
            raise StoreCorrupt(message)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = self._version(connection)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        self._write_ahead(connection)
        if version < len(MIGRATIONS):
            with self._begun(connection):
                for script in MIGRATIONS[self._version(connection) :]:
                    for statement in script.split(";\n"):
                        connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _version(self, connection: sqlite3.Connection) -> int:
        """The schema's version, 0 for a new file. Raises StoreCorrupt for what is not ours."""
        connection.execute("SAVEPOINT looking")  # nobody may make the tables between two answers
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        owner: int = connection.execute("PRAGMA application_id").fetchone()[0]
        tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        connection.execute("RELEASE looking")
        if owner != APPLICATION_ID and (tables or owner or version):
            message = f"{self.path} is the database of another program; nothing was written"
            raise StoreCorrupt(message)
        if version > len(MIGRATIONS):
            message = (
                f"{self.path} was written by a newer acron (schema {version}, "
                f"known is {len(MIGRATIONS)}); nothing was written"
            )
            raise StoreCorrupt(message)
        return version

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        # Switching a new file over needs it for oneself, and SQLite does not wait for that. The
        # pauses are counted, not the clock: what reads time is elsewhere.
        for _ in range(max(1, int(self._wait / _PAUSE))):
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:
                if _code(error) not in _BUSY:
                    raise
                time.sleep(_PAUSE)
        else:
            raise self._locked()
        if mode != "wal":
            message = (
                f"the file system of {self.path} cannot share a write-ahead log; "
                "keep the database on a local disk"
            )
            raise StoreUnavailable(message)

    # transactions

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: durable when left, undone when left by an exception."""
        connection = self.connection()
        with self._begun(connection):
            yield connection
        try:
            self._checkpoint(connection)
            self.trouble = ""
        except sqlite3.Error as error:  # the transaction is durable all the same
            self.trouble = f"cannot move the log into the database: {error}"
            self.close()

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Not left to SQLite: before 3.51.3, a checkpoint that lets others write at the same
        time can corrupt the database (sqlite.org/wal.html, the WAL-reset bug). One that
        restarts the log keeps them out. The log is not cut off but overwritten: to sync a file
        that grows takes several times as long."""
        self._commits += 1
        rows = connection.total_changes
        if self._commits < COMMITS and rows - self._rows < ROWS:
            return
        self._commits, self._rows = 0, rows
        connection.execute(f"PRAGMA busy_timeout = {int(CHECKPOINT_WAIT * 1000)}")
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()  # busy: the next one will
        connection.execute(f"PRAGMA busy_timeout = {int(self._wait * 1000)}")

    @contextmanager
    def _begun(self, connection: sqlite3.Connection) -> Iterator[None]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    # errors

    def meaning(self, error: sqlite3.Error) -> StoreError:
        """What an error of SQLite means for the store. The connection is not used again."""
        self.close()
        code = _code(error)
        if code in _BUSY:
            return self._locked()
        if code in _CORRUPT:
            return StoreCorrupt(f"{self.path}: {error}; nothing was overwritten")
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        return unavailable(OSError(0, f"{error} ({name})"), "", self.path)

    def _locked(self) -> StoreLocked:
        holder = self._users() or "another process"
        message = f"{self.path} was locked for more than {self._wait:g} s; in use by {holder}"
        return StoreLocked(message, holder=holder)


def _code(error: sqlite3.Error) -> int:
    """The primary one: SQLite puts the details into the higher bits."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
