"""The rows of a PostgreSQL store, inside one transaction: what was read, and what is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from acron.model import Job, Run, RunState, Skip
from acron.stores.dead import is_unsent, removal
from acron.stores.lanes import rank
from acron.stores.postgres_link import Overtaken
from acron.stores.postgres_rows import (
    CHUNK,
    Reading,
    digest,
    name_key,
    number_of,
    numbers_of,
    read_run,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from acron.model import Decision

_encode = msgspec.msgpack.Encoder().encode

# Most jobs that change have only gone on to their next instant, and have a run begun: what a claim
# writes is one statement.
_GO_ON = """
WITH advanced AS (
    UPDATE jobs SET due_at = n.due_at, data = n.data, incidents = n.incidents
    FROM unnest($1::text[], $2::timestamptz[], $3::bytea[], $4::int[])
        AS n(id, due_at, data, incidents)
    WHERE jobs.id = n.id
)
INSERT INTO open_runs (number, job_id, token, state, node, due_at, rank, lane, data)
SELECT * FROM unnest($5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::text[],
    $10::timestamptz[], $11::bigint[], $12::bytea[], $13::bytea[])
"""
_UPDATE_JOBS = """
UPDATE jobs SET due_at = n.due_at, data = n.data, incidents = n.incidents, rank = n.rank,
    name = n.name, needs = n.needs, app = n.app, on_start = n.on_start
FROM unnest($1::text[], $2::timestamptz[], $3::bytea[], $4::int[], $5::bigint[], $6::text[],
    $7::text[], $8::text[], $9::boolean[])
    AS n(id, due_at, data, incidents, rank, name, needs, app, on_start)
WHERE jobs.id = n.id
"""
_RERANK = """
UPDATE open_runs SET rank = n.rank FROM unnest($1::text[], $2::bigint[]) AS n(job_id, rank)
WHERE open_runs.job_id = n.job_id AND due_at IS NOT NULL
"""
_LOCK_TAGGED = """
SELECT id FROM jobs WHERE id IN (SELECT job_id FROM job_tags WHERE tag = $1) ORDER BY id FOR UPDATE
"""
# A job may have lost the tag before it could be locked.
_REMOVE_TAGGED = """
WITH gone AS (
    DELETE FROM jobs WHERE id IN (SELECT job_id FROM job_tags WHERE tag = $1)
        AND id = ANY($2::text[]) RETURNING id
), untagged AS (
    DELETE FROM job_tags WHERE job_id IN (SELECT id FROM gone)
), cancelled AS (
    DELETE FROM open_runs WHERE due_at IS NOT NULL AND job_id IN (SELECT id FROM gone)
        RETURNING data
)
SELECT (SELECT count(*) FROM gone), ARRAY(SELECT data FROM cancelled)
"""
_UNTAG = "DELETE FROM job_tags WHERE job_id = ANY($1::text[])"
# The token fences off who changed the run since it was read, without a lock of its job.
_UPDATE_OPEN = """
UPDATE open_runs SET token = n.token, state = n.state, node = n.node, due_at = n.due_at,
    data = n.data
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[],
    $7::bytea[]) AS n(number, fence, token, state, node, due_at, data)
WHERE open_runs.number = n.number AND open_runs.token = n.fence
"""
_DELETE_OPEN = """
DELETE FROM open_runs USING unnest($1::bigint[], $2::bigint[]) AS n(number, fence)
WHERE open_runs.number = n.number AND open_runs.token = n.fence
"""
_UPDATE_ENDED = """
UPDATE ended_runs SET node = n.node, unsent = n.unsent, told = string_to_array(n.told, ' '),
    data = n.data
FROM unnest($1::bigint[], $2::text[], $3::boolean[], $4::text[], $5::bytea[])
    AS n(number, node, unsent, told, data)
