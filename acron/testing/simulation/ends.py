"""What the end of a run makes of it and of its job, judged inside the transaction that writes it:
by what its job asks for, and not by acron's own rules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from acron.model import RunState
from acron.runtime.claim import REPLACED
from acron.testing.simulation.people import SILENCE, named
from acron.testing.simulation.process import DRAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.abc import Settle
    from acron.model import Decision, End, Job, Run
    from acron.testing.simulation.process import Process
    from acron.testing.simulation.world import World

_CUT_SHORT = frozenset({RunState.INTERRUPTED, RunState.UNKNOWN})
_FAILED = frozenset({RunState.FAILED, RunState.TIMED_OUT})
_UNTOLD = frozenset({RunState.INTERRUPTED, RunState.CANCELLED})
#: Attempts of an idempotent job that was cut short.
_RERUNS = 10
#: As what acron ends a run that it tells so.
_WHY = {
    "acron is shutting down": RunState.INTERRUPTED,
    "cancelled by request": RunState.CANCELLED,
    REPLACED: RunState.CANCELLED,
    "did not end within": RunState.TIMED_OUT,
}
#: Seconds that are the same but for rounding.
_SAME = 1e-3


def judged(process: Process, settle: Settle) -> Settle:
    """``settle`` with an eye on what it makes of the ends that ``process`` writes."""

    def settling(job: Job | None, run: Run, end: End, mint: Callable[[], int]) -> Decision:
        decision = settle(job, run, end, mint)
        _is_as_it_was_told(process.world, run, end)
        _is_no_sooner_than_it_may(process, run, end.outcome.state)
        if job is not None and decision.job is not None and run.id not in decision.dropped:
            again = next((one for one in decision.runs if one.id != run.id), None)
            _is_tried_again_rightly(process.world, job, run, end, again)
            _is_counted(process.world, job, decision.job, end, again)
            _is_told(process.world, job, decision.runs[0], end, again)
        return decision

    return settling


def _is_as_it_was_told(world: World, run: Run, end: End) -> None:
    """I5: what acron itself has ended is what it ended it as: a shutdown is no failure."""
    for why, state in _WHY.items():
        if (end.outcome.error or "").startswith(why) and end.outcome.state is not state:
            world.broke("I5", f"{named(run)} is {end.outcome.state}: {end.outcome.error}")


def _is_no_sooner_than_it_may(process: Process, run: Run, state: RunState) -> None:
    """I15: what is interrupted has had the time of a drain, what times out that of its job."""
    world, called = process.world, process.world.people.called.get(run.id)
    if called is None:
        return
    now = world.loop.time()
    since = process.stopping_at
    if state is RunState.INTERRUPTED and since is not None and now - since < DRAIN - _SAME:
        world.broke("I15", f"{named(run)} was interrupted after {now - since:g} s of {DRAIN:g}")
    if state is RunState.TIMED_OUT and now - called.at < (called.timeout or math.inf) - _SAME:
        world.broke("I11", f"{named(run)} timed out after {now - called.at:g} s")


def _is_tried_again_rightly(world: World, job: Job, run: Run, end: End, again: Run | None) -> None:
    """I8: a further attempt where the job wants one, none where not, and after what it says."""
    state, policy, retry = end.outcome.state, job.policy, job.policy.retry
    least = most = 0.0
    limit = 1
    if state in _CUT_SHORT:
        limit = _RERUNS if policy.idempotent else 1
        world.seen["run again after a death"] += again is not None
    elif state in _FAILED and retry is not None:
        ordinary = not end.outcome.raised or "Exception" in end.outcome.raised
        limit = retry.attempts if ordinary else 1
        least = min(retry.delay * retry.factor ** (run.attempt - 1), retry.max_delay)
        most = least * (1 + retry.jitter)
    if again is None:
        if run.attempt < limit:
            world.broke("I8", f"{named(run)} is {state}, and is not tried again")
        return
    waits = (again.due_at - end.finished_at).total_seconds()
    if run.attempt >= limit:
        world.broke("I8", f"{named(run)} is {state}, is tried again, and may be {limit} times")
    elif not least - _SAME <= waits <= most + _SAME:
        world.broke("I8", f"{named(again)} comes after {waits:g} s, not {least:g} to {most:g}")
    elif (again.scheduled_at, again.attempt) != (run.scheduled_at, run.attempt + 1):
        world.broke("I8", f"{named(again)} is no further attempt of {named(run)}")


def _is_counted(world: World, before: Job, job: Job, end: End, again: Run | None) -> None:
    """I8: failures in a row are counted, and a job with too many of them pauses itself."""
    state, limit = end.outcome.state, before.policy.pause_after
    failures = before.failures
    if again is None and state is RunState.SUCCEEDED:
        failures = 0
    elif again is None and state in _FAILED:
        failures += 1
    if job.failures != failures:
        how = f"{job.id} has counted {job.failures} failures in a row, and had {failures}"
        world.broke("I8", how)
    too_many = again is None and state in _FAILED and limit is not None and failures >= limit
    if before.paused is None and (job.paused is not None) != too_many:
        world.broke("I8", f"{job.id} failed {failures} times in a row, and is {job.state}")


def _is_told(world: World, job: Job, ended: Run, end: End, again: Run | None) -> None:
    """I13: what it said is kept, and told where the job wants it: failures too, silence not."""
    outcome = end.outcome
    if (ended.state, ended.output) != (outcome.state, outcome.output):
        world.broke("I5", f"{named(ended)} is {ended.state}, and came to {outcome.state}")
    silent = outcome.state is RunState.SUCCEEDED and outcome.output in {None, SILENCE}
    untold = again is not None or silent or outcome.state in _UNTOLD
    wanted = () if untold else job.deliver or ()
    if [one.target for one in ended.deliveries if one.state == "pending"] != list(wanted):
        told = ", ".join(one.target for one in ended.deliveries)
        world.broke("I13", f"{named(ended)} is {ended.state}, and told: {told or 'nobody'}")
