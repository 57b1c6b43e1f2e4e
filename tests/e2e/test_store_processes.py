"""FAULTS 2, 3, 17, 18: real processes on one jobs.json."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from acron.model import RunState
from acron.stores.json_file import JsonFileStore
from acron.testing.contracts._stores_base import NOW, a_job, a_node, at, ended, keeps

if TYPE_CHECKING:
    from pathlib import Path

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
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
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
