"""FAULTS 2, 3, 17, 18: real processes on one jobs.json."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from acron.errors import StoreLocked
from acron.model import RunState
from acron.stores.json_file import JsonFileStore
from acron.stores.sqlite import SqliteStore
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    a_job,
    a_node,
    at,
    ended,
    keeps,
    starts,
)
from tests.e2e.daemons import ENV

if TYPE_CHECKING:
    from pathlib import Path

    from acron.abc import Store

WORKER = """
import asyncio, sys
from pathlib import Path
from acron.stores.json_file import JsonFileStore
from acron.testing.contracts._stores_base import CAN, NOW, a_node, end_of, ended, starts

async def main(path, node, mode):
    store = JsonFileStore(Path(path), compact_beyond=20_000)
    await store.open(NOW, a_node(node))
    print("ready", flush=True)
    sys.stdin.readline()
    while claimed := await store.claim(NOW, 3, CAN, starts(node)):
        runs = [decision.runs[0] for decision in claimed]
        print(*(f"{run.job_id} {run.token}" for run in runs), sep="\\n", flush=True)
        if mode == "hang":
            await asyncio.sleep(3600)
        assert None not in await store.finish([end_of(run) for run in runs], ended)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def worker(path: Path, node: str, mode: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), node, mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENV,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


async def test_many_processes_claim_each_row_once(tmp_path: Path) -> None:
    path = tmp_path / "bot.json"
    store = JsonFileStore(path)
    await store.open(NOW)
    jobs = [a_job(f"j{n}") for n in range(300)]
    await store.write([job.id for job in jobs], keeps(*jobs), NOW)
    workers = [worker(path, f"n{n}", "work") for n in range(3)]
    for process in workers:
        go(process)
    printed = [process.communicate(timeout=50)[0].splitlines() for process in workers]
    assert [process.returncode for process in workers] == [0, 0, 0]
    rows = [line.split() for lines in printed for line in lines]
    assert len(rows) == 300
    assert len({job_id for job_id, _ in rows}) == 300
    assert len({token for _, token in rows}) == 300
    runs = await store.runs(limit=1000)
    assert {run.state for run in runs} == {RunState.SUCCEEDED}
    assert len(runs) == 300
    assert len(json.loads(path.read_text())["jobs"]) == 300
    await store.close()


async def test_a_killed_process_is_dead_and_a_stopped_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "bot.json"
    store = JsonFileStore(path)
    await store.open(NOW, a_node("me"))
    await store.write(["a"], keeps(a_job("a")), NOW)
    process = worker(path, "other", "hang")
    go(process)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("a ")
    process.send_signal(signal.SIGSTOP)
    assert await store.recover(at(1), ended) == []
    process.kill()
    process.wait()
    (decision,) = await store.recover(at(2), ended)
    assert decision.runs[0].state is RunState.UNKNOWN
    assert {node.id: node.alive for node in await store.nodes()} == {"me": True, "other": False}
    process.stdout.close()
    assert process.stdin is not None
    process.stdin.close()
    await store.close()


HOLDS_JSON = """
import os, signal, sys
from pathlib import Path
from acron.stores.lock import FileLock

with FileLock(Path(sys.argv[1]) / "jobs.lock").held():
    os.kill(os.getpid(), signal.SIGSTOP)
"""
HOLDS_SQLITE = """
import os, signal, sqlite3, sys

connection = sqlite3.connect(sys.argv[1] + "/jobs.db", isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
os.kill(os.getpid(), signal.SIGSTOP)
"""


def stopped(code: str, folder: Path) -> subprocess.Popen[bytes]:
    """A process that runs ``code`` and has stopped itself."""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], env=ENV)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    return process


@pytest.mark.parametrize("kind", ["json", "sqlite"])
async def test_a_stopped_process_that_holds_the_lock(tmp_path: Path, kind: str) -> None:
    store: Store = (
        JsonFileStore(tmp_path / "jobs.json", lock_wait=0.3)
        if kind == "json"
        else SqliteStore(tmp_path / "jobs.db", lock_wait=0.3)
    )
    await store.open(NOW, a_node("me"))
    await store.write(["a"], keeps(a_job("a")), NOW)
    holder = stopped(HOLDS_JSON if kind == "json" else HOLDS_SQLITE, tmp_path)
    try:
        with pytest.raises(StoreLocked) as caught:
            await store.claim(NOW, 9, CAN, starts("me"))
        named = f"process {holder.pid} on" if kind == "json" else "another process"
        assert named in str(caught.value)
        assert await store.get("a") == a_job("a")
        assert await store.runs() == []
        holder.send_signal(signal.SIGCONT)
        assert holder.wait(20) == 0
        assert len(await store.claim(NOW, 9, CAN, starts("me"))) == 1
    finally:
        holder.kill()
        holder.wait()
        await store.close()
