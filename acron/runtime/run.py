"""One attempt: people's code under ``contain()``, with its bounds."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from acron.abc import Context, Output
from acron.contain import text_of
from acron.model import Outcome, RunState, SkipReason, error_name
from acron.text import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from acron.abc import Action
    from acron.model import Job, Run

    #: Calls a registered function, sync or async, with those of the values that it takes.
    CallByName = Callable[[str, Context, Mapping[str, object]], Awaitable[object]]

#: Seconds that a cancelled attempt has to clean up before it is abandoned.
CLEANUP = 5.0

#: The common end, one value for all: success that has nothing to say.
SILENT = Outcome(state=RunState.SUCCEEDED)
#: Two readings of the loop's time that differ by no more are the same.
_SAME = 1e-6
#: ``still_relevant`` said no. A first attempt becomes a skip, a later one ends like this.
IRRELEVANT = Outcome(
    state=RunState.CANCELLED, error="no longer relevant", skip=SkipReason.IRRELEVANT
)

#: The attempt on whose behalf code runs, child tasks included.
current_attempt: ContextVar[Attempt | None] = ContextVar("current_attempt", default=None)


class Keeper(Protocol):
    """Who keeps the attempts: the runtime."""

    @property
    def call(self) -> CallByName: ...

    def abandon(self, attempt: Attempt, outcome: Outcome) -> None: ...

    def progressed(self, attempt: Attempt, done: float, total: float | None, note: str) -> None: ...


class Phase(Enum):
    """How far an attempt is. Only people's code can be cancelled, and only while it runs."""

    WAITING = auto()
    RUNNING = auto()
    DONE = auto()  # people's code has ended, or was given up


WAITING, RUNNING, DONE = Phase  # an enum's member costs a look-up each time


class Attempt(Struct, eq=False):
    """A claimed run that is going on in ``task``.

    ``stop`` asks it to end: it is cancelled, and after ``CLEANUP`` seconds given up by
    ``give_up``: a coroutine that swallows cancellation cannot hold anything up.
    """

    job: Job
    run: Run
    _keeper: Keeper
    task: asyncio.Task[None] | None = None
    phase: Phase = WAITING
    stopped: Outcome | None = None
    abandoned: bool = False
    error: BaseException | None = None  # what it raised, for ``Retry.when``
    _timer: asyncio.TimerHandle | None = None
    _idle: asyncio.TimerHandle | None = None
    _heard_at: float = 0.0

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
        """The clocks of ``timeout`` and ``idle_timeout`` start here."""
        self.phase = RUNNING
        policy = self.job.policy
        if policy.timeout is not None:
            why = f"did not end within {policy.timeout:g} s"
            self._timer = asyncio.get_running_loop().call_later(
                policy.timeout, self.stop, RunState.TIMED_OUT, why
            )
        if policy.idle_timeout is not None:
            loop = asyncio.get_running_loop()
            self._heard_at = loop.time()
            self._idle = loop.call_later(policy.idle_timeout, self._listen, policy.idle_timeout)

    def _listen(self, bound: float) -> None:
        """Stop it if it was silent for ``bound`` seconds. One timer a silence, however often the
        run tells of its progress."""
        loop = asyncio.get_running_loop()
        self._idle = None
        silent = loop.time() - self._heard_at
        if silent >= bound - _SAME:
            self.stop(RunState.TIMED_OUT, f"told of no progress for {bound:g} s")
        else:
            self._idle = loop.call_later(bound - silent, self._listen, bound)

    def end(self) -> None:
        """People's code is over: what stops it from now on comes too late."""
        self.phase = DONE
        if self._timer is not None or self._idle is not None:
            self._disarm()

    def report(self, done: float, total: float | None, note: str) -> None:
        """What ``ctx.progress`` calls."""
        if self._idle is not None:
            self._heard_at = asyncio.get_running_loop().time()
        self._keeper.progressed(self, done, total, note)

    def stop(self, state: RunState, why: str) -> None:
        """Ask the attempt to end as ``state``. The first asker wins."""
        if self.stopped is not None or self.phase is DONE:
            return
        self.stopped = Outcome(state=state, error=why)
        self._disarm()
        if self.phase is RUNNING and self.task is not None:
            self._timer = asyncio.get_running_loop().call_later(CLEANUP, self.give_up)
            self.task.cancel()

    def give_up(self, why: str = "abandoned: it did not end when cancelled") -> None:
        """Wait for it no longer: record its end without it."""
        if self.stopped is None or self.phase is not RUNNING:
            return
        self.end()
        self.abandoned = True
        error = f"{self.stopped.error}; {why}"
        self._keeper.abandon(self, Outcome(state=self.stopped.state, error=error))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    async def ready(self, context: Context) -> bool:
        """The steps of a run before its work; False when that is wanted no more. A manual run
        was asked for, and is not questioned."""
        policy, call = self.job.policy, self._keeper.call
        relevant = None if self.run.scheduled_at is None else policy.still_relevant
        if relevant is not None and not await call(relevant, context, {}):
            return False
        if policy.before is not None:
            await call(policy.before, context, {})
        return True


