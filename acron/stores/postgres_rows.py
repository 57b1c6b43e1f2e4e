"""What one transaction on a PostgreSQL store locks, reads and mints.

The lock of a job's row is the lock of its runs: whoever changes a job or its runs holds it, then
locks runs. A claim waits for no lock, so that it can stand in nobody's way.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from acron.model import Job, Run, Skip
from acron.stores.postgres_link import Mark, Thrown
from acron.stores.postgres_node import check_lease

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from acron.model import End
    from acron.stores.postgres_link import Connection

T = TypeVar("T")

#: Rows in one statement.
CHUNK = 5000
#: A name's beginning, by which it is found.
NAME_LIMIT = 200

read_job = msgspec.msgpack.Decoder(Job).decode
read_run = msgspec.msgpack.Decoder(Run).decode
read_skip = msgspec.msgpack.Decoder(Skip).decode

#: When, the rank and id of the job, and which pending run (0: the job's instant).
Cursor = tuple[datetime, int, str, int]
BEGINNING: Cursor = (datetime(1, 1, 1, tzinfo=UTC), -(1 << 63), "", 0)
#: Locks for keys; keys may share one. Many enough to be free, too few to fill the lock table.
LANES = 1024

# What is due: jobs, then pending runs with their jobs, as (due_at, rank, job id, run, job's data);
# "held" is how many more others have locked, counted when there are fewer than asked for. A job is
# seen as it is now, even if others claimed it in between, since a row is looked at again once it is
# locked; but runs are not locked here, and must be read again. The row of the claim's node is held
# first: see ``postgres_node``.
_JOBS_DUE = """
FROM jobs WHERE due_at <= $1 AND needs = ANY($2::text[]) AND (due_at, rank, id) > ($3, $4, $5)
ORDER BY due_at, rank, id LIMIT $7
"""
_RUNS_DUE = """
FROM open_runs r JOIN jobs j ON j.id = r.job_id
WHERE r.due_at <= $1 AND j.needs = ANY($2::text[])
    AND (r.due_at, r.rank, r.job_id, r.number) > ($3, $4, $5, $6)
ORDER BY r.due_at, r.rank, r.job_id, r.number LIMIT $7
"""
_DUE = f"""
WITH n AS MATERIALIZED (
    SELECT expires > clock_timestamp() AS alive, (SELECT version FROM meta) AS version FROM nodes
    WHERE id = $8 FOR KEY SHARE OF nodes
), d AS MATERIALIZED (
    (SELECT * FROM (SELECT due_at, rank, id, 0::bigint AS run, data {_JOBS_DUE}
        FOR UPDATE SKIP LOCKED) AS a)
    UNION ALL
    (SELECT * FROM (SELECT r.due_at, r.rank, r.job_id, r.number, j.data {_RUNS_DUE}
        FOR UPDATE OF j SKIP LOCKED) AS b)
)
SELECT CASE WHEN (SELECT count(*) FROM d) < $7
    THEN (SELECT count(*) FROM (SELECT {_JOBS_DUE}) AS a)
        + (SELECT count(*) FROM (SELECT {_RUNS_DUE}) AS b) - (SELECT count(*) FROM d)
    ELSE 0 END AS held, alive, version, d.*
