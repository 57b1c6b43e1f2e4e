"""FAULTS 2-4, 8, 17 on jobs.json: what is killed may be in the middle of a line."""

# ruff: noqa: ASYNC240 - nothing else is on the loop

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.e2e.daemons import JOBS, in_time, slaughter

if TYPE_CHECKING:
    from pathlib import Path


@in_time
async def test_no_occurrence_twice_and_every_one_in_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    toll = await slaughter(str(path), tmp_path / "effects")
    assert toll.effects <= toll.fates.total()
    assert len(json.loads(path.read_bytes())["jobs"]) == JOBS + 2
    assert not list(tmp_path.glob("*.broken*"))
