"""Write how a run ended: finished, to be retried, or the job paused. Group commit."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from acron import incidents
from acron.contain import meant_for_us
from acron.errors import StoreError
from acron.model import (
    OUTPUT_LIMIT,
    Decision,
    Delivery,
    End,
    Job,
    Outcome,
    Retry,
    Run,
    RunState,
    Skip,
)
from acron.specs import Command, Prompt
from acron.text import cut, is_silent
from acron.timetable import not_counted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from acron.abc import Settle, Store
    from acron.runtime.run import Attempt

log = logging.getLogger("acron.runtime")

SUCCEEDED = RunState.SUCCEEDED  # an enum's member costs a look-up each time
FAILURES = frozenset({RunState.FAILED, RunState.TIMED_OUT})
_CUT_SHORT = frozenset({RunState.INTERRUPTED, RunState.UNKNOWN})
_LONGEST_WAIT = 5.0
#: Attempts of an idempotent job that was cut short: one that kills its process ends here.
RERUNS = 10


def settle(job: Job | None, run: Run, end: End, mint: Callable[[], int]) -> Decision:
    """What the end of ``run`` makes of it and of its job. Pure."""
    outcome = end.outcome
    said = outcome.output or outcome.files
    plain = outcome.state is SUCCEEDED and not said and not run.cancel_requested
    if plain and job is not None:  # the common end
        ended = replace(run, state=SUCCEEDED, finished_at=end.finished_at)
        well = _well(job, end.finished_at) if job.failures or job.incidents else job
        return Decision(well, runs=(ended,))
    ended = replace(
        run,
        state=outcome.state,
        finished_at=end.finished_at,
        output=outcome.output and cut(outcome.output, OUTPUT_LIMIT),
        error=outcome.error,
        files=outcome.files,
    )
    if outcome.skip is not None and run.scheduled_at is not None and run.attempt == 1:
        skip = Skip(
            job_id=run.job_id,
            scheduled_at=run.scheduled_at,
            reason=outcome.skip,
            recorded_at=end.finished_at,
        )
        if job is not None and run.batch is None:  # a backfill's was not counted
            job = not_counted(job, outcome.claimed or job)
        return Decision(job, skips=(skip,), dropped=(run.id,))
    if job is None:
        return Decision(None, runs=(ended,))
    wait = _retry_in(job, run, outcome)
    if wait is not None:
        again = Run(
            id=f"r{mint()}",
            job_id=job.id,
            scheduled_at=run.scheduled_at,
            attempt=run.attempt + 1,
            key=job.policy.key,
            due_at=end.finished_at + timedelta(seconds=wait),
            batch=run.batch,
            kwargs=run.kwargs,
        )
        return Decision(job, runs=(ended, again))
    if deliveries := _deliveries(job, ended):
        ended = replace(ended, deliveries=deliveries)
    return Decision(_streak(job, ended, end.finished_at), runs=(ended,))


def _well(job: Job, at: datetime) -> Job:
    """The job after a success."""
    job = incidents.resolved(job, at, "failure", "absence")
    return replace(job, failures=0) if job.failures else job


def _retry_in(job: Job, run: Run, outcome: Outcome) -> float | None:
    """Seconds until the next attempt; None when this one was the last."""
    if outcome.state in _CUT_SHORT:
        again = job.policy.idempotent and run.attempt < RERUNS
        return 0.0 if again else None
    retry = job.policy.retry
    if retry is None or not worth_retrying(retry, run, outcome):
        return None
    if outcome.again is None or outcome.again is True:
        return backoff(retry, run)
    return None if outcome.again is False else outcome.again


def worth_retrying(retry: Retry, run: Run, outcome: Outcome) -> bool:
    """Whether ``attempts`` and ``on`` allow a further attempt; ``when`` has the last word."""
    if outcome.state not in FAILURES or run.attempt >= retry.attempts:
        return False
    return not outcome.raised or not set(retry.on).isdisjoint(outcome.raised)


def backoff(retry: Retry, run: Run) -> float:
    """Seconds to wait after the failed ``run``: exponential, capped, and lengthened by a jitter
    that comes from a hash of the run's id, so that the same run always waits the same."""
    try:
        wait = min(retry.delay * retry.factor ** (run.attempt - 1), retry.max_delay)
    except OverflowError:
        wait = retry.max_delay
    spread = blake2b(run.id.encode(), digest_size=4).digest()
    return wait * (1 + retry.jitter * int.from_bytes(spread, "big") / 2**32)


def _streak(job: Job, ended: Run, at: datetime) -> Job:
    """Count failures in a row; at ``pause_after`` of them the job pauses itself. What failed for
    good, or was lost with its process, is an incident."""
    if ended.state is RunState.SUCCEEDED:
        return _well(job, at)
    if ended.state in FAILURES or ended.state is RunState.UNKNOWN:
        why = ended.error or ended.state.value
        job = incidents.opened(job, "failure", why, at, run_id=ended.id)
    if ended.state not in FAILURES:
        return job
    failures = job.failures + 1
    limit = job.policy.pause_after
    if limit is not None and failures >= limit and job.paused is None:
        return replace(
            job,
            failures=failures,
            paused=f"failed {failures} times in a row: {ended.error}",
            revision=job.revision + 1,
        )
    return replace(job, failures=failures)


