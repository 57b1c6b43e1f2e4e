"""FAULTS 11 and 16, where a real process is needed for them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.e2e.daemons import ENV

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Acron

HUNGRY = """
import asyncio, os, resource, sys
from acron import Acron, Command
from acron.model import Settings

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
app = Acron(sys.argv[1], settings=Settings(interval=1.0))

@app.job("in 1s")
async def eats_all_descriptors():
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        await asyncio.sleep(3)
    for fd in taken:
        os.close(fd)
    print("free", flush=True)

@app.job("every 1s", catch_up="all")
async def beat():
    print("beat", flush=True)

async def main():
    async with app:
        await app.add("every 1s", Command("true"), id="needs_some")
        while not await app.runs("eats_all_descriptors", state="succeeded"):
            await asyncio.sleep(0.1)
        print("told", app.node.last_error, flush=True)
        await asyncio.sleep(2.5)
        status = await app.status()
        print("state", status.state, flush=True)
        for run in reversed(await app.runs("needs_some")):
            print("command", run.state.value, run.error or "", flush=True)
        for run in await app.runs("beat"):
            print("at", run.scheduled_at, run.state.value, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("store", ["{0}/jobs.json", "sqlite:///{0}/jobs.db"])
def test_out_of_descriptors_it_says_so_and_heals(tmp_path: Path, store: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HUNGRY, store.format(tmp_path)],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    hunger, _, after = done.stdout.partition("free\n")
    assert hunger.count("beat") >= 3, "what needs no descriptor goes on"
    assert "Too many open files" in done.stderr
    assert done.stderr.count("\n") < 60, "it says so at a bounded pace"
    assert "state ok" in after
    commands = [line.split(" ", 2) for line in after.splitlines() if line.startswith("command")]
    states = [state for _, state, _ in commands]
    assert "failed" in states
    assert states[-1] == "succeeded" or states[-2] == "succeeded"
    assert all("Too many open files" in why for _, state, why in commands if state == "failed")
    at = Counter(line.split()[2] for line in after.splitlines() if line.startswith("at "))
    assert len(at) >= 5
    assert set(at.values()) == {1}


def test_the_edits_of_many_all_survive_and_a_pause_wins(acron: Acron, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name in "abc":
        acron("add", "every 1s", "--command", f"echo {name} >> {log}", "--id", name)
    daemon = acron.start()
    acron.until(log.exists)
    acron("pause", "a")
    paused_at = datetime.now(UTC)
    path = acron.home / "jobs.json"
    whole = json.loads(path.read_text())
    whole["jobs"].append({"id": "hand", "schedule": "every 1s", "command": "true"})
    path.write_text(json.dumps(whole))
    editors = [
        acron.begin("add", "every 1s", "--command", f"echo new{n} >> {log}", "--id", f"new{n}")
        for n in range(2)
    ]
    editors.append(acron.begin("edit", "b", "--timeout", "9s"))
    for editor in editors:
        told, _ = editor.communicate(timeout=20)
        assert editor.returncode == 0, told
    expected = {"b", "c", "hand", "new0", "new1"}
    paused = paused_at.isoformat()
    acron.until(
        lambda: expected <= {run["job_id"] for run in acron.runs() if run["started_at"] > paused}
    )
    acron.stop(daemon)
    jobs = {job["id"]: job for job in acron.json("list")}
    assert set(jobs) == expected | {"a"}
    assert jobs["b"]["timeout"]
    last = max(datetime.fromisoformat(run["started_at"]) for run in acron.runs("a"))
    assert last < paused_at
