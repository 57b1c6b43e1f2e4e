"""The floor: one heap, one timer, ``create_task`` of a trivial coroutine. No bookkeeping at all."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from benchmarks.subjects.window import Herd, Load, resident

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

EPOCH = datetime(2099, 1, 1, tzinfo=UTC)


class Heap:
    """Instants (seconds since the epoch) with what is then to run, and one timer for the first.

    ``period`` 0 is once.
    """

    def __init__(self, work: Callable[[float], Coroutine[Any, Any, None]], period: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._period = period
        self._heap: list[tuple[float, int]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, due: float, number: int) -> None:
        heappush(self._heap, (due, number))

    def arm(self) -> None:
        if self._heap:
            self._loop.call_later(max(self._heap[0][0] - time.time(), 0.0), self._fire)

    def _fire(self) -> None:
        now, heap = time.time(), self._heap
        while heap and heap[0][0] <= now:
            due, number = heappop(heap)
            task = self._loop.create_task(self._work(due))
            self._tasks.add(task)  # the loop holds tasks weakly
            task.add_done_callback(self._tasks.discard)
            if self._period:
                heappush(heap, (due + self._period, number))
        self.arm()


async def herd(jobs: int) -> dict[str, float]:
    herd = Herd(jobs, 0.0)

    async def work(_: float) -> None:
        herd.end()

    heap = Heap(work, 0.0)
    for number in range(jobs):
        heap.add(herd.at, number)
    heap.arm()
    return await herd.measure()


async def steady(jobs: int, period: float, seconds: float, grain: float = 0.0) -> dict[str, float]:
    load = Load(jobs, period, seconds, 0.0, grain)

    async def work(due: float) -> None:
        load.fired(due)

    heap = Heap(work, period)
    for number in range(jobs):
        heap.add(load.first(number), number)
    heap.arm()
    return await load.measure()


class Record:
    """The least that a scheduler must know of a one-shot."""

    __slots__ = ("args", "due", "function", "id", "name", "state")

    def __init__(self, number: int) -> None:
        self.id = f"job-{number}"
        self.name = ""
        self.due = EPOCH + timedelta(seconds=number)
        self.function = resident
        self.args: tuple[object, ...] = ()
        self.state = "scheduled"


def _fill(jobs: int) -> tuple[dict[str, Record], list[tuple[datetime, str]]]:
    records: dict[str, Record] = {}
    heap: list[tuple[datetime, str]] = []
    for number in range(jobs):
        record = Record(number)
        records[record.id] = record
        heappush(heap, (record.due, record.id))
    return records, heap


def add(jobs: int) -> dict[str, float]:
    begin = time.perf_counter()
    kept = _fill(jobs)
    seconds = time.perf_counter() - begin
    return {"rate": len(kept[0]) / seconds}


def memory(jobs: int) -> dict[str, float]:
    before = resident()
    kept = _fill(jobs)
    return {"bytes": (resident() - before) / len(kept[0])}


async def idle(seconds: float) -> dict[str, float]:
    """A process that wakes once a second."""
    before = time.process_time()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:  # noqa: ASYNC110 (that is the work)
        await asyncio.sleep(min(left, 1.0))
    return {"cpu_ms_per_s": 1e3 * (time.process_time() - before) / seconds}
