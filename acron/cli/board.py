"""What the live view knows: what comes next, what goes on, what has been."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from acron.cli.render import gist, took
from acron.errors import AcronError
from acron.events import Event, Finished, Progressed, Skipped, Started, Troubled
from acron.status import health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime

    from acron.app import Acron
    from acron.model import Job, Run

#: How many ends, and how many jobs to come, the view remembers.
KEPT, AHEAD = 50, 6
#: Looking for the next jobs takes one part in so many of the time; seconds between
SPARING, OFTEN = 50, 0.25


@dataclass(frozen=True)
class Going:
    """A run in progress, and how far it says it is."""

    job: Job
    run: Run
    done: float | None = None
    total: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Past:
    """Something that has come to its end: ``word`` is an outcome, or ``skipped``."""

    at: datetime
    job_id: str
    word: str
    run_id: str = ""
    seconds: float | None = None
    said: str = ""


@dataclass
class Board:
    """The state of the view. ``see`` takes events, ``plan`` the jobs; nothing else changes it."""

    store: str
    tz: str
    since: datetime
    hint: str = ""  # how to add a first job
    provider: str = ""
    state: str = "starting"
    error: str = ""
    jobs: int | None = None
    upcoming: tuple[Job, ...] = ()
    running: dict[str, Going] = field(default_factory=dict)
    recent: deque[Past] = field(default_factory=lambda: deque(maxlen=KEPT))
    counts: Counter[str] = field(default_factory=Counter)

    def plan(self, jobs: Iterable[Job], count: int) -> None:
        """``jobs`` are the next to fire, in order; ``count`` is how many there are in all."""
        self.upcoming = tuple(jobs)
        self.jobs = count

    def see(self, event: Event) -> None:
        """Take note of what happened."""
        match event:
            case Started(job=job, run=run):
                self.running[run.id] = Going(job, run)
            case Progressed(job=job, run=run, done=done, total=total, note=note):
                if run.id in self.running:
                    self.running[run.id] = Going(job, run, done, total, note)
            case Finished(at=at, job=job, run=run):
                self.running.pop(run.id, None)
                said = gist(run, 200)
                self._end(Past(at, job.id, run.state.value, run.id, took(run), said))
            case Skipped(at=at, job=job, skip=skip):
                for one in [one.run for one in self.running.values() if one.job.id == job.id]:
                    if one.scheduled_at == skip.scheduled_at:  # it turned out to be irrelevant
                        del self.running[one.id]
                times = f", {skip.count} times" if skip.count > 1 else ""
                self._end(Past(at, job.id, "skipped", said=f"{skip.reason.value}{times}"))
            case Troubled(error=error):
                self.error = error

    def _end(self, past: Past) -> None:
        self.recent.appendleft(past)
        self.counts[past.word] += 1

    async def follow(self, events: AsyncIterator[Event]) -> None:
        """See all ``events``."""
        async for event in events:
            self.see(event)


async def keep_planned(app: Acron, board: Board) -> None:
    """Look again and again for the jobs that come next, sparingly where there are many."""
    while True:
        node, begun = app.node, app.clock.monotonic()
        if node is not None:
            board.provider = node.provider
            board.state = "draining" if node.draining else health(node, app.clock.now())
            board.error = node.last_error or board.error
            try:
                board.plan(*await _plan(app))
            except AcronError as error:
                board.state, board.error = "failing", str(error)
        await asyncio.sleep(max(OFTEN, SPARING * (app.clock.monotonic() - begun)))


async def _plan(app: Acron) -> tuple[list[Job], int]:
    """The next jobs to fire, in order, and how many there are in all."""
    count = 0
    nearest: list[tuple[float, str, Job]] = []
    async for job in app.jobs():
        count += 1
        if job.due_at is not None:
            entry = (-job.due_at.timestamp(), job.id, job)
            (heapq.heappushpop if len(nearest) >= AHEAD else heapq.heappush)(nearest, entry)
    return [job for *_, job in sorted(nearest, key=lambda entry: (-entry[0], entry[1]))], count
