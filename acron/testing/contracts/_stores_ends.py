"""Duties of a store: the ends of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from acron.model import Decision, RunState
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    Refused,
    StoreSuite,
    a_job,
    a_run,
    at,
    end_of,
    ended,
    removes,
    starts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from acron.model import End, Job, Run
    from acron.testing.contracts._stores_base import Mint


class FinishDuties(StoreSuite):
    """``finish``."""

    async def test_the_end_is_kept(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store)
            (decision,) = await store.finish([end_of(run, output="done")], ended)
            stored = await store.run(run.id)
            assert decision is not None
            assert stored == decision.runs[0]
            assert stored is not None
            assert (stored.state, stored.output) == (RunState.SUCCEEDED, "done")
            assert await store.runs(state=RunState.RUNNING) == []

    async def test_the_job_is_changed_with_it(self, tmp_path: Path) -> None:
        def settle(job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
            assert job is not None
            runs = ended(job, run, end, mint).runs
            return Decision(replace(job, failures=1, paused="too many"), runs)

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store, then=60.0)
            await store.finish([end_of(run, state=RunState.FAILED, error="no")], settle)
            job = await store.get("a")
            assert job is not None
            assert (job.failures, job.paused) == (1, "too many")
            assert await store.next_due(NOW, CAN) is None

    async def test_other_ends_are_rejected(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b"))
            run, other = await self.start(store)
            waiting = await self.wait(store, "a", 50)
            stale = replace(end_of(run), token=run.token - 1)
            unknown = replace(end_of(run), run_id="nobody")
            ends = [stale, unknown, end_of(other), end_of(waiting)]
            results = await store.finish(ends, ended)
            assert [result is None for result in results] == [True, True, False, True]
            assert await store.runs(state=RunState.RUNNING) == [run]
            assert await store.run(waiting.id) == waiting

    async def test_no_end_twice(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store)
            late = end_of(run, 9, state=RunState.FAILED)
            first, second = await store.finish([end_of(run), late], ended)
            assert first is not None
            assert second is None
            assert await store.finish([late], ended) == [None]
            stored = await store.run(run.id)
            assert stored is not None
            assert (stored.state, stored.finished_at) == (RunState.SUCCEEDED, at(1))

    async def test_ends_of_one_job_see_each_other(self, tmp_path: Path) -> None:
        def settle(job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
            assert job is not None
            runs = ended(job, run, end, mint).runs
            return Decision(replace(job, failures=job.failures + 1), runs)

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            runs = [(await self.start(store, then=0.0))[0] for _ in range(3)]
            await store.finish([end_of(run) for run in runs], settle)
            job = await store.get("a")
            assert job is not None
            assert job.failures == 3

    async def test_the_end_of_a_run_whose_job_is_gone(self, tmp_path: Path) -> None:
        seen: list[Job | None] = []

        def settle(job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
            seen.append(job)
            return ended(job, run, end, mint)

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store)
            await store.write(["a"], removes, NOW)
            await store.finish([end_of(run)], settle)
            stored = await store.run(run.id)
            assert seen == [None]
            assert stored is not None
            assert stored.state is RunState.SUCCEEDED
            assert await store.get("a") is None

    async def test_an_end_may_remove_its_job(self, tmp_path: Path) -> None:
        def settle(_job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
            return ended(None, run, end, mint)

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store)
            await store.finish([end_of(run)], settle)
            assert await store.get("a") is None
            assert len(await store.runs("a")) == 1

    async def test_a_retry_is_a_pending_run(self, tmp_path: Path) -> None:
        def settle(job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
            again = a_run(run.job_id, mint, 30, scheduled_at=run.scheduled_at, attempt=2)
            return Decision(job, (*ended(job, run, end, mint).runs, again))

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store)
            await store.finish([end_of(run, state=RunState.FAILED)], settle)
            assert await store.next_due(NOW, CAN) == at(30)
            (decision,) = await store.claim(at(30), 9, CAN, starts())
            again = decision.runs[0]
            assert (again.attempt, again.scheduled_at) == (2, NOW)
            assert len(await store.runs("a")) == 2

    async def test_an_error_in_settle_ends_nothing(self, tmp_path: Path) -> None:
        def settle(job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
            if run.job_id == "b":
                raise Refused
            return ended(job, run, end, mint)

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"), a_job("b"))
            runs = await self.start(store)
            with pytest.raises(Refused):
                await store.finish([end_of(run) for run in runs], settle)
            assert len(await store.runs(state=RunState.RUNNING)) == 2
            assert None not in await store.finish([end_of(run) for run in runs], ended)

    async def test_nothing_to_end(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            assert await store.finish([], ended) == []

    async def test_a_large_output_is_kept(self, tmp_path: Path) -> None:
        output = "ü☕\x00\n" * 10_000
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store)
            await store.finish([end_of(run, output=output)], ended)
            stored = await store.run(run.id)
            assert stored is not None
            assert stored.output == output
