"""Forgetting what is old, a bounded number of rows in a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3

#: Rows that one transaction deletes: claims must not wait for all of it.
ROWS = 2000
#: Jobs whose rows are counted, and cut, at a time.
_JOBS = 200


class Table(NamedTuple):
    """How to delete from a table: what is older than an instant, what is beyond a number."""

    old: str
    jobs: str
    excess: str

    def delete_old(self, db: sqlite3.Connection, before: int) -> int:
        """Delete up to ``ROWS`` rows older than ``before``; how many there were."""
        return db.execute(self.old, (before, ROWS)).rowcount

    def crowded(
        self, db: sqlite3.Connection, after: str, keep: int
    ) -> tuple[list[str], str | None]:
        """Among the next jobs after ``after``, those with more than ``keep`` rows; and where to
        go on, None at the end."""
        found: list[tuple[str, int]] = db.execute(self.jobs, (after, _JOBS)).fetchall()
        many = [job_id for job_id, count in found if count > keep]
        return many, found[-1][0] if len(found) == _JOBS else None

    def delete_excess(self, db: sqlite3.Connection, job_id: str, keep: int) -> int:
        """Delete up to ``ROWS`` of a job's rows, all but the newest ``keep``."""
        return db.execute(self.excess, (job_id, ROWS, keep)).rowcount


_JOBS_OF = """
SELECT job_id, count(*) FROM {table} INDEXED BY {table}_job
WHERE job_id > ? GROUP BY job_id ORDER BY job_id LIMIT ?
"""

RUNS = Table(
    old="""
DELETE FROM runs WHERE (token, id) IN (
    SELECT token, id FROM runs INDEXED BY runs_finished
    WHERE finished_at < ? AND state NOT IN ('pending', 'running') LIMIT ?)
""",
    jobs=_JOBS_OF.format(table="runs"),
    excess="""
DELETE FROM runs WHERE (token, id) IN (
    SELECT token, id FROM runs INDEXED BY runs_job
    WHERE job_id = ? AND state NOT IN ('pending', 'running') AND NOT unsent
    ORDER BY token DESC, id DESC LIMIT ? OFFSET ?)
""",
)
SKIPS = Table(
    old="""
DELETE FROM skips WHERE number IN (
    SELECT number FROM skips INDEXED BY skips_recorded WHERE recorded_at < ? LIMIT ?)
""",
    jobs=_JOBS_OF.format(table="skips"),
    excess="""
DELETE FROM skips WHERE number IN (
    SELECT number FROM skips INDEXED BY skips_job
    WHERE job_id = ? ORDER BY number DESC LIMIT ? OFFSET ?)
""",
)
