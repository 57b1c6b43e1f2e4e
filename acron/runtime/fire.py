"""The way of a fire: due → claim → run → record → deliver. The chain and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from acron.abc import Context
from acron.contain import meant_for_us
from acron.events import Delivered, Finished, Skipped, Started
from acron.model import Decision, End, Job, Outcome, Run, RunState
from acron.runtime.claim import Decider
from acron.runtime.run import Attempt, contain, failed

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine
    from datetime import datetime

    from acron.runtime import Runtime

RUNNING = RunState.RUNNING  # an enum's member costs a look-up each time
#: Rows in one claim; larger ones would hold the store, and the loop, for too long.
BATCH = 500


async def fire_due(rt: Runtime, *, only: str | None = None) -> int:
    """Claim all that is due, in batches no larger than the free slots, and start it."""
    started = 0
    alive: Collection[str] | None = None
    while True:
        now = rt.clock.now()
        room = min(rt.free, BATCH)
        if room <= 0:
            rt.looked(now, held=True)
            return started
        decide = Decider(now, rt.pulse.serving_since, rt.node_id, alive or ())
        decisions = await claim(rt, decide, now, room, only)
        started += start(rt, decisions)
        if decide.doubted and alive is None:
            alive = await rt.prove_alive()  # then these instants wait, or are skipped
        elif only is not None or not _more(decisions, room, now):
            return started
        await asyncio.sleep(0)  # a long backlog starves neither the host's loop nor what it started


def _more(decisions: list[Decision], room: int, now: datetime) -> bool:
    """Whether another claim at ``now`` would find something: the batch was full, or one of its
    jobs owes a further instant already."""
    if len(decisions) >= room:
        return True
    dues = (decision.job.due_at for decision in decisions if decision.job is not None)
    return any(due is not None and due <= now for due in dues)


async def claim(
    rt: Runtime, decide: Decider, now: datetime, room: int, only: str | None
) -> list[Decision]:
    """Commit what is ours before anything of it has an effect."""
    decisions = await rt.store.claim(now, room, rt.can_run, decide, only=only)
    if only is None:
        rt.looked(now, held=bool(decide.held) or len(decisions) >= rt.free)
    return decisions


def start(rt: Runtime, decisions: list[Decision]) -> int:
    """Start every run that was claimed, each in a task of its own; tell of the skips."""
    started = 0
    for decision in decisions:
        job = decision.job
        if job is None:
            continue
        for run in decision.runs:
            if run.state is RUNNING:
                attempt = Attempt(job, run, rt)
                rt.attempts.start(attempt, run_one_job(rt, attempt))
                if rt.draining:  # this claim was under way when the drain began
                    attempt.stop(RunState.INTERRUPTED, "acron is shutting down")
                started += 1
        if decision.skips and rt.events.wanted:
            for skip in decision.skips:
                rt.events.emit(Skipped(rt.clock.now(), job, skip))
    return started


async def run_one_job(rt: Runtime, attempt: Attempt) -> None:
    """A claimed run from its start to its delivery. Nothing that it raises leaves its task."""
    try:
        try:
            outcome = await run(rt, attempt)
        except GeneratorExit as error:
            # A future that carries one closes all inner frames and surfaces in the outermost.
            if not attempt.in_task():
                raise  # the loop is gone, and the coroutine is being closed
            outcome = failed(error)
        if outcome.files:
            outcome = await rt.files.keep(attempt.run, outcome)
        job, ended = await record(rt, attempt, outcome)
        if ended.deliveries:
            await deliver(rt, job, ended)
    except BaseException as error:
        if meant_for_us(error):
            raise
        rt.pulse.trouble(f"run {attempt.label}", error)
    finally:
        rt.attempts.release(attempt)


def run(rt: Runtime, attempt: Attempt) -> Coroutine[Any, Any, Outcome]:
    """Make one attempt with the action that the job names."""
    job, claimed = attempt.job, attempt.run
    if rt.events.wanted:
        rt.events.emit(Started(claimed.started_at or rt.clock.now(), job, claimed))
    return contain(attempt, rt.action_of, Context(job, claimed, attempt.report))


async def record(rt: Runtime, attempt: Attempt, outcome: Outcome) -> tuple[Job, Run]:
    """Make the end durable, fenced by the claim's token. What is not ours to end any more is
    left as it is, and there is nothing of it to deliver."""
    now = rt.clock.now()
    end = End(run_id=attempt.run.id, token=attempt.run.token, finished_at=now, outcome=outcome)
    decision = await rt.recorder.record(end)
    rt.attempts.release(attempt)
    if decision is None:
        return attempt.job, attempt.run
    ended, *retries = decision.runs
    job = decision.job or attempt.job
    retry = retries[0] if retries else None
    rt.attempts.ended(ended, retry)
    if rt.events.wanted:
        rt.events.emit(Finished(now, job, ended, retry))
    return job, ended


async def deliver(rt: Runtime, job: Job, ended: Run, *, adopted: bool = False) -> None:
    """Send the output where it was meant to go. ``adopted``: a dead process left it to us."""
    told = await rt.deliverer.deliver(job, ended, adopted=adopted)
    if rt.events.wanted and told.deliveries != ended.deliveries:
        rt.events.emit(Delivered(rt.clock.now(), job, told))


async def conclude(rt: Runtime, attempt: Attempt, outcome: Outcome) -> None:
    """The way out for an attempt that was abandoned: its end without it."""
    job, ended = await record(rt, attempt, outcome)
    if ended.deliveries:
        await deliver(rt, job, ended)
