"""What must hold, looked at after each step and at the end (the invariants I1 to I18)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from acron.model import RunState
from acron.occurrences import ALL, history, occurrences
from acron.runtime.record import settle
from acron.status import health
from acron.testing.simulation.people import CONTROL, SECRET
from acron.timetable import TICK, timetable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from acron.abc import Store
    from acron.model import Job, Occurrence, Run
    from acron.schedules import Schedule
    from acron.testing.simulation.world import World

#: Seconds after which what is due must have been claimed, once faults have ended.
BOUND = 600.0
#: Seconds after which what is due is no more a matter of a moment.
LATE = 30.0


async def after_step(world: World) -> None:
    """What can be seen of what is stored, and what nodes say of themselves."""
    store = await world.probe()
    runs = {run.id: run for run in await store.runs(limit=ALL)}
    _ends_stay(world, runs)
    _tokens_rise(world, runs)
    world.runs = runs
    await _status_is_honest(world, store)


def _ends_stay(world: World, runs: dict[str, Run]) -> None:
    for run_id, before in (world.runs | world.settled).items():
        if not before.state.ended:
            continue
        run = runs.get(run_id)
        if run is None or (run.state, run.token, run.error) != (
            before.state,
            before.token,
            before.error,
        ):
            world.broke("I5", f"{run_id} was {before.state}, and is {run and run.state}")


def _tokens_rise(world: World, runs: dict[str, Run]) -> None:
    """Runs claimed since the last look have larger tokens than all that were claimed before."""
    newest: dict[str, int] = {}
    for run in world.runs.values():
        newest[run.job_id] = max(newest.get(run.job_id, 0), run.token)
    for run_id, run in runs.items():
        before = world.runs.get(run_id)
        claimed = run.token and (before is None or before.token != run.token)
        if claimed and run.token <= newest.get(run.job_id, 0):
            world.broke("I3", f"{run_id} of {run.job_id} has the token {run.token}")
    tokens = Counter(run.token for run in runs.values() if run.token)
    for token, count in tokens.items():
        if count > 1:
            world.broke("I3", f"the token {token} was given {count} times")


async def _status_is_honest(world: World, store: Store) -> None:
    """I14, by the clock of a machine that is right."""
    now = world.now()
    for node in await store.nodes():
        success = node.last_success_at
        if success is None or any(one.clock.skew for one in world.processes.values()):
            continue
        old = (now - success).total_seconds() > 3 * node.interval + 60.0
        if old and health(node, now) == "ok":
            world.broke("I14", f"a node is ok, and last succeeded at {success}")


async def is_quiet(world: World) -> bool:
    """Whether nothing runs or waits for it, and nothing is due for long."""
    store, late = await world.probe(), world.now() - timedelta(seconds=LATE)
    runs = await store.runs(limit=ALL)
    jobs = await store.page(limit=1000)
    return all(run.state.ended for run in runs) and all(
        job.due_at is None or job.due_at > late for job in jobs
    )


async def at_the_end(world: World) -> None:
    """Peace has been for a while, and everything is up."""
    await after_step(world)
    store = await world.probe()
    await _all_is_claimed(world, store)
    for job in await store.page(limit=1000):
        await _all_is_accounted_for(world, store, job)
    await _nothing_is_lost(world, store)
    await _deliveries(world, store)
    await _recovery_is_idempotent(world, store)
    for run in await store.runs(limit=ALL):
        world.seen[f"run {run.state}"] += 1
    for skip in await store.skips(limit=ALL):
        world.seen[f"skip {skip.reason}"] += skip.count
    _no_secrets(world)


async def _all_is_claimed(world: World, store: Store) -> None:
    """I11. What waits for an earlier run of the same kind waits rightly."""
    now = world.now()
    for job in await store.page(limit=1000):
        due = job.due_at
        if due is None or (now - due).total_seconds() <= BOUND:
            continue
        if job.policy.overlap == "queue" or job.policy.key or job.policy.catch_up == "all":
            continue
        world.broke("I11", f"{job.id} has been due since {due}, and it is {now}")


async def _all_is_accounted_for(world: World, store: Store, job: Job) -> None:
    """I1, I6, I8 of a job since its schedule was last bound."""
    now = world.now()
    told = await history(store, job.id)
    began = world.rebound.get(job.id) or job.created_at or world.start
    began += TICK  # the instant at which it is made is not owed
    schedule = timetable(job)
    if not schedule.recurring:
        return
    until = job.cursor + TICK if job.completed and job.cursor is not None else now
    if (before := world.before.get(job.id)) is not None:  # by a clock that was ahead
        runs = {run.id for run in before.runs}
        told = told._replace(
            runs=[run for run in told.runs if run.id not in runs],
            skips=[skip for skip in told.skips if skip not in before.skips],
        )
    rows = occurrences(told, now, began, until)
    if wrong := _miscounted(rows, schedule, began, until):
        world.broke("I1", f"{job.id}: {wrong}")
    repeat = job.policy.repeat
    started = {
        run.scheduled_at for run in told.runs if run.scheduled_at and run.token and not run.batch
    }
    if repeat is not None and job.id not in world.rebound and len(started) > repeat:
        world.broke("I8", f"{job.id} started {len(started)} times, and may {repeat} times")


def _miscounted(
    rows: Sequence[Occurrence], schedule: Schedule, since: datetime, until: datetime
) -> str:
    """Why ``rows`` are not each instant of ``schedule`` once; nothing if they are. Counted, not
    enumerated: a clock that jumps by a year leaves half a million instants in one row."""
    end = since - TICK
    for row in rows:
        first = row.first_at or row.scheduled_at
        if first <= end:
            return f"{first} is there twice"
        if missing := schedule.count(end, first - TICK):
            return f"{missing} instants after {end} are nowhere"
        there = schedule.count(first - TICK, row.scheduled_at)
        if there != row.count or schedule.next_after(first - TICK) != first:
            return f"{first} to {row.scheduled_at} are not {row.count} instants"
        end = row.scheduled_at
    if missing := schedule.count(end, until - TICK):
        return f"{missing} instants after {end} are nowhere"
    return ""


async def _nothing_is_lost(world: World, store: Store) -> None:
    """I10: what was acknowledged is there, and so is what others have written."""
    there = {job.id for job in await store.page(limit=1000)}
    for job_id in sorted(world.added - there - world.people.removed):
        world.broke("I10", f"{job_id} was added, and is gone")
    if not world.marked:
        return
    text = world.path.read_text()
    for job_id in world.marked & there:
        record = next(one for one in json.loads(text)["jobs"] if one["id"] == job_id)
        if record.get("later") != "kept":
            world.broke("I10", f"a field that no version knows is gone from {job_id}")


async def _deliveries(world: World, store: Store) -> None:
    """I13."""
    for (run_id, room), count in world.chat.accepted.items():
        if count > 1:
            world.broke("I13", f"{room} was told {count} times of {run_id}")
    for run in await store.runs(limit=ALL):
        for one in run.deliveries:
            world.seen[f"delivery {one.state}"] += 1
            world.seen["delivery tried again"] += one.attempts > 1
            key = (run.id, one.target.partition(":")[2])
            if one.state == "delivered" and one.receipt != world.chat.confirmed.get(key):
                world.broke("I13", f"{run.id} says {one.target} is delivered: {one.receipt}")


async def _recovery_is_idempotent(world: World, store: Store) -> None:
    """I9."""
    now = world.now()
    await store.recover(now, settle)
    if again := await store.recover(now, settle):
        world.broke("I9", f"a second recovery settled {len(again)} more")


def _no_secrets(world: World) -> None:
    """I16: the ledger and the chat are sinks; the log is looked at by whoever plays."""
    said = [*world.chat.texts, *(run.error or "" for run in world.runs.values())]
    for text in said:
        if SECRET in text or CONTROL in text:
            world.broke("I16", f"said aloud: {text!r:.80}")


async def after_all(world: World) -> None:
    """I10, I15: everything has ended; what is stored can still be read."""
    await asyncio.sleep(0)
    store = await world.probe()
    for job in await store.page(limit=1000):
        if job.id in world.people.removed:
            world.broke("I10", f"{job.id} was removed, and is back")
    left = await store.runs(state=RunState.RUNNING, limit=ALL)
    if left:
        world.broke("I15", f"{left[0].id} is running, and nobody is up")
    world.drop_probe()
    threads = [one for one in threading.enumerate() if one.name.startswith("acron-store")]
    if threads:
        world.broke("I15", f"{len(threads)} threads of stores are left")
