"""What becomes of the runs and deliveries of a node that is proven dead, and of a removed job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from acron.model import Decision, Outcome, Run, RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from acron.abc import Settle
    from acron.model import End, Job

_UNSENT = frozenset({"pending", "sending"})
_UNTOLD = frozenset({"failed", "unknown"})
#: How a run ends whose process is gone.
DIED = Outcome(state=RunState.UNKNOWN, error="the process died")


def states_of(run: Run) -> list[str]:
    """How its deliveries stand."""
    return [one.state for one in run.deliveries]


def is_unsent(run: Run) -> bool:
    """Whether it has ended with deliveries that somebody must still see to."""
    return run.state.ended and not _UNSENT.isdisjoint(states_of(run))


def is_untold(run: Run) -> bool:
    """Whether it has ended and somebody was not told of it, or may not have been."""
    return run.state.ended and not _UNTOLD.isdisjoint(states_of(run))


def is_of_claim(stored: Run, run: Run) -> bool:
    """Whether the deliveries of ``stored`` are still in the hands that ``run`` was in."""
    return stored.state.ended and (stored.token, stored.node) == (run.token, run.node)


def removal(runs: Iterable[Run], now: datetime) -> Decision:
    """What takes a job out, and with it what it still had to do."""
    over = RunState.CANCELLED
    cancelled = tuple(
        replace(run, state=over, finished_at=now, error="the job was removed")
        for run in runs
        if run.state is RunState.PENDING
    )
    return Decision(None, cancelled)


def inherited(settle: Settle, heir: str | None) -> Settle:
    """``settle``, but what an ended run has to deliver belongs to ``heir`` from the start: the
    next recovery must not find it with the dead."""
    if heir is None:
        return settle

    def settled(job: Job | None, run: Run, end: End, mint: Callable[[], int]) -> Decision:
        decision = settle(job, run, end, mint)
        runs = tuple(
            replace(one, node=heir) if one.state.ended and one.deliveries else one
            for one in decision.runs
        )
        return replace(decision, runs=runs)

    return settled


def adopted(run: Run, heir: str, job: Job | None) -> Run:
    """An ended run whose deliveries ``heir`` takes over; what was being sent may have arrived.
    Of a job that is gone nobody knows any more what to say: its deliveries end here."""
    deliveries = [
        replace(one, state="unknown", sender=None) if one.state == "sending" else one
        for one in run.deliveries
    ]
    if job is None:
        gone = {"state": "failed", "error": "the job was removed", "retry_at": None}
        deliveries = [replace(one, **gone) if one.state == "pending" else one for one in deliveries]
    return replace(run, node=heir, deliveries=tuple(deliveries))
