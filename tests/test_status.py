"""What ``status`` tells of a store: what is so now, not what was so at the last heartbeat."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from acron import Acron

if TYPE_CHECKING:
    from acron.testing import VirtualTime


async def test_what_runs_is_counted_now(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)

    @app.job("every 10s")
    async def brief() -> None:
        await asyncio.sleep(0.3)

    async with app:
        await acron_time.advance(seconds=10.1)
        during = await app.status()
        await acron_time.advance(seconds=0.3)
        after = await app.status()
    assert (during.running, len(during.slots)) == (1, 1)
    assert (after.running, len(after.slots)) == (0, 0)
    assert after.heartbeat_at == during.heartbeat_at
