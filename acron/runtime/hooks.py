"""The functions that a job names beside its action, called by name, contained and bounded.

``still_relevant`` and ``before`` are steps of the run, and stand in ``run.py``. What is here is
asked or told when an attempt is over, and never changes what came of it.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from acron.abc import Context
from acron.contain import meant_for_us
from acron.runtime.record import FAILURES, worth_retrying
from acron.runtime.run import CLEANUP

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.abc import CallByName
    from acron.model import Job, Outcome, Run
    from acron.runtime.run import Attempt

#: Seconds that ``after`` and ``on_error`` may take. ``Retry.when`` holds the end of its run, and
#: has no longer than a run that is told to end.
HOOK_TIMEOUT = 60.0


class Hooks:
    """``call`` calls a registered function; ``trouble`` is told of those that fail."""

    def __init__(
        self, call: CallByName, trouble: Callable[[str, BaseException | None], None]
    ) -> None:
        self._call = call
        self._trouble = trouble
        self._stuck: dict[asyncio.Task[Any], str] = {}

    @property
    def abandoned(self) -> tuple[str, ...]:
        """Hooks that were given up and would not end."""
        return tuple(self._stuck.values())

    async def judged(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        """A failure with what ``Retry.when`` says of it; on its silence the retry stands."""
        job, run, retry = attempt.job, attempt.run, attempt.job.policy.retry
        error, attempt.error = attempt.error, None  # its traceback holds the job's frames
        if retry is None or retry.when is None or not worth_retrying(retry, run, outcome):
            return outcome
        values = {"error": error or TimeoutError(outcome.error), "attempt": run.attempt}
        again = await self._bounded(retry.when, job, run, values, CLEANUP)
        if isinstance(again, bool) or again is None:
            return replace(outcome, again=again)
        if isinstance(again, int | float) and 0 <= again < math.inf:
            return replace(outcome, again=float(again))
        self._trouble(f"{retry.when} of {attempt.label} gave {again!r:.80}, no answer", None)
        return outcome

    async def tell(self, job: Job, ended: Run) -> None:
        """The end is durable: ``on_error``, then ``after``."""
        policy = job.policy
        if policy.on_error is not None and ended.state in FAILURES:
            await self._bounded(policy.on_error, job, ended, {"run": ended}, HOOK_TIMEOUT)
        if policy.after is not None:
            await self._bounded(policy.after, job, ended, {"run": ended}, HOOK_TIMEOUT)

    async def _bounded(
        self, name: str, job: Job, run: Run, values: dict[str, object], bound: float
    ) -> object:
        """What the function gave; None when it failed, or did not end in time."""
        label = f"{name} of {job.id} {run.id}"
        task = asyncio.create_task(self._contained(name, job, run, values, label))
        try:
            done, _ = await asyncio.wait({task}, timeout=bound)
        finally:
            task.cancel()
        if done:
            return task.result()
        self._stuck[task] = label
        task.add_done_callback(lambda late: self._stuck.pop(late, None))
        self._trouble(f"{label} did not end within {bound:g} s", None)
        return None

    async def _contained(
        self, name: str, job: Job, run: Run, values: dict[str, object], label: str
    ) -> object:
        try:
            return await self._call(name, Context(job, run, _unheard), values)
        except BaseException as error:
            if meant_for_us(error):
                raise
            self._trouble(label, error)
            return None


def _unheard(_: float, __: float | None, ___: str) -> None:
    """The run is over: its progress interests nobody."""
