"""The rows of a PostgreSQL store, inside one transaction.

The lock of a job's row is the lock of its runs: whoever changes a job or its runs holds it, then
locks runs. A claim waits for no lock, so that it can stand in nobody's way.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from acron.model import Job, Run, Skip

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from acron.model import Decision
    from acron.stores.postgres_link import Connection

T = TypeVar("T")
log = logging.getLogger("acron.stores")

UNSENT = frozenset({"pending", "sending"})
#: Rows in one statement.
CHUNK = 5000
#: A name's beginning, by which it is found.
NAME_LIMIT = 200

_encode = msgspec.msgpack.Encoder().encode
read_job = msgspec.msgpack.Decoder(Job).decode
read_run = msgspec.msgpack.Decoder(Run).decode
read_skip = msgspec.msgpack.Decoder(Skip).decode

Cursor = tuple[datetime, str, str]  # when, whose, and which pending run ("": the job's instant)
BEGINNING: Cursor = (datetime(1, 1, 1, tzinfo=UTC), "", "")

# What is due: jobs, then pending runs with their jobs, as (due_at, job id, run id, job's data);
# "owed" is how many there are with those that are locked by others. What was claimed by others in
# between is seen as it is now, since a row is looked at again once it is locked; but runs are not
# locked here, and must be read again.
_DUE = """
WITH due AS (
    SELECT due_at, id FROM jobs
    WHERE due_at <= $1 AND needs = ANY($2::text[]) AND (due_at, id) > ($3, $4)
    ORDER BY due_at, id LIMIT $6
), waiting AS (
    SELECT r.due_at, r.job_id, r.id FROM runs r JOIN jobs j ON j.id = r.job_id
    WHERE r.state = 'pending' AND r.due_at <= $1 AND j.needs = ANY($2::text[])
        AND (r.due_at, r.job_id, r.id) > ($3, $4, $5)
    ORDER BY r.due_at, r.job_id, r.id LIMIT $6
)
SELECT owed, d.* FROM (
    SELECT (SELECT count(*) FROM due) + (SELECT count(*) FROM waiting) AS owed
) AS counted LEFT JOIN (
    (SELECT * FROM (
        SELECT due_at, id, '' AS run_id, data FROM jobs
        WHERE due_at <= $1 AND needs = ANY($2::text[]) AND (due_at, id) > ($3, $4)
        ORDER BY due_at, id LIMIT $6 FOR UPDATE SKIP LOCKED
    ) AS a)
    UNION ALL
    (SELECT * FROM (
        SELECT r.due_at, r.job_id, r.id, j.data FROM runs r JOIN jobs j ON j.id = r.job_id
        WHERE r.state = 'pending' AND r.due_at <= $1 AND j.needs = ANY($2::text[])
            AND (r.due_at, r.job_id, r.id) > ($3, $4, $5)
        ORDER BY r.due_at, r.job_id, r.id LIMIT $6 FOR UPDATE OF j SKIP LOCKED
    ) AS b)
) AS d ON true
"""
_LOCK_JOB = "SELECT data FROM jobs WHERE id = $1 AND needs = ANY($2::text[]) FOR UPDATE"
_LOCK_JOBS = """
SELECT id, data FROM jobs WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE
"""
_LOCK_JOBS_OF = """
SELECT id, data FROM jobs WHERE id IN (SELECT job_id FROM runs WHERE id = ANY($1::text[]))
ORDER BY id FOR UPDATE
"""
_LOCK_RUNS = """
SELECT data FROM runs WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE
"""
_OPEN = """
SELECT data FROM runs WHERE job_id = ANY($1::text[]) AND state IN ('pending', 'running')
ORDER BY token, id
"""
_RESERVE = """
SELECT pg_current_xact_id()::text AS xid,
    ARRAY(SELECT nextval('tokens') FROM generate_series(1, $1::int)) AS tokens
"""
_WAITING = """
SELECT EXISTS (SELECT FROM runs WHERE job_id = ANY($1::text[]) AND state = 'pending')
"""
_UPDATE_JOBS = """
UPDATE jobs SET name = n.name, needs = n.needs, due_at = n.due_at, data = n.data
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bytea[])
    AS n(id, name, needs, due_at, data)
WHERE jobs.id = n.id
"""
_INSERT_JOBS = """
INSERT INTO jobs (id, name, needs, due_at, data)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bytea[])
"""
_RUN_ROWS = """
unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[],
    $7::timestamptz[], $8::boolean[], $9::bytea[])
"""
_UPDATE_RUNS = f"""
UPDATE runs SET token = n.token, state = n.state, node = n.node, due_at = n.due_at,
    finished_at = n.finished_at, unsent = n.unsent, data = n.data
