"""What must hold, looked at after each step and at the end (the invariants I1 to I18)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from acron.model import RunState
from acron.occurrences import ALL, history
from acron.runtime.record import settle
from acron.status import health
from acron.stores.dead import is_unsent
from acron.testing.simulation.people import CONTROL, SECRET
from acron.timetable import TICK, timetable

if TYPE_CHECKING:
    from acron.abc import Store
    from acron.model import Job, Run
    from acron.testing.simulation.world import World

#: Seconds after which what is due must have been claimed, once faults have ended.
BOUND = 600.0
#: Seconds after which what is due is no more a matter of a moment.
LATE = 30.0


async def after_step(world: World) -> None:
    """What can be seen of what is stored, and what nodes say of themselves."""
    store = await world.probe()
    runs = {run.id: run for run in await store.runs(limit=ALL)}
    for kept in world.watch.doubted:
        kept.look(world, store.book)
    _ends_stay(world, runs)
    _tokens_rise(world, runs)
    world.runs = runs
    await _status_is_honest(world, store)


def _ends_stay(world: World, runs: dict[str, Run]) -> None:
    for run_id, before in (world.runs | world.watch.settled).items():
        if not before.state.ended or run_id in world.eras.pruned:
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
    right = {one.node for one in world.processes.values() if not one.clock.skew}
    for node in await store.nodes():
        success = node.last_success_at
        if success is None or node.id not in right:
            continue
        old = (now - success).total_seconds() > 3 * node.interval + 60.0
        if old and health(node, now) == "ok":
            world.broke("I14", f"a node is ok, and last succeeded at {success}")


async def is_quiet(world: World) -> bool:
    """Whether nothing runs or waits for it, nothing is to be sent, and nothing is due for long."""
    store, late = await world.probe(), world.now() - timedelta(seconds=LATE)
    runs = await store.runs(limit=ALL)
    jobs = await store.page(limit=1000)
    over = all(run.state.ended and not is_unsent(run) for run in runs)
    return over and all(job.due_at is None or job.due_at > late for job in jobs)


async def at_the_end(world: World) -> None:
    """Peace has been for a while, and everything is up."""
    await after_step(world)
    store = await world.probe()
    await _all_is_claimed(world, store)
    await _all_ends(world, store)
    for job in await store.page(limit=1000):
        await _all_is_accounted_for(world, store, job)
    await _nothing_is_lost(world, store)
    await _deliveries(world, store)
    await _recovery_is_idempotent(world, store)
    for run in await store.runs(limit=ALL):
        world.seen[f"run {run.state}"] += 1
    for skip in await store.skips(limit=ALL):
        world.seen[f"skip {skip.reason}"] += skip.count
    await _no_secrets(world, store)


async def _all_is_claimed(world: World, store: Store) -> None:
    """I11, I12. What waits for an earlier run of the same kind waits rightly."""
    now = world.now()
    live = [run for run in await store.runs(limit=ALL) if run.live]
    for job in await store.page(limit=1000):
        due, key = job.due_at, job.policy.key
        if due is None or (now - due).total_seconds() <= BOUND:
            continue
        if any(run.job_id == job.id or (key and run.key == key) for run in live):
            continue
        world.broke("I11", f"{job.id} has been due since {due}, and it is {now}")
    for run in await store.runs(state=RunState.PENDING, limit=ALL):
        wanted = await store.get(run.job_id)
        if wanted is None:
            world.broke("I11", f"{run.id} waits, and its job is gone")
        elif (now - run.due_at).total_seconds() > BOUND and not _stands_back(wanted, run, live):
            world.broke("I11", f"{run.id} has waited since {run.due_at}, and it is {now}")
    for process in world.processes.values():
        if process.life is None or process.life.triggers != 1:
            triggers = process.life and process.life.triggers
            world.broke("I12", f"in peace {triggers} triggers pull in {process.name}")


def _stands_back(job: Job, run: Run, live: list[Run]) -> bool:
    """Whether a run waits rightly: its job is paused, or others are in its way."""
    key = job.policy.key
    if job.paused is not None and run.scheduled_at is not None and run.batch is None:
        return True
    return any(one.job_id == job.id or (key and one.key == key) for one in live)


async def _all_ends(world: World, store: Store) -> None:
    """A run ends within its timeout, whatever it does; and some time for what is slow."""
    now = world.loop.time()
    for run in await store.runs(state=RunState.RUNNING, limit=ALL):
        begun, job = world.people.begun_at.get(run.id), await store.get(run.job_id)
        bound = None if job is None else job.policy.timeout
        if begun is not None and bound is not None and now - begun > bound + BOUND:
            world.broke("I11", f"{run.id} runs for {now - begun:g} s, and has {bound:g}")


async def _all_is_accounted_for(world: World, store: Store, job: Job) -> None:
    """I1, I6, I8 of a job since its schedule was last bound."""
    told = world.eras.whole(await history(store, job.id), job.id)
    era = world.eras.current[job.id]
    over = job.completed and job.cursor is not None
    world.eras.check(era, told, job.cursor + TICK if over and job.cursor else world.now())
    started = {run.scheduled_at for run in told.runs if run.token and not run.batch}
    started -= {run.scheduled_at for run in told.runs if run.id in era.runs} | {None}
    if len(started) != job.fired:
        world.broke("I8", f"{job.id} started {len(started)} times, and has counted {job.fired}")
    repeat = job.policy.repeat
    if repeat is not None and len(started) > repeat:
        world.broke("I8", f"{job.id} started {len(started)} times, and may {repeat} times")
    schedule = timetable(job)
    following = None if job.cursor is None else schedule.next_after(job.cursor)
    if job.completed and following is not None and (repeat is None or job.fired < repeat):
        world.broke("I1", f"{job.id} is completed, and {following} is to come")


async def _nothing_is_lost(world: World, store: Store) -> None:
    """I10: what was acknowledged is there, and so is what others have written."""
    there = {job.id for job in await store.page(limit=1000)}
    for job_id in sorted(world.added - there - world.people.removed):
        world.broke("I10", f"{job_id} was added, and is gone")
    jobs = {job.id: job for job in await store.page(limit=1000)}
    for (job_id, created_at), revision in world.edited.items():
        job = jobs.get(job_id)
        if job is not None and job.created_at == created_at and job.revision < revision:
            world.broke("I10", f"{job_id} was edited to revision {revision}, and is {job.revision}")
    for run_id in sorted(world.cancelled):
        run = await store.run(run_id)
        if run is not None and run.state is not RunState.CANCELLED:
            world.broke("I10", f"{run_id} was cancelled, and is {run.state}")
    if not world.marked or world.deep:
        return
    text = world.path.read_text()
    for job_id in world.marked & there:
        record = next(one for one in json.loads(text)["jobs"] if one["id"] == job_id)
        if record.get("later") != "kept":
            world.broke("I10", f"a field that no version knows is gone from {job_id}")


async def _deliveries(world: World, store: Store) -> None:
    """I13; and of I11, that all that can be sent was."""
    for run in await store.runs(limit=ALL):
        tries = {one.attempts for one in run.deliveries if one.state == "delivered"}
        world.seen["delivery of one target tried again"] += len(tries) > 1
        if is_unsent(run) and not world.watch.waits_by_another_clock(run):
            world.broke("I11", f"{run.id} is still to be delivered: {run.deliveries}")
        for one in run.deliveries:
            world.seen[f"delivery {one.state}"] += 1
            world.seen["delivery tried again"] += one.attempts > 1
            key = (run.id, one.target.partition(":")[2])
            confirmed = world.chat.confirmed.get(key, "never")
            if one.state == "delivered" and one.receipt != confirmed:
                world.broke("I13", f"{run.id} says {one.target} is delivered: {one.receipt}")


async def _recovery_is_idempotent(world: World, store: Store) -> None:
    """I9."""
    now = world.now()
    await store.recover(now, settle)
    if again := await store.recover(now, settle):
        world.broke("I9", f"a second recovery settled {len(again)} more")


async def _no_secrets(world: World, store: Store) -> None:
    """I16: all that the store tells is a sink, and so is the chat; the log is looked at by whoever
    plays."""
    jobs, nodes = await store.page(limit=1000), await store.nodes()
    runs, skips = await store.runs(limit=ALL), await store.skips(limit=ALL)
    told = msgspec.json.encode([jobs, nodes, runs, skips]).decode()
    for text in (*world.chat.texts, told):
        for what in (SECRET, CONTROL, json.dumps(CONTROL)[1:-1]):
            if what in text:
                place = text.index(what)
                world.broke("I16", f"said aloud: {text[max(place - 40, 0) : place + 40]!r}")


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
    _nothing_is_left(world)


def _nothing_is_left(world: World) -> None:
    """I15: but for what was abandoned, and who watches."""
    names = sorted(
        task.get_name()
        for task in world.loop.left()
        if task is not asyncio.current_task() and not world.people.is_stubborn(task)
    )
    if names:
        world.broke("I15", f"tasks are left: {names}")
    if threading.active_count() > world.threads:
        world.broke("I15", f"threads are left: {threading.enumerate()}")
    if files := world.open_files():
        world.broke("I15", f"files are open: {files}")
