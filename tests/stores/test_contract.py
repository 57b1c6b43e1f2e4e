"""The contract of stores finds the faults that it is there for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from acron.stores.memory import MemoryStore
from acron.testing.contracts.stores import StoreContract

if TYPE_CHECKING:
    from pathlib import Path

    from acron import Job, Run
    from acron.abc import Store

_MOMENT = timedelta(microseconds=1)


class Stale(MemoryStore):
    """Answers with what it has answered before."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[str, Job] = {}

    async def get(self, job_id: str) -> Job | None:
        job = self._answers.get(job_id) or await super().get(job_id)
        if job is not None:
            self._answers[job_id] = job
        return job


class Greedy(MemoryStore):
    async def claim(self, now: Any, limit: int, *rest: Any, **only: Any) -> Any:
        return await super().claim(now, limit + 1, *rest, **only)


class Broad(MemoryStore):
    """Claims any job, where one was asked for."""

    async def claim(self, *asked: Any, only: str | None = None) -> Any:
        return await super().claim(*asked)


class Late(MemoryStore):
    """What is due now is not due yet."""

    async def claim(self, now: Any, *rest: Any, **only: Any) -> Any:
        return await super().claim(now - _MOMENT, *rest, **only)


class Inclusive(MemoryStore):
    async def next_due(self, after: Any, can_run: Any) -> Any:
        return await super().next_due(after - _MOMENT, can_run)


class Forgiving(MemoryStore):
    """Who was too late is told what the first one was told."""

    async def finish(self, ends: Any, settle: Any) -> Any:
        done = await super().finish(ends, settle)
        return [one or done[0] for one in done]


class Excited(MemoryStore):
    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109
        return True


class Split(MemoryStore):
    """Several ends are several transactions."""

    async def finish(self, ends: Any, settle: Any) -> Any:
        return [(await super(Split, self).finish([end], settle))[0] for end in ends]


class Backwards(MemoryStore):
    async def runs(self, *asked: Any, **by: Any) -> list[Run]:
        return (await super().runs(*asked, **by))[::-1]


class Suite(StoreContract):
    shared = durable = False
    kind: type[MemoryStore] = MemoryStore

    async def make_store(self, room: Path) -> Store:
        return self.kind()


Suite.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "kind, test",
    [
        (Stale, "test_who_writes_reads_what_was_written"),
        (Greedy, "test_in_claims_of_one"),
        (Broad, "test_a_claim_is_handed_the_live_runs_of_the_key_by_token"),
        (Late, "test_a_retry_is_news"),
        (Inclusive, "test_the_earliest_instant_after"),
        (Forgiving, "test_no_end_twice"),
        (Excited, "test_a_write_before_the_call"),
        (Excited, "test_a_claim_may_end_what_waits"),
        (Split, "test_an_error_in_settle_ends_nothing"),
        (Backwards, "test_runs_newest_first"),
    ],
)
async def test_the_contract_finds_a_fault(
    kind: type[MemoryStore], test: str, tmp_path: Path
) -> None:
    suite = Suite()
    await getattr(suite, test)(tmp_path)
    suite.kind = kind
    with pytest.raises((AssertionError, LookupError, ValueError)):
        await getattr(suite, test)(tmp_path)
