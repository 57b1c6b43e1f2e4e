"""The state of a store in memory: all of MemoryStore, and what a journal is replayed into.

A transaction is two steps. Its function reads the book and gives ``Changes``; nothing else of
the book differs then. ``apply`` makes them true: at once in memory, after the commit on disk,
and line by line in a replay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from acron.model import Decision, Due, End, Job, Run, RunState
from acron.stores.agenda import Agenda
from acron.stores.dead import DIED, adopted, inherited, is_of_claim, removal
from acron.stores.index import Index, only_progressed, relocated
from acron.stores.lanes import Lanes, is_news, rank
from acron.stores.ledger import PENDING, RUNNING, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from acron.abc import Change, Decide, Settle, Tell
    from acron.stores.agenda import Queue, Row

#: Stale rows that the agenda may hold, beyond one for each job, before it is swept.
SLACK = 1000


class Changes(Struct):
    """What a transaction writes: to each job in ``ids`` the decision in the same place.

    ``token`` is the newest fencing token given out, ``prune`` an instant and a number (see
    ``Store.prune``), ``news`` whether whoever waits for changes should look again.
    """

    ids: list[str]
    decisions: list[Decision]
    token: int
    prune: tuple[datetime, int] | None = None
    news: bool = False


class Book(Ledger):
    """Jobs, runs, skips and what is due, with the transactions of ``Store`` as functions."""

    __slots__ = ("_built", "_moved", "index", "jobs", "token")

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Job] = {}
        self.token = 0
        self._built: Agenda | None = Agenda(self._row_of)
        self._moved: set[str] = set()  # jobs that may have rows where they belong no more
        self.index = Index(self.jobs)

    def _agenda(self) -> Agenda:
        """What is due; built from what is stored when it is asked for, after a ``sweep``."""
        agenda = self._built
        if agenda is None:
            agenda = self._built = Agenda(self._row_of)
            for job in self.jobs.values():
                if (due := job.due_at) is not None:
                    agenda.push(job.action.needs, (due, rank(job), job.id, ""))
            for run in self.pending.values():
                owner = self.jobs.get(run.job_id)
                if owner is not None:
                    agenda.push(owner.action.needs, _pending(owner, run))
        return agenda

    def mint(self) -> int:
        self.token += 1
        return self.token

    # transactions: each gives Changes and leaves the book as it is

    def write(self, ids: Sequence[str], change: Change) -> Changes:
        decisions: list[Decision] = []
        jobs: dict[str, Job | None] = {}
        lanes = Lanes()
        for job_id in ids:
            job = jobs[job_id] if job_id in jobs else self.jobs.get(job_id)
            runs: tuple[Run, ...] = ()
            if job is not None or job_id in jobs or job_id in self.open:
                key = None if job is None else job.policy.key
                runs = lanes.seen(job_id, key, self.standing(job_id, key))
            decision = change(job_id, job, runs, self.mint)
            if decision.runs or decision.dropped:
                lanes.note(decision)
            jobs[job_id] = decision.job
            decisions.append(decision)
        return Changes(list(ids), decisions, self.token, news=True)

    def claim(
        self,
        now: datetime,
        limit: int,
        can_run: Collection[str],
        decide: Decide,
        only: str | None = None,
    ) -> Changes:
        """See ``Store.claim``. Takes rows out of the agenda: after this, ``apply`` or ``sweep``."""
        changes = Changes([], [], 0)
        left: list[tuple[Queue, Row]] = []
        try:
            if only is not None and limit > 0:
                self._claim_job(only, self._due_of(only, now, can_run), decide, changes)
            elif limit > 0:
                self._claim_rows(self._agenda().take(now, can_run), limit, decide, changes, left)
        except BaseException:
            self.sweep()
            raise
        self._agenda().put_back(left)
        changes.token = self.token
        changes.news = is_news(changes.decisions)
        return changes

    def _claim_rows(
        self,
        rows: Iterable[tuple[Queue, Row]],
        limit: int,
        decide: Decide,
        changes: Changes,
        left: list[tuple[Queue, Row]],
    ) -> None:
        jobs, pending, opened, mint = self.jobs, self.pending, self.open, self.mint
        ids, decisions, moved, lanes = changes.ids, changes.decisions, self._moved, Lanes()
        decided: set[str] = set()
        previous: Row | None = None
        for queue, row in rows:
            due_at, place, job_id, run_id = row
            job = jobs.get(job_id)
            run = pending.get(run_id) if run_id else None
            if job is None or row == previous:
                continue  # stale, or there twice
            if job_id in moved and (job.action.needs != queue.needs or rank(job) != place):
                continue
            if run_id:
                if run is None or run.due_at != due_at:
                    continue
            elif job.due_at != due_at:
                continue
            previous = row
            if job_id in decided:
                left.append((queue, row))
                continue
            key = job.policy.key
            alone = key is None and job_id not in opened
            standing = () if alone else lanes.seen(job_id, key, self.standing(job_id, key))
            live = tuple([one for one in standing if one.live]) if standing else ()
            decision = decide(Due(job, run, live), mint)
            if decision is None:
                left.append((queue, row))
                continue
            decided.add(job_id)
            ids.append(job_id)
            decisions.append(decision)
            if run_id or not alone:
                lanes.note_keyed(decision)
            if _still_due(decision, run_id, due_at):
                left.append((queue, row))
            if len(ids) >= limit:
                break

    def _claim_job(
        self, job_id: str, rows: Iterable[Due], decide: Decide, changes: Changes
    ) -> None:
        for due in rows:
            if (decision := decide(due, self.mint)) is not None:
                changes.ids.append(job_id)
                changes.decisions.append(decision)
                break

    def _due_of(self, job_id: str, now: datetime, can_run: Collection[str]) -> list[Due]:
        job = self.jobs.get(job_id)
        if job is None or job.action.needs not in can_run:
            return []
        opened = self.open.get(job_id, {}).values()
        live = tuple(run for run in self.standing(job_id, job.policy.key) if run.live)
        rows: list[tuple[datetime, str, Run | None]] = [
            (run.due_at, run.id, run) for run in opened if run.state is PENDING
        ]
        if job.due_at is not None:
            rows.append((job.due_at, "", None))
        owed = sorted((row for row in rows if row[0] <= now), key=lambda row: row[:2])
        return [Due(job, run, live) for _, _, run in owed]

    def finish(self, ends: Sequence[End], settle: Settle) -> tuple[Changes, list[Decision | None]]:
        changes = Changes([], [], 0)
        results: list[Decision | None] = []
        runs, jobs, opened, mint = self.runs, self.jobs, self.open, self.mint
        touched: dict[str, Job | None] = {}
        ended: set[str] = set()
        for end in ends:
            run_id = end.run_id
            run = runs.get(run_id)
            if run is None or run.token != end.token or run.state is not RUNNING or run_id in ended:
                results.append(None)
                continue
            job_id = run.job_id
            job = touched[job_id] if job_id in touched else jobs.get(job_id)
            decision = settle(job, run, end, mint)
            ended.add(run_id)
            if decision.job is not job:
                touched[job_id] = job = decision.job
            changes.ids.append(job_id)
            changes.decisions.append(decision)
            results.append(decision)
            if (
                run.key is not None
                or len(opened[job_id]) > 1
                or (
                    job is not None
                    and job.next_fire_at is not None
                    and job.next_fire_at <= end.finished_at
                )
            ):
                changes.news = True  # what waited for this end can go on
        changes.token = self.token
        return changes, results

    def recover(
        self, now: datetime, settle: Settle, dead: Callable[[str], bool], node: str | None
    ) -> Changes:
        """``dead`` says whether a node is; ``node`` takes over what they had to deliver."""
        lost = [
            run
            for opened in self.open.values()
            for run in opened.values()
            if run.state is RUNNING and run.node is not None and dead(run.node)
        ]
        if not lost and not self.unsent:
            return Changes([], [], self.token)
        lost.sort(key=lambda run: run.token)
        ends = [End(run_id=run.id, token=run.token, finished_at=now, outcome=DIED) for run in lost]
        changes, _ = self.finish(ends, inherited(settle, node))
        if node is not None:
            for run in self.unsent.values():
                if run.node is not None and run.node != node and dead(run.node):
                    self._adopt(run, node, changes)
        changes.news = bool(changes.ids)
        return changes

    def _adopt(self, run: Run, node: str, changes: Changes) -> None:
        # The run's own end is in the same transaction only if its node died in between; the job
        # that end left must not be overwritten with the one before it.
        job = self.jobs.get(run.job_id)
        for job_id, decision in zip(changes.ids, changes.decisions, strict=True):
            if job_id == run.job_id:
                job = decision.job
        changes.ids.append(run.job_id)
        changes.decisions.append(Decision(job, (adopted(run, node, job),)))

    def mark(self, run: Run, change: Tell) -> tuple[Changes | None, Run | None]:
        stored = self.runs.get(run.id)
        if stored is None or not is_of_claim(stored, run):
            return None, None
        marked = replace(stored, deliveries=change(stored.deliveries))
        return (None if marked == stored else self._one_run(marked, news=False)), marked

    def request_cancel(self, run_id: str, now: datetime) -> tuple[Changes | None, Run | None]:
        run = self.run(run_id)
        if run is None or run.state.ended or (run.state is RUNNING and run.cancel_requested):
            return None, run
        if run.state is PENDING:
            run = replace(
                run,
                state=RunState.CANCELLED,
                finished_at=now,
                cancel_requested=True,
                error="cancelled before it started",
            )
        else:
            run = replace(run, cancel_requested=True)
        return self._one_run(run, news=True), run

    def _one_run(self, run: Run, *, news: bool) -> Changes:
        decision = Decision(self.jobs.get(run.job_id), (run,))
        return Changes([run.job_id], [decision], self.token, news=news)

    def prune(self, before: datetime, keep: int) -> tuple[Changes | None, int]:
        count = sum(1 for _ in self._old_runs(before, keep))
        count += len(self.skips) - len(self._kept_skips(before, keep))
        if not count:
            return None, 0
        return Changes([], [], self.token, prune=(before, keep)), count

    def remove_tagged(self, tag: str, now: datetime) -> tuple[Changes, int]:
        ids = self.index.tagged(tag)
        decisions = [removal(self.open.get(job_id, {}).values(), now) for job_id in ids]
        return Changes(ids, decisions, self.token, news=bool(ids)), len(ids)

    # making it so

    def apply(self, changes: Changes) -> bool:
        """Make ``changes`` true; whether whoever waits for changes should look again."""
        news = changes.news
        jobs, keep, agenda = self.jobs, self._keep, self._built
        # Of one fire, ``strict`` would be a tenth of this.
        for job_id, decision in zip(changes.ids, changes.decisions):  # noqa: B905
            job = decision.job
            old = jobs.get(job_id)
            if job is not old:
                self._put_job(job_id, old, job)
            for run in decision.runs:
                if keep(run):
                    news = True
                    owner = job if run.job_id == job_id else jobs.get(run.job_id)
                    if owner is not None and agenda is not None:
                        agenda.push(owner.action.needs, _pending(owner, run))
            for run_id in decision.dropped:
                self._drop(run_id)
            if decision.skips:
                self._keep_skips(decision.skips)
        if changes.prune is not None:
            self._forget(*changes.prune)
        self.token = max(self.token, changes.token)
        if agenda is not None:
            bound = len(jobs) + SLACK
            if agenda.size > bound + len(jobs) + len(self.pending) or len(self._moved) > bound:
                self.sweep()
        return news

    def take_in(self, jobs: Iterable[Job], token: int) -> None:
        """``apply`` for very many jobs and nothing else. Agenda and indices are built when they
        are asked for: whoever only reads a file never needs them."""
        self.jobs.update({job.id: job for job in jobs})
        self.index.forget()
        self.sweep()
        self.token = max(self.token, token)

    def _put_job(self, job_id: str, old: Job | None, job: Job | None) -> None:
        agenda = self._built
        if job is not None and old is not None and only_progressed(old, job):
            self.jobs[job_id] = job
            due = job.due_at
            if due is not None and agenda is not None and old.due_at != due:
                agenda.push(job.action.needs, (due, rank(job), job_id, ""))
            return
        self.index.moved(job_id, old, job)
        if job is None:
            self.jobs.pop(job_id, None)
            if agenda is not None:
                self._moved.add(job_id)
            return
        self.jobs[job_id] = job
        if agenda is None:
            return
        if old is not None and relocated(old, job):
            self._moved.add(job_id)
            old = None  # its rows are to be found under the new need, and in another place
        if old is None:
            for run in self.open.get(job_id, {}).values():
                if run.state is PENDING:
                    agenda.push(job.action.needs, _pending(job, run))
        due = job.due_at
        if due is not None and (old is None or old.due_at != due):
            agenda.push(job.action.needs, (due, rank(job), job_id, ""))

    def sweep(self) -> None:
        """Have the agenda built anew from what is stored."""
        self._built = None
        self._moved.clear()

    # questions

    def next_due(self, after: datetime, can_run: Collection[str]) -> datetime | None:
        return self._agenda().next_after(after, can_run, self._holds)

    def _row_of(self, needs: str, job_id: str) -> Row | None:
        job = self.jobs.get(job_id)
        if job is None or (due := job.due_at) is None or job.action.needs != needs:
            return None
        return due, rank(job), job_id, ""

    def _holds(self, needs: str, row: Row) -> bool:
        due_at, place, job_id, run_id = row
        job = self.jobs.get(job_id)
        if job is None or job.action.needs != needs or rank(job) != place:
            return False
        if not run_id:
            return job.due_at == due_at
        run = self.pending.get(run_id)
        return run is not None and run.due_at == due_at

    def overdue(self, before: datetime, limit: int) -> list[Job]:
        found: dict[str, Job] = {}
        for needs, row in self._agenda().earlier(before):
            if len(found) >= limit:
                break
            if not row[3] and self._holds(needs, row):
                found[row[2]] = self.jobs[row[2]]  # perhaps once more
        return list(found.values())


def _still_due(decision: Decision, run_id: str, due_at: datetime) -> bool:
    """Whether that row is as due after the decision about it as before."""
    if not run_id:
        return decision.job is not None and decision.job.due_at == due_at
    return run_id not in decision.dropped and all(
        run.id != run_id or (run.state is PENDING and run.due_at == due_at) for run in decision.runs
    )


def _pending(job: Job, run: Run) -> Row:
    return run.due_at, rank(job), run.job_id, run.id
