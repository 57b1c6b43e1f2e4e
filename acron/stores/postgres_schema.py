"""The tables of a PostgreSQL store: made, and brought up to date."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from acron.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from acron.stores.postgres_link import Connection, Target

#: The newest migration: ``sql/postgres_<n>.sql``.
VERSION = 1
#: Bound for all migrations, in seconds.
_TIMEOUT = 600.0


async def prepare(connection: Connection, target: Target) -> None:
    """Make the tables what this acron knows. Raises StoreError for those of a newer one."""
    if await _version(connection, target) == VERSION:
        return
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_TIMEOUT:g}s'")
        await connection.execute(f"SET LOCAL statement_timeout = '{_TIMEOUT:g}s'")
        await connection.fetch(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
            f"acron.{target.schema}",
            timeout=_TIMEOUT,
        )
        for number in range(await _version(connection, target) + 1, VERSION + 1):
            if number == 1:
                await _create_schema(connection, target)
            script = files("acron.stores").joinpath("sql", f"postgres_{number}.sql")
            await connection.execute(script.read_text(encoding="utf-8"), timeout=_TIMEOUT)
            await connection.execute("UPDATE meta SET version = $1", number)


async def _version(connection: Connection, target: Target) -> int:
    """The newest migration that was made; 0 in a database without our tables."""
    # Not to_regclass: in a transaction it may remember that there was none.
    known = "SELECT true FROM pg_tables WHERE schemaname = $1 AND tablename = 'meta'"
    if not await connection.fetchval(known, target.schema):
        return 0
    version = int(await connection.fetchval("SELECT version FROM meta"))
    check_version(version, target.address)
    return version


def check_version(version: int, address: str = "") -> None:
    """Raise StoreError for tables that are newer than this acron."""
    if version > VERSION:
        message = f"its tables are those of a newer acron ({version}; this one knows {VERSION})"
        raise StoreError(message, address=address)


async def _create_schema(connection: Connection, target: Target) -> None:
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        message = f"the database is encoded in {encoding}; acron needs one in UTF8"
        raise StoreUnavailable(message, address=target.address)
    # Not IF NOT EXISTS: whoever may use a schema may not always make one.
    known = "SELECT true FROM pg_namespace WHERE nspname = $1"
    if not await connection.fetchval(known, target.schema):
        await connection.execute(f'CREATE SCHEMA "{target.schema}"')
    await connection.execute("CREATE TABLE meta (version integer NOT NULL)")
    await connection.execute("INSERT INTO meta VALUES (0)")
