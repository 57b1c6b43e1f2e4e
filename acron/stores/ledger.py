"""What became of occurrences, in memory: runs and skips, by id, job and age."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from acron.model import RunState
from acron.stores.dead import is_unsent, is_untold, states_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from acron.model import Run, Skip

# An enum's members cost a descriptor call each time they are looked up.
PENDING = RunState.PENDING
RUNNING = RunState.RUNNING


class Ledger:
    """Runs and skips; the half of a ``Book`` that is not jobs."""

    __slots__ = (
        "_ends_from",
        "_fresh",
        "_newest",
        "_of_job",
        "_skips_of",
        "_sorted",
        "lanes",
        "open",
        "pending",
        "runs",
        "skips",
        "unsent",
        "untold",
    )

    def __init__(self) -> None:
        self.pending: dict[str, Run] = {}
        self.runs: dict[str, Run] = {}  # running and ended, by token
        self.open: dict[str, dict[str, Run]] = {}  # pending and running, by job
        self.lanes: dict[str, dict[str, Run]] = {}  # the same, by key
        self.unsent: dict[str, Run] = {}  # ended, with deliveries to make
        self.untold: dict[str, Run] = {}  # ended, with deliveries that failed, or may have
        self.skips: list[Skip] = []  # oldest first
        self._skips_of: dict[str, list[Skip]] = {}  # the same, by job
        #: Ids in ``runs``, by job; a tuple while there is one, which the collector lets go of.
        self._of_job: dict[str, tuple[str] | list[str]] = {}
        self._newest = 0  # the largest token of them
        self._sorted = True  # whether ``runs`` is in the order of tokens
        self._fresh: list[str] = []  # ids in ``runs`` that these know nothing of yet
        self._ends_from: datetime | None = None  # no run in ``runs`` has ended before that

    def run(self, run_id: str) -> Run | None:
        return self.runs.get(run_id) or self.pending.get(run_id)

    def list_runs(
        self, job_id: str | None, state: RunState | None, node: str | None, limit: int
    ) -> list[Run]:
        """See ``Store.runs``."""
        if job_id is not None:
            rows: Iterable[Run] = self._runs_of(job_id)
        elif state is PENDING or state is RUNNING:
            rows = (run for opened in self.open.values() for run in opened.values())
        else:
            rows = self._newest_first(state, node, limit)
        found = [run for run in rows if _answers(run, state, node)]
        found.sort(key=_newness, reverse=True)
        return found[: max(limit, 0)]

    def _runs_of(self, job_id: str) -> Iterator[Run]:
        for run_id in self._history().get(job_id, ()):
            yield self.runs[run_id]
        for run in self.open.get(job_id, {}).values():
            if run.state is PENDING:
                yield run

    def _in_order(self) -> Iterator[Run]:
        """What was claimed, newest first."""
        self._history()
        self._sort()
        return reversed(self.runs.values())

    def _newest_first(self, state: RunState | None, node: str | None, limit: int) -> Iterator[Run]:
        claimed = (run for run in self._in_order() if _answers(run, state, node))
        yield from islice(claimed, max(limit, 0))
        yield from self.pending.values()

    def list_skips(self, job_id: str | None, limit: int) -> list[Skip]:
        rows = self.skips if job_id is None else self._skips_of.get(job_id, [])
        return list(islice(reversed(rows), max(limit, 0)))

    def deliveries(self, state: str | None, limit: int) -> list[Run]:
        """See ``Store.deliveries``."""
        runs: Iterable[Run]
        if state in {None, "delivered", "unverified"}:  # what most are
            runs = (run for run in self._in_order() if run.deliveries and run.state.ended)
        else:
            rare = self.unsent if state in {"pending", "sending"} else self.untold
            runs = sorted(rare.values(), key=_newness, reverse=True)
        found = (run for run in runs if state is None or state in states_of(run))
        return list(islice(found, max(limit, 0)))

    def standing(self, job_id: str, key: str | None) -> Iterable[Run]:
        """The open runs of a job and of its key, each once."""
        own = self.open.get(job_id, {})
        lane = None if key is None else self.lanes.get(key)
        return own.values() if lane is None else (lane | own).values()

    def nodes_at_work(self) -> set[str | None]:
        """Nodes with a run to end or a delivery to make."""
        busy = {run.node for opened in self.open.values() for run in opened.values()}
        return busy | {run.node for run in self.unsent.values()}

    # keeping and forgetting

    def _keep(self, run: Run) -> bool:
        """Keep ``run``; whether it waits for its time."""
        run_id, job_id, state = run.id, run.job_id, run.state
        opened = self.open.get(job_id)
        if run.key is not None:
            self._keep_lane(run.key, run)
        if state is RUNNING or state is PENDING:
            if opened is None:
                self.open[job_id] = {run_id: run}
            else:
                opened[run_id] = run
            if state is PENDING:
                self.pending[run_id] = run
                return True
        else:
            if opened is not None and opened.pop(run_id, None) is not None and not opened:
                del self.open[job_id]
            first, end = self._ends_from, run.finished_at
            if end is not None and (first is None or end < first):
                self._ends_from = end
            if run.deliveries:
                self._keep_told(run)
        if run_id not in self.runs:  # claimed, or ended unclaimed: it waits no more
            self._fresh.append(run_id)
            if self.pending:
                self.pending.pop(run_id, None)
        self.runs[run_id] = run
        return False

    def _keep_told(self, run: Run) -> None:
        for place, is_there in ((self.unsent, is_unsent(run)), (self.untold, is_untold(run))):
            if is_there:
                place[run.id] = run
            else:
                place.pop(run.id, None)

    def _keep_lane(self, key: str, run: Run) -> None:
        lane = self.lanes.setdefault(key, {})
        if run.state.ended:
            lane.pop(run.id, None)
        else:
            lane[run.id] = run
        if not lane:
            del self.lanes[key]

    def _drop(self, run_id: str) -> None:
        """It never was: its occurrence is a skip."""
        run = self.pending.pop(run_id, None)
        if run is None:
            history = self._history()
            run = self.runs.pop(run_id, None)
            if run is None:
                return
            left = [one for one in history[run.job_id] if one != run_id]
            if left:
                history[run.job_id] = left
            else:
                del history[run.job_id]
        self._drop_told(run_id)
        for index, of in ((self.open, run.job_id), (self.lanes, run.key)):
            group = {} if of is None else index.get(of, {})
            if group.pop(run_id, None) is not None and not group and of is not None:
                del index[of]

    def _drop_told(self, run_id: str) -> None:
        self.unsent.pop(run_id, None)
        self.untold.pop(run_id, None)

    def _keep_skips(self, skips: Iterable[Skip]) -> None:
        for skip in skips:
            self.skips.append(skip)
            mine = self._skips_of.get(skip.job_id)
            if mine is None:
                self._skips_of[skip.job_id] = [skip]
            else:
                mine.append(skip)

    def _history(self) -> dict[str, tuple[str] | list[str]]:
        """Ids in ``runs``, by job, oldest first; brought up to date when asked for."""
        of_job = self._of_job
        for run_id in self._fresh:
            run = self.runs[run_id]
            ids = of_job.get(run.job_id)
            if ids is None:
                of_job[run.job_id] = (run_id,)
            elif isinstance(ids, list):
                ids.append(run_id)
            else:
                of_job[run.job_id] = [*ids, run_id]
            if run.token <= self._newest:
                self._sorted = False
            else:
                self._newest = run.token
        self._fresh.clear()
        return of_job

    def _sort(self) -> None:
        """Some that were never claimed have ended: they are older than all others."""
        if not self._sorted:
            self.runs = dict(sorted(self.runs.items(), key=lambda item: _newness(item[1])))
            for ids in self._of_job.values():
                if isinstance(ids, list):
                    ids.sort(key=lambda run_id: _newness(self.runs[run_id]))
            self._sorted = True

    def _forget(self, before: datetime, keep: int) -> None:
        gone = list(self._old_runs(before, keep))
        history = self._history()
        for run in gone:
            del self.runs[run.id]
            self._drop_told(run.id)
        for job_id in {run.job_id for run in gone}:
            left = list(filter(self.runs.__contains__, history[job_id]))
            if left:
                history[job_id] = left
            else:
                del history[job_id]
        if self._ends_from is not None and self._ends_from < before:
            self._ends_from = before
        kept, self.skips, self._skips_of = self._kept_skips(before, keep), [], {}
        self._keep_skips(kept)

    def _old_runs(self, before: datetime, keep: int) -> Iterator[Run]:
        unsent = self.unsent
        some_old = self._ends_from is not None and self._ends_from < before
        busy = Counter(run.job_id for run in unsent.values())
        busy.update(
            run.job_id
            for opened in self.open.values()
            for run in opened.values()
            if run.state is RUNNING
        )
        history = self._history()
        self._sort()
        runs = self.runs
        for job_id, run_ids in history.items():
            if len(run_ids) <= keep and not some_old:
                continue  # the common case, every hour, of however many runs
            excess = max(len(run_ids) - busy[job_id] - keep, 0)
            for run in map(runs.__getitem__, run_ids):
                if not (excess or some_old):
                    break
                if excess and run.state is not RUNNING and run.id not in unsent:
                    excess -= 1
                    yield run
                elif run.finished_at is not None and run.finished_at < before:
                    yield run

    def _kept_skips(self, before: datetime, keep: int) -> list[Skip]:
        counts: dict[str, int] = {}
        kept: list[Skip] = []
        for skip in reversed(self.skips):
            count = counts[skip.job_id] = counts.get(skip.job_id, 0) + 1
            if count <= keep and (skip.recorded_at or skip.scheduled_at) >= before:
                kept.append(skip)
        kept.reverse()
        return kept


def _answers(run: Run, state: RunState | None, node: str | None) -> bool:
    return (state is None or run.state is state) and (node is None or run.node == node)


def _newness(run: Run) -> tuple[int, str]:
    return run.token, run.id
