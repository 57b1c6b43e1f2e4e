"""What blocks a thread delays nobody else, and holds no process, in real time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from acron import Acron, Command, RunState
from tests.e2e.daemons import ENV

if TYPE_CHECKING:
    from pathlib import Path

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


STUCK = """
import asyncio, sys, threading
from acron import Acron, runtime
from acron.abc import Adapter

runtime.CLEANUP = 1.0  # of what does not end: else five seconds, twice

class Phone(Adapter):
    name = "phone"
    blocking = True

    def send(self, message):
        print("sending", flush=True)
        threading.Event().wait()

app = Acron(sys.argv[1], adapters={"phone": Phone()}, drain_timeout=1.0)

@app.job("in 100ms", deliver="phone:home")
async def calls():
    return "hello"

asyncio.run(app.run())
"""


async def test_a_delivery_that_is_stuck_in_a_thread_holds_no_process(tmp_path: Path) -> None:
    """FAULTS 32: it ends when it is asked to, and nobody tries again what may have gone out."""
    url = str(tmp_path / "jobs.json")
    process = subprocess.Popen(  # noqa: ASYNC220 (nothing else is on the loop)
        [sys.executable, "-c", STUCK, url], env=ENV, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        while "sending" not in (line := process.stdout.readline()):
            assert line
        process.terminate()
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    async with Acron(url, app="other").attached(firing=True) as app:
        (run,) = await app.runs("calls")
    assert run.state is RunState.SUCCEEDED
    assert [one.state for one in run.deliveries] == ["unknown"]
