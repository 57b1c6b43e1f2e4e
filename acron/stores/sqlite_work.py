"""The transactions of an SQLite store, as functions of what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.model import Decision, Due, End, RunState
from acron.stores.dead import DIED, adopted, inherited, is_of_claim, removal
from acron.stores.lanes import Lanes, is_news
from acron.stores.sqlite_rows import OPEN, UNSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from acron.abc import Change, Decide, Settle, Tell
    from acron.model import Job, Run
    from acron.stores.sqlite_rows import Reader, Row
    from acron.stores.sqlite_write import Transaction

_RUNNING = f"{OPEN} AND state = 'running'"
_WAITING_TAGGED = f"""{OPEN} AND state = 'pending'
    AND job_id IN (SELECT job_id FROM job_tags WHERE tag = ?)"""  # noqa: S608 (our own words)


def write(tx: Transaction, ids: Sequence[str], change: Change) -> list[Decision]:
    """See ``Store.write``, and so with the others."""
    tx.news = True
    known = tx.known(ids)
    keyed = tx.lanes({job.policy.key for job, _ in known.values() if job is not None} - {None})
    jobs: dict[str, Job | None] = {}
    lanes = Lanes()
    decisions: list[Decision] = []
    for job_id in ids:
        job, opened = known.get(job_id, (None, ()))
        if job_id in jobs:
            job = jobs[job_id]
        key = None if job is None else job.policy.key
        runs = lanes.seen(job_id, key, opened + keyed.get(key, ()))
        decision = change(job_id, job, runs, tx.mint)
        tx.keep(job_id, job, decision)
        lanes.note(decision)
        jobs[job_id] = decision.job
        decisions.append(decision)
    return decisions


@dataclass(frozen=True, slots=True)
class Claim:
    """See ``Store.claim``."""

    now: datetime
    limit: int
    can_run: Collection[str]
    decide: Decide
    only: str | None

    def needless(self, reader: Reader) -> bool:
        """Whether nothing is due at all."""
        return not reader.needed(self.now, self.can_run)

    def __call__(self, tx: Transaction) -> list[Decision]:
        if self.only is not None:
            rows: Iterable[Row] = tx.due_of(self.only, self.now, self.can_run)
        else:
            rows = tx.due(self.now, self.can_run, self.limit, tx.needed(self.now, self.can_run))
        return _claim(rows, tx, self.limit, self.decide)


def _claim(rows: Iterable[Row], tx: Transaction, limit: int, decide: Decide) -> list[Decision]:
    """``rows`` are what is due; they are read as they are asked for."""
    decided: dict[str, Decision] = {}
    lanes = Lanes()
    for _, _, job_id, _, job, run, opened in rows:
        if job_id in decided:
            continue
        live: tuple[Run, ...] = ()
        if opened or job.policy.key is not None:
            standing = lanes.seen(job_id, job.policy.key, opened)
            live = tuple([one for one in standing if one.live])
        decision = decide(Due(job, run, live), tx.mint)
        if decision is None:
            continue
        decided[job_id] = decision
        tx.keep(job_id, job, decision)
        lanes.note_keyed(decision)
        if len(decided) >= limit:
            break
    tx.news |= is_news(decided.values())
    return list(decided.values())


def remove_tagged(tx: Transaction, tag: str, now: datetime) -> int:
    """See ``Store.remove_tagged``: a statement for each table, whatever their number."""
    for run in tx.runs(_WAITING_TAGGED, (tag,)):
        for cancelled in removal([run], now).runs:
            tx.keep_run(cancelled)
    gone = tx.delete_tagged(tag)
    tx.news = gone > 0
    return gone


def finish(tx: Transaction, ends: Sequence[End], settle: Settle) -> list[Decision | None]:
    """Ends of one job see each other."""
    running = tx.ending([end.token for end in ends])
    jobs: dict[str, Job | None] = {}
    results: list[Decision | None] = []
    for end in ends:
        run, job, opened = running.get(end.token, (None, None, 0))
        if run is None or run.id != end.run_id:
            results.append(None)
            continue
        del running[end.token]  # no end twice
        job = jobs.get(run.job_id, job)
        decision = settle(job, run, end, tx.mint)
        tx.keep(run.job_id, job, decision)
        jobs[run.job_id] = job = decision.job
        results.append(decision)
        if (
            run.key is not None
            or opened > 1
            or (
                job is not None
                and job.next_fire_at is not None
                and job.next_fire_at <= end.finished_at
            )
        ):
            tx.news = True  # what waited for this end can go on
    return results


def recover(
    tx: Transaction, now: datetime, settle: Settle, dead: Callable[[str], bool], own: str | None
) -> list[Decision]:
    """``dead`` says whether a node is; ``own`` takes over what they had to deliver."""
    waiting = tx.nodes(UNSENT)
    lost_nodes = {node for node in tx.nodes(_RUNNING) | waiting if dead(node)}
    lost = [run for run in tx.runs(_RUNNING, ()) if run.node in lost_nodes] if lost_nodes else []
    lost.sort(key=lambda run: run.token)
    ends = [End(run_id=run.id, token=run.token, finished_at=now, outcome=DIED) for run in lost]
    decisions = [one for one in finish(tx, ends, inherited(settle, own)) if one is not None]
    if own is not None:
        for node in (waiting & lost_nodes) - {own}:
            decisions += _adopt(tx, node, own)
    tx.news = bool(decisions)
    return decisions


def _adopt(tx: Transaction, node: str, own: str) -> list[Decision]:
    """Take over what a dead node had to deliver; what it was sending may have arrived."""
    decisions = []
    for run in tx.runs(f"{UNSENT} AND node = ?", (node,)):
        job = tx.job(run.job_id)
        ours = adopted(run, own, job)
        tx.keep_run(ours)
        decisions.append(Decision(job, (ours,)))
    return decisions


def nodes_at_work(reader: Reader) -> set[str | None]:
    """Nodes with a run to end or a delivery to make."""
    return {*reader.nodes(_RUNNING), *reader.nodes(UNSENT)}


def mark(tx: Transaction, run: Run, change: Tell) -> Run | None:
    """Only the deliveries, and only of that very claim."""
    for stored in tx.runs("WHERE token = ? AND id = ?", (run.token, run.id)):
        if is_of_claim(stored, run):
            marked = replace(stored, deliveries=change(stored.deliveries))
            if marked != stored:
                tx.keep_run(marked)
            return marked
    return None


def request_cancel(tx: Transaction, run_id: str, now: datetime) -> Run | None:
    """A pending run ends, a running one is flagged."""
    for run in tx.runs("WHERE id = ?", (run_id,)):
        if run.state.ended or run.cancel_requested:
            return run
        changed = replace(run, cancel_requested=True)
        if run.state is RunState.PENDING:
            why = "cancelled before it started"
            changed = replace(changed, state=RunState.CANCELLED, finished_at=now, error=why)
        tx.keep_run(changed)
        tx.news = True
        return changed
    return None
