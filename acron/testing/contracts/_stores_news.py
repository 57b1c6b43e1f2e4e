"""Duties of a store: telling of changes, and being shared by several processes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from acron.errors import StoreError
from acron.model import Decision, Delivery, RunState
from acron.testing.contracts._stores_base import (
    CAN,
    NOW,
    StoreSuite,
    a_job,
    a_run,
    at,
    end_of,
    ended,
    starts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from acron.abc import Store
    from acron.model import End, Job, Run
    from acron.testing.contracts._stores_base import Mint

SENDING = Delivery("telegram:1", "sending")
WAITING = Delivery("telegram:2")
SENT = Delivery("telegram:3", "delivered", "id")


class NewsDuties(StoreSuite):
    """``changed``. Waits are seconds; nothing of it may depend on them but the last."""

    async def test_a_write_before_the_call(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            assert await store.changed(5)
            assert not await store.changed(0)

    async def test_a_write_wakes_all_who_wait(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            waiting = [asyncio.ensure_future(store.changed(60)) for _ in range(2)]
            await asyncio.sleep(0)
            await self.put(store, a_job("a"))
            assert await asyncio.gather(*waiting) == [True, True]

    async def test_a_pending_run_and_a_cancel_request_are_news(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store)
            assert await store.changed(5)
            await self.wait(store, "a", 30)
            assert await store.changed(5)
            await store.request_cancel(run.id, NOW)
            assert await store.changed(5)
            assert not await store.changed(0)

    async def test_a_retry_is_news(self, tmp_path: Path) -> None:
        def settle(job: Job | None, run: Run, end: End, mint: Mint) -> Decision:
            again = a_run(run.job_id, mint, 30, attempt=2)
            return Decision(job, (*ended(job, run, end, mint).runs, again))

        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store)
            assert await store.changed(5)
            await store.finish([end_of(run)], settle)
            assert await store.changed(5)

    async def test_the_end_that_an_owed_instant_waits_for_is_news(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            (run,) = await self.start(store, then=0.5)
            assert await store.changed(5)
            await store.finish([end_of(run, 1)], ended)
            assert await store.changed(5)

    async def test_firing_is_no_news_to_oneself(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.put(store, a_job("a"))
            assert await store.changed(5)
            for n in range(3):
                (decision,) = await store.claim(at(n), 9, CAN, starts(then=n + 1.0))
                await store.finish([end_of(decision.runs[0], n + 0.5)], ended)
            await store.get("a")
            assert not await store.changed(0)

    async def test_a_cancelled_waiter_takes_no_news_away(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            waiting = asyncio.ensure_future(store.changed(60))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            await self.put(store, a_job("a"))
            assert await store.changed(5)

    async def test_no_news_in_time(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            loop = asyncio.get_running_loop()
            start = loop.time()
            assert not await store.changed(0.05)
            assert loop.time() - start >= 0.05 - 1e-3


class SharingDuties(StoreSuite):
    """Many store objects on the same data, as many processes are."""

    async def test_concurrent_claims_never_share_a_row(self, tmp_path: Path) -> None:
        async with self.both(tmp_path) as (one, two):
            await self.put(one, *(a_job(f"j{n}", -n) for n in range(100)))

            async def claim(store: Store, node: str) -> list[Run]:
                mine: list[Run] = []
                while found := await store.claim(NOW, 7, CAN, starts(node)):
                    mine += [decision.runs[0] for decision in found]
                return mine

            first, second = await asyncio.gather(claim(one, "n1"), claim(two, "n2"))
            assert len(first) + len(second) == 100
            assert len({run.job_id for run in first + second}) == 100
            assert len({run.token for run in first + second}) == 100

    async def test_what_one_writes_the_other_reads(self, tmp_path: Path) -> None:
        async with self.both(tmp_path) as (one, two):
            await self.put(one, a_job("a", 20))
            assert await two.get("a") == a_job("a", 20)
            assert [job.id for job in await two.named("A")] == ["a"]
            assert await two.next_due(NOW, CAN) == at(20)
            await self.put(two, a_job("a", 10))
            assert await one.next_due(NOW, CAN) == at(10)

    async def test_no_concurrent_edit_is_lost(self, tmp_path: Path) -> None:
        def count(_id: str, job: Job | None, _: Sequence[Run], _mint: Mint) -> Decision:
            assert job is not None
            return Decision(replace(job, revision=job.revision + 1))

        async with self.both(tmp_path) as (one, two):
            await self.put(one, a_job("a"))
            stores = [one, two] * 10
            await asyncio.gather(*(store.write(["a"], count, NOW) for store in stores))
            job = await one.get("a")
            assert job is not None
            assert job.revision == 21

    async def test_a_pause_elsewhere_wins_over_a_claim(self, tmp_path: Path) -> None:
        async with self.both(tmp_path) as (one, two):
            await self.put(one, a_job("a"))
            assert await one.next_due(at(-1), CAN) == NOW
            await self.put(two, a_job("a", paused=""))
            assert await self.start(one) == []

    async def test_news_from_elsewhere_comes_within_a_second(self, tmp_path: Path) -> None:
        async with self.both(tmp_path) as (one, two):
            await one.changed(0)
            waiting = asyncio.ensure_future(one.changed(30))
            await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            start = loop.time()
            await self.put(two, a_job("a"))
            assert await waiting
            assert loop.time() - start < 1
            assert await one.get("a") is not None

    async def test_a_cancel_request_reaches_the_other(self, tmp_path: Path) -> None:
        async with self.both(tmp_path) as (one, two):
            await self.put(one, a_job("a"))
            (run,) = await self.start(one)
            await one.changed(5)
            await two.request_cancel(run.id, NOW)
            assert await one.changed(5)
            (flagged,) = await one.runs(state=RunState.RUNNING, node="n1")
            assert flagged.cancel_requested

    async def test_only_one_recovers_a_run(self, tmp_path: Path) -> None:
        async with self.both(tmp_path) as (one, two):
            await self.put(one, a_job("a"))
            await self.start(one, "lost")
            found = await asyncio.gather(*(s.recover(at(9), ended) for s in (one, two)))
            assert sorted(len(decisions) for decisions in found) == [0, 1]

    async def test_a_node_id_is_alive_once(self, tmp_path: Path) -> None:
        async with self.both(tmp_path):
            with pytest.raises(StoreError):
                async with self.opened(tmp_path, "n1"):
                    pass
