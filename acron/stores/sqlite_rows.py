"""Records as rows: what is asked of an SQLite store, and its answers as records.

Each step of a statement lets the interpreter's lock go, and gets it back only when the host's
loop is at rest: up to 5 ms later. So rows are read as one text and written many to a statement.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from heapq import merge
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from acron.errors import StoreCorrupt
from acron.model import Job, Run, RunState, Skip
from acron.stores.lanes import rank

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Sequence

    #: Due when, the rank and id of the job, which pending run of it ("" for the job's instant);
    #: and the runs of it and of its key that have not ended.
    Row = tuple[datetime, int, str, str, Job, Run | None, tuple[Run, ...]]

T = TypeVar("T")

PENDING = RunState.PENDING
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY, _SECOND = 86_400_000_000, 1_000_000
_NEVER = -(1 << 62)
# A partial index serves only where its own condition is repeated.
OPEN = "INDEXED BY runs_open WHERE state IN ('pending', 'running')"
UNSENT = "INDEXED BY runs_unsent WHERE unsent = 1"
#: How many rows one statement writes: few sizes, so that all of them stay prepared.
_SIZES = (500, 100, 20, 4, 1)

_encode = msgspec.json.Encoder().encode


class _Kind(Generic[T]):
    """How rows of one kind are decoded: all at once, or one by one when some are bad."""

    __slots__ = ("all", "one")

    def __init__(self, kind: type[T]) -> None:
        self.all = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
        self.one = msgspec.json.Decoder(kind)


_Open = tuple[Run, ...]
_DUE_JOB = _Kind(tuple[Job, _Open])
_DUE_RUN = _Kind(tuple[Job, Run])
_END = _Kind(tuple[Run, Job | None, int])
_LANE = _Kind(tuple[str, _Open])
_JOB_AND_OPEN = _Kind(tuple[Job | None, _Open])
_raw = msgspec.json.Decoder(list[msgspec.Raw])
_job = msgspec.json.Decoder(Job)
_run = msgspec.json.Decoder(Run)
_skip = msgspec.json.Decoder(Skip)

_OPEN_OF = """FROM runs AS o INDEXED BY runs_open
    WHERE o.state IN ('pending', 'running') AND o.job_id = """
_OPEN = f"'[' || coalesce((SELECT group_concat(o.data) {_OPEN_OF} %s), '') || ']'"
_LIST = "SELECT '[' || coalesce(group_concat('[' || %s || ']'), '') || ']' FROM %s"

_NEEDED = """
SELECT value FROM json_each(?1) WHERE EXISTS (
    SELECT 1 FROM jobs INDEXED BY jobs_due WHERE needs = value AND due_at <= ?2)
UNION ALL
SELECT '' WHERE EXISTS (
    SELECT 1 FROM runs INDEXED BY runs_pending WHERE state = 'pending' AND due_at <= ?2)
"""
_DUE_JOBS = _LIST % (
    f"j.data || ',' || {_OPEN % 'j.id'}",
    """(SELECT id, data FROM jobs INDEXED BY jobs_due
        WHERE needs = ?1 AND due_at <= ?2 AND (due_at, rank, id) > (?3, ?4, ?5)
        ORDER BY due_at, rank, id LIMIT ?6) AS j""",
)
_DUE_RUNS = _LIST % (
    "p.job || ',' || p.run",
    """(SELECT r.data AS run, jobs.data AS job
        FROM runs AS r INDEXED BY runs_pending CROSS JOIN jobs ON jobs.id = r.job_id
        WHERE r.state = 'pending' AND r.due_at <= ?2
            AND (r.due_at, r.rank, r.job_id, r.id) > (?3, ?4, ?5, ?7)
            AND jobs.needs IN (SELECT value FROM json_each(?1))
        ORDER BY r.due_at, r.rank, r.job_id, r.id LIMIT ?6) AS p""",
)
_LAST_JOB = """
SELECT due_at, rank, id FROM jobs INDEXED BY jobs_due
WHERE needs = ?1 AND due_at <= ?2 AND (due_at, rank, id) > (?3, ?4, ?5)
ORDER BY due_at, rank, id LIMIT 1 OFFSET ?6 - 1
"""
_LAST_RUN = """
SELECT r.due_at, r.rank, r.job_id, r.id
FROM runs AS r INDEXED BY runs_pending CROSS JOIN jobs ON jobs.id = r.job_id
WHERE r.state = 'pending' AND r.due_at <= ?2
    AND (r.due_at, r.rank, r.job_id, r.id) > (?3, ?4, ?5, ?7)
    AND jobs.needs IN (SELECT value FROM json_each(?1))