FROM (SELECT 1) AS always LEFT JOIN n ON true LEFT JOIN d ON true
"""  # noqa: S608 (our own words)
_LOCK_JOB = "SELECT data FROM jobs WHERE id = $1 AND needs = ANY($2::text[]) FOR UPDATE"
_LOCK_JOBS = "SELECT id, data FROM jobs WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE"
_LOCK_JOBS_OF = """
SELECT id, data FROM jobs WHERE id IN (
    SELECT job_id FROM open_runs WHERE number = ANY($1::bigint[])
    UNION SELECT job_id FROM ended_runs WHERE number = ANY($1::bigint[])
) ORDER BY id FOR UPDATE
"""
# Takes out, and so locks, the runs that are running under that very token.
_TAKE_RUNS = """
DELETE FROM open_runs USING unnest($1::bigint[], $2::bigint[]) AS n(number, token)
WHERE open_runs.number = n.number AND open_runs.token = n.token AND state = 'running'
RETURNING data
"""
_LOCK_RUNS = "SELECT data FROM {} WHERE number = ANY($1::bigint[]) ORDER BY number FOR UPDATE"
# One claims the runs of a key at a time.
_TRY_LANES = """
SELECT lane FROM unnest($1::int[]) AS lane
WHERE pg_try_advisory_xact_lock(hashtext(current_schema()), lane)
"""
_WAIT_LANE = "SELECT pg_advisory_xact_lock(hashtext(current_schema()), $1)"
_NOTED = """
WITH noted AS (INSERT INTO commits (id) VALUES ($1) ON CONFLICT DO NOTHING)
SELECT pg_current_xact_id()::text AS xid"""
_RESERVE = f"""{_NOTED},
    ARRAY(SELECT nextval('tokens') FROM generate_series(1, $2::int)) AS tokens
"""  # noqa: S608 (our own words, and so below)
_STANDING = f"""{_RESERVE},
    ARRAY(SELECT data FROM open_runs WHERE job_id = ANY($3::text[]) ORDER BY token, number) AS own,
    ARRAY(SELECT data FROM open_runs WHERE lane = ANY($4::bytea[]) ORDER BY token, number) AS keyed
"""  # noqa: S608
_JOBS_OF = f"""{_NOTED}, jobs.id, jobs.data, EXISTS (
    SELECT FROM open_runs WHERE job_id = jobs.id AND due_at IS NOT NULL) AS waiting