async def contain(attempt: Attempt, action_of: Callable[[Job], Action]) -> Outcome:
    """The top frame of people's code: whatever it raises is the outcome of this run alone.

    ``SystemExit`` and ``KeyboardInterrupt`` would end the loop if they left the task. A
    ``CancelledError`` that acron did not ask for is the job's own doing, or its host's: either
    way this run has failed, and its end is recorded.
    """
    if attempt.stopped is not None:
        attempt.end()
        return attempt.stopped
    current_attempt.set(attempt)
    attempt.begin()
    try:
        job = attempt.job
        policy = job.policy
        context = Context(job, attempt.run, attempt.report)
        prepared = policy.still_relevant is not None or policy.before is not None
        if prepared and not await attempt.ready(context):
            attempt.end()
            _uncancel()
            return attempt.stopped or replace(IRRELEVANT, claimed=job)
        output = await action_of(job).run(job.action, context)
    except BaseException as error:  # noqa: BLE001 (people's code may raise anything)
        attempt.end()
        _uncancel()
        if attempt.stopped is not None:
            return _said(attempt.stopped, getattr(error.__cause__, "output", None))
        if attempt.job.policy.retry is not None:
            attempt.error = error
        return failed(error)
    attempt.end()
    if attempt.stopped is not None:
        _uncancel()
        return _said(attempt.stopped, output)
    if output is None:
        return SILENT
    if not isinstance(output, str):
        return failed(TypeError(f"the action gave {type(output).__name__}, not text"))
    return _said(Outcome(state=RunState.SUCCEEDED), output)


def failed(error: BaseException) -> Outcome:
    """An exception as an outcome: one line, the classes for ``Retry.on``, any output it has."""
    try:
        output = getattr(error, "output", None)
    except BaseException:  # noqa: BLE001 (people's code)
        output = None
    carries_output = isinstance(output, str)
    text = text_of(error)
    if carries_output:  # an action's own words, which need no class before them
        text = text.partition(": ")[2] or text
    if isinstance(error, asyncio.CancelledError):
        text = f"the job was cancelled by itself or its host ({text})"
    raised = tuple(error_name(kind) for kind in type(error).__mro__[:-1])
    return _said(Outcome(state=RunState.FAILED, error=one_line(text), raised=raised), output)


def _said(outcome: Outcome, output: object) -> Outcome:
    """``outcome`` with the output that an action gave."""
    if isinstance(output, Output):
        return replace(outcome, output=str(output), files=output.files, whole=output.whole)
    return replace(outcome, output=output) if isinstance(output, str) else outcome


def _uncancel() -> None:
    """Take cancellations back, so that the rest of the chain may await."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


class Escaped(Exception):
    """A child task of a job raised SystemExit or KeyboardInterrupt, which would end the loop."""


def contain_children(loop: asyncio.AbstractEventLoop) -> None:
    """Let no task that a job makes end the loop. For a loop that is ours alone: the daemon's."""

    def make(
        loop: asyncio.AbstractEventLoop, work: object, **options: object
    ) -> asyncio.Task[object]:
        if current_attempt.get() is not None and asyncio.iscoroutine(work):
            work = _contained_child(work)
        return asyncio.Task(work, loop=loop, **options)  # type: ignore[arg-type]

    loop.set_task_factory(make)  # type: ignore[arg-type]


async def _contained_child(work: Awaitable[object]) -> object:
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise Escaped(text_of(error)) from error
