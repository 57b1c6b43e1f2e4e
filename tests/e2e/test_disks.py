"""FAULTS 9 and 12: a daemon whose disk is full, and one whose disk takes nothing."""

from __future__ import annotations

import getpass
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.disks import SmallDisk
    from tests.e2e.conftest import Acron


def live_on(disk: SmallDisk, acron: Acron) -> None:
    acron.home = disk.place / "home"
    acron.env["ACRON_HOME"] = str(acron.home)


def test_a_full_disk_fires_nothing_unclaimed_and_heals(
    acron: Acron, small_disk: SmallDisk, tmp_path: Path
) -> None:
    live_on(small_disk, acron)
    log = tmp_path / "log"
    acron("add", "every 1s", "--command", f'echo "$ACRON_RUN_ID" >> {log}', "--id", "note")
    daemon = acron.start()
    acron.until(log.exists)
    small_disk.fill()
    # What is left of the last page of the journal may still take a claim.
    before = acron.until(lambda: _still(log))
    small_disk.empty()
    acron.until(lambda: len(log.read_text().split()) > before + 2)
    told = acron.stop(daemon)
    assert "No space left on device" in told
    begun = Counter(log.read_text().split())
    assert set(begun.values()) == {1}
    runs = {run["id"]: run for run in acron.runs("note", "--limit", "1000")}
    assert begun.keys() <= runs.keys(), "each has its claim"
    assert len({run["scheduled_at"] for run in runs.values()}) == len(runs)


def _still(log: Path) -> int:
    """How often it has fired, once it does not any more."""
    before = len(log.read_text().split())
    time.sleep(2.5)
    return before if len(log.read_text().split()) == before else 0


def test_a_disk_that_takes_nothing_is_named_and_fires_nothing(
    acron: Acron, small_disk: SmallDisk, tmp_path: Path
) -> None:
    live_on(small_disk, acron)
    log = tmp_path / "log"
    acron("add", "in 1ms", "--command", f"echo fired >> {log}", "--id", "note")
    small_disk.make_read_only()
    told = acron("run", code=1)
    assert str(acron.home) in told
    assert f" as user {getpass.getuser()}" in told
    assert told.count("\n") == 1
    assert not log.exists()
