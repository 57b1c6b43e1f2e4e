"""A job in a tight loop, in a real process: named, survived, and the reason of others' lateness."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.e2e.conftest import Acron

# It spins for as long as the test wants to look at it, and for three seconds at least.
PROGRAM = """
import time
from pathlib import Path
from acron import Acron

app = Acron(app="hog")

def crunch(seen):
    end = time.monotonic() + 3
    limit = end + 30
    while time.monotonic() < end or not seen.exists():
        if time.monotonic() > limit:
            raise TimeoutError

@app.job("in 1s", id="report")
async def report():
    crunch(Path(__file__).with_name("seen"))

@app.job("every 1s", id="other")
async def other(): ...
"""


def status(acron: Acron) -> Any:
    """Also when it is not well, and exits with 1."""
    command = [sys.executable, "-m", "acron", "status", "--json"]
    done = subprocess.run(command, env=acron.env, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)


def test_a_job_in_a_tight_loop(acron: Acron, tmp_path: Path) -> None:
    (tmp_path / "hog.py").write_text(PROGRAM)
    root = Path(__file__).parents[2]
    acron.env["PYTHONPATH"] = f"{tmp_path}:{root}"
    daemon = acron.begin("run", "--app", "hog")

    found = acron.until(lambda: (told := status(acron))["state"] == "blocked loop" and told)
    lines = PROGRAM.splitlines()
    loop = {number for number, line in enumerate(lines, 1) if "time.monotonic() " in line}
    places = {f"job report at hog.py:{number}" for number in loop}
    assert found["blocked"] in places
    assert [node.get("alive", True) for node in found["nodes"]] == [True]

    # Another process that settles what the dead left finds nobody dead.
    second = acron.start()
    assert [run["state"] for run in acron.runs("report")] == ["running"]
    (tmp_path / "seen").touch()
    acron.until(lambda: acron.runs("report", "--state", "succeeded"))
    late = acron.until(lambda: [run for run in acron.runs("other") if run.get("note")])
    assert status(acron)["blocked"] is None
    acron.stop(second)
    told = acron.stop(daemon)

    assert all(run["note"].startswith("late (loop blocked ") for run in late)
    assert all(" s by hog.py:" in run["note"] and run["lateness"] > 0 for run in late)
    assert told.count("the loop is blocked by job report") == 1
    assert f"{tmp_path}/hog.py:" in told
    assert "in crunch" in told