WHERE ended_runs.number = n.number
"""
_JOB_COLUMNS = (
    "id",
    "due_at",
    "data",
    "incidents",
    "rank",
    "name",
    "needs",
    "app",
    "on_start",
)
_ENDED_COLUMNS = (
    "number",
    "job_id",
    "token",
    "state",
    "node",
    "finished_at",
    "unsent",
    "told",
    "data",
)
_SKIP_COLUMNS = ("job_id", "at", "data")


class Rows(Reading):
    """What one transaction reads under lock, mints and writes."""

    async def store(self, ids: Sequence[str], decisions: Sequence[Decision]) -> None:
        """Write to each job the decision in the same place."""
        jobs = {job_id: one.job for job_id, one in zip(ids, decisions, strict=True)}
        dropped = {run_id for one in decisions for run_id in one.dropped}
        runs = {run.id: run for one in decisions for run in one.runs if run.id not in dropped}
        advanced = await self._store_jobs(jobs)
        begun = await self._store_runs(runs)
        await self._go_on(advanced, [_begun(run, jobs.get(run.job_id)) for run in begun])
        if dropped:
            await self._drop(dropped)
        skips = [_skip(skip) for one in decisions for skip in one.skips]
        await self._insert("skips", _SKIP_COLUMNS, skips)

    async def _store_jobs(self, jobs: dict[str, Job | None]) -> list[tuple[Any, ...]]:
        """All but those that have only advanced, whose rows it gives."""
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
        await self._update(_UPDATE_JOBS, [_job(job) for job in edited])
        await self._insert("jobs", _JOB_COLUMNS, [_job(job) for job in new])
        if gone:
            await self.connection.execute("DELETE FROM jobs WHERE id = ANY($1::text[])", gone)
        await self._store_tags(new, edited, gone)
        moved = [job for job in edited if _moved(self.jobs.get(job.id), job)]
        await self._update(_RERANK, [(job.id, rank(job)) for job in moved])
        return [_advanced(job) for job in advanced]

    async def remove_tagged(self, tag: str, now: datetime) -> int:
        """Remove jobs, and cancel what they have pending; how many jobs there were."""
        locked = [job_id for (job_id,) in await self.connection.fetch(_LOCK_TAGGED, digest(tag))]
        await self.reserve(0)
        gone, data = await self.connection.fetchrow(_REMOVE_TAGGED, digest(tag), locked)
        cancelled = removal(map(read_run, data), now).runs
        await self._insert("ended_runs", _ENDED_COLUMNS, [_ended(run) for run in cancelled])
        return int(gone)

    async def _store_tags(self, new: list[Job], edited: list[Job], gone: list[str]) -> None:
        known = [*(job.id for job in edited), *gone]
        tagged = [one for one in known if (old := self.jobs.get(one)) is None or old.tags]
        if tagged:
            await self.connection.execute(_UNTAG, tagged)
        rows = {(digest(tag), job.id) for job in new + edited for tag in job.tags}
        await self._insert("job_tags", ("tag", "job_id"), list(rows))

    async def _drop(self, run_ids: Collection[str]) -> None:
        numbers = numbers_of(run_ids)
        for table in ("open_runs", "ended_runs"):
            sql = f"DELETE FROM {table} WHERE number = ANY($1::bigint[])"  # noqa: S608
            await self.connection.execute(sql, numbers)

    async def _store_runs(self, runs: dict[str, Run]) -> list[Run]:
        """All but those that have begun, which it gives."""
        begun: list[Run] = []
        going: list[Run] = []
        over: list[Run] = []
        marked: list[Run] = []
        for run_id, run in runs.items():
            if run.state.ended:
                (marked if run_id in self.ended else over).append(run)
            else:
                (going if run_id in self.open else begun).append(run)
        stored = self.open
        gone = [(number_of(run.id), stored[run.id].token) for run in over if run.id in stored]
        await self._update_all(_DELETE_OPEN, gone)
        await self._insert("ended_runs", _ENDED_COLUMNS, [_ended(run) for run in over])
        await self._update_all(_UPDATE_OPEN, [_going(run, stored[run.id].token) for run in going])
        await self._update(_UPDATE_ENDED, [_mark(run) for run in marked])
        return begun

    async def _go_on(self, advanced: list[tuple[Any, ...]], begun: list[tuple[Any, ...]]) -> None:
        for start in range(0, max(len(advanced), len(begun)), CHUNK):
            part = slice(start, start + CHUNK)
            values = [*_turned(advanced[part], 4), *_turned(begun[part], 9)]
            await self.connection.execute(_GO_ON, *values)

    async def _update(self, statement: str, rows: list[tuple[Any, ...]]) -> int:
        """How many rows there were."""
        count = 0
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            answer = await self.connection.execute(statement, *_turned(part, len(part[0])))
            count += int(answer.rpartition(" ")[2])
        return count

    async def _update_all(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        if rows and await self._update(statement, rows) != len(rows):
            raise Overtaken

    async def _insert(
        self, table: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]
    ) -> None:
        if rows:
            await self.connection.copy_records_to_table(table, columns=columns, records=rows)


def _turned(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows, turned."""
    return [list(one) for one in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _declared(job: Job) -> tuple[object, ...]:
    """What is searched by and does not change as a job goes on."""
    return job.name, job.action.needs, job.app, job.bound, job.tags, job.policy.priority


def _moved(old: Job | None, new: Job) -> bool:
    return old is None or old.policy.priority != new.policy.priority


def _advanced(job: Job) -> tuple[Any, ...]:
    return job.id, job.due_at, _encode(job), len(job.incidents)


def _job(job: Job) -> tuple[Any, ...]:
    needs, on_start = job.action.needs, "@reboot" in job.bound
    return (*_advanced(job), rank(job), name_key(job.name), needs, job.app, on_start)


def _begun(run: Run, job: Job | None) -> tuple[Any, ...]:
    due_at = run.due_at if run.state is RunState.PENDING else None
    return (
        number_of(run.id),
        run.job_id,
        run.token,
        run.state.value,
        run.node,
        due_at,
        0 if job is None else rank(job),
        None if run.key is None else digest(run.key),
        _encode(run),
    )


def _going(run: Run, fence: int) -> tuple[Any, ...]:
    due_at = run.due_at if run.state is RunState.PENDING else None
    number = number_of(run.id)
    return number, fence, run.token, run.state.value, run.node, due_at, _encode(run)


def _ended(run: Run) -> tuple[Any, ...]:
    return (
        number_of(run.id),
        run.job_id,
        run.token,
        run.state.value,
        run.node,
        run.finished_at or run.due_at,
        bool(run.deliveries) and is_unsent(run),
        _told(run) if run.deliveries else None,
        _encode(run),
    )


def _mark(run: Run) -> tuple[Any, ...]:
    told = " ".join(_told(run)) or None
    return number_of(run.id), run.node, is_unsent(run), told, _encode(run)


def _told(run: Run) -> list[str]:
    return [one.state for one in run.deliveries]


def _skip(skip: Skip) -> tuple[Any, ...]:
    return skip.job_id, skip.recorded_at or skip.scheduled_at, _encode(skip)
