from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Acron


def occurrences(runs: list[dict[str, object]]) -> Counter[object]:
    return Counter(run["scheduled_at"] for run in runs if run["scheduled_at"])


def test_every_second_one_run_and_sigterm_drains(acron: Acron) -> None:
    acron("add", "every 1s", "--command", "echo hot $ACRON_JOB_ID", "--id", "tea")
    daemon = acron.start()
    time.sleep(3.2)
    told = acron.stop(daemon)
    runs = acron.runs("tea")
    assert len(runs) >= 3
    assert {run["state"] for run in runs} == {"succeeded"}
    assert {run["output"] for run in runs} == {"hot tea\n"}
    assert set(occurrences(runs).values()) == {1}
    instants = sorted(datetime.fromisoformat(run["scheduled_at"]) for run in runs)
    gaps = {(b - a).total_seconds() for a, b in pairwise(instants)}
    assert gaps == {1.0}
    fires = [one for one in told.splitlines() if re.search(r"Z started tea r\d+", one)]
    ends = [one for one in told.splitlines() if re.search(r"Z succeeded tea r\d+ in .*: hot", one)]
    assert len(fires) == len(ends) == len(runs)
    assert len(list((acron.home / "output" / "tea").glob("*.md"))) == len(runs)


def test_a_drain_waits_and_a_second_signal_does_not(acron: Acron) -> None:
    acron("add", "in 1ms", "--command", "sleep 1.5; echo done", "--id", "short")
    daemon = acron.start()
    acron.until(lambda: acron.runs("short", "--state", "running"))
    acron.stop(daemon, signal.SIGINT)
    assert [run["state"] for run in acron.runs("short")] == ["succeeded"]

    acron("add", "in 1ms", "--command", "sleep 60", "--id", "long")
    daemon = acron.start()
    acron.until(lambda: acron.runs("long", "--state", "running"))
    daemon.send_signal(signal.SIGTERM)
    acron.until(lambda: acron.json("status")["state"] == "draining")
    begun = time.monotonic()
    acron.stop(daemon, signal.SIGINT)
    assert time.monotonic() - begun < 15.0  # the drain alone would take 30
    assert [run["state"] for run in acron.runs("long")] == ["interrupted"]


def test_killed_in_the_middle_nothing_runs_twice(acron: Acron, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = f'echo "$ACRON_SCHEDULED_AT" >> {log}; sleep 30'
    acron("add", "in 1ms", "--command", command, "--id", "once")
    daemon = acron.start()
    acron.until(log.exists)
    daemon.kill()
    daemon.wait()
    again = acron.start()
    (run,) = acron.until(lambda: acron.runs("once", "--state", "unknown"))
    assert run["finished_at"]
    acron.stop(again)
    assert len(log.read_text().splitlines()) == 1
    assert len(acron.runs("once")) == 1


def test_two_daemons_run_each_occurrence_once(acron: Acron, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name in ("a", "b", "c"):
        command = f'echo "{name} $ACRON_SCHEDULED_AT" >> {log}'
        acron("add", "every 1s", "--command", command, "--id", name)
    one, two = acron.start(), acron.start()
    status = acron.json("status")
    assert (status["state"], len(status["nodes"])) == ("ok", 2)
    time.sleep(3)
    acron.stop(one)
    acron.stop(two)
    lines = [line.split() for line in log.read_text().splitlines()]
    fired = Counter((name, datetime.fromisoformat(at)) for name, at in lines)
    assert len(fired) >= 9
    assert set(fired.values()) == {1}
    runs = acron.runs("--limit", "100000")
    # Also what was claimed in the very moment of a signal: it has the time of the drain.
    assert {run["state"] for run in runs} == {"succeeded"}
    at = datetime.fromisoformat
    assert Counter((run["job_id"], at(run["scheduled_at"])) for run in runs) == fired


def test_a_job_of_another_process_fires_on_time(acron: Acron) -> None:
    daemon = acron.start()
    acron("add", "in 2s", "--command", "echo here", "--id", "soon")
    (run,) = acron.until(lambda: acron.runs("soon", "--state", "succeeded"))
    assert run["lateness"] < 10  # it has heard: else it would look when its interval is over
    assert "nothing will fire it" not in acron("add", "in 1h", "--command", "x", "--id", "later")
    acron.stop(daemon)


def test_run_now_and_cancel_reach_the_daemon(acron: Acron) -> None:
    acron("add", "every 1h", "--command", "echo by $PPID", "--id", "who")
    acron("add", "every 1h", "--command", "sleep 60", "--id", "long")
    daemon = acron.start()
    run = acron.json("run-now", "who", "--wait")
    assert run["output"] == f"by {daemon.pid}\n"
    acron("run-now", "long")
    (run,) = acron.until(lambda: acron.runs("long", "--state", "running"))
    assert run["id"] in acron("run-now", "long", code=1)  # it overlaps itself
    acron("cancel", run["id"])
    acron.until(lambda: acron.runs("long", "--state", "cancelled"))
    acron.stop(daemon)


@pytest.mark.parametrize("number,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_stopped_stops_its_run(
    acron: Acron, tmp_path: Path, number: int, code: int
) -> None:
    begun = tmp_path / "begun"
    acron("add", "every 1h", "--command", f"touch {begun}; sleep 60", "--id", "long")
    command = acron.begin("run-now", "long")
    acron.until(begun.exists)
    command.send_signal(number)
    told, _ = command.communicate(timeout=15.0)  # a drain alone would take 30
    assert command.returncode == code
    assert "Traceback" not in told
    assert [run["state"] for run in acron.runs("long")] == ["interrupted"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written_is_told_in_one_line(acron: Acron) -> None:
    acron.home.mkdir(mode=0o500)
    told = acron("add", "every 1h", "--command", "true", code=1)
    assert str(acron.home) in told
    assert told.count("\n") == 1


def test_a_home_that_cannot_be_is_told_in_one_line(acron: Acron) -> None:
    acron.home.write_text("a file")
    for args in (("add", "every 1h", "--command", "true"), ("run",), ("list",)):
        told = acron(*args, code=1)
        assert str(acron.home) in told
        assert told.count("\n") == 1


def test_an_idle_daemon_sleeps(acron: Acron) -> None:
    daemon = acron.start()
    stat = Path(f"/proc/{daemon.pid}/stat")
    if not stat.exists():
        pytest.skip("no /proc here")

    def ticks() -> int:
        fields = stat.read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(4)
    share = (ticks() - before) / os.sysconf("SC_CLK_TCK") / 4
    acron.stop(daemon)
    assert share <= 0.02  # ticks are 10 ms: two of them in four seconds; a spin would be 1


def test_a_reader_that_goes_away_is_no_fault(acron: Acron) -> None:
    for number in range(3):
        acron("add", "every 1h", "--command", "true", "--id", f"j{number}")
    listing = subprocess.Popen(
        [sys.executable, "-m", "acron", "list", "--json"],
        env=acron.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert listing.stdout is not None
    listing.stdout.close()
    assert listing.stderr is not None
    assert listing.stderr.read() == ""
    listing.stderr.close()
    assert listing.wait() == 0


def test_the_demo_fires_real_jobs_and_ends_by_itself(acron: Acron, tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    found = acron.json("demo", "--svg", str(picture))
    assert found["missing"] == []
    assert found["states"]["succeeded"] >= 15
    assert not acron.home.exists()
    drawn = picture.read_text("utf-8")
    assert "crawl" in drawn
    assert not re.search(r"url\(.?http|href=.http|font-face", drawn)
    assert str(tmp_path) not in drawn
    assert "/tmp" not in drawn
