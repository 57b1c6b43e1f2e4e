"""A ``Firing`` that follows a script: what a provider is given where there is no runtime."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from acron.abc import Answer, Armed, Fired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

#: What ``armed`` counts from.
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeFiring:
    """A ``Firing`` that follows a script and writes down what is asked of it.

    ``dues`` are instants owed, in seconds from now; ``tick`` takes those that have come. It
    first raises what is in ``failures``, one a tick, or ``failing`` each time. Each tick lasts
    ``takes`` seconds. ``changed`` times out up to ``early`` seconds too soon, as some loops do.
    ``on_await`` is called with the count of every await point that is passed.
    """

    def __init__(self, *dues: float, takes: float = 0.0, early: float = 0.0) -> None:
        self.dues = sorted(dues)
        self.takes = takes
        self.early = early
        self.failures: deque[BaseException] = deque()
        self.failing: BaseException | None = None
        self.answer = Fired.CLAIMED
        self.on_await: Callable[[int], object] | None = None
        #: When ticks began, when they ended well, and the instants they took.
        self.ticks: list[float] = []
        self.ended: list[float] = []
        self.taken: list[tuple[float, float]] = []
        #: What was asked of ``changed``, and of ``fire``.
        self.waits: list[float] = []
        self.fired: list[tuple[str, datetime | None]] = []
        #: How often ``armed`` was read to its end.
        self.armings = 0
        self._awaits = 0
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._change = asyncio.Event()

    @property
    def now(self) -> float:
        return self._loop.time() - self._start

    def change(self, *dues: float) -> None:
        """Jobs change: ``dues`` are owed too, and ``changed`` wakes."""
        self.dues = sorted([*self.dues, *dues])
        self._change.set()

    async def due_in(self) -> float | None:
        await self._pass()
        return max(self.dues[0] - self.now, 0.0) if self.dues else None

    async def tick(self) -> int:
        self.ticks.append(self.now)
        await self._pass()
        if self.failures:
            raise self.failures.popleft()
        if self.failing is not None:
            raise self.failing
        if self.takes:
            await asyncio.sleep(self.takes)
        due = [instant for instant in self.dues if instant <= self.now]
        self.dues = self.dues[len(due) :]
        self.taken += [(instant, self.now) for instant in due]
        await self._pass()
        self.ended.append(self.now)
        return len(due)

    async def fire(self, job_id: str, scheduled_at: datetime | None = None) -> Fired:
        self.fired.append((job_id, scheduled_at))
        await self._pass()
        return self.answer

    async def fire_many(self, triggers: Sequence[Armed]) -> list[Answer]:
        return [Answer(await self.fire(one.job_id, one.instant)) for one in triggers]

    async def armed(self, until: datetime, since: datetime | None = None) -> AsyncIterator[Armed]:
        for n, due in enumerate(self.dues):
            await self._pass()
            instant = EPOCH + timedelta(seconds=due)
            if instant > until:
                break
            if since is not None and instant <= since:
                continue
            yield Armed(f"job-{n}", instant)
        self.armings += 1

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 (a bound, not a deadline)
        self.waits.append(timeout)
        await self._pass()
        try:
            async with asyncio.timeout(timeout - min(self.early, timeout / 2)):
                await self._change.wait()
        except TimeoutError:
            return False
        self._change.clear()
        return True

    async def _pass(self) -> None:
        self._awaits += 1
        if self.on_await is not None:
            self.on_await(self._awaits)
        await asyncio.sleep(0)


class Backlog(FakeFiring):
    """Always owes more, and never suspends, as a store in memory may not."""

    async def due_in(self) -> float | None:
        return 0.0

    async def tick(self) -> int:
        self.ticks.append(self.now)
        if len(self.ticks) % 1000 == 0:
            await asyncio.sleep(0)  # so that a provider that starves the loop fails, not hangs
        return 1


class FakeJobs(FakeFiring):
    """Jobs by id, each with its next instant and, if it repeats, its period; seconds from now.

    It claims as the runtime does: what is due, once, however often it is asked. ``claims`` are
    ``(job id, instant, when)``.
    """

    def __init__(self, jobs: Mapping[str, float], every: float | None = None) -> None:
        super().__init__()
        self.jobs = dict(jobs)
        self.every = every
        self.claims: list[tuple[str, float, float]] = []

    @staticmethod
    def at(seconds: float) -> datetime:
        """The instant that many seconds from the beginning."""
        return EPOCH + timedelta(seconds=seconds)

    def put(self, job_id: str, due: float | None) -> None:
        """Somebody adds, changes or (None) removes a job."""
        if due is None:
            del self.jobs[job_id]
        else:
            self.jobs[job_id] = due
        self.change()

    async def due_in(self) -> float | None:
        await self._pass()
        return max(min(self.jobs.values()) - self.now, 0.0) if self.jobs else None

    async def tick(self) -> int:
        self.ticks.append(self.now)
        await self._pass()
        return sum([self._claim(job_id) for job_id in list(self.jobs)])

    async def fire(self, job_id: str, scheduled_at: datetime | None = None) -> Fired:
        self.fired.append((job_id, scheduled_at))
        await self._pass()
        due = self.jobs.get(job_id)
        if due is None or (scheduled_at is not None and scheduled_at < self.at(due)):
            taken = {(one, self.at(instant)) for one, instant, _ in self.claims}
            return Fired.LOST if (job_id, scheduled_at) in taken else Fired.NOTHING
        if due - self.now > 30:
            return Fired.EARLY
        await asyncio.sleep(max(due - self.now, 0.0))
        return Fired.CLAIMED if self._claim(job_id) else Fired.LOST

    async def armed(self, until: datetime, since: datetime | None = None) -> AsyncIterator[Armed]:
        for due, job_id in sorted((due, job_id) for job_id, due in self.jobs.items()):
            await self._pass()
            if self.at(due) <= until and (since is None or self.at(due) > since):
                yield Armed(job_id, self.at(due))
        self.armings += 1

    def _claim(self, job_id: str) -> bool:
        due = self.jobs.get(job_id)
        if due is None or due > self.now:
            return False
        self.claims.append((job_id, due, self.now))
        if self.every is None:
            del self.jobs[job_id]
        else:
            self.jobs[job_id] = due + self.every
        self.change()
        return True
