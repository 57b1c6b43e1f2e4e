"""FAULTS 2-4, 17, 39, 40, 41 on PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from acron import Acron
from acron.model import RunState, Settings
from tests.e2e.conftest import PATIENCE
from tests.e2e.daemons import Daemons, in_time, slaughter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pg import Server


#: For how long the server is away, in seconds.
OUTAGE = float(os.environ.get("OUTAGE_SECONDS", "3"))


@in_time
async def test_no_occurrence_twice_and_every_one_in_the_ledger(pg: Server, tmp_path: Path) -> None:
    toll = await slaughter(f"{pg.url}&lease=2", tmp_path / "effects", lease=2.5)
    assert toll.effects <= toll.fates.total()


@pytest.mark.timeout(60 + 3 * OUTAGE)
async def test_the_server_stops_under_load_and_comes_back(pg: Server) -> None:
    app = Acron(f"{pg.url}&schema=outage", settings=Settings(interval=1.0))
    ran: Counter[str] = Counter()
    loop = asyncio.get_running_loop()

    @app.action
    async def note() -> None:
        ran["all"] += 1

    async with app:
        for n in range(50):
            await app.add("every 1s", note, id=f"j{n}", overlap="allow", catch_up="all")
        await asyncio.sleep(1.5)
        await loop.run_in_executor(None, pg.stop)
        await asyncio.sleep(OUTAGE)
        during = ran["all"]
        status = app.node
        assert status is not None
        assert status.last_error is not None
        await loop.run_in_executor(None, pg.start)
        async with asyncio.timeout(PATIENCE):
            # What was owed is caught up.
            while ran["all"] <= during + 50 * (OUTAGE - 1):  # noqa: ASYNC110 (jobs count it)
                await asyncio.sleep(0.1)
    async with app.attached():
        for job in await app.store.page():
            runs = await app.store.runs(job.id, limit=1000)
            instants = [run.scheduled_at for run in runs]
            assert len(set(instants)) == len(instants) == job.fired
            assert {run.state for run in runs} == {RunState.SUCCEEDED}
        assert len(await app.store.runs(limit=100_000)) == ran["all"]


async def test_a_node_that_was_stopped_for_too_long_ends_nothing(
    pg: Server, tmp_path: Path
) -> None:
    """Its lease has lapsed in the middle of a run, and another node has ended that."""
    url, effects = f"{pg.url}&lease=2&schema=stopped", tmp_path / "effects"
    app = Acron(url)

    @app.action
    async def note() -> None: ...

    async with app.attached():
        await app.add("every 1s", note, id="skips", repeat=1)  # it takes a second and a half
    daemons = Daemons(url, effects, number=1)
    try:
        (daemon,) = daemons.all
        await _until(lambda: effects.exists() and effects.read_text().count("\n") == 1)
        daemon.send_signal(signal.SIGSTOP)
        await asyncio.sleep(3.0)  # its lease, and what a clock may be wrong by
        async with app.attached(firing=True):
            (lost,) = await app.runs("skips")
            assert lost.state is RunState.UNKNOWN
            daemon.send_signal(signal.SIGCONT)
            await asyncio.sleep(2.5)
            assert await app.runs("skips") == [lost]
        assert daemons.stop() == [0]
    finally:
        daemons.end()
    assert effects.read_text().count("\n") == 1


async def _until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not so():  # noqa: ASYNC110 (a file says so)
            await asyncio.sleep(0.05)
