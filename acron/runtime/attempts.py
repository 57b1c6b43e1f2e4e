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
    from acron.runtime.tasks import Tasks

log = logging.getLogger("acron.runtime")
#: One line an end; a program that shows ends as events may leave these out.
ends = logging.getLogger("acron.runtime.ends")


class Attempts:
    """Each claimed run from its start to its durable end, and those that would not end.

    ``freed`` is told when a slot is free again, and whether all are.
    """

    def __init__(self, tasks: Tasks, freed: Callable[[bool], None]) -> None:
        self._tasks = tasks
        self._freed = freed
        self._live: dict[str, Attempt] = {}  # holds their tasks: a loop holds them weakly
        self._delivering: set[asyncio.Task[None]] = set()
        self._abandoned: dict[asyncio.Task[None], str] = {}
        self._waiters: dict[str, list[asyncio.Future[Run]]] = {}
        self._idle: asyncio.Future[None] | None = None  # while a drain waits for it
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

    @property
    def going(self) -> list[asyncio.Task[None]]:
        """The tasks that are still to end; of those that were given up nothing is expected."""
        tasks = [one.task for one in self._live.values() if one.task is not None]
        return [task for task in tasks if not task.done() and task not in self._abandoned]

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel what goes on, given up or not; returns it."""
        tasks = [*self.going, *self._abandoned]
        for task in tasks:
            task.cancel()
        return tasks

    def start(self, attempt: Attempt, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` in a task, which ends with people's code. It contains what it raises."""
        run_id = attempt.run.id
        self._live[run_id] = attempt
        attempt.task = self._tasks.start(work, f"acron-run-{run_id}")

    def release(self, attempt: Attempt) -> None:
        """Its slot is free. What waited for it may go on."""
        if self._live.pop(attempt.run.id, None) is not None:
            self._freed(not self._live)
            if self._idle is not None:  # once it has said what it has to deliver
                asyncio.get_running_loop().call_soon(self._rest)

    def deliver(self, run: Run, work: Coroutine[Any, Any, object]) -> None:
        """What an ended run still has to do: a drain waits for that too."""
        task = self._tasks.do(work, f"deliver {run.id}")
        self._delivering.add(task)
        task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._delivering.discard(task)
        self._rest()

    def _rest(self) -> None:
        """Let a drain go on if it has nothing more to wait for."""
        if self._idle is not None and not (self._live or self._delivering or self._idle.done()):
            self._idle.set_result(None)

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
        if self._waiters:
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
        if self._idle is None or self._idle.done():
            self._idle = asyncio.get_running_loop().create_future()
        self._rest()
        if not self._idle.done() and timeout > 0 and not self._hurry.is_set():
            hurry = asyncio.create_task(self._hurry.wait())
            either: set[asyncio.Future[Any]] = {hurry, self._idle}
            await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
        for attempt in list(self._live.values()):
            attempt.stop(RunState.INTERRUPTED, "acron is shutting down")
        self._delivering.clear()  # these have had their time
        self._rest()
        await asyncio.wait({self._idle}, timeout=CLEANUP + 1.0)

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
