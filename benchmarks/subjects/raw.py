"""The floor of a durable fire on PostgreSQL: claim and complete in batches, nothing else.

Two transactions a batch, as any scheduler must: the claim is durable before the work, the end
after it.
"""

from __future__ import annotations

import time

import asyncpg

_TABLES = """
DROP SCHEMA IF EXISTS raw CASCADE;
CREATE SCHEMA raw;
CREATE TABLE raw.jobs (id text PRIMARY KEY, due timestamptz, fired integer NOT NULL DEFAULT 0);
CREATE INDEX ON raw.jobs (due) WHERE due IS NOT NULL;
CREATE TABLE raw.runs (id text PRIMARY KEY, job text NOT NULL, due timestamptz NOT NULL,
    state text NOT NULL, started timestamptz NOT NULL, ended timestamptz);
"""
_CLAIM = """
WITH due AS (
    SELECT id, due FROM raw.jobs WHERE due <= now() ORDER BY due LIMIT $1 FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE raw.jobs SET due = NULL, fired = fired + 1 FROM due WHERE jobs.id = due.id
)
INSERT INTO raw.runs SELECT 'r' || id, id, due, 'running', now() FROM due RETURNING id
"""
_COMPLETE = """
UPDATE raw.runs SET state = 'succeeded', ended = now() WHERE id = ANY($1) AND state = 'running'
"""


async def claim_and_complete(url: str, jobs: int, batch: int = 500) -> dict[str, float]:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_TABLES)
        rows = "INSERT INTO raw.jobs SELECT 'job-' || n, now() FROM generate_series(1, $1) AS n"
        await connection.execute(rows, jobs)
        await connection.execute("ANALYZE raw.jobs")
        begin = time.perf_counter()
        while claimed := await connection.fetch(_CLAIM, batch):
            await connection.execute(_COMPLETE, [row["id"] for row in claimed])
        return {"rate": jobs / (time.perf_counter() - begin)}
    finally:
        await connection.close()
