"""FAULTS 2-4, 17 on SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.daemons import in_time, slaughter

if TYPE_CHECKING:
    from pathlib import Path


@in_time
async def test_no_occurrence_twice_and_every_one_in_the_ledger(tmp_path: Path) -> None:
    toll = await slaughter(f"sqlite:///{tmp_path}/jobs.db", tmp_path / "effects")
    assert toll.effects <= toll.fates.total()