def _deliveries(job: Job, ended: Run) -> tuple[Delivery, ...]:
    """Who is to be told. Silence is for success, never for a failure."""
    if ended.state in {RunState.INTERRUPTED, RunState.CANCELLED}:
        return ()
    succeeded = ended.state is RunState.SUCCEEDED
    if succeeded and is_silent(ended.output or " ".join(ended.files)):
        return ()
    if not succeeded and job.policy.deliver_failure is not None:
        targets = job.policy.deliver_failure
    elif job.deliver is not None:
        targets = job.deliver
    else:
        targets = ("local",) if isinstance(job.action, Command | Prompt) else ()
    return tuple(Delivery(target) for target in targets)


class Recorder:
    """Gathers ends while a commit is in flight and writes them together.

    ``start`` makes the task that writes. ``recorded`` is told of each end once that is durable:
    the decision that was stored, or None when the end was rejected because the run is not ours.
    A store that fails is tried again until it takes them: an end is never dropped while the
    process lives. An end that no transaction can settle is written down as a failure, so that
    its siblings are not held.
    """

    def __init__(
        self,
        store: Store,
        start: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        trouble: Callable[[str, BaseException], None],
        recorded: Callable[[Attempt, Decision | None], None],
    ) -> None:
        self._store = store
        self._start = start
        self._trouble = trouble
        self._recorded = recorded
        self._attempts: list[Attempt] = []  # that have ended, and their ends beside them
        self._ends: list[End] = []
        self.writer: asyncio.Task[Any] | None = None
        self._closed = self._refused = False

    def record(self, attempt: Attempt, outcome: Outcome, at: datetime) -> None:
        """Have the end of ``attempt`` written with the next commit, fenced by the claim's token;
        after ``close``, refuse it: the store is closed too, and what lives next settles the run."""
        if self._add(attempt, outcome, at):
            self.writer = self._start(self._write(), "acron-recorder")

    async def record_now(self, attempt: Attempt, outcome: Outcome, at: datetime) -> None:
        """``record``, and write it in the caller's own task, unless there is a writer."""
        if self._add(attempt, outcome, at):
            self.writer = asyncio.current_task()
            await self._write()

    def _add(self, attempt: Attempt, outcome: Outcome, at: datetime) -> bool:
        """Whether a writer is needed."""
        if self._closed:
            self._refuse(attempt)
            return False
        run = attempt.run
        end = End(run_id=run.id, token=run.token, finished_at=at, outcome=outcome)
        self._attempts.append(attempt)
        self._ends.append(end)
        return self.writer is None

    def _refuse(self, attempt: Attempt) -> None:
        if not self._refused:
            self._refused = True
            log.info("run %s ended after acron did; such ends are not recorded", attempt.label)
        self._tell(attempt, None)

    async def _write(self) -> None:
        attempts: list[Attempt] = []
        try:
            while self._ends:
                attempts, self._attempts = self._attempts, []
                ends, self._ends = self._ends, []
                decisions = await self._commit(ends)
                recorded = self._recorded
                for attempt, decision in zip(attempts, decisions, strict=True):
                    try:
                        recorded(attempt, decision)
                    except Exception as error:  # noqa: BLE001 (the other runs have ended too)
                        self._trouble(f"end of {attempt.label}", error)
                attempts = []
        finally:
            self.writer = None
            left, self._attempts, self._ends = attempts + self._attempts, [], []
            for attempt in left:
                lost = StoreError("the end of a run was not recorded")
                self._trouble(f"run {attempt.label}", lost)
                self._tell(attempt, None)

    def _tell(self, attempt: Attempt, decision: Decision | None) -> None:
        try:
            self._recorded(attempt, decision)
        except Exception as error:  # noqa: BLE001 (the other runs have ended too)
            self._trouble(f"end of {attempt.label}", error)

    async def _commit(self, ends: list[End]) -> list[Decision | None]:
        try:
            return await self._persist(ends)
        except BaseException as error:
            if meant_for_us(error):
                raise
            self._trouble(f"cannot settle {len(ends)} ends together", error)
        return [await self._settle_alone(end) for end in ends]

    async def _settle_alone(self, end: End) -> Decision | None:
        """One end, whatever is wrong with it; None when not even its failure can be written."""
        why = "its end could not be settled"
        plain = replace(end, outcome=Outcome(state=RunState.FAILED, error=why))
        for attempt, how in ((end, settle), (plain, _settle_plainly)):
            try:
                return (await self._persist([attempt], how))[0]
            except BaseException as error:
                if meant_for_us(error):
                    raise
                self._trouble(f"cannot settle the end of {end.run_id}", error)
        return None

    async def _persist(self, ends: list[End], how: Settle = settle) -> list[Decision | None]:
        wait = 0.1
        while True:
            try:
                return await self._store.finish(ends, how)
            except StoreError as error:
                self._trouble(f"cannot record the end of {len(ends)} run(s)", error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT)

    def refuse(self) -> None:
        """Take no further ends."""
        self._closed = True

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """Let what waits be written, for at most ``timeout`` seconds. What ends later, a straggler
        that swallowed its cancellation, is refused: nothing could ever write it."""
        if self.writer is not None:
            await asyncio.wait({self.writer}, timeout=timeout)
        self.refuse()
        if (writer := self.writer) is not None:
            log.error("%d ends could not be recorded in %g s", len(self._ends), timeout)
            writer.cancel()
            await asyncio.wait({writer}, timeout=1.0)


def _settle_plainly(job: Job | None, run: Run, end: End, _: Callable[[], int]) -> Decision:
    ended = replace(
        run, state=end.outcome.state, finished_at=end.finished_at, error=end.outcome.error
    )
    return Decision(job, runs=(ended,))
