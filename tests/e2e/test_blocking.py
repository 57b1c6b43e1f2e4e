"""What blocks a thread delays nobody else, in real time."""

from __future__ import annotations

import asyncio
import sys
import threading

from acron import Acron, Command, RunState

QUICK = ["on_a_thread", "on_the_loop", "process"]


async def test_a_function_that_blocks_delays_no_other_job() -> None:
    app = Acron("memory://")
    free = threading.Event()

    @app.job("in 50ms")
    def blocks() -> None:
        assert free.wait(30)

    @app.job("every 1s")
    async def on_the_loop() -> None: ...

    @app.job("every 1s")
    def on_a_thread() -> None: ...

    async def ended() -> list[str]:
        return sorted({run.job_id for run in await app.runs(state=RunState.SUCCEEDED)})

    try:
        async with app, asyncio.timeout(20):
            await app.add("in 500ms", Command((sys.executable, "-c", "")), id="process")
            while await ended() != QUICK:  # noqa: ASYNC110 (the store's to say)
                await asyncio.sleep(0.02)
            assert [run.state for run in await app.runs("blocks")] == [RunState.RUNNING]
            free.set()
            while await ended() != ["blocks", *QUICK]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        free.set()
