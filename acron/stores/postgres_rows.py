"""The rows of a PostgreSQL store, inside one transaction.

The lock of a job's row is the lock of its runs: whoever changes a job or its runs holds it, then
locks runs. A claim waits for no lock, so that it can stand in nobody's way.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from acron.model import Job, Run, RunState, Skip
from acron.stores.dead import is_unsent
from acron.stores.postgres_link import Mark, Thrown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from acron.model import Decision, End
    from acron.stores.postgres_link import Connection

T = TypeVar("T")

#: Rows in one statement.
CHUNK = 5000
#: A name's beginning, by which it is found.
NAME_LIMIT = 200

_encode = msgspec.msgpack.Encoder().encode
read_job = msgspec.msgpack.Decoder(Job).decode
read_run = msgspec.msgpack.Decoder(Run).decode
read_skip = msgspec.msgpack.Decoder(Skip).decode

Cursor = tuple[datetime, str, int]  # when, whose, and which pending run (0: the job's instant)
BEGINNING: Cursor = (datetime(1, 1, 1, tzinfo=UTC), "", 0)

# What is due: jobs, then pending runs with their jobs, as (due_at, job id, run, job's data); "owed"
# is how many there are with those that are locked by others. A job is seen as it is now, even if
# others claimed it in between, since a row is looked at again once it is locked; but runs are not
# locked here, and must be read again.
_JOBS_DUE = """
FROM jobs WHERE due_at <= $1 AND needs = ANY($2::text[]) AND (due_at, id) > ($3, $4)
ORDER BY due_at, id LIMIT $6
"""
_RUNS_DUE = """
FROM open_runs r JOIN jobs j ON j.id = r.job_id
WHERE r.due_at <= $1 AND j.needs = ANY($2::text[])
    AND (r.due_at, r.job_id, r.number) > ($3, $4, $5)
ORDER BY r.due_at, r.job_id, r.number LIMIT $6
"""
_DUE = f"""
SELECT owed, d.* FROM (
    SELECT (SELECT count(*) FROM (SELECT {_JOBS_DUE}) AS a)
        + (SELECT count(*) FROM (SELECT {_RUNS_DUE}) AS b) AS owed
) AS counted LEFT JOIN (
    (SELECT * FROM (SELECT due_at, id, 0::bigint AS run, data {_JOBS_DUE}
        FOR UPDATE SKIP LOCKED) AS a)
    UNION ALL
    (SELECT * FROM (SELECT r.due_at, r.job_id, r.number, j.data {_RUNS_DUE}
        FOR UPDATE OF j SKIP LOCKED) AS b)
) AS d ON true
"""  # noqa: S608 (our own words)
_LOCK_JOB = "SELECT data FROM jobs WHERE id = $1 AND needs = ANY($2::text[]) FOR UPDATE"
_LOCK_JOBS = "SELECT id, data FROM jobs WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE"
_LOCK_JOBS_OF = """
SELECT id, data FROM jobs WHERE id IN (
    SELECT job_id FROM open_runs WHERE number = ANY($1::bigint[])
    UNION SELECT job_id FROM ended_runs WHERE number = ANY($1::bigint[])
) ORDER BY id FOR UPDATE
"""
_JOBS_OF = "SELECT id, data FROM jobs WHERE id = ANY($1::text[])"
# Takes out, and so locks, the runs that are running under that very token.
_TAKE_RUNS = """
DELETE FROM open_runs USING unnest($1::bigint[], $2::bigint[]) AS n(number, token)
WHERE open_runs.number = n.number AND open_runs.token = n.token AND state = 'running'
RETURNING data
"""
_LOCK_RUNS = "SELECT data FROM {} WHERE number = ANY($1::bigint[]) ORDER BY number FOR UPDATE"
_OPEN = """
SELECT data FROM open_runs WHERE job_id = ANY($1::text[]) ORDER BY token, number
"""
_RESERVE = """
WITH noted AS (INSERT INTO commits (id) VALUES ($2) ON CONFLICT DO NOTHING)
SELECT pg_current_xact_id()::text AS xid,
    ARRAY(SELECT nextval('tokens') FROM generate_series(1, $1::int)) AS tokens
"""
_WAITING = """
SELECT EXISTS (SELECT FROM open_runs WHERE job_id = ANY($1::text[]) AND due_at IS NOT NULL)
"""
# Most jobs that change have only gone on to their next instant.
_ADVANCE_JOBS = """
UPDATE jobs SET due_at = n.due_at, data = n.data
FROM unnest($1::text[], $2::timestamptz[], $3::bytea[]) AS n(id, due_at, data)
WHERE jobs.id = n.id
"""
_UPDATE_JOBS = """
UPDATE jobs SET due_at = n.due_at, data = n.data, name = n.name, needs = n.needs, app = n.app,
    on_start = n.on_start
