"""What every subject is measured with. Standard library only: see ``benchmarks.child``."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
from math import ceil
from pathlib import Path

#: What every subject has to get ready, in seconds; to it comes what its jobs cost to add.
LEAD = 0.3


def quantile(values: list[float], part: float) -> float:
    """The value that ``part`` of all are not above; of none it is not a number."""
    if not values:
        return float("nan")
    return sorted(values)[max(ceil(part * len(values)) - 1, 0)]


def resident() -> int:
    """Bytes of memory that are really held."""
    gc.collect()
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _tenth(instant: float) -> float:
    return ceil(instant * 10) / 10


async def until(instant: float) -> None:
    """Sleep until the wall clock says ``instant``."""
    while (left := instant - time.time()) > 0:  # noqa: ASYNC110 (clocks differ)
        await asyncio.sleep(left)


class Load:
    """``jobs`` jobs, each every ``period`` seconds, evenly spread; measured for ``seconds``.

    Instants lie on a grid, one every ``step`` seconds from ``start``; with a ``grain`` those of
    so many seconds come together at its beginning. ``lead`` is how long the subject may take to
    add its jobs; then they fire unmeasured for a second, or for ``seconds`` if that is less.
    """

    def __init__(
        self, jobs: int, period: float, seconds: float, lead: float, grain: float = 0.0
    ) -> None:
        self.jobs = jobs
        self.period = period
        self.seconds = seconds
        self.grain = grain
        self.step = period / jobs
        self.start = _tenth(time.time() + LEAD + lead)
        self.opens = self.start + min(seconds, 1.0) - self.step / 2
        self.closes = self.opens + seconds
        self.late: list[float] = []

    def first(self, place: int) -> float:
        """When the job at ``place`` is due first, in seconds since the epoch."""
        offset = place * self.step
        if self.grain:
            offset = offset // self.grain * self.grain
        return self.start + offset

    def fired(self, due: float) -> None:
        """Called by the job that was due at ``due``."""
        if self.opens <= due < self.closes:
            self.late.append(time.time() - due)

    def inside(self, first: float, last: float) -> int:
        """How many of one job's instants from ``first`` to ``last`` are measured."""
        count = round((last - first) / self.period) + 1
        instants = (first + n * self.period for n in range(count))
        return sum(self.opens <= instant < self.closes for instant in instants)

    def fired_at_phase(self, first: float) -> None:
        """The same for peers whose jobs are not told when they were due."""
        now = time.time()
        self.fired(now - (now - first) % self.period)

    async def measure(self) -> dict[str, float]:
        """Wait the window out. CPU is the whole process's, over the window."""
        if time.time() > self.start:
            message = f"adding {self.jobs} jobs took {time.time() - self.start:.1f} s too long"
            raise RuntimeError(message)
        gc.collect()
        await until(self.opens)
        before = time.process_time()
        await until(self.closes)
        spent = time.process_time() - before
        inside = len(self.late)
        expected = round(self.seconds / self.step)
        # What is late may still come, but not for ever.
        patience = time.time() + 5.0
        while len(self.late) < expected and time.time() < patience:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return {
            "cpu_us": 1e6 * spent / max(inside, 1),
            "p50_ms": 1e3 * quantile(self.late, 0.5),
            "p99_ms": 1e3 * quantile(self.late, 0.99),
            "max_ms": 1e3 * max(self.late, default=float("nan")),
            "rate": inside / self.seconds,
            "lost": float(expected - len(self.late)),
        }


class Herd:
    """``jobs`` jobs due at one instant, ``at``; measured from there to the end of the last."""

    def __init__(self, jobs: int, lead: float) -> None:
        self.jobs = jobs
        self.at = _tenth(time.time() + LEAD + lead)
        self.ended = 0
        self.all_ended = asyncio.Event()
        self._done_at = 0.0

    def end(self, count: int = 1) -> None:
        self.ended += count
        if self.ended >= self.jobs:
            self._done_at = time.time()
            self.all_ended.set()

    async def measure(self) -> dict[str, float]:
        if time.time() > self.at:
            message = f"adding {self.jobs} jobs took {time.time() - self.at:.1f} s too long"
            raise RuntimeError(message)
        gc.collect()
        async with asyncio.timeout(120 + self.at - time.time()):
            await self.all_ended.wait()
        seconds = self._done_at - self.at
        return {"seconds": seconds, "rate": self.jobs / seconds}
