"""What happened, as a PostgreSQL store tells it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from acron.model import DELIVERY_STATES
from acron.stores.postgres_rows import BEGINNING, number_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection
    from datetime import datetime

    from acron.model import Run, RunState
    from acron.stores.postgres_link import Connection

#: Bound for forgetting what is old, in seconds.
_PRUNE_TIMEOUT = 600.0

_RUN = """
SELECT data FROM open_runs WHERE number = $1 UNION ALL
SELECT data FROM ended_runs WHERE number = $1
"""
_PRUNE = (
    """
WITH gone AS (DELETE FROM ended_runs USING (
    SELECT number, row_number()
        OVER (PARTITION BY job_id, unsent ORDER BY token DESC, number DESC) AS place
    FROM ended_runs
) AS ranked
WHERE ended_runs.number = ranked.number AND (place > $2 AND NOT unsent OR finished_at < $1)
RETURNING 1)
SELECT count(*) FROM gone
""",
    """
WITH gone AS (DELETE FROM skips USING (
    SELECT number, row_number() OVER (PARTITION BY job_id ORDER BY number DESC) AS place FROM skips
) AS ranked
WHERE skips.number = ranked.number AND (place > $2 OR at < $1) RETURNING 1)
SELECT count(*) FROM gone
""",
)
_JOBS = "SELECT id, data FROM jobs WHERE id = ANY($1::text[])"
_JOB_UPCOMING, _RUN_UPCOMING = (
    f"""
SELECT due_at, {job} AS id FROM {table} WHERE ({order}) > ($1, $2) AND due_at <= $3
ORDER BY {order} LIMIT $4
"""  # noqa: S608 (our own words)
    for table, job, order in (
        ("jobs", "id", "due_at, id"),
        ("open_runs", "job_id", "due_at, job_id"),
    )
)
_UPCOMING = f"""
(SELECT * FROM ({_JOB_UPCOMING}) AS a) UNION (SELECT * FROM ({_RUN_UPCOMING}) AS b)
ORDER BY due_at, id LIMIT $4
"""  # noqa: S608
#: Rows of what is upcoming in one statement.
_PAGE = 5000
# Nobody waits for an answer for as long.
_PRUNE_COMMITS = "DELETE FROM commits WHERE at < clock_timestamp() - interval '1 day'"


async def jobs(connection: Connection, ids: Collection[str]) -> list[Any]:
    """Ids and records of those of these jobs that are there."""
    found: list[Any] = await connection.fetch(_JOBS, [plain(job_id) for job_id in ids])
    return found


async def upcoming(
    ask: Callable[[Callable[[Connection], Awaitable[Any]]], Awaitable[Any]],
    since: datetime | None,
    until: datetime,
) -> AsyncIterator[tuple[datetime, str]]:
    """See ``Store.upcoming``; a page at a time, along the index."""
    after = (BEGINNING[0], "") if since is None else (since, chr(sys.maxunicode))
    while True:
        values = (*after, until, _PAGE)
        rows = await ask(lambda one, values=values: one.fetch(_UPCOMING, *values))  # type: ignore[misc]
        for due_at, job_id in rows:
            yield due_at, job_id
        if len(rows) < _PAGE:
            return
        after = (rows[-1][0], rows[-1][1])


async def run(connection: Connection, run_id: str) -> bytes | None:
    """The record of one run."""
    data: bytes | None = await connection.fetchval(_RUN, number_of(run_id))
    return data


async def runs(
    connection: Connection,
    job_id: str | None,
    state: RunState | None,
    node: str | None,
    limit: int,
) -> list[Any]:
    """Rows of records, newest first."""
    given = {"job_id": job_id, "state": None if state is None else state.value, "node": node}
    asked = {key: plain(value) for key, value in given.items() if value is not None}
    terms = [f"{key} = ${place}" for place, key in enumerate(asked, 2)] or ["true"]
    tables = ["open_runs", "ended_runs"]
    if state is not None:
        tables = ["ended_runs" if state.ended else "open_runs"]
    newest = "ORDER BY token DESC, number DESC LIMIT $1"
    parts = [
        f"(SELECT token, number, data FROM {table} WHERE {' AND '.join(terms)} {newest})"  # noqa: S608 (our own words)
        for table in tables
    ]
    sql = f"SELECT data FROM ({' UNION ALL '.join(parts)}) AS found {newest}"  # noqa: S608
    return await connection.fetch(sql, max(limit, 0), *asked.values())  # type: ignore[no-any-return]


async def skips(connection: Connection, job_id: str | None, limit: int) -> list[Any]:
    """Rows of records, newest first."""
    where, values = ("", []) if job_id is None else ("WHERE job_id = $2", [plain(job_id)])
    sql = f"SELECT data FROM skips {where} ORDER BY number DESC LIMIT $1"  # noqa: S608
    return await connection.fetch(sql, max(limit, 0), *values)  # type: ignore[no-any-return]


async def deliveries(connection: Connection, state: str | None, limit: int) -> list[Any]:
    """Rows of records, newest first."""
    if state not in {None, *DELIVERY_STATES}:
        return []
    told = "told IS NOT NULL" if state is None else f"told @> '{{{state}}}'"  # as its index says
    sql = f"SELECT data FROM ended_runs WHERE {told} ORDER BY token DESC, number DESC LIMIT $1"  # noqa: S608
    return await connection.fetch(sql, max(limit, 0))  # type: ignore[no-any-return]


async def prune(connection: Connection, before: datetime, keep: int) -> int:
    """Forget; how many runs and skips went."""
    await connection.execute(f"SET LOCAL statement_timeout = '{_PRUNE_TIMEOUT:g}s'")
    await connection.execute(_PRUNE_COMMITS, timeout=_PRUNE_TIMEOUT)
    count = 0
    for sql in _PRUNE:
        count += await connection.fetchval(sql, before, keep, timeout=_PRUNE_TIMEOUT)
    return count


def plain(text: str) -> str | None:
    """None for what PostgreSQL cannot hold, and so has not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return None
    return None if "\0" in text else text


def begins(stored: Run, run: Run) -> bool:
    """Whether ``run`` says that a delivery is about to go out."""
    sending = {one.target for one in stored.deliveries if one.state == "sending"}
    return any(one.state == "sending" and one.target not in sending for one in run.deliveries)