FROM unnest($1::text[], $2::timestamptz[], $3::bytea[], $4::text[], $5::text[], $6::text[],
    $7::boolean[]) AS n(id, due_at, data, name, needs, app, on_start)
WHERE jobs.id = n.id
"""
_UPDATE_OPEN = """
UPDATE open_runs SET token = n.token, state = n.state, node = n.node, due_at = n.due_at,
    data = n.data
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[],
    $7::bytea[]) AS n(number, job_id, token, state, node, due_at, data)
WHERE open_runs.number = n.number
"""
_UPDATE_ENDED = """
UPDATE ended_runs SET node = n.node, unsent = n.unsent, data = n.data
FROM unnest($1::bigint[], $2::text[], $3::boolean[], $4::bytea[]) AS n(number, node, unsent, data)
WHERE ended_runs.number = n.number
"""
_JOB_COLUMNS = ("id", "due_at", "data", "name", "needs", "app", "on_start")
_OPEN_COLUMNS = ("number", "job_id", "token", "state", "node", "due_at", "data")
_ENDED_COLUMNS = (
    "number",
    "job_id",
    "token",
    "state",
    "node",
    "finished_at",
    "unsent",
    "data",
)
_SKIP_COLUMNS = ("job_id", "at", "data")


class OutOfTokens(Exception):
    """More were asked for than were reserved: reserve more, and ask the pure function again."""


class Rows:
    """What one transaction reads under lock, mints and writes."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.mark: Mark | None = None  # once something is to be written
        self._commit = secrets.randbits(63)
        self._tokens: list[int] = []
        self._present: set[str] = set()  # jobs that are stored, locked
        self.jobs: dict[str, Job] = {}  # those of them that can be read
        self.open: dict[str, Run] = {}  # runs as stored, and nobody else's to change
        self.ended: dict[str, Run] = {}
        self.problems: dict[str, str] = {}  # jobs that cannot be read

    # tokens

    async def reserve(self, count: int) -> None:
        """Make so many tokens ready. Call it with the locks held: that is what orders them."""
        row = await self.connection.fetchrow(_RESERVE, count, self._commit)
        self.mark = Mark(row["xid"], self._commit)
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
            except Exception as error:
                raise Thrown(error) from error

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
        for _, due_at, job_id, number, data in found:
            if job_id is not None:
                owed -= 1
                self._read_job(job_id, data)
                rows.append((due_at, job_id, number))
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

    async def take(self, ends: Sequence[End]) -> dict[str, Run]:
        """Take out of their table the runs that can be ended so, and lock them."""
        fences = sorted({(number_of(end.run_id) or 0, end.token) for end in ends})
        columns = map(list, zip(*fences, strict=True))
        taken = await self.connection.fetch(_TAKE_RUNS, *columns)
        return {run.id: run for run in (read_run(data) for (data,) in taken)}

    async def read_jobs(self, ids: Iterable[str]) -> None:
        """Jobs as they are now, not locked."""
        for job_id, data in await self.connection.fetch(_JOBS_OF, list(ids)):
            self._read_job(job_id, data)

    async def lock_ends(self, run_ids: Iterable[str]) -> None:
        """Lock runs, and first their jobs."""
        await self.lock_jobs_of(run_ids)
        numbers = _numbers(run_ids)
        await self._lock_runs(self.open, "open_runs", numbers)
        missing = [one for one in numbers if f"r{one}" not in self.open]
        if missing:
            await self._lock_runs(self.ended, "ended_runs", missing)

    async def lock_jobs_of(self, run_ids: Iterable[str]) -> None:
        for job_id, data in await self.connection.fetch(_LOCK_JOBS_OF, _numbers(run_ids)):
            self._read_job(job_id, data)

    async def lock_ended(self, run_id: str) -> None:
        """Lock one run that has ended."""
        await self._lock_runs(self.ended, "ended_runs", _numbers([run_id]))

    async def _lock_runs(self, place: dict[str, Run], table: str, numbers: list[int]) -> None:
        for (data,) in await self.connection.fetch(_LOCK_RUNS.format(table), numbers):
            run = read_run(data)
            place[run.id] = run

    async def waiting(self, job_ids: list[str]) -> bool:
        """Whether one of the jobs has a pending run."""
        return bool(await self.connection.fetchval(_WAITING, job_ids))

    async def open_runs(self, job_ids: Collection[str]) -> dict[str, list[Run]]:
        """The pending and running runs of jobs that are locked."""
        found: dict[str, list[Run]] = {}
        ids = list(job_ids)
        for start in range(0, len(ids), CHUNK):
            for (data,) in await self.connection.fetch(_OPEN, ids[start : start + CHUNK]):
                run = read_run(data)
                self.open[run.id] = run
                found.setdefault(run.job_id, []).append(run)
        return found

    def _read_job(self, job_id: str, data: bytes) -> bool:
        self._present.add(job_id)
        try:
            self.jobs[job_id] = read_job(data)
        except msgspec.DecodeError as error:
            self.problems[job_id] = f"job {job_id!r} cannot be read: {error}"
            return False
        return True

    # writing

    async def store(self, ids: Sequence[str], decisions: Sequence[Decision]) -> None:
        """Write to each job the decision in the same place."""
        jobs = {job_id: one.job for job_id, one in zip(ids, decisions, strict=True)}
        await self._store_jobs(jobs)
        await self._store_runs({run.id: run for one in decisions for run in one.runs})
        skips = [_skip(skip) for one in decisions for skip in one.skips]
        await self._insert("skips", _SKIP_COLUMNS, skips)

    async def _store_jobs(self, jobs: dict[str, Job | None]) -> None:
        new: list[Job] = []
        advanced: list[Job] = []
        edited: list[Job] = []
        gone: list[str] = []
        for job_id, job in jobs.items():
            old = self.jobs.get(job_id)
            if job is None:
                if old is not None:
                    gone.append(job_id)
            elif job_id not in self._present:
                new.append(job)
            elif old is None or _declared(old) != _declared(job):
                edited.append(job)
            elif old is not job:
                advanced.append(job)
        await self._update(_ADVANCE_JOBS, [_job(job)[:3] for job in advanced])
        await self._update(_UPDATE_JOBS, [_job(job) for job in edited])
        await self._insert("jobs", _JOB_COLUMNS, [_job(job) for job in new])
        if gone:
            await self.connection.execute("DELETE FROM jobs WHERE id = ANY($1::text[])", gone)

    async def _store_runs(self, runs: dict[str, Run]) -> None:
        begun: list[Run] = []
        going: list[Run] = []
        over: list[Run] = []
        marked: list[Run] = []
        for run_id, run in runs.items():
            if run.state.ended:
                (marked if run_id in self.ended else over).append(run)
            else:
                (going if run_id in self.open else begun).append(run)
        gone = [number_of(run.id) for run in over if run.id in self.open]
        if gone:
            sql = "DELETE FROM open_runs WHERE number = ANY($1::bigint[])"
            await self.connection.execute(sql, gone)
        await self._insert("ended_runs", _ENDED_COLUMNS, [_ended(run) for run in over])
        await self._insert("open_runs", _OPEN_COLUMNS, [_open(run) for run in begun])
        await self._update(_UPDATE_OPEN, [_open(run) for run in going])
        await self._update(_UPDATE_ENDED, [_mark(run) for run in marked])

    async def _update(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        for start in range(0, len(rows), CHUNK):
            columns = zip(*rows[start : start + CHUNK], strict=True)
            await self.connection.execute(statement, *map(list, columns))

    async def _insert(
        self, table: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]
    ) -> None:
        if rows:
            await self.connection.copy_records_to_table(table, columns=columns, records=rows)