FROM (SELECT 1) AS always LEFT JOIN jobs ON jobs.id = ANY($2::text[])
"""  # noqa: S608
_WAITING = """
SELECT EXISTS (SELECT FROM open_runs WHERE job_id = ANY($1::text[]) AND due_at IS NOT NULL)
"""


class OutOfTokens(Exception):
    """More were asked for than were reserved: reserve more, and ask the pure function again."""


class Standing:
    """Runs that have not ended, by job and by key."""

    def __init__(self) -> None:
        self._of_job: dict[str, list[Run]] = {}
        self._of_key: dict[str | None, list[Run]] = {}

    def add(self, run: Run) -> None:
        self._of_job.setdefault(run.job_id, []).append(run)
        if run.key is not None:
            self._of_key.setdefault(run.key, []).append(run)

    def of(self, job_id: str, key: str | None = None) -> list[Run]:
        own = self._of_job.get(job_id, [])
        return own if key is None else own + self._of_key.get(key, [])


class Reading:
    """What one transaction reads under lock, and mints."""

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
        """Make so many tokens ready, and what is written from now on be proven by its commit.
        Call it with the locks held: that is what orders tokens."""
        self._noted(await self.connection.fetchrow(_RESERVE, self._commit, count))

    def _noted(self, row: Any) -> None:
        self.mark = Mark(row["xid"], self._commit)
        self._tokens = row.get("tokens") or []
        self._tokens.reverse()

    async def minting(self, pure: Callable[[], T]) -> T:
        """What ``pure`` gives, with the tokens made ready, and more if it needs more."""
        while True:
            ready = len(self._tokens)
            try:
                return pure()
            except OutOfTokens:
                await self.reserve(2 * ready + 1)
            except Exception as error:
                raise Thrown(error) from error

    def mint(self) -> int:
        if not self._tokens:
            raise OutOfTokens
        return self._tokens.pop()

    # reading

    async def due(
        self, now: datetime, needs: Collection[str], after: Cursor, limit: int, node: str | None
    ) -> tuple[list[Cursor], int]:
        """Lock the jobs that are due, and those of pending runs that are: at most ``limit`` rows
        in order, and how many more there are that others hold. See ``check_lease`` for
        the ``node``; nobody calls it dead before the end of this transaction."""
        found = await self.connection.fetch(_DUE, now, list(needs), *after, limit, node)
        if node is not None:
            check_lease(found[0]["alive"], found[0]["version"])
        rows: list[Cursor] = []
        for _, _, _, due_at, place, job_id, number, data in found:
            if job_id is not None:
                self._read_job(job_id, data)
                rows.append((due_at, place, job_id, number))
        rows.sort()
        return rows[:limit], found[0]["held"]

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

    async def read_jobs(self, ids: Iterable[str]) -> bool:
        """Jobs as they are now, not locked; whether one of them has a pending run. No tokens."""
        found = await self.connection.fetch(_JOBS_OF, self._commit, list(ids))
        self._noted(found[0])
        for _, job_id, data, _ in found:
            if job_id is not None:
                self._read_job(job_id, data)
        return any(waiting for _, _, _, waiting in found)

    async def lock_ends(self, run_ids: Iterable[str]) -> None:
        """Lock runs, and first their jobs."""
        await self.lock_jobs_of(run_ids)
        numbers = numbers_of(run_ids)
        await self._lock_runs(self.open, "open_runs", numbers)
        missing = [one for one in numbers if f"r{one}" not in self.open]
        if missing:
            await self._lock_runs(self.ended, "ended_runs", missing)

    async def lock_jobs_of(self, run_ids: Iterable[str]) -> None:
        for job_id, data in await self.connection.fetch(_LOCK_JOBS_OF, numbers_of(run_ids)):
            self._read_job(job_id, data)

    async def lock_ended(self, run_id: str) -> None:
        """Lock one run that has ended."""
        await self._lock_runs(self.ended, "ended_runs", numbers_of([run_id]))

    async def _lock_runs(self, place: dict[str, Run], table: str, numbers: list[int]) -> None:
        for (data,) in await self.connection.fetch(_LOCK_RUNS.format(table), numbers):
            run = read_run(data)
            place[run.id] = run

    async def waiting(self, job_ids: list[str]) -> bool:
        """Whether one of the jobs has a pending run."""
        return bool(await self.connection.fetchval(_WAITING, job_ids))

    async def standing(self, job_ids: Collection[str], tokens: int) -> Standing:
        """The runs that have not ended of jobs that are locked, and of their keys; ``reserve``
        so many tokens meanwhile."""
        found = Standing()
        keys = {job.policy.key for job_id in job_ids if (job := self.jobs.get(job_id))} - {None}
        lanes = [digest(key) for key in keys if key is not None]
        row = await self.connection.fetchrow(_STANDING, self._commit, tokens, list(job_ids), lanes)
        self._noted(row)
        for data in row["own"] + row["keyed"]:
            found.add(run := read_run(data))
            self.open[run.id] = run
        return found

    # keys

    async def lock_keys(self, keys: Collection[str]) -> set[str]:
        """Of ``keys``, those that nobody else claims for now, and until this transaction ends."""
        lanes = {key: _lane(key) for key in keys}
        if not lanes:
            return set()
        rows = await self.connection.fetch(_TRY_LANES, sorted(set(lanes.values())))
        free = {lane for (lane,) in rows}
        return {key for key, lane in lanes.items() if lane in free}

    async def wait_for_key(self, key: str) -> None:
        await self.connection.execute(_WAIT_LANE, _lane(key))

    def _read_job(self, job_id: str, data: bytes) -> bool:
        self._present.add(job_id)
        try:
            self.jobs[job_id] = read_job(data)
        except msgspec.DecodeError as error:
            self.problems[job_id] = f"job {job_id!r} cannot be read: {error}"
            return False
        return True


def number_of(run_id: str) -> int | None:
    """The number of ``r<number>``; None for what cannot be the id of a run."""
    try:
        number = int(run_id[1:])
    except ValueError:
        return None
    return number if 0 < number < 2**63 and run_id == f"r{number}" else None


def numbers_of(run_ids: Iterable[str]) -> list[int]:
    """The numbers of those that can be ids of runs."""
    return [one for one in map(number_of, run_ids) if one is not None]


def digest(text: str) -> bytes:
    """What a tag or a key is found by, however long it is and whatever is in it."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _lane(key: str) -> int:
    return int.from_bytes(digest(key)[:4]) % LANES


def name_key(name: str) -> str:
    """What a name is found by; longer names may share it."""
    return name.casefold().replace("\0", "")[:NAME_LIMIT]
