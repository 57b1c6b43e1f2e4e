"""Who stands in whose way: runs that have not ended, of a job and of all jobs with its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from acron.model import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acron.model import Decision, Job, Run

RUNNING = RunState.RUNNING  # an enum's member costs a look-up each time
#: What a database's integer can hold, with room to negate it.
_LIMIT = 1 << 62


class Lanes(Struct, eq=False):
    """Open runs as one transaction has left them so far, by job and by key.

    What is stored does not change while the transaction lasts: only what was noted differs.
    """

    _of_job: dict[str, dict[str, Run | None]] = {}  # None: it has ended
    _of_key: dict[str, dict[str, Run | None]] = {}
    _dropped: set[str] = set()

    def note(self, decision: Decision) -> None:
        """Later looks see what ``decision`` has made of its runs."""
        for run in decision.runs:
            left = None if run.state.ended else run
            self._of_job.setdefault(run.job_id, {})[run.id] = left
            if run.key is not None:
                self._of_key.setdefault(run.key, {})[run.id] = left
        self._dropped.update(decision.dropped)

    def note_keyed(self, decision: Decision) -> None:
        """``note``, but only what a look at another job can see."""
        for run in decision.runs:
            if run.key is not None:
                return self.note(decision)
        if decision.dropped:
            self.note(decision)
        return None

    def seen(self, job_id: str, key: str | None, stored: Iterable[Run]) -> tuple[Run, ...]:
        """The runs of that job and of that key: ``stored``, and what has changed since."""
        if key is None and job_id not in self._of_job and not self._dropped:
            return tuple(stored)
        found: dict[str, Run | None] = {run.id: run for run in stored}
        found.update(self._of_job.get(job_id, {}))
        if key is not None:
            found.update(self._of_key.get(key, {}))
        left = [run for run in found.values() if run is not None and run.id not in self._dropped]
        left.sort(key=_age)
        return tuple(left)


def is_news(decisions: Iterable[Decision]) -> bool:
    """Whether a claim did more than to start runs: somebody has to look at a run again."""
    for decision in decisions:
        for run in decision.runs:
            if run.state is not RUNNING or run.cancel_requested:
                return True
    return False


def rank(job: Job) -> int:
    """The place of a job among those due at the same instant: the lowest comes first."""
    priority = job.policy.priority
    return max(-_LIMIT, min(-priority, _LIMIT)) if priority else 0


def _age(run: Run) -> tuple[int, str]:
    return run.token, run.id
