"""acron that breaks one of its promises to people: what the simulation has to notice, too."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msgspec.structs import replace

from acron import backfill, schedules, timetable
from acron.model import Decision, Job, RunState, SkipReason
from acron.runtime import claim, deliver, due, record
from acron.runtime.attempts import Attempts
from acron.runtime.claim import Decider, Spread
from acron.runtime.deliver import Deliverer
from acron.runtime.record import Recorder
from acron.runtime.run import Attempt
from acron.schedules.interval import Interval
from acron.schedules.once import Once
from acron.stores import book
from acron.testing.simulation import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime

    from acron.abc import Adapter
    from acron.model import Delivery, Outcome, Run
    from acron.runtime.send import Failure

_SUCCEEDED = RunState.SUCCEEDED


def _timing_out(timeout: Callable[[float], float | None]) -> AbstractContextManager[Any]:
    begin = Attempt.begin

    def begun(self: Attempt) -> None:
        job = self.job
        bound = None if job.policy.timeout is None else timeout(job.policy.timeout)
        self.job = replace(job, policy=replace(job.policy, timeout=bound))
        begin(self)
        self.job = job

    return patch.object(Attempt, "begin", begun)


def without_timeouts() -> AbstractContextManager[Any]:
    return _timing_out(lambda _: None)


def with_timeouts_that_come_too_soon() -> AbstractContextManager[Any]:
    return _timing_out(lambda seconds: seconds / 3)


def _draining(patience: Callable[[float], float]) -> AbstractContextManager[Any]:
    drain = Attempts.drain
    return patch.object(Attempts, "drain", lambda self, timeout: drain(self, patience(timeout)))


def without_the_time_of_a_drain() -> AbstractContextManager[Any]:
    return _draining(lambda _: 0.0)


def with_a_drain_that_takes_longer() -> AbstractContextManager[Any]:
    return _draining(lambda seconds: 4 * seconds)


def without_the_ends_of_a_drain() -> AbstractContextManager[Any]:
    """What is interrupted is left running in the ledger."""
    add = Recorder._add

    def added(self: Recorder, attempt: Attempt, outcome: Outcome, at: datetime) -> bool:
        return outcome.state is not RunState.INTERRUPTED and add(self, attempt, outcome, at)

    return patch.object(Recorder, "_add", added)


def with_a_shutdown_that_is_a_failure() -> AbstractContextManager[Any]:
    stop = Attempt.stop

    def stopped(self: Attempt, state: RunState, why: str) -> None:
        stop(self, RunState.FAILED if state is RunState.INTERRUPTED else state, why)

    return patch.object(Attempt, "stop", stopped)


def with_retries_that_come_late() -> AbstractContextManager[Any]:
    backoff = record.backoff
    return patch.object(record, "backoff", lambda *args: 20 * backoff(*args))


def with_retries_of_what_was_cancelled() -> AbstractContextManager[Any]:
    return patch.object(record, "FAILURES", record.FAILURES | {RunState.CANCELLED})


def without_counting_failures() -> AbstractContextManager[Any]:
    streak = record._streak
    return patch.object(record, "_streak", lambda *args: replace(streak(*args), failures=0))


def without_forgiving_failures() -> AbstractContextManager[Any]:
    """Those of a job that has succeeded since."""
    return patch.object(record, "_well", lambda job, _: job)


def _telling(wanted: Callable[[Run], bool]) -> AbstractContextManager[Any]:
    deliveries = record._deliveries

    def told(job: Job, ended: Run) -> Any:
        return deliveries(job, ended) if wanted(ended) else ()

    return patch.object(record, "_deliveries", told)


def without_telling_of_failures() -> AbstractContextManager[Any]:
    return _telling(lambda ended: ended.state is _SUCCEEDED)


def without_telling_what_was_said() -> AbstractContextManager[Any]:
    return _telling(lambda ended: ended.state is not _SUCCEEDED)


def without_silence() -> AbstractContextManager[Any]:
    """A job that says that it has nothing to say is told of."""
    return patch.object(record, "is_silent", lambda _: False)


def _judging(**otherwise: Any) -> AbstractContextManager[Any]:
    """What a platform says of a message that it has not taken is heard ``otherwise``."""
    failed = Deliverer._failed

    def heard(
        self: Deliverer, ended: Run, adapter: Adapter, told: Delivery, failure: Failure
    ) -> Delivery:
        return failed(self, ended, adapter, told, replace(failure, **otherwise))

    return patch.object(Deliverer, "_failed", heard)


def with_a_resend_of_what_was_refused() -> AbstractContextManager[Any]:
    return _judging(permanent=False)


def without_waiting_for_the_chat() -> AbstractContextManager[Any]:
    """A platform that asks to be left alone for a while is not."""
    return _judging(retry_after=None)


def without_a_second_send() -> AbstractContextManager[Any]:
    return patch.object(deliver, "ATTEMPTS", 1)


def with_a_resume_that_fires_what_was_paused() -> AbstractContextManager[Any]:
    def resumed(job: Job, *_: Any) -> Decision:
        return Decision(replace(job, failures=0))

    return patch.object(timetable, "_resume", resumed)


def _due(when_paused: Callable[[datetime], datetime | None]) -> AbstractContextManager[Any]:
    due_at: Any = Job.due_at

    def due(job: Job) -> datetime | None:
        if job.paused is not None and job.paused_until is not None:
            return when_paused(job.paused_until)
        found: datetime | None = due_at.fget(job)
        return found

    return patch.object(Job, "due_at", property(due))


def without_the_end_of_a_pause() -> AbstractContextManager[Any]:
    return _due(lambda _: None)


def with_a_pause_that_ends_early() -> AbstractContextManager[Any]:
    return _due(lambda until: until - timedelta(minutes=1))


@contextmanager
def _reading(target: object, name: str, how: Callable[..., Any]) -> Iterator[None]:
    timetable.forget_zones()
    with patch.object(target, name, how):
        yield
    timetable.forget_zones()


def with_an_interval_that_drifts() -> AbstractContextManager[Any]:
    """By a second, each time that its next instant is asked for."""
    next_after = Interval.next_after

    def drifting(self: Interval, base: datetime) -> datetime | None:
        found = next_after(self, base)
        return None if found is None else found + timedelta(seconds=1)

    return _reading(Interval, "next_after", drifting)


def without_days_off() -> AbstractContextManager[Any]:
    parse = schedules.parse

    def parsed(text: str, **options: Any) -> Any:
        return parse(text.partition(" except ")[0], **options)

    return _reading(timetable, "parse", parsed)


def with_an_edit_that_moves_the_lattice() -> AbstractContextManager[Any]:
    """A job counts anew whenever its timeout is changed."""
    timing = timetable._timing
    return patch.object(timetable, "_timing", lambda job: (*timing(job), job.policy.timeout))


def with_a_late_beginning() -> AbstractContextManager[Any]:
    """A schedule owes nothing in the first minutes after it was made."""
    return patch.object(timetable, "_begin", lambda _, now: now + timedelta(minutes=5))


@contextmanager
def without_jitter() -> Iterator[None]:
    with ExitStack() as stack:
        for module in (timetable, claim, due, watch):
            stack.enter_context(patch.object(module, "fire_at", lambda _, instant: instant))
        yield


def without_the_grace_of_what_comes_once() -> AbstractContextManager[Any]:
    return patch.object(timetable, "ONE_SHOT_GRACE", 1.0)


def with_wrong_reasons() -> AbstractContextManager[Any]:
    """What is coalesced is said to be beyond a limit."""
    counted = due._counted

    def wrongly(job: Job, schedule: Any, _: Any, *rest: Any) -> Any:
        return counted(job, schedule, SkipReason.LIMIT, *rest)

    return patch.object(due, "_counted", wrongly)


def without_priorities() -> AbstractContextManager[Any]:
    return patch.object(book, "rank", lambda _: 0)


def without_lateness() -> AbstractContextManager[Any]:
    return patch.object(Decider, "_lateness", lambda *_: 0.0)


def with_an_outage_that_is_spread_too_far() -> AbstractContextManager[Any]:
    """What was missed is put off by half an hour."""
    return patch.object(Spread, "start_at", lambda _, now: now + timedelta(minutes=30))


def with_a_backfill_of_what_is_done() -> AbstractContextManager[Any]:
    init = backfill._Part.__init__

    def anew(self: Any, *args: Any, again: bool) -> None:
        init(self, *args, again=again or True)

    return patch.object(backfill._Part, "__init__", anew)


def with_half_a_backfill() -> AbstractContextManager[Any]:
    instants = backfill._instants
    return patch.object(backfill, "_instants", lambda *args: instants(*args)[:1])


def with_a_delay_that_is_too_long() -> AbstractContextManager[Any]:
    def later(self: Once, base: datetime) -> datetime | None:
        at = self.at + timedelta(seconds=1)
        return at if at > base else None

    return _reading(Once, "next_after", later)


#: Each with seeds that were red with it, and the invariants that may show it.
PROMISES: dict[Callable[[], AbstractContextManager[Any]], tuple[tuple[int, ...], set[str]]] = {
    without_timeouts: ((3, 5, 6), {"I11"}),
    with_timeouts_that_come_too_soon: ((0, 3, 5), {"I11"}),
    without_the_time_of_a_drain: ((1, 49, 103), {"I15"}),
    with_a_drain_that_takes_longer: ((1, 49, 103), {"I15"}),
    without_the_ends_of_a_drain: ((103, 191, 252), {"I15"}),
    with_a_shutdown_that_is_a_failure: ((1, 49, 103), {"I5"}),
    with_retries_that_come_late: ((3, 5, 22), {"I8"}),
    with_retries_of_what_was_cancelled: ((0, 2, 7), {"I8"}),
    without_counting_failures: ((0, 1, 2), {"I8"}),
    without_forgiving_failures: ((0, 1, 2), {"I8"}),
    without_telling_of_failures: ((1, 2, 3), {"I13"}),
    without_telling_what_was_said: ((2, 3, 6), {"I13"}),
    without_silence: ((1, 7, 20), {"I13"}),
    with_a_resend_of_what_was_refused: ((7, 25, 78), {"I13"}),
    without_waiting_for_the_chat: ((51, 66, 116), {"I13"}),
    without_a_second_send: ((51, 66, 116), {"I13"}),
    with_a_resume_that_fires_what_was_paused: ((2, 39, 46), {"I7"}),
    without_the_end_of_a_pause: ((59, 76, 77), {"I11"}),
    with_a_pause_that_ends_early: ((21, 39, 46), {"I7"}),
    with_an_interval_that_drifts: ((1, 2, 3), {"I6"}),
    without_days_off: ((1, 22, 30), {"I6"}),
    with_an_edit_that_moves_the_lattice: ((26, 109, 149), {"I6"}),
    with_a_late_beginning: ((0, 1, 2), {"I1"}),
    without_jitter: ((1, 2, 4), {"I7"}),
    without_the_grace_of_what_comes_once: ((1, 13, 57), {"I8"}),
    with_wrong_reasons: ((1, 3, 4), {"I8"}),
    without_priorities: ((6, 9, 33), {"I11"}),
    without_lateness: ((0, 1, 2), {"I7"}),
    with_an_outage_that_is_spread_too_far: ((1, 2, 3), {"I11"}),
    with_a_backfill_of_what_is_done: ((165, 265, 406), {"I1"}),
    with_half_a_backfill: ((393, 550, 688), {"I1"}),
    with_a_delay_that_is_too_long: ((0, 2), {"I6"}),
}
