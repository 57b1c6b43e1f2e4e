"""What must hold, looked at after each step and at the end (the invariants I1 to I18)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from datetime import timedelta
from os import getpid
from socket import gethostname
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from acron.model import RunState
from acron.occurrences import ALL, history
from acron.status import health
from acron.stores.dead import is_unsent
from acron.testing.simulation.people import CONTROL, SECRET, named
from acron.timetable import TICK, fire_at, timetable

if TYPE_CHECKING:
    from datetime import datetime

    from acron.abc import Store
    from acron.backfill import Backfill
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
        if run is before:
            continue
        if run is None or _end_of(run) != _end_of(before):
            world.broke("I5", f"{run_id} was {before.state}, and is {run and run.state}")
        elif told := _taken_back(before, run):
            world.broke("I5", f"{run_id} has told {told}, and takes it back")


def _end_of(run: Run) -> Run:
    """All that is final of a run that has ended: who delivers it, and how far that is, is not."""
    return replace(run, node=None, deliveries=())


def _taken_back(before: Run, run: Run) -> str:
    """A target whose delivery had ended, and has not any more, or otherwise."""
    over = [one for one in before.deliveries if one.state not in {"pending", "sending"}]
    return next((one.target for one in over if one not in run.deliveries), "")


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


async def is_filled(
    world: World, job: Job, done: Backfill, since: datetime, until: datetime
) -> None:
    """I1: a backfill leaves no instant out that its job had dealt with, and takes no other, nor
    one that has succeeded, waits or runs. What is to come by a clock that is behind may wait."""
    runs = await (await world.probe()).runs(job.id, limit=ALL)
    mine = {run.scheduled_at for run in runs if done.batch is not None and run.batch == done.batch}
    others = [run for run in runs if done.batch is None or run.batch != done.batch]
    done_with = {run.scheduled_at for run in others if run.state in _NOT_FILLED}
    clocks = [process.clock.now() for process in world.processes.values()]
    schedule, end = timetable(job), min(until - TICK, job.cursor or until, *clocks)
    count = schedule.count(since - TICK, end) if since <= end else 0
    for at in schedule.upcoming(since - TICK, count):
        if at not in mine | done_with:
            world.broke("I1", f"{job.id} is filled back, but for {at}")
    for taken in mine:
        if taken is None or not since <= taken < until or taken in done_with:
            world.broke("I1", f"{job.id} is filled back with {taken}")


#: What a backfill leaves out.
_NOT_FILLED = frozenset({RunState.SUCCEEDED, RunState.PENDING, RunState.RUNNING})


async def nobody_is_orphaned(world: World) -> None:
    """I11: what the dead ran has been ended by those who live, also where it is in nobody's way."""
    alive = {one.node for one in world.processes.values() if one.up}
    for run in await (await world.probe()).runs(state=RunState.RUNNING, limit=ALL):
        if run.node not in alive:
            world.broke("I11", f"{named(run)} is running, and its process died")


def is_over(world: World, node: str | None) -> None:
    """I15: who was stopped, and was well, has written how all that it ran has ended."""
    for run in [one for opened in world.book.open.values() for one in opened.values()]:
        begun = run.id in world.people.begun_at  # else the answer of its claim was lost
        if begun and run.node == node and run.state is RunState.RUNNING:
            world.broke("I15", f"{named(run)} is running, and its process has drained")


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
        _pauses_end(world, job)
    await _nothing_is_lost(world, store)
    await _deliveries(world, store)
    for run in await store.runs(limit=ALL):
        world.seen[f"run {run.state}"] += 1
    for skip in await store.skips(limit=ALL):
        world.seen[f"skip {skip.reason}"] += skip.count
    await _no_secrets(world, store)


async def _all_is_claimed(world: World, store: Store) -> None:
    """I11, I12. What waits for an earlier run of the same kind waits rightly."""
    now = world.now()
    paused = {job.id for job in await store.page(limit=1000) if job.paused is not None}
    live = [
        run
        for run in await store.runs(limit=ALL)
        if run.live and (run.job_id in paused or not _is_overdue(run, now))
    ]
    for job in await store.page(limit=1000):
        due, key = job.due_at, job.policy.key
        following = None if job.cursor is None else timetable(job).next_after(job.cursor)
        if job.state == "scheduled" and due and following:  # it may not put that off for ever
            due = min(due, fire_at(job, following))
        if due is None or (now - due).total_seconds() <= BOUND:
            continue
        in_the_way = any(run.job_id == job.id or (key and run.key == key) for run in live)
        if not in_the_way and not _is_put_off(world, job):
            world.broke("I11", f"{job.id} has been due since {due}, and it is {now}")
    for run in await store.runs(state=RunState.PENDING, limit=ALL):
        wanted = await store.get(run.job_id)
        if wanted is None:
            world.broke("I11", f"{run.id} waits, and its job is gone")
        elif _is_overdue(run, now) and not _stands_back(wanted, run, live):
            world.broke("I11", f"{run.id} has waited since {run.due_at}, and it is {now}")
    for node in await store.nodes():  # I14: where all is well, it says so
        if node.alive and node.provider and (how := health(node, now)) != "ok":
            world.broke("I14", f"in peace a node is {how}: {node.last_error}")
    for process in world.processes.values():
        if process.life is None or process.life.triggers != 1:
            triggers = process.life and process.life.triggers
            world.broke("I12", f"in peace {triggers} triggers pull in {process.name}")


def _is_put_off(world: World, job: Job) -> bool:
    """Whether a clock that was ahead may have put it off: what was missed is spread."""
    lead = timedelta(seconds=world.lead)
    return job.due_at is not None and world.now() < job.due_at <= world.now() + lead


def _is_overdue(run: Run, now: datetime) -> bool:
    """Whether it has waited for too long: then nobody waits for it rightly, but for what waits
    because its job is paused."""
    return run.state is RunState.PENDING and (now - run.due_at).total_seconds() > BOUND


def _stands_back(job: Job, run: Run, live: list[Run]) -> bool:
    """Whether a run waits rightly: its job is paused, or others are in its way."""
    key = job.policy.key
    if job.paused is not None and run.scheduled_at is not None and run.batch is None:
        return True
    return any(one.job_id == job.id or (key and one.key == key) for one in live)


def _pauses_end(world: World, job: Job) -> None:
    """I11: a pause is over at its end."""
    until = job.paused_until
    if (
        until is not None
        and job.state == "paused"
        and (world.now() - until).total_seconds() > BOUND
    ):
        world.broke("I11", f"{job.id} was paused until {until}, and it is {world.now()}")


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
    before = {run.scheduled_at for run in told.runs if run.id in era.runs}
    own = [run for run in told.runs if run.token and not run.batch and run.id not in era.runs]
    started = {
        one.scheduled_at for one in own if one.attempt == 1 or one.scheduled_at not in before
    }
    started.discard(None)
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
            if one.state == "failed" and world.chat.has_not_refused(*key):
                world.broke("I13", f"{run.id} gives {one.target} up: {one.error}")


async def _no_secrets(world: World, store: Store) -> None:
    """I16: all that the store tells is a sink, and so is the chat; the log is looked at by whoever
    plays."""
    jobs, runs = await store.page(limit=1000), await store.runs(limit=ALL)
    left = msgspec.json.encode([jobs, runs, await store.skips(limit=ALL)])
    world.left = left.replace(f"{gethostname()[:40]}-{getpid()}-".encode(), b"")
    nodes = msgspec.json.encode(await store.nodes())
    for text in (*world.chat.texts, world.left.decode(), nodes.decode()):
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