ORDER BY r.due_at, r.rank, r.job_id, r.id LIMIT 1 OFFSET ?6 - 1
"""
_ENDING = _LIST % (
    f"r.data || ',' || coalesce(j.data, 'null') || ',' || (SELECT count(*) {_OPEN_OF} r.job_id)",
    """json_each(?1) AS e CROSS JOIN runs AS r ON r.token = e.value
        LEFT JOIN jobs AS j ON j.id = r.job_id WHERE r.state = 'running'""",
)
_KNOWN = _LIST % (
    f"coalesce(j.data, 'null') || ',' || {_OPEN % 'v.column1'}",
    f"""(VALUES %s) AS v LEFT JOIN jobs AS j ON j.id = v.column1
        WHERE j.id IS NOT NULL OR EXISTS (SELECT 1 {_OPEN_OF} v.column1)""",
)
_LANES = _LIST % (
    "json_quote(k.value) || ',[' || k.runs || ']'",
    """(SELECT value, (SELECT group_concat(data) FROM runs INDEXED BY runs_lane
            WHERE key = value AND state IN ('pending', 'running')) AS runs
        FROM json_each(?1)) AS k WHERE k.runs IS NOT NULL""",
)
#: One step to each kind of action, then one to each row: no index is kept for this alone.
OVERDUE = """WHERE id IN (
    WITH RECURSIVE kinds(needs) AS (
        SELECT (SELECT min(needs) FROM jobs INDEXED BY jobs_due WHERE due_at IS NOT NULL)
        UNION ALL
        SELECT (SELECT min(j.needs) FROM jobs AS j INDEXED BY jobs_due
            WHERE j.due_at IS NOT NULL AND j.needs > kinds.needs)
        FROM kinds WHERE kinds.needs IS NOT NULL)
    SELECT j.id FROM kinds CROSS JOIN jobs AS j INDEXED BY jobs_due
        ON j.needs = kinds.needs AND j.due_at < ?
    ORDER BY j.due_at, j.rank, j.id LIMIT ?)
"""
_NEXT_DUE = """
SELECT min(due_at) FROM (
    SELECT (SELECT due_at FROM jobs INDEXED BY jobs_due
            WHERE needs = value AND due_at > ?1 ORDER BY due_at LIMIT 1) AS due_at
    FROM json_each(?2)
    UNION ALL
    SELECT (SELECT r.due_at
            FROM runs AS r INDEXED BY runs_pending CROSS JOIN jobs ON jobs.id = r.job_id
            WHERE r.state = 'pending' AND r.due_at > ?1
                AND jobs.needs IN (SELECT value FROM json_each(?2))
            ORDER BY r.due_at LIMIT 1))
