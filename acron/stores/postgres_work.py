"""The transactions of a PostgreSQL store: what is read under lock, decided, and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acron.model import Decision, Due, End, Run, RunState
from acron.stores.dead import DIED, adopted, inherited, is_unsent
from acron.stores.postgres_node import forget_dead, left_by_dead
from acron.stores.postgres_rows import BEGINNING, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from acron.abc import Change, Decide, Settle
    from acron.model import Job
    from acron.stores.postgres_rows import Cursor, Rows

    Mint = Callable[[], int]

# An enum's members cost a descriptor call each time they are looked up.
PENDING = RunState.PENDING
RUNNING = RunState.RUNNING
#: Tokens made ready for jobs that are written: most need none.
_WRITE_TOKENS = 1000
#: Rows looked at together once some were left owed.
_LEAST_PAGE = 32


async def write(rows: Rows, ids: Sequence[str], change: Change) -> list[Decision]:
    """See ``Store.write``."""
    await rows.lock_jobs(ids)
    opened = await rows.open_runs(set(ids))

    def pure() -> list[Decision]:
        decisions: list[Decision] = []
        jobs: dict[str, Job | None] = {}
        runs: dict[str, dict[str, Run]] = {}
        for job_id in ids:
            job = jobs[job_id] if job_id in jobs else rows.jobs.get(job_id)
            own = runs.setdefault(job_id, {run.id: run for run in opened.get(job_id, ())})
            decision = change(job_id, job, tuple(own.values()), rows.mint)
            jobs[job_id] = decision.job
            for run in decision.runs:
                own[run.id] = run
                if run.state.ended:
                    del own[run.id]
            decisions.append(decision)
        return decisions

    decisions = await rows.minting(min(len(ids), _WRITE_TOKENS), pure)
    await rows.store(ids, decisions)
    return decisions


async def claim(
    rows: Rows, now: datetime, limit: int, can_run: Collection[str], decide: Decide
) -> tuple[list[Decision], int]:
    """See ``Store.claim``; also how many rows were left out because others hold them."""
    found: dict[str, Decision] = {}
    held = 0
    after = BEGINNING
    asked = limit
    while len(found) < limit:
        page, locked = await rows.due(now, can_run, after, asked)
        held += locked
        if not page:
            break
        after = page[-1]
        fresh = [row for row in page if row[1] not in found]
        found |= await _decided(rows, fresh, limit - len(found), decide)
        if len(page) < asked:
            break
        asked = max(limit - len(found), _LEAST_PAGE)
    decisions = list(found.values())
    await rows.store(list(found), decisions)
    return decisions, 0 if len(found) >= limit else held


async def claim_job(
    rows: Rows, job_id: str, now: datetime, can_run: Collection[str], decide: Decide
) -> list[Decision]:
    """Claim what one job owes, waiting for whoever holds it."""
    if not await rows.lock_job(job_id, can_run):
        return []
    due_at = rows.jobs[job_id].due_at
    owed: list[Cursor] = [] if due_at is None else [(due_at, job_id, 0)]
    opened = (await rows.open_runs([job_id])).get(job_id, ())
    waiting = [run for run in opened if run.state is PENDING]
    owed += [(run.due_at, job_id, number_of(run.id) or 0) for run in waiting]
    found = await _decided(rows, sorted(row for row in owed if row[0] <= now), 1, decide)
    await rows.store(list(found), list(found.values()))
    return list(found.values())


async def _decided(
    rows: Rows, page: list[Cursor], limit: int, decide: Decide
) -> dict[str, Decision]:
    """What ``decide`` makes of the first rows that it does not leave owed, by job."""
    if not page:
        return {}
    opened = await rows.open_runs({job_id for _, job_id, _ in page})

    def pure() -> dict[str, Decision]:
        found: dict[str, Decision] = {}
        for due_at, job_id, number in page:
            if job_id in found or job_id not in rows.jobs:
                continue
            own = opened.get(job_id, ())
            run = next((one for one in own if one.id == f"r{number}"), None)
            if number and (run is None or run.state is not PENDING or run.due_at != due_at):
                continue  # claimed by others just before its job was ours
            live = tuple([one for one in own if one.live])
            decision = decide(Due(rows.jobs[job_id], run, live), rows.mint)
            if decision is not None:
                found[job_id] = decision
                if len(found) >= limit:
                    break
        return found

    return await rows.minting(len(page), pure)


class NeedsLocks(Exception):
    """An end changes more than its run: do it again, with the jobs locked."""


async def finish(
    rows: Rows, ends: Sequence[End], settle: Settle, *, locked: bool
) -> tuple[list[Decision | None], bool]:
    """See ``Store.finish``; also whether something that waited for these ends can go on.

    An end that leaves its job as it was needs no lock of it: it is as if it came before whatever
    else happens to the job. Raises NeedsLocks for another, unless ``locked``.
    """
    if locked:
        await rows.lock_jobs_of([end.run_id for end in ends])
    runs = await rows.take(ends)
    ids = list({run.job_id for run in runs.values()})
    if not locked:
        await rows.read_jobs(ids)
    results = await rows.minting(0, lambda: _settled(rows.jobs, runs, ends, settle, rows.mint))
    done = {end.run_id: one for end, one in zip(ends, results, strict=True) if one is not None}
    if not locked:
        _check(rows, runs, done)
    await rows.store([runs[run_id].job_id for run_id in done], list(done.values()))
    return results, any(map(_can_go_on, ends, results)) or await rows.waiting(ids)


def _check(rows: Rows, runs: dict[str, Run], done: dict[str, Decision]) -> None:
    for run_id, decision in done.items():
        kept = decision.job is rows.jobs.get(runs[run_id].job_id)
        if not kept or not all(run.state.ended for run in decision.runs):
            raise NeedsLocks


def _settled(
    stored: dict[str, Job], runs: dict[str, Run], ends: Sequence[End], settle: Settle, mint: Mint
) -> list[Decision | None]:
    results: list[Decision | None] = []
    jobs: dict[str, Job | None] = {**stored}
    ended: set[str] = set()
    for end in ends:
        run = runs.get(end.run_id)
        if run is None or run.token != end.token or end.run_id in ended:
            results.append(None)
            continue
        decision = settle(jobs.get(run.job_id), run, end, mint)
        jobs[run.job_id] = decision.job
        ended.add(end.run_id)
        results.append(decision)
    return results


def _can_go_on(end: End, result: Decision | None) -> bool:
    job = None if result is None else result.job
    due_at = None if job is None else job.next_fire_at
    return due_at is not None and due_at <= end.finished_at


async def recover(rows: Rows, now: datetime, settle: Settle, node: str | None) -> list[Decision]:
    """See ``Store.recover``."""
    left = await left_by_dead(rows.connection, node)
    decisions: list[Decision] = []
    if left:
        await rows.lock_ends(list(left))
        # Others may have been quicker: an end changes the state, an adoption the node.
        lost = {key: run for key, run in rows.open.items() if run.node == left[key]}
        unsent = [
            run for key, run in rows.ended.items() if run.node == left[key] and is_unsent(run)
        ]
        ends = [
            End(run_id=run.id, token=run.token, finished_at=now, outcome=DIED)
            for run in lost.values()
            if run.state is RUNNING
        ]

        def pure() -> list[Decision]:
            owned = inherited(settle, node)
            settled = [one for one in _settled(rows.jobs, lost, ends, owned, rows.mint) if one]
            if node is None:
                return settled
            jobs = rows.jobs | {one.runs[0].job_id: one.job for one in settled}
            return settled + [
                Decision(jobs.get(run.job_id), (adopted(run, node),)) for run in unsent
            ]

        decisions = await rows.minting(0, pure)
        await rows.store([one.runs[0].job_id for one in decisions], decisions)
    if await forget_dead(rows.connection) and rows.mark is None:
        await rows.reserve(0)
    return decisions