FROM {_RUN_ROWS} AS n(id, job_id, token, state, node, due_at, finished_at, unsent, data)
WHERE runs.id = n.id
"""
_INSERT_RUNS = f"""
INSERT INTO runs (id, job_id, token, state, node, due_at, finished_at, unsent, data)
SELECT * FROM {_RUN_ROWS}
"""
_INSERT_SKIPS = """
INSERT INTO skips (job_id, at, data) SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::bytea[])
"""


class OutOfTokens(Exception):
    """More were asked for than were reserved: reserve more, and ask the pure function again."""


class Rows:
    """What one transaction reads under lock, mints and writes."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.xid: str | None = None
        self._tokens: list[int] = []
        self._present: set[str] = set()  # jobs that are stored, locked
        self.jobs: dict[str, Job] = {}  # those of them that can be read
        self.runs: dict[str, Run] = {}  # as stored, and nobody else's to change
        self.problems: dict[str, str] = {}  # jobs that cannot be read

    # tokens

    async def reserve(self, count: int) -> None:
        """Make so many tokens ready. Call it with the locks held: that is what orders them."""
        row = await self.connection.fetchrow(_RESERVE, count)
        self.xid = row["xid"]
        self._tokens = row["tokens"]
        self._tokens.reverse()

    async def minting(self, count: int, pure: Callable[[], T]) -> T:
        """What ``pure`` gives, with about ``count`` tokens to mint from."""
        while True:
            await self.reserve(count)
            try:
                return pure()
            except OutOfTokens:
                count = 2 * count + 1

    def mint(self) -> int:
        if not self._tokens:
            raise OutOfTokens
        return self._tokens.pop()

    # reading

    async def due(
        self, now: datetime, needs: Collection[str], after: Cursor, limit: int
    ) -> tuple[list[Cursor], int]:
        """Lock the jobs that are due, and those of pending runs that are: at most ``limit`` rows
        in order, and how many more there are that others hold."""
        found = await self.connection.fetch(_DUE, now, list(needs), *after, limit)
        rows: list[Cursor] = []
        owed = found[0]["owed"]
        for _, due_at, job_id, run_id, data in found:
            if job_id is not None:
                owed -= 1
                if self._read_job(job_id, data):
                    rows.append((due_at, job_id, run_id))
        rows.sort()
        return rows[:limit], owed

    async def lock_job(self, job_id: str, needs: Collection[str]) -> bool:
        """Lock one job, waiting for it, if its action is among ``needs``."""
        data = await self.connection.fetchval(_LOCK_JOB, job_id, list(needs))
        return data is not None and self._read_job(job_id, data)

    async def lock_jobs(self, ids: Iterable[str]) -> None:
        """Lock jobs, waiting for them. One that cannot be read counts as not there, and stays."""
        ordered = sorted(set(ids))
        for start in range(0, len(ordered), CHUNK):
            part = ordered[start : start + CHUNK]
            for job_id, data in await self.connection.fetch(_LOCK_JOBS, part):
                self._read_job(job_id, data)

    async def lock_ends(self, run_ids: list[str]) -> None:
        """Lock runs, and first their jobs."""
        for job_id, data in await self.connection.fetch(_LOCK_JOBS_OF, run_ids):
            self._read_job(job_id, data)
        await self.lock_runs(run_ids)

    async def waiting(self, job_ids: list[str]) -> bool:
        """Whether one of the jobs has a pending run."""
        return bool(await self.connection.fetchval(_WAITING, job_ids))

    async def lock_runs(self, ids: Iterable[str]) -> None:
        for (data,) in await self.connection.fetch(_LOCK_RUNS, list(ids)):
            run = read_run(data)
            self.runs[run.id] = run

    async def open_runs(self, job_ids: Collection[str]) -> dict[str, list[Run]]:
        """The pending and running runs of jobs that are locked."""
        found: dict[str, list[Run]] = {}
        ids = list(job_ids)
        for start in range(0, len(ids), CHUNK):
            for (data,) in await self.connection.fetch(_OPEN, ids[start : start + CHUNK]):
                run = read_run(data)
                self.runs[run.id] = run
                found.setdefault(run.job_id, []).append(run)
        return found

    def _read_job(self, job_id: str, data: bytes) -> bool:
        self._present.add(job_id)
        try:
            self.jobs[job_id] = read_job(data)
        except msgspec.DecodeError as error:
            self.problems[job_id] = f"job {job_id!r} cannot be read: {error}"
            log.error("%s", self.problems[job_id])
            return False
        return True

    # writing

    async def store(self, ids: Sequence[str], decisions: Sequence[Decision]) -> None:
        """Write to each job the decision in the same place."""
        jobs = {job_id: one.job for job_id, one in zip(ids, decisions, strict=True)}
        runs = {run.id: run for one in decisions for run in one.runs}
        changed = [one for key, one in jobs.items() if one and one is not self.jobs.get(key)]
        gone = [key for key, one in jobs.items() if one is None and key in self.jobs]
        await self._write(_UPDATE_JOBS, [_job(one) for one in changed if one.id in self._present])
        await self._write(_INSERT_JOBS, [_job(one) for one in changed if one.id not in self._present])
        await self._write(_UPDATE_RUNS, [_run(one) for one in runs.values() if one.id in self.runs])
        await self._write(_INSERT_RUNS, [_run(one) for one in runs.values() if one.id not in self.runs])
        await self._write(_INSERT_SKIPS, [_skip(skip) for one in decisions for skip in one.skips])
        if gone:
            await self.connection.execute("DELETE FROM jobs WHERE id = ANY($1::text[])", gone)

    async def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        for start in range(0, len(rows), CHUNK):
            columns = zip(*rows[start : start + CHUNK], strict=True)
            await self.connection.execute(statement, *map(list, columns))


def name_key(name: str) -> str:
    """What a name is found by; longer names may share it."""
    return name.casefold().replace("\0", "")[:NAME_LIMIT]


def is_unsent(run: Run) -> bool:
    return run.state.ended and any(one.state in UNSENT for one in run.deliveries)


def _job(job: Job) -> tuple[Any, ...]:
    return job.id, name_key(job.name), job.action.needs, job.due_at, _encode(job)


def _run(run: Run) -> tuple[Any, ...]:
    return (
        run.id,
        run.job_id,
        run.token,
        run.state.value,
        run.node,
        run.due_at,
        run.finished_at,
        bool(run.deliveries) and is_unsent(run),
        _encode(run),
    )


def _skip(skip: Skip) -> tuple[Any, ...]:
    return skip.job_id, skip.recorded_at or skip.scheduled_at, _encode(skip)
