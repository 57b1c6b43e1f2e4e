"""Write how a run ended: finished, to be retried, or the job paused. Group commit."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.contain import meant_for_us
from acron.errors import StoreError
from acron.model import OUTPUT_LIMIT, Decision, Delivery, End, Job, Outcome, Retry, Run, RunState
from acron.specs import Command
from acron.text import cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.abc import Settle, Store

log = logging.getLogger("acron.runtime")

SUCCEEDED = RunState.SUCCEEDED  # an enum's member costs a look-up each time
_FAILURES = frozenset({RunState.FAILED, RunState.TIMED_OUT})
_CUT_SHORT = frozenset({RunState.INTERRUPTED, RunState.UNKNOWN})
_LONGEST_WAIT = 5.0
#: Attempts of an idempotent job that was cut short: one that kills its process ends here.
RERUNS = 10


def settle(job: Job | None, run: Run, end: End, mint: Callable[[], int]) -> Decision:
    """What the end of ``run`` makes of it and of its job. Pure."""
    outcome = end.outcome
    said = outcome.output or outcome.files
    if outcome.state is SUCCEEDED and not said and job is not None:  # the common end
        ended = replace(run, state=SUCCEEDED, finished_at=end.finished_at)
        return Decision(replace(job, failures=0) if job.failures else job, runs=(ended,))
    ended = replace(
        run,
        state=outcome.state,
        finished_at=end.finished_at,
        output=outcome.output and cut(outcome.output, OUTPUT_LIMIT),
        error=outcome.error,
        files=outcome.files,
    )
    if job is None:
        return Decision(None, runs=(ended,))
    wait = _retry_in(job, run, outcome)
    if wait is not None:
        again = Run(
            id=f"r{mint()}",
            job_id=job.id,
            scheduled_at=run.scheduled_at,
            attempt=run.attempt + 1,
            due_at=end.finished_at + timedelta(seconds=wait),
        )
        return Decision(job, runs=(ended, again))
    if deliveries := _deliveries(job, ended):
        ended = replace(ended, deliveries=deliveries)
    return Decision(_streak(job, ended), runs=(ended,))


def _retry_in(job: Job, run: Run, outcome: Outcome) -> float | None:
    """Seconds until the next attempt; None when this one was the last."""
    if outcome.state in _CUT_SHORT:
        again = job.policy.idempotent and run.attempt < RERUNS
        return 0.0 if again else None
    retry = job.policy.retry
    if retry is None or outcome.state not in _FAILURES or run.attempt >= retry.attempts:
        return None
    if outcome.raised and not set(retry.on) & set(outcome.raised):
        return None
    return backoff(retry, run)


def backoff(retry: Retry, run: Run) -> float:
    """Seconds to wait after the failed ``run``: exponential, capped, and lengthened by a jitter
    that comes from a hash of the run's id, so that the same run always waits the same."""
    try:
        wait = min(retry.delay * retry.factor ** (run.attempt - 1), retry.max_delay)
    except OverflowError:
        wait = retry.max_delay
    spread = blake2b(run.id.encode(), digest_size=4).digest()
    return wait * (1 + retry.jitter * int.from_bytes(spread, "big") / 2**32)


def _streak(job: Job, ended: Run) -> Job:
    """Count failures in a row; at ``pause_after`` of them the job pauses itself."""
    if ended.state is RunState.SUCCEEDED:
        return replace(job, failures=0) if job.failures else job
    if ended.state not in _FAILURES:
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
    """Who is to be told. Silence is for success without output, never for a failure."""
    if ended.state in {RunState.INTERRUPTED, RunState.CANCELLED}:
        return ()
    succeeded = ended.state is RunState.SUCCEEDED
    if succeeded and not (ended.output or "").strip() and not ended.files:
        return ()
    if not succeeded and job.policy.deliver_failure is not None:
        targets = job.policy.deliver_failure
    elif job.deliver is not None:
        targets = job.deliver
    else:
        targets = ("local",) if isinstance(job.action, Command) else ()
    return tuple(Delivery(target) for target in targets)


class Recorder:
    """Gathers ends while a commit is in flight and writes them together.

    Whoever ends a run is told only when that is durable. A store that fails is tried again
    until it takes them: an end is never dropped while the process lives. An end that no
    transaction can settle is written down as a failure, so that its siblings are not held.
    """

    def __init__(self, store: Store, trouble: Callable[[str, BaseException], None]) -> None:
        self._store = store
        self._trouble = trouble
        self._waiting: list[tuple[End, asyncio.Future[Decision | None]]] = []
        self._writer: asyncio.Task[None] | None = None

    def record(self, end: End) -> asyncio.Future[Decision | None]:
        """A future for the decision that was stored, once it is durable; for None when the end
        was rejected: the run is not ours."""
        future: asyncio.Future[Decision | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((end, future))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="acron-recorder")
        return future

    async def _write(self) -> None:
        batch: list[tuple[End, asyncio.Future[Decision | None]]] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                decisions = await self._commit([end for end, _ in batch])
                for (_, future), decision in zip(batch, decisions, strict=True):
                    if not future.done():
                        future.set_result(decision)
        finally:
            self._writer = None
            for _, future in (*batch, *self._waiting):
                if not future.done():
                    future.set_exception(StoreError("the end of a run was not recorded"))

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
                self._trouble(f"cannot record the end of {len(ends)} runs", error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT)

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """Let what waits be written, for at most ``timeout`` seconds."""
        writer = self._writer
        if writer is None:
            return
        _, late = await asyncio.wait({writer}, timeout=timeout)
        if late:
            log.error("%d ends could not be recorded in %g s", len(self._waiting), timeout)
            writer.cancel()
            await asyncio.wait({writer}, timeout=1.0)


def _settle_plainly(job: Job | None, run: Run, end: End, _: Callable[[], int]) -> Decision:
    ended = replace(
        run, state=end.outcome.state, finished_at=end.finished_at, error=end.outcome.error
    )
    return Decision(job, runs=(ended,))
