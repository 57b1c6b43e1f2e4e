"""Jobs, as a PostgreSQL store tells them: rows of id and record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acron.stores.postgres_ledger import plain
from acron.stores.postgres_rows import digest, name_key

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from acron.stores.postgres_link import Connection

    Found = list[tuple[str, bytes]]

_ONE = "SELECT data FROM jobs WHERE id = $1"
_NAMED = "SELECT id, data FROM jobs WHERE name = $1 ORDER BY id"
_ON_START = "SELECT id, data FROM jobs WHERE on_start ORDER BY id"
_INCIDENTS = "SELECT id, data FROM jobs WHERE incidents > 0 ORDER BY id LIMIT $1"
_OVERDUE = "SELECT id, data FROM jobs WHERE due_at < $1 ORDER BY due_at, rank, id LIMIT $2"
_PAGE = "SELECT id, data FROM jobs WHERE id > $1 {} ORDER BY id LIMIT $2"
_TAGGED = """
SELECT id, data FROM job_tags JOIN jobs ON id = job_id
WHERE tag = $3 AND job_id > $1 {} ORDER BY job_id LIMIT $2
"""
_NEXT_DUE = """
SELECT least(
    (SELECT due_at FROM jobs WHERE due_at > $1 AND needs = ANY($2::text[])
        ORDER BY due_at, rank, id LIMIT 1),
    (SELECT r.due_at FROM open_runs r JOIN jobs j ON j.id = r.job_id
        WHERE r.due_at > $1 AND j.needs = ANY($2::text[])
        ORDER BY r.due_at, r.rank, r.job_id, r.number LIMIT 1))
"""


async def one(connection: Connection, job_id: str) -> bytes | None:
    """The record of one job."""
    data: bytes | None = await connection.fetchval(_ONE, plain(job_id))
    return data


async def named(connection: Connection, name: str) -> Found:
    """Those that may have the name."""
    return await connection.fetch(_NAMED, name_key(name))  # type: ignore[no-any-return]


async def page(
    connection: Connection, after: str, limit: int, app: str | None, tag: str | None
) -> Found:
    """See ``Store.page``."""
    sql = _PAGE if tag is None else _TAGGED
    values: list[Any] = [plain(after), max(limit, 0)]
    values += [] if tag is None else [digest(tag)]
    values += [] if app is None else [plain(app)]
    sql = sql.format("" if app is None else f"AND app = ${len(values)}")
    return await connection.fetch(sql, *values)  # type: ignore[no-any-return]


async def on_start(connection: Connection) -> Found:
    """See ``Store.on_start``."""
    return await connection.fetch(_ON_START)  # type: ignore[no-any-return]


async def incidents(connection: Connection, limit: int) -> Found:
    """See ``Store.incidents``."""
    return await connection.fetch(_INCIDENTS, max(limit, 0))  # type: ignore[no-any-return]


async def overdue(connection: Connection, before: datetime, limit: int) -> Found:
    """See ``Store.overdue``."""
    return await connection.fetch(_OVERDUE, before, max(limit, 0))  # type: ignore[no-any-return]


async def next_due(
    connection: Connection, after: datetime, can_run: Collection[str]
) -> datetime | None:
    """See ``Store.next_due``."""
    found: datetime | None = await connection.fetchval(_NEXT_DUE, after, list(can_run))
    return found