def number_of(run_id: str) -> int | None:
    """The number of ``r<number>``; None for what cannot be the id of a run."""
    try:
        number = int(run_id[1:])
    except ValueError:
        return None
    return number if 0 < number < 2**63 and run_id == f"r{number}" else None


def _numbers(run_ids: Iterable[str]) -> list[int]:
    return [one for one in map(number_of, run_ids) if one is not None]


def name_key(name: str) -> str:
    """What a name is found by; longer names may share it."""
    return name.casefold().replace("\0", "")[:NAME_LIMIT]


def _declared(job: Job) -> tuple[str, str, str | None, str]:
    """What is searched by and does not change as a job goes on."""
    return job.name, job.action.needs, job.app, job.bound


def _job(job: Job) -> tuple[Any, ...]:
    needs, on_start = job.action.needs, "@reboot" in job.bound
    return job.id, job.due_at, _encode(job), name_key(job.name), needs, job.app, on_start


def _open(run: Run) -> tuple[Any, ...]:
    due_at = run.due_at if run.state is RunState.PENDING else None
    number = number_of(run.id)
    return number, run.job_id, run.token, run.state.value, run.node, due_at, _encode(run)


def _ended(run: Run) -> tuple[Any, ...]:
    return (
        number_of(run.id),
        run.job_id,
        run.token,
        run.state.value,
        run.node,
        run.finished_at or run.due_at,
        bool(run.deliveries) and is_unsent(run),
        _encode(run),
    )


def _mark(run: Run) -> tuple[Any, ...]:
    return number_of(run.id), run.node, is_unsent(run), _encode(run)


def _skip(skip: Skip) -> tuple[Any, ...]:
    return skip.job_id, skip.recorded_at or skip.scheduled_at, _encode(skip)