"""


def micros(instant: datetime) -> int:
    """Microseconds since 1970 UTC, exact in every year."""
    since = instant - EPOCH
    return since.days * _DAY + since.seconds * _SECOND + since.microseconds


def instant_of(number: int) -> datetime:
    """The inverse of ``micros``."""
    return EPOCH + timedelta(microseconds=number)


@functools.lru_cache(maxsize=64)
def many(statement: str, columns: int, rows: int) -> str:
    """``statement`` with places for so many rows."""
    row = f"({', '.join('?' * columns)})"
    return statement % ", ".join([row] * rows)


def parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """``rows`` in parts that are as long as the sizes that statements are prepared for."""
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


class Reader:
    """Reads records. ``bad`` collects those that cannot be read, by id."""

    def __init__(self, db: sqlite3.Connection, bad: dict[str, str]) -> None:
        self._db = db
        self._bad = bad

    def needed(self, now: datetime, can_run: Collection[str]) -> list[str]:
        """Of ``can_run``, what jobs need that are due; "" when a pending run is."""
        asked = (text_of(tuple(can_run)), micros(now))
        return [needs for (needs,) in self._db.execute(_NEEDED, asked)]

    def due(
        self, now: datetime, can_run: Collection[str], limit: int, needed: Sequence[str]
    ) -> Iterator[Row]:
        """What is due, oldest first; read as it is asked for, ``limit`` rows at a time."""
        can, until = text_of(tuple(can_run)), micros(now)
        size = limit // max(1, len(needed)) + 1
        sources = [
            self._due_jobs(needs, until, size) if needs else self._due_runs(can, until, limit)
            for needs in needed
        ]
        return sources[0] if len(sources) == 1 else merge(*sources)

    def _due_jobs(self, needs: str, until: int, size: int) -> Iterator[Row]:
        after: tuple[int, int, str] | None = (_NEVER, _NEVER, "")
        while after is not None:
            asked = (needs, until, *after, size)
            rows: list[Row] = [
                (job.due_at, rank(job), job.id, "", job, None, opened)
                for job, opened in self._read(_DUE_JOB, _DUE_JOBS, asked)
                if job.due_at is not None
            ]
            yield from self._in_lanes(sorted(rows))
            if len(rows) < size and not self._bad:
                return
            after = self._db.execute(_LAST_JOB, asked).fetchone()

    def _due_runs(self, can: str, until: int, size: int) -> Iterator[Row]:
        after: tuple[int, int, str, str] | None = (_NEVER, _NEVER, "", "")
        while after is not None:
            asked = (can, until, *after[:3], size, after[3])
            found = self._read(_DUE_RUN, _DUE_RUNS, asked)
            # Once a job, not once a run: of a backfill thousands of one job's may be open.
            opened = self.known(list({job.id for job, _ in found})) if found else {}
            rows: list[Row] = [
                (run.due_at, rank(job), job.id, run.id, job, run, opened[job.id][1])
                for job, run in found
            ]
            yield from self._in_lanes(sorted(rows))
            if len(rows) < size and not self._bad:
                return
            after = self._db.execute(_LAST_RUN, asked).fetchone()

    def due_of(self, job_id: str, now: datetime, can_run: Collection[str]) -> list[Row]:
        """What one job owes, oldest first."""
        job, opened = self.known([job_id]).get(job_id, (None, ()))
        if job is None or job.action.needs not in can_run:
            return []
        place = rank(job)
        rows: list[Row] = [
            (run.due_at, place, job_id, run.id, job, run, opened)
            for run in opened
            if run.state is PENDING
        ]
        if (due_at := job.due_at) is not None:
            rows.append((due_at, place, job_id, "", job, None, opened))
        return self._in_lanes(sorted(row for row in rows if row[0] <= now))

    def _in_lanes(self, rows: list[Row]) -> list[Row]:
        """``rows`` with the runs of their jobs' keys."""
        lanes = self.lanes({row[4].policy.key for row in rows} - {None})
        if not lanes:
            return rows
        return [(*row[:6], row[6] + lanes.get(row[4].policy.key, ())) for row in rows]

    def lanes(self, keys: Collection[str | None]) -> dict[str | None, tuple[Run, ...]]:
        """The runs of each key that have not ended."""
        found: dict[str | None, tuple[Run, ...]] = {}
        if keys:
            found.update(self._read(_LANE, _LANES, (text_of(tuple(keys)),)))
        return found

    def known(self, ids: Sequence[str]) -> dict[str, tuple[Job | None, tuple[Run, ...]]]:
        """Jobs and their pending and running runs, by id; not those of which there is nothing."""
        found: dict[str, tuple[Job | None, tuple[Run, ...]]] = {}
        for part in parts(ids):
            statement = many(_KNOWN, 1, len(part))
            for job, opened in self._read(_JOB_AND_OPEN, statement, part):
                found[opened[0].job_id if job is None else job.id] = (job, opened)
        for job_id in self._bad.keys() & set(ids) if self._bad else ():
            if job_id not in found:
                raise StoreCorrupt(f"job {job_id!r} cannot be read: {self._bad[job_id]}")
            self._bad.pop(job_id, None)
        return found

    def ending(self, tokens: Sequence[int]) -> dict[int, tuple[Run, Job | None, int]]:
        """Running runs by token, with their job and how many of its runs have not ended."""
        rows = self._read(_END, _ENDING, (text_of(tokens),))
        return {row[0].token: row for row in rows}

    def next_due(self, after: datetime, can_run: Collection[str]) -> datetime | None:
        asked = (micros(after), text_of(tuple(can_run)))
        found: int | None = self._db.execute(_NEXT_DUE, asked).fetchone()[0]
        return None if found is None else instant_of(found)

    def runs(self, where: str, asked: Sequence[Any], end: str = "") -> list[Run]:
        rows = self._db.execute(f"SELECT id, data FROM runs {where} {end}", asked)  # noqa: S608
        return [run for key, data in rows if (run := self._one(_run, key, data)) is not None]

    def jobs(self, where: str, asked: Sequence[Any], end: str = "") -> list[Job]:
        rows = self._db.execute(f"SELECT id, data FROM jobs {where} {end}", asked)  # noqa: S608
        return [job for key, data in rows if (job := self._one(_job, key, data)) is not None]

    def skips(self, where: str, asked: Sequence[Any]) -> list[Skip]:
        rows = self._db.execute(f"SELECT number, data FROM skips {where}", asked)  # noqa: S608
        found = (self._one(_skip, f"skip {number}", data) for number, data in rows)
        return [skip for skip in found if skip is not None]

    def nodes(self, where: str) -> set[str]:
        rows = self._db.execute(f"SELECT DISTINCT node FROM runs {where}")  # noqa: S608
        return {node for (node,) in rows if node is not None}

    def still_bad(self) -> dict[str, str]:
        """Those of ``bad`` that have not been mended or removed."""
        now = Reader(self._db, {})  # for another thread a bad one stays bad meanwhile
        for key in list(self._bad):
            now.jobs("WHERE id = ?", (key,))
            now.runs("WHERE id = ?", (key,))
            if key not in now._bad:
                self._bad.pop(key, None)
        return dict(self._bad)

    def _read(self, kind: _Kind[T], statement: str, asked: Sequence[Any]) -> list[T]:
        text: str = self._db.execute(statement, asked).fetchone()[0]
        try:
            return kind.all.decode(text)
        except msgspec.ValidationError:
            return [row for raw in _raw.decode(text) if (row := self._one_of(kind, raw))]
        except msgspec.DecodeError as error:
            raise StoreCorrupt(f"a record is no JSON: {error}") from error

    def _one_of(self, kind: _Kind[T], raw: msgspec.Raw) -> T | None:
        try:
            return kind.one.decode(raw)
        except msgspec.ValidationError as error:
            self._bad[_id_in(msgspec.json.decode(raw))] = str(error)
            return None

    def _one(self, decoder: msgspec.json.Decoder[T], key: str, data: str) -> T | None:
        try:
            return decoder.decode(data)
        except msgspec.DecodeError as error:
            self._bad[key] = str(error)
            return None


def text_of(record: object) -> str:
    """As JSON."""
    return _encode(record).decode()


def _id_in(row: Any) -> str:
    """The id of the job or run that a row is about."""
    for one in row if isinstance(row, list) else ():
        if isinstance(one, dict):
            return str(one.get("id", "?"))
    return "?"
