"""A crowd of one-shots that an outage left, on a real loop.

In the suite it is a fifth of the 100,000 that ``ACRON_BACKLOG=100000`` makes of it; run alone
(``-s``), it prints how late the loop was at most; no machine's speed is asserted.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from acron import Acron, Context
from acron.clock import SystemClock
from acron.model import RunState, Settings
from acron.stores.memory import MemoryStore

if TYPE_CHECKING:
    from datetime import datetime

    from acron.model import Node

COUNT = int(os.environ.get("ACRON_BACKLOG", "20000"))
AT_ONCE, PRIORITIES = 50, 4


class Later(SystemClock):
    """The machine's clock, set forward by ``by``."""

    by = timedelta()

    def now(self) -> datetime:
        return super().now() + self.by


class Watched(MemoryStore):
    """Notes at how many starts the node beat."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[tuple[datetime, int, str]] = []
        self.beats: set[int] = set()

    async def beat(self, node: Node) -> None:
        self.beats.add(len(self.starts))
        await super().beat(node)


async def test_a_crowd_after_an_outage() -> None:
    clock, store = Later(), Watched()
    settings = Settings(catch_up_rate=0, max_running=AT_ONCE, interval=0.2)
    app = Acron(store, clock=clock, settings=settings)
    going, most, lags, holds = 0, 0, [0.0], [0.0]
    all_begun = asyncio.Event()

    @app.action
    async def work(ctx: Context) -> None:
        nonlocal going, most
        going += 1
        most = max(most, going)
        assert ctx.scheduled_at is not None
        store.starts.append((ctx.scheduled_at, -ctx.job.policy.priority, ctx.job.id))
        if len(store.starts) == COUNT:
            all_begun.set()
        await asyncio.sleep(0)
        going -= 1

    async def feel() -> None:
        while True:
            begun, busy = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - begun - 0.005)
            holds.append(time.thread_time() - busy)

    async with app.attached():
        base = clock.now() + timedelta(hours=1)
        await app.add_many(
            {
                "id": f"j{number:06}",
                "schedule": f"{base + timedelta(seconds=number // 100):%Y-%m-%dT%H:%M:%SZ}",
                "action": work,
                "priority": number % PRIORITIES,
            }
            for number in range(COUNT)
        )
    clock.by = timedelta(hours=3)
    async with app:
        feeling = asyncio.create_task(feel())
        await all_begun.wait()
        feeling.cancel()
    async with app.attached():
        states = Counter(run.state for run in await app.runs(limit=2 * COUNT))
        assert await app.skips() == []
    lag, hold = max(lags) * 1000, max(holds) * 1000
    print(f"{COUNT} runs, the loop at most {lag:.1f} ms late, {hold:.1f} ms of it our work")  # noqa: T201
    assert states == {RunState.SUCCEEDED: COUNT}
    assert store.starts == sorted(store.starts)  # oldest first, then priority
    assert most == AT_ONCE
    assert len(store.beats) >= 3  # at the start, while it went on, and at the end
