"""A ``Firing`` that follows a script: what a provider is given where there is no runtime."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from acron.abc import Answer, Armed, Fired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

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
