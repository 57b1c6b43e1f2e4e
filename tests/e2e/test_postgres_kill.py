"""FAULTS 2-4, 17, 39: three daemons on one PostgreSQL, one killed with -9 every second."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from acron import Acron, Command
from acron.model import RunState, Settings
from tests.e2e.test_sqlite_kill import JOBS, SECONDS, Daemons, ledger
from tests.pg import Server, server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def pg() -> Iterator[Server]:
    with server() as made:
        yield made


@pytest.mark.timeout(180 + 2 * SECONDS)
async def test_no_occurrence_twice_and_every_one_in_the_ledger(pg: Server, tmp_path: Path) -> None:
    url, effects = f"{pg.url}&lease=2", tmp_path / "effects"
    app = Acron(url)

    @app.action
    async def note() -> None: ...

    async with app.attached():
        for n in range(JOBS):
            await app.add("every 1s", note, id=f"j{n}", overlap="allow", catch_up="all")
        await app.add("every 1s", note, id="skips")
        await app.add("every 1h", Command("true"), id="parked")
    daemons = await asyncio.to_thread(Daemons, url, effects)
    try:
        kills = await asyncio.to_thread(daemons.kill_one_every_second, SECONDS)
        assert await asyncio.to_thread(daemons.stop) == [0, 0, 0]
    finally:
        daemons.end()
    await asyncio.sleep(2.5)  # the leases of the killed run out
    done = [line.split() for line in effects.read_text().splitlines()]
    started = Counter((job_id, instant) for job_id, instant, _ in done)
    assert max(started.values()) == 1, "an occurrence ran twice"
    assert kills >= SECONDS / 2
    assert len(done) > JOBS * SECONDS / 4
    async with app.attached(firing=True):
        fates = await ledger(app, {run_id: (job_id, at) for job_id, at, run_id in done})
    assert fates[RunState.UNKNOWN] + fates[RunState.SUCCEEDED] + fates[RunState.INTERRUPTED] == (
        fates.total()
    )


@pytest.mark.parametrize("seconds", [3.0])
async def test_the_server_stops_under_load_and_comes_back(pg: Server, seconds: float) -> None:
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
        await asyncio.sleep(seconds)
        during = ran["all"]
        status = app.node
        assert status is not None
        assert status.last_error is not None
        await loop.run_in_executor(None, pg.start)
        await asyncio.sleep(2.5)
        assert ran["all"] > during + 50 * (seconds - 1), "what was owed is caught up"
    async with app.attached():
        for job in await app.store.page():
            runs = await app.store.runs(job.id, limit=1000)
            instants = [run.scheduled_at for run in runs]
            assert len(set(instants)) == len(instants) == job.fired
            assert {run.state for run in runs} == {RunState.SUCCEEDED}
        assert len(await app.store.runs(limit=100_000)) == ran["all"]
