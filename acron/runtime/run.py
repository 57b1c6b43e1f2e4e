"""One attempt: people's code under ``contain()``, with its bounds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from acron.model import Outcome, RunState, error_name
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acron.model import Job, Run

#: Seconds that a cancelled attempt has to clean up before it is abandoned.
CLEANUP = 5.0


class Keeper(Protocol):
    """Who keeps the attempts: the runtime."""

    def abandon(self, attempt: Attempt, outcome: Outcome) -> None: ...

    def progressed(self, attempt: Attempt, done: float, total: float | None, note: str) -> None: ...


class Attempt:
    """A claimed run that is going on in ``task``.

    ``stop`` asks it to end: it is cancelled, and after ``CLEANUP`` seconds given up by
    ``abandon``: a coroutine that swallows cancellation cannot hold anything up.
    """

    __slots__ = ("_keeper", "_timer", "abandoned", "begun", "job", "run", "stopped", "task")

    def __init__(self, job: Job, run: Run, keeper: Keeper) -> None:
        self.job = job
        self.run = run
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        self.stopped: Outcome | None = None
        self.abandoned = False
        self._keeper = keeper
        self._timer: asyncio.TimerHandle | None = None

    @property
    def label(self) -> str:
        return f"{self.job.id} {self.run.id}"

    def in_task(self) -> bool:
        """Whether its task runs right now, rather than being closed after its loop's end."""
        try:
            return asyncio.current_task() is self.task
        except RuntimeError:
            return False

    def begin(self) -> None:
        """The clock of ``timeout`` starts here."""
        self.begun = True
        timeout = self.job.policy.timeout
        if timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(
                timeout, self.stop, RunState.TIMED_OUT, f"did not end within {timeout:g} s"
            )

    def report(self, done: float, total: float | None, note: str) -> None:
        """What ``ctx.progress`` calls."""
        self._keeper.progressed(self, done, total, note)

    def stop(self, state: RunState, why: str) -> None:
        """Ask the attempt to end as ``state``. The first asker wins."""
        if self.stopped is not None:
            return
        self.stopped = Outcome(state=state, error=why)
        self.disarm()
        self._timer = asyncio.get_running_loop().call_later(CLEANUP, self.give_up)
        if self.begun and self.task is not None:
            self.task.cancel()

    def give_up(self) -> None:
        """It swallowed its cancellation: record its end without it."""
        if self.stopped is None or self.abandoned:
            return
        self.abandoned = True
        why = f"{self.stopped.error}; abandoned: it did not end when cancelled"
        self._keeper.abandon(self, Outcome(state=self.stopped.state, error=why))

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def contain(attempt: Attempt, work: Callable[[], Awaitable[str | None]]) -> Outcome:
    """The top frame of people's code: whatever it raises is the outcome of this run alone.

    ``SystemExit`` and ``KeyboardInterrupt`` would end the loop if they left the task. A
    ``CancelledError`` that nobody asked for is the job's own; one that came from outside acron
    (the host ends its loop) goes on its way.
    """
    if attempt.stopped is not None:
        return attempt.stopped
    attempt.begin()
    try:
        output = await work()
    except asyncio.CancelledError as error:
        if attempt.stopped is not None:
            return _stopped(attempt, attempt.stopped, getattr(error.__cause__, "output", None))
        if _cancelled_from_outside():
            raise
        return Outcome(
            state=RunState.FAILED,
            error="the job raised CancelledError itself",
            raised=("asyncio.exceptions.CancelledError",),
        )
    except BaseException as error:  # noqa: BLE001 (people's code may raise anything)
        if attempt.stopped is not None:
            return _stopped(attempt, attempt.stopped)
        return failed(error)
    finally:
        attempt.disarm()
    if attempt.stopped is not None:
        return _stopped(attempt, attempt.stopped, output)
    return Outcome(state=RunState.SUCCEEDED, output=output)


def failed(error: BaseException) -> Outcome:
    """An exception as an outcome: one line, the classes for ``Retry.on``, any output it has."""
    output = getattr(error, "output", None)
    text = str(error)
    name = type(error).__name__
    carries_output = isinstance(output, str)
    return Outcome(
        state=RunState.FAILED,
        output=output if carries_output else None,
        error=one_line(text if carries_output and text else f"{name}: {text}" if text else name),
        raised=tuple(error_name(kind) for kind in type(error).__mro__[:-1]),
    )


def _stopped(attempt: Attempt, outcome: Outcome, output: str | None = None) -> Outcome:
    """Take our cancellation back, so that the rest of the chain may await."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
    if output is None or attempt.abandoned:
        return outcome
    return Outcome(state=outcome.state, error=outcome.error, output=output)


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
