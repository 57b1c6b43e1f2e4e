"""A transaction on an SQLite store: what it reads, and what it gathers to be written at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acron.model import RunState
from acron.stores.dead import is_unsent
from acron.stores.lanes import rank
from acron.stores.sqlite_rows import Reader, many, micros, parts, text_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from acron.model import Decision, Job, Run, Skip

PENDING = RunState.PENDING

_ADVANCE = """INSERT INTO jobs (id, name, needs, due_at, rank, app, incidents, data) VALUES %s
    ON CONFLICT (id) DO UPDATE SET due_at = excluded.due_at, incidents = excluded.incidents,
        data = excluded.data"""
_PUT_JOBS = f"""{_ADVANCE}, name = excluded.name, needs = excluded.needs, rank = excluded.rank,
    app = excluded.app"""
_RERANK = """UPDATE runs INDEXED BY runs_open SET rank = ?
    WHERE state IN ('pending', 'running') AND job_id = ? AND state = 'pending'"""
_UNTAG = "DELETE FROM job_tags WHERE job_id = ?"
_TAG = "INSERT OR IGNORE INTO job_tags (tag, job_id) VALUES (?, ?)"
_DELETE_TAGGED = "DELETE FROM jobs WHERE id IN (SELECT job_id FROM job_tags WHERE tag = ?)"
_DELETE_TAGS = """DELETE FROM job_tags
    WHERE job_id IN (SELECT job_id FROM job_tags WHERE tag = ?)"""
#: A pending run gets another token, and so another place, when it is claimed.
_PUT_RUNS = """INSERT INTO runs
    (token, id, job_id, state, node, due_at, finished_at, rank, key, unsent, told, data) VALUES %s
    ON CONFLICT (token, id) DO UPDATE SET state = excluded.state, node = excluded.node,
        due_at = excluded.due_at, finished_at = excluded.finished_at, unsent = excluded.unsent,
        told = excluded.told, data = excluded.data
    ON CONFLICT (id) DO UPDATE SET token = excluded.token, state = excluded.state,
        node = excluded.node, due_at = excluded.due_at, finished_at = excluded.finished_at,
        unsent = excluded.unsent, told = excluded.told, data = excluded.data"""
_TELL = "UPDATE meta SET news = news + 1 RETURNING news"
_PUT_SKIPS = "INSERT INTO skips (job_id, recorded_at, data) VALUES %s"


class Transaction(Reader):
    """``keep`` gathers decisions, ``flush`` writes them; ``news`` says whether whoever waits for
    changes should look again. ``mint`` gives fencing tokens, larger than ``minted`` and any
    stored; ``token`` is the last one given."""

    def __init__(self, db: sqlite3.Connection, bad: dict[str, str], minted: int) -> None:
        super().__init__(db, bad)
        self.token = minted
        self.news = False
        self._mints = False
        self._jobs: dict[str, Job | None] = {}
        self._declared: set[str] = set()  # of these, more than the progress may have changed
        self._tags: dict[str, tuple[str, ...]] = {}  # of jobs that may have had others
        self._ranks: dict[str, int] = {}  # of jobs whose pending runs may have another
        self._runs: dict[str, Run] = {}
        self._dropped: list[str] = []
        self._skips: list[Skip] = []

    def mint(self) -> int:
        if not self._mints:
            self._mints = True
            self.token = max(self.token, self._db.execute("SELECT token FROM meta").fetchone()[0])
        self.token += 1
        return self.token

    def keep(self, job_id: str, old: Job | None, decision: Decision) -> None:
        """Store ``decision`` about a job that was ``old`` until now."""
        job = decision.job
        if job is not old:
            self._jobs[job_id] = job
            if old is None or job is None or _declares(old, job):
                self._declared.add(job_id)
                self._index(job_id, old, job)
        for run in decision.runs:
            self._runs[run.id] = run
            if run.state is PENDING:
                self.news = True
                if job is not None and job.policy.priority and run.job_id == job_id:
                    self._ranks[job_id] = rank(job)
        if decision.skips:
            self._skips += decision.skips
        if decision.dropped:
            self._dropped += decision.dropped

    def _index(self, job_id: str, old: Job | None, new: Job | None) -> None:
        before, after = () if old is None else old.tags, () if new is None else new.tags
        # None may also be a record that nobody can read, and that had tags.
        if old is None or before != after or job_id in self._tags:
            self._tags[job_id] = after
        if new is not None and (new.policy.priority or (old and old.policy.priority)):
            self._ranks[job_id] = rank(new)

    def delete_tagged(self, tag: str) -> int:
        """Delete the jobs with that tag; how many there were. Nothing was kept of them."""
        gone = self._db.execute(_DELETE_TAGGED, (tag,)).rowcount
        self._db.execute(_DELETE_TAGS, (tag,))
        return gone

    def job(self, job_id: str) -> Job | None:
        """The job as this transaction leaves it."""
        if job_id in self._jobs:
            return self._jobs[job_id]
        found = self.jobs("WHERE id = ?", (job_id,))
        return found[0] if found else None

    def keep_run(self, run: Run) -> None:
        self._runs[run.id] = run

    def flush(self) -> int | None:
        """Write what was kept; the database's count of news, when there were some."""
        new = [_job_row(job) for job in self._jobs.values() if job and job.id in self._declared]
        advanced = [
            _job_row(job) for job in self._jobs.values() if job and job.id not in self._declared
        ]
        gone = [(job_id,) for job_id, job in self._jobs.items() if job is None]
        self._put(_PUT_JOBS, new)
        self._put(_ADVANCE, advanced)
        if gone:
            self._db.executemany("DELETE FROM jobs WHERE id = ?", gone)
        self._put(_PUT_RUNS, [_run_row(run) for run in self._runs.values()])
        self._put_indexes()
        self._put(_PUT_SKIPS, [_skip_row(skip) for skip in self._skips])
        if self._mints:
            self._db.execute("UPDATE meta SET token = ?", (self.token,))
        if not self.news:
            return None
        told: int = self._db.execute(_TELL).fetchone()[0]
        return told

    def _put_indexes(self) -> None:
        if self._tags:
            self._db.executemany(_UNTAG, [(job_id,) for job_id in self._tags])
            rows = [(tag, job_id) for job_id, tags in self._tags.items() for tag in tags]
            self._db.executemany(_TAG, rows)
        if self._ranks:
            places = [(place, job_id) for job_id, place in self._ranks.items()]
            self._db.executemany(_RERANK, places)
        if self._dropped:
            gone = [(run_id,) for run_id in self._dropped]
            self._db.executemany("DELETE FROM runs WHERE id = ?", gone)

    def _put(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for part in parts(rows):
            values = [value for row in part for value in row]
            self._db.execute(many(statement, len(part[0]), len(part)), values)


def _declares(old: Job, new: Job) -> bool:
    return (
        old.name != new.name
        or old.app != new.app
        or old.tags != new.tags
        or (old.action is not new.action and old.action.needs != new.action.needs)
        or (old.policy is not new.policy and old.policy.priority != new.policy.priority)
    )


def _job_row(job: Job) -> tuple[Any, ...]:
    due_at = job.due_at
    due = None if due_at is None else micros(due_at)
    return (
        job.id,
        job.name.casefold(),
        job.action.needs,
        due,
        rank(job),
        job.app,
        len(job.incidents),
        text_of(job),
    )


def _run_row(run: Run) -> tuple[Any, ...]:
    ended = None if run.finished_at is None else micros(run.finished_at)
    told = _told(run) if run.deliveries else None
    return (
        run.token,
        run.id,
        run.job_id,
        run.state,
        run.node,
        micros(run.due_at),
        ended,
        0,
        run.key,
        told is not None and is_unsent(run),
        told,
        text_of(run),
    )


def _told(run: Run) -> str | None:
    """The states of its deliveries, each between blanks."""
    return f" {' '.join(one.state for one in run.deliveries)} " if run.state.ended else None


def _skip_row(skip: Skip) -> tuple[Any, ...]:
    return skip.job_id, micros(skip.recorded_at or skip.scheduled_at), text_of(skip)
