"""A jobs.json that has grown says what would serve better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acron.model import Decision
from acron.stores.json_file import MANY_JOBS, JsonFileStore
from acron.testing.contracts._stores_base import NOW, a_job

if TYPE_CHECKING:
    from pathlib import Path

    from acron.model import Job


async def test_many_jobs_are_advised_to_move(tmp_path: Path) -> None:
    store = JsonFileStore(tmp_path / "jobs.json")
    await store.open(NOW)

    def change(job_id: str, _: Job | None, *__: object) -> Decision:
        return Decision(a_job(job_id))

    await store.write([f"j{n}" for n in range(MANY_JOBS)], change, NOW)
    assert await store.problems() == []
    await store.write(["one-more"], change, NOW)
    (advice,) = await store.problems()
    await store.close()
    assert f"{MANY_JOBS + 1} jobs" in advice
    assert "SQLite" in advice
