"""Three daemons on one store, one killed with -9 every second, and what must then hold."""

# ruff: noqa: ASYNC240 - nothing else is on the loop

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from acron import Acron, Command
from acron.model import RunState
from acron.timetable import timetable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acron.model import Job

#: For how long daemons are killed, in seconds; a longer run finds more.
SECONDS = float(os.environ.get("KILL_SECONDS", "5"))
JOBS = 20
#: How a run may end here: by itself, by a kill, by the drain at the end.
ENDS = {RunState.SUCCEEDED, RunState.UNKNOWN, RunState.INTERRUPTED}
DAEMON = """
import asyncio, os, sys
from acron import Acron
from acron.model import Settings

app = Acron(sys.argv[1], settings=Settings(interval=1.0), drain_timeout=5.0)
effects = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@app.action
async def note(ctx):
    os.write(effects, f"{ctx.job.id} {ctx.scheduled_at.isoformat()} {ctx.run_id}\\n".encode())
    await asyncio.sleep(1.5 if ctx.job.id == "skips" else 0.3)

asyncio.run(app.run())
"""

#: The environment of a Python child that is to import what we do.
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

#: The limit of a test that kills for SECONDS.
in_time = pytest.mark.timeout(120 + 2 * SECONDS)


class Toll(NamedTuple):
    """What a slaughter came to."""

    kills: int
    effects: int
    fates: Counter[RunState]
    skipped: int


class Daemons:
    def __init__(self, url: str, effects: Path, number: int = 3) -> None:
        self._command = [sys.executable, "-c", DAEMON, url, str(effects)]
        self.all = [self._start() for _ in range(number)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=ENV)

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
        time.sleep(2)
        for one in self.all:
            while one.poll() is None and not _handles_sigterm(
                one.pid
            ):  # a busy machine starts it slowly
                time.sleep(0.1)
            one.send_signal(signal.SIGTERM)
        return [one.wait(timeout=30) for one in self.all]

    def end(self) -> None:
        for one in self.all:
            with suppress(ProcessLookupError):
                one.kill()
            one.wait()


def _handles_sigterm(pid: int) -> bool:
    """Whether a process that lives does; true where that cannot be seen."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return True
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), None)
    return caught is None or bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


async def slaughter(
    url: str, effects: Path, *, seconds: float = SECONDS, lease: float = 0.0
) -> Toll:
    """No occurrence runs twice and every one is in the ledger, or this fails.

    ``lease`` is how long after its death a node of this store may be taken for alive, in seconds.
    """
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
        kills = daemons.kill_one_every_second(seconds)
        assert daemons.stop() == [0, 0, 0]
    finally:
        daemons.end()
    await asyncio.sleep(lease)
    done = [line.split() for line in effects.read_text().splitlines()]
    started = Counter((job_id, instant) for job_id, instant, _ in done)
    assert max(started.values()) == 1, "an occurrence ran twice"
    assert kills >= seconds / 2
    assert len(done) > JOBS * seconds / 4
    async with app.attached(firing=True):
        fates, skipped = await _ledger(app, {run_id: (job_id, at) for job_id, at, run_id in done})
    assert fates.keys() <= ENDS
    assert skipped, "a job that overlaps itself leaves skips"
    return Toll(kills, len(done), fates, skipped)


async def _ledger(app: Acron, effects: dict[str, tuple[str, str]]) -> tuple[Counter[RunState], int]:
    """Every occurrence is there once, as a run or a skip: how many runs ended how, and skips."""
    fates: Counter[RunState] = Counter()
    skipped = 0
    for job_id in [*(f"j{n}" for n in range(JOBS)), "skips"]:
        job = await app.store.get(job_id)
        assert job is not None
        runs = await app.store.runs(job_id, limit=100_000)
        skips = sum(skip.count for skip in await app.store.skips(job_id, limit=100_000))
        by_id = {run.id: (job_id, run.scheduled_at.isoformat()) for run in runs if run.scheduled_at}
        ran = {instant for _, instant in by_id.values()}
        instants = list(_owed(job))
        assert len(ran) == len(by_id) == len(runs)
        assert ran <= set(instants)
        assert len(runs) + skips == len(instants)
        assert job.fired == len(runs)
        tokens = [run.token for run in sorted(runs, key=lambda run: run.scheduled_at or run.due_at)]
        assert tokens == sorted(tokens)
        mine = {run_id: one for run_id, one in effects.items() if one[0] == job_id}
        assert mine.items() <= by_id.items()
        fates.update(run.state for run in runs)
        skipped += skips
    return fates, skipped


def _owed(job: Job) -> Iterator[str]:
    """Every instant from the job's creation to where it stands."""
    schedule = timetable(job)
    assert job.created_at is not None
    assert job.cursor is not None
    instant = schedule.next_after(job.created_at)
    while instant is not None and instant <= job.cursor:
        yield instant.isoformat()
        instant = schedule.next_after(instant)
