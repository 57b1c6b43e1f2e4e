"""The transactions of a PostgreSQL store: what is read under lock, decided, and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.model import Decision, Due, End, Run, RunState
from acron.stores.dead import DIED, adopted, inherited, is_unsent
from acron.stores.lanes import Lanes, rank
from acron.stores.postgres_node import forget_dead, left_by_dead
from acron.stores.postgres_rows import BEGINNING, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from acron.abc import Change, Decide, Settle
    from acron.model import Job
    from acron.stores.postgres_rows import Cursor
    from acron.stores.postgres_write import Rows

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
    standing = await rows.standing(set(ids), min(len(ids), _WRITE_TOKENS))

    def pure() -> list[Decision]:
        decisions: list[Decision] = []
        jobs: dict[str, Job | None] = {}
        lanes = Lanes()
        for job_id in ids:
            job = jobs[job_id] if job_id in jobs else rows.jobs.get(job_id)
            key = None if job is None else job.policy.key
            runs = lanes.seen(job_id, key, standing.of(job_id, key))
            decision = change(job_id, job, runs, rows.mint)
            lanes.note(decision)
            jobs[job_id] = decision.job
            decisions.append(decision)
        return decisions

    decisions = await rows.minting(pure)
    await rows.store(ids, decisions)
    return decisions


async def claim(
    rows: Rows,
    now: datetime,
    limit: int,
    can_run: Collection[str],
    decide: Decide,
    node: str | None,
) -> tuple[list[Decision], int]:
    """See ``Store.claim``; also how many rows were left out because others hold them."""
    found: dict[str, Decision] = {}
    held = 0
    after = BEGINNING
    asked = limit
    while len(found) < limit:
        page, locked = await rows.due(now, can_run, after, asked, node)
        held += locked
        if not page:
            break
        after = page[-1]
        free, taken = await _free(rows, [row for row in page if row[2] not in found])
        held += taken
        found |= await _decided(rows, free, limit - len(found), decide, found)
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
    job = rows.jobs[job_id]
    if job.policy.key is not None:
        await rows.wait_for_key(job.policy.key)
    due_at, place = job.due_at, rank(job)
    owed: list[Cursor] = [] if due_at is None else [(due_at, place, job_id, 0)]
    opened = (await rows.standing([job_id], 0)).of(job_id)
    waiting = [run for run in opened if run.state is PENDING]
    owed += [(run.due_at, place, job_id, number_of(run.id) or 0) for run in waiting]
    found = await _decided(rows, sorted(row for row in owed if row[0] <= now), 1, decide, {})
    await rows.store(list(found), list(found.values()))
    return list(found.values())


async def _free(rows: Rows, page: list[Cursor]) -> tuple[list[Cursor], int]:
    """The rows whose keys nobody else is claiming for, and how many there are beside."""
    keys = {
        row[2]: key
        for row in page
        if (job := rows.jobs.get(row[2])) and (key := job.policy.key) is not None
    }
    if not keys:
        return page, 0
    ours = await rows.lock_keys(set(keys.values()))
    free = [row for row in page if row[2] not in keys or keys[row[2]] in ours]
    return free, len(page) - len(free)


async def _decided(
    rows: Rows, page: list[Cursor], limit: int, decide: Decide, earlier: dict[str, Decision]
) -> dict[str, Decision]:
    """What ``decide`` makes of the first rows that it does not leave owed, by job."""
    if not page:
        return {}
    standing = await rows.standing({row[2] for row in page}, len(page))

    def pure() -> dict[str, Decision]:
        found: dict[str, Decision] = {}
        lanes = Lanes()
        for decision in earlier.values():
            lanes.note_keyed(decision)
        for due_at, _, job_id, number in page:
            job = rows.jobs.get(job_id)
            if job_id in found or job is None:
                continue
            own = standing.of(job_id)
            run = next((one for one in own if one.id == f"r{number}"), None)
            if number and (run is None or run.state is not PENDING or run.due_at != due_at):
                continue  # claimed by others just before its job was ours
            key = job.policy.key
            live = tuple(
                [one for one in lanes.seen(job_id, key, standing.of(job_id, key)) if one.live]
            )
            made = decide(Due(job, run, live), rows.mint)
            if made is not None:
                found[job_id] = made
                lanes.note_keyed(made)
                if len(found) >= limit:
                    break
        return found

    return await rows.minting(pure)


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
    if locked:
        await rows.reserve(0)
    waiting = not locked and await rows.read_jobs(ids)
    results = await rows.minting(lambda: _settled(rows.jobs, runs, ends, settle, rows.mint))
    done = {end.run_id: one for end, one in zip(ends, results, strict=True) if one is not None}
    if not locked:
        _check(rows, runs, done)
    await rows.store([runs[run_id].job_id for run_id in done], list(done.values()))
    keyed = any(runs[run_id].key is not None for run_id in done)
    news = keyed or waiting or any(map(_can_go_on, ends, results))
    if locked and not news:
        news = await rows.waiting(ids)  # a retry, too
    return results, news


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


async def request_cancel(rows: Rows, run_id: str, now: datetime) -> tuple[Run | None, bool]:
    """A pending run ends, a running one is flagged; the run, and whether that is new."""
    await rows.lock_ends([run_id])
    run = rows.open.get(run_id)
    if run is None or run.cancel_requested:
        return run or rows.ended.get(run_id), False
    flagged = replace(run, cancel_requested=True)
    if run.state is PENDING:
        why, over = "cancelled before it started", RunState.CANCELLED
        flagged = replace(flagged, state=over, finished_at=now, error=why)
    await rows.reserve(0)
    await rows.store([run.job_id], [Decision(rows.jobs.get(run.job_id), (flagged,))])
    return flagged, True


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

        def pure() -> list[tuple[str, Decision]]:
            results = _settled(rows.jobs, lost, ends, inherited(settle, node), rows.mint)
            settled = [
                (lost[end.run_id].job_id, one)
                for end, one in zip(ends, results, strict=True)
                if one
            ]
            if node is None:
                return settled
            jobs: dict[str, Job | None] = {**rows.jobs}
            jobs |= {job_id: one.job for job_id, one in settled}
            return settled + [
                (run.job_id, Decision(job, (adopted(run, node, job),)))
                for run, job in ((run, jobs.get(run.job_id)) for run in unsent)
            ]

        await rows.reserve(0)
        made = await rows.minting(pure)
        decisions = [one for _, one in made]
        await rows.store([job_id for job_id, _ in made], decisions)
    if await forget_dead(rows.connection) and rows.mark is None:
        await rows.reserve(0)
    return decisions
