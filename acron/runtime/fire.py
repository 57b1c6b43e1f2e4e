"""The way of a fire: due → claim → run → record → deliver. The chain and nothing else."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from acron.contain import meant_for_us
from acron.events import Delivered, Finished, Skipped, Started
from acron.model import Decision, Job, Outcome, Run, RunState
from acron.runtime.claim import Decider
from acron.runtime.run import Attempt, contain, current_attempt, failed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from acron.model import Skip
    from acron.runtime import Runtime

RUNNING = RunState.RUNNING  # an enum's member costs a look-up each time


async def fire_due(
    rt: Runtime, *, only: str | None = None, late: float = 0.0, taken: set[str] | None = None
) -> int:
    """Claim all that is due, in batches no larger than the free slots, and start it.

    ``only`` of that job; or only what was due ``late`` seconds ago already. The ids of the jobs
    whose runs were claimed are added to ``taken``.
    """
    started = 0
    alive: Collection[str] | None = None
    spread = rt.spread if only is None else None  # who names a job means it now
    while True:
        now = rt.clock.now()
        room = min(rt.free, rt.store.batch)
        if room <= 0:
            rt.looked(now, held=True)
            return started
        since, blocks = rt.pulse.serving_since, rt.watchdog.recent()
        decide = Decider(now, since, rt.node_id, alive or (), spread, blocks)
        # Committed before anything of it has an effect.
        due = now - timedelta(seconds=late) if late else now
        decisions = await rt.store.claim(due, room, rt.can_run, decide, only=only)
        if only is None and not late:
            rt.looked(now, held=bool(decide.held))
        if taken is not None:
            taken.update(run.job_id for one in decisions for run in one.runs)
        started += start(rt, decisions)
        if decide.doubted and alive is None:
            alive = await rt.prove_alive()  # then these instants wait, or are skipped
        elif (only is not None and started) or not _more(decisions, room, now):
            return started
        await asyncio.sleep(0)  # a long backlog starves neither the host's loop nor what it started


def _more(decisions: list[Decision], room: int, now: datetime) -> bool:
    """Whether another claim at ``now`` would find something: the batch was full, or one of its
    jobs owes a further instant already, or perhaps another run of its backfill."""
    if len(decisions) >= room:
        return True
    for decision in decisions:
        due = None if decision.job is None else decision.job.due_at
        if due is not None and due <= now:
            return True
        for run in decision.runs:
            if run.batch is not None:
                return True
    return False


def start(rt: Runtime, decisions: list[Decision]) -> int:
    """Start every run that was claimed, each in a task of its own; tell of the skips."""
    started, closing = 0, rt.attempts.closing
    for decision in decisions:
        job = decision.job
        if job is None:
            continue
        if job.incidents:
            rt.alerter.noticed(job)
        for run in decision.runs:
            if run.cancel_requested:  # it has to make room; one of another node hears of it there
                rt.attempts.stop(run.id, RunState.CANCELLED, run.error or "")
            elif run.state is RUNNING:
                attempt = Attempt(job, run, rt)
                rt.attempts.start(attempt, run_one_job(rt, attempt))
                if closing:  # this claim took too long for the drain to wait for
                    attempt.stop(RunState.INTERRUPTED, "acron is shutting down")
                started += 1
        if decision.skips:
            _tell_of(rt, job, decision.skips)
    return started


def _tell_of(rt: Runtime, job: Job, skips: Iterable[Skip]) -> None:
    if rt.events.wanted:
        for skip in skips:
            rt.events.emit(Skipped(rt.clock.now(), job, skip))


async def run_one_job(rt: Runtime, attempt: Attempt) -> None:
    """A claimed run from its start to its end. Nothing that it raises leaves its task.

    The end goes on its way without this task: the recorder hands it on to ``recorded``.
    """
    try:
        try:
            if rt.events.wanted:
                _tell_of_start(rt, attempt)
            outcome = await contain(attempt, rt.action_of)
        except GeneratorExit as error:
            # A future that carries one closes all inner frames and surfaces in the outermost.
            if not attempt.in_task():
                raise  # the loop is gone, and the coroutine is being closed
            outcome = failed(error)
        if outcome.output or outcome.files:
            outcome = await rt.files.keep(attempt.run, outcome)
        if outcome.error is None:
            await record(rt, attempt, outcome)
        else:
            await conclude(rt, attempt, outcome)
    except BaseException as error:
        rt.attempts.release(attempt)
        if meant_for_us(error):
            raise
        rt.pulse.trouble(f"run {attempt.label}", error)
    finally:
        attempt.task = None  # whose context holds the attempt: a circle is slow to be freed


def _tell_of_start(rt: Runtime, attempt: Attempt) -> None:
    run = attempt.run
    rt.events.emit(Started(run.started_at or rt.clock.now(), attempt.job, run))


async def conclude(rt: Runtime, attempt: Attempt, outcome: Outcome) -> None:
    """The end of what has failed, also of an attempt that will not return: whether it is to be
    tried again, the job may want to judge."""
    if attempt.job.policy.retry is not None:
        outcome = await rt.hooks.judged(attempt, outcome)
    await record(rt, attempt, outcome)


async def record(rt: Runtime, attempt: Attempt, outcome: Outcome) -> None:
    """Have the end written: with others, in one commit. Where a store never waits, and no other
    run could end now, that is at once."""
    if rt.store.at_once and len(rt.attempts) == 1:
        current_attempt.set(None)  # who is told of it is no part of the run
        await rt.recorder.record_now(attempt, outcome, rt.clock.now())
    else:
        rt.recorder.record(attempt, outcome, rt.clock.now())


def recorded(rt: Runtime, attempt: Attempt, decision: Decision | None) -> None:
    """The end is durable: its slot is free, whoever waits is told, what it says is delivered.

    None: it was not ours to end any more. It is left as it is, and there is nothing to deliver.
    """
    rt.attempts.release(attempt)
    if decision is None:
        return
    job = decision.job or attempt.job
    if decision.dropped:  # it has become a skip
        _tell_of(rt, job, decision.skips)
        rt.wake()  # if it was to be the last of a ``repeat``, another follows
        return
    ended = decision.runs[0]
    retry = decision.runs[1] if len(decision.runs) > 1 else None
    rt.attempts.ended(ended, retry)
    if job.incidents:
        rt.alerter.noticed(job)
    if rt.events.wanted:
        rt.events.emit(Finished(ended.finished_at or rt.clock.now(), job, ended, retry))
    if job.policy.after is not None or job.policy.on_error is not None:
        rt.tell_hooks(job, ended)
    if ended.deliveries:
        rt.attempts.deliver(ended, deliver(rt, job, ended))


async def deliver(rt: Runtime, job: Job, ended: Run, *, adopted: bool = False) -> None:
    """Send the output where it was meant to go. ``adopted``: a dead process left it to us."""
    told = await rt.deliverer.deliver(job, ended, adopted=adopted)
    if rt.events.wanted and told.deliveries != ended.deliveries:
        rt.events.emit(Delivered(rt.clock.now(), job, told))
