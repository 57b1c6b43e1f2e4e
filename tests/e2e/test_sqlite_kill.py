"""FAULTS 2-4, 17: three daemons on one SQLite store, one killed with -9 every second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from acron import Acron, Command
from acron.model import RunState
from acron.timetable import timetable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from acron.model import Job

#: For how long daemons are killed, in seconds; a longer run finds more.
SECONDS = float(os.environ.get("KILL_SECONDS", "10"))
JOBS = 20
DAEMON = """
import asyncio, os, sys
from acron import Acron
from acron.model import Settings

app = Acron(sys.argv[1], settings=Settings(interval=1.0), drain_timeout=5.0)
effects = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@app.action
async def note(ctx):
    os.write(effects, f"{ctx.job.id} {ctx.scheduled_at.isoformat()} {ctx.run_id}\\n".encode())
    await asyncio.sleep(0.3)

asyncio.run(app.run())
"""


class Daemons:
    def __init__(self, url: str, effects: Path) -> None:
        self._command = [sys.executable, "-c", DAEMON, url, str(effects)]
        self._env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.all = [self._start() for _ in range(3)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._env)

    def kill_one_every_second(self, seconds: float) -> int:
        end = time.monotonic() + seconds
        kills = 0
        while time.monotonic() < end:
            time.sleep(1)
            victim = self.all.pop(0)
            victim.kill()
            victim.wait()
            self.all.append(self._start())
            kills += 1
        return kills

    def stop(self) -> list[int]:
        time.sleep(2)  # the last one shall have its handlers
        for one in self.all:
            one.send_signal(signal.SIGTERM)
        return [one.wait(timeout=30) for one in self.all]

    def end(self) -> None:
        for one in self.all:
            with suppress(ProcessLookupError):
                one.kill()
            one.wait()


def owed(job: Job) -> Iterator[str]:
    """Every instant from the job's creation to where it stands."""
    schedule = timetable(job)
    assert job.created_at is not None
    assert job.cursor is not None
    instant = schedule.next_after(job.created_at)
    while instant is not None and instant <= job.cursor:
        yield instant.isoformat()
        instant = schedule.next_after(instant)


async def test_no_occurrence_twice_and_every_one_in_the_ledger(tmp_path: Path) -> None:
    url, effects = f"sqlite:///{tmp_path}/jobs.db", tmp_path / "effects"
    app = Acron(url)

    @app.action
    async def note() -> None: ...

    async with app.attached():
        for n in range(JOBS):
            await app.add("every 1s", note, id=f"j{n}", overlap="allow", catch_up="all")
        await app.add("every 1s", note, id="skips")
        await app.add("every 1h", Command("true"), id="parked")
    daemons = Daemons(url, effects)
    try:
        kills = daemons.kill_one_every_second(SECONDS)
        assert daemons.stop() == [0, 0, 0]
    finally:
        daemons.end()
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


async def ledger(app: Acron, effects: dict[str, tuple[str, str]]) -> Counter[RunState]:
    """Every occurrence is there once, as a run or a skip; how many runs ended how."""
    fates: Counter[RunState] = Counter()
    for job_id in [*(f"j{n}" for n in range(JOBS)), "skips"]:
        job = await app.store.get(job_id)
        assert job is not None
        runs = await app.store.runs(job_id, limit=100_000)
        skips = await app.store.skips(job_id, limit=100_000)
        ran = [run.scheduled_at.isoformat() for run in runs if run.scheduled_at is not None]
        instants = list(owed(job))
        assert len(ran) == len(set(ran)) == len(runs)
        assert set(ran) <= set(instants)
        assert len(runs) + sum(skip.count for skip in skips) == len(instants)
        assert job.fired == len(runs)
        tokens = [run.token for run in sorted(runs, key=lambda run: run.scheduled_at or run.due_at)]
        assert tokens == sorted(tokens)
        by_id = {run.id: (job_id, run.scheduled_at.isoformat()) for run in runs if run.scheduled_at}
        assert {
            key: one for key, one in effects.items() if one[0] == job_id
        }.items() <= by_id.items()
        fates.update(run.state for run in runs)
    return fates
