"""The runs that go on in this process: their slots, their stragglers, their bounded end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from acron.model import Outcome, Run, RunState
from acron.runtime.run import CLEANUP

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from acron.runtime.run import Attempt

log = logging.getLogger("acron.runtime")
#: One line an end; a program that shows ends as events may leave these out.
ends = logging.getLogger("acron.runtime.ends")


class Attempts:
    """Each claimed run from its start to its durable end, and those that would not end.

    ``own`` makes a task that the runtime awaits; ``freed`` is told when a slot is free again.
    """

    def __init__(
        self,
        own: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        freed: Callable[[], None],
    ) -> None:
        self._own = own
        self._freed = freed
        self._live: dict[str, Attempt] = {}
        self._abandoned: dict[asyncio.Task[None], str] = {}
        self._waiters: dict[str, list[asyncio.Future[Run]]] = {}
        self._hurry = asyncio.Event()
        self._draining = False

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._live

    @property
    def abandoned(self) -> tuple[str, ...]:
        """The labels of attempts that were given up and still run."""
        return tuple(self._abandoned.values())

    def start(self, attempt: Attempt, work: Coroutine[Any, Any, None]) -> None:
        self._live[attempt.run.id] = attempt
        attempt.task = self._own(work, f"acron-run-{attempt.run.id}")

    def release(self, attempt: Attempt) -> None:
        """Its slot is free. What waited for it may go on."""
        if self._live.pop(attempt.run.id, None) is not None:
            self._freed()

    def abandon(self, attempt: Attempt, outcome: Outcome) -> None:
        """It did not end when cancelled: keep count of it, and expect nothing of it."""
        task = attempt.task
        if task is not None and not task.done():
            self._abandoned[task] = attempt.label
            task.add_done_callback(self._returned)
        log.error("run %s is left behind: %s", attempt.label, outcome.error)

    def _returned(self, task: asyncio.Task[None]) -> None:
        label = self._abandoned.pop(task, "?")
        log.warning("run %s, abandoned before, has ended; its outcome stays", label)

    def is_abandoned(self, task: asyncio.Task[Any]) -> bool:
        return task in self._abandoned

    def stop(self, run_id: str, state: RunState, why: str) -> bool:
        """Ask one run to end; False when it is not here."""
        attempt = self._live.get(run_id)
        if attempt is None:
            return False
        attempt.stop(state, why)
        return True

    def ended(self, run: Run, retry: Run | None) -> None:
        """A run's end is durable: log it, and tell whoever waits for it."""
        if run.error or ends.isEnabledFor(logging.INFO):
            _log_end(run, retry)
        for waiter in self._waiters.get(run.id, ()):
            if not waiter.done():
                waiter.set_result(run)

    async def wait(self, run_id: str, timeout: float) -> None:  # noqa: ASYNC109 (a bound)
        """Until the run ends here, or ``timeout`` seconds have passed: look again then."""
        future: asyncio.Future[Run] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(run_id, [])
        waiters.append(future)
        try:
            await asyncio.wait({future}, timeout=timeout)
        finally:
            waiters.remove(future)
            if not waiters:
                self._waiters.pop(run_id, None)

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 (a bound, not a deadline)
        """Give the runs ``timeout`` seconds (none once hurried), then interrupt them. Waits for
        their ends to be recorded, for as long as cleaning up may take."""
        self._draining = True
        tasks = [one.task for one in self._live.values() if one.task is not None]
        if tasks and timeout > 0 and not self._hurry.is_set():
            hurry = asyncio.create_task(self._hurry.wait())
            ended = asyncio.create_task(asyncio.wait(tasks))
            await asyncio.wait({hurry, ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
            ended.cancel()
        for attempt in list(self._live.values()):
            attempt.stop(RunState.INTERRUPTED, "acron is shutting down")
        late = [one.task for one in self._live.values() if one.task is not None]
        if late:
            await asyncio.wait(late, timeout=CLEANUP + 1.0)

    @property
    def closing(self) -> bool:
        """Whether the time that a drain gives has begun: what starts now was not in it."""
        return self._draining or self._hurry.is_set()

    @property
    def hurried(self) -> bool:
        return self._hurry.is_set()

    def hurry(self) -> None:
        """Cut a drain short: interrupt what runs, and record it without waiting for it."""
        self._hurry.set()
        for attempt in list(self._live.values()):
            attempt.stop(RunState.INTERRUPTED, "acron is shutting down")
            attempt.give_up("told to end at once, it was not waited for")


def _log_end(run: Run, retry: Run | None) -> None:
    after = f", attempt {retry.attempt} at {retry.due_at.isoformat()}" if retry else ""
    took = ((run.finished_at or run.due_at) - (run.started_at or run.due_at)).total_seconds()
    state = run.state.value
    if run.error:
        ends.warning(
            "%s %s %s after %.3f s: %s%s", run.job_id, run.id, state, took, run.error, after
        )
    else:
        ends.info("%s %s %s after %.3f s%s", run.job_id, run.id, state, took, after)
